// Blurring a lattice's table many times. Along some axes neighbours stand a few rows away: such axes, where they come one
// after the other, are blurred together, a piece of the table at a time, which then stays in the nearer caches.
#pragma once

#include <cstdint>
#include <cstring>

#include "lattice_levels.h"
#include "lattice_rows.h"
#include "mean_field.h"
#include "owned.h"
#include "parallel.h"

namespace densefield::DF_TARGET {
namespace {

template <int W, class S>
class LatticeBlur {
public:
    DF_NOINLINE void prepare(const df_field_lattice& of, bool reverse, int n_threads) {
        neighbours_ = of.neighbours;
        axes_ = of.d + 1;
        rows_ = of.rows;
        reverse_ = reverse;
        threads_ = n_threads;
        touched_ = of.touched;
        if constexpr (leveled) levels_.prepare(of.neighbours, of.order, axes_, rows_, touched_, reverse, n_threads);
        int64_t halo = 0;  // rows more on either side that the steps after this one want
        for (int step = axes_ - 2; step >= 0; --step) {
            halo += levels_.any() ? span<true>(step + 1) : span<false>(step + 1);
            joins_next_[step] = halo > 0 && halo <= most_halo;
            if (!joins_next_[step]) halo = 0;
        }
        ranges_.take((axes_ + 1) * pieces_of(most_rows()));
        int64_t widest = 0;
        for (int step = 0, end; step < axes_; step = end) {
            end = end_of(step);
            if (end == step + 1) continue;
            widest = larger(widest, levels_.any() ? find_ranges<true>(step, end) : find_ranges<false>(step, end));
        }
        size_ = (widest + 1) * W;
        if (widest > 0) scratch_.take(n_threads * 2 * size_);
    }

    // The rows of a table before a step, less the last, which is zero.
    int64_t rows(int level) const { return levels_.any() ? levels_.rows(level) : rows_; }
    int64_t most_rows() const { return levels_.any() ? levels_.most_rows() : rows_; }

    // Forth and back between two tables of most_rows() + 1 rows; gives the one that holds the result.
    S* run(S* from, S* to) {
        // Without levels, those that are not touched are zero before the first step.
        std::memset(from + touched_ * W, 0, static_cast<size_t>(rows(0) + 1 - touched_) * W * sizeof(S));
        for (int step = 0, end; step < axes_; step = end) {
            end = end_of(step);
            levels_.any() ? some_steps<true>(from, to, step, end) : some_steps<false>(from, to, step, end);
            clear_last(to, end);
            S* const swapped = from;
            from = to;
            to = swapped;
        }
        return from;
    }

private:
    static constexpr int64_t piece = 1024, most_halo = 64;  // rows
    static constexpr bool leveled = W * sizeof(S) >= 32;  // of shorter rows the links are what moves, and levels have more of them

    struct Range {
        int32_t low, high;
    };

    template <class Number>
    static Number larger(Number a, Number b) {
        return a > b ? a : b;
    }

    static int64_t pieces_of(int64_t rows) { return (rows + piece - 1) / piece; }

    const int32_t* links(int step) const { return neighbours_ + (reverse_ ? axes_ - 1 - step : step) * rows_ * 2; }

    // Beyond the last of the steps that are taken together with this one.
    int end_of(int step) const {
        while (joins_next_[step]) ++step;
        return step + 1;
    }

    Range* ranges(int level) const { return ranges_.data() + level * pieces_of(most_rows()); }

    void clear_last(S* table, int level) const { std::memset(table + rows(level) * W, 0, W * sizeof(S)); }

    // The rows that a step's row is made of.
    template <bool Levels>
    struct Sources {
        const int32_t* links;
        DF_INLINE int64_t middle(int64_t row) const { return Levels ? links[3 * row] : row; }
        DF_INLINE int64_t back(int64_t row) const { return Levels ? links[3 * row + 1] : links[2 * row]; }
        DF_INLINE int64_t on(int64_t row) const { return Levels ? links[3 * row + 2] : links[2 * row + 1]; }
    };

    template <bool Levels>
    Sources<Levels> sources(int step) const {
        return {Levels ? levels_.links(step) : links(step)};
    }

    // How far a row's sources stand apart to either side at most, in rows, or more than most_halo.
    template <bool Levels>
    int64_t span(int step) const {
        const Sources<Levels> of = sources<Levels>(step);
        const auto none = static_cast<int32_t>(rows(step));
        const int64_t count = rows(step + 1);
        int32_t most = 0;
        parallel_for(pieces_of(count), threads_, [&](int64_t index, int) {
            int32_t before = __atomic_load_n(&most, __ATOMIC_RELAXED), here = 0;
            if (before > 2 * most_halo) return;
            const int64_t end = (index + 1) * piece < count ? (index + 1) * piece : count;
            for (int64_t row = index * piece; row < end; ++row) {
                const auto middle = static_cast<int32_t>(of.middle(row));
                const auto back = static_cast<int32_t>(of.back(row)), on = static_cast<int32_t>(of.on(row));
                const int32_t one = back != none ? back : middle != none ? middle : on;
                const int32_t other = on != none ? on : middle != none ? middle : back;
                const int32_t apart = Levels ? larger(other - one, one - other)
                                             : 2 * larger(larger(other - middle, middle - other), larger(one - middle, middle - one));
                here = larger(apart, here);
            }
            while (here > before && !__atomic_compare_exchange_n(&most, &before, here, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            }
        });
        return (most + 1) / 2;
    }

    // What each piece of the last of some steps wants of the levels between them; gives the most rows of any.
    template <bool Levels>
    int64_t find_ranges(int step, int end) {
        const int64_t pieces = pieces_of(rows(end));
        parallel_for(pieces, threads_, [&](int64_t index, int) {
            int64_t low = index * piece, high = low + piece < rows(end) ? low + piece : rows(end);
            for (int at = end - 1; at > step; --at) {
                const Sources<Levels> of = sources<Levels>(at);
                const int64_t none = rows(at);
                int64_t least = none, beyond = 0;
                const auto meet = [&](int64_t row) {
                    least = row < least ? row : least;
                    beyond = larger(beyond, row == none ? 0 : row + 1);
                };
                for (int64_t row = low; row < high; ++row) {
                    meet(of.middle(row));
                    meet(of.back(row));
                    meet(of.on(row));
                }
                low = least < beyond ? least : beyond;
                high = beyond;
                ranges(at)[index] = {static_cast<int32_t>(low), static_cast<int32_t>(high)};
            }
        });
        int64_t widest = 0;
        for (int level = step + 1; level < end; ++level)
            for (int64_t index = 0; index < pieces; ++index)
                widest = larger<int64_t>(widest, ranges(level)[index].high - ranges(level)[index].low);
        return widest;
    }

    // The steps step .. end - 1: all but the last write to scratch memory what a piece of the last wants of them, after a zero
    // row, the neighbour where there is none.
    template <bool Levels>
    DF_NOINLINE void some_steps(const S* from, S* to, int step, int end) {
        const auto of_table = [from](int64_t row) { return from + row * W; };
        const auto body = [&](int64_t index, int slot) {
            const int64_t begin = index * piece, stop = begin + piece < rows(end) ? begin + piece : rows(end);
            if (end == step + 1) return blur_some(sources<Levels>(step), begin, stop, to + begin * W, of_table);
            float* source = scratch_.data() + slot * 2 * size_;
            float* target = source + size_;
            std::memset(source, 0, W * sizeof(float));
            std::memset(target, 0, W * sizeof(float));
            Range range = ranges(step + 1)[index];
            blur_some(sources<Levels>(step), range.low, range.high, target + W, of_table);
            for (int at = step + 1; at < end; ++at) {
                float* const swapped = source;
                source = target;
                target = swapped;
                const int64_t origin = range.low - 1, none = rows(at);
                // Without a branch, which could not be foretold.
                const auto place = [=](int64_t row) { return source + ((row - origin) & -static_cast<int64_t>(row != none)) * W; };
                if (at + 1 < end) {
                    range = ranges(at + 1)[index];
                    blur_some(sources<Levels>(at), range.low, range.high, target + W, place);
                } else {
                    blur_some(sources<Levels>(at), begin, stop, to + begin * W, place);
                }
            }
        };
        parallel_for(pieces_of(rows(end)), threads_, body);
    }

    template <bool Levels, class To, class Place>
    static void blur_some(const Sources<Levels>& of, int64_t low, int64_t high, To* to, const Place& place) {
        for (int64_t row = low; row < high; ++row, to += W) {
            Row<float, W> sides, middle;
            sides.load(place(of.back(row)));
            middle.load(place(of.on(row)));
            sides.add(middle);
            middle.load(place(of.middle(row)));
            middle.add(sides, 0.5f);
            middle.store(to);
        }
    }

    LatticeLevels levels_;
    const int32_t* neighbours_ = nullptr;
    int axes_ = 0, threads_ = 1;
    int64_t rows_ = 0, touched_ = 0, size_ = 0;
    bool reverse_ = false;
    bool joins_next_[LatticeLevels::most_axes + 1] = {};  // blurred together with the step after it
    Owned<Range> ranges_;                  // by level and piece
    Owned<float> scratch_;
};

}  // namespace
}  // namespace densefield::DF_TARGET
