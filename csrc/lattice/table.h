// The rows of a lattice's table: pixels splatted to them, blurred, sliced.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "base/rows.h"
#include "lattice/corners.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t chunk_rows = 4096;

// Adds a pixel's row to those of its corners.
template <class T, int W>
DF_INLINE void splat_row(const Row<T, W>& row, const int32_t* vertices, const T* weights, int corners, T* table) {
    for (int r = 0; r < corners; ++r) {
        T* const to = table + static_cast<int64_t>(vertices[r]) * W;
        Row<T, W> sum;
        sum.load(to);
        sum.add(row, weights[r]);
        sum.store(to);
    }
}

// The other way to splat: each row gathers the pixels that touch it. Calls body(row, number of its chunk, each) for all
// rows, `chunk` of them at a time, where each(add) calls add(corner, pixel) for the row's corners in their order, and
// ask(corner, pixel) so many corners `Ahead` of that.
template <int Ahead, class Ask, class Body>
void gather_rows(const SortedCorners& corners, int64_t chunk, int n_threads, const Ask& ask, const Body& body) {
    const PixelOfCorner pixel_of(corners.d);
    const int32_t *const starts = corners.starts, *const entries = corners.entries, last = starts[corners.rows];
    parallel_ranges(corners.rows, chunk, n_threads, [&](int64_t begin, int64_t end, int64_t number) {
        for (int64_t row = begin; row < end; ++row)
            body(row, number, [&](const auto& add) __attribute__((always_inline)) {
                for (int32_t i = starts[row]; i < starts[row + 1]; ++i) {
                    if (i + Ahead < last) ask(entries[i + Ahead], pixel_of(entries[i + Ahead]));
                    add(entries[i], pixel_of(entries[i]));
                }
            });
    });
}

// The weighted sum of a pixel's corners: two sums side by side wait less.
template <class T, int W, class S>
DF_INLINE Row<T, W> slice_row(const S* table, const int32_t* vertices, const T* weights, int corners) {
    Row<T, W> even, odd;
    even.zero();
    odd.zero();
    for (int r = 0; r + 1 < corners; r += 2) {
        even.add_from(table + static_cast<int64_t>(vertices[r]) * W, weights[r]);
        odd.add_from(table + static_cast<int64_t>(vertices[r + 1]) * W, weights[r + 1]);
    }
    if (corners % 2 == 1) even.add_from(table + static_cast<int64_t>(vertices[corners - 1]) * W, weights[corners - 1]);
    even.add(odd);
    return even;
}

// The same as one sum, which rounds otherwise, of weights times `scale`.
template <class T, int W>
DF_INLINE Row<T, W> slice_row_in_order(const T* table, const int32_t* vertices, const T* weights, int corners,
                                       T scale) {
    Row<T, W> sum;
    sum.zero();
    for (int r = 0; r < corners; ++r) sum.add_from(table + static_cast<int64_t>(vertices[r]) * W, weights[r] * scale);
    return sum;
}

// Calls take(x, row) with the slices of `count` pixels. Where the table is `far`, beyond the nearer caches, rows are asked
// for ahead, up to the end of `left` pixels.
template <int W, class S, class Take>
DF_INLINE void slice_line(const S* table, const int32_t* vertices, const float* weights, int corners, int64_t count,
                          bool far, int64_t left, const Take& take) {
    constexpr int64_t ahead = 4;  // pixels
    for (int64_t x = 0; x < count; ++x, vertices += corners, weights += corners) {
        if (far && x + ahead < left)
            for (int r = 0; r < corners; ++r)
                __builtin_prefetch(table + static_cast<int64_t>(vertices[ahead * corners + r]) * W);
        take(x, slice_row<float, W>(table, vertices, weights, corners));
    }
}

// What a blur along one axis makes of a row and its neighbours.
template <class T, int W, class S, class To>
DF_INLINE void blur_row(const S* back, const S* middle, const S* on, To* to) {
    Row<T, W> sides, sum;
    sides.load(back);
    sum.load(on);
    sides.add(sum);
    sum.load(middle);
    sum.add(sides, static_cast<T>(0.5));
    sum.store(to);
}

// Along all axes, forth and back between two tables of rows + 1 rows, whose last is zero and stands for no neighbour;
// gives the one that holds the result.
template <class T, int W, class S>
S* blur(S* from, S* to, const int32_t* neighbours, int axes, int64_t rows, bool reverse, int n_threads) {
    for (int step = 0; step < axes; ++step) {
        const int32_t* const links = neighbours + (reverse ? axes - 1 - step : step) * rows * 2;
        parallel_ranges(rows, chunk_rows, n_threads, [=](int64_t begin, int64_t end, int64_t) {
            for (int64_t row = begin; row < end; ++row)
                blur_row<T, W>(from + static_cast<int64_t>(links[2 * row]) * W, from + row * W,
                               from + static_cast<int64_t>(links[2 * row + 1]) * W, to + row * W);
        });
        S* const swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

}  // namespace
}  // namespace densefield::DF_TARGET
