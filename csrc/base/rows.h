// Rows of W neighbouring channels, computed in float or double and stored as such or in half precision.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "base/vectors.h"

namespace densefield::DF_TARGET {

#if defined(__F16C__)
struct Half {
    uint16_t bits;
};
#else
using Half = float;  // without fast conversion, half precision only costs
#endif

// Asks the second cache for numbers that are read soon.
template <class T>
DF_INLINE void ask_for(const T* from, int64_t count) {
    const auto* const bytes = reinterpret_cast<const char*>(from);
    for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(bytes + i, 0, 2);
}

template <class T, int W>
struct RowBlock {
    typedef T Type __attribute__((vector_size(W * sizeof(T))));
};

template <class T, int W>
using Lanes = typename RowBlock<T, W>::Type;

template <int W>
DF_INLINE void get(const float* from, Lanes<float, W>& to) {
    std::memcpy(&to, from, sizeof(to));
}

template <int W>
DF_INLINE void put(float* to, const Lanes<float, W>& from) {
    std::memcpy(to, &from, sizeof(from));
}

template <int W>
DF_INLINE void get(const double* from, Lanes<double, W>& to) {
    std::memcpy(&to, from, sizeof(to));
}

template <int W>
DF_INLINE void put(double* to, const Lanes<double, W>& from) {
    std::memcpy(to, &from, sizeof(from));
}

#if defined(__F16C__)
template <int W>
DF_INLINE void get(const Half* from, Lanes<float, W>& to) {
    const auto* const bits = reinterpret_cast<const __m128i*>(from);
    if constexpr (W == 4) {
        const __m128 wide = _mm_cvtph_ps(_mm_loadl_epi64(bits));
        std::memcpy(&to, &wide, sizeof(to));
    } else if constexpr (W == 8) {
        const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(bits));
        std::memcpy(&to, &wide, sizeof(to));
    } else {
#if defined(__AVX512F__)
        static_assert(W == 16);
        const __m512 wide = _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
        std::memcpy(&to, &wide, sizeof(to));
#endif
    }
}

template <int W>
DF_INLINE void put(Half* to, const Lanes<float, W>& from) {
    if constexpr (W == 4) {
        __m128 wide;
        std::memcpy(&wide, &from, sizeof(wide));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_cvtps_ph(wide, _MM_FROUND_TO_NEAREST_INT));
    } else if constexpr (W == 8) {
        __m256 wide;
        std::memcpy(&wide, &from, sizeof(wide));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(wide, _MM_FROUND_TO_NEAREST_INT));
    } else {
#if defined(__AVX512F__)
        static_assert(W == 16);
        __m512 wide;
        std::memcpy(&wide, &from, sizeof(wide));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_maskz_cvtps_ph(0xffff, wide, _MM_FROUND_TO_NEAREST_INT));
#endif
    }
}
#endif

// What a row is made of: registers, or what is left of one. (GCC takes wider vectors apart through memory.)
template <class T, int W>
constexpr int block_of = W < lanes<T> ? W : lanes<T>;

// A row as its first block and, beneath it, the row of what remains: 24 floats are 16 and 8, or 8 and 8 and 8.
template <class T, int W>
struct Row : Row<T, W - block_of<T, W>> {
    static constexpr int width = block_of<T, W>;
    using Rest = Row<T, W - width>;
    Lanes<T, width> head;

    DF_INLINE void zero() {
        head = Lanes<T, width>{};
        Rest::zero();
    }
    template <class S>
    DF_INLINE void load(const S* from) {
        get<width>(from, head);
        Rest::load(from + width);
    }
    template <class S>
    DF_INLINE void store(S* to) const {
        put<width>(to, head);
        Rest::store(to + width);
    }
    DF_INLINE void copy_blocks(Lanes<T, width>* to) const {  // where all are of one width
        *to = head;
        Rest::copy_blocks(to + 1);
    }
    DF_INLINE void add(const Row& other) {
        head += other.head;
        Rest::add(other);
    }
    DF_INLINE void add(const Row& other, T factor) {
        head += other.head * factor;
        Rest::add(other, factor);
    }
    DF_INLINE void scale(T factor) {
        head *= factor;
        Rest::scale(factor);
    }
    DF_INLINE void multiply(const Row& other) {
        head *= other.head;
        Rest::multiply(other);
    }
    template <class S>
    DF_INLINE void add_from(const S* from, T factor) {
        Lanes<T, width> loaded;
        get<width>(from, loaded);
        head += loaded * factor;
        Rest::add_from(from + width, factor);
    }
};

template <class T>
struct Row<T, 0> {
    DF_INLINE void zero() {}
    template <class S>
    DF_INLINE void load(const S*) {}
    template <class S>
    DF_INLINE void store(S*) const {}
    template <class Block>
    DF_INLINE void copy_blocks(Block*) const {}
    DF_INLINE void add(const Row&) {}
    DF_INLINE void add(const Row&, T) {}
    DF_INLINE void scale(T) {}
    DF_INLINE void multiply(const Row&) {}
    template <class S>
    DF_INLINE void add_from(const S*, T) {}
};

}  // namespace densefield::DF_TARGET
