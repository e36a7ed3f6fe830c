// A walk over the image of a mean field, once an iteration, in bands of lines and tiles of those. A tile is given the messages
// of the rows before it; the rows that it writes are filtered along the lines of the grid while they are warm.
#pragma once

#include <cstring>

#include "base/memory.h"
#include "base/watch.h"
#include "crf/field_grid.h"
#include "crf/field_lattice.h"
#include "crf/field_limits.h"
#include "crf/field_terms.h"

namespace densefield::DF_TARGET {
namespace {

// How many groups of W a pixel's labels are; `OneGroup`: one, known while compiling.
template <bool OneGroup>
struct Groups {
    static constexpr int64_t groups = 1;
    explicit Groups(int64_t) {}
};

template <>
struct Groups<false> {
    const int64_t groups;
    explicit Groups(int64_t count) : groups(count) {}
};

// W: labels of a group; S: what Q is stored as, float or Half.
template <int W, class S, bool OneGroup>
class Walk : public Groups<OneGroup> {
public:
    using Groups<OneGroup>::groups;
    // Wide where the image is read or written, whose labels lie apart: few at a time are slow.
    static constexpr int64_t tile_columns = 64, wide_columns = OneGroup ? 256 : tile_columns;

    struct Tile {
        int64_t band, y0, y1, x0, x1;
        float* grids;                  // (grids, grid_block, tile_places, stride): filtered along columns
        float *acc, *message, *spare;  // (columns, stride) each, with room for a vector at the end
    };

    DF_NOINLINE Walk(const df_mean_field_job& field, bool backward)
        : Groups<OneGroup>((field.labels + W - 1) / W), f(field), back(backward),
          watch(field.n_threads == 1 && !backward ? field.seconds : nullptr), plane(field.points * W),
          terms(field, backward, groups * W) {
        for (int32_t l = 0; l < f.n_lattices; ++l) lattices_[l].prepare(f.lattices[l], f.points, groups, back, f.n_threads);
        for (int32_t n = 0; n < f.n_grids; ++n)
            grids_[n].prepare(f.grids[n], f.height, f.width, groups, f.half != 0, back);
        block_ = grid_block * tile_places * stride();
        line_ = wide_columns * stride() + 16;
        scratch_size_ = block_ * f.n_grids + 3 * line_;
        scratch_.take((f.n_threads < bands() ? f.n_threads : bands()) * scratch_size_);
    }

    DF_NOINLINE ~Walk() {}

protected:
    // Walks over the image in tiles of so many columns. `messages`: tiles take the messages of the rows written before. `next`,
    // where not null, are the rows that they write, (groups, points, W).
    template <class Body>  // void body(const Tile&)
    void walk(bool messages, S* next, int64_t columns, const Body& body) {
        const auto task = [&](int64_t band, int slot) {
            float* const scratch = scratch_.data() + slot * scratch_size_;
            float* const lines = scratch + block_ * f.n_grids;
            const int64_t y0 = band * grid_block, y1 = y0 + grid_block < height() ? y0 + grid_block : height();
            for (int64_t x = 0; x < width(); x += columns) {
                const int64_t x1 = x + columns < width() ? x + columns : width();
                const Tile tile{band, y0, y1, x, x1, scratch, lines, lines + line_, lines + 2 * line_};
                for (int32_t n = 0; n < f.n_grids && messages; ++n) {
                    grids_[n].filter_columns(y0, x, x1, tile_places, tile.grids + n * block_);
                    grids_[n].ask_columns(y0, x1, x1 + columns < width() ? x1 + columns : width());
                }
                watch.lap(phase_grid_columns);
                body(tile);
            }
            for (int32_t n = 0; n < f.n_grids && next != nullptr; ++n)
                grids_[n].filter_lines(next + y0 * width() * W, plane, y0, y1);
            watch.lap(phase_grid_lines);
        };
        parallel_for(bands(), f.n_threads, task);
        if (next != nullptr) filter(next);
    }

    // Adds -mu_m K_m rows of a line of points to tile.acc, over all m; take(m, message) sees each share of K_m rows
    // before mu_m, where the term's gradient is wanted.
    template <class Take>
    DF_NOINLINE void messages(const Tile& tile, int64_t y, int64_t first, int64_t count, const Take& take) const {
        for (int32_t l = 0; l < f.n_lattices; ++l) {
            const int32_t m = f.lattices[l].term;
            if (terms.plain(m)) {
                lattices_[l].slice(first, count, terms.factor(m), tile.acc);
                continue;
            }
            std::memset(tile.message, 0, static_cast<size_t>(count * stride()) * sizeof(float));
            lattices_[l].slice(first, count, 1.0f, tile.message);
            if (terms.wants_gradient(m)) take(m, tile.message);
            terms.apply(m, tile.message, count, tile.acc);
        }
        watch.lap(phase_slice);
        for (int32_t n = 0; n < f.n_grids; ++n) {
            const int32_t m = f.grids[n].term;
            const float* const sums = tile.grids + n * block_ + (y - tile.y0) * tile_places * stride();
            if (grids_[n].taps.halved && terms.plain(m)) {
                grids_[n].widen_to(sums, tile.x0, count, terms.factor(m), true, tile.acc);
                continue;
            }
            if (grids_[n].taps.halved) grids_[n].widen_to(sums, tile.x0, count, 1.0f, false, tile.message);
            const float* const message = grids_[n].taps.halved ? tile.message : sums;
            if (terms.wants_gradient(m)) take(m, message);
            terms.apply(m, message, count, tile.acc);
        }
        watch.lap(phase_grid_columns);
    }

    template <class Body>  // void body(int64_t y, int64_t first point, int64_t count)
    void each_line(const Tile& tile, const Body& body) const {
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t begin = y * width() + tile.x0, end = y * width() + tile.x1;
            if (begin < f.points) body(y, begin, (end < f.points ? end : f.points) - begin);
        }
    }

    // The first point of the line that each_line takes after line y of a tile, or of one not far from it. What a tile reads lies
    // in short pieces, where processors do not look ahead by themselves: it is asked for a line early.
    int64_t next_line(const Tile& tile, int64_t y) const {
        const int64_t next = y + 1 < tile.y1 ? (y + 1) * width() + tile.x0 : tile.y0 * width() + tile.x1;
        return next < f.points ? next : f.points;
    }

    int64_t points_from(int64_t start, int64_t count) const { return start + count < f.points ? count : f.points - start; }

    void ask_messages(int64_t start, int64_t count) const {
        for (int32_t l = 0; l < f.n_lattices; ++l) lattices_[l].ask_corners(start, count);
    }

    int64_t bands() const { return (height() + grid_block - 1) / grid_block; }
    int64_t stride() const { return groups * W; }

    const df_mean_field_job& f;
    const bool back;
    mutable Watch watch;
    const int64_t plane;
    const FieldTerms terms;

private:
    // Rows' messages as far as they are not made tile by tile.
    DF_NOINLINE void filter(const S* rows) {
        for (int32_t n = 0; n < f.n_grids; ++n) grids_[n].turn(f.n_threads);
        watch.lap(phase_grid_columns);
        for (int32_t l = 0; l < f.n_lattices; ++l) lattices_[l].filter(rows, watch);
    }

    static constexpr int64_t tile_places = wide_columns + 16;

    // Without a grid, points stand in lines of tile_columns.
    int64_t height() const { return f.n_grids > 0 ? f.height : (f.points + tile_columns - 1) / tile_columns; }
    int64_t width() const { return f.n_grids > 0 ? f.width : tile_columns; }

    FieldLattice<W, S> lattices_[most_lattices];
    FieldGrid<W, S> grids_[most_terms];
    int64_t block_ = 0, line_ = 0, scratch_size_ = 0;  // in floats
    Owned<float> scratch_;  // a thread's filtered columns and lines of a tile
};

}  // namespace
}  // namespace densefield::DF_TARGET
