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

template <class T>
DF_INLINE Vector<T> load(const T* from) {  // any alignment
    Vector<T> vector;
    std::memcpy(&vector, from, sizeof(vector));
    return vector;
}

template <class T>
DF_INLINE void store(T* to, const Vector<T>& vector) {
    std::memcpy(to, &vector, sizeof(vector));
}

}  // namespace densefield::DF_TARGET
