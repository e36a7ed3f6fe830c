// The three distances between pixels: what a channel adds to one, and its derivatives.
#pragma once

#include "base/vector_math.h"

namespace densefield::DF_TARGET {
namespace {

// A distance is `factor` times what `add` sums up, homogeneous of a degree in the embeddings.
struct L1 {
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, Vector<T> p, Vector<T> q) {
        return sum + absolute<T>(p - q) * opaque_one<T>();  // a fused multiply-add runs beside the subtraction
    }
    static constexpr double factor = 1;
    template <class T, bool fused>  // weight times the derivatives by p and q
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        add_signed<T, fused>(by_p, by_q, p - q, weight);
    }
    static constexpr bool of_differences = true;
    static constexpr int degree = 1;
};

struct HalfSquaredL2 {
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, Vector<T> p, Vector<T> q) {
        const Vector<T> difference = p - q;
        return sum + difference * difference;
    }
    static constexpr double factor = 0.5;
    template <class T, bool>
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        const Vector<T> difference = p - q;
        by_p += difference * weight;
        by_q -= difference * weight;
    }
    static constexpr bool of_differences = true;
    static constexpr int degree = 2;
};

struct MinusDot {
    template <class T>
    static DF_INLINE Vector<T> add(Vector<T> sum, Vector<T> p, Vector<T> q) {
        return sum + p * q;
    }
    static constexpr double factor = -1;
    template <class T, bool>
    static DF_INLINE void add_slopes(Vector<T>& by_p, Vector<T>& by_q, Vector<T> p, Vector<T> q, Vector<T> weight) {
        by_p -= q * weight;
        by_q -= p * weight;
    }
    static constexpr bool of_differences = false;
    static constexpr int degree = 2;
};

}  // namespace
}  // namespace densefield::DF_TARGET
