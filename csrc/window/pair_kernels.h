// What the three distances have of their own, behind one table each: compiled once, however many callers there are.
#pragma once

#include "base/vector_math.h"
#include "window/window.h"

namespace densefield::DF_TARGET {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int block_rows = 4;  // 20 sums + 4 rows of p in 32 registers
#else
constexpr int block_rows = 2;  // 10 sums + 2 rows of p in 16 registers
#endif

// Rows of embeddings lie so far apart where the reach is within half a vector: a number that the compiler knows.
template <class T>
constexpr int64_t narrow_apart = 7 * lanes<T>;

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int slope_channels = 2;  // 5 rows of q and of their sums, p and its sum, twice: 24 of 32 registers
#else
constexpr int slope_channels = 1;
#endif
constexpr int64_t most_slopes = 5;  // row offsets of one run

// The place of offset (dy, dx) among the sums of a block: those of one dx and rising dy lie together.
DF_INLINE int64_t place_in_block(const Window& w, int64_t dy, int64_t dx) {
    return dx <= 0 ? (dx + w.half_x) * w.half_y + dy - 1 : (w.half_x + 1) * w.half_y + (dx - 1) * (w.half_y + 1) + dy;
}

// One vector of columns of block_rows rows, from the first on, and of the rows below: rows are `apart` numbers from each
// other, channels `between`.
template <class T>
struct PairBlock {
    const T* first;
    int64_t apart, channels, between;
};

// Where a run finds its rows, from the first row of p and from the band's first row for q.
template <class T>
struct SlopeRows {
    const T *p, *q;
    T *p_sums, *q_sums;
    int64_t apart, between;          // of embeddings: rows, channels
    int64_t p_between;               // of the sums at p: channels; rows are a vector apart
    int64_t q_apart, q_between;      // of the sums at q: rows, channels
};

template <class T>
using Slopes = void(const SlopeRows<T>& rows, const T* weights, int64_t steps, int64_t count);

// A distance is `factor` times the sums of `sum`.
template <class T>
struct PairKernels {
    // sums[(place_in_block * block_rows + row) * lanes] (+)= the sum over the channels for all half offsets of a block.
    void (*sum)(const Window& w, const PairBlock<T>& block, T* sums, bool add);
    // Visits `steps` rows of p, `count` rows of q each, starting at q's row 1 - count: rows of q above the band (below 0)
    // are left out. weights: count vectors a step.
    Slopes<T>* slopes;
    T factor;
    bool of_differences;
    int degree;  // in the embeddings
};

// Those of the distance that the C face calls so: 0 L1, 1 half the squared L2, 2 minus the dot product.
template <class T>
PairKernels<T> pair_kernels(int distance);
template <>
PairKernels<float> pair_kernels<float>(int distance);
template <>
PairKernels<double> pair_kernels<double>(int distance);

}  // namespace densefield::DF_TARGET
