#include "lattice/blur_plan.h"

#include "base/memory.h"
#include "base/parallel.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t most_halo = 64;  // rows on either side of a piece that are worth blurring twice

template <class Number>
Number larger(Number a, Number b) {
    return a > b ? a : b;
}

}  // namespace

BlurPlan::~BlurPlan() { release(ranges_); }

void BlurPlan::prepare(const df_field_lattice& of, bool leveled, bool reverse, int n_threads) {
    neighbours_ = of.neighbours;
    axes_ = of.d + 1;
    rows_ = of.rows;
    touched_ = of.touched;
    reverse_ = reverse;
    threads_ = n_threads;
    if (leveled) levels_.prepare(of.neighbours, of.order, axes_, rows_, touched_, reverse, n_threads);
    levels_.any() ? join<true>() : join<false>();
}

template <bool Levels>
void BlurPlan::join() {
    int64_t halo = 0;  // rows more on either side that the steps after this one want
    for (int step = axes_ - 2; step >= 0; --step) {
        halo += span<Levels>(step + 1);
        joins_next_[step] = halo > 0 && halo <= most_halo;
        if (!joins_next_[step]) halo = 0;
    }
    ranges_ = static_cast<Range*>(allocate((axes_ + 1) * pieces_of(most_rows()) * static_cast<int64_t>(sizeof(Range))));
    for (int step = 0, end; step < axes_; step = end) {
        end = end_of(step);
        if (end > step + 1) widest_ = larger(widest_, find_ranges<Levels>(step, end));
    }
}

// How far a row's sources stand apart to either side at most, in rows, or more than most_halo.
template <bool Levels>
int64_t BlurPlan::span(int step) const {
    const BlurSources<Levels> of = sources<Levels>(step);
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
int64_t BlurPlan::find_ranges(int step, int end) {
    const int64_t pieces = pieces_of(rows(end)), all = pieces_of(most_rows());
    parallel_for(pieces, threads_, [&](int64_t index, int) {
        int64_t low = index * piece, high = low + piece < rows(end) ? low + piece : rows(end);
        for (int at = end - 1; at > step; --at) {
            const BlurSources<Levels> of = sources<Levels>(at);
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
            ranges_[at * all + index] = {static_cast<int32_t>(low), static_cast<int32_t>(high)};
        }
    });
    int64_t widest = 0;
    for (int level = step + 1; level < end; ++level)
        for (int64_t index = 0; index < pieces; ++index)
            widest = larger<int64_t>(widest, ranges(level)[index].high - ranges(level)[index].low);
    return widest;
}

}  // namespace densefield::DF_TARGET
