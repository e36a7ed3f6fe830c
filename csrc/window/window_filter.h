// Applies masks to a map: the sum over the window around each pixel, and what it is divided by. A mask is spread over the
// channels of its neighbour, a few neighbouring pixels at a time.
#pragma once

#include <cfloat>

#include "base/memory.h"
#include "window/octets.h"

namespace densefield {

// What all iterations share: masks, what stands in the centre, and what sums are multiplied by.
template <class T>
struct FilterCall {
    const T *masks, *centre;
    T centre_value;
    const T* factor;
    int64_t channels;
};

// One iteration: what it filters; whether the result is `multiplied` by the factor; where its products with `partner`, if
// there is one, summed over the channels, are added.
template <class T>
struct FilterStep {
    const T* map;
    bool multiplied;
    const T* partner;
    T* dot;
};

namespace DF_TARGET {
namespace {

template <class T>
constexpr T tiny = sizeof(T) == 4 ? T(FLT_MIN) : T(DBL_MIN);

// Neighbouring offsets dx of one dy, as the first pixel of a row sees them: where its neighbour's channels lie, and its
// mask. The neighbour at the next offset is that of the block's next pixel; its masks lie `masks_apart` on.
template <class T>
struct Run {
    const T *source, *masks;
    int64_t masks_apart;
};

constexpr int long_run = 3;  // offsets: others are on their own

template <class T, int octets>
using BlockSums = Octet<T>[block_pixels][octets];

// octets: of channels, summed at a time; Step: PixelStep or NextPixel.

// Adds `offsets` masks times neighbours for the block that starts at column x, of octets from channel c on.
template <class T, int octets, int offsets, class Step>
DF_INLINE void add_run(const Run<T>& run, int64_t x, int64_t c, Step step, BlockSums<T, octets>& sums) {
    const T* const source = hide_origin(run.source + x * step.size + c);
    const T* masks[offsets];
    DF_UNROLL for (int i = 0; i < offsets; ++i) masks[i] = run.masks + x + i * run.masks_apart;
    DF_UNROLL for (int place = 0; place < block_pixels + offsets - 1; ++place) {
        Octet<T> value[octets];
        DF_UNROLL for (int i = 0; i < octets; ++i)
            value[i] = in_register(load<Octet<T>>(source + place * step.apart + i * Window::octet));
        DF_UNROLL for (int i = 0; i < offsets; ++i) {
            const int pixel = place - i;
            if (pixel >= 0 && pixel < block_pixels) {
                const Octet<T> mask = in_register(octet_of(masks[i][pixel * step.rate]));
                DF_UNROLL for (int o = 0; o < octets; ++o) sums[pixel][o] += mask * value[o];
            }
        }
    }
}

// Row y of image b. `runs` is room for `most_runs` of them.
template <class T>
class FilterRow {
public:
    static int64_t most_runs(const Window& w) { return (2 * w.half_y + 2) * (2 * w.half_x + 2); }

    FilterRow(const Window& w, const FilterCall<T>& call, const FilterStep<T>& step, int64_t b, int64_t y, Run<T>* runs)
        : w(w),
          call(call),
          step(step),
          size(round_up(call.channels, Window::octet)),
          b(b),
          y(y),
          first_pixel((b * w.height + y) * w.width),
          own(w.map_row(step.map, call.channels, b, y)),
          long_runs(runs),
          short_runs(runs + most_runs(w)) {
        long_end = long_runs, short_end = short_runs;
        const int64_t above = w.rows_above(y), below = w.rows_below(y);
        for (int64_t dy = -above; dy < 0; ++dy) list_before(dy, 2 * w.half_x + 1);
        list_before(0, w.half_x);
        list_after(0, 1, w.half_x);
        for (int64_t dy = 1; dy <= below; ++dy) list_after(dy, -w.half_x, 2 * w.half_x + 1);
    }

    // factor <- 1 / (sum of the masks + centre + floor), 0 where that sum underflows.
    void normalize(const T* floor, T floor_value, T* factor) const {
        for (int64_t x = 0; x < w.width; x += lanes<T>) {
            const int64_t pixel = first_pixel + x, left = w.width - x;
            Vector<T> sum =
                (call.centre != nullptr ? load_up_to(call.centre + pixel, left) : broadcast(call.centre_value)) +
                (floor != nullptr ? load_up_to(floor + pixel, left) : broadcast(floor_value));
            for (const Run<T>* run = long_runs; run < long_end; ++run)
                for (int64_t i = 0; i < long_run; ++i) sum += load(run->masks + i * run->masks_apart + x);
            for (const Run<T>* run = short_end; run < short_runs; ++run) sum += load(run->masks + x);
            store_up_to(factor + pixel, sum >= broadcast(tiny<T>) ? T(1) / sum : Vector<T>{}, left);
        }
    }

    // Results go to `target`, a row of a map.
    void filter(T* target) const {
        const int64_t octets = w.rate == 1 ? size / Window::octet : 0;
        if constexpr (most_octets<T> == 3) {
            if (octets == 3) return filter_all<3>(target, NextPixel<3>());
            if (octets == 2) return filter_all<2>(target, NextPixel<2>());
        }
        if (octets == 1) return filter_all<1>(target, NextPixel<1>());
        filter_all<0>(target, PixelStep{w.rate, size, w.rate * size});
    }

private:
    // Pairs stored at the other pixel, from dx = -half_x on, and those stored at this one.
    void list_before(int64_t dy, int64_t count) {
        const T* const row = w.plane_row(call.masks, b, y + dy * w.rate);
        list(dy, -w.half_x, count, row + w.plane(-dy, w.half_x) * w.stride - w.reach, w.rate - w.stride);
    }
    void list_after(int64_t dy, int64_t dx, int64_t count) {
        list(dy, dx, count, w.plane_row(call.masks, b, y) + w.plane(dy, dx) * w.stride, w.stride);
    }
    void list(int64_t dy, int64_t dx, int64_t count, const T* masks, int64_t masks_apart) {
        const T* source = own + (dy * w.pixels + dx) * w.rate * size;
        while (count > 0) {
            const bool is_long = count >= long_run;
            *(is_long ? long_end++ : --short_end) = {source, masks, masks_apart};
            const int64_t offsets = is_long ? long_run : 1;
            source += offsets * w.rate * size, masks += offsets * masks_apart, count -= offsets;
        }
    }

    // `only`: the number of octets, or 0 where they are more than a block takes, or not known.
    template <int only, class Step>
    void filter_all(T* target, Step pixel_step) const {
        const int64_t all = size / Window::octet, groups = (all + most_octets<T> - 1) / most_octets<T>;
        const int64_t columns = block_pixels * w.rate;
        const bool more_masks = y + w.step < w.height, more_rows = y + (w.half_y + 1) * w.step < w.height;
        for (int64_t x0 = 0; x0 < w.width; x0 += columns) {
            if (more_masks)
                prefetch_share(w.plane_row(call.masks, b, y + w.step), w.planes * w.stride, x0, columns, w.width);
            if (more_rows)
                prefetch_share(own + (w.half_y + 1) * w.step * w.pixels * size, w.pixels * size, x0, columns, w.width);
            if (more_masks && step.partner != nullptr)
                prefetch_share(w.map_row(step.partner, call.channels, b, y + w.step), w.pixels * size, x0, columns, w.width);
            for (int64_t x = x0; x < at_most(x0 + w.rate, w.width); ++x) {
                Octet<T> dots[Window::octet] = {};
                for (int64_t group = 0, first = 0; group < groups; ++group) {
                    const int64_t next = (group + 1) * all / groups;
                    filter_octets<only>(next - first, x, first * Window::octet, pixel_step, target, dots);
                    first = next;
                }
                if (step.partner != nullptr) add_dots(x, totals<T>(dots));
            }
        }
    }

    template <int only, class Step>
    DF_INLINE void filter_octets(int64_t count, int64_t x, int64_t c, Step pixel_step, T* target,
                                 Octet<T> (&dots)[Window::octet]) const {
        if constexpr (only > 0) {
            filter_block<only>(x, c, pixel_step, target, dots);
        } else {
            if (count == 1) filter_block<1>(x, c, pixel_step, target, dots);
            if constexpr (most_octets<T> == 3) {
                if (count == 2) filter_block<2>(x, c, pixel_step, target, dots);
                if (count == 3) filter_block<3>(x, c, pixel_step, target, dots);
            }
        }
    }

    template <int octets, class Step>
    DF_INLINE void filter_block(int64_t x, int64_t c, Step pixel_step, T* target,
                                Octet<T> (&dots)[Window::octet]) const {
        BlockSums<T, octets> sums;
        DF_UNROLL for (int k = 0; k < block_pixels; ++k)
            DF_UNROLL for (int i = 0; i < octets; ++i) sums[k][i] = in_register(Octet<T>{});
        for (const Run<T>* run = long_runs; run < long_end; ++run)
            add_run<T, octets, long_run>(*run, x, c, pixel_step, sums);
        for (const Run<T>* run = short_end; run < short_runs; ++run)
            add_run<T, octets, 1>(*run, x, c, pixel_step, sums);
        const T* const partner = step.partner == nullptr ? nullptr : w.map_row(step.partner, call.channels, b, y);
        const int64_t left = in_block(x);
        DF_UNROLL for (int k = 0; k < block_pixels; ++k) {  // known indices: sums stay in registers
            if (k >= left) break;
            const int64_t column = x + k * pixel_step.rate, pixel = first_pixel + column;
            const Octet<T> centre = octet_of(call.centre != nullptr ? call.centre[pixel] : call.centre_value);
            const Octet<T> factor = octet_of(step.multiplied ? call.factor[pixel] : T(1));
            DF_UNROLL for (int i = 0; i < octets; ++i) {
                const int64_t at = column * pixel_step.size + c + i * Window::octet;
                const Octet<T> value = (sums[k][i] + centre * load<Octet<T>>(own + at)) * factor;
                if (partner != nullptr) dots[k] += value * load<Octet<T>>(partner + at);
                store(target + at, value);
            }
        }
    }

    void add_dots(int64_t x, const Octet<T>& change) const {
        T* const dot = w.line(step.dot, b, y) + x;
        if (w.rate == 1 && in_block(x) == Window::octet) return store(dot, load<Octet<T>>(dot) + change);
        for (int64_t k = 0; k < in_block(x); ++k) dot[k * w.rate] += change[k];
    }
    int64_t in_block(int64_t x) const { return at_most(block_pixels, (w.width - x + w.rate - 1) / w.rate); }

    const Window& w;
    const FilterCall<T>& call;
    const FilterStep<T>& step;
    const int64_t size, b, y, first_pixel;
    const T* const own;
    Run<T>*const long_runs, *const short_runs;  // those grow to the end, these to the front
    Run<T>*long_end, *short_end;
};

}  // namespace
}  // namespace DF_TARGET
}  // namespace densefield
