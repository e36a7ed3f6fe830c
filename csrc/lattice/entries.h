// The corners of a lattice's pixels, sorted by the row that they touch.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/memory.h"
#include "base/parallel.h"
#include "densefield.h"

namespace densefield {

namespace {

// A stable counting sort of `count` corners by their row, one of `touched`, in parts that know where theirs begin in each row: the
// result does not depend on the number of parts. `starts` (touched + 1).
template <class Ask, class Place>  // void ask(int32_t place), ahead of void place(int64_t corner, int32_t place)
void sort_by_row(const int32_t* vertices, int64_t count, int64_t touched, int32_t* starts, int n_threads, const Ask& ask,
                 const Place& place) {
    // A part keeps a tally of all rows.
    const int64_t most = count / touched < 8 ? count / touched : 8, wanted = most < n_threads ? most : n_threads;
    const int64_t parts = wanted > 1 ? wanted : 1;
    Buffer<int32_t> places(parts * touched);
    parallel_for(parts, n_threads, [&](int64_t part, int) {
        int32_t* const mine = places.data() + part * touched;
        std::memset(mine, 0, static_cast<size_t>(touched) * sizeof(int32_t));
        for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) ++mine[vertices[i]];
    });
    int32_t sum = 0;
    for (int64_t row = 0; row < touched; ++row) {
        starts[row] = sum;
        for (int64_t part = 0; part < parts; ++part) {
            const int32_t size = places[part * touched + row];
            places[part * touched + row] = sum;
            sum += size;
        }
    }
    starts[touched] = sum;
    parallel_for(parts, n_threads, [&](int64_t part, int) {
        int32_t* const mine = places.data() + part * touched;
        const int64_t begin = count * part / parts, end = count * (part + 1) / parts;
        constexpr int64_t ahead = 48;  // corners, that a place in memory is asked for before its use
        for (int64_t i = begin; i < end; ++i) {
            if (i + ahead < end) ask(mine[vertices[i + ahead]]);
            place(i, mine[vertices[i]]++);
        }
    });
}

}  // namespace

// The corners as a mean field's splat reads them.
class LatticeEntries {
public:
    LatticeEntries() = default;
    ~LatticeEntries();
    LatticeEntries(const LatticeEntries&) = delete;
    LatticeEntries& operator=(const LatticeEntries&) = delete;

    // `before` (points), the normaliser; `unit`, how far apart pixels' rows are in steps of eight bytes. Throws std::bad_alloc.
    void prepare(const df_field_lattice& of, int64_t points, uint32_t unit, const float* before, int n_threads);

    // Of each row that is touched, (touched + 1); of each corner: its weight times the pixel's normaliser, and where the pixel's row
    // of labels stands, in steps of eight bytes.
    const int32_t* starts() const { return starts_; }
    const float* weights() const { return weights_; }
    const uint32_t* sources() const { return sources_; }

private:
    int32_t* own_starts_ = nullptr;
    const int32_t* starts_ = nullptr;
    float* weights_ = nullptr;
    uint32_t* sources_ = nullptr;
};

}  // namespace densefield
