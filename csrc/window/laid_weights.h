// Weights of the pairs of a band as the gradient reads them.
#pragma once

#include <cstring>

#include "window/pairs.h"

namespace densefield::DF_TARGET {
namespace {

// Calls body(first offset dy, number of offsets, dx) for the runs that together make the half offsets.
template <class Body>
DF_INLINE void each_run(const Window& w, const Body& body) {
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; dy += most_slopes)
            body(dy, at_most(w.half_y - dy + 1, most_slopes), dx);
}

#if defined(__AVX512F__)
// A vector of -1, 0 and 1 as the answers that L1OfSigns gives to the sign of a difference.
template <class T>
DF_INLINE Vector<T> lay_signs(Vector<T> weight) {
    constexpr auto zero = static_cast<Lane<T>>(0x88888888u);
    const Integers<T> one = Integers<T>{} + static_cast<Lane<T>>(answers_of_sign);
    const Integers<T> minus = Integers<T>{} + static_cast<Lane<T>>(answers_of_opposite);
    const Integers<T> others = weight < Vector<T>{} ? minus : Integers<T>{} + zero;
    return reinterpret_cast<Vector<T>>(weight > Vector<T>{} ? one : others);
}
#else
template <class T>
DF_INLINE Vector<T> lay_signs(Vector<T> weight) {
    return weight;
}
#endif

// Weights of a band's pairs, one vector of columns, in the order in which runs read them.
template <class T, class Stored>
class LaidWeights {
public:
    LaidWeights(const Window& w, int64_t band_rows)
        : laid(w.planes * (band_rows + w.half_y) * lanes<T>), zeros(w.planes * w.stride + 2 * w.lead) {
        std::memset(zeros.data(), 0, sizeof(Stored) * static_cast<size_t>(w.planes * w.stride + 2 * w.lead));
    }

    template <bool signs>
    void lay(const Window& w, const Band& band, const Stored* planes, int64_t x) {
        for (int64_t row = -w.half_y; row < band.rows; ++row) {
            const int64_t r = band.row + row;
            const Stored* const from =
                x + (band.inside(r) ? w.plane_row(planes, band.b, band.first_y + r * w.step) : zeros.data() + w.lead);
            prefetch_lines(from + 64 / sizeof(Stored), w.stride, w.planes);
            T* run = laid.data();
            each_run(w, [&](int64_t dy, int64_t count, int64_t dx) {
                const int64_t before = dy + count - 1;
                T* const to = run + (row + before) * count * lanes<T>;
                if (row + before >= 0)
                    for (int64_t d = 0; d < count; ++d) {
                        const Vector<T> weight = load_as<T>(from + w.plane(dy + d, dx) * w.stride);
                        store(to + d * lanes<T>, signs ? lay_signs<T>(weight) : weight);
                    }
                run += (band.rows + before) * count * lanes<T>;
            });
        }
    }

    const T* data() const { return laid.data(); }

private:
    Buffer<T> laid;
    Buffer<Stored> zeros;
};

}  // namespace
}  // namespace densefield::DF_TARGET
