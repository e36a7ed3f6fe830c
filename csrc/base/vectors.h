// Vectors as GCC's and Clang's vector extensions have them, so that + - * work on them; how they come from memory and go
// there, and what keeps compilers from moving them about.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

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

// N numbers side by side.
template <class T, int N>
struct VectorType {
    typedef T Type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using VectorOf = typename VectorType<T, N>::Type;

// How many numbers a register of the CPU that this file is compiled for has, and so many of them.
template <class T>
constexpr int lanes = DF_VECTOR_BYTES / static_cast<int>(sizeof(T));
template <class T>
using Vector = VectorOf<T, lanes<T>>;

template <class V>
using NumberOf = std::remove_reference_t<decltype(V{}[0])>;
template <class V>
constexpr int count_of = static_cast<int>(sizeof(V) / sizeof(NumberOf<V>));

// Whole numbers as wide as T, what comparing vectors gives.
template <class T>
using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
template <class T>
using Integers = Vector<Integer<T>>;

template <class T>
DF_INLINE Vector<T> broadcast(T value) {
    return Vector<T>{} + value;
}

// Half precision, in memory only.
#if defined(__F16C__)
struct Half {
    uint16_t bits;
};
#else
using Half = float;  // without fast conversion, half precision only costs
#endif

// What is stored otherwise than it is computed: as whole numbers of a byte each, or in half precision. Compilers take
// these apart one by one where an instruction widens or narrows them all. (The forms with a mask spare a false warning.)
template <class V>
DF_INLINE V widened(const int8_t* from) {
    using T = NumberOf<V>;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        return reinterpret_cast<V>(_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, bytes)));
    } else {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
        return reinterpret_cast<V>(_mm512_maskz_cvtepi32_pd(0xff, _mm256_cvtepi8_epi32(bytes)));
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
        return reinterpret_cast<V>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
    } else {
        int32_t four;
        std::memcpy(&four, from, sizeof(four));
        return reinterpret_cast<V>(_mm256_cvtepi32_pd(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four))));
    }
#else
    T numbers[count_of<V>];
    for (int i = 0; i < count_of<V>; ++i) numbers[i] = from[i];
    V vector;
    std::memcpy(&vector, numbers, sizeof(vector));
    return vector;
#endif
}

template <class V>
DF_INLINE void narrow(int8_t* to, const V& vector) {
    using T = NumberOf<V>;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        const __m512i whole = _mm512_maskz_cvtps_epi32(0xffff, reinterpret_cast<__m512>(vector));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_maskz_cvtepi32_epi8(0xffff, whole));
        return;
    }
#endif
    T numbers[count_of<V>];
    std::memcpy(numbers, &vector, sizeof(vector));
    for (int i = 0; i < count_of<V>; ++i) to[i] = static_cast<int8_t>(numbers[i]);
}

#if defined(__F16C__)
template <class V>
DF_INLINE V widened(const Half* from) {
    const auto* const bits = reinterpret_cast<const __m128i*>(from);
    V vector;
    if constexpr (count_of<V> == 4) {
        const __m128 wide = _mm_cvtph_ps(_mm_loadl_epi64(bits));
        std::memcpy(&vector, &wide, sizeof(vector));
    } else if constexpr (count_of<V> == 8) {
        const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(bits));
        std::memcpy(&vector, &wide, sizeof(vector));
    } else {
#if defined(__AVX512F__)
        static_assert(count_of<V> == 16);
        const __m512 wide = _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
        std::memcpy(&vector, &wide, sizeof(vector));
#endif
    }
    return vector;
}

template <class V>
DF_INLINE void narrow(Half* to, const V& vector) {
    if constexpr (count_of<V> == 4) {
        __m128 wide;
        std::memcpy(&wide, &vector, sizeof(wide));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_cvtps_ph(wide, _MM_FROUND_TO_NEAREST_INT));
    } else if constexpr (count_of<V> == 8) {
        __m256 wide;
        std::memcpy(&wide, &vector, sizeof(wide));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(wide, _MM_FROUND_TO_NEAREST_INT));
    } else {
#if defined(__AVX512F__)
        static_assert(count_of<V> == 16);
        __m512 wide;
        std::memcpy(&wide, &vector, sizeof(wide));
        const __m256i halves = _mm512_maskz_cvtps_ph(0xffff, wide, _MM_FROUND_TO_NEAREST_INT);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
#endif
    }
}
#endif

// The type that load() gives: V, or a register of what stands there.
template <class V, class Stored>
struct Loaded {
    using Type = V;
};
template <class Stored>
struct Loaded<void, Stored> {
    using Type = Vector<Stored>;
};

// A vector from memory, or to it, at any alignment and whatever it is stored as. load(from) takes a register of it,
// load<V>(from) as many numbers as V has.
template <class V = void, class Stored>
DF_INLINE typename Loaded<V, Stored>::Type load(const Stored* from) {
    using To = typename Loaded<V, Stored>::Type;
    if constexpr (std::is_same_v<Stored, NumberOf<To>>) {
        To vector;
        std::memcpy(&vector, from, sizeof(vector));
        return vector;
    } else {
        return widened<To>(from);
    }
}

template <class Stored, class V>
DF_INLINE void store(Stored* to, const V& vector) {
    if constexpr (std::is_same_v<Stored, NumberOf<V>>)
        std::memcpy(to, &vector, sizeof(vector));
    else
        narrow(to, vector);
}

// The first `count` numbers only, where there are fewer than a vector's.
template <class T>
DF_INLINE void store_up_to(T* to, const Vector<T>& vector, int64_t count) {
    if (count >= lanes<T>) {
        store(to, vector);
    } else if (count > 0) {
        T numbers[lanes<T>];
        store(numbers, vector);
        for (int64_t i = 0; i < count; ++i) to[i] = numbers[i];
    }
}

template <class T>
DF_INLINE Vector<T> load_up_to(const T* from, int64_t count) {
    if (count >= lanes<T>) return load(from);
    T numbers[lanes<T>] = {};
    for (int64_t i = 0; i < count; ++i) numbers[i] = from[i];
    return load(numbers);
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

// Asks the second cache for numbers that are read soon.
template <class T>
DF_INLINE void ask_for(const T* from, int64_t count) {
    const auto* const bytes = reinterpret_cast<const char*>(from);
    for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(bytes + i, 0, 2);
}

// Keeps a vector in its register, where one holds it: compilers like to load again what they could have kept, for each of
// its uses.
template <class V>
DF_INLINE V in_register(V vector) {
    if constexpr (sizeof(V) <= DF_VECTOR_BYTES) {
#if defined(__x86_64__)
        asm("" : "+v"(vector));
#elif defined(__aarch64__)
        asm("" : "+w"(vector));
#endif
    }
    return vector;
}

// Hides from the compiler where a pointer comes from: it would carry what it loads here over to the next loop, through
// memory, for want of registers.
template <class T>
DF_INLINE const T* hide_origin(const T* pointer) {
    asm("" : "+r"(pointer));
    return pointer;
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

}  // namespace densefield::DF_TARGET
