// Adds to a lattice the points one step away from those that pixels touch, so that blurring loses less over its edges.
#include <cstdint>
#include <cstring>

#include "guard.h"
#include "lattice.h"
#include "memory.h"
#include "parallel.h"
#include "permutohedral.h"

namespace densefield {
namespace {

constexpr int64_t chunk_entries = 1 << 16;

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

template <class Take>  // void take(code) in ascending order
void each_code(const df_lattice& lattice, const Take& take) {
    if (lattice.bits == nullptr) {
        for (int64_t row = 0; row < lattice.rows; ++row)
            lattice.codes != nullptr ? take(static_cast<unsigned __int128>(lattice.codes[row]))
                                     : take(lattice.wide_codes[row]);
        return;
    }
    const auto words = static_cast<int64_t>((lattice.code.cells + 63) / 64);
    for (int64_t word = 0; word < words; ++word)
        for (uint64_t left = lattice.bits[word]; left != 0; left &= left - 1)
            take(static_cast<unsigned __int128>(word) * 64 + static_cast<unsigned>(__builtin_ctzll(left)));
}

template <class To>  // of sorted codes or bits
void widen(const df_lattice& lattice, const Widened& to, To* codes) {
    each_code(lattice, [&](unsigned __int128 code) {
        const bool narrow = lattice.wide_codes == nullptr;
        *codes++ = narrow ? to.of<To>(static_cast<uint64_t>(code), lattice.code) : to.of<To>(code, lattice.code);
    });
}

void move_vertices(const df_lattice& lattice, const int32_t* row_of, int32_t* vertices, int n_threads) {
    const int64_t entries = lattice.code.batch * lattice.code.points * (lattice.code.d + 1);
    const auto body = [&](int64_t chunk, int) {
        const int64_t begin = chunk * chunk_entries;
        const int64_t end = begin + chunk_entries < entries ? begin + chunk_entries : entries;
        for (int64_t i = begin; i < end; ++i) vertices[i] = row_of[vertices[i]];
    };
    parallel_for((entries + chunk_entries - 1) / chunk_entries, n_threads, body);
}

void replace(df_lattice& lattice, const LatticeCode& code, int64_t rows) {
    release(lattice.bits);
    release(lattice.before);
    release(lattice.codes);
    release(lattice.wide_codes);
    lattice.bits = lattice.codes = nullptr;
    lattice.before = nullptr;
    lattice.wide_codes = nullptr;
    lattice.code = code;
    lattice.rows = rows;
}

// Without a call: compiled for every processor, the builtin is one.
inline uint32_t bits_in(uint64_t word) {
    word -= word >> 1 & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
    return static_cast<uint32_t>(((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

template <class Body>  // void body(int64_t first, int64_t beyond the last, int64_t chunk)
void in_chunks(int64_t count, int64_t chunk, int n_threads, const Body& body) {
    parallel_for((count + chunk - 1) / chunk, n_threads, [&](int64_t index, int) {
        body(index * chunk, (index + 1) * chunk < count ? (index + 1) * chunk : count, index);
    });
}

// With one bit a code: sets the bits one step away.
void fill_bits(df_lattice& lattice, const Widened& to, int64_t most_rows, int32_t* vertices, int n_threads) {
    constexpr int64_t chunk = 1 << 13;
    const auto words = static_cast<int64_t>((to.code.cells + 63) / 64);
    df_lattice filled;
    filled.bits = static_cast<uint64_t*>(allocate(words * 8));
    filled.before = static_cast<uint32_t*>(allocate(words * 4));
    uint64_t* const bits = filled.bits;
    uint32_t* const before = filled.before;
    in_chunks(words, chunk, n_threads, [bits](int64_t begin, int64_t end, int64_t) {
        std::memset(bits + begin, 0, static_cast<size_t>(end - begin) * 8);
    });
    Buffer<uint64_t> touched(lattice.rows);
    const auto set = [bits](uint64_t code) {
        const uint64_t bit = uint64_t{1} << (code & 63);
        if (!(__atomic_load_n(bits + (code >> 6), __ATOMIC_RELAXED) & bit))
            __atomic_fetch_or(bits + (code >> 6), bit, __ATOMIC_RELAXED);
    };
    in_chunks(static_cast<int64_t>((lattice.code.cells + 63) / 64), chunk, n_threads, [&](int64_t begin, int64_t end, int64_t) {
        int64_t row = lattice.before[begin];
        for (int64_t word = begin; word < end; ++word)
            for (uint64_t left = lattice.bits[word]; left != 0; left &= left - 1, ++row) {
                const uint64_t narrow = static_cast<uint64_t>(word) * 64 + static_cast<uint64_t>(__builtin_ctzll(left));
                const auto code = to.of<uint64_t>(narrow, lattice.code);
                touched[row] = code;
                set(code);
                for (int axis = 0; axis <= to.code.d; ++axis) {
                    set(code + static_cast<uint64_t>(to.code.step[axis]));
                    set(code - static_cast<uint64_t>(to.code.step[axis]));
                }
            }
    });
    Buffer<int64_t> total((words + chunk - 1) / chunk + 1);
    total[0] = 0;
    in_chunks(words, chunk, n_threads, [&](int64_t begin, int64_t end, int64_t index) {
        int64_t sum = 0;
        for (int64_t word = begin; word < end; ++word) sum += bits_in(bits[word]);
        total[index + 1] = sum;
    });
    const int64_t chunks = (words + chunk - 1) / chunk;
    for (int64_t index = 0; index < chunks; ++index) total[index + 1] += total[index];
    if (total[chunks] > most_rows) return;
    in_chunks(words, chunk, n_threads, [&](int64_t begin, int64_t end, int64_t index) {
        auto sum = static_cast<uint32_t>(total[index]);
        for (int64_t word = begin; word < end; ++word) {
            before[word] = sum;
            sum += bits_in(bits[word]);
        }
    });
    Buffer<int32_t> row_of(lattice.rows);
    in_chunks(lattice.rows, chunk, n_threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t row = begin; row < end; ++row) {
            const uint64_t word = touched[row] >> 6, below = (uint64_t{1} << (touched[row] & 63)) - 1;
            row_of[row] = static_cast<int32_t>(before[word] + bits_in(bits[word] & below));
        }
    });
    move_vertices(lattice, row_of.data(), vertices, n_threads);
    replace(lattice, to.code, total[chunks]);
    lattice.bits = filled.bits;
    lattice.before = filled.before;
    filled.bits = nullptr;
    filled.before = nullptr;
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
Code* fill_codes(df_lattice& lattice, const Widened& to, int64_t most_rows, int32_t* vertices, int n_threads) {
    Buffer<Code> touched(lattice.rows);
    Buffer<int32_t> row_of(lattice.rows);
    widen(lattice, to, touched.data());
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
        if (count > most_rows) {
            release(codes);
            return nullptr;
        }
    }
    int64_t at = 0;
    for (int64_t row = 0; row < lattice.rows; ++row) {
        while (codes[at] < touched[row]) ++at;
        row_of[row] = static_cast<int32_t>(at);
    }
    move_vertices(lattice, row_of.data(), vertices, n_threads);
    replace(lattice, to.code, count);
    return codes;
}

void fill(df_lattice& lattice, int64_t most_rows, int32_t* vertices, int n_threads) {
    const Widened to(lattice.code);
    if (lattice.rows >= most_rows || !to.fits) return;
    const auto entries = static_cast<uint64_t>(lattice.code.batch * lattice.code.points * (lattice.code.d + 1));
    if (lattice.bits != nullptr && to.code.cells <= (uint64_t{1} << 25) + 240 * entries)
        return fill_bits(lattice, to, most_rows, vertices, n_threads);
    if (to.code.cells < uint64_t{1} << 63) {
        uint64_t* const codes = fill_codes<uint64_t>(lattice, to, most_rows, vertices, n_threads);
        if (codes != nullptr) lattice.codes = codes;
        return;
    }
    unsigned __int128* const codes = fill_codes<unsigned __int128>(lattice, to, most_rows, vertices, n_threads);
    if (codes != nullptr) lattice.wide_codes = codes;
}

}  // namespace
}  // namespace densefield

extern "C" int df_lattice_fill(df_lattice* lattice, int64_t most_rows, int32_t* vertices, int64_t* rows,
                               int32_t n_threads) {
    using namespace densefield;
    return guarded([&] {
        if (lattice == nullptr || n_threads < 1) throw BadArgument();
        fill(*lattice, most_rows < INT32_MAX ? most_rows : INT32_MAX - 1, vertices, n_threads);
        *rows = lattice->rows;
    });
}
