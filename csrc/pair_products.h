// Products of two maps at the two pixels of each pair, summed over the channels: the gradient of masks.
#pragma once

#include "octets.h"

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
constexpr int most_products = 5;
#else
constexpr int most_products = 2;
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

// sums[i][k] = h_p s_q + s_p h_q over the channels, of pixel p = k of the block and q = p + offset i. Offsets a pixel
// apart (`sliding`) see the same pixels q.
template <class T, int offsets, bool sliding, class Size>
DF_INLINE void add_products(TwoMaps<T> p, TwoMaps<T> q, Size known, int64_t q_apart,
                            Octet<T> (&sums)[offsets][product_pixels]) {
    const int64_t size = static_cast<int64_t>(known);
    p = {fresh(p.h), fresh(p.s)};
    q = {fresh(q.h), fresh(q.s)};
    DF_UNROLL for (int i = 0; i < offsets; ++i)
        DF_UNROLL for (int k = 0; k < product_pixels; ++k) sums[i][k] = held_octet<T>(Octet<T>{});
    _Pragma("GCC unroll 1") for (int64_t c = 0; c < size; c += Window::octet) {
        Octet<T> p_h[product_pixels], p_s[product_pixels];
        DF_UNROLL for (int k = 0; k < product_pixels; ++k) {
            p_h[k] = held_octet<T>(load_octet(p.h + k * size + c));
            p_s[k] = held_octet<T>(load_octet(p.s + k * size + c));
        }
        if constexpr (sliding) {
            DF_UNROLL for (int place = 0; place < product_pixels + offsets - 1; ++place) {
                const Octet<T> q_h = held_octet<T>(load_octet(q.h + place * size + c));
                const Octet<T> q_s = held_octet<T>(load_octet(q.s + place * size + c));
                DF_UNROLL for (int i = 0; i < offsets; ++i) {
                    const int k = place - i;
                    if (k >= 0 && k < product_pixels) sums[i][k] += p_h[k] * q_s;
                }
                DF_UNROLL for (int i = 0; i < offsets; ++i) {
                    const int k = place - i;
                    if (k >= 0 && k < product_pixels) sums[i][k] += p_s[k] * q_h;
                }
            }
        } else {
            DF_UNROLL for (int i = 0; i < offsets; ++i) {
                DF_UNROLL for (int k = 0; k < product_pixels; ++k) {
                    const int64_t place = i * q_apart + k * size + c;
                    sums[i][k] += p_h[k] * load_octet(q.s + place);
                    sums[i][k] += p_s[k] * load_octet(q.h + place);
                }
            }
        }
    }
}

// Row y of image b. `runs` is room for `most_runs` of them, `block` for `block_size` numbers.
template <class T>
class ProductRow {
public:
    static int64_t most_runs(const Window& w) { return w.planes; }
    static int64_t block_size(const Window& w) { return w.planes * columns; }

    ProductRow(const Window& w, const ProductsCall<T>& call, int64_t b, int64_t y, ProductRun<T>* runs, T* block)
        : w(w),
          call(call),
          size(round_up(call.channels, Window::octet)),
          below(w.rows_below(y)),
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
        switch (size / Window::octet) {
            case 1: return add_all_of(std::integral_constant<int64_t, 1 * Window::octet>());
            case 2: return add_all_of(std::integral_constant<int64_t, 2 * Window::octet>());
            case 3: return add_all_of(std::integral_constant<int64_t, 3 * Window::octet>());
            default: return add_all_of(size);
        }
    }

private:
    static constexpr int64_t columns = 16;  // whose sums are put together before they go to the planes

    void list(int64_t dy, int64_t dx, int64_t offsets) {
        while (offsets > 0) {
            const int64_t run = at_most(offsets, most_products);
            *end++ = {own.at((dy * w.pixels + dx) * w.rate * size), w.plane(dy, dx), run};
            dx += run, offsets -= run;
        }
    }

    template <class Size>
    void add_all_of(Size known) const {
        for (int64_t x = 0; x < w.stride; x += columns) {
            if (more_planes) prefetch_share(planes + w.step * w.planes * w.stride, w.planes * w.stride, x, columns, w.stride);
            if (more_rows) {
                const int64_t next = (w.half_y + 1) * w.step * w.pixels * size;
                prefetch_share(own.h + next, w.pixels * size, x, columns, w.stride);
                prefetch_share(own.s + next, w.pixels * size, x, columns, w.stride);
            }
            for (int64_t k = 0; k < columns; k += product_pixels) add_columns(x, k, known);
            keep(x);
        }
    }

    template <class Size>
    DF_INLINE void add_columns(int64_t x, int64_t k, Size known) const {
        for (const ProductRun<T>* run = runs; run < end; ++run) {
            if (x + k >= w.width) {
                clear(*run, k);
                continue;
            }
            switch (run->offsets) {
                case 1: add_run<1>(*run, x, k, known); break;
                case 2: add_run<2>(*run, x, k, known); break;
#if defined(__AVX512F__)
                case 3: add_run<3>(*run, x, k, known); break;
                case 4: add_run<4>(*run, x, k, known); break;
                default: add_run<5>(*run, x, k, known); break;
#endif
            }
        }
    }

    void clear(const ProductRun<T>& run, int64_t k) const {
        for (int64_t i = 0; i < run.offsets; ++i)
            store_quad(block + (run.plane + i) * columns + k, Quad<T>{});
    }

    template <int offsets, class Size>
    DF_INLINE void add_run(const ProductRun<T>& run, int64_t x, int64_t k, Size known) const {
        const int64_t shift = (x + k) * static_cast<int64_t>(known);
        Octet<T> sums[offsets][product_pixels];
        if (w.rate == 1)
            add_products<T, offsets, true>(own.at(shift), run.q.at(shift), known, 0, sums);
        else
            add_products<T, offsets, false>(own.at(shift), run.q.at(shift), known, w.rate * size, sums);
        T* const to = block + run.plane * columns + k;
        DF_UNROLL for (int i = 0; i < offsets; i += 2) {
            Octet<T> both[8] = {};
            DF_UNROLL for (int pixel = 0; pixel < product_pixels; ++pixel) {
                both[pixel] = sums[i][pixel];
                if (i + 1 < offsets) both[product_pixels + pixel] = sums[i + 1][pixel];
            }
            Quad<T> total[2];
            const Octet<T> all = totals<T>(both);
            std::memcpy(total, &all, sizeof(all));
            store_quad(to + i * columns, total[0]);
            if (i + 1 < offsets) store_quad(to + (i + 1) * columns, total[1]);
        }
    }

    // Adds what stands in the block to the planes. Pairs that leave the image below are zero.
    void keep(int64_t x) const {
        for (int64_t dy = 0; dy <= w.half_y; ++dy)
            for (int64_t dx = dy == 0 ? 1 : -w.half_x; dx <= w.half_x; ++dx) {
                const int64_t plane = w.plane(dy, dx), place = plane * w.stride + x;
                const T* const dots = dot == nullptr || dy > below ? nullptr : dot + (dy * w.stride + dx) * w.rate + x;
                for (int64_t k = 0; k < columns; k += lanes<T>) {
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
    const bool more_planes, more_rows;
    const TwoMaps<T> own;
    T* const planes;
    const T *const masks, *const dot;
    ProductRun<T>*const runs, *end;
    T* const block;
};

}  // namespace
}  // namespace DF_TARGET
}  // namespace densefield
