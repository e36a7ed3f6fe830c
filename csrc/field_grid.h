// A grid kernel of a mean field over rows of labels: lines first, once an iteration, then columns, tile by tile.
#pragma once

#include "halving.h"
#include "mean_field.h"
#include "owned.h"

namespace densefield::DF_TARGET {
namespace {

template <int W, class S>
class FieldGrid {
public:
    bool halved = false;  // filtered at every other pixel of a line

    // `back`: the transpose.
    void prepare(const df_field_grid& of, int64_t height, int64_t width, int64_t groups, bool half, bool back) {
        height_ = height;
        width_ = width;
        groups_ = groups;
        before_x_ = back ? of.after_x : of.before_x;
        after_x_ = back ? of.before_x : of.after_x;
        before_y_ = back ? of.after_y : of.before_y;
        after_y_ = back ? of.before_y : of.after_y;
        // What is cut weighs 1e-4 of the whole, less than half precision tells.
        const double least = half ? 5e-4 : 1e-7;
        taps_y_.set(of.theta_y, height, least);
        halved = half && Halving::serves(of.theta_x, width);
        if (halved)
            halving_.set(of.theta_x);
        else
            taps_x_.set(of.theta_x, width, least);
        places_ = halved ? (width + 1) / 2 + 2 * Halving::margin : width;
        for (Owned<S>& lines : lines_) lines.take(groups * height * places_ * W);
        const int64_t first = halved ? -Halving::margin : 0;
        even_.take((places_ + grid_block - 1) / grid_block);
        find_even(before_x_, width, first, first + places_, halved ? 2 : 1, halved ? halving_.first : taps_x_, even_.data());
    }

    // Filters the lines y0 .. y1 for the walk to come; turn() then puts them in use. The rows of line y0 begin at `rows`, those
    // of the next group `plane` later.
    void filter_lines(const S* rows, int64_t plane, int64_t y0, int64_t y1) {
        for (int64_t g = 0; g < groups_; ++g)
            for (int64_t y = y0; y < y1; ++y) {
                const S* const from = rows + g * plane + (y - y0) * width_ * W;
                S* const to = lines_[1 - turn_].data() + (g * height_ + y) * places_ * W;
                if (halved)
                    grid_line<W, 2>(from, to, width_, -Halving::margin, places_ - Halving::margin, halving_.first, before_x_,
                                    even_.data(), nullptr, before_y_[y]);
                else
                    grid_line<W, 1>(from, to, width_, 0, width_, taps_x_, before_x_, even_.data(), after_x_, before_y_[y]);
            }
    }

    void turn() { turn_ = 1 - turn_; }

    // Rows y0 .. y0 + 7 of the columns that x0 .. x1 need, into lines of `line` pixels.
    void filter_columns(int64_t y0, int64_t x0, int64_t x1, int64_t line, float* to) const {
        const int64_t left = halved ? x0 / 2 + Halving::margin - 3 : x0;
        const int64_t right = halved ? left + (x1 - x0 + 1) / 2 + Halving::reach : x1;
        for (int64_t g = 0; g < groups_; ++g)
            grid_columns<W>(lines_[turn_].data() + g * height_ * places_ * W, to + g * W, height_, places_, y0, left, right, line,
                            groups_ * W, taps_y_, after_y_);
    }

    // A line's message from x0 on, from its sums at every other pixel, times `factor`; added where `add`.
    void widen_to(const float* sums, int64_t x0, int64_t count, float factor, bool add, float* to) const {
        const float* const after = after_x_ + x0;
        const int64_t step = groups_ * W;
        for (int64_t g = 0; g < groups_; ++g)
            widen<W>(sums + g * W, step, count, halving_.weights,
                     [&](int64_t x, Row<float, W>& row) __attribute__((always_inline)) {
                         Row<float, W> sum;
                         sum.zero();
                         if (add) sum.load(to + x * step + g * W);
                         sum.add(row, factor * after[x]);
                         sum.store(to + x * step + g * W);
                     });
    }

private:
    int64_t height_ = 0, width_ = 0, groups_ = 1;
    const float *before_y_ = nullptr, *after_y_ = nullptr, *before_x_ = nullptr, *after_x_ = nullptr;
    Halving halving_;
    Taps taps_y_, taps_x_;
    int64_t places_ = 0;  // of a filtered line
    Owned<float> even_;
    Owned<S> lines_[2];  // (groups, height, places, W)
    int turn_ = 0;
};

}  // namespace
}  // namespace densefield::DF_TARGET
