// A line of the grid is filtered by out[i] = w0 in[i] + sum_k w_k (in[i-k] + in[i+k]). As many neighbouring lines as a
// vector has lanes go side by side in a panel, with zeros before and after.
#include "gaussian.h"

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "dispatch.h"
#include "guard.h"
#include "memory.h"
#include "parallel.h"
#include "simd.h"

namespace densefield {

struct Axis {
    int64_t outer, size, inner;  // the array seen as (outer, size, inner), filtered along the middle
    double theta;
    int64_t order;
    int64_t radius;
};

DF_DECLARE(void gaussian_axis(const float* input, float* output, const Axis& axis, int n_threads);
           void gaussian_axis(const double* input, double* output, const Axis& axis, int n_threads);)

namespace DF_TARGET {
namespace {

double weight(double r, double theta, int64_t order) {
    const double u = r * r / (theta * theta);
    const double factor = order == 0 ? 1.0 : order == 1 ? u / theta : (u * u - 3.0 * u) / (theta * theta);
    const double value = factor * std::exp(-0.5 * u);
    return std::isfinite(value) ? value : 0.0;  // u overflows where theta is tiny
}

template <class T>
void filter(const T* input, T* output, const Axis& axis, int n_threads) {
    constexpr int width = lanes<T>;
    const int64_t radius = axis.radius, size = axis.size, inner = axis.inner;
    Buffer<T> weights(radius + 1);
    for (int64_t k = 0; k <= radius; ++k)
        weights[k] = static_cast<T>(weight(static_cast<double>(k), axis.theta, axis.order));

    const int64_t lines = axis.outer * inner, chunks = (lines + width - 1) / width;
    const auto place = [=](int64_t line) { return (line / inner) * size * inner + line % inner; };
    const auto body = [&](int64_t chunk, int) {
        Buffer<T> panel((size + 2 * radius) * width);
        std::memset(panel.data(), 0, sizeof(T) * static_cast<size_t>((size + 2 * radius) * width));
        const int64_t first = chunk * width;
        const int64_t count = lines - first < width ? lines - first : width;
        T* const middle = panel.data() + radius * width;
        for (int64_t lane = 0; lane < count; ++lane)
            for (int64_t i = 0; i < size; ++i) middle[i * width + lane] = input[place(first + lane) + i * inner];
        for (int64_t i = 0; i < size; ++i) {
            Vector<T> sum = {};
            for (int64_t k = radius; k > 0; --k)  // small terms first
                sum += weights[k] * (load(middle + (i - k) * width) + load(middle + (i + k) * width));
            sum += weights[0] * load(middle + i * width);
            T out[width];
            store(out, sum);
            for (int64_t lane = 0; lane < count; ++lane) output[place(first + lane) + i * inner] = out[lane];
        }
    };
    parallel_for(chunks, n_threads, body);
}

}  // namespace

void gaussian_axis(const float* input, float* output, const Axis& axis, int n_threads) {
    filter(input, output, axis, n_threads);
}

void gaussian_axis(const double* input, double* output, const Axis& axis, int n_threads) {
    filter(input, output, axis, n_threads);
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

template <class T>
int gaussian_filter(const T* input, T* output, int64_t planes, int32_t dimensions, const int64_t* sizes,
                    const double* theta, const int64_t* orders, int32_t n_threads, double tolerance) {
    return guarded([&] {
        if (planes < 0 || dimensions < 1 || n_threads < 1) throw BadArgument();
        int64_t points = 1;
        for (int32_t a = 0; a < dimensions; ++a) {
            if (sizes[a] < 0 || !(theta[a] > 0.0) || orders[a] < 0 || orders[a] > 2) throw BadArgument();
            points *= sizes[a];
        }
        if (planes * points == 0) return;
        int64_t inner = 1;
        for (int32_t a = dimensions - 1; a >= 0; --a) {
            const Axis axis{planes * points / (sizes[a] * inner), sizes[a], inner, theta[a], orders[a],
                            radius_of(theta[a], orders[a], tolerance, sizes[a])};
            DF_DISPATCH(gaussian_axis(a == dimensions - 1 ? input : output, output, axis, n_threads));
            inner *= sizes[a];
        }
    });
}

}  // namespace
}  // namespace densefield

extern "C" int df_gaussian_filter_f32(const float* input, float* output, int64_t planes, int32_t dimensions,
                                      const int64_t* sizes, const double* theta, const int64_t* orders,
                                      int32_t n_threads) {
    return densefield::gaussian_filter(input, output, planes, dimensions, sizes, theta, orders, n_threads,
                                       FLT_EPSILON / 2);
}

extern "C" int df_gaussian_filter_f64(const double* input, double* output, int64_t planes, int32_t dimensions,
                                      const int64_t* sizes, const double* theta, const int64_t* orders,
                                      int32_t n_threads) {
    return densefield::gaussian_filter(input, output, planes, dimensions, sizes, theta, orders, n_threads,
                                       DBL_EPSILON / 2);
}
#endif
