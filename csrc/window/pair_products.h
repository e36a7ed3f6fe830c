// Products of two maps at the two pixels of each pair, summed over the channels: the gradient of masks.
#pragma once

#include "window/octets.h"

namespace densefield {

// sums (+)= h_i s_j + h_j s_i over channels, planes; where `masks` is given, then sums <- masks (dot_i + dot_j - sums),
// without the dots where `dot` is null.
template <class T>
struct ProductsCall {
    const T *h, *s, *masks, *dot;
    T* sums;
    int64_t channels;
    bool add;
};

namespace DF_TARGET {
namespace {

constexpr int product_pixels = 4;  // whose sums are held in registers, of so many offsets:
#if defined(__AVX512F__)
constexpr int most_products = 5, few_products = 3;  // few where distances are not known before: they take registers, too
#else
constexpr int most_products = 2, few_products = 2;
#endif

// What one pixel gives to a sum, and what it takes from the other one.
template <class T>
struct TwoMaps {
    const T *h, *s;
    DF_INLINE TwoMaps at(int64_t shift) const { return {h + shift, s + shift}; }
};

// Neighbouring offsets of one dy: their first plane, and where the first pixel of a row sees them.
template <class T>
struct ProductRun {
    TwoMaps<T> q;
    int64_t plane, offsets;
};

// sums[i][k] = h_p s_q + s_p h_q over the channels, of pixel p = k of the block and q = p + offset i: pixel k + i of q's.
template <class T, int offsets, class Step>
DF_INLINE void add_products(TwoMaps<T> p, TwoMaps<T> q, Step step,
                            Octet<T> (&sums)[offsets][product_pixels]) {
    p = {hide_origin(p.h), hide_origin(p.s)};
    q = {hide_origin(q.h), hide_origin(q.s)};
    DF_UNROLL for (int i = 0; i < offsets; ++i)
        DF_UNROLL for (int k = 0; k < product_pixels; ++k) sums[i][k] = in_register(Octet<T>{});
    _Pragma("GCC unroll 1") for (int64_t c = 0; c < step.size; c += Window::octet) {
        Octet<T> p_h[product_pixels], p_s[product_pixels];
        DF_UNROLL for (int k = 0; k < product_pixels; ++k) {
            p_h[k] = in_register(load<Octet<T>>(p.h + k * step.apart + c));
            p_s[k] = in_register(load<Octet<T>>(p.s + k * step.apart + c));
        }
        DF_UNROLL for (int place = 0; place < product_pixels + offsets - 1; ++place) {
            const Octet<T> q_h = in_register(load<Octet<T>>(q.h + place * step.apart + c));
            const Octet<T> q_s = in_register(load<Octet<T>>(q.s + place * step.apart + c));
            DF_UNROLL for (int i = 0; i < offsets; ++i) {
                const int k = place - i;
                if (k >= 0 && k < product_pixels) sums[i][k] += p_h[k] * q_s;
            }
            DF_UNROLL for (int i = 0; i < offsets; ++i) {
                const int k = place - i;
                if (k >= 0 && k < product_pixels) sums[i][k] += p_s[k] * q_h;
            }
        }
    }
}

// Row y of image b. `runs` is room for `most_runs` of them, `block` for `block_size` numbers.
template <class T>
class ProductRow {
public:
    static int64_t most_runs(const Window& w) { return w.planes; }
    static int64_t block_size(const Window& w) { return w.planes * most_columns * w.rate; }

    ProductRow(const Window& w, const ProductsCall<T>& call, int64_t b, int64_t y, ProductRun<T>* runs, T* block)
        : w(w),
          call(call),
          size(round_up(call.channels, Window::octet)),
          below(w.rows_below(y)),
          known(w.rate == 1 && size <= 3 * Window::octet),
          more_planes(y + w.step < w.height),
          more_rows(y + (w.half_y + 1) * w.step < w.height),
          own{w.map_row(call.h, call.channels, b, y), w.map_row(call.s, call.channels, b, y)},
          planes(w.plane_row(call.sums, b, y)),
          masks(call.masks == nullptr ? nullptr : w.plane_row(call.masks, b, y)),
          dot(call.dot == nullptr ? nullptr : w.line(call.dot, b, y)),
          runs(runs),
          end(runs),
          block(block) {
        list(0, 1, w.half_x);
        for (int64_t dy = 1; dy <= below; ++dy) list(dy, -w.half_x, 2 * w.half_x + 1);
    }

    void add_all() const {
        switch (known ? size / Window::octet : 0) {
            case 1: return add_all_of(NextPixel<1>());
            case 2: return add_all_of(NextPixel<2>());
            case 3: return add_all_of(NextPixel<3>());
            default: return add_all_of(PixelStep{w.rate, size, w.rate * size});
        }
    }

private:
    static constexpr int64_t most_columns = 16;  // a rate apart, whose sums are put together before they go to the planes

    void list(int64_t dy, int64_t dx, int64_t offsets) {
        while (offsets > 0) {
            const int64_t run = at_most(offsets, known ? most_products : few_products);
            *end++ = {own.at((dy * w.pixels + dx) * w.rate * size), w.plane(dy, dx), run};
            dx += run, offsets -= run;
        }
    }

    template <class Step>
    void add_all_of(Step step) const {
        const int64_t columns = most_columns * step.rate;
        for (int64_t x0 = 0; x0 < w.stride; x0 += columns) {
            if (more_planes) prefetch_share(planes + w.step * w.planes * w.stride, w.planes * w.stride, x0, columns, w.stride);
            if (more_rows) {
                const int64_t next = (w.half_y + 1) * w.step * w.pixels * size;
                prefetch_share(own.h + next, w.pixels * size, x0, columns, w.stride);
                prefetch_share(own.s + next, w.pixels * size, x0, columns, w.stride);
            }
            for (int64_t first = 0; first < columns; first += product_pixels * step.rate)
                for (int64_t k = first; k < first + step.rate; ++k) add_block(x0, k, step);
            keep(x0, columns);
        }
    }

    // Sums of the block that starts at column x0 + k.
    template <class Step>
    DF_INLINE void add_block(int64_t x0, int64_t k, Step step) const {
        for (const ProductRun<T>* run = runs; run < end; ++run) {
            T* const to = block + run->plane * most_columns * step.rate + k;
            if (x0 + k >= w.width) {
                for (int64_t i = 0; i < run->offsets; ++i) store_sums(to, i, x0 + k, step, Quad<T>{});
                continue;
            }
            const int64_t shift = (x0 + k) * step.size;
            switch (run->offsets) {
                case 1: add_run<1>(run->q.at(shift), x0 + k, to, step); break;
                case 2: add_run<2>(run->q.at(shift), x0 + k, to, step); break;
#if defined(__AVX512F__)
                case 3: add_run<3>(run->q.at(shift), x0 + k, to, step); break;
                case 4: add_run<4>(run->q.at(shift), x0 + k, to, step); break;
                default: add_run<5>(run->q.at(shift), x0 + k, to, step); break;
#endif
            }
        }
    }

    template <int offsets, class Step>
    DF_INLINE void add_run(const TwoMaps<T>& q, int64_t x, T* to, Step step) const {
        Octet<T> sums[offsets][product_pixels];
        add_products<T, offsets>(own.at(x * step.size), q, step, sums);
        DF_UNROLL for (int i = 0; i < offsets; i += 2) {
            Octet<T> both[8] = {};
            DF_UNROLL for (int pixel = 0; pixel < product_pixels; ++pixel) {
                both[pixel] = sums[i][pixel];
                if (i + 1 < offsets) both[product_pixels + pixel] = sums[i + 1][pixel];
            }
            Quad<T> total[2];
            const Octet<T> sum = totals<T>(both);
            std::memcpy(total, &sum, sizeof(sum));
            store_sums(to, i, x, step, total[0]);
            if (i + 1 < offsets) store_sums(to, i + 1, x, step, total[1]);
        }
    }

    template <class Step>
    DF_INLINE void store_sums(T* to, int64_t i, int64_t x, Step step, const Quad<T>& sums) const {
        to += i * most_columns * step.rate;
        if (step.rate == 1)
            store(to, sums);
        else
            for (int64_t k = 0; k < product_pixels; ++k) to[k * step.rate] = x + k * step.rate < w.width ? sums[k] : T(0);
    }

    // Adds what stands in the block to the planes. Pairs that leave the image below are zero.
    void keep(int64_t x, int64_t columns) const {
        const int64_t count = at_most(columns, w.stride - x);
        for (int64_t dy = 0; dy <= w.half_y; ++dy)
            for (int64_t dx = dy == 0 ? 1 : -w.half_x; dx <= w.half_x; ++dx) {
                const int64_t plane = w.plane(dy, dx), place = plane * w.stride + x;
                const T* const dots = dot == nullptr || dy > below ? nullptr : dot + (dy * w.stride + dx) * w.rate + x;
                for (int64_t k = 0; k < count; k += lanes<T>) {
                    Vector<T> sum = dy > below ? Vector<T>{} : load(block + plane * columns + k);
                    if (call.add) sum += load(planes + place + k);
                    if (dots != nullptr) sum -= load(dot + x + k) + load(dots + k);
                    if (masks != nullptr) sum *= -load(masks + place + k);
                    store(planes + place + k, sum);
                }
            }
    }

    const Window& w;
    const ProductsCall<T>& call;
    const int64_t size, below;
    const bool known, more_planes, more_rows;
    const TwoMaps<T> own;
    T* const planes;
    const T *const masks, *const dot;
    ProductRun<T>*const runs, *end;
    T* const block;
};

}  // namespace
}  // namespace DF_TARGET
}  // namespace densefield
