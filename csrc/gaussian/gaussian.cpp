// A line of the grid is filtered by out[i] = w0 in[i] + sum_k w_k (in[i-k] + in[i+k]). As many lines as a vector has
// lanes stand side by side in a panel in the first-level cache, with zeros before and after.
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "base/dispatch.h"
#include "base/guard.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/vectors.h"
#include "densefield.h"

namespace densefield {

struct Axis {
    int64_t outer, size, inner;  // one plane seen as (outer, size, inner), filtered along the middle
    double theta;
    int64_t order;
    int64_t radius;
};

constexpr int most_axes = 8;

struct Grid {
    int64_t planes, points;
    int axes;
    Axis axis[most_axes];  // the innermost first
};

DF_DECLARE(void gaussian_filter(const df_gaussian_filter_job& job, const Grid& grid);)

namespace DF_TARGET {
namespace {

// Lines filtered at once times 3 must fit the registers: 16 of them for AVX2 and SSE, 32 for AVX-512 and NEON.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kBlock = 8;
#else
constexpr int kBlock = 4;
#endif

double weight(double r, double theta, int64_t order) {
    const double u = (r / theta) * (r / theta);
    const double factor = order == 0 ? 1.0 : order == 1 ? u / theta : (u * u - 3.0 * u) / (theta * theta);
    const double value = factor * std::exp(-0.5 * u);
    return std::isfinite(value) ? value : 0.0;  // u overflows where theta is tiny
}

template <class T>
class AxisFilter {
public:
    AxisFilter(const Axis& axis, int n_threads)
        : axis_(axis),
          chunks_in_row_((axis.inner + width - 1) / width),
          weights_(axis.radius + 1),
          panel_size_((axis.size + 2 * axis.radius + tile) * width),
          panels_(n_threads * panel_size_) {
        for (int64_t k = 0; k <= axis.radius; ++k)
            weights_[k] = static_cast<T>(weight(static_cast<double>(k), axis.theta, axis.order));
        std::memset(panels_.data(), 0, sizeof(T) * static_cast<size_t>(n_threads * panel_size_));
    }

    int64_t chunks() const {  // of one plane
        return axis_.inner == 1 ? (axis_.outer + width - 1) / width : axis_.outer * chunks_in_row_;
    }

    // Filters one panel of lines; `input` and `output` are the plane's and may be the same.
    void run(const T* input, T* output, int64_t chunk, int slot) const {
        T* const panel = panels_.data() + slot * panel_size_ + axis_.radius * width;
        if (axis_.inner == 1) {
            run_along_rows(input, output, chunk * width, panel);
        } else {
            const int64_t column = chunk % chunks_in_row_ * width;
            const int64_t start = chunk / chunks_in_row_ * axis_.size * axis_.inner + column;
            run_across_rows(input + start, output + start, axis_.inner - column, panel);
        }
    }

private:
    static constexpr int width = lanes<T>;
    static constexpr int tile = width > kBlock ? width : kBlock;  // outputs computed at once; may go beyond the line
    static_assert(tile % width == 0 && tile % kBlock == 0, "a tile is made of whole squares and whole blocks");

    // out[i] for kBlock neighbouring i from `panel`. Going inwards from k to k - 1, the windows in[i-k] and in[i+k]
    // shift by one place, so that each step loads two vectors for kBlock sums; small terms are added first.
    DF_INLINE void block(const T* panel, Vector<T>* out) const {
        constexpr int n = kBlock;
        Vector<T> sum[n], below[n], above[n];
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) sum[i] = Vector<T>{};
        int64_t k = axis_.radius;
        for (; k % n != 0; --k) {
            const T w = weights_[k];
#pragma GCC unroll 8
            for (int i = 0; i < n; ++i) sum[i] += w * (load(panel + (i - k) * width) + load(panel + (i + k) * width));
        }
        if (k > 0) {
#pragma GCC unroll 8
            for (int i = 0; i < n; ++i) {
                below[i] = load(panel + (i - k) * width);
                above[i] = load(panel + (i + k) * width);
            }
            for (; k > 0; k -= n) {
#pragma GCC unroll 8
                for (int p = 0; p < n; ++p) {  // place i of a window stands in register (i + p) % n, or (i - p) % n
                    const T w = weights_[k - p];
#pragma GCC unroll 8
                    for (int i = 0; i < n; ++i) sum[i] += w * (below[(i + p) % n] + above[(i + n - p) % n]);
                    below[p] = load(panel + (n - k + p) * width);
                    above[n - 1 - p] = load(panel + (k - p - 1) * width);
                }
            }
        }
        const T w = weights_[0];
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) out[i] = sum[i] + w * load(panel + i * width);
    }

    void run_across_rows(const T* input, T* output, int64_t available, T* panel) const {
        const int64_t size = axis_.size, inner = axis_.inner;
        const bool whole = available >= width;
        const size_t bytes = sizeof(T) * static_cast<size_t>(whole ? width : available);
        for (int64_t i = 0; i < size; ++i) {
            if (whole) {
                store(panel + i * width, load(input + i * inner));
            } else {
                std::memcpy(panel + i * width, input + i * inner, bytes);  // the other lanes are never stored
            }
        }
        for (int64_t i = 0; i < size; i += kBlock) {
            Vector<T> out[kBlock];
            block(panel + i * width, out);
            for (int j = 0; j < kBlock && i + j < size; ++j) {
                if (whole) {
                    store(output + (i + j) * inner, out[j]);
                } else {
                    std::memcpy(output + (i + j) * inner, &out[j], bytes);
                }
            }
        }
    }

    void run_along_rows(const T* input, T* output, int64_t first, T* panel) const {
        const int64_t size = axis_.size, count = axis_.outer - first < width ? axis_.outer - first : width;
        input += first * size;
        output += first * size;
        if (size < width) {
            for (int64_t i = 0; i < size; ++i)
                for (int64_t lane = 0; lane < count; ++lane) panel[i * width + lane] = input[lane * size + i];
        } else {
            for (int64_t i = 0; i < size; i += width) {
                const int64_t at = i < size - width ? i : size - width;  // the last square overlaps its neighbour
                Vector<T> square[width];
                for (int lane = 0; lane < width; ++lane)
                    square[lane] = load(input + (lane < count ? lane : count - 1) * size + at);
                transpose<T>(square);
                for (int j = 0; j < width; ++j) store(panel + (at + j) * width, square[j]);
            }
        }
        for (int64_t i = 0; i < size; i += tile) {
            Vector<T> out[tile];
            for (int j = 0; j < tile; j += kBlock) block(panel + (i + j) * width, out + j);
            for (int j = 0; j < tile; j += width) {
                transpose<T>(out + j);
                const int64_t rest = size - i - j;
                for (int64_t lane = 0; lane < count && rest > 0; ++lane) {
                    T* const to = output + lane * size + i + j;
                    if (rest >= width) {
                        store(to, out[j + lane]);
                    } else {
                        std::memcpy(to, &out[j + lane], sizeof(T) * static_cast<size_t>(rest));
                    }
                }
            }
        }
    }

    Axis axis_;
    int64_t chunks_in_row_;
    Buffer<T> weights_;
    int64_t panel_size_;
    Buffer<T> panels_;
};

template <class T>
void filter_planes(const df_gaussian_filter_job& job, const Grid& grid) {
    const T* const input = static_cast<const T*>(job.input);
    T* const output = static_cast<T*>(job.output);
    const int n_threads = job.n_threads;
    // Whole planes to each thread while there are enough of them: what one axis wrote, the next finds in the cache.
    if (grid.planes >= 2 * n_threads && grid.axes == 2) {
        const AxisFilter<T> along(grid.axis[0], n_threads), across(grid.axis[1], n_threads);
        const auto body = [&](int64_t plane, int slot) {
            T* const out = output + plane * grid.points;
            for (int64_t chunk = 0; chunk < along.chunks(); ++chunk)
                along.run(input + plane * grid.points, out, chunk, slot);
            for (int64_t chunk = 0; chunk < across.chunks(); ++chunk) across.run(out, out, chunk, slot);
        };
        parallel_for(grid.planes, n_threads, body);
        return;
    }
    for (int a = 0; a < grid.axes; ++a) {
        const AxisFilter<T> axis(grid.axis[a], n_threads);
        const T* const from = a == 0 ? input : output;
        const auto body = [&](int64_t chunk, int slot) {
            const int64_t offset = chunk / axis.chunks() * grid.points;
            axis.run(from + offset, output + offset, chunk % axis.chunks(), slot);
        };
        parallel_for(grid.planes * axis.chunks(), n_threads, body);
    }
}

}  // namespace

void gaussian_filter(const df_gaussian_filter_job& job, const Grid& grid) {
    job.type == DF_F32 ? filter_planes<float>(job, grid) : filter_planes<double>(job, grid);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
namespace densefield {
namespace {

// Weights under `tolerance` of the largest are dropped: t^(2 order) exp(-t^2 / 2) < tolerance at t = r / theta.
int64_t radius_of(double theta, int64_t order, double tolerance, int64_t size) {
    double t2 = -2.0 * std::log(tolerance);
    for (int step = 0; step < 20; ++step) t2 = 2.0 * (-std::log(tolerance) + static_cast<double>(order) * std::log(t2));
    const double radius = std::floor(std::sqrt(t2) * theta);
    return radius < static_cast<double>(size - 1) ? static_cast<int64_t>(radius) : size - 1;
}

}  // namespace
}  // namespace densefield

extern "C" int df_gaussian_filter(const df_gaussian_filter_job* job) {
    using namespace densefield;
    return guarded([&] {
        check_type(job->type);
        if (job->planes < 0 || job->axes < 1 || job->axes > most_axes || job->n_threads < 1) throw BadArgument();
        Grid grid{job->planes, 1, job->axes, {}};
        for (int32_t a = 0; a < job->axes; ++a) {
            const bool known = job->orders[a] >= 0 && job->orders[a] <= 2;
            if (job->sizes[a] < 0 || !(job->theta[a] > 0.0) || !known) throw BadArgument();
            grid.points *= job->sizes[a];
        }
        if (job->planes * grid.points == 0) return;
        const double tolerance = (job->type == DF_F32 ? double{FLT_EPSILON} : DBL_EPSILON) / 2;
        int64_t inner = 1;
        for (int32_t a = job->axes - 1; a >= 0; --a) {
            const int64_t size = job->sizes[a], order = job->orders[a];
            const int64_t radius = radius_of(job->theta[a], order, tolerance, size);
            grid.axis[job->axes - 1 - a] = {grid.points / (size * inner), size, inner, job->theta[a], order, radius};
            inner *= size;
        }
        DF_DISPATCH(gaussian_filter(*job, grid));
    });
}
#endif
