// Which points of a filled lattice each step of a blur has to see. Values come in and go out at the points that pixels touch;
// a point that was added to those matters between two steps only where what came in has reached it and what leaves it still
// comes to a point that is touched. Half of all sums are of others, and are left out: the results are the same bits.
#pragma once

#include <cstdint>

namespace densefield {

// Level 0 is what the first step reads, level s what step s - 1 writes: levels 0 and `axes` hold the rows that are touched, as they
// come first in the lattice, those between all that matter, in the order of their coordinates.
class LatticeLevels {
public:
    static constexpr int most_axes = 17;

    LatticeLevels() = default;
    ~LatticeLevels();
    LatticeLevels(const LatticeLevels&) = delete;
    LatticeLevels& operator=(const LatticeLevels&) = delete;

    // `neighbours` (axes, rows, 2) as a lattice's, whose first rows are those that pixels touch; `order` (rows), which may be null, is
    // that of the rows' coordinates; `reverse`: from the last axis to the first.
    void prepare(const int32_t* neighbours, const int32_t* order, int axes, int64_t rows, int64_t touched, bool reverse, int n_threads);

    bool any() const { return links_ != nullptr; }  // not where all rows are touched
    int64_t rows(int level) const { return counts_[level]; }
    int64_t most_rows() const;
    // (rows of level step + 1, 3): the row itself, those one step back and on, in level `step`; its number of rows where none.
    const int32_t* links(int step) const { return links_ + offsets_[step]; }

private:
    int axes_ = 0;
    int64_t counts_[most_axes + 1] = {}, offsets_[most_axes + 1] = {};
    int32_t* links_ = nullptr;
};

}  // namespace densefield
