// The loops over channels and over rows in which distances and their derivatives spend their time.
#include "window/pair_kernels.h"

#include <utility>

#include "window/pair_ops.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int most_dy = 5;  // offsets dy that one pass over the channels serves

// Rows a fixed number of elements apart, known to the compiler where `Apart` is an integral_constant.
template <class T, class Apart>
struct EvenlyApart {
    const T* first;
    Apart apart;
    DF_INLINE const T* operator[](int64_t row) const { return first + row * static_cast<int64_t>(apart); }
};

// sums[(d * block_rows + a) * lanes] (+)= sum over channels of Op(p, q), p of row a and q of row a + d.
template <class T, class Op, int count, class Rows>
void sum_pairs(Rows p_rows, Rows q_rows, int64_t channels, int64_t apart, T* sums, bool add) {
    Vector<T> sum[block_rows][count];
    DF_UNROLL for (int a = 0; a < block_rows; ++a)
        DF_UNROLL for (int d = 0; d < count; ++d) sum[a][d] = Vector<T>{};
    for (int64_t c = 0; c < channels; ++c) {
        Vector<T> p[block_rows];
        DF_UNROLL for (int a = 0; a < block_rows; ++a) p[a] = in_register(load(p_rows[a] + c * apart));
        DF_UNROLL for (int row = 0; row < block_rows + count - 1; ++row) {
            const Vector<T> q = in_register(load(q_rows[row] + c * apart));
            DF_UNROLL for (int d = 0; d < count; ++d) {
                const int a = row - d;
                if (a >= 0 && a < block_rows) sum[a][d] = Op::template add<T>(sum[a][d], p[a], q);
            }
        }
    }
    DF_UNROLL for (int a = 0; a < block_rows; ++a)
        DF_UNROLL for (int d = 0; d < count; ++d) {
            T* const to = sums + (d * block_rows + a) * lanes<T>;
            store(to, add ? load(to) + sum[a][d] : sum[a][d]);
        }
}

// All half offsets of a block.
template <class T, class Op, class Apart>
void sum_offsets(const Window& w, const PairBlock<T>& block, Apart apart, T* sums, bool add) {
    const EvenlyApart<T, Apart> p_rows{block.first, apart};
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx) {
        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; dy += most_dy) {
            T* const to = sums + place_in_block(w, dy, dx) * block_rows * lanes<T>;
            const EvenlyApart<T, Apart> q_rows{&p_rows[dy][dx * w.rate], apart};
            switch (at_most(w.half_y - dy + 1, most_dy)) {
                case 1: sum_pairs<T, Op, 1>(p_rows, q_rows, block.channels, block.between, to, add); break;
                case 2: sum_pairs<T, Op, 2>(p_rows, q_rows, block.channels, block.between, to, add); break;
                case 3: sum_pairs<T, Op, 3>(p_rows, q_rows, block.channels, block.between, to, add); break;
                case 4: sum_pairs<T, Op, 4>(p_rows, q_rows, block.channels, block.between, to, add); break;
                default: sum_pairs<T, Op, 5>(p_rows, q_rows, block.channels, block.between, to, add); break;
            }
        }
    }
}

template <class T, class Op>
void sum_block(const Window& w, const PairBlock<T>& block, T* sums, bool add) {
    if (block.apart == narrow_apart<T>)
        sum_offsets<T, Op>(w, block, std::integral_constant<int64_t, narrow_apart<T>>(), sums, add);
    else
        sum_offsets<T, Op>(w, block, block.apart, sums, add);
}

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
            q[c][newest] = in_register(load(at.q + c * at.between));
            q_sum[c][newest] = load(at.q_sums + c * at.q_between);
            p[c] = in_register(load(at.p + c * at.between));
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
        const Vector<T> weight = in_register(load(weights + d * lanes<T>));
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

template <class T, class Op>
void run_all_slopes(const SlopeRows<T>& rows, const T* weights, int64_t steps, int64_t count) {
    switch (count) {
        case 1: return run_slopes<T, Op, 1>(rows, weights, steps);
        case 2: return run_slopes<T, Op, 2>(rows, weights, steps);
        case 3: return run_slopes<T, Op, 3>(rows, weights, steps);
        case 4: return run_slopes<T, Op, 4>(rows, weights, steps);
        default: return run_slopes<T, Op, 5>(rows, weights, steps);
    }
}

template <class T, class Op>
constexpr PairKernels<T> kernels_of() {
    return {sum_block<T, Op>, run_all_slopes<T, Op>, T(Op::factor), Op::of_differences, Op::degree};
}

template <class T>
PairKernels<T> kernels_for(int distance) {
    switch (distance) {
        case 0: return kernels_of<T, L1>();
        case 1: return kernels_of<T, HalfSquaredL2>();
        case 2: return kernels_of<T, MinusDot>();
        default: throw BadArgument();
    }
}

}  // namespace

template <>
PairKernels<float> pair_kernels<float>(int distance) {
    return kernels_for<float>(distance);
}
template <>
PairKernels<double> pair_kernels<double>(int distance) {
    return kernels_for<double>(distance);
}

}  // namespace densefield::DF_TARGET
