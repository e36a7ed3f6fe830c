// The gradient of embeddings from weights of pair distances, each pair visited once. Used by the filter and by the pair
// loss.
#pragma once

#include "base/parallel.h"
#include "window/ordered_weights.h"

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

// Rows of a band: few enough for its patch to stay in the cache, many against the rows above, which are visited again.
// Bands are alike, and even in number, so that two threads end together.
inline int64_t slope_rows(const Window& w) {
    constexpr int64_t most = 32;
    const int64_t rows = w.rows_in_class(), bands = (rows + most - 1) / most, even = bands > 1 ? bands + bands % 2 : 1;
    return (rows + even - 1) / even;
}

template <class T, class Stored>
struct GradientCall {
    const T* embeddings;
    const Stored* weights;
    T* result;
    int64_t channels;
    T scale;
    const T* means;  // of channels, where the gradient of the scale is wanted: otherwise null
};

// The gradient of a band, one vector of columns after the other. Sums at p are complete with their vector. Sums at q lie
// in lines that move along with it and begin `lanes + reach` columns before it: what no later vector reaches, and what is
// not yet written because it does not fill a line of memory.
template <class T, class Call>
class BandGradient {
public:
    BandGradient(const Window& w, const Call& call, Slopes<T>* slopes, const Band& band, int64_t channels)
        : w(w),
          call(call),
          slopes(slopes),
          band(band),
          line(round_up(2 * (lanes<T> + w.reach), lanes<T>)),
          rows(band.rows + w.half_y),
          streams(w.batch * call.channels * w.height * w.width * static_cast<int64_t>(sizeof(T)) > most_cached),
          p_sums(slope_channels * rows * lanes<T>),
          q_sums((channels + slope_channels - 1) * rows * line) {
        for (int64_t i = 0; i < slope_channels * rows * lanes<T>; i += lanes<T>) store(&p_sums[i], Vector<T>{});
    }
    ~BandGradient() { fence_streams(); }

    // Starts at the left border, with the channels that the patch will hold from `first` on.
    void start(int64_t first, int64_t channels) {
        first_channel = first;
        const int64_t size = (channels + slope_channels - 1) * rows * line;
        for (int64_t i = 0; i < size; i += lanes<T>) store(&q_sums[i], Vector<T>{});
    }

    // Visits the pairs of one vector of columns, from x of the patch on, in channel c of the patch and the next.
    void visit(const Patch<T>& patch, const T* weights, int64_t c, int64_t x) {
        const int64_t between = patch.rows * patch.apart, q_begin = lanes<T> + w.reach;
        const T* const own = patch.begin + c * between + w.half_y * patch.apart + w.reach + x;
        each_run(w, [&](int64_t dy, int64_t count, int64_t dx) {
            const int64_t before = dy + count - 1, steps = band.rows + before, shift = dx * w.rate;
            const SlopeRows<T> at{own - before * patch.apart,
                                  own + shift,
                                  &p_sums[(w.half_y - before) * lanes<T>],
                                  &q_sums[c * rows * line + q_begin + shift],
                                  patch.apart,
                                  c + 1 < patch.channels ? between : 0,  // the last channel is done twice
                                  rows * lanes<T>,
                                  line,
                                  rows * line};
            slopes(at, weights, steps, count);
            weights += steps * count * lanes<T>;
        });
        for (int64_t i = 0; i < slope_channels; ++i) {
            T* from = &p_sums[(i * rows + w.half_y) * lanes<T>];
            T* to = &q_sums[(c + i) * rows * line + q_begin];
            for (int64_t row = 0; row < band.rows; ++row, from += lanes<T>, to += line) {
                store(to, load(to) + load(from));
                store(from, Vector<T>{});
            }
        }
    }

    // Writes a vector of each row of channel c, where x (of the image) has been visited, and moves the lines on. `own`:
    // the patch's row at column x - reach. Gives the sum of products with the embeddings.
    double write(int64_t c, int64_t x, const T* own, int64_t own_apart) {
        const int64_t channel = band.b * call.channels + first_channel + c, lines = line, band_rows = band.rows;
        const Vector<T> factor = in_register(broadcast(call.scale));
        const bool by_scale = call.means != nullptr;
        const Vector<T> mean = broadcast(by_scale ? call.means[channel] : T(0));
        Vector<T> dots = {};
        T* sums = &q_sums[c * rows * line];
        T* out = call.result + (channel * w.height + band.first_y + band.row * w.step) * w.width + x - w.reach;
        for (int64_t row = 0; row < band_rows; ++row, sums += lines, out += w.step * w.width, own += own_apart) {
            if (by_scale) dots += load(sums + lanes<T>) * (load(own) - mean);
            const int64_t past = reinterpret_cast<intptr_t>(out) / static_cast<int64_t>(sizeof(T)) % lanes<T>;
            write_line(out - past, load(sums + lanes<T> - past) * factor, x - w.reach - past);
            for (int64_t i = lanes<T>; i < lines; i += lanes<T>)
                store(sums + i - lanes<T>, in_register(load(sums + i)));
            store(sums + lines - lanes<T>, Vector<T>{});
        }
        if (!by_scale) return 0;
        T lane[lanes<T>];
        store(lane, dots);
        double sum = 0;
        for (int64_t i = at_least(0, w.reach - x); i < at_most(lanes<T>, w.width - x + w.reach); ++i)
            sum += static_cast<double>(lane[i]);
        return sum;
    }

    bool is_written(int64_t x) const { return x - w.reach - (lanes<T> - 1) >= w.width; }

private:
    static constexpr int64_t most_cached = 4 << 20;

    DF_INLINE void write_line(T* out, const Vector<T>& sum, int64_t column) {
        if (column >= 0 && column + lanes<T> <= w.width) {
            if (streams)
                stream(out, sum);
            else
                store(out, sum);
            return;
        }
        T lane[lanes<T>];
        store(lane, sum);
        for (int64_t i = at_least(0, -column); i < at_most(lanes<T>, w.width - column); ++i) out[i] = lane[i];
    }

    const Window& w;
    const Call& call;
    Slopes<T>* const slopes;
    const Band& band;
    const int64_t line, rows;
    const bool streams;
    Buffer<T> p_sums, q_sums;
    int64_t first_channel = 0;
};

template <class T, class Stored>
void pair_gradient(const Window& w, const PairKernels<T>& kernels, GradientCall<T, Stored> call, double* scale_gradient,
                   int n_threads) {
    constexpr int64_t channel_group = 32;
    const int64_t band_rows = slope_rows(w), chunks = Band::count(w, band_rows), pixels = w.height * w.width;
    const int64_t group = at_most(call.channels, channel_group);
    Buffer<double> of_scale(chunks);
    Buffer<T> means(w.batch * call.channels);
    if (scale_gradient != nullptr) {
        std::memset(means.data(), 0, sizeof(T) * static_cast<size_t>(w.batch * call.channels));
        if (kernels.of_differences) channel_means(w, call.embeddings, call.channels, means.data(), n_threads);
        call.means = means.data();
    }
    const auto body = [&](int64_t chunk, int) {
        const Band band(w, chunk, band_rows);
        of_scale[chunk] = 0;
        if (band.rows == 0) return;
        Patch<T> patch(w, group, band.rows + 2 * w.half_y);
        OrderedWeights<T, Stored> ordered(w, band.rows);
        BandGradient<T, GradientCall<T, Stored>> gradient(w, call, kernels.slopes, band, group);
        for (int64_t first = 0; first < call.channels; first += group) {
            patch.channels = at_most(group, call.channels - first);
            gradient.start(first, patch.channels);
            const auto write = [&](int64_t c, int64_t x, int64_t x0) {
                const T* const own = patch.begin + (c * patch.rows + w.half_y) * patch.apart + x - x0;
                of_scale[chunk] += gradient.write(c, x, own, patch.apart);
            };
            int64_t x = 0, x0 = 0;
            for (; x < w.width; x += lanes<T>) {
                if (x % patch.columns == 0) {
                    x0 = x;
                    patch.fill(w, band, call.embeddings + (band.b * call.channels + first) * pixels, x0, w.half_y);
                }
                ordered.put_in_order(w, band, call.weights, x);
                for (int64_t c = 0; c < patch.channels; c += slope_channels) {
                    gradient.visit(patch, ordered.data(), c, x - x0);
                    for (int64_t i = c; i < at_most(c + slope_channels, patch.channels); ++i) write(i, x, x0);
                }
            }
            for (; !gradient.is_written(x); x += lanes<T>)
                for (int64_t c = 0; c < patch.channels; ++c) write(c, x, x0);
        }
    };
    parallel_for(chunks, n_threads, body);
    if (scale_gradient != nullptr) {
        // Distances are homogeneous in the embeddings, of degree `degree`: Euler's theorem gives their weighted sum.
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += of_scale[chunk];
        *scale_gradient = sum / kernels.degree;
    }
}

}  // namespace
}  // namespace densefield::DF_TARGET
