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
#include "parallel.h"
#include "softmax_rows.h"

namespace densefield {

constexpr int64_t most_labels = 2048;

DF_DECLARE(void mean_field(const df_field& field, bool backward); int64_t half_bytes();)

namespace DF_TARGET {
namespace {

// Rows of `stride` numbers to and from labels that lie `points` apart.
void unpack(const float* rows, int64_t stride, int64_t labels, int64_t points, int64_t count, float factor, float* to) {
    for (int64_t c = 0; c < labels; ++c)
        for (int64_t i = 0; i < count; ++i) to[c * points + i] = factor * rows[i * stride + c];
}

void pack(const float* from, int64_t stride, int64_t labels, int64_t points, int64_t count, float factor, float filler,
          float* rows) {
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < labels; ++c) rows[i * stride + c] = factor * from[c * points + i];
        for (int64_t c = labels; c < stride; ++c) rows[i * stride + c] = filler;
    }
}

// Softmax in place; gives the logarithm of what the exponentials were divided by.
template <int W>
DF_INLINE float softmax(Row<float, W>* rows, int64_t groups) {
    float top = highest(rows[0]);
    for (int64_t g = 1; g < groups; ++g) {
        const float here = highest(rows[g]);
        top = here > top ? here : top;
    }
    float sum = 0.0f;
    for (int64_t g = 0; g < groups; ++g) {
        exponentiate(rows[g], top);
        sum += total(rows[g]);
    }
    for (int64_t g = 0; g < groups; ++g) rows[g].scale(1.0f / sum);
    return top + std::log(sum);
}

template <int W, class S, class Q, bool One>
class Loop : Filters<W, S, One> {
    using Base = Filters<W, S, One>;
    using Tile = typename Base::Tile;
    using Base::f, Base::groups, Base::plane;
    static constexpr int most = Base::most_groups;

public:
    Loop(const df_field& field, bool backward)
        : Base(field, backward), unary_(groups * plane), rows_(kept(backward) ? 0 : groups * plane) {}

    void forward() {
        first(state(0));
        for (int t = 0; t < f.iterations; ++t) {
            const bool last = t + 1 == f.iterations;
            this->filter(state(t));
            this->over_tiles([&](const Tile& tile) { last ? finish(tile) : update(tile, state(t + 1)); });
        }
    }

    void backward() {
        Buffer<double> sums(this->tile_bands() * (this->gradient_count() + 1));
        last_errors(state(f.iterations - 1));
        for (int t = f.iterations - 1; t >= 0; --t) {
            this->filter(state(t));
            std::memset(sums.data(), 0, static_cast<size_t>(this->tile_bands() * this->gradient_count()) * sizeof(double));
            S* const to = t > 0 ? state(t - 1) : nullptr;
            this->over_tiles([&](const Tile& tile) { errors(tile, t, to, sums.data()); });
            this->add_gradients(sums.data());
        }
    }

private:
    bool kept(bool backward) const { return backward ? f.errors != nullptr : f.saved != nullptr; }

    // Q before iteration t; in the backward pass the errors of its logits.
    S* state(int64_t t) {
        if (!kept(this->back)) return rows_.data();
        return (this->back ? reinterpret_cast<S*>(f.errors) : static_cast<S*>(f.saved)) + t * groups * plane;
    }

    void first(S* q) {
        const int64_t stride = groups * W;
        this->over_range(f.points, 256, [&](int64_t begin, int64_t end) {
            Buffer<float> scratch(256 * stride);
            float* const rows = scratch.data();
            const int64_t count = end - begin;
            pack(f.unary + begin, stride, f.labels, f.points, count, -1.0f, -1e30f, rows);
            Row<float, W> row[most];
            for (int64_t i = 0; i < count; ++i)
                for (int64_t g = 0; g < groups; ++g) {
                    row[0].load(rows + i * stride + g * W);
                    row[0].store(unary_.data() + g * plane + (begin + i) * W);
                }
            if (f.initial != nullptr) pack(f.initial + begin, stride, f.labels, f.points, count, 1.0f, -1e30f, rows);
            for (int64_t i = 0; i < count; ++i) {
                for (int64_t g = 0; g < groups; ++g) row[g].load(rows + i * stride + g * W);
                softmax(row, groups);
                for (int64_t g = 0; g < groups; ++g) row[g].store(q + g * plane + (begin + i) * W);
            }
        });
    }

    DF_INLINE void logits(const Tile& tile, int64_t y, int64_t x, int64_t point, Row<float, W>* acc) const {
        for (int64_t g = 0; g < groups; ++g) acc[g].load(unary_.data() + g * plane + point * W);
        this->messages(tile, y, x, point, acc, [](int32_t, const Row<float, W>*) {});
    }

    void update(const Tile& tile, S* q) {
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> acc[most];
                logits(tile, y, x, start + x, acc);
                softmax(acc, groups);
                for (int64_t g = 0; g < groups; ++g) acc[g].store(q + g * plane + (start + x) * W);
            }
        });
    }

    void finish(const Tile& tile) {
        const int64_t stride = groups * W;
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> acc[most], copy[most];
                logits(tile, y, x, start + x, acc);
                for (int64_t g = 0; g < groups; ++g) copy[g] = acc[g];
                const float offset = softmax(copy, groups);
                for (int64_t g = 0; g < groups; ++g) {
                    shift(acc[g], -offset);
                    acc[g].store(tile.result + x * stride + g * W);
                }
            }
            unpack(tile.result, stride, f.labels, f.points, count, 1.0f, f.output + start);
        });
    }

    // By log Q of the end: e = g - Q sum(g). `unary_` gathers the errors of all iterations.
    void last_errors(S* errors) {
        const int64_t stride = groups * W;
        this->over_range(f.points, 256, [&](int64_t begin, int64_t end) {
            Buffer<float> scratch(512 * stride);
            float *const gradients = scratch.data(), *const logs = gradients + 256 * stride;
            pack(f.grad_output + begin, stride, f.labels, f.points, end - begin, 1.0f, 0.0f, gradients);
            pack(f.output + begin, stride, f.labels, f.points, end - begin, 1.0f, -1e30f, logs);
            for (int64_t i = 0; i < end - begin; ++i) {
                float sum = 0.0f;
                for (int64_t c = 0; c < f.labels; ++c) sum += gradients[i * stride + c];
                for (int64_t g = 0; g < groups; ++g) {
                    Row<float, W> gradient, q;
                    gradient.load(gradients + i * stride + g * W);
                    q.load(logs + i * stride + g * W);
                    exponentiate(q, 0.0f);
                    gradient.add(q, -sum);
                    gradient.store(errors + g * plane + (begin + i) * W);
                    gradient.store(unary_.data() + g * plane + (begin + i) * W);
                }
            }
        });
    }

    // From the errors of iteration t's logits to those of the one before: e = Q (G - <G, Q>), G the messages of e.
    void errors(const Tile& tile, int t, S* to, double* sums) {
        const Q* const q = static_cast<const Q*>(f.saved) + static_cast<int64_t>(t) * groups * plane;
        const int64_t stride = groups * W;
        const bool final_step = t == 0, from_initial = f.initial != nullptr;
        this->each_line(tile, [&](int64_t y, int64_t start, int64_t count) {
            for (int64_t x = 0; x < count; ++x) {
                Row<float, W> gradient[most], now[most];
                const int64_t point = start + x;
                for (int64_t g = 0; g < groups; ++g) {
                    gradient[g].zero();
                    now[g].load(q + g * plane + point * W);
                }
                this->messages(tile, y, x, point, gradient, [&](int32_t m, const Row<float, W>* message) {
                    this->gather(m, message, now, sums + tile.index * this->gradient_count());
                });
                float inner = 0.0f;
                for (int64_t g = 0; g < groups; ++g) {
                    Row<float, W> product = gradient[g];
                    multiply(product, now[g]);
                    inner += total(product);
                }
                for (int64_t g = 0; g < groups; ++g) {
                    shift(gradient[g], -inner);
                    multiply(gradient[g], now[g]);
                    if (final_step && from_initial) {
                        gradient[g].store(tile.result + x * stride + g * W);
                        continue;
                    }
                    Row<float, W> sum;
                    sum.load(unary_.data() + g * plane + point * W);
                    sum.add(gradient[g]);
                    if (final_step) {
                        sum.store(tile.result + x * stride + g * W);
                    } else {
                        sum.store(unary_.data() + g * plane + point * W);
                        gradient[g].store(to + g * plane + point * W);
                    }
                }
            }
            if (!final_step) return;
            if (!from_initial) return unpack(tile.result, stride, f.labels, f.points, count, -1.0f, f.grad_unary + start);
            if (f.grad_initial != nullptr)
                unpack(tile.result, stride, f.labels, f.points, count, 1.0f, f.grad_initial + start);
            for (int64_t g = 0; g < groups; ++g)
                unpack(unary_.data() + g * plane + start * W, W, f.labels - g * W < W ? f.labels - g * W : W, f.points,
                       count, -1.0f, f.grad_unary + g * W * f.points + start);
        });
    }

    Buffer<float> unary_;
    Buffer<S> rows_;
};

template <int W, bool One>
void run(const df_field& field, bool backward) {
    if (backward && field.half) return Loop<W, float, Half, One>(field, true).backward();
    if (backward) return Loop<W, float, float, One>(field, true).backward();
    if (field.half) return Loop<W, Half, Half, One>(field, false).forward();
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
        *bytes = DF_DISPATCH(half_bytes());
    });
}

extern "C" int df_mean_field_forward(const df_field* field) { return densefield::run_field(field, false); }

extern "C" int df_mean_field_backward(const df_field* field) { return densefield::run_field(field, true); }
#endif
