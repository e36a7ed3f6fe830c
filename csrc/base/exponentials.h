// exp and log.
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

// Whether one instruction multiplies by powers of two, of any size.
#if defined(__AVX512F__)
template <class V>
constexpr bool scales_at_once = sizeof(NumberOf<V>) == 4 && sizeof(V) == 64;
#else
template <class V>
constexpr bool scales_at_once = false;
#endif

// Added to a number, it rounds to a whole one, which then stands in the low bits.
template <class T>
constexpr T shifter = sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52);

// p 2^n for whole numbers n; what is then subnormal may be 0.
template <class V>
DF_INLINE V times_power_of_two(V p, V n) {
    using T = NumberOf<V>;
    constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (scales_at_once<V>) {
        const __m512 scaled = _mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(p), reinterpret_cast<__m512>(n));
        return reinterpret_cast<V>(scaled);
    }
#endif
    using Whole = VectorOf<Integer<T>, count_of<V>>;
    constexpr Integer<T> bias = single ? 127 : 1023;
    const Whole alive = n > T(-bias);
    const Whole power = ((reinterpret_cast<Whole>(n + shifter<T>) + bias) << (single ? 23 : 52)) & alive;
    return p * reinterpret_cast<V>(power);
}

enum class Accuracy { rough, full };

// exp of any numbers, to 6e-6 of itself (rough, of floats) or about two units in the last place. 0 where it would be
// subnormal; about 1e38 (float) or 1e307 (double), or infinite, far above; not a number stays so.
template <Accuracy accuracy = Accuracy::full, class V>
DF_INLINE V exponential(V x) {
    using T = NumberOf<V>;
    constexpr bool single = sizeof(T) == 4;
    constexpr T least = single ? -104 : -745, most = single ? 88 : 709;
    constexpr T log2_e = T(1.44269504088896340736), ln_2 = T(0.69314718055994530942);
    constexpr T ln_2_high = single ? T(0x1.63p-1) : T(0x1.62e42fefa0000p-1);  // times a whole n without rounding
    constexpr T ln_2_low = single ? T(-2.12194440e-4) : T(0x1.cf79abc9e3b39p-40);
    x = x < least ? V{} + least : x;
    if constexpr (accuracy == Accuracy::full || !scales_at_once<V>) x = x > most ? V{} + most : x;
    const V n = (x * log2_e + shifter<T>) - shifter<T>;
    V r, p;  // x = n log 2 + r; exp(r) = 1 + r + r^2 p(r)
    if constexpr (accuracy == Accuracy::rough) {
        static_assert(single);
        r = x - n * ln_2;
        p = (r * 0.04127773f + 0.16753518f) * r + 0.50005116f;
    } else {
        constexpr int first = single ? 6 : 13;  // Taylor's series from here down: |r| <= log(2) / 2
        T factorial = 1;
        DF_UNROLL for (int i = 2; i <= first; ++i) factorial *= i;
        r = (x - n * ln_2_high) - n * ln_2_low;
        p = V{} + T(1) / factorial;
        DF_UNROLL for (int i = first; i > 2; --i) {
            factorial /= i;
            p = p * r + T(1) / factorial;
        }
    }
    p = p * r * r + r + T(1);
    return times_power_of_two(p, n);
}

}  // namespace densefield::DF_TARGET
