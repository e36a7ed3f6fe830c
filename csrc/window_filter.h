// Applies masks to a map: the sum over the window around each pixel, and what it is divided by.
#pragma once

#include <cfloat>

#include "around.h"
#include "memory.h"
#include "parallel.h"

namespace densefield {

template <class T>
struct FilterCall {
    const T *masks, *map, *centre;
    T centre_value;
    const T* floor;
    T floor_value;
    bool normalize;
    T *factor, *output_map, *output;
    const T* partner;
    T* dot;
    int64_t channels;
};

namespace DF_TARGET {
namespace {

template <class T>
constexpr T tiny = sizeof(T) == 4 ? T(FLT_MIN) : T(DBL_MIN);

// One block of rows (from `row` of the band's class), one vector of columns.
template <class T>
class FilterBlock {
    static constexpr int64_t most = block_rows == 4 ? 6 : 4;  // channels in registers

public:
    FilterBlock(const Window& w, const FilterCall<T>& call, const Band& band, const T* zeros)
        : w(w),
          call(call),
          band(band),
          zeros(zeros),
          rows(block_rows + 2 * w.half_y),
          mask_rows(w),
          around(w.offsets() * block_rows * lanes<T>),
          groups((call.channels + most - 1) / most),
          turns(2 * w.half_x + 1),
          ahead(block_rows * (w.planes + 3 * call.channels), groups * turns) {}

    void at_rows(int64_t first) {
        row = first;
        count = at_most(block_rows, band.row + band.rows - row);
        mask_rows.at(w, band, call.masks, row);
        for (int64_t i = 0; i < block_rows + 2 * w.half_y; ++i) {
            const int64_t r = row - w.half_y + i;
            rows[i] = band.inside(r) ? w.map_row(call.map, call.channels, band.b, image_row(r)) : zeros;
        }
        ahead.clear();
        for (int64_t a = 0; a < block_rows; ++a) {
            ahead.add(mask_rows.own(w, a), w.stride, w.planes);
            ahead.add(rows[2 * w.half_y + a] + w.reach, w.stride, call.channels);
        }
        const T* const maps[] = {call.output_map, call.partner};
        for (int64_t a = 0; a < count; ++a)
            for (const T* const map : maps)
                if (map != nullptr)
                    ahead.add(w.map_row(map, call.channels, band.b, image_row(row + a)), w.stride, call.channels);
        if (call.output != nullptr)  // its rows are not aligned: the line where a vector ends is new
            for (int64_t a = 0; a < count; ++a)
                ahead.add(call.output + (band.b * call.channels * w.height + image_row(row + a)) * w.width + lanes<T> - 1,
                          w.height * w.width, call.channels);
        ahead.close();
    }

    void at_columns(int64_t x) {
        mask_rows.lay_around(w, x, around.data());
        const int64_t left = w.width - x;
        for (int64_t a = 0; a < block_rows; ++a) {
            factor[a] = broadcast(T(1));
            dot[a] = Vector<T>{};
            if (a >= count) continue;
            const int64_t pixel = (band.b * w.height + image_row(row + a)) * w.width + x;
            centre[a] = call.centre != nullptr ? load_up_to(call.centre + pixel, left) : broadcast(call.centre_value);
            if (call.normalize) {
                Vector<T> sum =
                    centre[a] + (call.floor != nullptr ? load_up_to(call.floor + pixel, left) : broadcast(call.floor_value));
                for (int64_t o = 0; o < w.offsets(); ++o) sum += load(around.data() + (o * block_rows + a) * lanes<T>);
                factor[a] = sum >= broadcast(tiny<T>) ? T(1) / sum : Vector<T>{};
                store_up_to(call.factor + pixel, factor[a], left);
            } else if (call.factor != nullptr) {
                factor[a] = load_up_to(call.factor + pixel, left);
            }
        }
        for (int64_t g = 0, c = 0; g < groups; ++g) {
            const int64_t next = (g + 1) * call.channels / groups;
            switch (next - c) {
                case 1: channels<1>(g, c, x, left); break;
                case 2: channels<2>(g, c, x, left); break;
                case 3: channels<3>(g, c, x, left); break;
                case 4: channels<4>(g, c, x, left); break;
                case 5: channels<5>(g, c, x, left); break;
                default: channels<6>(g, c, x, left); break;
            }
            c = next;
        }
        if (call.partner != nullptr)
            for (int64_t a = 0; a < count; ++a) {
                T* const to = w.map_row(call.dot, 1, band.b, image_row(row + a)) + x;
                store(to, load(to) + dot[a]);
            }
    }

private:
    int64_t image_row(int64_t r) const { return band.first_y + r * w.step; }

    template <int n>
    void channels(int64_t group, int64_t c, int64_t x, int64_t left) {
        Vector<T> sum[block_rows][n];
        DF_UNROLL for (int a = 0; a < block_rows; ++a)
            DF_UNROLL for (int i = 0; i < n; ++i) sum[a][i] = Vector<T>{};
        filter_block<T, n>(w, rows.data(), c, x, around.data(), ahead, group * turns, sum);
        for (int64_t a = 0; a < count; ++a) {
            const int64_t y = image_row(row + a);
            const T* const own = rows[w.half_y + a] + x;
            for (int64_t i = 0; i < n; ++i) {
                const Vector<T> value = (sum[a][i] + centre[a] * load(own + (c + i) * w.stride)) * factor[a];
                if (call.partner != nullptr) {
                    const T* const partner = w.map_row(call.partner, call.channels, band.b, y);
                    dot[a] += value * load(partner + (c + i) * w.stride + x);
                }
                if (call.output_map != nullptr) {
                    T* const to = w.map_row(call.output_map, call.channels, band.b, y) + (c + i) * w.stride + x;
                    if (left < lanes<T>) store(to, Vector<T>{});
                    store_up_to(to, value, left);
                } else {
                    T* const to = call.output + ((band.b * call.channels + c + i) * w.height + y) * w.width + x;
                    store_up_to(to, value, left);
                }
            }
        }
    }

    const Window& w;
    const FilterCall<T>& call;
    const Band& band;
    const T* const zeros;
    Buffer<const T*> rows;
    PlaneRows<T> mask_rows;
    Buffer<T> around;
    const int64_t groups, turns;
    Ahead<T> ahead;
    int64_t row = 0, count = 0;
    Vector<T> centre[block_rows], factor[block_rows], dot[block_rows];
};

template <class T>
void filter_of(const Window& w, const FilterCall<T>& call, int n_threads) {
    constexpr int64_t band_rows = 2 * block_rows;
    if (call.output_map != nullptr) clear_ends(w, call.output_map, call.channels);
    const Zeros<T> zeros(w, call.channels);
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        if (band.rows == 0) return;
        FilterBlock<T> block(w, call, band, zeros.row(w));
        for (int64_t row = band.row; row < band.row + band.rows; row += block_rows) {
            block.at_rows(row);
            for (int64_t x = 0; x < w.stride; x += lanes<T>) block.at_columns(x);
        }
    };
    parallel_for(Band::count(w, band_rows), n_threads, body);
}

}  // namespace
}  // namespace DF_TARGET
}  // namespace densefield
