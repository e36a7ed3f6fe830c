// Where codes are few enough: one bit a code, numbered by counting bits.
#pragma once

#include <cstdint>

#include "lattice.h"
#include "simd.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t chunk_words = 8192;

DF_INLINE int64_t row_of(const df_lattice& lattice, uint64_t code) {
    const uint64_t below = lattice.bits[code >> 6] & ((uint64_t{1} << (code & 63)) - 1);
    return lattice.before[code >> 6] + __builtin_popcountll(below);
}

}  // namespace
}  // namespace densefield::DF_TARGET
