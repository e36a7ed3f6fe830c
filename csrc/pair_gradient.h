// The gradient of embeddings from weights of pair distances: gathered around each pixel, so that each number is written
// once. Used by the filter and by the pair loss.
#pragma once

#include "around.h"
#include "parallel.h"

namespace densefield::DF_TARGET {
namespace {

// Means of each channel of each image: differences do not change when they are taken off, but sums round less.
template <class T>
void channel_means(const Window& w, const T* embeddings, int64_t channels, T* means, int n_threads) {
    const int64_t pixels = w.height * w.width;
    const auto body = [&](int64_t plane, int) {
        double mean = 0;
        for (int64_t y = 0; y < w.height; ++y) {
            const T* const row = embeddings + plane * pixels + y * w.width;
            Vector<T> sum = {};
            int64_t x = 0;
            for (; x + lanes<T> <= w.width; x += lanes<T>) sum += load(row + x);
            for (; x < w.width; ++x) mean += static_cast<double>(row[x]);
            mean += static_cast<double>(total<T>(sum));
        }
        means[plane] = static_cast<T>(mean / static_cast<double>(pixels));
    };
    parallel_for(w.batch * channels, n_threads, body);
}

template <class T, class Op>
void pair_gradient_with(const Window& w, const T* embeddings, const T* weights, T* result, int64_t channels, T scale,
                        double* scale_gradient, int n_threads) {
    constexpr int64_t band_rows = 16;
    const bool by_scale = scale_gradient != nullptr;
    const int64_t chunks = Band::count(w, band_rows), pixels = w.height * w.width;
    Buffer<double> of_scale(chunks);
    Buffer<T> means(w.batch * channels);
    std::memset(means.data(), 0, sizeof(T) * static_cast<size_t>(w.batch * channels));
    if (by_scale && Op::of_differences) channel_means(w, embeddings, channels, means.data(), n_threads);

    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        of_scale[chunk] = 0;
        if (band.rows == 0) return;
        const int64_t rows = round_up(band.rows, block_rows), above = w.half_y;
        Tile<T> tile(w, channels, rows + 2 * above);
        Buffer<T> around(w.offsets() * block_rows * lanes<T>);
        PlaneRows<T> weight_rows(w);
        const T* const image = embeddings + band.b * channels * pixels;
        T* const result_image = result + band.b * channels * pixels;
        const auto work = [&](auto apart, int64_t x0) {
            const int64_t between = tile.rows * static_cast<int64_t>(apart);
            for (int64_t row = 0; row < rows; row += block_rows) {
                weight_rows.at(w, band, weights, band.row + row);
                for (int64_t x = 0; x < tile.columns && x0 + x < w.width; x += lanes<T>) {
                    const int64_t left = w.width - x0 - x, count = at_most(block_rows, band.rows - row);
                    weight_rows.lay_around(w, x0 + x, around.data());
                    Vector<T> dots = {};
                    for (int64_t c = 0; c < channels; c += 2) {
                        const bool pair = c + 1 < channels;  // otherwise the last channel is done twice
                        const int64_t first = pair ? c : c, second = pair ? between : 0;
                        Vector<T> p[block_rows][2], sum[block_rows][2];
                        const auto own = tile_rows(w, tile, apart, first, row + above, x);
                        DF_UNROLL for (int a = 0; a < block_rows; ++a) {
                            p[a][0] = load(own[a]);
                            p[a][1] = load(own[a] + second);
                            sum[a][0] = sum[a][1] = Vector<T>{};
                        }
                        for (int64_t dx = -w.half_x; dx <= w.half_x; ++dx)
                            in_runs(w.half_y, [&](auto offsets, int64_t dy) {
                                slope_offsets<T, Op, decltype(offsets)::value>(
                                    tile_rows(w, tile, apart, first, row + above + dy, x + dx * w.rate), second,
                                    around.data() + w.around(dy, dx) * block_rows * lanes<T>, p, sum);
                            });
                        for (int64_t a = 0; a < count; ++a) {
                            const int64_t y = band.first_y + (band.row + row + a) * w.step;
                            T* const to = result_image + c * pixels + y * w.width + x0 + x;
                            for (int64_t i = 0; i < (pair ? 2 : 1); ++i) {
                                if (by_scale) dots += sum[a][i] * (p[a][i] - means[band.b * channels + c + i]);
                                store_up_to(to + i * pixels, sum[a][i] * scale, left);
                            }
                        }
                    }
                    if (by_scale) {
                        T lane[lanes<T>];
                        store(lane, dots);
                        for (int64_t i = 0; i < at_most(left, lanes<T>); ++i)
                            of_scale[chunk] += static_cast<double>(lane[i]);
                    }
                }
            }
        };
        for (int64_t x0 = 0; x0 < w.width; x0 += tile.columns) {
            tile.fill(w, band, image, x0, above);
            if (Tile<T>::is_narrow(w)) {
                work(std::integral_constant<int64_t, Tile<T>::narrow>(), x0);
            } else {
                work(tile.apart, x0);
            }
        }
    };
    parallel_for(chunks, n_threads, body);
    if (by_scale) {
        // Distances are homogeneous in the embeddings, of degree `degree`: Euler's theorem gives their weighted sum.
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += of_scale[chunk];
        *scale_gradient = sum / Op::degree;
    }
}

template <class T>
void pair_gradient(const Window& w, const T* embeddings, const T* weights, T* result, int64_t channels, int distance,
                   T scale, double* scale_gradient, int n_threads) {
    with_distance(distance, [&](auto op) {
        pair_gradient_with<T, decltype(op)>(w, embeddings, weights, result, channels, scale, scale_gradient, n_threads);
    });
}

}  // namespace
}  // namespace densefield::DF_TARGET
