// Q lives in rows of labels, a pixel a row. An iteration is: splat Q to each lattice and blur it there; filter Q along the
// lines of the grid; then, tile by tile, filter along the grid's columns, slice, apply compatibility and softmax, and
// write the new Q. The backward pass runs the same loop on dL/dlogits with the transposed filters.
#include "mean_field.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "dispatch.h"
#include "field_filters.h"
#include "guard.h"
#include "memory.h"
#include "packing.h"
#include "parallel.h"
#include "softmax_rows.h"

namespace densefield {

constexpr int64_t most_labels = 2048;

DF_DECLARE(void mean_field(const df_field& field, bool backward); int64_t half_bytes();
           void few_labels(const df_field& field);)

namespace DF_TARGET {
namespace {

// Divides rows of exponentials by their sums: each goes to write(x, g, row), each sum to note(x, sum).
template <int W, bool One, class Write, class Note>
DF_INLINE void over_sums(const float* rows, int64_t groups, int64_t count, const Write& write, const Note& note) {
    const int64_t step = (One ? 1 : groups) * W;
    for (int64_t x = 0; x < count; ++x) {
        Row<float, W> row;
        row.load(rows + x * step);
        float sum = total(row);
        if constexpr (!One)
            for (int64_t g = 1; g < groups; ++g) {
                row.load(rows + x * step + g * W);
                sum += total(row);
            }
        for (int64_t g = 0; g < (One ? 1 : groups); ++g) {
            row.load(rows + x * step + g * W);
            row.scale(1.0f / sum);
            write(x, g, row);
        }
        note(x, sum);
    }
}

// Softmax of a line of `count` rows of `groups` times W numbers, in three walks that a CPU can overlap: less the greatest,
// exp, over the sum. Each row goes to write(x, g, row); `logs`, where given, takes the logarithms of the divisors.
template <int W, bool One, class Write>
void softmax(float* rows, int64_t groups, int64_t count, float* logs, const Write& write) {
    const int64_t step = (One ? 1 : groups) * W;
    for (int64_t x = 0; x < count; ++x) {
        Row<float, W> row;
        row.load(rows + x * step);
        float top = highest(row);
        if constexpr (!One)
            for (int64_t g = 1; g < groups; ++g) {
                row.load(rows + x * step + g * W);
                const float here = highest(row);
                top = here > top ? here : top;
            }
        for (int64_t g = 0; g < (One ? 1 : groups); ++g) {
            row.load(rows + x * step + g * W);
            shift(row, -top);
            row.store(rows + x * step + g * W);
        }
        if (logs != nullptr) logs[x] = top;
    }
    exponentiate(rows, count * step);
    over_sums<W, One>(rows, groups, count, write, [logs](int64_t x, float sum) {
        if (logs != nullptr) logs[x] += std::log(sum);
    });
}

// The same without subtracting the greatest first, which serves while sums stay within the range of a float: false where
// one did not. The rows are spent then.
template <int W, bool One, class Write>
bool quick_softmax(float* rows, int64_t groups, int64_t count, const Write& write) {
    const int64_t step = (One ? 1 : groups) * W;
    exponentiate(rows, count * step);
    float least = 1.0f, most = 1.0f;
    over_sums<W, One>(rows, groups, count, write, [&least, &most](int64_t, float sum) {
        least = sum < least ? sum : least;
        most = sum > most ? sum : most;
    });
    return least > 1e-25f && most < 1e25f;
}

template <int W, class S, class Q, bool One>
class Loop : Filters<W, S, One> {
    using Base = Filters<W, S, One>;
    using Tile = typename Base::Tile;
    using Base::f, Base::groups, Base::plane;

public:
    Loop(const df_field& field, bool backward)
        : Base(field, backward), rows_(kept(backward) ? 0 : groups * plane) {
        // The output is written by the last update only, which reads `unary` itself.
        const bool room = !backward && groups * W * static_cast<int64_t>(sizeof(S)) <= f.labels * static_cast<int64_t>(sizeof(float));
        if (!room) own_unary_.take(groups * plane);
        unary_ = room ? reinterpret_cast<S*>(f.output) : own_unary_.data();
    }

    void forward() {
        first(state(0));
        this->watch.lap(phase_begin);
        this->filter_all_lines(state(0));
        for (int t = 0; t < f.iterations; ++t) {
            S* const next = t + 1 < f.iterations ? state(t + 1) : nullptr;
            this->filter(state(t));
            this->over_tiles(next, [&](const Tile& tile) { next == nullptr ? finish(tile) : update(tile, next); });
        }
    }

    void backward() {
        const int64_t count = this->tile_bands() * this->gradient_count();
        Buffer<double> sums(count);
        last_errors(state(f.iterations - 1));
        this->filter_all_lines(state(f.iterations - 1));
        for (int t = f.iterations - 1; t >= 0; --t) {
            this->filter(state(t));
            std::memset(sums.data(), 0, static_cast<size_t>(count) * sizeof(double));
            S* const to = t > 0 ? state(t - 1) : nullptr;
            this->over_tiles(to, [&](const Tile& tile) { errors(tile, t, to, sums.data()); });
            this->add_gradients(sums.data());
        }
    }

private:
    static constexpr int64_t few = 256;  // points packed at once

    bool kept(bool backward) const { return backward ? f.errors != nullptr : f.saved != nullptr; }

    // Q before iteration t; in the backward pass the errors of its logits.
    S* state(int64_t t) {
        if (!kept(this->back)) return rows_.data();
        return (this->back ? reinterpret_cast<S*>(f.errors) : static_cast<S*>(f.saved)) + t * groups * plane;
    }

    template <class To>  // a line of rows to where its points stand
    void spread(const float* rows, int64_t start, int64_t count, To* to) const {
        for (int64_t g = 0; g < groups; ++g)
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> row;
                row.load(rows + (x * groups + g) * W);
                row.store(to + g * plane + (start + x) * W);
            }
    }

    template <class From>
    void collect(const From* from, int64_t start, int64_t count, float* rows) const {
        for (int64_t g = 0; g < groups; ++g)
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> row;
                row.load(from + g * plane + (start + x) * W);
                row.store(rows + (x * groups + g) * W);
            }
    }

    template <class Body>  // void body(int64_t start, int64_t count, float* line, float* other)
    void over_lines(const Body& body) {
        const int64_t line = few * this->stride() + 16;
        this->over_range(f.points, few * 32, [&](int64_t begin, int64_t end) {
            Buffer<float> scratch(2 * line);
            for (int64_t start = begin; start < end; start += few)
                body(start, end - start < few ? end - start : few, scratch.data(), scratch.data() + line);
        });
    }

    void first(S* q) {
        over_lines([&](int64_t start, int64_t count, float* line, float*) {
            pack(f.unary + start, this->stride(), f.labels, f.points, count, -1.0f, -1e30f, line);
            less_highest(line, count);  // near 0, where half precision tells small differences
            spread(line, start, count, unary_);
            if (f.initial != nullptr)
                pack(f.initial + start, this->stride(), f.labels, f.points, count, 1.0f, -1e30f, line);
            softmax_to(line, start, count, q);
        });
    }

    void softmax_to(float* line, int64_t start, int64_t count, S* q) const {
        softmax<W, One>(line, groups, count, nullptr, [&](int64_t x, int64_t g, const Row<float, W>& row) {
            row.store(q + g * plane + (start + x) * W);
        });
    }

    void less_highest(float* line, int64_t count) const {
        for (int64_t x = 0; x < count; ++x) {
            float* const row = line + x * this->stride();
            float top = row[0];
            for (int64_t c = 1; c < f.labels; ++c) top = row[c] > top ? row[c] : top;
            for (int64_t c = 0; c < f.labels; ++c) row[c] -= top;
        }
    }

    void update_logits(const Tile& tile, int64_t y, int64_t start, int64_t count) const {
        collect(unary_, start, count, tile.acc);
        this->watch.lap(phase_softmax);
        this->messages(tile, y, start, count, [](int32_t, const float*) {});
    }

    void update(const Tile& tile, S* q) {
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            const auto write = [&](int64_t x, int64_t g, const Row<float, W>& row) {
                row.store(q + g * plane + (start + x) * W);
            };
            update_logits(tile, y, start, count);
            const bool done = quick_softmax<W, One>(tile.acc, groups, count, write);
            this->watch.lap(phase_softmax);
            if (done) return;
            update_logits(tile, y, start, count);
            softmax_to(tile.acc, start, count, q);
        });
    }

    void finish(const Tile& tile) {
        const int64_t stride = this->stride();
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            pack(f.unary + start, stride, f.labels, f.points, count, -1.0f, -1e30f, tile.acc);
            this->watch.lap(phase_end);
            this->messages(tile, y, start, count, [](int32_t, const float*) {});
            std::memcpy(tile.spare, tile.acc, static_cast<size_t>(count * stride) * sizeof(float));
            float logs[Base::tile_columns];
            softmax<W, One>(tile.spare, groups, count, logs, [](int64_t, int64_t, const Row<float, W>&) {});
            for (int64_t x = 0; x < count; ++x)
                for (int64_t c = 0; c < stride; ++c) tile.acc[x * stride + c] -= logs[x];
            unpack(tile.acc, stride, f.labels, f.points, count, 1.0f, f.output + start);
            this->watch.lap(phase_end);
        });
    }

    // By log Q of the end: e = g - Q sum(g). `unary_` gathers the errors of all iterations.
    void last_errors(S* errors) {
        const int64_t stride = this->stride();
        over_lines([&](int64_t start, int64_t count, float* line, float* logs) {
            pack(f.grad_output + start, stride, f.labels, f.points, count, 1.0f, 0.0f, line);
            pack(f.output + start, stride, f.labels, f.points, count, 1.0f, -1e30f, logs);
            exponentiate(logs, count * stride);
            for (int64_t x = 0; x < count; ++x) {
                float sum = 0.0f;
                for (int64_t c = 0; c < f.labels; ++c) sum += line[x * stride + c];
                for (int64_t c = 0; c < stride; ++c) line[x * stride + c] -= sum * logs[x * stride + c];
            }
            spread(line, start, count, errors);
            spread(line, start, count, unary_);
        });
    }

    // From the errors of iteration t's logits to those of the one before: e = Q (G - <G, Q>), G the messages of e.
    void errors(const Tile& tile, int t, S* to, double* sums) {
        const Q* const q = static_cast<const Q*>(f.saved) + static_cast<int64_t>(t) * groups * plane;
        const int64_t stride = this->stride();
        const bool final_step = t == 0, from_initial = f.initial != nullptr;
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            collect(q, start, count, tile.spare);
            std::memset(tile.acc, 0, static_cast<size_t>(count * stride) * sizeof(float));
            this->messages(tile, y, start, count, [&](int32_t m, const float* message) {
                this->gather(m, message, tile.spare, count, sums + tile.index * this->gradient_count());
            });
            for (int64_t x = 0; x < count; ++x) {
                float* const gradient = tile.acc + x * stride;
                const float* const now = tile.spare + x * stride;
                float inner = 0.0f;
                for (int64_t g = 0; g < groups; ++g) {
                    Row<float, W> product, other;
                    product.load(gradient + g * W);
                    other.load(now + g * W);
                    multiply(product, other);
                    inner += total(product);
                }
                for (int64_t c = 0; c < stride; ++c) gradient[c] = (gradient[c] - inner) * now[c];
            }
            if (final_step && from_initial) {
                if (f.grad_initial != nullptr)
                    unpack(tile.acc, stride, f.labels, f.points, count, 1.0f, f.grad_initial + start);
                collect(unary_, start, count, tile.acc);
                return unpack(tile.acc, stride, f.labels, f.points, count, -1.0f, f.grad_unary + start);
            }
            if (!final_step) spread(tile.acc, start, count, to);
            collect(unary_, start, count, tile.spare);
            for (int64_t i = 0; i < count * stride; ++i) tile.acc[i] += tile.spare[i];
            if (!final_step) return spread(tile.acc, start, count, unary_);
            unpack(tile.acc, stride, f.labels, f.points, count, -1.0f, f.grad_unary + start);
        });
    }

    Owned<S> own_unary_;
    S* unary_;  // negative and less each point's greatest; going backward, the sum of all errors
    Buffer<S> rows_;
};

template <int W, bool One>
void run(const df_field& field, bool backward) {
    // Up to four labels are cheap: all in 32 bits, as few_labels has it.
    const bool narrow = field.half && field.labels > 4;
    if (backward && narrow) return Loop<W, float, Half, One>(field, true).backward();
    if (backward) return Loop<W, float, float, One>(field, true).backward();
    if (narrow) return Loop<W, Half, Half, One>(field, false).forward();
    Loop<W, float, float, One>(field, false).forward();
}

}  // namespace

int64_t half_bytes() { return sizeof(Half); }

void mean_field(const df_field& field, bool backward) {
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

int run_field(const df_field* field, bool backward) {
    return guarded([&] {
        const bool sizes = field->labels >= 1 && field->labels <= most_labels && field->points >= 1 &&
                           field->iterations >= 1 && field->n_threads >= 1;
        const bool grid = field->n_grids == 0 || field->height * field->width == field->points;
        const bool counts = field->n_lattices >= 0 && field->n_lattices <= 64 && field->n_grids >= 0 &&
                            field->n_grids <= 8 && field->n_terms >= 0 && field->n_terms <= 8;
        if (!sizes || !grid || !counts || (backward && field->saved == nullptr)) throw BadArgument();
        if (!backward && field->labels <= 4 && field->saved == nullptr)
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

extern "C" int df_mean_field_forward(const df_field* field) { return densefield::run_field(field, false); }

extern "C" int df_mean_field_backward(const df_field* field) { return densefield::run_field(field, true); }
#endif
