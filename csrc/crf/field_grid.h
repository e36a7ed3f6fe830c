// A grid kernel of a mean field over rows of labels: lines first, once an iteration, then columns, tile by tile. A wide one is
// filtered at every other line too, once an iteration, and a tile takes its lines from between those.
#pragma once

#include "base/owned.h"
#include "base/parallel.h"
#include "gaussian/grid_taps.h"

namespace densefield::DF_TARGET {
namespace {

// A line's message from its sums at every other pixel, times `factor` and after[x]; added where `Add`.
template <int W, bool Add>
DF_NOINLINE void widen_by(const float* sums, int64_t step, int64_t count, const float* weights, const float* after,
                          float factor, float* to) {
    widen<W>(sums, step, count, weights, [&](int64_t x, Row<float, W>& row) __attribute__((always_inline)) {
        Row<float, W> sum;
        sum.zero();
        if (Add) sum.load(to + x * step);
        sum.add(row, factor * after[x]);
        sum.store(to + x * step);
    });
}

// Eight of the sums along columns at every other line, from the first on, of lines of `numbers`; results lie `apart`.
template <class S>
DF_NOINLINE void halve_columns(const S* from, int64_t numbers, int64_t height, int64_t first, int64_t outputs, const Taps& taps,
                               S* to, int64_t apart) {
    for (int64_t c = 0; c < numbers; c += most_piece)
        grid_sums<most_piece, 2>(from + c, numbers, height, first, outputs, taps, nullptr,
                                 [&](int64_t k, Row<float, most_piece>& row) __attribute__((always_inline)) {
                                     row.store(to + (k - first) * apart + c);
                                 });
}

// `numbers` of each of `count` lines, `stride` apart, from the sums at every other line, times after[y].
template <int Piece, class S>
DF_NOINLINE void widen_columns(const S* sums, int64_t apart, float* to, int64_t numbers, int64_t count, int64_t stride,
                               const float* weights, const float* after) {
    for (int64_t c = 0; c < numbers; c += Piece)
        widen<Piece>(sums + c, apart, count, weights, [&](int64_t y, Row<float, Piece>& row) __attribute__((always_inline)) {
            row.scale(after[y]);
            row.store(to + y * stride + c);
        });
}

// W: labels of a group; S: what their rows are stored as.
template <int W, class S>
class FieldGrid {
public:
    GridTaps taps;

    // `back`: the transpose.
    DF_NOINLINE void prepare(const df_field_grid& of, int64_t height, int64_t width, int64_t groups, bool half, bool back) {
        height_ = height;
        width_ = width;
        groups_ = groups;
        before_x_ = back ? of.after_x : of.before_x;
        after_x_ = back ? of.before_x : of.after_x;
        before_y_ = back ? of.after_y : of.before_y;
        after_y_ = back ? of.before_y : of.after_y;
        taps.set(of, height, width, half);
        for (Owned<S>& lines : lines_) lines.take(groups * height * taps.places * W + most_piece);
        half_height_ = half && Halving::serves(of.theta_y, height) ? (height + 1) / 2 + 2 * Halving::margin : 0;
        if (half_height_ > 0) {
            columns_.set(of.theta_y);
            sums_line_ = (taps.places * W + most_piece - 1) / most_piece * most_piece;
            sums_.take((groups * (half_height_ + Halving::reach) + 1) * sums_line_);  // read beyond, to no effect
        }
        const int64_t first = taps.halved ? -Halving::margin : 0;
        uniform_.take((taps.places + grid_block - 1) / grid_block);
        find_uniform(before_x_, width, first, first + taps.places, taps.halved ? 2 : 1, taps.along_lines(), uniform_.data());
    }

    // Filters the lines y0 .. y1 for the walk to come; turn() then puts them in use. The rows of line y0 begin at `rows`, those
    // of the next group `plane` later.
    DF_NOINLINE void filter_lines(const S* rows, int64_t plane, int64_t y0, int64_t y1) {
        for (int64_t g = 0; g < groups_; ++g)
            for (int64_t y = y0; y < y1; ++y) {
                const S* const from = rows + g * plane + (y - y0) * width_ * W;
                S* const to = lines_[1 - turn_].data() + (g * height_ + y) * taps.places * W;
                if (taps.halved)
                    grid_line<grid_piece<W>, 2>(from, to, W, width_, -Halving::margin, taps.places - Halving::margin,
                                                taps.halving.first, before_x_, uniform_.data(), nullptr, before_y_[y]);
                else
                    grid_line<grid_piece<W>, 1>(from, to, W, width_, 0, width_, taps.x, before_x_, uniform_.data(), after_x_,
                                                before_y_[y]);
            }
    }

    // Puts the filtered lines in use.
    DF_NOINLINE void turn(int n_threads) {
        turn_ = 1 - turn_;
        if (half_height_ == 0) return;
        const int64_t blocks = (half_height_ + grid_block - 1) / grid_block, stride = taps.places * W;
        parallel_for(groups_ * blocks, n_threads, [&](int64_t chunk, int) {
            const int64_t g = chunk / blocks, first = chunk % blocks * grid_block - Halving::margin;
            halve_columns(lines_[turn_].data() + g * height_ * stride, stride, height_, first, half_height_ - Halving::margin,
                          columns_.first, line_of_sums(g, 2 * first), sums_line_);
        });
    }

    // Rows y0 .. y0 + 7 of the columns that x0 .. x1 need, into lines of `line` pixels.
    DF_NOINLINE void filter_columns(int64_t y0, int64_t x0, int64_t x1, int64_t line, float* to) const {
        const int64_t left = taps.halved ? x0 / 2 + Halving::margin - 3 : x0;
        const int64_t right = taps.halved ? left + (x1 - x0 + 1) / 2 + Halving::reach : x1;
        const int64_t stride = taps.places * W;
        if (half_height_ > 0) {
            const int64_t count = y0 + grid_block < height_ ? grid_block : height_ - y0;
            const float *const weights = columns_.weights, *const after = after_y_ + y0;
            if (one_group || groups_ == 1)
                return widen_columns<most_piece>(line_of_sums(0, y0 - 6) + left * W, sums_line_, to, (right - left) * W, count,
                                                 line * W, weights, after);
            if constexpr (!one_group)
                for (int64_t g = 0; g < groups_; ++g)
                    for (int64_t x = left; x < right; ++x)
                        widen_columns<grid_piece<W>>(line_of_sums(g, y0 - 6) + x * W, sums_line_, to + ((x - left) * groups_ + g) * W,
                                                     W, count, line * groups_ * W, weights, after);
            return;
        }
        if (one_group || groups_ == 1)  // all numbers of a line are alike and stand side by side: one place
            return grid_columns<most_piece>(lines_[turn_].data() + left * W, to, (right - left) * W, height_, stride, y0, 0, 1, line, W,
                                            taps.y, after_y_);
        if constexpr (!one_group)
            for (int64_t g = 0; g < groups_; ++g)
                grid_columns<grid_piece<W>>(lines_[turn_].data() + g * height_ * stride, to + g * W, W, height_, stride, y0, left,
                                            right, line, groups_ * W, taps.y, after_y_);
    }

    // Asks for what filter_columns is to read.
    DF_NOINLINE void ask_columns(int64_t y0, int64_t x0, int64_t x1) const {
        const int64_t left = taps.halved ? x0 / 2 + Halving::margin - 3 : x0;
        const int64_t right = taps.halved ? left + (x1 - x0 + 1) / 2 + Halving::reach : x1;
        if (half_height_ > 0) {
            for (int64_t g = 0; g < groups_ && x0 < x1; ++g)
                for (int64_t y = y0 - 6; y <= y0 + grid_block + Halving::reach; y += 2)
                    ask_for(line_of_sums(g, y) + left * W, (right - left) * W);
            return;
        }
        const int64_t top = y0 > taps.y.radius ? y0 - taps.y.radius : 0, bottom = y0 + grid_block + taps.y.radius;
        for (int64_t g = 0; g < groups_ && x0 < x1; ++g)
            for (int64_t y = top; y < (bottom < height_ ? bottom : height_); ++y)
                ask_for(lines_[turn_].data() + ((g * height_ + y) * taps.places + left) * W, (right - left) * W);
    }

    // A line's message from x0 on, from its sums at every other pixel, times `factor`; added where `add`.
    DF_NOINLINE void widen_to(const float* sums, int64_t x0, int64_t count, float factor, bool add, float* to) const {
        for (int64_t g = 0; g < groups_; ++g)
            (add ? widen_by<W, true> : widen_by<W, false>)(sums + g * W, groups_ * W, count, taps.halving.weights, after_x_ + x0,
                                                           factor, to + g * W);
    }

private:
    // The sums along columns at an even line.
    S* line_of_sums(int64_t g, int64_t y) const {
        return sums_.data() + (g * (half_height_ + Halving::reach) + y / 2 + Halving::margin) * sums_line_;
    }

    static constexpr bool one_group = W < 32;  // only the widest rows come in groups

    int64_t height_ = 0, width_ = 0, groups_ = 1;
    int64_t half_height_ = 0, sums_line_ = 0;  // lines of sums_, where columns are halved, and numbers of one
    const float *before_y_ = nullptr, *after_y_ = nullptr, *before_x_ = nullptr, *after_x_ = nullptr;
    Owned<float> uniform_;
    Owned<S> lines_[2];  // (groups, height, places, W)
    Halving columns_;
    Owned<S> sums_;  // (groups, half height + some, numbers)
    int turn_ = 0;
};

}  // namespace
}  // namespace densefield::DF_TARGET
