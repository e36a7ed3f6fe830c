#include "lattice/entries.h"

#include <new>

#include "lattice/corners.h"

namespace densefield {

LatticeEntries::~LatticeEntries() {
    release(sources_);
    release(weights_);
    release(own_starts_);
}

void LatticeEntries::prepare(const df_field_lattice& of, int64_t points, uint32_t unit, const float* before, int n_threads) {
    if (static_cast<uint64_t>(points) * unit > UINT32_MAX) throw std::bad_alloc();  // Q of 32 GiB and more
    const int64_t count = points * (of.d + 1);
    const PixelOfCorner pixel_of(of.d);
    auto* const weights = weights_ = static_cast<float*>(allocate(count * static_cast<int64_t>(sizeof(float))));
    auto* const sources = sources_ = static_cast<uint32_t*>(allocate(count * static_cast<int64_t>(sizeof(uint32_t))));
    const auto put = [=](int64_t place, int64_t entry) {
        const int64_t point = pixel_of(entry);
        sources[place] = static_cast<uint32_t>(point) * unit;
        weights[place] = of.weights[entry] * before[point];
    };
    if (of.entries == nullptr) {
        own_starts_ = static_cast<int32_t*>(allocate((of.touched + 1) * static_cast<int64_t>(sizeof(int32_t))));
        starts_ = own_starts_;
        return sort_by_row(
            of.vertices, count, of.touched, own_starts_, n_threads, [=](int32_t place) {
                __builtin_prefetch(weights + place, 1);
                __builtin_prefetch(sources + place, 1);
            },
            [=](int64_t entry, int32_t place) { put(place, entry); });
    }
    starts_ = of.starts;
    parallel_ranges(count, 1 << 16, n_threads, [=](int64_t begin, int64_t end, int64_t) {
        for (int64_t i = begin; i < end; ++i) {
            if (i + 32 < end) __builtin_prefetch(of.weights + of.entries[i + 32]);
            put(i, of.entries[i]);
        }
    });
}

}  // namespace densefield
