// What is kept of a lattice between building its points and linking them.
#pragma once

#include <cstdint>

#include "base/memory.h"

namespace densefield {

constexpr int max_features = 16;

// A lattice point is known by d whole numbers m_k = (c_0 - c_k) / (d + 1), c its d + 1 coordinates. One step along blur
// axis k > 0 adds 1 to m_k, along axis 0 takes 1 from all: with a mixed-radix code of m each is one fixed `step`.
// A digit's last value is never used, so that a step over the end of a digit leads to an empty code.
struct LatticeCode {
    int d;
    int64_t batch, points;
    int64_t lower[max_features + 1];        // smallest m_k, k = 1 .. d
    int64_t radix[max_features + 1];        // values of digit k
    unsigned __int128 step[max_features + 1];  // modulo 2^128
    unsigned __int128 of_batch, cells;
};

}  // namespace densefield

struct df_lattice {
    densefield::LatticeCode code;
    int64_t rows = 0, touched = 0;  // all, and those that pixels touch, which come first
    // Of the points, in ascending order; which of the two depends on their size.
    uint64_t* codes = nullptr;
    unsigned __int128* wide_codes = nullptr;
    int32_t* rows_of = nullptr;  // the rows of the codes; null: in their order

    df_lattice() = default;
    df_lattice(const df_lattice&) = delete;
    df_lattice& operator=(const df_lattice&) = delete;
    ~df_lattice() {
        densefield::release(codes);
        densefield::release(wide_codes);
        densefield::release(rows_of);
    }
};
