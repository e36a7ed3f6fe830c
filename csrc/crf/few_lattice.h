// Lines of pixels of W labels into lattice tables and out of them; tables are floats, a row of W a lattice point.
#pragma once

#include <cstdint>

#include "densefield.h"
#include "lattice/table.h"

namespace densefield::DF_TARGET {
namespace {

// message = after K rows for `count` points from `start` on, from the blurred table. `Corners`: d + 1 where it is known to
// the compiler, else 0.
template <int W, int Corners>
void slice_message(const df_field_lattice& lattice, const float* table, int64_t points, int64_t start, int64_t count,
                   float* message) {
    const int corners = Corners > 0 ? Corners : lattice.d + 1;
    const float* const after = lattice.after + start;
    const bool far = lattice.touched * W > (1 << 20);
    slice_line<W>(table, lattice.vertices + start * corners, lattice.weights + start * corners, corners, count, far,
                  points - start, [=](int64_t x, Row<float, W> row) __attribute__((always_inline)) {
                      row.scale(after[x]);
                      row.store(message + x * W);
                  });
}

// Adds before q, spread to its vertices, to a table.
template <int W, int Corners>
void splat_line(const df_field_lattice& lattice, int64_t start, int64_t count, const float* q, float* table) {
    const int corners = Corners > 0 ? Corners : lattice.d + 1;
    const int32_t* vertices = lattice.vertices + start * corners;
    const float* weights = lattice.weights + start * corners;
    const float* const before = lattice.before + start;
    for (int64_t x = 0; x < count; ++x, vertices += corners, weights += corners) {
        Row<float, W> row;
        row.load(q + x * W);
        row.scale(before[x]);
        splat_row<float, W>(row, vertices, weights, corners, table);
    }
}

template <int W>
void slice_any(const df_field_lattice& lattice, const float* table, int64_t points, int64_t start, int64_t count,
               float* message) {
    switch (lattice.d) {
        case 2: return slice_message<W, 3>(lattice, table, points, start, count, message);
        case 5: return slice_message<W, 6>(lattice, table, points, start, count, message);
        default: slice_message<W, 0>(lattice, table, points, start, count, message);
    }
}

template <int W>
void splat_any(const df_field_lattice& lattice, int64_t start, int64_t count, const float* q, float* table) {
    switch (lattice.d) {
        case 2: return splat_line<W, 3>(lattice, start, count, q, table);
        case 5: return splat_line<W, 6>(lattice, start, count, q, table);
        default: splat_line<W, 0>(lattice, start, count, q, table);
    }
}

}  // namespace
}  // namespace densefield::DF_TARGET
