// A lattice kernel of a mean field over rows of labels: every lattice point gathers its pixels, every pixel its corners.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/owned.h"
#include "base/parallel.h"
#include "base/watch.h"
#include "densefield.h"
#include "lattice/blur.h"
#include "lattice/entries.h"

namespace densefield::DF_TARGET {
namespace {

// W: labels of a group; S: what their rows are stored as.
template <int W, class S>
class FieldLattice {
public:
    // `back`: the transpose.
    DF_NOINLINE void prepare(const df_field_lattice& of, int64_t points, int64_t groups, bool back, int n_threads) {
        of_ = &of;
        points_ = points;
        groups_ = groups;
        back_ = back;
        threads_ = n_threads;
        entries_.prepare(of, points, unit, back ? of.after : of.before, n_threads);
        blur_.prepare(of, back, n_threads);
        size_ = (blur_.most_rows() + 1) * W;
        table_.take(groups * size_);
        other_.take(groups * size_);
    }

    // Splats rows, (groups, points, W), and blurs.
    DF_NOINLINE void filter(const S* rows, Watch& watch) {
        for (int64_t g = 0; g < groups_; ++g) {
            S* const table = table_.data() + g * size_;
            S* const other = other_.data() + g * size_;
            splat(rows + g * points_ * W, table);
            watch.lap(phase_splat);
            const S* const result = blur_.run(table, other);
            watch.lap(phase_blur);
            blurred_ = result == table ? table_.data() : other_.data();
        }
    }

    // acc += factor after K rows, along a line of points
    DF_NOINLINE void slice(int64_t start, int64_t count, float factor, float* acc) const {
        for (int64_t g = 0; g < groups_; ++g) switch (of_->d) {
                case 2: slice_group<3>(g, start, count, factor, acc); break;
                case 5: slice_group<6>(g, start, count, factor, acc); break;
                case 6: slice_group<7>(g, start, count, factor, acc); break;
                default: slice_group<0>(g, start, count, factor, acc);
            }
    }

    // Asks for what slice() is to read of the points themselves.
    void ask_corners(int64_t start, int64_t count) const {
        const int64_t corners = of_->d + 1;
        ask_for(of_->vertices + start * corners, count * corners);
        ask_for(of_->weights + start * corners, count * corners);
    }

private:
    static constexpr int64_t ahead = 64;  // how many entries ahead of its use a row is asked for
    static constexpr int64_t small_table = 1 << 20;  // bytes, that the second cache holds

    // How far apart pixels' rows are in steps of eight bytes, which addresses may count.
    static constexpr uint32_t unit = W * sizeof(S) / 8;

    // Asks for both lines of the cache that a row may lie across: half of splatting is waiting for them.
    static DF_INLINE void ask(const S* row) {
        __builtin_prefetch(row);
        if constexpr (W * sizeof(S) % 64 != 0) __builtin_prefetch(row + W - 1);
    }

    DF_NOINLINE void splat(const S* rows, S* table) {
        const int32_t* const starts = entries_.starts();
        const int64_t touched = of_->touched;
        const int32_t last = starts[touched] - 1;
        const uint32_t* const sources = entries_.sources();
        const float* const weights = entries_.weights();
        const auto at = [rows, sources](int64_t i) __attribute__((always_inline)) {
            return reinterpret_cast<const S*>(reinterpret_cast<const char*>(rows) + static_cast<uint64_t>(sources[i]) * 8);
        };
        parallel_ranges(touched, chunk_rows, threads_, [&](int64_t begin, int64_t end, int64_t) {
            for (int64_t row = begin; row < end; ++row) {
                Row<float, W> even, odd;  // two sums side by side wait less
                even.zero();
                odd.zero();
                int32_t i = starts[row];
                for (; i + 1 < starts[row + 1]; i += 2) {
                    if (i + ahead < last) {
                        ask(at(i + ahead));
                        ask(at(i + ahead + 1));
                    }
                    even.add_from(at(i), weights[i]);
                    odd.add_from(at(i + 1), weights[i + 1]);
                }
                if (i < starts[row + 1]) even.add_from(at(i), weights[i]);
                even.add(odd);
                even.store(table + row * W);
            }
        });
    }

    template <int Corners>  // d + 1 where it is known to the compiler, else 0
    void slice_group(int64_t g, int64_t start, int64_t count, float factor, float* acc) const {
        const int corners = Corners > 0 ? Corners : of_->d + 1;
        const S* const table = blurred_ + g * size_;
        const float* const after = (back_ ? of_->before : of_->after) + start;
        const bool far = of_->touched * W * static_cast<int64_t>(sizeof(S)) > small_table;
        float* const to = acc + g * W;
        const int64_t apart = groups_ * W;
        slice_line<W>(table, of_->vertices + start * corners, of_->weights + start * corners, corners, count, far,
                      points_ - start, [=](int64_t x, const Row<float, W>& row) __attribute__((always_inline)) {
                          Row<float, W> sum;
                          sum.load(to + x * apart);
                          sum.add(row, factor * after[x]);
                          sum.store(to + x * apart);
                      });
    }

    const df_field_lattice* of_ = nullptr;
    int64_t groups_ = 1, points_ = 0, size_ = 0;  // of a group's table
    int threads_ = 1;
    bool back_ = false;
    LatticeEntries entries_;
    Owned<S> table_, other_;  // (groups, most rows + 1, W)
    LatticeBlur<W, S> blur_;
    const S* blurred_ = nullptr;
};

}  // namespace
}  // namespace densefield::DF_TARGET
