// Blurring a table of lattice values, row by row.
#pragma once

#include "base/parallel.h"
#include "base/rows.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t chunk_rows = 4096;

// to[r] = from[r] + (from[back] + from[on]) / 2 along one axis; row `rows` of `from` is zero and stands for no neighbour.
template <class T, int W, class S>
DF_INLINE void blur_range(const S* from, S* to, const int32_t* links, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        Row<T, W> sides, middle;
        sides.load(from + static_cast<int64_t>(links[2 * row]) * W);
        middle.load(from + static_cast<int64_t>(links[2 * row + 1]) * W);
        sides.add(middle);
        middle.load(from + row * W);
        middle.add(sides, static_cast<T>(0.5));
        middle.store(to + row * W);
    }
}

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

template <class T, int W, class S>
void blur_axis(const S* from, S* to, const int32_t* links, int64_t rows, int n_threads) {
    const auto body = [&](int64_t chunk, int) {
        const int64_t begin = chunk * chunk_rows, end = begin + chunk_rows < rows ? begin + chunk_rows : rows;
        blur_range<T, W>(from, to, links, begin, end);
    };
    parallel_for((rows + chunk_rows - 1) / chunk_rows, n_threads, body);
}

// Along all axes, forth and back between two tables of rows + 1 rows; gives the one that holds the result.
template <class T, int W, class S>
S* blur(S* from, S* to, const int32_t* neighbours, int axes, int64_t rows, bool reverse, int n_threads) {
    for (int step = 0; step < axes; ++step) {
        blur_axis<T, W>(from, to, neighbours + (reverse ? axes - 1 - step : step) * rows * 2, rows, n_threads);
        S* const swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

}  // namespace
}  // namespace densefield::DF_TARGET
