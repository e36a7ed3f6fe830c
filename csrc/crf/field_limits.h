// What the mean-field loops take at most, and what stands where a row has room for a label that is not there.
#pragma once

#include <cmath>
#include <cstdint>

namespace densefield {

constexpr int64_t most_labels = 2048;
constexpr int most_terms = 8, most_lattices = 16 * most_terms;  // each averaged over up to 16 shifts
constexpr float no_label = -INFINITY;

}  // namespace densefield
