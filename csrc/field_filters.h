// The kernels of a mean field, filtering rows of labels: what is prepared once, run once an iteration, read at a point.
#pragma once

#include "halving.h"
#include "lattice_rows.h"
#include "mean_field.h"
#include "memory.h"
#include "owned.h"
#include "parallel.h"
#include "softmax_rows.h"
#include "watch.h"

namespace densefield::DF_TARGET {
namespace {

template <bool One>
struct Groups {  // one group, known while compiling
    static constexpr int64_t groups = 1;
    explicit Groups(int64_t) {}
};

template <>
struct Groups<false> {
    const int64_t groups;
    explicit Groups(int64_t count) : groups(count) {}
};

template <int W, class S, bool One>
class Filters : public Groups<One> {
public:
    using Groups<One>::groups;
    static constexpr int64_t tile_columns = 64;
    static constexpr int64_t tile_places = tile_columns + 16;
    static constexpr int64_t ahead = 16, near = 4;  // how many entries, points ahead of its use a row is asked for

    struct Tile {
        int64_t index, y0, y1, x0, x1;
        float* grids;                     // (grids, grid_block, tile_columns + 16, stride): filtered along columns
        float *acc, *message, *spare;     // (tile_columns, stride) each, with room for a vector at the end
    };

    Filters(const df_field& field, bool backward)
        : Groups<One>((field.labels + W - 1) / W), f(field), back(backward), watch(field.n_threads == 1 && !backward ? field.seconds : nullptr), plane(field.points * W) {
        for (int32_t l = 0; l < f.n_lattices; ++l) prepare(f.lattices[l], splats_[l]);
        for (int32_t n = 0; n < f.n_grids; ++n) prepare(f.grids[n], grids_[n]);
        for (int32_t m = 0; m < f.n_terms; ++m) {
            const df_field_term& term = f.terms[m];
            const int64_t lists = term.kind == 2 ? f.labels : 1, stride = groups * W;
            energies_[m].take(lists * stride);
            std::memset(energies_[m].data(), 0, static_cast<size_t>(lists * stride) * sizeof(float));
            for (int64_t a = 0; a < lists; ++a)
                for (int64_t b = 0; b < f.labels; ++b)
                    energies_[m][a * stride + b] = -term.energies[term.kind == 0 ? 0 : a * f.labels + b];
        }
    }

    // Splat and blur on every lattice.
    void filter(const S* rows) {
        for (int32_t l = 0; l < f.n_lattices; ++l)
            for (int64_t g = 0; g < groups; ++g) splat(f.lattices[l], splats_[l], rows + g * plane, g);
    }

    // Filters the lines y0 .. y1 of rows for the iteration to come; turn() then puts them in use.
    void filter_lines(const S* rows, int64_t y0, int64_t y1) {
        for (int32_t n = 0; n < f.n_grids; ++n) {
            Grid& grid = grids_[n];
            const float* const before = before_x(n);
            const float* const of_line = back ? f.grids[n].after_y : f.grids[n].before_y;
            for (int64_t g = 0; g < groups; ++g)
                for (int64_t y = y0; y < y1; ++y) {
                    const S* const from = rows + g * plane + y * f.width * W;
                    S* const to = grid.lines[1 - turn_].data() + (g * f.height + y) * grid.places * W;
                    if (grid.halved)
                        grid_line<W, 2>(from, to, f.width, -Halving::margin, grid.places - Halving::margin, grid.halving.first,
                                        before, grid.even.data(), nullptr, of_line[y]);
                    else
                        grid_line<W, 1>(from, to, f.width, 0, f.width, grid.taps_x, before, grid.even.data(), after_x(n), of_line[y]);
                }
        }
    }

    void filter_all_lines(const S* rows) {
        if (f.n_grids > 0) over_range(f.height, 1, [&](int64_t y, int64_t) { filter_lines(rows, y, y + 1); });
        watch.lap(phase_grid_lines);
        turn();
    }

    void turn() { turn_ = 1 - turn_; }

    // Adds -mu_m K_m rows of a line of points to tile.acc, over all m; take(m, message) sees each share of K_m rows
    // before mu_m, where the term's gradient is wanted.
    template <class Take>
    void messages(const Tile& tile, int64_t y, int64_t first, int64_t count, const Take& take) const {
        for (int32_t l = 0; l < f.n_lattices; ++l) {
            const df_field_lattice& lattice = f.lattices[l];
            const df_field_term& term = f.terms[lattice.term];
            if (term.kind == 0 && !wants_gradient(lattice.term)) {
                slice(lattice, splats_[l], first, count, energies_[lattice.term][0], tile.acc);
                continue;
            }
            std::memset(tile.message, 0, static_cast<size_t>(count * stride()) * sizeof(float));
            slice(lattice, splats_[l], first, count, 1.0f, tile.message);
            if (wants_gradient(lattice.term)) take(lattice.term, tile.message);
            apply(lattice.term, tile.message, count, tile.acc);
        }
        watch.lap(phase_slice);
        for (int32_t n = 0; n < f.n_grids; ++n) {
            const int32_t m = f.grids[n].term;
            const float* const sums = tile.grids + (n * grid_block + y - tile.y0) * tile_places * stride();
            if (grids_[n].halved && f.terms[m].kind == 0 && !wants_gradient(m)) {
                widen_to(n, tile, sums, count, energies_[m][0], true, tile.acc);
                continue;
            }
            if (grids_[n].halved) widen_to(n, tile, sums, count, 1.0f, false, tile.message);
            const float* const message = grids_[n].halved ? tile.message : sums;
            if (wants_gradient(m)) take(m, message);
            apply(m, message, count, tile.acc);
        }
        watch.lap(phase_grid_columns);
    }

    // Bands of grid_block lines, cut into tiles; without a grid, points stand in lines of tile_columns. Where the tiles fill
    // `next`, each band's lines are filtered while they are warm.
    template <class Body>  // void body(const Tile&)
    void over_tiles(const S* next, const Body& body) {
        const int64_t line = tile_columns * stride() + 16, block = grid_block * tile_places * stride();
        const auto task = [&](int64_t band, int) {
            Buffer<float> scratch(block * f.n_grids + 3 * line);
            float* const lines = scratch.data() + block * f.n_grids;
            for (int64_t x = 0; x < width(); x += tile_columns) {
                const int64_t y = band * grid_block;
                const int64_t y1 = y + grid_block < height() ? y + grid_block : height();
                const int64_t x1 = x + tile_columns < width() ? x + tile_columns : width();
                const Tile tile{band, y, y1, x, x1, scratch.data(), lines, lines + line, lines + 2 * line};
                for (int32_t n = 0; n < f.n_grids; ++n) {
                    const Grid& grid = grids_[n];
                    const int64_t left = grid.halved ? x / 2 + Halving::margin - 3 : x;
                    const int64_t right = grid.halved ? left + (x1 - x + 1) / 2 + Halving::reach : x1;
                    for (int64_t g = 0; g < groups; ++g)
                        grid_columns<W>(grid.lines[turn_].data() + g * f.height * grid.places * W, tile.grids + n * block + g * W,
                                        f.height, grid.places, y, left, right, tile_places, stride(), grid.taps_y,
                                        back ? f.grids[n].before_y : f.grids[n].after_y);
                }
                watch.lap(phase_grid_columns);
                body(tile);
            }
            const int64_t y = band * grid_block;
            if (next != nullptr) filter_lines(next, y, y + grid_block < f.height ? y + grid_block : f.height);
            watch.lap(phase_grid_lines);
        };
        parallel_for(tile_bands(), f.n_threads, task);
        turn();
    }

    template <class Body>  // void body(int64_t y, int64_t first point, int64_t count)
    void each_line(const Tile& tile, const Body& body) const {
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t begin = y * width() + tile.x0, end = y * width() + tile.x1;
            if (begin < f.points) body(y, begin, (end < f.points ? end : f.points) - begin);
        }
    }

    template <class Body>  // void body(int64_t begin, int64_t end)
    void over_range(int64_t count, int64_t chunk, const Body& body) const {
        const auto task = [&](int64_t part, int) {
            body(part * chunk, (part + 1) * chunk < count ? (part + 1) * chunk : count);
        };
        parallel_for((count + chunk - 1) / chunk, f.n_threads, task);
    }

    int64_t tile_bands() const { return (height() + grid_block - 1) / grid_block; }

    // Gradients by the energies: -sum_i message_i q_i, gathered a band of tiles at a time so that threads do not matter.
    int64_t gradient_count() const {
        int64_t count = 0;
        for (int32_t m = 0; m < f.n_terms; ++m) count += gradient_size(m);
        return count;
    }

    void gather(int32_t m, const float* message, const float* q, int64_t count, double* sums) const {
        for (int32_t before = 0; before < m; ++before) sums += gradient_size(before);
        const int32_t kind = f.terms[m].kind;
        Buffer<float> partial(kind == 2 ? f.labels * f.labels : stride());
        const int64_t size = kind == 2 ? f.labels * f.labels : stride();
        std::memset(partial.data(), 0, static_cast<size_t>(size) * sizeof(float));
        for (int64_t x = 0; x < count; ++x, message += stride(), q += stride()) {
            if (kind == 2) {
                for (int64_t a = 0; a < f.labels; ++a)
                    for (int64_t b = 0; b < f.labels; ++b) partial[a * f.labels + b] += message[a] * q[b];
            } else {
                for (int64_t c = 0; c < stride(); ++c) partial[c] += message[c] * q[c];
            }
        }
        for (int64_t i = 0; i < (kind == 2 ? size : f.labels); ++i) sums[kind == 0 ? 0 : i] -= partial[i];
    }

    void add_gradients(const double* sums) const {
        const int64_t stride = gradient_count();
        for (int32_t m = 0; m < f.n_terms; sums += gradient_size(m), ++m)
            if (f.terms[m].gradient != nullptr)
                for (int64_t band = 0; band < tile_bands(); ++band)
                    for (int64_t i = 0; i < gradient_size(m); ++i) f.terms[m].gradient[i] += sums[band * stride + i];
    }

    int64_t stride() const { return groups * W; }
    bool wants_gradient(int32_t m) const { return back && f.terms[m].gradient != nullptr; }

protected:
    const df_field& f;
    const bool back;
    mutable Watch watch;
    const int64_t plane;

private:
    struct Splat {  // entries sorted by row with their points and normalised weights; the table of values
        Owned<int32_t> points;
        Owned<float> weights;
        Owned<S> table, other;
        const S* blurred = nullptr;
    };

    struct Grid {
        bool halved = false;  // filtered at every other pixel of a line
        Halving halving;
        Taps taps_y, taps_x;
        int64_t places = 0;  // of a filtered line
        Owned<float> even;
        Owned<S> lines[2];  // (groups, height, places, W)
    };

    const float* before_x(int32_t n) const { return back ? f.grids[n].after_x : f.grids[n].before_x; }
    const float* after_x(int32_t n) const { return back ? f.grids[n].before_x : f.grids[n].after_x; }

    void prepare(const df_field_grid& grid, Grid& to) {
        // What is cut weighs 1e-4 of the whole, less than half precision tells.
        const double least = f.half ? 5e-4 : 1e-7;
        to.taps_y.set(grid.theta_y, f.height, least);
        to.halved = f.half && Halving::serves(grid.theta_x, f.width);
        if (to.halved)
            to.halving.set(grid.theta_x);
        else
            to.taps_x.set(grid.theta_x, f.width, least);
        to.places = to.halved ? (f.width + 1) / 2 + 2 * Halving::margin : f.width;
        for (Owned<S>& lines : to.lines) lines.take(groups * f.height * to.places * W);
        const int64_t first = to.halved ? -Halving::margin : 0;
        to.even.take((to.places + grid_block - 1) / grid_block);
        find_even(back ? grid.after_x : grid.before_x, f.width, first, first + to.places, to.halved ? 2 : 1,
                  to.halved ? to.halving.first : to.taps_x, to.even.data());
    }

    // A line's message from the sums at every other pixel, times `factor`; added where `add`.
    void widen_to(int32_t n, const Tile& tile, const float* sums, int64_t count, float factor, bool add, float* to) const {
        const float* const after = after_x(n) + tile.x0;
        const int64_t step = stride();
        for (int64_t g = 0; g < groups; ++g)
            widen<W>(sums + g * W, step, count, grids_[n].halving.weights,
                     [&](int64_t x, Row<float, W>& row) __attribute__((always_inline)) {
                         Row<float, W> sum;
                         sum.zero();
                         if (add) sum.load(to + x * step + g * W);
                         sum.add(row, factor * after[x]);
                         sum.store(to + x * step + g * W);
                     });
    }

    int64_t height() const { return f.n_grids > 0 ? f.height : (f.points + tile_columns - 1) / tile_columns; }
    int64_t width() const { return f.n_grids > 0 ? f.width : tile_columns; }

    int64_t gradient_size(int32_t m) const {
        const int32_t kind = f.terms[m].kind;
        return kind == 0 ? 1 : kind == 1 ? f.labels : f.labels * f.labels;
    }

    void prepare(const df_field_lattice& lattice, Splat& splat) {
        const int64_t entries = f.points * (lattice.d + 1);
        splat.points.take(entries + ahead);
        std::memset(splat.points.data() + entries, 0, ahead * sizeof(int32_t));
        splat.weights.take(entries);
        splat.table.take(groups * (lattice.rows + 1) * W);
        splat.other.take(groups * (lattice.rows + 1) * W);
        const float* const before = back ? lattice.after : lattice.before;
        const auto inverse = ~uint64_t{0} / static_cast<uint64_t>(lattice.d + 1) + 1;
        over_range(entries, 1 << 16, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                if (i + 32 < end) __builtin_prefetch(lattice.weights + lattice.entries[i + 32]);
                const auto entry = static_cast<uint32_t>(lattice.entries[i]);
                const auto point = static_cast<int64_t>((static_cast<unsigned __int128>(inverse) * entry) >> 64);
                splat.points[i] = static_cast<int32_t>(point);
                splat.weights[i] = lattice.weights[entry] * before[point];
            }
        });
        for (int64_t g = 0; g < groups; ++g) {  // the row that stands for no neighbour
            const int64_t end = (g * (lattice.rows + 1) + lattice.rows) * W;
            std::memset(splat.table.data() + end, 0, W * sizeof(S));
            std::memset(splat.other.data() + end, 0, W * sizeof(S));
        }
    }

    void splat(const df_field_lattice& lattice, Splat& splat, const S* rows, int64_t g) {
        S* const table = splat.table.data() + g * (lattice.rows + 1) * W;
        S* const other = splat.other.data() + g * (lattice.rows + 1) * W;
        over_range(lattice.rows, chunk_rows, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                Row<float, W> even, odd;  // two sums side by side wait less
                even.zero();
                odd.zero();
                int32_t i = lattice.starts[row];
                for (; i + 1 < lattice.starts[row + 1]; i += 2) {
                    __builtin_prefetch(rows + static_cast<int64_t>(splat.points[i + ahead]) * W);
                    __builtin_prefetch(rows + static_cast<int64_t>(splat.points[i + ahead + 1]) * W);
                    even.add_from(rows + static_cast<int64_t>(splat.points[i]) * W, splat.weights[i]);
                    odd.add_from(rows + static_cast<int64_t>(splat.points[i + 1]) * W, splat.weights[i + 1]);
                }
                if (i < lattice.starts[row + 1])
                    even.add_from(rows + static_cast<int64_t>(splat.points[i]) * W, splat.weights[i]);
                even.add(odd);
                even.store(table + row * W);
            }
        });
        watch.lap(phase_splat);
        const S* const result =
            blur<float, W>(table, other, lattice.neighbours, lattice.d + 1, lattice.rows, back, f.n_threads);
        watch.lap(phase_blur);
        splat.blurred = result == table ? splat.table.data() : splat.other.data();
    }

    // acc += factor after K rows, along a line of points
    void slice(const df_field_lattice& lattice, const Splat& splat, int64_t first, int64_t count, float factor,
               float* acc) const {
        for (int64_t g = 0; g < groups; ++g) switch (lattice.d) {
                case 2: slice_group<3>(lattice, splat, g, first, count, factor, acc); break;
                case 5: slice_group<6>(lattice, splat, g, first, count, factor, acc); break;
                case 6: slice_group<7>(lattice, splat, g, first, count, factor, acc); break;
                default: slice_group<0>(lattice, splat, g, first, count, factor, acc);
            }
    }

    template <int Corners>
    void slice_group(const df_field_lattice& lattice, const Splat& splat, int64_t g, int64_t first, int64_t count,
                     float factor, float* acc) const {
        const int corners = Corners > 0 ? Corners : lattice.d + 1;
        const S* const table = splat.blurred + g * (lattice.rows + 1) * W;
        const int32_t* vertices = lattice.vertices + first * corners;
        const float* weights = lattice.weights + first * corners;
        const float* const after = (back ? lattice.before : lattice.after) + first;
        const int64_t step = stride();
        acc += g * W;
        for (int64_t x = 0; x < count; ++x, vertices += corners, weights += corners, acc += step) {
            if (first + x + near < f.points)
                for (int r = 0; r < corners; ++r)
                    __builtin_prefetch(table + static_cast<int64_t>(vertices[near * corners + r]) * W);
            const Row<float, W> row = weighted_rows<float, W>(table, vertices, weights, corners);
            Row<float, W> sum;
            sum.load(acc);
            sum.add(row, factor * after[x]);
            sum.store(acc);
        }
    }

    // acc += -mu_m message, along a line of points
    void apply(int32_t m, const float* message, int64_t count, float* acc) const {
        const float* const energies = energies_[m].data();  // their negatives
        const int64_t step = stride();
        if (f.terms[m].kind == 0) {
            const float factor = energies[0];
            for (int64_t i = 0; i < count * step; ++i) acc[i] += factor * message[i];
        } else if (f.terms[m].kind == 1) {
            for (int64_t x = 0; x < count; ++x)
                for (int64_t c = 0; c < step; ++c) acc[x * step + c] += energies[c] * message[x * step + c];
        } else {
            for (int64_t x = 0; x < count; ++x)
                for (int64_t a = 0; a < f.labels; ++a)
                    for (int64_t c = 0; c < step; ++c) acc[x * step + c] += energies[a * step + c] * message[x * step + a];
        }
    }

    Splat splats_[64];
    Grid grids_[8];
    int turn_ = 0;
    Owned<float> energies_[8];
};

}  // namespace
}  // namespace densefield::DF_TARGET
