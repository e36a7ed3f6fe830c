// What kernels need of a vector beyond + - *: integer views, selection, absolute value, sign and exp.
#pragma once

#include <cstdint>

#include "base/vectors.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace densefield::DF_TARGET {

template <class T>
struct Bits;
template <>
struct Bits<float> {
    typedef int32_t Lane;
    typedef Lane Integers __attribute__((vector_size(DF_VECTOR_BYTES)));
    static constexpr Lane sign = INT32_MIN;
    static constexpr int mantissa = 23;
};
template <>
struct Bits<double> {
    typedef int64_t Lane;
    typedef Lane Integers __attribute__((vector_size(DF_VECTOR_BYTES)));
    static constexpr Lane sign = INT64_MIN;
    static constexpr int mantissa = 52;
};

template <class T>
using Lane = typename Bits<T>::Lane;
template <class T>
using Integers = typename Bits<T>::Integers;

template <class T>
DF_INLINE Integers<T> load_integers(const Lane<T>* from) {  // any alignment
    return from_memory<Integers<T>>(from);
}

// Keeps a vector in its register: compilers like to load again what they could have kept, for each of its uses.
template <class V>
DF_INLINE V held(V vector) {
#if defined(__x86_64__)
    asm("" : "+v"(vector));
#elif defined(__aarch64__)
    asm("" : "+w"(vector));
#endif
    return vector;
}

// Rows of many planes or channels are more streams than the processor follows by itself.
template <class T>
DF_INLINE void prefetch_lines(const T* first, int64_t apart, int64_t count) {
    for (int64_t i = 0; i < count; ++i) __builtin_prefetch(first + i * apart, 0, 2);
}

template <class T>
DF_INLINE void prefetch_to_write(T* first, int64_t apart, int64_t count) {
    for (int64_t i = 0; i < count; ++i) __builtin_prefetch(first + i * apart, 1, 2);
}

template <class T>
constexpr int64_t line_of = 64 / static_cast<int64_t>(sizeof(T));  // elements in a cache line

template <class T>
DF_INLINE Vector<T> broadcast(T value) {
    return Vector<T>{} + value;
}

// One, unknown to the compiler, which would drop the multiplication by it.
template <class T>
DF_INLINE Vector<T> opaque_one() {
    return held(broadcast(T(1)));
}

template <class T>
DF_INLINE Vector<T> absolute(Vector<T> x) {
    return reinterpret_cast<Vector<T>>(reinterpret_cast<Integers<T>>(x) & ~(Integers<T>{} + Bits<T>::sign));
}

#if defined(__AVX512F__)
// One instruction answers by class of number: zero is nibble 2; one, infinity and positive are 3, 5 and 7; negative
// infinity and negative are 4 and 6. To give: 8 is +0, 9 is -1, 10 is +1.
constexpr uint32_t answers_of_sign = (8u << 8) | (10u << 12) | (9u << 16) | (10u << 20) | (9u << 24) | (10u << 28);
constexpr uint32_t answers_of_opposite = (8u << 8) | (9u << 12) | (10u << 16) | (9u << 20) | (10u << 24) | (9u << 28);

template <class T>
DF_INLINE Vector<T> answers(Vector<T> x, Vector<T> tables) {
    if constexpr (sizeof(T) == 4) {
        const auto number = reinterpret_cast<__m512>(x);
        return reinterpret_cast<Vector<T>>(_mm512_fixupimm_ps(number, number, reinterpret_cast<__m512i>(tables), 0));
    } else {
        const auto number = reinterpret_cast<__m512d>(x);
        return reinterpret_cast<Vector<T>>(_mm512_fixupimm_pd(number, number, reinterpret_cast<__m512i>(tables), 0));
    }
}
#endif

// sum += sign(x) weight and opposite -= sign(x) weight, with sign(0) = 0. Products are the same either way; one in three
// `fused` spreads the work over all units of a processor that multiplies and adds with different ones.
template <class T, bool fused>
DF_INLINE void add_signed(Vector<T>& sum, Vector<T>& opposite, Vector<T> x, Vector<T> weight) {
#if defined(__AVX512F__)
    const Integers<T> tables = Integers<T>{} + static_cast<Lane<T>>(answers_of_sign);
    const Vector<T> sign = answers<T>(x, reinterpret_cast<Vector<T>>(tables));
    if constexpr (fused) {
        sum += weight * sign;
        opposite -= weight * sign;
        return;
    }
    const Vector<T> change = held(weight * sign);
#else
    const auto flip = reinterpret_cast<Integers<T>>(x) & (Integers<T>{} + Bits<T>::sign);
    const auto kept = reinterpret_cast<Integers<T>>(x != Vector<T>{});
    const auto change = reinterpret_cast<Vector<T>>((reinterpret_cast<Integers<T>>(weight) ^ flip) & kept);
#endif
    sum += change;
    opposite -= change;
}

template <class T>
DF_INLINE T total(Vector<T> x) {
    T lane[lanes<T>], sum = 0;
    store(lane, x);
    for (int i = 0; i < lanes<T>; ++i) sum += lane[i];
    return sum;
}

// The first `count` lanes only, where there are fewer than a vector's.
template <class T>
DF_INLINE void store_up_to(T* to, const Vector<T>& vector, int64_t count) {
    if (count >= lanes<T>) {
        store(to, vector);
    } else if (count > 0) {
        T lane[lanes<T>];
        store(lane, vector);
        for (int64_t i = 0; i < count; ++i) to[i] = lane[i];
    }
}

template <class T>
DF_INLINE Vector<T> load_up_to(const T* from, int64_t count) {
    if (count >= lanes<T>) return load(from);
    T lane[lanes<T>] = {};
    for (int64_t i = 0; i < count; ++i) lane[i] = from[i];
    return load(lane);
}

// Writes a whole line of results that is not read soon: past the caches, which need not fetch it first. `to` is aligned
// like a vector. fence_streams() before other threads read it.
template <class T>
DF_INLINE void stream(T* to, const Vector<T>& vector) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(vector));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(vector));
#elif defined(__x86_64__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(vector));
#else
    store(to, vector);
#endif
}

DF_INLINE void fence_streams() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
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
    const auto exponent = reinterpret_cast<Integers<T>>(shifted) << Bits<T>::mantissa;
    const auto result = reinterpret_cast<Integers<T>>(p) + exponent;
    return reinterpret_cast<Vector<T>>(result & ~small);
}

}  // namespace densefield::DF_TARGET
