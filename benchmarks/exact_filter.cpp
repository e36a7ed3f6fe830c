// A Gaussian filter summed over all pairs of points, for the exact mean field of a whole photograph. Kernel values are
// computed in float and used for all channels at once; sums over 1,000 points are carried on in double.
// Build: c++ -O3 -march=native -std=c++17 -shared -fPIC -pthread exact_filter.cpp
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr int lanes = 16, most_features = 8;
constexpr int64_t run = 1000;
typedef float Floats __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(lanes * sizeof(int32_t))));

// exp(-x) for x >= 0 as 2^(whole + part): relative error below 2e-7, 0 beyond x = 87.
inline Floats exp_of_minus(Floats x) {
    const Floats power = x * -1.442695041f;
    const Floats shifted = power + 12582912.0f;  // the nearest whole number in the low bits
    Integers whole;
    std::memcpy(&whole, &shifted, sizeof(whole));
    whole -= 0x4B400000;
    const Floats part = (power - (shifted - 12582912.0f)) * 0.6931471806f;
    Floats value = Floats{} + 1.0f / 5040;
    for (const float next : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) value = value * part + next;
    Integers bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bits += whole << 23;
    bits &= whole > -126;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

// Sixteen points against all; features (points, d), values (points, C), output (points, stride).
template <int C>
void filter_block(const float* features, int d, int64_t points, const float* values, int64_t first, double* output,
                  int64_t stride, int64_t count) {
    Floats mine[most_features];
    for (int k = 0; k < d; ++k)
        for (int i = 0; i < lanes; ++i) mine[k][i] = features[(first + (i < count ? i : 0)) * d + k];
    double total[C][lanes] = {};
    for (int64_t begin = 0; begin < points; begin += run) {
        const int64_t end = begin + run < points ? begin + run : points;
        Floats sums[C] = {};
        for (int64_t j = begin; j < end; ++j) {
            Floats distance = {};
            for (int k = 0; k < d; ++k) {
                const Floats difference = mine[k] - features[j * d + k];
                distance += difference * difference;
            }
            const Floats kernel = exp_of_minus(distance * 0.5f);
#pragma GCC unroll 24
            for (int c = 0; c < C; ++c) sums[c] += kernel * values[j * C + c];
        }
        for (int c = 0; c < C; ++c)
            for (int i = 0; i < lanes; ++i) total[c][i] += static_cast<double>(sums[c][i]);
    }
    for (int64_t i = 0; i < count; ++i)
        for (int c = 0; c < C && c < stride; ++c) output[(first + i) * stride + c] = total[c][i];
}

template <int C>
void filter(const float* features, int d, int64_t points, const double* values, int64_t channels, double* output,
            int threads) {
    std::vector<float> padded(static_cast<size_t>(points) * C);
    for (int64_t j = 0; j < points; ++j)
        for (int64_t c = 0; c < channels; ++c) padded[j * C + c] = static_cast<float>(values[j * channels + c]);
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t)
        pool.emplace_back([&, t] {
            for (int64_t first = t * lanes; first < points; first += threads * lanes)
                filter_block<C>(features, d, points, padded.data(), first, output, channels,
                                points - first < lanes ? points - first : lanes);
        });
    for (std::thread& thread : pool) thread.join();
}

}  // namespace

// output[i, c] = sum over j of exp(-|f_i - f_j|^2 / 2) values[j, c], up to 24 channels and 8 features.
extern "C" void exact_filter(const float* features, int32_t d, int64_t points, const double* values, int64_t channels,
                             double* output, int32_t threads) {
    if (channels == 1) return filter<1>(features, d, points, values, channels, output, threads);
    if (channels <= 21) return filter<21>(features, d, points, values, channels, output, threads);
    filter<24>(features, d, points, values, channels, output, threads);
}
