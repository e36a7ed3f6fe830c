// Vectors of the width that this file is compiled for, as GCC's and Clang's vector extensions: + - * work on them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define DF_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define DF_VECTOR_BYTES 32
#else
#define DF_VECTOR_BYTES 16
#endif

#define DF_INLINE inline __attribute__((always_inline))
// For what is large, and runs long enough for a call to cost nothing: compiled once, not once a caller.
#if defined(__clang__)
#define DF_NOINLINE __attribute__((noinline))
#else
#define DF_NOINLINE __attribute__((noinline, noclone))
#endif
#define DF_UNROLL _Pragma("GCC unroll 16")

namespace densefield::DF_TARGET {

template <class T>
struct Simd;
template <>
struct Simd<float> {
    typedef float Vector __attribute__((vector_size(DF_VECTOR_BYTES)));
};
template <>
struct Simd<double> {
    typedef double Vector __attribute__((vector_size(DF_VECTOR_BYTES)));
};

template <class T>
using Vector = typename Simd<T>::Vector;

template <class T>
constexpr int lanes = DF_VECTOR_BYTES / static_cast<int>(sizeof(T));

// Vectors of any width, at any alignment.
template <class Any, class T>
DF_INLINE Any from_memory(const T* from) {
    Any vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
}

template <class Any, class T>
DF_INLINE void to_memory(T* to, const Any& vector) {
    std::memcpy(to, &vector, sizeof(vector));
}

template <class T>
DF_INLINE Vector<T> load(const T* from) {
    return from_memory<Vector<T>>(from);
}

template <class T>
DF_INLINE void store(T* to, const Vector<T>& vector) {
    to_memory(to, vector);
}

#if defined(__clang__) || __GNUC__ >= 12
#define DF_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DF_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (decltype(a == b)){__VA_ARGS__})
#endif

// The lower (or upper) halves of a and b, their lanes taken in turn.
template <class T>
DF_INLINE Vector<T> interleave_lower(const Vector<T>& a, const Vector<T>& b) {
    if constexpr (lanes<T> == 2) return DF_SHUFFLE(a, b, 0, 2);
    if constexpr (lanes<T> == 4) return DF_SHUFFLE(a, b, 0, 4, 1, 5);
    if constexpr (lanes<T> == 8) return DF_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    if constexpr (lanes<T> == 16) return DF_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

template <class T>
DF_INLINE Vector<T> interleave_upper(const Vector<T>& a, const Vector<T>& b) {
    if constexpr (lanes<T> == 2) return DF_SHUFFLE(a, b, 1, 3);
    if constexpr (lanes<T> == 4) return DF_SHUFFLE(a, b, 2, 6, 3, 7);
    if constexpr (lanes<T> == 8) return DF_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    if constexpr (lanes<T> == 16)
        return DF_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Transposes a square of lanes x lanes numbers: each round of interleaving moves one bit of the row to the column.
template <class T>
DF_INLINE void transpose(Vector<T>* rows) {
    constexpr int half = lanes<T> / 2;
    Vector<T> other[lanes<T>];
#pragma GCC unroll 4
    for (int round = 1; round < lanes<T>; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) {
            other[2 * i] = interleave_lower<T>(rows[i], rows[i + half]);
            other[2 * i + 1] = interleave_upper<T>(rows[i], rows[i + half]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < lanes<T>; ++i) rows[i] = other[i];
    }
}

// Hides from the compiler where a pointer comes from: it would carry what it loads here over to the next loop, through
// memory, for want of registers.
template <class T>
DF_INLINE const T* fresh(const T* pointer) {
    asm("" : "+r"(pointer));
    return pointer;
}

}  // namespace densefield::DF_TARGET
