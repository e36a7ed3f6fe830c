// Adds to a lattice the points one step away from those that pixels touch, so that blurring loses less over its edges.
#include <cstdint>
#include <cstring>

#include "base/guard.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "densefield.h"
#include "lattice/bits.h"
#include "lattice/lattice.h"

namespace densefield {
namespace {

// The same digits in the same order, each with room for one more value at either end.
struct Widened {
    LatticeCode code;
    int order[max_features];  // digits from the most significant on
    bool fits;                // in 127 bits

    explicit Widened(const LatticeCode& from) : code(from) {
        double cells = static_cast<double>(from.batch);
        for (int k = 1; k <= from.d; ++k) {
            int at = k - 1;
            for (; at > 0 && from.step[order[at - 1]] < from.step[k]; --at) order[at] = order[at - 1];
            order[at] = k;
            --code.lower[k];
            code.radix[k] += 2;
            cells *= static_cast<double>(code.radix[k]);
        }
        fits = cells < 1e36;
        unsigned __int128 place = 1, back = 0;
        for (int i = from.d - 1; i >= 0 && fits; --i) {
            code.step[order[i]] = place;
            back += place;
            place *= static_cast<unsigned __int128>(code.radix[order[i]]);
        }
        code.step[0] = -back;
        code.of_batch = place;
        code.cells = place * static_cast<unsigned __int128>(code.batch);
    }

    template <class To, class From>
    To of(From narrow, const LatticeCode& from) const {
        const From item = narrow / static_cast<From>(from.of_batch);
        narrow -= item * static_cast<From>(from.of_batch);
        To wide = static_cast<To>(item) * static_cast<To>(code.of_batch);
        for (int i = 0; i < code.d; ++i) {
            const auto step = static_cast<From>(from.step[order[i]]);
            const From digit = narrow / step;
            narrow -= digit * step;
            wide += static_cast<To>(digit + 1) * static_cast<To>(code.step[order[i]]);
        }
        return wide;
    }
};

template <class Take>  // void take(row, code)
void each_code(const df_lattice& lattice, int64_t begin, int64_t end, const Take& take) {
    for (int64_t row = begin; row < end; ++row)
        lattice.codes != nullptr ? take(row, static_cast<unsigned __int128>(lattice.codes[row]))
                                 : take(row, lattice.wide_codes[row]);
}

template <class To>
To widened(const df_lattice& lattice, const Widened& to, unsigned __int128 code) {
    return lattice.codes != nullptr ? to.of<To>(static_cast<uint64_t>(code), lattice.code) : to.of<To>(code, lattice.code);
}

// Takes the codes of all points over; the rows of those that pixels touch stay as they are, the others come after them.
template <class Code>
void take_over(df_lattice& lattice, const LatticeCode& code, const Code* touched, Code* codes, int64_t count) {
    release(lattice.codes);
    release(lattice.wide_codes);
    lattice.codes = nullptr;
    lattice.wide_codes = nullptr;
    if constexpr (sizeof(Code) == sizeof(uint64_t))
        lattice.codes = codes;
    else
        lattice.wide_codes = codes;
    lattice.code = code;
    lattice.rows = count;
    lattice.rows_of = static_cast<int32_t*>(allocate(count * static_cast<int64_t>(sizeof(int32_t))));
    int64_t row = 0;
    for (int64_t i = 0; i < count; ++i) {
        const bool here = row < lattice.touched && touched[row] == codes[i];
        lattice.rows_of[i] = static_cast<int32_t>(here ? row : lattice.touched + i - row);
        row += here;
    }
}

// Where the codes are few enough for one bit each.
void fill_bits(df_lattice& lattice, const Widened& to, int64_t most_rows, int n_threads) {
    CodeBits marks(static_cast<int64_t>(to.code.cells), n_threads);
    Buffer<uint64_t> touched(lattice.rows);
    parallel_ranges(lattice.rows, 1 << 13, n_threads, [&](int64_t begin, int64_t end, int64_t) {
        each_code(lattice, begin, end, [&](int64_t row, unsigned __int128 narrow) {
            const auto code = widened<uint64_t>(lattice, to, narrow);
            touched[row] = code;
            marks.mark(code);
            for (int axis = 0; axis <= to.code.d; ++axis) {
                marks.mark(code + static_cast<uint64_t>(to.code.step[axis]));
                marks.mark(code - static_cast<uint64_t>(to.code.step[axis]));
            }
        });
    });
    const int64_t count = marks.count();
    if (count <= most_rows) take_over(lattice, to.code, touched.data(), marks.number(), count);
}

// The codes of `a` and those of `b` plus a step, ascending, each once; stops beyond `most`.
template <class Code>
int64_t unite(const Code* a, int64_t a_count, const Code* b, int64_t b_count, Code step, int64_t most, Code* both) {
    int64_t i = 0, j = 0, count = 0;
    while ((i < a_count || j < b_count) && count <= most) {
        const bool from_a = j == b_count || (i < a_count && a[i] <= static_cast<Code>(b[j] + step));
        const Code next = from_a ? a[i] : static_cast<Code>(b[j] + step);
        j += j < b_count && static_cast<Code>(b[j] + step) == next;
        i += from_a;
        both[count++] = next;
    }
    return count;
}

// With sorted codes: a step moves all by the same number, so that sorted lists are merged.
template <class Code>
void fill_codes(df_lattice& lattice, const Widened& to, int64_t most_rows) {
    Buffer<Code> touched(lattice.rows);
    each_code(lattice, 0, lattice.rows, [&](int64_t row, unsigned __int128 code) { touched[row] = widened<Code>(lattice, to, code); });
    int64_t count = lattice.rows;
    auto* codes = static_cast<Code*>(allocate(count * static_cast<int64_t>(sizeof(Code))));
    std::memcpy(codes, touched.data(), static_cast<size_t>(count) * sizeof(Code));
    for (int turn = 0; turn < 2 * (to.code.d + 1); ++turn) {
        const auto step = static_cast<Code>(to.code.step[turn / 2]);
        Code* united = nullptr;
        try {
            united = static_cast<Code*>(allocate((count + lattice.rows) * static_cast<int64_t>(sizeof(Code))));
        } catch (...) {
            release(codes);
            throw;
        }
        count = unite<Code>(codes, count, touched.data(), lattice.rows, turn % 2 ? static_cast<Code>(-step) : step,
                            most_rows, united);
        release(codes);
        codes = united;
        if (count > most_rows) return release(codes);
    }
    take_over(lattice, to.code, touched.data(), codes, count);
}

void fill(df_lattice& lattice, int64_t most_rows, int n_threads) {
    const Widened to(lattice.code);
    if (lattice.rows >= most_rows || !to.fits) return;
    const auto entries = static_cast<uint64_t>(lattice.code.batch * lattice.code.points * (lattice.code.d + 1));
    if (to.code.cells < (uint64_t{1} << 31) && to.code.cells <= (uint64_t{1} << 25) + 240 * entries)
        fill_bits(lattice, to, most_rows, n_threads);
    else if (to.code.cells < uint64_t{1} << 63)
        fill_codes<uint64_t>(lattice, to, most_rows);
    else
        fill_codes<unsigned __int128>(lattice, to, most_rows);
}

// How many there would be at least, counted until they are more than so many: marks that are fewer than the codes may take
// several for one. A step over the end of a digit does so too.
int64_t rows_at_least(const df_lattice& lattice, int64_t most_rows) {
    const LatticeCode& code = lattice.code;
    int bits = 16;
    while (bits < 30 && (int64_t{1} << bits) < 16 * most_rows) ++bits;
    const int64_t words = (int64_t{1} << bits) / 64;
    Buffer<uint64_t> marks(words);
    std::memset(marks.data(), 0, static_cast<size_t>(words) * sizeof(uint64_t));
    int64_t count = 0;
    const auto mark = [&](unsigned __int128 of) {
        const uint64_t folded = static_cast<uint64_t>(of) ^ static_cast<uint64_t>(of >> 64) * 0x9e3779b97f4a7c15u;
        const uint64_t at = folded * 0xd6e8feb86659fd93u >> (64 - bits);  // a number near it stands far away
        uint64_t& word = marks[static_cast<int64_t>(at >> 6)];
        count += !(word >> (at & 63) & 1);
        word |= uint64_t{1} << (at & 63);
    };
    each_code(lattice, 0, lattice.rows, [&](int64_t, unsigned __int128 of) {
        if (count > most_rows) return;
        mark(of);
        for (int axis = 0; axis <= code.d; ++axis) {
            mark(of + code.step[axis]);
            mark(of - code.step[axis]);
        }
    });
    return count;
}

}  // namespace
}  // namespace densefield

extern "C" int df_lattice_outgrows(const df_lattice_fill_job* job) {
    using namespace densefield;
    return guarded([&] {
        if (job->lattice == nullptr || job->most_rows < 0) throw BadArgument();
        *job->rows = rows_at_least(*job->lattice, job->most_rows < INT32_MAX ? job->most_rows : INT32_MAX);
    });
}

extern "C" int df_lattice_fill(const df_lattice_fill_job* job) {
    using namespace densefield;
    return guarded([&] {
        if (job->lattice == nullptr || job->n_threads < 1) throw BadArgument();
        fill(*job->lattice, job->most_rows < INT32_MAX ? job->most_rows : INT32_MAX - 1, job->n_threads);
        *job->rows = job->lattice->rows;
    });
}
