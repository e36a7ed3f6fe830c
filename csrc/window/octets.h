// Eight numbers side by side, of one pixel's channels: what maps are worked on in. Whatever the width of the registers.
#pragma once

#include "base/vectors.h"
#include "window/window.h"

namespace densefield::DF_TARGET {
namespace {

template <class T>
using Octet = VectorOf<T, 8>;
template <class T>
using Quad = VectorOf<T, 4>;

// How many neighbouring pixels, and of how many octets, are summed in registers at a time.
template <class T>
constexpr int registers_of_octet = sizeof(Octet<T>) > DF_VECTOR_BYTES ? sizeof(Octet<T>) / DF_VECTOR_BYTES : 1;
#if defined(__AVX512F__)
constexpr int block_pixels = 8;
template <class T>
constexpr int most_octets = 3;  // 24 of 32 registers
#else
constexpr int block_pixels = 4;
template <class T>
constexpr int most_octets = registers_of_octet<T> == 1 ? 3 : 1;  // 12, or 8 to 16, of 16 registers
#endif

// A pixel has `size` numbers. From one of a block to the next, `apart` further on: those that see the same neighbours are
// `rate` apart.
struct PixelStep {
    int64_t rate, size, apart;
};
template <int octets>
struct NextPixel {  // the same at rate 1, with all channels in so many octets
    static constexpr int64_t rate = 1, size = octets * Window::octet, apart = size;
};

template <class T>
DF_INLINE Octet<T> octet_of(T value) {
    return Octet<T>{value, value, value, value, value, value, value, value};
}

// The sums of eight octets.
template <class T>
DF_INLINE Octet<T> totals(const Octet<T> (&octets)[8]) {
    Octet<T> half[4], quarter[2];
    DF_UNROLL for (int i = 0; i < 4; ++i) {
        const Octet<T>&a = octets[2 * i], &b = octets[2 * i + 1];
        half[i] = DF_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + DF_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    }
    DF_UNROLL for (int i = 0; i < 2; ++i) {
        const Octet<T>&a = half[2 * i], &b = half[2 * i + 1];
        quarter[i] = DF_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + DF_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    const Octet<T>&a = quarter[0], &b = quarter[1];
    return DF_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + DF_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

// Zeros beside the rows of a map, and before and after it, which the caller leaves uninitialised.
template <class T>
void clear_beside(const Window& w, T* map, int64_t channels) {
    const int64_t size = round_up(channels, Window::octet), rows = w.batch * w.height;
    const auto clear = [&](T* from, int64_t pixels) {
        std::memset(from, 0, sizeof(T) * static_cast<size_t>(pixels * size));
    };
    clear(map, w.map_lead);
    for (int64_t row = 0; row < rows; ++row)
        clear(w.map_row(map, channels, 0, row) + w.width * size, w.pixels - w.width);
    clear(w.map_row(map, channels, 0, rows), w.map_lead);
}

// Asks for what the next row needs of `count` numbers: as much of it as columns x to x + `columns` are of `width`.
template <class T>
DF_INLINE void prefetch_share(const T* first, int64_t count, int64_t x, int64_t columns, int64_t width) {
    const int64_t lines = (count + line_of<T> - 1) / line_of<T>;
    for (int64_t i = x * lines / width; i < at_most((x + columns) * lines / width, lines); ++i)
        __builtin_prefetch(first + i * line_of<T>, 0, 2);
}

}  // namespace
}  // namespace densefield::DF_TARGET
