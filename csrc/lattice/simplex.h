// The simplex of the permutohedral lattice around each point, several points at a time.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/parallel.h"
#include "base/vectors.h"
#include "lattice/lattice.h"

namespace densefield::DF_TARGET {
namespace {

constexpr int64_t chunk_points = 4096;  // a multiple of every vector's lanes

template <class T>
struct Embedding {
    T scale[max_features];  // of each feature, on the way to the plane sum(c) = 0
    T nearness;             // 1 / (d + 1)
    const bool plain;       // no widths
    T width[max_features];
    const T stretch;

    Embedding(int d, const double* widths, double stretch)
        : nearness(static_cast<T>(1.0 / (d + 1))), plain(widths == nullptr), stretch(static_cast<T>(stretch)) {
        for (int i = 0; i < d; ++i) {
            scale[i] = static_cast<T>((d + 1) * std::sqrt(2.0 / 3.0) / std::sqrt((i + 1.0) * (i + 2.0)));
            width[i] = plain ? static_cast<T>(1) : static_cast<T>(widths[i]);
        }
    }

    // Feature i in kernel widths.
    template <class Value>
    DF_INLINE Value scaled(Value feature, int i) const {
        return plain ? feature : feature / width[i] * stretch;
    }
};

template <class T>
using Mask = decltype(Vector<T>{} < Vector<T>{});  // whole numbers of the width of T

template <class T>
DF_INLINE Vector<T> load_or_repeat(const T* from, int64_t count) {  // repeats the last where there are fewer than lanes
    if (count >= lanes<T>) return load(from);
    T values[lanes<T>];
    for (int i = 0; i < lanes<T>; ++i) values[i] = from[i < count ? i : count - 1];
    return load(values);
}

template <class T>
DF_INLINE Vector<T> nearest(Vector<T> x) {
    const T magic = sizeof(T) == 4 ? static_cast<T>(12582912.0) : static_cast<T>(6755399441055744.0);
    return (x + magic) - magic;
}

// The simplex around as many points as there are lanes: `base`, the code digits of its first vertex; the axis by which
// vertex r goes on to vertex r + 1, as mask moved[a] of rank d - r; barycentric weights. Adams et al., section 3.
template <class T, int D>
struct Simplex {
    Vector<T> q[D + 1], gap[D + 1];
    Mask<T> rank[D + 1];

    DF_INLINE void find(const Vector<T>* feature, const Embedding<T>& embedding, int d) {
        Vector<T> sum = {}, whole = {};
        for (int j = d; j > 0; --j) {
            const Vector<T> scaled = feature[j - 1] * embedding.scale[j - 1];
            gap[j] = sum - static_cast<T>(j) * scaled;
            sum += scaled;
        }
        gap[0] = sum;
        for (int j = 0; j <= d; ++j) {
            const Vector<T> near = gap[j] * embedding.nearness;
            q[j] = nearest<T>(near);
            gap[j] = near - q[j];
            whole += q[j];
            rank[j] = Mask<T>{};
        }
        for (int i = 0; i < d; ++i)
            for (int j = i + 1; j <= d; ++j) {
                const Mask<T> less = gap[i] < gap[j];  // -1 where true
                rank[i] -= less;
                rank[j] += 1 + less;
            }
        for (int j = 0; j <= d; ++j) {  // the nearest points of remainder 0 may lie off the plane: walk back to it
            const Mask<T> over = __builtin_convertvector(whole, Mask<T>);
            rank[j] += over;
            const Mask<T> low = rank[j] < 0, high = rank[j] > d;
            rank[j] += (low & (d + 1)) - (high & (d + 1));
            const Vector<T> shift = __builtin_convertvector(high - low, Vector<T>);
            q[j] += shift;
            gap[j] -= shift;
        }
    }
};

template <class T>
DF_INLINE Vector<T> choose(Mask<T> mask, Vector<T> value) {
    Mask<T> bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bits &= mask;
    std::memcpy(&value, &bits, sizeof(bits));
    return value;
}

// The simplex around the points from `point` on, and their weights. `from`: features of an item.
template <class T, int D>
DF_INLINE void find_simplex(const T* from, const LatticeCode& code, int64_t point, int64_t count,
                            const Embedding<T>& embedding, Simplex<T, D>& simplex, Vector<T>* weights) {
    const int d = D == max_features ? code.d : D;
    Vector<T> feature[D], sorted[D + 1] = {};
    for (int i = 0; i < d; ++i) feature[i] = embedding.scaled(load_or_repeat(from + i * code.points + point, count), i);
    simplex.find(feature, embedding, d);
    for (int s = 0; s <= d; ++s) {
        sorted[s] = Vector<T>{};
        for (int a = 0; a <= d; ++a) sorted[s] += choose<T>(simplex.rank[a] == s, simplex.gap[a]);
    }
    weights[0] = sorted[d] + static_cast<T>(1) - sorted[0];
    for (int r = 1; r <= d; ++r) weights[r] = sorted[d - r] - sorted[d + 1 - r];
}

template <class T>
DF_NOINLINE void find_any_simplex(const T* from, const LatticeCode& code, int64_t point, int64_t count,
                                  const Embedding<T>& embedding, Simplex<T, max_features>& simplex, Vector<T>* weights) {
    find_simplex<T, max_features>(from, code, point, count, embedding, simplex, weights);
}

template <class T, int D, class Take>  // void take(int64_t point, int64_t count, const Simplex<T, D>&, Vector<T>* weights)
DF_INLINE void each_simplex(const T* features, const LatticeCode& code, int64_t item, int64_t begin, int64_t end,
                            const Embedding<T>& embedding, const Take& take) {
    const T* const from = features + item * code.d * code.points;
    for (int64_t point = begin; point < end; point += lanes<T>) {
        const int64_t count = end - point < lanes<T> ? end - point : lanes<T>;
        Simplex<T, D> simplex;
        Vector<T> weights[D + 1];
        if constexpr (D == max_features)
            find_any_simplex<T>(from, code, point, count, embedding, simplex, weights);
        else
            find_simplex<T, D>(from, code, point, count, embedding, simplex, weights);
        take(point, count, simplex, weights);
    }
}

template <class Body>  // void body(int64_t item, int64_t begin, int64_t end, int64_t chunk)
void over_points(const LatticeCode& code, int n_threads, const Body& body) {
    const int64_t each = (code.points + chunk_points - 1) / chunk_points;
    const auto task = [&](int64_t chunk, int) {
        const int64_t begin = chunk % each * chunk_points;
        const int64_t end = begin + chunk_points < code.points ? begin + chunk_points : code.points;
        body(chunk / each, begin, end, chunk);
    };
    parallel_for(each * code.batch, n_threads, task);
}

}  // namespace
}  // namespace densefield::DF_TARGET
