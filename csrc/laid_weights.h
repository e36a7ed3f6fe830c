// Weights of the pairs of a band as the gradient reads them.
#pragma once

#include "pair_slopes.h"

namespace densefield::DF_TARGET {
namespace {

// L1 with weights of -1, 0 and 1: where one instruction answers by class of number, each weight is laid as the answers it
// gives, and nothing is multiplied.
struct L1OfSigns : L1 {
#if defined(__AVX512F__)
    template <class T>
    static DF_INLINE Vector<T> laid(Vector<T> weight) {
        constexpr auto zero = static_cast<Lane<T>>(0x88888888u);
        const Integers<T> one = Integers<T>{} + static_cast<Lane<T>>(answers_of_sign);
        const Integers<T> minus = Integers<T>{} + static_cast<Lane<T>>(answers_of_opposite);
        const Integers<T> others = weight < Vector<T>{} ? minus : Integers<T>{} + zero;
        return reinterpret_cast<Vector<T>>(weight > Vector<T>{} ? one : others);
    }
    template <class T, bool>
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        const Vector<T> change = held(answers<T>(p - q, weight));
        by_p += change * opaque_one<T>();  // beside the subtraction
        by_q -= change;
    }
#endif
};

// Weights of a band's pairs, one vector of columns, in the order in which runs read them.
template <class T, class Op, class Stored>
class LaidWeights {
public:
    LaidWeights(const Window& w, int64_t band_rows)
        : laid(w.planes * (band_rows + w.half_y) * lanes<T>), zeros(w.planes * w.stride + 2 * w.lead) {
        std::memset(zeros.data(), 0, sizeof(Stored) * static_cast<size_t>(w.planes * w.stride + 2 * w.lead));
    }

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
                    for (int64_t d = 0; d < count; ++d)
                        store(to + d * lanes<T>,
                              Op::template laid<T>(load_as<T>(from + w.plane(dy + d, dx) * w.stride)));
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
