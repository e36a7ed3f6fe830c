// What kernels need of a vector beyond + - *: absolute value, signs and sums.
#pragma once

#include <cstdint>

#include "base/vectors.h"

namespace densefield::DF_TARGET {

template <class T>
constexpr auto sign_bit = static_cast<Integer<T>>(sizeof(T) == 4 ? INT32_MIN : INT64_MIN);

// One, unknown to the compiler, which would drop the multiplication by it.
template <class T>
DF_INLINE Vector<T> opaque_one() {
    return in_register(broadcast(T(1)));
}

template <class T>
DF_INLINE Vector<T> absolute(Vector<T> x) {
    return reinterpret_cast<Vector<T>>(reinterpret_cast<Integers<T>>(x) & ~(Integers<T>{} + sign_bit<T>));
}

#if defined(__AVX512F__)
// -1, 0 or 1. One instruction puts a number in each one's place by its class, as a table says, a nibble a class: zero is
// nibble 2; one, infinity and positive are 3, 5 and 7; negative infinity and negative are 4 and 6. To give: 8 is +0, 9 is
// -1, 10 is +1.
template <class T>
DF_INLINE Vector<T> sign_of(Vector<T> x) {
    constexpr uint32_t by_class = (8u << 8) | (10u << 12) | (9u << 16) | (10u << 20) | (9u << 24) | (10u << 28);
    const auto tables = reinterpret_cast<__m512i>(Integers<T>{} + static_cast<Integer<T>>(by_class));
    if constexpr (sizeof(T) == 4) {
        const auto number = reinterpret_cast<__m512>(x);
        return reinterpret_cast<Vector<T>>(_mm512_fixupimm_ps(number, number, tables, 0));
    } else {
        const auto number = reinterpret_cast<__m512d>(x);
        return reinterpret_cast<Vector<T>>(_mm512_fixupimm_pd(number, number, tables, 0));
    }
}
#endif

// sum += sign(x) weight and opposite -= sign(x) weight, with sign(0) = 0. Products are the same either way; one in three
// `fused` spreads the work over all units of a processor that multiplies and adds with different ones.
template <class T, bool fused>
DF_INLINE void add_signed(Vector<T>& sum, Vector<T>& opposite, Vector<T> x, Vector<T> weight) {
#if defined(__AVX512F__)
    const Vector<T> sign = sign_of<T>(x);
    if constexpr (fused) {
        sum += weight * sign;
        opposite -= weight * sign;
        return;
    }
    const Vector<T> change = in_register(weight * sign);
#else
    const auto flip = reinterpret_cast<Integers<T>>(x) & (Integers<T>{} + sign_bit<T>);
    const auto kept = reinterpret_cast<Integers<T>>(x != Vector<T>{});
    const auto change = reinterpret_cast<Vector<T>>((reinterpret_cast<Integers<T>>(weight) ^ flip) & kept);
#endif
    sum += change;
    opposite -= change;
}

template <class T>
DF_INLINE T total(Vector<T> x) {
    T numbers[lanes<T>], sum = 0;
    store(numbers, x);
    for (int i = 0; i < lanes<T>; ++i) sum += numbers[i];
    return sum;
}

// Copies a row; `zero` stays zero unless it holds NaN or Inf.
template <class T>
DF_INLINE void copy_row(T* to, const T* from, int64_t count, Vector<T>& zero) {
    int64_t x = 0;
    for (; x + lanes<T> <= count; x += lanes<T>) {
        const Vector<T> vector = load(from + x);
        store(to + x, vector);
        zero += vector * T(0);
    }
    if (x == count) return;
    if (count >= lanes<T>) {  // the last vector overlaps the one before
        const Vector<T> vector = load(from + count - lanes<T>);
        store(to + count - lanes<T>, vector);
        zero += vector * T(0);
        return;
    }
    const Vector<T> vector = load_up_to(from, count);
    store_up_to(to, vector, count);
    zero += vector * T(0);
}

}  // namespace densefield::DF_TARGET
