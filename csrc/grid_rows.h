// The exact separable Gaussian of a 2-D grid whose pixels are rows of W channels. Eight outputs are kept in registers,
// so that each input is loaded once for all of them.
#pragma once

#include <cmath>

#include "memory.h"
#include "rows.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t grid_block = 8;

// exp(-t^2 / 2 theta^2) for |t| <= radius, where it is over `least`. Zeros stand around, so that a block of outputs needs no test.
class Taps {
public:
    Taps() = default;
    void set(double theta, int64_t size, double least) {
        const double wanted = std::floor(theta * std::sqrt(-2.0 * std::log(least)));
        radius = wanted < static_cast<double>(size - 1) ? static_cast<int64_t>(wanted) : size - 1;
        padded_ = static_cast<float*>(allocate((2 * radius + 1 + 2 * grid_block) * 4));
        for (int64_t t = -radius - grid_block; t <= radius + grid_block; ++t) {
            const double at = static_cast<double>(t) / theta;
            padded_[t + radius + grid_block] = t < -radius || t > radius ? 0.0f : static_cast<float>(std::exp(-0.5 * at * at));
        }
    }
    Taps(const Taps&) = delete;
    Taps& operator=(const Taps&) = delete;
    ~Taps() { release(padded_); }

    DF_INLINE float operator[](int64_t t) const { return padded_[t + radius + grid_block]; }

    int64_t radius = 0;

private:
    float* padded_ = nullptr;
};

// Outputs i = first .. first + 7 of a line whose places lie `stride` numbers apart, sum_t taps[t] before[i + t] from[i + t]
// (before: 1 where null), each handed to write(i, row) where it lies in the line. Only constants index `sums`, so that it
// is registers.
template <int W, class S, class Write>
DF_INLINE void grid_sums(const S* from, int64_t stride, int64_t size, int64_t first, const Taps& taps,
                         const float* before, const Write& write) {
    const int64_t begin = first - taps.radius, end = first + grid_block - 1 + taps.radius;
    Row<float, W> sums[grid_block];
#pragma GCC unroll 8
    for (int k = 0; k < grid_block; ++k) sums[k].zero();
    const auto add = [&](int64_t i, int low, int high) __attribute__((always_inline)) {
        Row<float, W> row;
        row.load(from + i * stride);
        if (before != nullptr) row.scale(before[i]);
#pragma GCC unroll 8
        for (int k = low; k <= high; ++k) sums[k].add(row, taps[i - first - k]);
    };
    constexpr int most = grid_block - 1;
    if (begin >= 0 && end < size && 2 * taps.radius >= most) {
        // Inside, the first and the last inputs reach some of the outputs only.
#pragma GCC unroll 8
        for (int j = 0; j < most; ++j) add(begin + j, 0, j);
        for (int64_t i = begin + most; i <= end - most; ++i) add(i, 0, most);
#pragma GCC unroll 8
        for (int j = 1; j <= most; ++j) add(end - most + j, j, most);
    } else {
        for (int64_t i = begin > 0 ? begin : 0; i <= (end < size ? end : size - 1); ++i) add(i, 0, most);
    }
#pragma GCC unroll 8
    for (int k = 0; k < grid_block; ++k)
        if (first + k < size) write(first + k, sums[k]);
}

// Whether a line's `before` is the same all around each block of outputs, as it is away from the borders.
inline void find_even(const float* before, int64_t size, const Taps& taps, float* even) {
    for (int64_t first = 0; first < size; first += grid_block) {
        const int64_t begin = first - taps.radius, end = first + grid_block - 1 + taps.radius;
        float low = begin >= 0 && end < size ? before[begin] : 0.0f, high = low;
        for (int64_t i = begin; low != 0.0f && i <= end; ++i) {
            low = before[i] < low ? before[i] : low;
            high = before[i] > high ? before[i] : high;
        }
        even[first / grid_block] = high <= low * 1.00001f ? high : 0.0f;
    }
}

// A line, times after[x] and `factor`. `even`: see find_even.
template <int W, class S>
void grid_line(const S* from, S* to, int64_t size, const Taps& taps, const float* before, const float* even,
               const float* after, float factor) {
    for (int64_t first = 0; first < size; first += grid_block) {
        const float same = even[first / grid_block];
        const float times = same != 0.0f ? same * factor : factor;
        const auto write = [&](int64_t x, Row<float, W>& row) __attribute__((always_inline)) {
            row.scale(after[x] * times);
            row.store(to + x * W);
        };
        if (same != 0.0f)
            grid_sums<W>(from, W, size, first, taps, nullptr, write);
        else
            grid_sums<W>(from, W, size, first, taps, before, write);
    }
}

// Rows y0 .. y0 + 7 and columns x0 .. x1 of the grid, filtered along its columns, into lines of `line` pixels of `pixel`
// numbers.
template <int W, class S>
void grid_columns(const S* from, float* to, int64_t height, int64_t width, int64_t y0, int64_t x0, int64_t x1,
                  int64_t line, int64_t pixel, const Taps& taps, const float* after) {
    for (int64_t x = x0; x < x1; ++x)
        grid_sums<W>(from + x * W, width * W, height, y0, taps, nullptr,
                     [&](int64_t y, Row<float, W>& row) __attribute__((always_inline)) {
                         row.scale(after[y]);
                         row.store(to + ((y - y0) * line + x - x0) * pixel);
                     });
}

}  // namespace
}  // namespace densefield::DF_TARGET
