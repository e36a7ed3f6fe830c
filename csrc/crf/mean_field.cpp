// Q lives in rows of labels, a pixel a row. An iteration is one walk over the image, tile by tile: filter along the grid's
// columns, slice, apply compatibility and softmax, write the new Q and filter it along the lines of the grid; then splat to
// each lattice and blur there. The backward pass takes the same walks with dL/dlogits and the transposed filters.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/dispatch.h"
#include "base/guard.h"
#include "base/memory.h"
#include "base/packing.h"
#include "base/parallel.h"
#include "crf/field_limits.h"
#include "crf/field_walk.h"
#include "crf/softmax_rows.h"
#include "densefield.h"

namespace densefield {

DF_DECLARE(void mean_field(const df_mean_field_job& field, bool backward); int64_t half_bytes();
           void few_labels(const df_mean_field_job& field);)

namespace DF_TARGET {
namespace {

// Whether Q is in half precision. Up to four labels are cheap: all in 32 bits, as few_labels has it.
inline bool narrow(const df_mean_field_job& field) { return field.half && field.labels > 4; }

constexpr auto take_nothing = [](int32_t, const float*) {};

// W, S and OneGroup as in Walk.
template <int W, class S, bool OneGroup>
class Loop : Walk<W, S, OneGroup> {
    using Base = Walk<W, S, OneGroup>;
    using typename Base::Tile;
    using Base::f, Base::groups, Base::plane, Base::tile_columns, Base::wide_columns;

public:
    Loop(const df_mean_field_job& field, bool backward)
        : Base(field, backward), rows_(kept(field, backward) != nullptr ? 0 : groups * plane) {
        // The output is written by the last update only, which reads the scores themselves.
        const bool room = !backward && groups * W * static_cast<int64_t>(sizeof(S)) <= f.labels * static_cast<int64_t>(sizeof(float));
        if (!room) own_scores_.take(groups * plane);
        scores_ = room ? reinterpret_cast<S*>(f.output) : own_scores_.data();
        padding_.take(this->stride());
        for (int64_t c = 0; c < this->stride(); ++c) padding_[c] = c < f.labels ? 0.0f : -no_label;
    }

    void forward() {
        this->walk(false, state(0), wide_columns, [&](const Tile& tile) { first(tile, state(0)); });
        if (f.doubtful != nullptr && *f.doubtful != 0) return;
        for (int t = 0; t + 1 < f.iterations; ++t)
            this->walk(true, state(t + 1), tile_columns, [&](const Tile& tile) { update(tile, state(t + 1)); });
        this->walk(true, nullptr, wide_columns, [&](const Tile& tile) { finish(tile); });
    }

    void backward() {
        const int64_t count = this->bands() * this->terms.gradient_count();
        Buffer<double> sums(count);
        S* const last = state(f.iterations - 1);
        this->walk(false, last, wide_columns, [&](const Tile& tile) { last_errors(tile, last); });
        for (int t = f.iterations - 1; t >= 0; --t) {
            std::memset(sums.data(), 0, static_cast<size_t>(count) * sizeof(double));
            S* const to = t > 0 ? state(t - 1) : nullptr;
            this->walk(true, to, tile_columns, [&](const Tile& tile) { errors(tile, t, to, sums.data()); });
            this->terms.add_gradients(sums.data(), this->bands());
        }
    }

private:
    static S* kept(const df_mean_field_job& field, bool backward) {
        return backward ? reinterpret_cast<S*>(field.errors) : static_cast<S*>(field.saved);
    }

    // Q before iteration t; in the backward pass the errors of its logits.
    S* state(int64_t t) {
        S* const all = kept(f, this->back);
        return all == nullptr ? rows_.data() : all + t * groups * plane;
    }

    void spread(const float* line, int64_t start, int64_t count, S* to) const {
        for (int64_t g = 0; g < groups; ++g)
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> row;
                row.load(line + (x * groups + g) * W);
                row.store(to + g * plane + (start + x) * W);
            }
    }

    template <class From>
    void collect(const From* from, int64_t start, int64_t count, float* line) const {
        for (int64_t g = 0; g < groups; ++g)
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> row;
                row.load(from + g * plane + (start + x) * W);
                row.store(line + (x * groups + g) * W);
            }
    }

    // A line of the image as rows.
    void pack_line(const float* from, int64_t start, int64_t count, float filler, float* line) const {
        constexpr int known = OneGroup && W == 4 ? W : 0;
        pack<float, known>(from + start, this->stride(), f.labels, f.points, count, filler, line);
    }

    void unpack_line(const float* line, int64_t start, int64_t count, float* to) const {
        unpack(line, this->stride(), f.labels, f.points, count, to + start);
    }

    // Softmax of logits that sums of exponentials allow.
    DF_NOINLINE bool write_softmax(float* line, int64_t start, int64_t count, S* q) const {
        const auto write = [&](int64_t x, int64_t g, const Row<float, W>& row) { row.store(q + g * plane + (start + x) * W); };
        constexpr Accuracy accuracy = sizeof(S) == 2 ? Accuracy::rough : Accuracy::full;  // half precision holds no more
        return quick_softmax<W, OneGroup, accuracy>(line, groups, count, write);
    }

    // What the next line reads of the image's planes.
    void ask_planes(const Tile& tile, int64_t y, int64_t count, const float* planes) const {
        const int64_t next = this->next_line(tile, y), points = this->points_from(next, count);
        for (int64_t c = 0; c < f.labels; ++c) ask_for(planes + c * f.points + next, points);
    }

    void first(const Tile& tile, S* q) {
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            ask_planes(tile, y, count, f.scores);
            pack_line(f.scores, start, count, no_label, tile.acc);
            subtract_highest<W, OneGroup>(tile.acc, groups, count);  // near 0, half precision tells small differences
            const float least = f.half ? -6e4f : -1e30f;
            if (f.doubtful != nullptr && any_below<W, OneGroup>(tile.acc, groups, count, padding_.data(), least))
                __atomic_store_n(f.doubtful, 1, __ATOMIC_RELAXED);
            spread(tile.acc, start, count, scores_);
            if (f.initial != nullptr) {
                pack_line(f.initial, start, count, no_label, tile.acc);
                subtract_highest<W, OneGroup>(tile.acc, groups, count);
            }
            write_softmax(tile.acc, start, count, q);
            this->watch.lap(phase_begin);
        });
    }

    void update_logits(const Tile& tile, int64_t y, int64_t start, int64_t count) const {
        collect(scores_, start, count, tile.acc);
        this->watch.lap(phase_softmax);
        this->messages(tile, y, start, count, take_nothing);
    }

    void update(const Tile& tile, S* q) {
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            const int64_t next = this->next_line(tile, y), points = this->points_from(next, count);
            for (int64_t g = 0; g < groups; ++g) ask_for(scores_ + g * plane + next * W, points * W);
            this->ask_messages(next, points);
            update_logits(tile, y, start, count);
            if (!write_softmax(tile.acc, start, count, q)) {
                update_logits(tile, y, start, count);
                subtract_highest<W, OneGroup>(tile.acc, groups, count);
                write_softmax(tile.acc, start, count, q);
            }
            this->watch.lap(phase_softmax);
        });
    }

    void finish(const Tile& tile) {
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            ask_planes(tile, y, count, f.scores);
            pack_line(f.scores, start, count, no_label, tile.acc);
            // Messages would drown in a large number that all labels share.
            subtract_highest<W, OneGroup>(tile.acc, groups, count);
            this->watch.lap(phase_end);
            this->messages(tile, y, start, count, take_nothing);
            float sums[wide_columns + lanes<float>];
            log_softmax<W, OneGroup>(tile.acc, groups, count, tile.spare, sums);
            unpack_line(tile.acc, start, count, f.output);
            this->watch.lap(phase_end);
        });
    }

    // By log Q of the end: e = g - Q sum(g). `scores_` gathers the errors of all iterations.
    void last_errors(const Tile& tile, S* to) {
        const int64_t stride = this->stride();
        this->each_line(tile, [&](int64_t, int64_t start, int64_t count) {
            float *const line = tile.acc, *const logs = tile.spare;
            pack_line(f.grad_output, start, count, 0.0f, line);
            pack_line(f.output, start, count, -1e30f, logs);
            exponentiate(logs, count * stride, logs);
            for (int64_t x = 0; x < count; ++x) {
                float sum = 0.0f;
                for (int64_t c = 0; c < f.labels; ++c) sum += line[x * stride + c];
                for (int64_t c = 0; c < stride; ++c) line[x * stride + c] -= sum * logs[x * stride + c];
            }
            spread(line, start, count, to);
            spread(line, start, count, scores_);
        });
    }

    // From the errors of iteration t's logits to those of the one before: e = Q (G - <G, Q>), G the messages of e.
    void errors(const Tile& tile, int t, S* to, double* sums) {
        const int64_t before = static_cast<int64_t>(t) * groups * plane;
        const int64_t stride = this->stride();
        const bool final_step = t == 0, from_initial = f.initial != nullptr;
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            narrow(f) ? collect(static_cast<const Half*>(f.saved) + before, start, count, tile.spare)
                      : collect(static_cast<const S*>(f.saved) + before, start, count, tile.spare);
            std::memset(tile.acc, 0, static_cast<size_t>(count * stride) * sizeof(float));
            this->messages(tile, y, start, count, [&](int32_t m, const float* message) {
                this->terms.gather(m, message, tile.spare, count, sums + tile.band * this->terms.gradient_count());
            });
            for (int64_t x = 0; x < count; ++x) {
                float* const gradient = tile.acc + x * stride;
                const float* const now = tile.spare + x * stride;
                float inner = 0.0f;
                for (int64_t g = 0; g < groups; ++g) {
                    Row<float, W> product, other;
                    product.load(gradient + g * W);
                    other.load(now + g * W);
                    product.multiply(other);
                    inner += total(product);
                }
                for (int64_t c = 0; c < stride; ++c) gradient[c] = (gradient[c] - inner) * now[c];
            }
            if (final_step && from_initial) {
                if (f.grad_initial != nullptr) unpack_line(tile.acc, start, count, f.grad_initial);
                collect(scores_, start, count, tile.acc);
                return unpack_line(tile.acc, start, count, f.grad_scores);
            }
            if (!final_step) spread(tile.acc, start, count, to);
            collect(scores_, start, count, tile.spare);
            for (int64_t i = 0; i < count * stride; ++i) tile.acc[i] += tile.spare[i];
            if (!final_step) return spread(tile.acc, start, count, scores_);
            unpack_line(tile.acc, start, count, f.grad_scores);
        });
    }

    Owned<S> own_scores_;
    S* scores_;  // less each point's greatest; going backward, the sum of all errors
    Buffer<S> rows_;
    Owned<float> padding_;  // of a row of labels
};

template <int W, bool OneGroup>
void run(const df_mean_field_job& field, bool backward) {
    if (backward) return Loop<W, float, OneGroup>(field, true).backward();
    if constexpr (W > 4)
        if (narrow(field)) return Loop<W, Half, OneGroup>(field, false).forward();
    Loop<W, float, OneGroup>(field, false).forward();
}

}  // namespace

int64_t half_bytes() { return sizeof(Half); }

void mean_field(const df_mean_field_job& field, bool backward) {
    if (field.labels <= 4) return run<4, true>(field, backward);
    if (field.labels <= 8) return run<8, true>(field, backward);
    if (field.labels <= 16) return run<16, true>(field, backward);
    if (field.labels <= 24) return run<24, true>(field, backward);
    if (field.labels <= 32) return run<32, true>(field, backward);
    run<32, false>(field, backward);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
namespace densefield {
namespace {

int run_field(const df_mean_field_job* field, bool backward) {
    return guarded([&] {
        const bool sizes = field->labels >= 1 && field->labels <= most_labels && field->points >= 1 &&
                           field->iterations >= 1 && field->n_threads >= 1;
        const bool grid = field->n_grids == 0 || field->height * field->width == field->points;
        const bool counts = field->n_lattices >= 0 && field->n_lattices <= most_lattices && field->n_grids >= 0 &&
                            field->n_grids <= most_terms && field->n_terms >= 0 && field->n_terms <= most_terms;
        if (!sizes || !grid || !counts || (backward && field->saved == nullptr)) throw BadArgument();
        const bool few = field->labels <= 4 && field->saved == nullptr;
        for (int32_t l = 0; l < field->n_lattices; ++l) {
            const df_field_lattice& lattice = field->lattices[l];
            const bool sorted = lattice.entries != nullptr;
            if (lattice.touched < 1 || lattice.touched > lattice.rows || sorted != (lattice.starts != nullptr)) throw BadArgument();
        }
        if (!backward) prefer_large_pages(field->output, field->labels * field->points * 4);
        if (few)
            DF_DISPATCH(few_labels(*field));
        else
            DF_DISPATCH(mean_field(*field, backward));
    });
}

}  // namespace
}  // namespace densefield

extern "C" int df_mean_field_layout(int64_t labels, int64_t* groups, int64_t* width, int64_t* bytes) {
    using namespace densefield;
    return guarded([&] {
        if (labels < 1 || labels > most_labels) throw BadArgument();
        *width = labels <= 4 ? 4 : labels <= 8 ? 8 : labels <= 16 ? 16 : labels <= 24 ? 24 : 32;
        *groups = (labels + *width - 1) / *width;
        *bytes = labels > 4 ? DF_DISPATCH(half_bytes()) : static_cast<int64_t>(sizeof(float));
    });
}

extern "C" int df_mean_field_forward(const df_mean_field_job* field) { return densefield::run_field(field, false); }

extern "C" int df_mean_field_backward(const df_mean_field_job* field) { return densefield::run_field(field, true); }
#endif
