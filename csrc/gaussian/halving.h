// A wide Gaussian along a line at half the cost: a narrower one at every other pixel, then between those by a few taps.
#pragma once

#include <cmath>

#include "gaussian/grid_rows.h"

namespace densefield::DF_TARGET {
namespace {

// exp(-t^2 / 2 theta^2) ~ sum_o weights(|o|) first(t - o) over even offsets o for even places, odd ones for odd places.
// `first` is a Gaussian of variance theta^2 - 2.75 cut at 1e-3 of its peak; the weights solve the least squares, held
// near those of a Gaussian of variance 2.75. Off by 1e-4 to 4e-4 of the sum of all taps.
class Halving {
public:
    static constexpr int64_t margin = 4;  // outputs of `first` wanted before and after a line
    static constexpr int reach = 6;

    // Whether it serves: taps are wide enough, the line is longer than they are.
    static bool serves(double theta, int64_t size) { return theta >= 2.7 && 4.0 * theta <= static_cast<double>(size); }

    void set(double theta) {
        const double variance = theta * theta - narrow;
        const auto far = static_cast<int64_t>(std::ceil(6.0 * theta)) + 8;
        first.set(std::sqrt(variance), far, 1e-3);
        for (int odd = 0; odd < 2; ++odd) fit(theta, variance, far, odd);
    }

    Taps first;
    float weights[reach + 1] = {};

private:
    static constexpr double narrow = 2.75;

    double cut(double variance, int64_t t) const {
        const auto at = static_cast<double>(t);
        return t < -first.radius || t > first.radius ? 0.0 : std::exp(-0.5 * at * at / variance);
    }

    double pair(double variance, int64_t t, int offset) const {
        return cut(variance, t - offset) + (offset > 0 ? cut(variance, t + offset) : 0.0);
    }

    void fit(double theta, double variance, int64_t far, int odd) {
        const int count = 4 - odd;
        double start[4], squares[4][5] = {}, wanted = 0.0, given = 0.0;
        for (int a = 0; a < count; ++a) {
            const int offset = 2 * a + odd;
            start[a] = std::exp(-0.5 * offset * offset / narrow);
        }
        for (int64_t t = -far; t <= far; ++t) {
            const double target = std::exp(-0.5 * static_cast<double>(t * t) / (theta * theta));
            wanted += target;
            for (int a = 0; a < count; ++a) {
                const double row = pair(variance, t, 2 * a + odd);
                given += start[a] * row;
                for (int b = 0; b < count; ++b) squares[a][b] += row * pair(variance, t, 2 * b + odd);
                squares[a][4] += row * target;
            }
        }
        const double hold = 1e-4 * squares[0][0];
        for (int a = 0; a < count; ++a) {
            squares[a][a] += hold;
            squares[a][4] += hold * start[a] * wanted / given;
        }
        for (int a = 0; a < count; ++a)  // positive definite: no pivots
            for (int b = 0; b < count; ++b) {
                if (b == a) continue;
                const double factor = squares[b][a] / squares[a][a];
                for (int c = a; c < 5; ++c) squares[b][c] -= factor * squares[a][c];
            }
        for (int a = 0; a < count; ++a) weights[2 * a + odd] = static_cast<float>(squares[a][4] / squares[a][a]);
    }
};

// out[x] for x < count of a line, from its sums at every other pixel; sums[3] stands at x = 0. Up to seven sums beyond the
// last in use are read. Each row goes to write(x, row).
template <int W, class S, class Write>
DF_INLINE void widen(const S* sums, int64_t stride, int64_t count, const float* weights, const Write& write) {
    constexpr int block = 8, inputs = block / 2 + Halving::reach;
    for (int64_t x = 0; x < count; x += block) {
        Row<float, W> out[block];
#pragma GCC unroll 8
        for (int k = 0; k < block; ++k) out[k].zero();
#pragma GCC unroll 16
        for (int i = 0; i < inputs; ++i) {
            Row<float, W> row;
            row.load(sums + (x / 2 + i) * stride);
#pragma GCC unroll 8
            for (int k = 0; k < block; ++k) {
                const int offset = 2 * i - Halving::reach - k, far = offset < 0 ? -offset : offset;
                if (far <= Halving::reach) out[k].add(row, weights[far]);
            }
        }
#pragma GCC unroll 8
        for (int k = 0; k < block; ++k)
            if (x + k < count) write(x + k, out[k]);
    }
}

}  // namespace
}  // namespace densefield::DF_TARGET
