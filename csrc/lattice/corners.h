// The corners of a lattice's pixels, d + 1 of each: which pixel's one is, and those that touch a row.
#pragma once

#include <cstdint>

namespace densefield {
namespace {

// corner / (d + 1), without a division.
class PixelOfCorner {
public:
    explicit PixelOfCorner(int d) : inverse_(~uint64_t{0} / static_cast<uint64_t>(d + 1) + 1) {}
    int64_t operator()(int64_t corner) const {
        return static_cast<int64_t>((static_cast<unsigned __int128>(inverse_) * static_cast<uint32_t>(corner)) >> 64);
    }

private:
    const uint64_t inverse_;  // 2^64 / (d + 1), rounded up: exact for 32 bits
};

// Row r of the table is touched by the corners entries[starts[r] .. starts[r + 1]), ascending.
struct SortedCorners {
    const int32_t *starts, *entries;
    int64_t rows;
    int d;
};

}  // namespace
}  // namespace densefield
