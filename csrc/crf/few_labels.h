// Lines of pixels of W = 2 or 4 labels as flat arrays of numbers: several pixels a vector.
#pragma once

#include "base/exponentials.h"
#include "base/rows.h"
#include "crf/field_limits.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int flat_width = 16;  // flat arrays are worked on in so many numbers, and have room for as many more
using Flat = Row<float, flat_width>;

// out[i] (+)= sum_k taps[k * stride] in[i + k W] for i < count.
template <int W>
void flat_sums(const float* in, const float* taps, int64_t stride, int64_t n_taps, float* out, int64_t count, bool add) {
    constexpr int at_once = 4;
    for (int64_t i = 0; i < count; i += at_once * flat_width) {
        Flat sums[at_once];
#pragma GCC unroll 4
        for (int k = 0; k < at_once; ++k) {
            sums[k].zero();
            if (add) sums[k].load(out + i + k * flat_width);
        }
        for (int64_t t = 0; t < n_taps; ++t)
#pragma GCC unroll 4
            for (int k = 0; k < at_once; ++k) sums[k].add_from(in + i + t * W + k * flat_width, taps[t * stride]);
#pragma GCC unroll 4
        for (int k = 0; k < at_once; ++k) sums[k].store(out + i + k * flat_width);
    }
}

// Every label's number in place of another's of its pixel: label c takes that of label c ^ By. The vector's type is a
// parameter so that shuffles of other widths are not looked at: outside of templates compilers check what they discard.
template <int By, class V = Vector<float>>
DF_INLINE V exchanged(const V& x) {
    static_assert(By >= 1 && By <= 3);
    if constexpr (sizeof(V) == 16) return DF_SHUFFLE(x, x, By, By ^ 1, By ^ 2, By ^ 3);
    if constexpr (sizeof(V) == 32)
        return DF_SHUFFLE(x, x, By, By ^ 1, By ^ 2, By ^ 3, 4 + By, 4 + (By ^ 1), 4 + (By ^ 2), 4 + (By ^ 3));
    if constexpr (sizeof(V) == 64)
        return DF_SHUFFLE(x, x, By, By ^ 1, By ^ 2, By ^ 3, 4 + By, 4 + (By ^ 1), 4 + (By ^ 2), 4 + (By ^ 3), 8 + By,
                          8 + (By ^ 1), 8 + (By ^ 2), 8 + (By ^ 3), 12 + By, 12 + (By ^ 1), 12 + (By ^ 2),
                          12 + (By ^ 3));
}

template <int W>
DF_INLINE Vector<float> greatest_label(Vector<float> x) {
    Vector<float> other = exchanged<1>(x);
    x = x > other ? x : other;
    if constexpr (W == 4) {
        other = exchanged<2>(x);
        x = x > other ? x : other;
    }
    return x;
}

template <int W>
DF_INLINE Vector<float> sum_of_labels(Vector<float> x) {
    x += exchanged<1>(x);
    if constexpr (W == 4) x += exchanged<2>(x);
    return x;
}

// Whether some pixel's labels span more than -least, or are not finite.
template <int W>
bool any_below_flat(const float* logits, int64_t labels, int64_t count, float least) {
    float padding[lanes<float>], rest[lanes<float>];
    for (int i = 0; i < lanes<float>; ++i) padding[i] = i % W < labels ? 0.0f : -no_label;
    Vector<float> low = {}, wrong = {};
    const Vector<float> none = load(padding);
    const auto add = [&](const Vector<float>& x) __attribute__((always_inline)) {
        const Vector<float> below = x - greatest_label<W>(x) + none;
        low = below < low ? below : low;
        wrong += x * 0.0f;
    };
    int64_t i = 0;
    for (; i + lanes<float> <= count * W; i += lanes<float>) add(load(logits + i));
    std::memset(rest, 0, sizeof(rest));
    std::memcpy(rest, logits + i, static_cast<size_t>(count * W - i) * sizeof(float));
    if (i < count * W) add(load(rest));
    bool found = false;
    for (int lane = 0; lane < lanes<float>; ++lane) found |= (padding[lane] == 0.0f && !(wrong[lane] == 0.0f)) || low[lane] < least;
    return found;
}

// Softmax of each pixel's labels, or its logarithm. There is room for a vector after the end.
template <int W>
void softmax_flat(float* logits, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes<float>) {
        const Vector<float> x = load(logits + i), e = exponential(x - greatest_label<W>(x));
        store(logits + i, e / sum_of_labels<W>(e));
    }
}

template <int W>
void log_softmax_flat(float* logits, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes<float>) {
        Vector<float> x = load(logits + i);
        x -= greatest_label<W>(x);
        store(logits + i, x - logarithm(sum_of_labels<W>(exponential(x))));
    }
}

// acc[x, c] += sum_a energies[a, c] message[x, a]; mix[k] holds energies[c ^ k, c], repeated.
template <int W>
void add_mixed(const float* message, const float (*mix)[flat_width], int kinds, float* acc, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes<float>) {
        const Vector<float> m = load(message + i);
        Vector<float> sum = load(acc + i) + m * load(mix[0]);
        if (kinds > 1) sum += exchanged<1>(m) * load(mix[1]);
        if constexpr (W == 4)
            if (kinds > 1) sum += exchanged<2>(m) * load(mix[2]) + exchanged<3>(m) * load(mix[3]);
        store(acc + i, sum);
    }
}

// Lines from labels that lie `apart` numbers from each other, and back.
template <int W>
void pack_flat(const float* from, int64_t labels, int64_t apart, int64_t count, float filler, float* to) {
    if (labels == W) {
        for (int64_t x = 0; x < count; ++x)
            for (int c = 0; c < W; ++c) to[x * W + c] = from[c * apart + x];
        return;
    }
    for (int64_t x = 0; x < count; ++x)
        for (int c = 0; c < W; ++c) to[x * W + c] = c < labels ? from[c * apart + x] : filler;
}

template <int W>
void unpack_flat(const float* from, int64_t labels, int64_t apart, int64_t count, float* to) {
    for (int64_t c = 0; c < labels; ++c)
        for (int64_t x = 0; x < count; ++x) to[c * apart + x] = from[x * W + c];
}

}  // namespace
}  // namespace densefield::DF_TARGET
