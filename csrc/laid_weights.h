// Weights of the pairs of a band as the gradient reads them.
#pragma once

#include "pair_slopes.h"

namespace densefield::DF_TARGET {
namespace {

// Weights of a band's pairs, one vector of columns, in the order in which runs read them.
template <class T>
class LaidWeights {
public:
    LaidWeights(const Window& w, int64_t band_rows)
        : laid(w.planes * (band_rows + w.half_y) * lanes<T>), zeros(w.planes * w.stride + 2 * w.lead) {
        std::memset(zeros.data(), 0, sizeof(T) * static_cast<size_t>(w.planes * w.stride + 2 * w.lead));
    }

    void lay(const Window& w, const Band& band, const T* planes, int64_t x) {
        for (int64_t row = -w.half_y; row < band.rows; ++row) {
            const int64_t r = band.row + row;
            const T* const from =
                x + (band.inside(r) ? w.plane_row(planes, band.b, band.first_y + r * w.step) : zeros.data() + w.lead);
            prefetch_lines(from + lanes<T>, w.stride, w.planes);
            T* run = laid.data();
            each_run(w, [&](int64_t dy, int64_t count, int64_t dx) {
                const int64_t before = dy + count - 1, plane = w.plane(dy, dx);
                T* const to = run + (row + before) * count * lanes<T>;
                if (row + before >= 0)
                    for (int64_t d = 0; d < count; ++d) store(to + d * lanes<T>, load(from + (plane + d) * w.stride));
                run += (band.rows + before) * count * lanes<T>;
            });
        }
    }

    const T* data() const { return laid.data(); }

private:
    Buffer<T> laid, zeros;
};

}  // namespace
}  // namespace densefield::DF_TARGET
