// The exact separable Gaussian of a 2-D grid whose pixels are rows of W channels. Eight outputs are kept in registers,
// so that each input is loaded once for all of them.
#pragma once

#include <cmath>

#include "base/memory.h"
#include "base/rows.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t grid_block = 8;

// Numbers that are summed at a time: eight sums of so many fit into the registers.
#if defined(__AVX512F__)
constexpr int most_piece = 48;
#else
constexpr int most_piece = 8;
#endif
template <int W>
constexpr int grid_piece = W < most_piece ? W : most_piece;

// exp(-t^2 / 2 theta^2) for |t| <= radius, where it is over `least`. Zeros stand around, so that a block of outputs needs no test.
class Taps {
public:
    Taps() = default;
    void set(double theta, int64_t size, double least) {
        const double wanted = std::floor(theta * std::sqrt(-2.0 * std::log(least)));
        radius = wanted < static_cast<double>(size - 1) ? static_cast<int64_t>(wanted) : size - 1;
        padded_ = static_cast<float*>(allocate((2 * radius + 1 + 2 * around) * 4));
        for (int64_t t = -radius - around; t <= radius + around; ++t) {
            const double at = static_cast<double>(t) / theta;
            padded_[t + radius + around] = t < -radius || t > radius ? 0.0f : static_cast<float>(std::exp(-0.5 * at * at));
        }
    }
    Taps(const Taps&) = delete;
    Taps& operator=(const Taps&) = delete;
    ~Taps() { release(padded_); }

    DF_INLINE float operator[](int64_t t) const { return *from(t); }
    DF_INLINE const float* from(int64_t t) const { return padded_ + t + radius + around; }

    int64_t radius = 0;

private:
    static constexpr int64_t around = 2 * grid_block;
    float* padded_ = nullptr;
};

// Outputs k = first .. first + 7 of a line whose places lie `stride` numbers apart, sum_t taps[t] before[i + t] from[i + t]
// at i = k * Step (before: 1 where null), each handed to write(k, row) where k < outputs. Only constants index `sums`, so
// that it is registers.
template <int W, int Step, class S, class Write>
DF_INLINE void grid_sums(const S* from, int64_t stride, int64_t size, int64_t first, int64_t outputs, const Taps& taps,
                         const float* before, const Write& write) {
    const int64_t place = first * Step, begin = place - taps.radius, end = place + Step * (grid_block - 1) + taps.radius;
    Row<float, W> sums[grid_block];
#pragma GCC unroll 8
    for (int k = 0; k < grid_block; ++k) sums[k].zero();
    const auto add = [&](int64_t i, int low, int high) __attribute__((always_inline)) {
        Row<float, W> row;
        row.load(from + i * stride);
        if (before != nullptr) row.scale(before[i]);
        const float* const tap = hide_origin(taps.from(i - place));
#pragma GCC unroll 8
        for (int k = low; k <= high; ++k) sums[k].add(row, tap[-k * Step]);
    };
    constexpr int top = grid_block - 1, most = Step * top;
    if (begin >= 0 && end < size && 2 * taps.radius >= most) {
        // Inside, the first and the last inputs reach some of the outputs only.
#pragma GCC unroll 16
        for (int j = 0; j < most; ++j) add(begin + j, 0, j / Step);
        for (int64_t i = begin + most; i <= end - most; ++i) add(i, 0, top);
#pragma GCC unroll 16
        for (int j = 1; j <= most; ++j) add(end - most + j, (j + Step - 1) / Step, top);
    } else {
        for (int64_t i = begin > 0 ? begin : 0; i <= (end < size ? end : size - 1); ++i) add(i, 0, top);
    }
#pragma GCC unroll 8
    for (int k = 0; k < grid_block; ++k)
        if (first + k < outputs) write(first + k, sums[k]);
}

// Piece: numbers that are summed at a time; Step: how far apart the places of outputs are; S: what lines are stored as.

// A line's outputs k = first .. last - 1 at the places k * Step, of `width` channels, times `factor` and, where given,
// after[k]. Where `before` is the same all around a block of outputs, as it is away from the borders, `uniform`
// (find_uniform) holds it.
template <int Piece, int Step, class S>
DF_NOINLINE void grid_line(const S* from, S* to, int64_t width, int64_t size, int64_t first, int64_t last, const Taps& taps,
                           const float* before, const float* uniform, const float* after, float factor) {
    for (int64_t block = first; block < last; block += grid_block, ++uniform) {
        const float times = *uniform != 0.0f ? *uniform * factor : factor;
        for (int64_t c = 0; c < width; c += Piece)
            grid_sums<Piece, Step>(from + c, width, size, block, last, taps, *uniform != 0.0f ? nullptr : before,
                                   [&](int64_t k, Row<float, Piece>& row) __attribute__((always_inline)) {
                                       row.scale(after != nullptr ? after[k] * times : times);
                                       row.store(to + (k - first) * width + c);
                                   });
    }
}

inline void find_uniform(const float* before, int64_t size, int64_t first, int64_t last, int step, const Taps& taps,
                      float* uniform) {
    for (int64_t block = first; block < last; block += grid_block, ++uniform) {
        const int64_t begin = block * step - taps.radius, end = (block + grid_block - 1) * step + taps.radius;
        float low = begin >= 0 && end < size ? before[begin] : 0.0f, high = low;
        for (int64_t i = begin; low != 0.0f && i <= end; ++i) {
            low = before[i] < low ? before[i] : low;
            high = before[i] > high ? before[i] : high;
        }
        *uniform = high <= low * 1.00001f ? high : 0.0f;
    }
}

// Lines y0 .. y0 + 7 and columns x0 .. x1 of the grid, filtered along its columns, into lines of `line` pixels of `pixel`
// numbers. A place has `channels`, a line `stride` numbers; what is beyond a place's last whole piece is read and written
// as one.
template <int Piece, class S>
DF_NOINLINE void grid_columns(const S* from, float* to, int64_t channels, int64_t height, int64_t stride, int64_t y0,
                              int64_t x0, int64_t x1, int64_t line, int64_t pixel, const Taps& taps, const float* after) {
    for (int64_t x = x0; x < x1; ++x)
        for (int64_t c = 0; c < channels; c += Piece)
            grid_sums<Piece, 1>(from + x * channels + c, stride, height, y0, height, taps, nullptr,
                                [&](int64_t y, Row<float, Piece>& row) __attribute__((always_inline)) {
                                    row.scale(after[y]);
                                    row.store(to + ((y - y0) * line + x - x0) * pixel + c);
                                });
}

}  // namespace
}  // namespace densefield::DF_TARGET
