// Sums over the whole window around each pixel, one block of rows and one vector of columns at a time: what filtering is
// made of. Values of pairs, stored once, are first laid out by offset.
#pragma once

#include "pairs.h"

namespace densefield::DF_TARGET {
namespace {

// Rows of planes around a block, zeros where they lie outside the image.
template <class T>
class PlaneRows {
public:
    explicit PlaneRows(const Window& w) : rows(block_rows + 2 * w.half_y), zeros(w.planes * w.stride + 2 * w.lead) {
        std::memset(zeros.data(), 0, sizeof(T) * static_cast<size_t>(w.planes * w.stride + 2 * w.lead));
    }

    void at(const Window& w, const Band& band, const T* planes, int64_t row) {
        for (int64_t i = 0; i < block_rows + 2 * w.half_y; ++i) {
            const int64_t r = row - w.half_y + i;
            rows[i] = band.inside(r) ? w.plane_row(planes, band.b, band.first_y + r * w.step) : zeros.data() + w.lead;
        }
    }

    // around[(around(dy, dx) * block_rows + a) * lanes] = value of the pair (row a, row a + dy at dx), 0 in the centre.
    DF_INLINE void lay_around(const Window& w, int64_t x, T* around) const {
        for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx) {
            // Pairs stored at the other pixel, then those stored here.
            const int64_t here = w.first_dy(dx);
            for (int64_t dy = -w.half_y; dy < here; ++dy) {
                T* const to = around + w.around(dy, dx) * block_rows * lanes<T>;
                if (dy == 0 && dx == 0) {
                    for (int64_t a = 0; a < block_rows; ++a) store(to + a * lanes<T>, Vector<T>{});
                    continue;
                }
                const int64_t shift = w.plane(-dy, -dx) * w.stride + x + dx * w.rate;
                for (int64_t a = 0; a < block_rows; ++a)
                    store(to + a * lanes<T>, load(rows[w.half_y + dy + a] + shift));
            }
            for (int64_t dy = here; dy <= w.half_y; ++dy) {
                T* const to = around + w.around(dy, dx) * block_rows * lanes<T>;
                const int64_t shift = w.plane(dy, dx) * w.stride + x;
                for (int64_t a = 0; a < block_rows; ++a)
                    store(to + a * lanes<T>, load(rows[w.half_y + a] + shift));
            }
        }
    }

    const T* own(const Window& w, int64_t a) const { return rows[w.half_y + a]; }

private:
    Buffer<const T*> rows;
    Buffer<T> zeros;
};

// Rows of which the next columns have not been seen by any block. They are asked for a few at a time, between sums.
template <class T>
class Ahead {
public:
    Ahead(int64_t most, int64_t turns) : rows(most + turns), turns(turns) {}

    void clear() { count = a_turn = 0; }
    void add(const T* first, int64_t apart, int64_t number) {
        for (int64_t i = 0; i < number; ++i) rows[count++] = first + i * apart;
    }
    void close() {
        a_turn = (count + turns - 1) / turns;
        while (count < a_turn * turns) rows[count++] = rows[0];
    }
    DF_INLINE void ask(int64_t turn, int64_t x) const {
        for (int64_t i = turn * a_turn; i < (turn + 1) * a_turn; ++i) __builtin_prefetch(rows[i] + x, 0, 2);
    }

private:
    Buffer<const T*> rows;
    const int64_t turns;
    int64_t count = 0, a_turn = 0;
};

// sums[a][c] += sum over dy of value(a, dy) * q(row a + dy, channel c), for `count` offsets dy from one on.
template <class T, int channels, int count, class Rows>
DF_INLINE void filter_offsets(Rows q_rows, int64_t apart, const T* around, Vector<T> (&sum)[block_rows][channels]) {
    DF_UNROLL for (int row = 0; row < block_rows + count - 1; ++row) {
        Vector<T> q[channels];
        DF_UNROLL for (int c = 0; c < channels; ++c) q[c] = held(load(q_rows[row] + c * apart));
        DF_UNROLL for (int d = 0; d < count; ++d) {
            const int a = row - d;
            if (a >= 0 && a < block_rows) {
                const Vector<T> value = held(load(around + (d * block_rows + a) * lanes<T>));
                DF_UNROLL for (int c = 0; c < channels; ++c) sum[a][c] += value * q[c];
            }
        }
    }
}

// Calls body(constant of n) for runs of 9, 5, 3 and 1 offsets dy that together make -half_y ... half_y.
template <class Body>
DF_INLINE void in_runs(int64_t half_y, const Body& body) {
    int64_t dy = -half_y;
    for (; half_y - dy + 1 >= 9; dy += 9) body(std::integral_constant<int, 9>(), dy);
    for (; half_y - dy + 1 >= 5; dy += 5) body(std::integral_constant<int, 5>(), dy);
    for (; half_y - dy + 1 >= 3; dy += 3) body(std::integral_constant<int, 3>(), dy);
    for (; half_y - dy + 1 >= 1; dy += 1) body(std::integral_constant<int, 1>(), dy);
}

template <class T, int channels>
DF_INLINE void filter_block(const Window& w, const T* const* rows, int64_t first_channel, int64_t x, const T* around,
                            const Ahead<T>& ahead, int64_t turn, Vector<T> (&sum)[block_rows][channels]) {
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx) {
        ahead.ask(turn++, x + lanes<T>);
        in_runs(w.half_y, [&](auto count, int64_t dy) {
            const Listed<T> q_rows{rows + dy + w.half_y, first_channel * w.stride + x + dx * w.rate};
            filter_offsets<T, channels, decltype(count)::value>(
                q_rows, w.stride, around + w.around(dy, dx) * block_rows * lanes<T>, sum);
        });
    }
}

}  // namespace
}  // namespace densefield::DF_TARGET
