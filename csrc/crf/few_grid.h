// The exact Gaussian of a grid for flat lines of W labels: lines first, then bands of columns.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/owned.h"
#include "crf/few_labels.h"
#include "gaussian/grid_taps.h"

namespace densefield::DF_TARGET {
namespace {

template <int W>  // labels of a pixel
class FewGrid {
public:
    GridTaps taps;
    int64_t row = 0;   // numbers stored of a filtered line
    int64_t side = 0;  // pixels beside a line that filtering reads as zero

    void prepare(const df_field_grid& of, int64_t height, int64_t width, bool half) {
        grid_ = &of;
        height_ = height;
        width_ = width;
        taps.set(of, height, width, half);
        const Taps& along = taps.along_lines();
        radius_ = along.radius;
        side = taps.halved ? Halving::margin + radius_ / 2 + 2 : radius_ + 1;
        along_.take(2 * radius_ + 1);
        for (int64_t t = -radius_; t <= radius_; ++t) along_[t + radius_] = along[t];
        row = (taps.places * W + flat_width - 1) / flat_width * flat_width;
        before_.take(width * W + flat_width);
        after_.take(width * W + flat_width);
        for (int64_t i = 0; i < width * W + flat_width; ++i) {
            before_[i] = i < width * W ? of.before_x[i / W] : 0.0f;
            after_[i] = i < width * W ? of.after_x[i / W] : 0.0f;
        }
        for (Owned<float>& lines : lines_) lines.take(height * row);
    }

    int64_t padded() const { return ((taps.halved ? (width_ + 1) / 2 : width_) + 2 * side) * W; }  // numbers of a line with its sides

    // Filters line y of Q for the iteration to come; turn() then puts it in use. `even` and `odd` are padded and zero at the
    // sides, `scaled` and `sums` have room for a line.
    void filter_line(const float* q, int64_t y, float* scaled, float* even, float* odd, float* sums) {
        const float times = grid_->before_y[y];
        for (int64_t i = 0; i < width_ * W; i += flat_width) {
            Flat line, before;
            line.load(q + i);
            before.load(before_.data() + i);
            before.scale(times);
            line.multiply(before);
            line.store(scaled + i);
        }
        even += side * W;
        odd += side * W;
        if (taps.halved) {
            const int64_t pairs = width_ / 2;
            for (int64_t j = 0; j < pairs; ++j) {
                std::memcpy(even + j * W, scaled + 2 * j * W, W * sizeof(float));
                std::memcpy(odd + j * W, scaled + (2 * j + 1) * W, W * sizeof(float));
            }
            if (width_ % 2 == 1) {
                std::memcpy(even + pairs * W, scaled + 2 * pairs * W, W * sizeof(float));
                std::memset(odd + pairs * W, 0, W * sizeof(float));
            }
            // Tap t = 2 s of even pixels reaches s pixels of theirs, t = 2 s + 1 of odd ones too.
            const int64_t r = radius_, low = -(r / 2), first = -((r + 1) / 2);
            flat_sums<W>(even + (low - Halving::margin) * W, along_.data() + 2 * low + r, 2, r / 2 - low + 1, sums, taps.places * W,
                         false);
            flat_sums<W>(odd + (first - Halving::margin) * W, along_.data() + 2 * first + 1 + r, 2, (r - 1) / 2 - first + 1, sums,
                         taps.places * W, true);
        } else {
            std::memcpy(even, scaled, static_cast<size_t>(width_ * W) * sizeof(float));
            flat_sums<W>(even - radius_ * W, along_.data(), 1, 2 * radius_ + 1, sums, taps.places * W, false);
        }
        float* const to = lines_[1 - turn_].data() + y * row;
        for (int64_t i = 0; i < row; i += flat_width) {
            Flat line;
            line.load(sums + i);
            line.store(to + i);
        }
    }

    void turn() { turn_ = 1 - turn_; }

    // The sums along columns of grid_block lines from y0 on, `line` numbers apart.
    void filter_columns(int64_t y0, float* sums, int64_t line) const {
        grid_columns<grid_piece<flat_width>>(lines_[turn_].data(), sums, row, height_, row, y0, 0, 1, line, 1, taps.y, grid_->after_y);
    }

    // A line's message from its sums.
    void finish(const float* sums, float* halves, float* message) const {
        if (taps.halved) {
            const float* const w = taps.halving.weights;
            const float even[7] = {w[6], w[4], w[2], w[0], w[2], w[4], w[6]}, odd[6] = {w[5], w[3], w[1], w[1], w[3], w[5]};
            const int64_t half = (width_ + 1) / 2;
            flat_sums<W>(sums + (Halving::margin - 3) * W, even, 1, 7, halves, half * W, false);
            for (int64_t j = 0; j < half; ++j) std::memcpy(message + 2 * j * W, halves + j * W, W * sizeof(float));
            flat_sums<W>(sums + (Halving::margin - 2) * W, odd, 1, 6, halves, half * W, false);
            for (int64_t j = 0; j < half; ++j) std::memcpy(message + (2 * j + 1) * W, halves + j * W, W * sizeof(float));
        } else {
            std::memcpy(message, sums, static_cast<size_t>(width_ * W) * sizeof(float));
        }
        for (int64_t i = 0; i < width_ * W; i += flat_width) {
            Flat line, after;
            line.load(message + i);
            after.load(after_.data() + i);
            line.multiply(after);
            line.store(message + i);
        }
    }

private:
    const df_field_grid* grid_ = nullptr;
    int64_t height_ = 0, width_ = 0, radius_ = 0;
    Owned<float> before_, after_, along_;  // a number for each label of each pixel of a line; taps along x
    Owned<float> lines_[2];                    // filtered along x, (height, row)
    int turn_ = 0;
};

}  // namespace
}  // namespace densefield::DF_TARGET
