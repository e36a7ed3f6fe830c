// Slopes of pair distances, summed at both pixels of a pair in one visit: one vector of columns and one column offset run
// down the rows of a band, with a few row offsets in registers.
#pragma once

#include "pairs.h"

namespace densefield::DF_TARGET {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int slope_channels = 2;  // 5 rows of q and of their sums, p and its sum, twice: 24 of 32 registers
#else
constexpr int slope_channels = 1;
#endif
constexpr int64_t most_slopes = 5;  // row offsets of one run

// Where a run finds its rows, from the first row of p and from the band's first row for q.
template <class T>
struct SlopeRows {
    const T *p, *q;
    T *p_sums, *q_sums;
    int64_t apart, between;          // of embeddings: rows, channels
    int64_t p_between;               // of the sums at p: channels; rows are a vector apart
    int64_t q_apart, q_between;      // of the sums at q: rows, channels
};

// Visits `steps` rows of p, `count` rows of q each, starting at q's row 1 - count: rows of q above the band (below 0) are
// left out. weights: count vectors a step.
template <class T, class Op, int count>
struct SlopeRun {
    SlopeRows<T> at;
    const T* weights;
    T* q_done;
    Vector<T> q[slope_channels][count], q_sum[slope_channels][count];

    DF_INLINE SlopeRun(const SlopeRows<T>& rows, const T* weights) : at(rows), weights(weights), q_done(rows.q_sums) {}

    template <int i, bool first>
    DF_INLINE void step() {
        constexpr int newest = (i + count - 1) % count, from = first ? count - 1 - i : 0;
        Vector<T> p[slope_channels], p_sum[slope_channels];
        DF_UNROLL for (int c = 0; c < slope_channels; ++c) {
            q[c][newest] = held(load(at.q + c * at.between));
            q_sum[c][newest] = load(at.q_sums + c * at.q_between);
            p[c] = held(load(at.p + c * at.between));
            p_sum[c] = load(at.p_sums + c * at.p_between);
        }
        slopes<i, from>(p, p_sum, std::make_integer_sequence<int, count>());
        DF_UNROLL for (int c = 0; c < slope_channels; ++c) {
            store(at.p_sums + c * at.p_between, p_sum[c]);
            if (from == 0) store(q_done + c * at.q_between, q_sum[c][i]);
        }
        if (from == 0) q_done += at.q_apart;
        at.q += at.apart;
        at.p += at.apart;
        at.q_sums += at.q_apart;
        at.p_sums += lanes<T>;
        weights += count * lanes<T>;
    }

    template <int i, int from, int... d>
    DF_INLINE void slopes(const Vector<T>* p, Vector<T>* p_sum, std::integer_sequence<int, d...>) {
        (slope<(i + d) % count, d, (d < from)>(p, p_sum), ...);
    }

    template <int row, int d, bool outside>
    DF_INLINE void slope(const Vector<T>* p, Vector<T>* p_sum) {
        if constexpr (outside) return;
        const Vector<T> weight = held(load(weights + d * lanes<T>));
        Op::template add_slopes<T, 2 * d % 3 == 0>(p_sum[0], q_sum[0][row], p[0], q[0][row], weight);
        if constexpr (slope_channels == 2)
            Op::template add_slopes<T, (2 * d + 1) % 3 == 0>(p_sum[1], q_sum[1][row], p[1], q[1][row], weight);
    }

    template <bool first, int... i>
    DF_INLINE void round(int64_t left, std::integer_sequence<int, i...>) {
        ((i < left ? step<i, first>() : void()), ...);
    }
};

template <class T, class Op, int count>
void run_slopes(const SlopeRows<T>& rows, const T* weights, int64_t steps) {
    constexpr std::make_integer_sequence<int, count> all;
    SlopeRun<T, Op, count> run(rows, weights);
    run.template round<true>(count, all);  // there are as many steps at least
    for (int64_t left = steps - count; left > 0; left -= count) run.template round<false>(left, all);
}

// Calls body(first offset dy, number of offsets, dx) for the runs that together make the half offsets.
template <class Body>
DF_INLINE void each_run(const Window& w, const Body& body) {
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; dy += most_slopes)
            body(dy, at_most(w.half_y - dy + 1, most_slopes), dx);
}

}  // namespace
}  // namespace densefield::DF_TARGET
