// How a lattice's table is blurred many times: along which levels of it, which steps are taken together, and what a piece of
// the table wants of each. It depends neither on how wide rows are nor on what they hold, so it is compiled once a target.
#pragma once

#include <cstdint>

#include "densefield.h"
#include "lattice/levels.h"

namespace densefield::DF_TARGET {

// The rows that a step's row is made of: without levels it is itself the middle one.
template <bool Levels>
struct BlurSources {
    const int32_t* links;
    int64_t middle(int64_t row) const { return Levels ? links[3 * row] : row; }
    int64_t back(int64_t row) const { return Levels ? links[3 * row + 1] : links[2 * row]; }
    int64_t on(int64_t row) const { return Levels ? links[3 * row + 2] : links[2 * row + 1]; }
};

class BlurPlan {
public:
    static constexpr int64_t piece = 1024;  // rows

    struct Range {
        int32_t low, high;
    };

    BlurPlan() = default;
    ~BlurPlan();
    BlurPlan(const BlurPlan&) = delete;
    BlurPlan& operator=(const BlurPlan&) = delete;

    // `leveled`: rows that do not matter to a step are left out where there are any.
    void prepare(const df_field_lattice& of, bool leveled, bool reverse, int n_threads);

    static int64_t pieces_of(int64_t rows) { return (rows + piece - 1) / piece; }

    bool leveled() const { return levels_.any(); }
    int axes() const { return axes_; }
    int64_t touched() const { return touched_; }
    // The rows of a table before a step, less the last, which is zero.
    int64_t rows(int level) const { return leveled() ? levels_.rows(level) : rows_; }
    int64_t most_rows() const { return leveled() ? levels_.most_rows() : rows_; }
    // Beyond the last of the steps that are taken together with this one.
    int end_of(int step) const {
        while (joins_next_[step]) ++step;
        return step + 1;
    }
    // What each piece of the last of some steps wants of a level between them, and the most rows of any.
    const Range* ranges(int level) const { return ranges_ + level * pieces_of(most_rows()); }
    int64_t widest() const { return widest_; }

    template <bool Levels>
    BlurSources<Levels> sources(int step) const {
        return {Levels ? levels_.links(step) : neighbours_ + (reverse_ ? axes_ - 1 - step : step) * rows_ * 2};
    }

private:
    template <bool Levels>
    void join();
    template <bool Levels>
    int64_t span(int step) const;
    template <bool Levels>
    int64_t find_ranges(int step, int end);

    LatticeLevels levels_;
    const int32_t* neighbours_ = nullptr;
    int axes_ = 0, threads_ = 1;
    int64_t rows_ = 0, touched_ = 0, widest_ = 0;
    bool reverse_ = false;
    bool joins_next_[LatticeLevels::most_axes + 1] = {};  // blurred together with the step after it
    Range* ranges_ = nullptr;                             // by level and piece
};

}  // namespace densefield::DF_TARGET
