// What hangs together in a lattice: rows and their neighbours along each axis, rows and the entries that touch them.
#include <cstdint>

#include "base/guard.h"
#include "base/parallel.h"
#include "densefield.h"
#include "lattice/entries.h"
#include "lattice/lattice.h"

namespace densefield {

namespace {

// Where codes plus a step meet codes: one walk along both, which ascend, that writes each row's link on and each row's link
// back once. It takes no branch on what it finds, which could not be foretold.
template <class Code, bool Moved>  // rows do not stand in the order of their codes
struct Meeting {
    const Code* codes;
    const int32_t* rows_of;  // null: in their order
    Code step;
    int32_t* links;  // (rows, 2)
    int32_t none;
    int64_t row, end, other, other_end;

    bool goes_on() const { return row < end && other < other_end; }

    void go() {
        const Code there = codes[row] + step, here = codes[other];
        const int32_t same = -static_cast<int32_t>(there == here), mine = row_of(row), theirs = row_of(other);
        links[2 * mine + 1] = none + ((theirs - none) & same);
        links[2 * theirs] = none + ((mine - none) & same);
        row += there <= here;
        other += here <= there;
    }

    void finish() {
        while (goes_on()) go();
        for (; row < end; ++row) links[2 * row_of(row) + 1] = none;
        for (; other < other_end; ++other) links[2 * row_of(other)] = none;
    }

    int32_t row_of(int64_t place) const { return Moved ? rows_of[place] : static_cast<int32_t>(place); }
};

template <class Code, bool Moved>
void link_codes(const df_lattice& lattice, const Code* codes, int32_t* neighbours, int n_threads) {
    constexpr int64_t chunk = 1 << 14;
    const int64_t rows = lattice.rows, chunks = (rows + chunk - 1) / chunk;
    const auto body = [&](int64_t index, int) {
        const int64_t axis = index / chunks, part = index % chunks;
        int32_t* const links = neighbours + axis * rows * 2;
        const auto none = static_cast<int32_t>(rows);
        const auto step = static_cast<Code>(lattice.code.step[axis]);
        const auto beyond = [&](Code code) {  // the first row that does not stand before it
            int64_t low = 0, high = rows;
            while (low < high) {
                const int64_t middle = (low + high) / 2;
                codes[middle] < code ? low = middle + 1 : high = middle;
            }
            return low;
        };
        // A step back, that of axis 0, leads from the first rows to before all codes, by their type to beyond them.
        const int64_t from = axis == 0 ? beyond(static_cast<Code>(-step)) : 0;
        const auto row_at = [&](int64_t place) { return from + place < rows ? from + place : rows; };
        const auto met = [&](int64_t row) { return row < rows ? beyond(static_cast<Code>(codes[row] + step)) : rows; };
        if (part == 0)
            for (int64_t row = 0; row < from; ++row) links[2 * (Moved ? lattice.rows_of[row] : row) + 1] = none;
        const int64_t low = row_at(part * chunk), middle = row_at(part * chunk + chunk / 2), high = row_at((part + 1) * chunk);
        const int64_t first = part == 0 ? 0 : met(low), last = part + 1 == chunks ? rows : met(high);
        const int64_t between = met(middle);
        // Two at a time, as each step waits for the one before.
        Meeting<Code, Moved> one{codes, lattice.rows_of, step, links, none, low, middle, first, between};
        Meeting<Code, Moved> two{codes, lattice.rows_of, step, links, none, middle, high, between, last};
        while (one.goes_on() && two.goes_on()) {
            one.go();
            two.go();
        }
        one.finish();
        two.finish();
    };
    parallel_for(chunks * (lattice.code.d + 1), n_threads, body);
}

template <class Code>
void link(const df_lattice& lattice, const Code* codes, int32_t* neighbours, int n_threads) {
    lattice.rows_of != nullptr ? link_codes<Code, true>(lattice, codes, neighbours, n_threads)
                               : link_codes<Code, false>(lattice, codes, neighbours, n_threads);
}

}  // namespace
}  // namespace densefield

extern "C" int df_lattice_links(const df_lattice_links_job* job) {
    using namespace densefield;
    return guarded([&] {
        const df_lattice& lattice = *job->lattice;
        if (lattice.codes != nullptr)
            link(lattice, lattice.codes, job->neighbours, job->n_threads);
        else
            link(lattice, lattice.wide_codes, job->neighbours, job->n_threads);
        for (int64_t place = 0; place < lattice.rows && job->order != nullptr; ++place)
            job->order[place] = lattice.rows_of != nullptr ? lattice.rows_of[place] : static_cast<int32_t>(place);
        int32_t *const starts = job->starts, *const entries = job->entries;
        if (entries == nullptr) return;
        const int64_t count = lattice.code.batch * lattice.code.points * (lattice.code.d + 1);
        sort_by_row(
            job->vertices, count, lattice.touched, starts, job->n_threads,
            [=](int32_t place) { __builtin_prefetch(entries + place, 1); },
            [=](int64_t entry, int32_t place) { entries[place] = static_cast<int32_t>(entry); });
        for (int64_t row = lattice.touched; row < lattice.rows; ++row) starts[row + 1] = starts[row];
    });
}
