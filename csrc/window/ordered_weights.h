// Weights of the pairs of a band in the order in which the gradient reads them.
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

// One vector of columns at a time. T: what is computed in; Stored: what weights are stored as, T or bytes.
template <class T, class Stored>
class OrderedWeights {
public:
    OrderedWeights(const Window& w, int64_t band_rows)
        : ordered(w.planes * (band_rows + w.half_y) * lanes<T>), zeros(w.planes * w.stride + 2 * w.lead) {
        std::memset(zeros.data(), 0, sizeof(Stored) * static_cast<size_t>(w.planes * w.stride + 2 * w.lead));
    }

    void put_in_order(const Window& w, const Band& band, const Stored* planes, int64_t x) {
        for (int64_t row = -w.half_y; row < band.rows; ++row) {
            const int64_t r = band.row + row;
            const Stored* const from =
                x + (band.inside(r) ? w.plane_row(planes, band.b, band.first_y + r * w.step) : zeros.data() + w.lead);
            prefetch_lines(from + 64 / sizeof(Stored), w.stride, w.planes);
            T* run = ordered.data();
            each_run(w, [&](int64_t dy, int64_t count, int64_t dx) {
                const int64_t before = dy + count - 1;
                T* const to = run + (row + before) * count * lanes<T>;
                if (row + before >= 0)
                    for (int64_t d = 0; d < count; ++d)
                        store(to + d * lanes<T>, load<Vector<T>>(from + w.plane(dy + d, dx) * w.stride));
                run += (band.rows + before) * count * lanes<T>;
            });
        }
    }

    const T* data() const { return ordered.data(); }

private:
    Buffer<T> ordered;
    Buffer<Stored> zeros;
};

}  // namespace
}  // namespace densefield::DF_TARGET
