// What hangs together in a lattice: rows and their neighbours along each axis, rows and the entries that touch them.
#include <cstdint>
#include <cstring>

#include "dispatch.h"
#include "guard.h"
#include "lattice.h"
#include "lattice_bits.h"
#include "memory.h"
#include "parallel.h"
#include "permutohedral.h"

namespace densefield {

DF_DECLARE(void lattice_links(const df_lattice& lattice, const int32_t* vertices, int32_t* neighbours, int32_t* starts,
                              int32_t* entries, int n_threads);)

namespace DF_TARGET {
namespace {

DF_INLINE int32_t* link(int32_t* neighbours, int64_t rows, int axis, int64_t row) {
    return neighbours + (axis * rows + row) * 2;
}

void link_bits(const df_lattice& lattice, int32_t* neighbours, int n_threads) {
    const LatticeCode& code = lattice.code;
    const auto cells = static_cast<uint64_t>(code.cells);
    const auto words = static_cast<int64_t>((cells + 63) / 64);
    const auto body = [&](int64_t chunk, int) {
        const int64_t end = (chunk + 1) * chunk_words < words ? (chunk + 1) * chunk_words : words;
        for (int64_t word = chunk * chunk_words; word < end; ++word) {
            int64_t row = lattice.before[word];
            for (uint64_t left = lattice.bits[word]; left != 0; left &= left - 1, ++row) {
                const uint64_t here = static_cast<uint64_t>(word) * 64 + static_cast<uint64_t>(__builtin_ctzll(left));
                for (int axis = 0; axis <= code.d; ++axis) {
                    const uint64_t there = here + static_cast<uint64_t>(code.step[axis]);
                    if (there >= cells || !(lattice.bits[there >> 6] >> (there & 63) & 1)) continue;
                    const int64_t other = row_of(lattice, there);
                    link(neighbours, lattice.rows, axis, row)[1] = static_cast<int32_t>(other);
                    link(neighbours, lattice.rows, axis, other)[0] = static_cast<int32_t>(row);
                }
            }
        }
    };
    parallel_for((words + chunk_words - 1) / chunk_words, n_threads, body);
}

template <class Code>
void link_codes(const df_lattice& lattice, const Code* codes, int32_t* neighbours, int n_threads) {
    const int64_t rows = lattice.rows;
    const auto body = [&](int64_t axis, int) {
        // Codes plus a step ascend as codes do, so one walk finds them all; a step back (axis 0) wraps, hence the guess.
        const Code step = static_cast<Code>(lattice.code.step[axis]);
        int64_t other = 0;
        for (int64_t row = 0; row < rows; ++row) {
            const Code there = codes[row] + step;
            if (axis == 0 && there > codes[row]) continue;  // before the first code
            while (other < rows && codes[other] < there) ++other;
            if (other == rows || codes[other] != there) continue;
            link(neighbours, rows, static_cast<int>(axis), row)[1] = static_cast<int32_t>(other);
            link(neighbours, rows, static_cast<int>(axis), other)[0] = static_cast<int32_t>(row);
        }
    };
    parallel_for(lattice.code.d + 1, n_threads, body);
}

// A stable counting sort of the entries by their row, in parts that know where theirs begin in each row: the result does
// not depend on the number of parts.
void sort_entries(const df_lattice& lattice, const int32_t* vertices, int32_t* starts, int32_t* entries,
                  int n_threads) {
    const int64_t count = lattice.code.batch * lattice.code.points * (lattice.code.d + 1), rows = lattice.rows;
    // A part keeps a tally of all rows; a filled lattice may have more rows than entries.
    const int64_t most = count / rows < 8 ? count / rows : 8, wanted = most < n_threads ? most : n_threads;
    const int64_t parts = wanted > 1 ? wanted : 1;
    Buffer<int32_t> places(parts * rows);
    const auto tally = [&](int64_t part, int) {
        int32_t* const mine = places.data() + part * rows;
        std::memset(mine, 0, static_cast<size_t>(rows) * sizeof(int32_t));
        for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) ++mine[vertices[i]];
    };
    parallel_for(parts, n_threads, tally);
    int32_t sum = 0;
    for (int64_t row = 0; row < rows; ++row) {
        starts[row] = sum;
        for (int64_t part = 0; part < parts; ++part) {
            const int32_t size = places[part * rows + row];
            places[part * rows + row] = sum;
            sum += size;
        }
    }
    starts[rows] = sum;
    const auto place = [&](int64_t part, int) {
        int32_t* const mine = places.data() + part * rows;
        for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i)
            entries[mine[vertices[i]]++] = static_cast<int32_t>(i);
    };
    parallel_for(parts, n_threads, place);
}

}  // namespace

void lattice_links(const df_lattice& lattice, const int32_t* vertices, int32_t* neighbours, int32_t* starts,
                   int32_t* entries, int n_threads) {
    const int64_t links = (lattice.code.d + 1) * lattice.rows * 2;
    constexpr int64_t chunk = 1 << 16;
    const auto clear = [&](int64_t part, int) {
        const int64_t end = (part + 1) * chunk < links ? (part + 1) * chunk : links;
        for (int64_t i = part * chunk; i < end; ++i) neighbours[i] = static_cast<int32_t>(lattice.rows);
    };
    parallel_for((links + chunk - 1) / chunk, n_threads, clear);
    if (lattice.bits != nullptr)
        link_bits(lattice, neighbours, n_threads);
    else if (lattice.codes != nullptr)
        link_codes(lattice, lattice.codes, neighbours, n_threads);
    else
        link_codes(lattice, lattice.wide_codes, neighbours, n_threads);
    if (entries != nullptr) sort_entries(lattice, vertices, starts, entries, n_threads);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
extern "C" int df_lattice_links(const df_lattice* lattice, const int32_t* vertices, int32_t* neighbours,
                                int32_t* starts, int32_t* entries, int32_t n_threads) {
    using namespace densefield;
    return guarded(
        [&] { DF_DISPATCH(lattice_links(*lattice, vertices, neighbours, starts, entries, n_threads)); });
}

#endif
