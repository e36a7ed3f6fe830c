// exp to three accuracies, and the logarithm.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/vectors.h"

namespace densefield::DF_TARGET {

// log x for normal x >= 1, to 1e-7.
DF_INLINE Vector<float> logarithm(Vector<float> x) {
    auto bits = reinterpret_cast<Integers<float>>(x);
    const Integers<float> power = (bits - 0x3f3504f3) >> 23;  // of 2, so that the rest lies between sqrt(1/2) and sqrt(2)
    bits -= power << 23;
    x = reinterpret_cast<Vector<float>>(bits);
    const Vector<float> t = (x - 1.0f) / (x + 1.0f), square = t * t;
    Vector<float> p = square * (1.0f / 9) + (1.0f / 7);
    p = p * square + (1.0f / 5);
    p = p * square + (1.0f / 3);
    return __builtin_convertvector(power, Vector<float>) * 0.693147181f + 2.0f * (t + t * square * p);
}

// exp(x) to about one unit in the last place for x up to 88 (float) or 709 (double); 0 where it would be subnormal.
template <class T>
DF_INLINE Vector<T> exponential(Vector<T> x) {
    constexpr bool single = sizeof(T) == 4;
    constexpr T lowest = single ? T(-87.3) : T(-708.3);
    constexpr T shifter = single ? T(0x1.8p23) : T(0x1.8p52);  // adding it rounds to an integer, kept in the low bits
    constexpr T log2e = T(1.44269504088896340736);
    constexpr T ln2_high = single ? T(0x1.62e4p-1) : T(0x1.62e42fefa0000p-1);
    constexpr T ln2_low = single ? T(0x1.7f7d1cf79abcap-20) : T(0x1.cf79abc9e3b39p-40);
    const auto small = reinterpret_cast<Integers<T>>(x < broadcast(lowest));
    x = small ? broadcast(lowest) : x;
    const Vector<T> shifted = x * log2e + shifter;
    const Vector<T> power = shifted - shifter;
    const Vector<T> r = (x - power * ln2_high) - power * ln2_low;
    Vector<T> p;
    if constexpr (single) {
        p = broadcast(T(1.0 / 5040));
    } else {
        p = broadcast(T(1.0 / 6227020800.0));
        p = p * r + T(1.0 / 479001600.0);
        p = p * r + T(1.0 / 39916800.0);
        p = p * r + T(1.0 / 3628800.0);
        p = p * r + T(1.0 / 362880.0);
        p = p * r + T(1.0 / 40320.0);
        p = p * r + T(1.0 / 5040.0);
    }
    p = p * r + T(1.0 / 720);
    p = p * r + T(1.0 / 120);
    p = p * r + T(1.0 / 24);
    p = p * r + T(1.0 / 6);
    p = p * r + T(0.5);
    p = p * r + T(1);
    p = p * r + T(1);
    const auto exponent = reinterpret_cast<Integers<T>>(shifted) << (single ? 23 : 52);
    const auto result = reinterpret_cast<Integers<T>>(p) + exponent;
    return reinterpret_cast<Vector<T>>(result & ~small);
}

// p 2^n for the whole numbers n of -150 to 127; what is then subnormal may be 0.
template <class V>
DF_INLINE V times_power_of_two(V p, V n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {
        const __m512 scaled = _mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(p), reinterpret_cast<__m512>(n));
        return reinterpret_cast<V>(scaled);
    }
#endif
    using Whole = VectorOf<int32_t, count_of<V>>;
    const Whole alive = n > -127.0f;
    const Whole power = ((__builtin_convertvector(n, Whole) + 127) << 23) & alive;
    V scale;
    std::memcpy(&scale, &power, sizeof(scale));
    return p * scale;
}

// exp of any number of floats to about 2 units in the last place; 0 far below, about 1e38 far above.
template <class V>
DF_INLINE V quick_exponential(V x) {
    const V least = V{} - 104.0f, most = V{} + 88.0f, magic = V{} + 12582912.0f;
    x = x > least ? x : least;
    x = x < most ? x : most;
    const V n = (x * 1.44269504f + magic) - magic;
    const V r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    V p = r * (1.0f / 720) + (1.0f / 120);  // Taylor: |r| <= log(2) / 2
    p = p * r + (1.0f / 24);
    p = p * r + (1.0f / 6);
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    return times_power_of_two(p, n);
}

// exp of floats to 6e-6 of itself, for what half precision will hold; infinite far above.
template <class V>
DF_INLINE V rough_exponential(V x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {
        const V least = V{} - 104.0f, magic = V{} + 12582912.0f;
        x = x > least ? x : least;
        const V n = (x * 1.44269504f + magic) - magic, r = x - n * 0.693147181f;
        V p = (r * 0.04127773f + 0.16753518f) * r + 0.50005116f;
        p = p * r * r + r + 1.0f;
        return times_power_of_two(p, n);
    }
#endif
    return quick_exponential(x);  // whose range ends before its scale does
}

}  // namespace densefield::DF_TARGET
