// Distances of the pixel pairs of a window, a block of them at a time while they are in the cache.
#pragma once

#include "base/parallel.h"
#include "window/pair_kernels.h"
#include "base/vector_math.h"

namespace densefield::DF_TARGET {
namespace {

// Writes zero into the planes of image row y where a pair leaves the image, and beside the row.
template <class T>
void clear_outside(const Window& w, T* row, int64_t y) {
    for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx) {
        const int64_t from = at_least(0, -dx * w.rate), to = at_least(from, at_most(w.width, w.width - dx * w.rate));
        for (int64_t dy = w.first_dy(dx); dy <= w.half_y; ++dy) {
            T* const plane = row + w.plane(dy, dx) * w.stride;
            const bool below = y + dy * w.rate >= w.height;
            const int64_t left = below ? w.stride : from;
            for (int64_t x = 0; x < left; ++x) plane[x] = 0;
            for (int64_t x = below ? w.stride : to; x < w.stride; ++x) plane[x] = 0;
        }
    }
}

// The part of an image (channels, height, width) that a band sees between columns x0 and x1, copied together: patch
// (channels, rows, apart), with zeros outside the image.
template <class T>
struct Patch {
    static constexpr int64_t columns = 6 * lanes<T>;

    int64_t channels, rows, apart;
    Buffer<T> data;
    T* const begin;  // aligned where the image's columns begin, `reach` further on

    Patch(const Window& w, int64_t channels, int64_t rows)
        : channels(channels),
          rows(rows),
          apart(2 * w.reach <= lanes<T> ? narrow_apart<T> : round_up(columns + 2 * w.reach, lanes<T>)),
          data(channels * rows * apart + 3 * lanes<T>),
          begin(data.data() + (lanes<T> - w.reach % lanes<T>) % lanes<T>) {}

    // Throws BadArgument where the image holds NaN or Inf.
    void fill(const Window& w, const Band& band, const T* image, int64_t x0, int64_t above) {
        const int64_t x1 = at_most(x0 + columns, round_up(w.width, lanes<T>));
        const int64_t from = at_least(0, x0 - w.reach), to = at_most(w.width, x1 + w.reach);
        const int64_t before = from - (x0 - w.reach), count = to - from, end = x1 - x0 + 2 * w.reach;
        constexpr int64_t ahead = 2;  // channels: rows this short end before the processor has seen a pattern
        Vector<T> zero = {};          // stays zero as long as 0 x = 0
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t row = 0; row < rows; ++row) {
                // Zeros may run into the next line, which is written later.
                T* const line = begin + (c * rows + row) * apart;
                const int64_t r = band.row - above + row;
                if (!band.inside(r)) {
                    for (int64_t x = 0; x < end; x += lanes<T>) store(line + x, Vector<T>{});
                    continue;
                }
                for (int64_t x = 0; x < before; x += lanes<T>) store(line + x, Vector<T>{});
                const T* const first = image + (c * w.height + band.first_y + r * w.step) * w.width + from;
                if (c + ahead < channels)
                    prefetch_lines(first + ahead * w.height * w.width, line_of<T>, (count + line_of<T> - 1) / line_of<T>);
                copy_row(line + before, first, count, zero);
                for (int64_t x = before + count; x < end; x += lanes<T>) store(line + x, Vector<T>{});
            }
        if (!(total<T>(zero) == T(0))) throw BadArgument();
    }
};

constexpr int64_t distance_rows = 16;  // of a chunk of work

inline int64_t distance_chunks(const Window& w) { return Band::count(w, distance_rows); }

// All distances, by chunks: what epilogue_of(chunk) makes of them, a vector at a time, is stored into the planes if there
// are any.
template <class T, class Stored, class EpilogueOf>
void each_distance(const Window& w, const PairKernels<T>& kernels, const T* embeddings, int64_t channels, Stored* planes,
                   int n_threads, const EpilogueOf& epilogue_of) {
    constexpr int64_t band_rows = distance_rows, channel_block = 16;
    const bool kept = planes != nullptr;
    if (kept) clear_ends(w, planes, w.planes);
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        if (band.rows == 0) return;
        auto epilogue = epilogue_of(chunk);
        const int64_t rows = round_up(band.rows, block_rows);
        Patch<T> patch(w, channels, rows + w.half_y);
        Buffer<T> sums(w.planes * block_rows * lanes<T>);
        const T* const image = embeddings + band.b * channels * w.height * w.width;
        for (int64_t x0 = 0; x0 < w.width; x0 += patch.columns) {
            patch.fill(w, band, image, x0, 0);
            for (int64_t row = 0; row < rows; row += block_rows)
                for (int64_t x = 0; x < patch.columns && x0 + x < w.width; x += lanes<T>) {
                    const int64_t left = at_most(block_rows, band.rows - row), parts = (channels - 1) / channel_block + 1;
                    const auto result = [&](int64_t a) {
                        return w.plane_row(planes, band.b, band.first_y + (band.row + row + a) * w.step) + x0 + x;
                    };
                    for (int64_t c = 0; c < channels; c += channel_block) {
                        for (int64_t a = c / channel_block; kept && a < left; a += parts)
                            prefetch_to_write(result(a), w.stride, w.planes);
                        const T* const first = patch.begin + (c * patch.rows + row) * patch.apart + w.reach + x;
                        const int64_t count = at_most(channel_block, channels - c);
                        kernels.sum(w, {first, patch.apart, count, patch.rows * patch.apart}, sums.data(), c > 0);
                    }
                    for (int64_t a = 0; a < left; ++a) {
                        const int64_t y = band.first_y + (band.row + row + a) * w.step;
                        Stored* const to = kept ? result(a) : nullptr;
                        epilogue.row(w, band.b, y, x0 + x);
                        for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
                            for (int64_t dy = w.first_dy(dx); dy <= w.half_y; ++dy) {
                                const int64_t place = place_in_block(w, dy, dx) * block_rows + a;
                                const Vector<T> sum = load(sums.data() + place * lanes<T>);
                                const Vector<T> value = epilogue(sum * kernels.factor, dy, dx);
                                if (kept) store(to + w.plane(dy, dx) * w.stride, value);
                            }
                        epilogue.end_row();
                    }
                }
        }
        for (int64_t row = 0; kept && row < band.rows; ++row) {
            const int64_t y = band.first_y + (band.row + row) * w.step;
            clear_outside(w, w.plane_row(planes, band.b, y), y);
        }
    };
    parallel_for(Band::count(w, band_rows), n_threads, body);
}

}  // namespace
}  // namespace densefield::DF_TARGET
