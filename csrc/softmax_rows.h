// exp and the reductions of a softmax over rows.
#pragma once

#include "rows.h"

namespace densefield::DF_TARGET {
namespace {

template <int W>
DF_INLINE float highest(const Lanes<float, W>& x) {
    if constexpr (W == 2) {
        return x[0] > x[1] ? x[0] : x[1];
    } else {
        Lanes<float, W / 2> low, high;
        std::memcpy(&low, &x, sizeof(low));
        std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof(low), sizeof(high));
        return highest<W / 2>(low > high ? low : high);
    }
}

template <int W>
DF_INLINE float total(const Lanes<float, W>& x) {
    if constexpr (W == 2) {
        return x[0] + x[1];
    } else {
        Lanes<float, W / 2> low, high;
        std::memcpy(&low, &x, sizeof(low));
        std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof(low), sizeof(high));
        return total<W / 2>(low + high);
    }
}

// exp to about 2 units in the last place; 0 far below, about 1e38 far above.
template <int W>
DF_INLINE Lanes<float, W> exponential(Lanes<float, W> x) {
    const Lanes<float, W> least = Lanes<float, W>{} - 104.0f, most = Lanes<float, W>{} + 88.0f;
    const Lanes<float, W> magic = Lanes<float, W>{} + 12582912.0f;
    x = x > least ? x : least;
    x = x < most ? x : most;
    const Lanes<float, W> n = (x * 1.44269504f + magic) - magic;
    const Lanes<float, W> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    Lanes<float, W> p = r * (1.0f / 720) + (1.0f / 120);  // Taylor: |r| <= log(2) / 2
    p = p * r + (1.0f / 24);
    p = p * r + (1.0f / 6);
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
#if defined(__AVX512F__)
    if constexpr (W == 16) {
        const __m512 scaled = _mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(p), reinterpret_cast<__m512>(n));
        return reinterpret_cast<Lanes<float, W>>(scaled);
    }
#endif
    typedef int32_t Whole __attribute__((vector_size(W * 4)));
    const Whole alive = n > -127.0f;
    const Whole power = ((__builtin_convertvector(n, Whole) + 127) << 23) & alive;
    Lanes<float, W> scale;
    std::memcpy(&scale, &power, sizeof(scale));
    return p * scale;
}

template <int W>
using Rest = typename Row<float, W>::Rest;

template <int W>
using Rest = typename Row<float, W>::Rest;

template <int W>
DF_INLINE float highest(const Row<float, W>& row) {
    constexpr int width = Row<float, W>::width;
    if constexpr (W == width) return highest<width>(row.head);
    const auto& rest = static_cast<const Rest<W>&>(row);
    if constexpr (W - width == width) {
        return highest<width>(row.head > rest.head ? row.head : rest.head);
    } else if constexpr (W - width == width / 2) {
        Lanes<float, width / 2> low, high;
        std::memcpy(&low, &row.head, sizeof(low));
        std::memcpy(&high, reinterpret_cast<const char*>(&row.head) + sizeof(low), sizeof(high));
        low = low > high ? low : high;
        return highest<width / 2>(low > rest.head ? low : rest.head);
    }
}

template <int W>
DF_INLINE float total(const Row<float, W>& row) {
    constexpr int width = Row<float, W>::width;
    if constexpr (W == width) return total<width>(row.head);
    const auto& rest = static_cast<const Rest<W>&>(row);
    if constexpr (W - width == width) {
        return total<width>(row.head + rest.head);
    } else if constexpr (W - width == width / 2) {
        Lanes<float, width / 2> low, high;
        std::memcpy(&low, &row.head, sizeof(low));
        std::memcpy(&high, reinterpret_cast<const char*>(&row.head) + sizeof(low), sizeof(high));
        return total<width / 2>(low + high + rest.head);
    }
}

template <int W>
DF_INLINE void multiply(Row<float, W>& row, const Row<float, W>& other) {
    row.head *= other.head;
    if constexpr (W > Row<float, W>::width) multiply(static_cast<Rest<W>&>(row), static_cast<const Rest<W>&>(other));
}

template <int W>
DF_INLINE void shift(Row<float, W>& row, float offset) {
    row.head += offset;
    if constexpr (W > Row<float, W>::width) shift(static_cast<Rest<W>&>(row), offset);
}

// exp of count numbers <= 0; there must be room for a whole vector at the end.
inline void exponentiate(float* numbers, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes<float>)
        store(numbers + i, exponential<lanes<float>>(load(numbers + i)));
}

}  // namespace
}  // namespace densefield::DF_TARGET
