// Vectors stored as they are, or as whole numbers of one byte each.
#pragma once

#include "base/vector_math.h"

namespace densefield::DF_TARGET {

template <class T>
DF_INLINE Vector<T> load_as(const T* from) {
    return load(from);
}

// Compilers take bytes apart one by one: widening is one instruction. (The forms with a mask spare a false warning.)
template <class T>
DF_INLINE Vector<T> load_as(const int8_t* from) {
    constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (single) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        return reinterpret_cast<Vector<T>>(_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, bytes)));
    } else {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
        return reinterpret_cast<Vector<T>>(_mm512_maskz_cvtepi32_pd(0xff, _mm256_cvtepi8_epi32(bytes)));
    }
#elif defined(__AVX2__)
    if constexpr (single) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
        return reinterpret_cast<Vector<T>>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
    } else {
        int32_t four;
        std::memcpy(&four, from, sizeof(four));
        return reinterpret_cast<Vector<T>>(_mm256_cvtepi32_pd(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four))));
    }
#else
    static_assert(single || sizeof(T) == 8);
    T lane[lanes<T>];
    for (int i = 0; i < lanes<T>; ++i) lane[i] = from[i];
    return load(lane);
#endif
}

template <class T>
DF_INLINE void store_as(T* to, const Vector<T>& vector) {
    store(to, vector);
}

template <class T>
DF_INLINE void store_as(int8_t* to, const Vector<T>& vector) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_maskz_cvtps_epi32(0xffff, reinterpret_cast<__m512>(vector)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
        return;
    }
#endif
    T lane[lanes<T>];
    store(lane, vector);
    for (int i = 0; i < lanes<T>; ++i) to[i] = static_cast<int8_t>(lane[i]);
}

}  // namespace densefield::DF_TARGET
