// The mean-field loop for up to four labels, forward only. A row of labels is then a fraction of a vector, and what moves
// is the lattice's indices and weights: so each line of pixels is worked on once an iteration, from slicing over the
// softmax to splatting, with several pixels a vector wherever pixels stand side by side. Q is stored nowhere: what the
// next iteration needs of it is in the lattices' tables and the grid's filtered lines.
#include "few_labels.h"

#include <cstdint>
#include <cstring>

#include "dispatch.h"
#include "halving.h"
#include "lattice_rows.h"
#include "mean_field.h"
#include "memory.h"
#include "owned.h"
#include "parallel.h"
#include "watch.h"

namespace densefield {

DF_DECLARE(void few_labels(const df_field& field);)

namespace DF_TARGET {
namespace {

template <int W, class S>
class FewLabels {
public:
    explicit FewLabels(const df_field& field) : f(field), watch_(field.n_threads == 1 ? field.seconds : nullptr) {
        has_grid_ = f.n_grids > 0;
        width_ = has_grid_ ? f.width : 1024;
        height_ = has_grid_ ? f.height : (f.points + width_ - 1) / width_;
        bands_ = (height_ + grid_block - 1) / grid_block;
        // Each part splats to tables of its own, added up in order: as many as pay, by the size of the work.
        parts_ = f.points / 4096 + 1 < most_parts ? f.points / 4096 + 1 : most_parts;
        if (parts_ > bands_) parts_ = bands_;
        // The output is written by the last update only, which reads `unary` itself.
        const bool room = (f.points * W + flat_width) * static_cast<int64_t>(sizeof(S)) <= f.labels * f.points * 4;
        if (!room) own_unary_.take(f.points * W + flat_width);
        unary_ = room ? reinterpret_cast<S*>(f.output) : own_unary_.data();
        for (int32_t l = 0; l < f.n_lattices; ++l) {
            const int64_t size = table_size(l);
            lattices_[l].table.take(size);
            lattices_[l].other.take(size);
            lattices_[l].parts.take(parts_ * size);
            std::memset(lattices_[l].table.data(), 0, static_cast<size_t>(size) * sizeof(float));
            std::memset(lattices_[l].other.data(), 0, static_cast<size_t>(size) * sizeof(float));
        }
        for (int32_t n = 0; n < f.n_grids; ++n) prepare_grid(f.grids[n], grids_[n]);
        for (int32_t m = 0; m < f.n_terms; ++m) prepare_term(f.terms[m], mix_[m]);
    }

    void run() {
        pass<Step::first>();
        for (int32_t t = 0; t < f.iterations; ++t) {
            for (int32_t l = 0; l < f.n_lattices; ++l) blur_table(l);
            turn_ = 1 - turn_;
            if (t + 1 < f.iterations)
                pass<Step::middle>();
            else
                pass<Step::last>();
        }
    }

private:
    enum class Step { first, middle, last };
    static constexpr int64_t most_parts = 8;
    static constexpr int64_t near = 4;  // points ahead of its use a row is asked for

    struct OneLattice {
        Owned<float> table, other, parts;
        const float* blurred = nullptr;
    };

    struct Grid {
        bool halved = false;
        Halving halving;
        Taps taps_y, taps_x;
        Owned<float> before, after, along;  // a number for each label of each pixel of a line; taps along x
        Owned<S> lines[2];                  // filtered along x, (height, row)
        int64_t radius = 0, places = 0, row = 0, side = 0;  // taps to a side; numbers stored of a line; zeros beside a line
    };

    struct Scratch {  // of a part; lines have room before and after
        Scratch(const FewLabels& of, int64_t columns)
            : acc(of.width_ * W + slack), message(of.width_ * W + slack), even(of.padded_ + slack), odd(of.padded_ + slack),
              sums(columns * grid_block * of.f.n_grids + slack), halves(of.padded_ + slack) {
            std::memset(even.data(), 0, static_cast<size_t>(of.padded_ + slack) * sizeof(float));
            std::memset(odd.data(), 0, static_cast<size_t>(of.padded_ + slack) * sizeof(float));
            std::memset(acc.data(), 0, static_cast<size_t>(of.width_ * W + slack) * sizeof(float));
            std::memset(message.data(), 0, static_cast<size_t>(of.width_ * W + slack) * sizeof(float));
        }
        static constexpr int64_t slack = 8 * flat_width;
        Buffer<float> acc, message, even, odd, sums, halves;
    };

    int64_t table_size(int32_t l) const { return (f.lattices[l].rows + 1) * W; }

    void prepare_grid(const df_field_grid& grid, Grid& to) {
        const double least = f.half ? 5e-4 : 1e-7;
        to.taps_y.set(grid.theta_y, f.height, least);
        to.halved = f.half && Halving::serves(grid.theta_x, f.width);
        if (to.halved) {
            to.halving.set(grid.theta_x);
            to.radius = to.halving.first.radius;
            to.places = (f.width + 1) / 2 + 2 * Halving::margin;
            to.side = Halving::margin + to.radius / 2 + 2;
        } else {
            to.taps_x.set(grid.theta_x, f.width, least);
            to.radius = to.taps_x.radius;
            to.places = f.width;
            to.side = to.radius + 1;
        }
        const Taps& taps = to.halved ? to.halving.first : to.taps_x;
        to.along.take(2 * to.radius + 1);
        for (int64_t t = -to.radius; t <= to.radius; ++t) to.along[t + to.radius] = taps[t];
        to.row = (to.places * W + flat_width - 1) / flat_width * flat_width;
        to.before.take(f.width * W + flat_width);
        to.after.take(f.width * W + flat_width);
        for (int64_t i = 0; i < f.width * W + flat_width; ++i) {
            to.before[i] = i < f.width * W ? grid.before_x[i / W] : 0.0f;
            to.after[i] = i < f.width * W ? grid.after_x[i / W] : 0.0f;
        }
        for (Owned<S>& lines : to.lines) lines.take(f.height * to.row);
        const int64_t length = ((to.halved ? (f.width + 1) / 2 : f.width) + 2 * to.side) * W;
        if (length > padded_) padded_ = length;
        if (to.row > columns_) columns_ = to.row;
    }

    void prepare_term(const df_field_term& term, float (*mix)[flat_width]) const {
        for (int k = 0; k < W; ++k)
            for (int i = 0; i < flat_width; ++i) {
                const int64_t c = i % W, a = c ^ k;
                const bool inside = a < f.labels && c < f.labels;
                mix[k][i] = !inside || (k > 0 && term.kind < 2) ? 0.0f
                            : term.kind == 0                    ? -term.energies[0]
                            : term.kind == 1                    ? -term.energies[c]
                                                                : -term.energies[a * f.labels + c];
            }
    }

    // Adds up what the parts have splatted, clears them and blurs.
    void blur_table(int32_t l) {
        OneLattice& lattice = lattices_[l];
        const int64_t size = table_size(l), count = f.lattices[l].rows * W;
        constexpr int64_t chunk = 1 << 14;
        const auto add = [&](int64_t index, int) {
            const int64_t begin = index * chunk, end = begin + chunk < count ? begin + chunk : count;
            float* const to = lattice.table.data();
            std::memcpy(to + begin, lattice.parts.data() + begin, static_cast<size_t>(end - begin) * sizeof(float));
            for (int64_t part = 1; part < parts_; ++part) {
                const float* const from = lattice.parts.data() + part * size;
                for (int64_t i = begin; i < end; ++i) to[i] += from[i];
            }
        };
        parallel_for((count + chunk - 1) / chunk, f.n_threads, add);
        watch_.lap(phase_splat);
        lattice.blurred = blur<float, W>(lattice.table.data(), lattice.other.data(), f.lattices[l].neighbours,
                                         f.lattices[l].d + 1, f.lattices[l].rows, false, f.n_threads);
        watch_.lap(phase_blur);
    }

    template <Step step>
    void pass() {
        const auto task = [&](int64_t part, int) {
            const Scratch scratch(*this, columns_);
            if (step != Step::last)
                for (int32_t l = 0; l < f.n_lattices; ++l)
                    std::memset(lattices_[l].parts.data() + part * table_size(l), 0, static_cast<size_t>(table_size(l)) * sizeof(float));
            for (int64_t band = bands_ * part / parts_; band < bands_ * (part + 1) / parts_; ++band) {
                const int64_t y0 = band * grid_block, y1 = y0 + grid_block < height_ ? y0 + grid_block : height_;
                if (step != Step::first) filter_columns(y0, scratch);
                watch_.lap(phase_grid_columns);
                for (int64_t y = y0; y < y1; ++y) {
                    const int64_t start = y * width_, count = start + width_ < f.points ? width_ : f.points - start;
                    begin_line<step>(start, count, scratch);
                    watch_.lap(step == Step::first ? phase_begin : step == Step::last ? phase_end : phase_softmax);
                    if (step != Step::first) messages(y - y0, start, count, scratch);
                    if (step == Step::last) {
                        log_softmax_flat<W>(scratch.acc.data(), count * W);
                        unpack_flat<W>(scratch.acc.data(), f.labels, f.points, count, f.output + start);
                        watch_.lap(phase_end);
                    } else {
                        softmax_flat<W>(scratch.acc.data(), count * W);
                        watch_.lap(step == Step::first ? phase_begin : phase_softmax);
                        for (int32_t l = 0; l < f.n_lattices; ++l) splat(l, part, start, count, scratch.acc.data());
                        watch_.lap(phase_splat);
                        for (int32_t n = 0; n < f.n_grids; ++n) filter_line(n, y, scratch);
                        watch_.lap(phase_grid_lines);
                    }
                }
            }
        };
        parallel_for(parts_, f.n_threads, task);
    }

    template <Step step>
    void begin_line(int64_t start, int64_t count, const Scratch& scratch) {
        float* const acc = scratch.acc.data();
        if (step == Step::middle) {
            for (int64_t i = 0; i < count * W; i += flat_width) {
                Flat row;
                row.load(unary_ + start * W + i);
                row.store(acc + i);
            }
            return;
        }
        pack_flat<W>(f.unary + start, f.labels, f.points, count, -1.0f, -1e30f, acc);
        if (step == Step::last) return;
        S* const to = unary_ + start * W;
        int64_t i = 0;
        for (; i + flat_width <= count * W; i += flat_width) {  // near 0, where half precision tells small differences
            Flat row;
            row.load(less_greatest(acc + i, scratch.message.data()));
            row.store(to + i);
        }
        if (i < count * W) {
            S last[flat_width];
            Flat row;
            row.load(less_greatest(acc + i, scratch.message.data()));
            row.store(last);
            std::memcpy(to + i, last, static_cast<size_t>(count * W - i) * sizeof(S));
        }
        if (f.initial != nullptr) pack_flat<W>(f.initial + start, f.labels, f.points, count, 1.0f, -1e30f, acc);
    }

    static DF_INLINE const float* less_greatest(const float* from, float* to) {
        for (int i = 0; i < flat_width; i += lanes<float>) {
            const Vector<float> x = load(from + i);
            store(to + i, x - greatest_label<W>(x));
        }
        return to;
    }

    // Adds the messages of all kernels to a line; `line` counts within its band.
    void messages(int64_t line, int64_t start, int64_t count, const Scratch& scratch) const {
        for (int32_t l = 0; l < f.n_lattices; ++l) {
            switch (f.lattices[l].d) {
                case 2: slice<3>(l, start, count, scratch.message.data()); break;
                case 5: slice<6>(l, start, count, scratch.message.data()); break;
                default: slice<0>(l, start, count, scratch.message.data());
            }
            const int32_t m = f.lattices[l].term;
            add_mixed<W>(scratch.message.data(), mix_[m], f.terms[m].kind == 2 ? W : 1, scratch.acc.data(), count * W);
        }
        watch_.lap(phase_slice);
        for (int32_t n = 0; n < f.n_grids; ++n) {
            const Grid& grid = grids_[n];
            const float* const sums = scratch.sums.data() + (n * grid_block + line) * columns_;
            float* const message = scratch.message.data();
            const float* const after = grid.after.data();
            if (grid.halved) {
                widen(grid, sums, count, scratch.halves.data(), message);
            } else {
                std::memcpy(message, sums, static_cast<size_t>(count * W) * sizeof(float));
            }
            for (int64_t i = 0; i < count * W; i += flat_width) {
                Flat row, times;
                row.load(message + i);
                times.load(after + i);
                row.head *= times.head;
                row.store(message + i);
            }
            const int32_t m = f.grids[n].term;
            add_mixed<W>(message, mix_[m], f.terms[m].kind == 2 ? W : 1, scratch.acc.data(), count * W);
        }
        watch_.lap(phase_grid_columns);
    }

    // A whole line from the sums at every other pixel.
    void widen(const Grid& grid, const float* sums, int64_t count, float* halves, float* message) const {
        const float* const weights = grid.halving.weights;
        const float even[7] = {weights[6], weights[4], weights[2], weights[0], weights[2], weights[4], weights[6]};
        const float odd[6] = {weights[5], weights[3], weights[1], weights[1], weights[3], weights[5]};
        const int64_t half = (count + 1) / 2;
        flat_sums<W>(sums + (Halving::margin - 3) * W, even, 1, 7, halves, half * W, false);
        for (int64_t j = 0; j < half; ++j) std::memcpy(message + 2 * j * W, halves + j * W, W * sizeof(float));
        flat_sums<W>(sums + (Halving::margin - 2) * W, odd, 1, 6, halves, half * W, false);
        for (int64_t j = 0; j < half; ++j) std::memcpy(message + (2 * j + 1) * W, halves + j * W, W * sizeof(float));
    }

    template <int Corners>
    void slice(int32_t l, int64_t start, int64_t count, float* message) const {
        const df_field_lattice& lattice = f.lattices[l];
        const int corners = Corners > 0 ? Corners : lattice.d + 1;
        const float* const table = lattices_[l].blurred;
        const int32_t* vertices = lattice.vertices + start * corners;
        const float* weights = lattice.weights + start * corners;
        const float* const after = lattice.after + start;
        const bool far = table_size(l) > (1 << 20);  // beyond the second cache
        for (int64_t x = 0; x < count; ++x, vertices += corners, weights += corners) {
            if (far && start + x + near < f.points)
                for (int r = 0; r < corners; ++r)
                    __builtin_prefetch(table + static_cast<int64_t>(vertices[near * corners + r]) * W);
            Row<float, W> even, odd;
            even.zero();
            odd.zero();
            for (int r = 0; r + 1 < corners; r += 2) {
                even.add_from(table + static_cast<int64_t>(vertices[r]) * W, weights[r]);
                odd.add_from(table + static_cast<int64_t>(vertices[r + 1]) * W, weights[r + 1]);
            }
            if (corners % 2 == 1)
                even.add_from(table + static_cast<int64_t>(vertices[corners - 1]) * W, weights[corners - 1]);
            even.add(odd);
            even.scale(after[x]);
            even.store(message + x * W);
        }
    }

    void splat(int32_t l, int64_t part, int64_t start, int64_t count, const float* q) const {
        float* const table = lattices_[l].parts.data() + part * table_size(l);
        switch (f.lattices[l].d) {
            case 2: return splat<3>(f.lattices[l], start, count, q, table);
            case 5: return splat<6>(f.lattices[l], start, count, q, table);
            default: splat<0>(f.lattices[l], start, count, q, table);
        }
    }

    template <int Corners>
    void splat(const df_field_lattice& lattice, int64_t start, int64_t count, const float* q, float* table) const {
        const int corners = Corners > 0 ? Corners : lattice.d + 1;
        const int32_t* vertices = lattice.vertices + start * corners;
        const float* weights = lattice.weights + start * corners;
        const float* const before = lattice.before + start;
        for (int64_t x = 0; x < count; ++x, vertices += corners, weights += corners) {
            Row<float, W> row;
            row.load(q + x * W);
            row.scale(before[x]);
            for (int r = 0; r < corners; ++r) {
                float* const to = table + static_cast<int64_t>(vertices[r]) * W;
                Row<float, W> sum;
                sum.load(to);
                sum.add(row, weights[r]);
                sum.store(to);
            }
        }
    }

    // A band's sums along the columns of the grid.
    void filter_columns(int64_t y0, const Scratch& scratch) const {
        for (int32_t n = 0; n < f.n_grids; ++n) {
            const Grid& grid = grids_[n];
            const int64_t blocks = grid.row / flat_width;
            grid_columns<flat_width>(grid.lines[turn_].data(), scratch.sums.data() + n * grid_block * columns_, f.height, blocks, y0,
                                     0, blocks, columns_ / flat_width, flat_width, grid.taps_y, f.grids[n].after_y);
        }
    }

    // Filters a line of Q for the iteration to come; turn_ then puts it in use.
    void filter_line(int32_t n, int64_t y, const Scratch& scratch) {
        Grid& grid = grids_[n];
        const float* const q = scratch.acc.data();
        float* const scaled = scratch.message.data();
        const float times = f.grids[n].before_y[y];
        for (int64_t i = 0; i < f.width * W; i += flat_width) {
            Flat row, before;
            row.load(q + i);
            before.load(grid.before.data() + i);
            row.head *= before.head * times;
            row.store(scaled + i);
        }
        float* const even = scratch.even.data() + grid.side * W;
        float* const sums = scratch.halves.data();
        const float* const along = grid.along.data();
        if (grid.halved) {
            float* const odd = scratch.odd.data() + grid.side * W;
            const int64_t pairs = f.width / 2;
            for (int64_t j = 0; j < pairs; ++j) {
                std::memcpy(even + j * W, scaled + 2 * j * W, W * sizeof(float));
                std::memcpy(odd + j * W, scaled + (2 * j + 1) * W, W * sizeof(float));
            }
            if (f.width % 2 == 1) {
                std::memcpy(even + pairs * W, scaled + 2 * pairs * W, W * sizeof(float));
                std::memset(odd + pairs * W, 0, W * sizeof(float));
            }
            // Tap t = 2 s of even pixels reaches s pixels of theirs, t = 2 s + 1 of odd ones too.
            const int64_t r = grid.radius, low = -(r / 2), first = -((r + 1) / 2);
            flat_sums<W>(even + (low - Halving::margin) * W, along + 2 * low + r, 2, r / 2 - low + 1, sums, grid.places * W, false);
            flat_sums<W>(odd + (first - Halving::margin) * W, along + 2 * first + 1 + r, 2, (r - 1) / 2 - first + 1, sums, grid.places * W,
                         true);
        } else {
            std::memcpy(even, scaled, static_cast<size_t>(f.width * W) * sizeof(float));
            flat_sums<W>(even - grid.radius * W, along, 1, 2 * grid.radius + 1, sums, grid.places * W, false);
        }
        S* const to = grid.lines[1 - turn_].data() + y * grid.row;
        for (int64_t i = 0; i < grid.row; i += flat_width) {
            Flat row;
            row.load(sums + i);
            row.store(to + i);
        }
    }

    const df_field& f;
    mutable Watch watch_;
    bool has_grid_ = false;
    int64_t width_ = 0, height_ = 0, bands_ = 0, parts_ = 0;
    int64_t padded_ = 0, columns_ = 0;  // numbers of a line with its sides; of a filtered line
    int turn_ = 0;
    Owned<S> own_unary_;
    S* unary_ = nullptr;  // negative and less each point's greatest
    OneLattice lattices_[64];
    Grid grids_[8];
    float mix_[8][W][flat_width];
};

template <int W>
void run(const df_field& field) {
    if (field.half) return FewLabels<W, Half>(field).run();
    FewLabels<W, float>(field).run();
}

}  // namespace

void few_labels(const df_field& field) {
    if (field.labels <= 2) return run<2>(field);
    run<4>(field);
}

}  // namespace DF_TARGET
}  // namespace densefield
