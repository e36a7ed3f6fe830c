// The iterations of the filter as one wave, and as another the way back through them.
#pragma once

#include "base/packing.h"
#include "window/pair_products.h"
#include "window/wave.h"
#include "window/window_filter.h"

namespace densefield {

template <class T>
struct ChainCall {
    FilterCall<T> filter;
    const T* floor;
    T floor_value;
    bool normalize;
    T *factor, *const *maps, *output;
    int64_t iterations;
};

template <class T>
struct ChainGradientCall {
    FilterCall<T> filter;
    T *const *maps, *h, *spare, *dot, *sums, *of_centre, *output;
    int64_t iterations;
};

namespace DF_TARGET {
namespace {

// dots += sum over channels of a * b, for each pixel of a row.
template <class T>
void add_dots(const T* a, const T* b, int64_t pixels, int64_t size, T* dots) {
    for (int64_t x = 0; x < pixels; ++x) {
        Octet<T> sum = {};
        for (int64_t i = x * size; i < (x + 1) * size; i += Window::octet)
            sum += load<Octet<T>>(a + i) * load<Octet<T>>(b + i);
        for (int64_t i = 0; i < Window::octet; ++i) dots[x] += sum[i];
    }
}

// Of a wave: more iterations take several. Back, each step has sums and a map of its own to keep in the caches.
constexpr int64_t most_steps = 8, most_steps_back = 2;

// Room for each thread to work on a row.
template <class T>
struct RowRoom {
    const int64_t size, line;
    Buffer<Run<T>> runs;
    Buffer<T> lines;

    RowRoom(const Window& w, int64_t channels, bool with_line, int n_threads)
        : size(round_up(channels, Window::octet)),
          line(with_line ? w.pixels * size + lanes<T> : 0),
          runs(n_threads * FilterRow<T>::most_runs(w)),
          lines(n_threads * line + 1) {}
    Run<T>* runs_of(const Window& w, int slot) const { return &runs[slot * FilterRow<T>::most_runs(w)]; }
    T* line_of_slot(int slot) const { return &lines[slot * line]; }
};

// Writes a row of a map to `output` (batch, channels, height, width).
template <class T>
void unpack_row(const Window& w, const T* row, int64_t channels, int64_t b, int64_t y, T* output) {
    unpack(row, round_up(channels, Window::octet), channels, w.height * w.width, w.width,
           output + (b * channels * w.height + y) * w.width);
}

template <class T>
void filter_chain(const Window& w, const ChainCall<T>& call, int n_threads) {
    const int64_t channels = call.filter.channels;
    for (int64_t i = 1; i < call.iterations; ++i) clear_beside(w, call.maps[i], channels);
    const RowRoom<T> room(w, channels, true, n_threads);
    for (int64_t first = 0; first < call.iterations; first += most_steps) {
        const auto task = [&](int64_t wave_step, const Band& band, int slot) {
            const int64_t i = first + wave_step;
            const bool last = i + 1 == call.iterations;
            const FilterStep<T> step{call.maps[i], call.factor != nullptr, nullptr, nullptr};
            for (int64_t row = band.row; row < band.row + band.rows; ++row) {
                const int64_t y = band.first_y + row * w.step;
                T* const to = last ? room.line_of_slot(slot) : w.map_row(call.maps[i + 1], channels, band.b, y);
                const FilterRow<T> filter_row(w, call.filter, step, band.b, y, room.runs_of(w, slot));
                if (i == 0 && call.normalize) filter_row.normalize(call.floor, call.floor_value, call.factor);
                filter_row.filter(to);
                if (last) unpack_row(w, to, channels, band.b, y, call.output);
            }
        };
        run_wave(w, at_most(most_steps, call.iterations - first), n_threads, task);
    }
}

template <class T>
void filter_chain_gradient(const Window& w, const ChainGradientCall<T>& call, int n_threads) {
    const int64_t channels = call.filter.channels;
    if (call.iterations > 1) clear_beside(w, call.spare, channels);
    if (call.sums != nullptr) clear_ends(w, call.sums, w.planes);
    const RowRoom<T> room(w, channels, call.output != nullptr, n_threads);
    const bool products = call.sums != nullptr;
    Buffer<ProductRun<T>> product_runs(products ? n_threads * ProductRow<T>::most_runs(w) + 1 : 1);
    Buffer<T> blocks(products ? n_threads * ProductRow<T>::block_size(w) + 1 : 1);
    for (int64_t first = 0; first < call.iterations; first += most_steps_back) {
        const auto task = [&](int64_t wave_step, const Band& band, int slot) {
            const int64_t back = first + wave_step, i = call.iterations - 1 - back;
            const T *const h = back % 2 == 0 ? call.h : call.spare, *const s = call.maps[i];
            T* const next = back % 2 == 0 ? call.spare : call.h;
            const ProductsCall<T> product{h, s, i == 0 ? call.filter.masks : nullptr, i == 0 ? call.dot : nullptr,
                                          call.sums, channels, back > 0};
            const FilterStep<T> step{h, i > 0 && call.filter.factor != nullptr, i > 0 && call.dot != nullptr ? s : nullptr,
                                     call.dot};
            for (int64_t row = band.row; row < band.row + band.rows; ++row) {
                const int64_t y = band.first_y + row * w.step;
                if (products)
                    ProductRow<T>(w, product, band.b, y, &product_runs[slot * ProductRow<T>::most_runs(w)],
                                  &blocks[slot * ProductRow<T>::block_size(w)])
                        .add_all();
                if (call.of_centre != nullptr)
                    add_dots(w.map_row(h, channels, band.b, y), w.map_row(s, channels, band.b, y), w.width, room.size,
                             call.of_centre + (band.b * w.height + y) * w.width);
                if (i == 0 && call.output == nullptr) continue;
                T* const to = i == 0 ? room.line_of_slot(slot) : w.map_row(next, channels, band.b, y);
                FilterRow<T>(w, call.filter, step, band.b, y, room.runs_of(w, slot)).filter(to);
                if (i == 0) unpack_row(w, to, channels, band.b, y, call.output);
            }
        };
        run_wave(w, at_most(most_steps_back, call.iterations - first), n_threads, task);
    }
}

}  // namespace
}  // namespace DF_TARGET
}  // namespace densefield
