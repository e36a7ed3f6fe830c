// A grid kernel of a mean field over rows of labels: lines first, once an iteration, then columns, tile by tile.
#pragma once

#include "grid_taps.h"
#include "owned.h"

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
        const int64_t first = taps.halved ? -Halving::margin : 0;
        even_.take((taps.places + grid_block - 1) / grid_block);
        find_even(before_x_, width, first, first + taps.places, taps.halved ? 2 : 1, taps.along_lines(), even_.data());
    }

    // Filters the lines y0 .. y1 for the walk to come; turn() then puts them in use. The rows of line y0 begin at `rows`, those
    // of the next group `plane` later.
    void filter_lines(const S* rows, int64_t plane, int64_t y0, int64_t y1) {
        for (int64_t g = 0; g < groups_; ++g)
            for (int64_t y = y0; y < y1; ++y) {
                const S* const from = rows + g * plane + (y - y0) * width_ * W;
                S* const to = lines_[1 - turn_].data() + (g * height_ + y) * taps.places * W;
                if (taps.halved)
                    grid_line<grid_piece<W>, 2>(from, to, W, width_, -Halving::margin, taps.places - Halving::margin,
                                                taps.halving.first, before_x_, even_.data(), nullptr, before_y_[y]);
                else
                    grid_line<grid_piece<W>, 1>(from, to, W, width_, 0, width_, taps.x, before_x_, even_.data(), after_x_,
                                                before_y_[y]);
            }
    }

    void turn() { turn_ = 1 - turn_; }

    // Rows y0 .. y0 + 7 of the columns that x0 .. x1 need, into lines of `line` pixels.
    void filter_columns(int64_t y0, int64_t x0, int64_t x1, int64_t line, float* to) const {
        const int64_t left = taps.halved ? x0 / 2 + Halving::margin - 3 : x0;
        const int64_t right = taps.halved ? left + (x1 - x0 + 1) / 2 + Halving::reach : x1;
        const int64_t stride = taps.places * W;
        if (groups_ == 1)  // all numbers of a line are alike and stand side by side: one place
            return grid_columns<most_piece>(lines_[turn_].data() + left * W, to, (right - left) * W, height_, stride, y0, 0, 1, line, W,
                                            taps.y, after_y_);
        for (int64_t g = 0; g < groups_; ++g)
            grid_columns<grid_piece<W>>(lines_[turn_].data() + g * height_ * stride, to + g * W, W, height_, stride, y0, left, right,
                                        line, groups_ * W, taps.y, after_y_);
    }

    // Asks for what filter_columns is to read.
    void ask_columns(int64_t y0, int64_t x0, int64_t x1) const {
        const int64_t left = taps.halved ? x0 / 2 + Halving::margin - 3 : x0;
        const int64_t right = taps.halved ? left + (x1 - x0 + 1) / 2 + Halving::reach : x1;
        const int64_t top = y0 > taps.y.radius ? y0 - taps.y.radius : 0, bottom = y0 + grid_block + taps.y.radius;
        for (int64_t g = 0; g < groups_ && x0 < x1; ++g)
            for (int64_t y = top; y < (bottom < height_ ? bottom : height_); ++y)
                ask_for(lines_[turn_].data() + ((g * height_ + y) * taps.places + left) * W, (right - left) * W);
    }

    // A line's message from x0 on, from its sums at every other pixel, times `factor`; added where `add`.
    void widen_to(const float* sums, int64_t x0, int64_t count, float factor, bool add, float* to) const {
        for (int64_t g = 0; g < groups_; ++g)
            (add ? widen_by<W, true> : widen_by<W, false>)(sums + g * W, groups_ * W, count, taps.halving.weights, after_x_ + x0,
                                                           factor, to + g * W);
    }

private:
    int64_t height_ = 0, width_ = 0, groups_ = 1;
    const float *before_y_ = nullptr, *after_y_ = nullptr, *before_x_ = nullptr, *after_x_ = nullptr;
    Owned<float> even_;
    Owned<S> lines_[2];  // (groups, height, places, W)
    int turn_ = 0;
};

}  // namespace
}  // namespace densefield::DF_TARGET
