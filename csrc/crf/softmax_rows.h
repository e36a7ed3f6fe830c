// Softmax over rows of labels.
#pragma once

#include "base/exponentials.h"
#include "base/rows.h"

namespace densefield::DF_TARGET {
namespace {

// A vector's halves.
template <class V>
struct Halves {
    VectorOf<NumberOf<V>, count_of<V> / 2> low, high;
    DF_INLINE explicit Halves(const V& x) {
        std::memcpy(&low, &x, sizeof(low));
        std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof(low), sizeof(high));
    }
};

// The greatest number of a vector, and the sum of all, half by half.
template <class V>
DF_INLINE float highest_of(const V& x) {
    if constexpr (count_of<V> == 2) {
        return x[0] > x[1] ? x[0] : x[1];
    } else {
        const Halves<V> of(x);
        return highest_of(of.low > of.high ? of.low : of.high);
    }
}

template <class V>
DF_INLINE float total_of(const V& x) {
    if constexpr (count_of<V> == 2) {
        return x[0] + x[1];
    } else {
        const Halves<V> of(x);
        return total_of(of.low + of.high);
    }
}

template <int W>
using Rest = typename Row<float, W>::Rest;

// Blocks as a single one, combined two or three at a time.
template <int count, class Block, class Combine>
DF_INLINE Block fold_blocks(Block* blocks, const Combine& combine) {
    if constexpr (count == 1) {
        return blocks[0];
    } else {
        constexpr int parts = count % 3 == 0 ? 3 : 2, left = count / parts;
        DF_UNROLL for (int i = 0; i < left; ++i) {
            blocks[i] = combine(blocks[i], blocks[i + left]);
            if (parts == 3) blocks[i] = combine(blocks[i], blocks[i + 2 * left]);
        }
        return fold_blocks<left>(blocks, combine);
    }
}

template <int W, class Combine>
DF_INLINE auto folded(const Row<float, W>& row, const Combine& combine) {
    constexpr int width = Row<float, W>::width;
    const auto& rest = static_cast<const Rest<W>&>(row);
    if constexpr (W == width) {
        return row.head;
    } else if constexpr (W - width == width / 2) {
        const Halves<VectorOf<float, width>> of(row.head);
        return combine(combine(of.low, of.high), rest.head);
    } else {
        static_assert(W % width == 0);
        VectorOf<float, width> blocks[W / width];
        row.copy_blocks(blocks);
        return fold_blocks<W / width>(blocks, combine);
    }
}

template <int W>
DF_INLINE float highest(const Row<float, W>& row) {
    const auto block = folded(row, [](const auto& a, const auto& b) __attribute__((always_inline)) { return a > b ? a : b; });
    return highest_of(block);
}

template <int W>
DF_INLINE float total(const Row<float, W>& row) {
    const auto block = folded(row, [](const auto& a, const auto& b) __attribute__((always_inline)) { return a + b; });
    return total_of(block);
}

template <int W>
DF_INLINE void shift(Row<float, W>& row, float offset) {
    row.head += offset;
    if constexpr (W > Row<float, W>::width) shift(static_cast<Rest<W>&>(row), offset);
}

// exp of count numbers, in place or elsewhere; there must be room for a whole vector at the end.
template <Accuracy accuracy = Accuracy::full>
inline void exponentiate(const float* numbers, int64_t count, float* to) {
    for (int64_t i = 0; i < count; i += lanes<float>) store(to + i, exponential<accuracy>(load(numbers + i)));
}

// The least of each place of the rows so far.
template <int W>
DF_INLINE void keep_least(Row<float, W>& least, const Row<float, W>& row) {
    least.head = row.head < least.head ? row.head : least.head;
    if constexpr (W > Row<float, W>::width) keep_least(static_cast<Rest<W>&>(least), static_cast<const Rest<W>&>(row));
}

// In what follows a pixel's labels are `groups` rows of W, side by side; `OneGroup`: one, known to the compiler.

// Whether rows that are less their greatest number hold one below `least`, or one that is not finite. `padding` is added to
// each: infinite where a row has room for a label that is not there, and stands at minus infinity.
template <int W, bool OneGroup>
DF_NOINLINE bool any_below(const float* rows, int64_t groups, int64_t count, const float* padding, float least) {
    bool found = false;
    for (int64_t g = 0; g < (OneGroup ? 1 : groups); ++g) {
        Row<float, W> none, low, wrong;
        none.load(padding + g * W);
        low.zero();
        wrong.zero();
        for (int64_t x = 0; x < count; ++x) {
            Row<float, W> row;
            row.load(rows + (x * (OneGroup ? 1 : groups) + g) * W);
            wrong.add(row, 0.0f);
            row.add(none);
            keep_least(low, row);
        }
        low.scale(-1.0f);
        found = found || highest(low) > -least;
        float products[W];
        wrong.store(products);
        for (int c = 0; c < W; ++c) found = found || (padding[g * W + c] == 0.0f && !(products[c] == 0.0f));
    }
    return found;
}

// Takes its greatest number from each row of `groups` times W.
template <int W, bool OneGroup>
DF_NOINLINE void subtract_highest(float* rows, int64_t groups, int64_t count) {
    const int64_t step = (OneGroup ? 1 : groups) * W;
    for (int64_t x = 0; x < count; ++x) {
        Row<float, W> row;
        row.load(rows + x * step);
        float top = highest(row);
        if constexpr (!OneGroup)
            for (int64_t g = 1; g < groups; ++g) {
                row.load(rows + x * step + g * W);
                const float here = highest(row);
                top = here > top ? here : top;
            }
        for (int64_t g = 0; g < (OneGroup ? 1 : groups); ++g) {
            row.load(rows + x * step + g * W);
            shift(row, -top);
            row.store(rows + x * step + g * W);
        }
    }
}

template <int W, bool OneGroup>
DF_INLINE float sum_of(const float* rows, int64_t groups) {
    Row<float, W> row;
    row.load(rows);
    float sum = total(row);
    if constexpr (!OneGroup)
        for (int64_t g = 1; g < groups; ++g) {
            row.load(rows + g * W);
            sum += total(row);
        }
    return sum;
}

// A pixel's labels added up to four numbers: what total_of() has left before its last two steps.
template <class V>
DF_INLINE VectorOf<float, 4> quarter_of(const V& x) {
    if constexpr (count_of<V> == 4) {
        return x;
    } else {
        const Halves<V> of(x);
        return quarter_of(of.low + of.high);
    }
}

// The sums of four rows that lie `step` apart, each as total() has it.
template <int W>
DF_INLINE VectorOf<float, 4> totals_of_four(const float* rows, int64_t step) {
    using Four = VectorOf<float, 4>;
    Four quarters[4];
    DF_UNROLL for (int i = 0; i < 4; ++i) {
        Row<float, W> row;
        row.load(rows + i * step);
        quarters[i] = quarter_of(folded(row, [](const auto& a, const auto& b) __attribute__((always_inline)) { return a + b; }));
    }
    const Four a = DF_SHUFFLE(quarters[0], quarters[1], 0, 1, 4, 5) + DF_SHUFFLE(quarters[0], quarters[1], 2, 3, 6, 7);
    const Four b = DF_SHUFFLE(quarters[2], quarters[3], 0, 1, 4, 5) + DF_SHUFFLE(quarters[2], quarters[3], 2, 3, 6, 7);
    return DF_SHUFFLE(a, b, 0, 2, 4, 6) + DF_SHUFFLE(a, b, 1, 3, 5, 7);
}

// Softmax of a line of `count` rows, whose sums of exponentials must stay within the range of a float: false where one
// did not. Two walks that a CPU can overlap. Each row goes to write(x, g, row); the line is spent.
template <int W, bool OneGroup, Accuracy accuracy, class Write>
bool quick_softmax(float* rows, int64_t groups, int64_t count, const Write& write) {
    using Four = VectorOf<float, 4>;
    const int64_t step = (OneGroup ? 1 : groups) * W;
    exponentiate<accuracy>(rows, count * step, rows);
    const auto scale = [&](int64_t x, float factor) __attribute__((always_inline)) {
        for (int64_t g = 0; g < (OneGroup ? 1 : groups); ++g) {
            Row<float, W> row;
            row.load(rows + x * step + g * W);
            row.scale(factor);
            write(x, g, row);
        }
    };
    float least = 1.0f, most = 1.0f;
    int64_t x = 0;
    if constexpr (OneGroup) {
        Four lows = Four{} + 1.0f, highs = lows;
        for (; x + 4 <= count; x += 4) {
            const Four sums = totals_of_four<W>(rows + x * step, step), factors = 1.0f / sums;
            DF_UNROLL for (int i = 0; i < 4; ++i) scale(x + i, factors[i]);
            lows = sums < lows ? sums : lows;
            highs = sums > highs ? sums : highs;
        }
        least = -highest_of(-lows);
        most = highest_of(highs);
    }
    for (; x < count; ++x) {
        const float sum = sum_of<W, OneGroup>(rows + x * step, groups);
        scale(x, 1.0f / sum);
        least = sum < least ? sum : least;
        most = sum > most ? sum : most;
    }
    return least > 1e-25f && most < 1e25f;
}

// The logarithm of a line's softmax, in place. `spare` has room for a line, `sums` for a number a row and a vector.
template <int W, bool OneGroup>
DF_NOINLINE void log_softmax(float* rows, int64_t groups, int64_t count, float* spare, float* sums) {
    const int64_t step = (OneGroup ? 1 : groups) * W;
    subtract_highest<W, OneGroup>(rows, groups, count);
    exponentiate(rows, count * step, spare);
    for (int64_t x = 0; x < count; ++x) sums[x] = sum_of<W, OneGroup>(spare + x * step, groups);
    for (int64_t x = count; x % lanes<float> != 0; ++x) sums[x] = 1.0f;  // the rest of the last vector
    for (int64_t x = 0; x < count; x += lanes<float>) store(sums + x, logarithm(load(sums + x)));
    for (int64_t x = 0; x < count; ++x)
        for (int64_t g = 0; g < (OneGroup ? 1 : groups); ++g) {
            Row<float, W> row;
            row.load(rows + x * step + g * W);
            shift(row, -sums[x]);
            row.store(rows + x * step + g * W);
        }
}

}  // namespace
}  // namespace densefield::DF_TARGET
