// Products of two maps at the two pixels of each pair, summed over the channels: the gradient of masks.
#pragma once

#include "pairs.h"
#include "parallel.h"

namespace densefield::DF_TARGET {
namespace {

// The sum of two products: at p and q stand a vector of h and one of s.
struct Products {
    template <class T>
    struct Both {
        Vector<T> h, s;
    };
    template <class T, class Rows>
    static DF_INLINE Both<T> at(Rows rows, int64_t row, int64_t shift) {
        return {held(load(rows.h[row] + shift)), held(load(rows.s[row] + shift))};
    }
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, const Both<T>& p, const Both<T>& q) {
        return sum + p.h * q.s + p.s * q.h;
    }
};

template <class T>
struct ListedTwice {
    Listed<T> h, s;
};

template <class T>
void products_of(const Window& w, const T* h, const T* s, const T* masks, const T* dot, T* sums, int64_t channels,
                 bool add, int n_threads) {
    constexpr int64_t band_rows = 2 * block_rows;
    const int64_t parts = (channels + 11) / 12, around_rows = block_rows + w.half_y;
    if (!add) clear_ends(w, sums, w.planes);
    const Zeros<T> zeros(w, channels);
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        Buffer<const T*> h_rows(around_rows), s_rows(around_rows), dot_rows(around_rows);
        Buffer<T> block(w.planes * block_rows * lanes<T>);
        for (int64_t row = band.row; row < band.row + band.rows; row += block_rows) {
            for (int64_t i = 0; i < around_rows; ++i) {
                const int64_t r = row + i, y = band.first_y + r * w.step;
                const bool inside = band.inside(r);
                h_rows[i] = inside ? w.map_row(h, channels, band.b, y) : zeros.row(w);
                s_rows[i] = inside ? w.map_row(s, channels, band.b, y) : zeros.row(w);
                dot_rows[i] = inside && dot != nullptr ? w.map_row(dot, 1, band.b, y) : zeros.row(w);
            }
            for (int64_t x = 0; x < w.stride; x += lanes<T>) {
                for (int64_t a = 0; a < block_rows; ++a) {
                    prefetch_lines(h_rows[w.half_y + a] + x + lanes<T> + w.reach, w.stride, channels);
                    prefetch_lines(s_rows[w.half_y + a] + x + lanes<T> + w.reach, w.stride, channels);
                }
                for (int64_t part = 0; part < parts; ++part) {
                    const int64_t c = part * channels / parts, next = (part + 1) * channels / parts;
                    const auto rows_at = [&](int64_t dy, int64_t dx) {
                        const int64_t shift = c * w.stride + x + dx * w.rate;
                        return ListedTwice<T>{{h_rows.data() + dy, shift}, {s_rows.data() + dy, shift}};
                    };
                    sum_all_pairs<T, Products>(w, rows_at(0, 0), rows_at, next - c, w.stride, block.data(), part > 0);
                }
                for (int64_t a = 0; a < at_most(block_rows, band.row + band.rows - row); ++a) {
                    const int64_t start =
                        w.plane_row(sums, band.b, band.first_y + (row + a) * w.step) - sums + x;
                    if (add) prefetch_lines(sums + start + lanes<T>, w.stride, w.planes);
                    if (masks != nullptr) prefetch_lines(masks + start + lanes<T>, w.stride, w.planes);
                    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
                        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; ++dy) {
                            const int64_t plane = w.plane(dy, dx), place = start + plane * w.stride;
                            Vector<T> sum = load(block.data() + (plane * block_rows + a) * lanes<T>);
                            if (add) sum += load(sums + place);
                            if (masks != nullptr)
                                sum = load(masks + place) *
                                      (load(dot_rows[a] + x) + load(dot_rows[a + dy] + x + dx * w.rate) - sum);
                            store(sums + place, sum);
                        }
                }
            }
        }
    };
    parallel_for(Band::count(w, band_rows), n_threads, body);
}

}  // namespace
}  // namespace densefield::DF_TARGET
