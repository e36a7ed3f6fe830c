// Blurring a lattice's table many times. Along some axes neighbours stand a few rows away: such axes, where they come one
// after the other, are blurred together, a piece of the table at a time, which then stays in the nearer caches.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/owned.h"
#include "base/parallel.h"
#include "lattice/blur_plan.h"
#include "lattice/table.h"

namespace densefield::DF_TARGET {
namespace {

// W: numbers of a row of the table; S: what they are stored as.
template <int W, class S>
class LatticeBlur {
public:
    DF_NOINLINE void prepare(const df_field_lattice& of, bool reverse, int n_threads) {
        // Of shorter rows the links are what moves, and levels have more of them.
        plan_.prepare(of, W * sizeof(S) >= 32, reverse, n_threads);
        threads_ = n_threads;
        size_ = (plan_.widest() + 1) * W;
        if (plan_.widest() > 0) scratch_.take(n_threads * 2 * size_);
    }

    int64_t most_rows() const { return plan_.most_rows(); }

    // Forth and back between two tables of most_rows() + 1 rows; gives the one that holds the result.
    DF_NOINLINE S* run(S* from, S* to) {
        // Without levels, those that are not touched are zero before the first step.
        const int64_t touched = plan_.touched();
        std::memset(from + touched * W, 0, static_cast<size_t>(plan_.rows(0) + 1 - touched) * W * sizeof(S));
        for (int step = 0, end; step < plan_.axes(); step = end) {
            end = plan_.end_of(step);
            plan_.leveled() ? some_steps<true>(from, to, step, end) : some_steps<false>(from, to, step, end);
            std::memset(to + plan_.rows(end) * W, 0, W * sizeof(S));
            S* const swapped = from;
            from = to;
            to = swapped;
        }
        return from;
    }

private:
    static constexpr int64_t piece = BlurPlan::piece;

    // The steps step .. end - 1: all but the last write to scratch memory what a piece of the last wants of them, after a zero
    // row, the neighbour where there is none.
    template <bool Levels>
    DF_NOINLINE void some_steps(const S* from, S* to, int step, int end) {
        const auto of_table = [from](int64_t row) { return from + row * W; };
        const auto body = [&](int64_t index, int slot) {
            const int64_t begin = index * piece, stop = begin + piece < plan_.rows(end) ? begin + piece : plan_.rows(end);
            if (end == step + 1) return blur_some(plan_.sources<Levels>(step), begin, stop, to + begin * W, of_table);
            float* source = scratch_.data() + slot * 2 * size_;
            float* target = source + size_;
            std::memset(source, 0, W * sizeof(float));
            std::memset(target, 0, W * sizeof(float));
            BlurPlan::Range range = plan_.ranges(step + 1)[index];
            blur_some(plan_.sources<Levels>(step), range.low, range.high, target + W, of_table);
            for (int at = step + 1; at < end; ++at) {
                float* const swapped = source;
                source = target;
                target = swapped;
                const int64_t origin = range.low - 1, none = plan_.rows(at);
                // Without a branch, which could not be foretold.
                const auto place = [=](int64_t row) { return source + ((row - origin) & -static_cast<int64_t>(row != none)) * W; };
                if (at + 1 < end) {
                    range = plan_.ranges(at + 1)[index];
                    blur_some(plan_.sources<Levels>(at), range.low, range.high, target + W, place);
                } else {
                    blur_some(plan_.sources<Levels>(at), begin, stop, to + begin * W, place);
                }
            }
        };
        parallel_for(BlurPlan::pieces_of(plan_.rows(end)), threads_, body);
    }

    template <bool Levels, class To, class Place>
    static void blur_some(const BlurSources<Levels>& of, int64_t low, int64_t high, To* to, const Place& place) {
        for (int64_t row = low; row < high; ++row, to += W)
            blur_row<float, W>(place(of.back(row)), place(of.middle(row)), place(of.on(row)), to);
    }

    BlurPlan plan_;
    int threads_ = 1;
    int64_t size_ = 0;  // numbers of a thread's table of rows between two steps
    Owned<float> scratch_;
};

}  // namespace
}  // namespace densefield::DF_TARGET
