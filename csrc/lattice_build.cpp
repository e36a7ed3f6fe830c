// Lattice points of all pixels, numbered in the order of their codes.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "dispatch.h"
#include "guard.h"
#include "lattice.h"
#include "memory.h"
#include "parallel.h"
#include "permutohedral.h"
#include "simd.h"

namespace densefield {

DF_DECLARE(void lattice_points(const float* features, int32_t* vertices, float* weights, df_lattice& lattice,
                               int n_threads);
           void lattice_points(const double* features, int32_t* vertices, double* weights, df_lattice& lattice,
                               int n_threads);
           void lattice_links(const df_lattice& lattice, const int32_t* vertices, int32_t* neighbours, int32_t* starts,
                              int32_t* entries, int n_threads);)

namespace DF_TARGET {
namespace {

constexpr int64_t chunk_points = 4096;  // a multiple of every vector's lanes
constexpr int64_t chunk_words = 8192;

template <class T>
struct Embedding {
    T scale[max_features];  // of each feature, on the way to the plane sum(c) = 0
    T nearness;             // 1 / (d + 1)

    explicit Embedding(int d) : nearness(static_cast<T>(1.0 / (d + 1))) {
        for (int i = 0; i < d; ++i)
            scale[i] = static_cast<T>((d + 1) * std::sqrt(2.0 / 3.0) / std::sqrt((i + 1.0) * (i + 2.0)));
    }
};

template <class T>
using Mask = decltype(Vector<T>{} < Vector<T>{});  // whole numbers of the width of T

template <class T>
DF_INLINE Vector<T> load_some(const T* from, int64_t count) {  // repeats the last where there are fewer than lanes
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

template <class T, int D, class Take>  // void take(int64_t point, int64_t count, const Simplex<T, D>&, Vector<T>* weights)
DF_INLINE void each_simplex(const T* features, const LatticeCode& code, int64_t item, int64_t begin, int64_t end,
                            const Embedding<T>& embedding, const Take& take) {
    const int d = D == max_features ? code.d : D;
    const T* const from = features + item * d * code.points;
    for (int64_t point = begin; point < end; point += lanes<T>) {
        const int64_t count = end - point < lanes<T> ? end - point : lanes<T>;
        Vector<T> feature[D], sorted[D + 1] = {}, weights[D + 1];
        for (int i = 0; i < d; ++i) feature[i] = load_some(from + i * code.points + point, count);
        Simplex<T, D> simplex;
        simplex.find(feature, embedding, d);
        for (int s = 0; s <= d; ++s) {
            sorted[s] = Vector<T>{};
            for (int a = 0; a <= d; ++a) sorted[s] += choose<T>(simplex.rank[a] == s, simplex.gap[a]);
        }
        weights[0] = sorted[d] + static_cast<T>(1) - sorted[0];
        for (int r = 1; r <= d; ++r) weights[r] = sorted[d - r] - sorted[d + 1 - r];
        take(point, count, simplex, weights);
    }
}

template <class T, class Body>  // void body(int64_t item, int64_t begin, int64_t end, int64_t chunk)
void over_points(const LatticeCode& code, int n_threads, const Body& body) {
    const int64_t each = (code.points + chunk_points - 1) / chunk_points;
    const auto task = [&](int64_t chunk, int) {
        const int64_t begin = chunk % each * chunk_points;
        const int64_t end = begin + chunk_points < code.points ? begin + chunk_points : code.points;
        body(chunk / each, begin, end, chunk);
    };
    parallel_for(each * code.batch, n_threads, task);
}

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
            const double scaled = static_cast<double>(here[1] - here[0]) * static_cast<double>(embedding.scale[k - 1]);
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

// Ranges of the digits, from the ranges of (e_0 - e_k) / (d + 1) over all points.
template <class T>
void set_code(const T* features, LatticeCode& code, const Embedding<T>& embedding, int n_threads) {
    const int d = code.d;
    const int64_t chunks = (code.points + chunk_points - 1) / chunk_points * code.batch;
    Buffer<T> low(chunks * (d + 1)), high(chunks * (d + 1));
    Buffer<uint8_t> wrong(chunks);
    const T limit = sizeof(T) == 4 ? static_cast<T>(1 << 20) : static_cast<T>(int64_t{1} << 40);
    over_points<T>(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t chunk) {
        Mask<T> good = Mask<T>{} - 1;
        Vector<T> least[max_features + 1], most[max_features + 1];
        for (int k = 1; k <= d; ++k) {
            least[k] = Vector<T>{} + std::numeric_limits<T>::max();
            most[k] = -least[k];
        }
        for (int64_t point = begin; point < end; point += lanes<T>) {
            Vector<T> sum = {};
            for (int k = 1; k <= d; ++k) {
                const Vector<T> scaled =
                    load_some(features + (item * d + k - 1) * code.points + point, end - point) * embedding.scale[k - 1];
                sum += scaled;
                const Vector<T> m = (sum + static_cast<T>(k) * scaled) * embedding.nearness;
                good &= (m < limit) & (m > -limit);
                least[k] = m < least[k] ? m : least[k];
                most[k] = m > most[k] ? m : most[k];
            }
        }
        wrong[chunk] = 0;
        for (int lane = 0; lane < lanes<T>; ++lane) wrong[chunk] |= good[lane] == 0;
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
}

// ---- one bit a code -------------------------------------------------------------------------------------------------

DF_INLINE int64_t row_of(const df_lattice& lattice, uint64_t code) {
    const uint64_t below = lattice.bits[code >> 6] & ((uint64_t{1} << (code & 63)) - 1);
    return lattice.before[code >> 6] + __builtin_popcountll(below);
}

template <class T, int D>
void mark(const T* features, int32_t* vertices, T* weights, df_lattice& lattice, const Embedding<T>& embedding,
          int n_threads) {
    const LatticeCode& code = lattice.code;
    const int d = D == max_features ? code.d : D;
    const auto words = static_cast<int64_t>((code.cells + 63) / 64);
    uint64_t* const bits = lattice.bits;
    const auto clear = [&](int64_t chunk, int) {
        const int64_t begin = chunk * chunk_words, end = begin + chunk_words < words ? begin + chunk_words : words;
        std::memset(bits + begin, 0, static_cast<size_t>(end - begin) * sizeof(uint64_t));
    };
    parallel_for((words + chunk_words - 1) / chunk_words, n_threads, clear);

    typename std::remove_reference<decltype(Mask<T>{}[0])>::type step[max_features + 1];
    for (int k = 0; k <= d; ++k) step[k] = static_cast<int32_t>(static_cast<int64_t>(code.step[k]));
    over_points<T>(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t) {
        const auto first = static_cast<int64_t>(code.of_batch) * item;
        each_simplex<T, D>(
            features, code, item, begin, end, embedding,
            [&](int64_t point, int64_t count, const Simplex<T, D>& simplex, const Vector<T>* weight) {
                Mask<T> at[D + 1];
                at[0] = Mask<T>{} + static_cast<int32_t>(first);
                for (int k = 1; k <= d; ++k) {
                    const Mask<T> m = __builtin_convertvector(simplex.q[0] - simplex.q[k], Mask<T>);
                    at[0] += (m - static_cast<int32_t>(code.lower[k])) * step[k];
                }
                for (int r = 1; r <= d; ++r) {
                    at[r] = at[r - 1];
                    for (int a = 0; a <= d; ++a) at[r] += (simplex.rank[a] == d - r + 1) & step[a];
                }
                int32_t* const out = vertices + (item * code.points + point) * (d + 1);
                T* const to = weights + (item * code.points + point) * (d + 1);
                for (int r = 0; r <= d; ++r)
                    for (int lane = 0; lane < count; ++lane) {
                        out[lane * (d + 1) + r] = static_cast<int32_t>(at[r][lane]);
                        to[lane * (d + 1) + r] = weight[r][lane];
                    }
                for (int64_t i = 0; i < count * (d + 1); ++i) {
                    const auto key = static_cast<uint32_t>(out[i]);
                    if (key >= code.cells) throw BadArgument();
                    const uint64_t bit = uint64_t{1} << (key & 63);
                    if (!(__atomic_load_n(bits + (key >> 6), __ATOMIC_RELAXED) & bit))
                        __atomic_fetch_or(bits + (key >> 6), bit, __ATOMIC_RELAXED);
                }
            });
    });

    const int64_t chunks = (words + chunk_words - 1) / chunk_words;
    Buffer<int64_t> total(chunks + 1);
    const auto count = [&](int64_t chunk, int) {
        const int64_t end = (chunk + 1) * chunk_words < words ? (chunk + 1) * chunk_words : words;
        int64_t sum = 0;
        for (int64_t word = chunk * chunk_words; word < end; ++word) sum += __builtin_popcountll(bits[word]);
        total[chunk + 1] = sum;
    };
    parallel_for(chunks, n_threads, count);
    total[0] = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total[chunk + 1] += total[chunk];
    lattice.rows = total[chunks];
    const auto place = [&](int64_t chunk, int) {
        const int64_t end = (chunk + 1) * chunk_words < words ? (chunk + 1) * chunk_words : words;
        auto sum = static_cast<uint32_t>(total[chunk]);
        for (int64_t word = chunk * chunk_words; word < end; ++word) {
            lattice.before[word] = sum;
            sum += static_cast<uint32_t>(__builtin_popcountll(bits[word]));
        }
    };
    parallel_for(chunks, n_threads, place);
    over_points<T>(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t) {
        int32_t* const out = vertices + item * code.points * (d + 1);
        for (int64_t i = begin * (d + 1); i < end * (d + 1); ++i)
            out[i] = static_cast<int32_t>(row_of(lattice, static_cast<uint32_t>(out[i])));
    });
}

// ---- sorted codes ---------------------------------------------------------------------------------------------------

template <class Code>
struct Keyed {
    Code code;
    uint32_t entry;
};

template <class Code>  // ascending and stable, by the low `bits` bits; the result is in `items`
void radix_sort(Buffer<Keyed<Code>>& items, Buffer<Keyed<Code>>& spare, int64_t count, int bits) {
    Keyed<Code>*from = items.data(), *to = spare.data();
    for (int shift = 0; shift < bits; shift += 8) {
        int64_t place[256] = {};
        for (int64_t i = 0; i < count; ++i) ++place[static_cast<int>(from[i].code >> shift) & 255];
        int64_t sum = 0;
        for (int64_t& here : place) {
            const int64_t size = here;
            here = sum;
            sum += size;
        }
        for (int64_t i = 0; i < count; ++i) to[place[static_cast<int>(from[i].code >> shift) & 255]++] = from[i];
        Keyed<Code>* const swapped = from;
        from = to;
        to = swapped;
    }
    if (from != items.data()) std::memcpy(items.data(), from, static_cast<size_t>(count) * sizeof(*from));
}

template <class T, class Code>
Code* sort_codes(const T* features, int32_t* vertices, T* weights, df_lattice& lattice, const Embedding<T>& embedding,
                 int n_threads) {
    constexpr int D = max_features;
    const LatticeCode& code = lattice.code;
    const int d = code.d;
    const int64_t entries = code.batch * code.points * (d + 1);
    Buffer<Keyed<Code>> items(entries);
    over_points<T>(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t) {
        each_simplex<T, D>(
            features, code, item, begin, end, embedding,
            [&](int64_t point, int64_t count, const Simplex<T, D>& simplex, const Vector<T>* weight) {
                for (int64_t lane = 0; lane < count; ++lane) {
                    const int64_t to = (item * code.points + point + lane) * (d + 1);
                    int axis[D + 1];
                    for (int a = 0; a <= d; ++a) axis[simplex.rank[a][lane]] = a;
                    Code at = static_cast<Code>(code.of_batch) * static_cast<Code>(item);
                    for (int k = 1; k <= d; ++k) {
                        const auto m = static_cast<int64_t>(simplex.q[0][lane] - simplex.q[k][lane]);
                        at += static_cast<Code>(m - code.lower[k]) * static_cast<Code>(code.step[k]);
                    }
                    for (int r = 0; r <= d; ++r) {
                        if (r > 0) at += static_cast<Code>(code.step[axis[d - r + 1]]);
                        items[to + r] = {at, static_cast<uint32_t>(to + r)};
                        weights[to + r] = weight[r][lane];
                    }
                }
            });
    });
    {
        int bits = 0;
        while (bits < 127 && (code.cells >> bits) != 0) ++bits;
        Buffer<Keyed<Code>> spare(entries);
        radix_sort(items, spare, entries, bits);
    }
    int64_t rows = 0;
    for (int64_t i = 0; i < entries; ++i) rows += i == 0 || items[i].code != items[i - 1].code;
    Code* const codes = static_cast<Code*>(allocate(rows * static_cast<int64_t>(sizeof(Code))));
    int64_t row = -1;
    for (int64_t i = 0; i < entries; ++i) {
        if (i == 0 || items[i].code != items[i - 1].code) codes[++row] = items[i].code;
        vertices[items[i].entry] = static_cast<int32_t>(row);
    }
    lattice.rows = rows;
    return codes;
}

// ---- links ----------------------------------------------------------------------------------------------------------

DF_INLINE int32_t* link(int32_t* neighbours, int64_t rows, int axis, int64_t row) {
    return neighbours + (axis * rows + row) * 2;
}

void link_bits(const df_lattice& lattice, int32_t* neighbours, int n_threads) {
    const LatticeCode& code = lattice.code;
    const auto cells = static_cast<uint64_t>(code.cells);
    const auto words = static_cast<int64_t>((cells + 63) / 64);
    const auto body = [&](int64_t chunk, int) {
        const int64_t end = (chunk + 1) * chunk_words < words ? (chunk + 1) * chunk_words : words;
        for (int64_t word = chunk * chunk_words; word < end; ++word) {
            int64_t row = lattice.before[word];
            for (uint64_t left = lattice.bits[word]; left != 0; left &= left - 1, ++row) {
                const uint64_t here = static_cast<uint64_t>(word) * 64 + static_cast<uint64_t>(__builtin_ctzll(left));
                for (int axis = 0; axis <= code.d; ++axis) {
                    const uint64_t there = here + static_cast<uint64_t>(code.step[axis]);
                    if (there >= cells || !(lattice.bits[there >> 6] >> (there & 63) & 1)) continue;
                    const int64_t other = row_of(lattice, there);
                    link(neighbours, lattice.rows, axis, row)[1] = static_cast<int32_t>(other);
                    link(neighbours, lattice.rows, axis, other)[0] = static_cast<int32_t>(row);
                }
            }
        }
    };
    parallel_for((words + chunk_words - 1) / chunk_words, n_threads, body);
}

template <class Code>
void link_codes(const df_lattice& lattice, const Code* codes, int32_t* neighbours, int n_threads) {
    const int64_t rows = lattice.rows;
    const auto body = [&](int64_t axis, int) {
        // Codes plus a step ascend as codes do, so one walk finds them all; a step back (axis 0) wraps, hence the guess.
        const Code step = static_cast<Code>(lattice.code.step[axis]);
        int64_t other = 0;
        for (int64_t row = 0; row < rows; ++row) {
            const Code there = codes[row] + step;
            if (axis == 0 && there > codes[row]) continue;  // before the first code
            while (other < rows && codes[other] < there) ++other;
            if (other == rows || codes[other] != there) continue;
            link(neighbours, rows, static_cast<int>(axis), row)[1] = static_cast<int32_t>(other);
            link(neighbours, rows, static_cast<int>(axis), other)[0] = static_cast<int32_t>(row);
        }
    };
    parallel_for(lattice.code.d + 1, n_threads, body);
}

// A stable counting sort of the entries by their row, in parts that know where theirs begin in each row: the result does
// not depend on the number of parts.
void sort_entries(const df_lattice& lattice, const int32_t* vertices, int32_t* starts, int32_t* entries,
                  int n_threads) {
    const int64_t count = lattice.code.batch * lattice.code.points * (lattice.code.d + 1), rows = lattice.rows;
    const int64_t most = count / rows < 8 ? count / rows : 8, parts = most < n_threads ? most : n_threads;
    Buffer<int32_t> places(parts * rows);
    const auto tally = [&](int64_t part, int) {
        int32_t* const mine = places.data() + part * rows;
        std::memset(mine, 0, static_cast<size_t>(rows) * sizeof(int32_t));
        for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) ++mine[vertices[i]];
    };
    parallel_for(parts, n_threads, tally);
    int32_t sum = 0;
    for (int64_t row = 0; row < rows; ++row) {
        starts[row] = sum;
        for (int64_t part = 0; part < parts; ++part) {
            const int32_t size = places[part * rows + row];
            places[part * rows + row] = sum;
            sum += size;
        }
    }
    starts[rows] = sum;
    const auto place = [&](int64_t part, int) {
        int32_t* const mine = places.data() + part * rows;
        for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i)
            entries[mine[vertices[i]]++] = static_cast<int32_t>(i);
    };
    parallel_for(parts, n_threads, place);
}

template <class T>
void points(const T* features, int32_t* vertices, T* weights, df_lattice& lattice, int n_threads) {
    LatticeCode& code = lattice.code;
    const Embedding<T> embedding(code.d);
    set_code(features, code, embedding, n_threads);
    const auto entries = static_cast<uint64_t>(code.batch * code.points * (code.d + 1));
    if (code.cells < (uint64_t{1} << 31) && code.cells <= (uint64_t{1} << 22) + 240 * entries) {
        const auto words = static_cast<int64_t>((code.cells + 63) / 64);
        lattice.bits = static_cast<uint64_t*>(allocate(words * 8));
        lattice.before = static_cast<uint32_t*>(allocate(words * 4));
        switch (code.d) {
            case 2: return mark<T, 2>(features, vertices, weights, lattice, embedding, n_threads);
            case 3: return mark<T, 3>(features, vertices, weights, lattice, embedding, n_threads);
            case 5: return mark<T, 5>(features, vertices, weights, lattice, embedding, n_threads);
            case 6: return mark<T, 6>(features, vertices, weights, lattice, embedding, n_threads);
            default: return mark<T, max_features>(features, vertices, weights, lattice, embedding, n_threads);
        }
    }
    if (code.cells < uint64_t{1} << 63)
        lattice.codes = sort_codes<T, uint64_t>(features, vertices, weights, lattice, embedding, n_threads);
    else
        lattice.wide_codes =
            sort_codes<T, unsigned __int128>(features, vertices, weights, lattice, embedding, n_threads);
}

}  // namespace

void lattice_points(const float* features, int32_t* vertices, float* weights, df_lattice& lattice, int n_threads) {
    points(features, vertices, weights, lattice, n_threads);
}

void lattice_points(const double* features, int32_t* vertices, double* weights, df_lattice& lattice, int n_threads) {
    points(features, vertices, weights, lattice, n_threads);
}

void lattice_links(const df_lattice& lattice, const int32_t* vertices, int32_t* neighbours, int32_t* starts,
                   int32_t* entries, int n_threads) {
    const int64_t links = (lattice.code.d + 1) * lattice.rows * 2;
    constexpr int64_t chunk = 1 << 16;
    const auto clear = [&](int64_t part, int) {
        const int64_t end = (part + 1) * chunk < links ? (part + 1) * chunk : links;
        for (int64_t i = part * chunk; i < end; ++i) neighbours[i] = static_cast<int32_t>(lattice.rows);
    };
    parallel_for((links + chunk - 1) / chunk, n_threads, clear);
    if (lattice.bits != nullptr)
        link_bits(lattice, neighbours, n_threads);
    else if (lattice.codes != nullptr)
        link_codes(lattice, lattice.codes, neighbours, n_threads);
    else
        link_codes(lattice, lattice.wide_codes, neighbours, n_threads);
    sort_entries(lattice, vertices, starts, entries, n_threads);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
namespace densefield {
namespace {

template <class T>
int build(const T* features, int64_t batch, int32_t d, int64_t points, int32_t* vertices, T* weights, int64_t* rows,
          df_lattice** lattice, int32_t n_threads) {
    *lattice = nullptr;
    return guarded([&] {
        if (batch < 1 || d < 1 || d > max_features || points < 1 || n_threads < 1) throw BadArgument();
        if (points > INT32_MAX / (batch * (d + 1))) throw BadArgument();
        df_lattice* const made = new df_lattice;
        made->code.d = d;
        made->code.batch = batch;
        made->code.points = points;
        try {
            DF_DISPATCH(lattice_points(features, vertices, weights, *made, n_threads));
        } catch (...) {
            delete made;
            throw;
        }
        *rows = made->rows;
        *lattice = made;
    });
}

}  // namespace
}  // namespace densefield

extern "C" int df_lattice_build_f32(const float* features, int64_t batch, int32_t d, int64_t points, int32_t* vertices,
                                    float* weights, int64_t* rows, df_lattice** lattice, int32_t n_threads) {
    return densefield::build(features, batch, d, points, vertices, weights, rows, lattice, n_threads);
}

extern "C" int df_lattice_build_f64(const double* features, int64_t batch, int32_t d, int64_t points, int32_t* vertices,
                                    double* weights, int64_t* rows, df_lattice** lattice, int32_t n_threads) {
    return densefield::build(features, batch, d, points, vertices, weights, rows, lattice, n_threads);
}

extern "C" int df_lattice_links(const df_lattice* lattice, const int32_t* vertices, int32_t* neighbours,
                                int32_t* starts, int32_t* entries, int32_t n_threads) {
    using namespace densefield;
    return guarded(
        [&] { DF_DISPATCH(lattice_links(*lattice, vertices, neighbours, starts, entries, n_threads)); });
}

extern "C" int df_lattice_free(df_lattice* lattice) {
    delete lattice;
    return DF_OK;
}
#endif
