#include "lattice/levels.h"

#include <cstring>

#include "base/memory.h"
#include "base/parallel.h"

namespace densefield {
namespace {

template <class Body>  // void body(int64_t row)
void each_row(int64_t from, int64_t rows, int n_threads, const Body& body) {
    parallel_ranges(rows - from, 1 << 13, n_threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t row = from + begin; row < from + end; ++row) body(row);
    });
}

}  // namespace

LatticeLevels::~LatticeLevels() { release(links_); }

int64_t LatticeLevels::most_rows() const {
    int64_t most = 0;
    for (int level = 0; level <= axes_; ++level) most = counts_[level] > most ? counts_[level] : most;
    return most;
}

void LatticeLevels::prepare(const int32_t* neighbours, const int32_t* order, int axes, int64_t rows, int64_t touched, bool reverse,
                            int n_threads) {
    if (touched == rows) return;
    axes_ = axes;
    const int64_t size = rows + 1;  // the last stands for no neighbour
    const auto of_step = [=](int step) { return neighbours + (reverse ? axes - 1 - step : step) * rows * 2; };

    Buffer<uint8_t> marks((axes + 1) * size);
    const auto level = [&](int index) { return marks.data() + index * size; };
    for (int index = 0; index <= axes; ++index) {
        std::memset(level(index), 1, static_cast<size_t>(touched));
        level(index)[rows] = 0;
    }
    std::memset(level(0) + touched, 0, static_cast<size_t>(rows - touched));
    std::memset(level(axes) + touched, 0, static_cast<size_t>(rows - touched));
    for (int step = 0; step + 1 < axes; ++step) {  // what has reached a row
        const uint8_t* const from = level(step);
        uint8_t* const to = level(step + 1);
        const int32_t* const links = of_step(step);
        each_row(touched, rows, n_threads, [=](int64_t row) { to[row] = from[row] | from[links[2 * row]] | from[links[2 * row + 1]]; });
    }
    for (int step = axes - 1; step > 0; --step) {  // and comes to one that is touched
        const uint8_t* const from = level(step + 1);
        uint8_t* const to = level(step);
        const int32_t* const links = of_step(step);
        each_row(touched, rows, n_threads, [=](int64_t row) { to[row] &= from[row] | from[links[2 * row]] | from[links[2 * row + 1]]; });
    }

    // Of each level, one after the other: where the lattice's rows stand in it, and which they are. Both without a branch, which
    // could not be foretold.
    Buffer<int32_t> places((axes + 1) * size), rows_of((axes + 1) * size);
    parallel_for(axes + 1, n_threads, [&](int64_t index, int) {
        const uint8_t* const mark = level(static_cast<int>(index));
        int32_t *const place = places.data() + index * size, *const row_of = rows_of.data() + index * size;
        int32_t count = 0;
        for (int64_t i = 0; i < rows; ++i) {
            const int64_t row = order != nullptr ? order[i] : i;
            place[row] = count;
            row_of[count] = static_cast<int32_t>(row);
            count += mark[row];
        }
        counts_[index] = count;
        for (int64_t row = 0; row <= rows; ++row) place[row] = mark[row] != 0 ? place[row] : count;
    });
    int64_t all = 0;
    for (int step = 0; step < axes; ++step) {
        offsets_[step] = all;
        all += counts_[step + 1] * 3;
    }
    links_ = static_cast<int32_t*>(allocate(all * static_cast<int64_t>(sizeof(int32_t))));
    for (int step = 0; step < axes; ++step) {
        const int32_t *const from = places.data() + step * size, *const links = of_step(step);
        const int32_t* const row_of = rows_of.data() + (step + 1) * size;
        int32_t* const out = links_ + offsets_[step];
        each_row(0, counts_[step + 1], n_threads, [=](int64_t place) {
            const int64_t row = row_of[place];
            out[3 * place] = from[row];
            out[3 * place + 1] = from[links[2 * row]];
            out[3 * place + 2] = from[links[2 * row + 1]];
        });
    }
}

}  // namespace densefield
