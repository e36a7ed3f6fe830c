// The mean-field loop for up to four labels, forward only. A row of labels is then a fraction of a vector, and what moves
// is the lattice's indices and weights: so each line of pixels is worked on once an iteration, from slicing over the
// softmax to splatting, with several pixels a vector wherever pixels stand side by side. Q is stored nowhere: what the
// next iteration needs of it is in the lattices' tables and the grid's filtered lines.
#include "crf/few_labels.h"

#include <cstdint>
#include <cstring>

#include "base/dispatch.h"
#include "base/memory.h"
#include "base/owned.h"
#include "base/parallel.h"
#include "base/watch.h"
#include "crf/few_grid.h"
#include "crf/few_lattice.h"
#include "densefield.h"
#include "lattice/blur.h"

namespace densefield {

DF_DECLARE(void few_labels(const df_mean_field_job& field);)

namespace DF_TARGET {
namespace {

template <int W>  // labels of a pixel
class FewLabels {
public:
    explicit FewLabels(const df_mean_field_job& field)
        : f(field), watch_(field.n_threads == 1 ? field.seconds : nullptr) {
        has_grid_ = f.n_grids > 0;
        width_ = has_grid_ ? f.width : 1024;
        height_ = has_grid_ ? f.height : (f.points + width_ - 1) / width_;
        bands_ = (height_ + grid_block - 1) / grid_block;
        // Each part splats to tables of its own, added up in order: as many as pay, by the size of the work.
        parts_ = f.points / 4096 + 1 < most_parts ? f.points / 4096 + 1 : most_parts;
        if (parts_ > bands_) parts_ = bands_;
        scores_.take(f.points * W + flat_width);
        for (int32_t l = 0; l < f.n_lattices; ++l) {
            const df_field_lattice& of = f.lattices[l];
            OneLattice& lattice = lattices_[l];
            lattice.blur.prepare(of, false, f.n_threads);
            lattice.table.take((lattice.blur.most_rows() + 1) * W);
            lattice.other.take((lattice.blur.most_rows() + 1) * W);
            lattice.parts.take(parts_ * touched_size(l));
        }
        for (int32_t n = 0; n < f.n_grids; ++n) {
            grids_[n].prepare(f.grids[n], f.height, f.width, f.half != 0);
            if (grids_[n].padded() > padded_) padded_ = grids_[n].padded();
            if (grids_[n].row > columns_) columns_ = grids_[n].row;
        }
        for (int32_t m = 0; m < f.n_terms; ++m) prepare_term(f.terms[m], mix_[m]);
    }

    void run() {
        pass<Step::first>();
        if (f.doubtful != nullptr && *f.doubtful != 0) return;
        for (int32_t t = 0; t < f.iterations; ++t) {
            for (int32_t l = 0; l < f.n_lattices; ++l) blur_table(l);
            for (int32_t n = 0; n < f.n_grids; ++n) grids_[n].turn();
            if (t + 1 < f.iterations)
                pass<Step::middle>();
            else
                pass<Step::last>();
        }
    }

private:
    enum class Step { first, middle, last };
    static constexpr int64_t most_parts = 8;

    struct OneLattice {
        LatticeBlur<W, float> blur;
        Owned<float> table, other, parts;
        const float* blurred = nullptr;
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

    int64_t touched_size(int32_t l) const { return f.lattices[l].touched * W; }

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
        const int64_t size = touched_size(l);
        constexpr int64_t chunk = 1 << 14;
        parallel_ranges(size, chunk, f.n_threads, [&](int64_t begin, int64_t end, int64_t) {
            float* const to = lattice.table.data();
            std::memcpy(to + begin, lattice.parts.data() + begin, static_cast<size_t>(end - begin) * sizeof(float));
            for (int64_t part = 1; part < parts_; ++part) {
                const float* const from = lattice.parts.data() + part * size;
                for (int64_t i = begin; i < end; ++i) to[i] += from[i];
            }
        });
        watch_.lap(phase_splat);
        lattice.blurred = lattice.blur.run(lattice.table.data(), lattice.other.data());
        watch_.lap(phase_blur);
    }

    template <Step step>
    void pass() {
        const auto task = [&](int64_t part, int) {
            const Scratch scratch(*this, columns_);
            if (step != Step::last)
                for (int32_t l = 0; l < f.n_lattices; ++l)
                    std::memset(lattices_[l].parts.data() + part * touched_size(l), 0, static_cast<size_t>(touched_size(l)) * sizeof(float));
            for (int64_t band = bands_ * part / parts_; band < bands_ * (part + 1) / parts_; ++band) {
                const int64_t y0 = band * grid_block, y1 = y0 + grid_block < height_ ? y0 + grid_block : height_;
                for (int32_t n = 0; n < f.n_grids && step != Step::first; ++n)
                    grids_[n].filter_columns(y0, scratch.sums.data() + n * grid_block * columns_, columns_);
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
                        for (int32_t l = 0; l < f.n_lattices; ++l)
                            splat_any<W>(f.lattices[l], start, count, scratch.acc.data(), lattices_[l].parts.data() + part * touched_size(l));
                        watch_.lap(phase_splat);
                        for (int32_t n = 0; n < f.n_grids; ++n)
                            grids_[n].filter_line(scratch.acc.data(), y, scratch.message.data(), scratch.even.data(),
                                                  scratch.odd.data(), scratch.halves.data());
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
                row.load(scores_.data() + start * W + i);
                row.store(acc + i);
            }
            return;
        }
        pack_flat<W>(f.scores + start, f.labels, f.points, count, no_label, acc);
        if (step == Step::last) {  // messages would drown in a large number that all labels share
            for (int64_t i = 0; i < count * W; i += flat_width) subtract_greatest(acc + i, acc + i);
            return;
        }
        float* const to = scores_.data() + start * W;
        if (f.doubtful != nullptr && any_below_flat<W>(acc, f.labels, count, -1e30f)) __atomic_store_n(f.doubtful, 1, __ATOMIC_RELAXED);
        int64_t i = 0;
        for (; i + flat_width <= count * W; i += flat_width) {
            Flat row;
            row.load(subtract_greatest(acc + i, scratch.message.data()));
            row.store(to + i);
        }
        if (i < count * W) {
            float last[flat_width];
            Flat row;
            row.load(subtract_greatest(acc + i, scratch.message.data()));
            row.store(last);
            std::memcpy(to + i, last, static_cast<size_t>(count * W - i) * sizeof(float));
        }
        if (f.initial != nullptr) pack_flat<W>(f.initial + start, f.labels, f.points, count, no_label, acc);
    }

    static DF_INLINE const float* subtract_greatest(const float* from, float* to) {
        for (int i = 0; i < flat_width; i += lanes<float>) {
            const Vector<float> x = load(from + i);
            store(to + i, x - greatest_label<W>(x));
        }
        return to;
    }

    // Adds the messages of all kernels to a line; `line` counts within its band.
    void messages(int64_t line, int64_t start, int64_t count, const Scratch& scratch) const {
        for (int32_t l = 0; l < f.n_lattices; ++l) {
            slice_any<W>(f.lattices[l], lattices_[l].blurred, f.points, start, count, scratch.message.data());
            const int32_t m = f.lattices[l].term;
            add_mixed<W>(scratch.message.data(), mix_[m], f.terms[m].kind == 2 ? W : 1, scratch.acc.data(), count * W);
        }
        watch_.lap(phase_slice);
        for (int32_t n = 0; n < f.n_grids; ++n) {
            const float* const sums = scratch.sums.data() + (n * grid_block + line) * columns_;
            grids_[n].finish(sums, scratch.halves.data(), scratch.message.data());
            const int32_t m = f.grids[n].term;
            add_mixed<W>(scratch.message.data(), mix_[m], f.terms[m].kind == 2 ? W : 1, scratch.acc.data(), count * W);
        }
        watch_.lap(phase_grid_columns);
    }

    const df_mean_field_job& f;
    mutable Watch watch_;
    bool has_grid_ = false;
    int64_t width_ = 0, height_ = 0, bands_ = 0, parts_ = 0;
    int64_t padded_ = 0, columns_ = 0;  // numbers of a line with its sides; of a filtered line
    Owned<float> scores_;  // less each point's greatest
    OneLattice lattices_[most_lattices];
    FewGrid<W> grids_[most_terms];
    float mix_[most_terms][W][flat_width];
};

}  // namespace

void few_labels(const df_mean_field_job& field) {
    if (field.labels <= 2) return FewLabels<2>(field).run();
    FewLabels<4>(field).run();
}

}  // namespace DF_TARGET
}  // namespace densefield
