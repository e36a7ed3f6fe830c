// Blurring a lattice's table many times. Along some axes neighbours stand a few rows away: such axes, where they come one
// after the other, are blurred together, a piece of the table at a time, which then stays in the nearer caches.
#pragma once

#include <cstdint>
#include <cstring>

#include "lattice_rows.h"
#include "owned.h"
#include "parallel.h"

namespace densefield::DF_TARGET {
namespace {

template <int W, class S>
class LatticeBlur {
public:
    DF_NOINLINE void prepare(const int32_t* neighbours, int axes, int64_t rows, bool reverse, int n_threads) {
        neighbours_ = neighbours;
        axes_ = axes;
        rows_ = rows;
        reverse_ = reverse;
        threads_ = n_threads;
        int64_t widest = 0;
        for (int step = axes - 2; step >= 0; --step) {
            const int64_t wanted = halo_[step + 1] + span(links(step + 1));
            halo_[step] = wanted <= most_halo ? wanted : 0;
            widest = halo_[step] > widest ? halo_[step] : widest;
        }
        size_ = (piece + 2 * widest + 1) * W;
        if (widest > 0) pieces_.take(n_threads * 2 * size_);
    }

    // Forth and back between two tables of rows + 1 rows, the last of them zero; gives the one that holds the result.
    S* run(S* from, S* to) {
        for (int step = 0, end; step < axes_; step = end) {
            for (end = step + 1; halo_[end - 1] > 0; ++end) continue;
            if (end == step + 1)
                blur_axis<float, W>(from, to, links(step), rows_, threads_);
            else
                together(from, to, step, end);
            S* const swapped = from;
            from = to;
            to = swapped;
        }
        return from;
    }

private:
    static constexpr int64_t piece = 1024, most_halo = 64;  // rows
    static constexpr int most_axes = 17;

    const int32_t* links(int step) const { return neighbours_ + (reverse_ ? axes_ - 1 - step : step) * rows_ * 2; }

    // How far away neighbours stand at most, in rows, or more than most_halo.
    int64_t span(const int32_t* links) const {
        const auto none = static_cast<int32_t>(rows_);
        int32_t most = 0;
        for (int64_t begin = 0; begin < rows_ && most <= most_halo; begin += piece) {
            const int64_t end = begin + piece < rows_ ? begin + piece : rows_;
            for (int64_t row = begin; row < end; ++row) {
                const auto here = static_cast<int32_t>(row);
                const int32_t back = links[2 * row] == none ? 0 : here - links[2 * row];
                const int32_t on = links[2 * row + 1] == none ? 0 : links[2 * row + 1] - here;
                const int32_t far = back > on ? back : on;
                most = far > most ? far : most;
            }
        }
        return most;
    }

    // The steps step .. end - 1: all but the last write to pieces, which reach over the borders by what the next step wants
    // and begin with a zero row, the neighbour where there is none.
    DF_NOINLINE void together(const S* from, S* to, int step, int end) {
        const auto body = [&](int64_t chunk, int slot) {
            const int64_t begin = chunk * piece, stop = begin + piece < rows_ ? begin + piece : rows_;
            float* source = pieces_.data() + slot * 2 * size_;
            float* target = source + size_;
            std::memset(source, 0, W * sizeof(float));
            std::memset(target, 0, W * sizeof(float));
            int64_t low = first(begin, step), high = last(stop, step);
            blur_some(links(step), low, high, target + W, [from](int64_t row) { return from + row * W; });
            for (int at = step + 1; at < end; ++at) {
                float* const swapped = source;
                source = target;
                target = swapped;
                const int64_t origin = low - 1, none = rows_;
                low = first(begin, at);
                high = last(stop, at);
                // Without a branch, which could not be foretold.
                const auto place = [=](int64_t row) { return source + ((row - origin) & -static_cast<int64_t>(row != none)) * W; };
                if (at + 1 < end)
                    blur_some(links(at), low, high, target + W, place);
                else
                    blur_some(links(at), low, high, to + low * W, place);
            }
        };
        parallel_for((rows_ + piece - 1) / piece, threads_, body);
    }

    int64_t first(int64_t begin, int step) const { return begin > halo_[step] ? begin - halo_[step] : 0; }
    int64_t last(int64_t stop, int step) const { return stop + halo_[step] < rows_ ? stop + halo_[step] : rows_; }

    template <class To, class Place>
    static void blur_some(const int32_t* links, int64_t low, int64_t high, To* to, const Place& place) {
        for (int64_t row = low; row < high; ++row, to += W) {
            Row<float, W> sides, middle;
            sides.load(place(links[2 * row]));
            middle.load(place(links[2 * row + 1]));
            sides.add(middle);
            middle.load(place(row));
            middle.add(sides, 0.5f);
            middle.store(to);
        }
    }

    const int32_t* neighbours_ = nullptr;
    int axes_ = 0, threads_ = 1;
    int64_t rows_ = 0, size_ = 0;
    bool reverse_ = false;
    int64_t halo_[most_axes + 1] = {};  // rows more on either side that the steps after this one want; 0: not together with them
    Owned<float> pieces_;
};

}  // namespace
}  // namespace densefield::DF_TARGET
