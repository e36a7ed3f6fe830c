// The mixed-radix code of lattice points: which digits, how many values each, in which order.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/guard.h"
#include "base/memory.h"
#include "lattice/simplex.h"

namespace densefield::DF_TARGET {
namespace {

// Features of more kernel widths leave 24 bits too few behind the point to tell a lattice's cell from the next.
constexpr double most_widths = 2e4;

// Digits from the one that changes most between neighbouring points, as colours do, to the one that changes least, as an
// image's rows do: so ordered, neighbouring points have their vertices in neighbouring rows.
template <class T>
void order_digits(const T* features, const LatticeCode& code, const Embedding<T>& embedding, int* order) {
    double change[max_features + 1] = {};
    const int64_t pairs = code.points - 1 < 4096 ? code.points - 1 : 4096;
    for (int64_t i = 0; i < pairs; ++i) {
        const int64_t point = (code.points - 1) * i / pairs;
        double sum = 0.0;
        for (int k = 1; k <= code.d; ++k) {
            const T* const here = features + (k - 1) * code.points + point;
            const T step = embedding.scaled(here[1], k - 1) - embedding.scaled(here[0], k - 1);
            const double scaled = static_cast<double>(step) * static_cast<double>(embedding.scale[k - 1]);
            sum += scaled;
            const double m = sum + k * scaled;
            change[k] += m < 0 ? -m : m;
        }
    }
    for (int i = 0; i < code.d; ++i) {
        int at = i;
        for (; at > 0 && change[order[at - 1]] < change[i + 1]; --at) order[at] = order[at - 1];
        order[at] = i + 1;
    }
}

// Ranges of the digits, from the ranges of (e_0 - e_k) / (d + 1) over all points. False where T has too few digits for
// features so wide.
template <class T>
bool set_code(const T* features, LatticeCode& code, const Embedding<T>& embedding, int n_threads) {
    const int d = code.d;
    const int64_t chunks = (code.points + chunk_points - 1) / chunk_points * code.batch;
    Buffer<T> low(chunks * (d + 1)), high(chunks * (d + 1)), widest(chunks);
    Buffer<uint8_t> wrong(chunks);
    const T limit = sizeof(T) == 4 ? static_cast<T>(1 << 20) : static_cast<T>(int64_t{1} << 40);
    over_points(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t chunk) {
        Mask<T> good = Mask<T>{} - 1;
        Vector<T> least[max_features + 1], most[max_features + 1], far = {};
        for (int k = 1; k <= d; ++k) {
            least[k] = Vector<T>{} + std::numeric_limits<T>::max();
            most[k] = -least[k];
        }
        for (int64_t point = begin; point < end; point += lanes<T>) {
            Vector<T> sum = {};
            for (int k = 1; k <= d; ++k) {
                const T* const from = features + (item * d + k - 1) * code.points + point;
                const Vector<T> feature = embedding.scaled(load_or_repeat(from, end - point), k - 1);
                const Vector<T> positive = feature > -feature ? feature : -feature;
                far = positive > far ? positive : far;
                const Vector<T> scaled = feature * embedding.scale[k - 1];
                sum += scaled;
                const Vector<T> m = (sum + static_cast<T>(k) * scaled) * embedding.nearness;
                good &= (m < limit) & (m > -limit);
                least[k] = m < least[k] ? m : least[k];
                most[k] = m > most[k] ? m : most[k];
            }
        }
        wrong[chunk] = 0;
        widest[chunk] = far[0];
        for (int lane = 0; lane < lanes<T>; ++lane) {
            wrong[chunk] |= good[lane] == 0;
            widest[chunk] = far[lane] > widest[chunk] ? far[lane] : widest[chunk];
        }
        for (int k = 1; k <= d; ++k) {
            T a = least[k][0], b = most[k][0];
            for (int lane = 1; lane < lanes<T>; ++lane) {
                a = least[k][lane] < a ? least[k][lane] : a;
                b = most[k][lane] > b ? most[k][lane] : b;
            }
            low[chunk * (d + 1) + k] = a;
            high[chunk * (d + 1) + k] = b;
        }
    });
    for (int64_t chunk = 0; chunk < chunks && sizeof(T) == 4; ++chunk)
        if (widest[chunk] > static_cast<T>(most_widths)) return false;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        if (wrong[chunk]) throw BadArgument();
    double cells = static_cast<double>(code.batch);
    for (int k = 1; k <= d; ++k) {
        T a = low[k], b = high[k];
        for (int64_t chunk = 1; chunk < chunks; ++chunk) {
            a = low[chunk * (d + 1) + k] < a ? low[chunk * (d + 1) + k] : a;
            b = high[chunk * (d + 1) + k] > b ? high[chunk * (d + 1) + k] : b;
        }
        // Vertices of a simplex differ by at most 1 in each m_k; the margin covers rounding.
        const double margin = 0.02 + 4.0 * std::numeric_limits<T>::epsilon() * (std::fabs(a) + std::fabs(b));
        code.lower[k] = static_cast<int64_t>(std::floor(a - margin));
        code.radix[k] = static_cast<int64_t>(std::ceil(b + margin)) - code.lower[k] + 2;
        cells *= static_cast<double>(code.radix[k]);
    }
    if (cells > 1e36) throw BadArgument();
    int order[max_features];
    order_digits(features, code, embedding, order);
    unsigned __int128 place = 1, back = 0;
    for (int i = 0; i < d; ++i) {
        const int k = order[i];
        code.step[k] = place;
        back += place;
        place *= static_cast<unsigned __int128>(code.radix[k]);
    }
    code.step[0] = -back;
    code.of_batch = place;
    code.cells = place * static_cast<unsigned __int128>(code.batch);
    return true;
}

}  // namespace
}  // namespace densefield::DF_TARGET
