// Rows of labels (or channels), a pixel a row, from and to labels that lie apart: squares of numbers change places in
// registers.
#pragma once

#include "base/vectors.h"

namespace densefield::DF_TARGET {
namespace {

// to[i * stride + c] = from[c * apart + i], `filler` where c >= labels, for i < count, c < stride. `Stride`: the
// same, where it is known to be a small part of a vector.
template <class T, int Stride = 0>
DF_NOINLINE void pack(const T* from, int64_t any_stride, int64_t labels, int64_t apart, int64_t count, T filler, T* to) {
    constexpr int n = lanes<T>;
    const int64_t stride = Stride > 0 ? Stride : any_stride;
    for (int64_t c = 0; c < stride; c += n) {
        const int64_t wide = stride - c < n ? stride - c : n, there = labels - c < n ? labels - c : n;
        int64_t i = 0;
        for (; i + n <= count; i += n) {
            Vector<T> square[n];
            for (int k = 0; k < n; ++k)
                square[k] = k < there ? load(from + (c + k) * apart + i) : Vector<T>{} + filler;
            transpose<T>(square);
            for (int k = 0; k < n; ++k)
                if (wide == n)
                    store(to + (i + k) * stride + c, square[k]);
                else if (wide == n / 2)  // of a size that the compiler knows
                    std::memcpy(to + (i + k) * stride + c, &square[k], n / 2 * sizeof(T));
                else
                    std::memcpy(to + (i + k) * stride + c, &square[k], static_cast<size_t>(wide) * sizeof(T));
        }
        for (; i < count; ++i)
            for (int64_t k = 0; k < wide; ++k)
                to[i * stride + c + k] = k < there ? from[(c + k) * apart + i] : filler;
    }
}

// to[c * apart + i] = from[i * stride + c] for i < count, c < labels. There is room for a vector after `from`.
template <class T>
DF_NOINLINE void unpack(const T* from, int64_t stride, int64_t labels, int64_t apart, int64_t count, T* to) {
    constexpr int n = lanes<T>;
    for (int64_t c = 0; c < labels; c += n) {
        const int64_t there = labels - c < n ? labels - c : n;
        int64_t i = 0;
        for (; i + n <= count; i += n) {
            Vector<T> square[n];
            for (int k = 0; k < n; ++k) square[k] = load(from + (i + k) * stride + c);
            transpose<T>(square);
            for (int k = 0; k < there; ++k) store(to + (c + k) * apart + i, square[k]);
        }
        for (; i < count; ++i)
            for (int64_t k = 0; k < there; ++k) to[(c + k) * apart + i] = from[i * stride + c + k];
    }
}

}  // namespace
}  // namespace densefield::DF_TARGET
