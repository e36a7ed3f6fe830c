// Lattice points of all pixels, numbered in the order of their codes.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/dispatch.h"
#include "base/guard.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "densefield.h"
#include "lattice/bits.h"
#include "lattice/digits.h"
#include "lattice/lattice.h"
#include "lattice/simplex.h"

namespace densefield {

DF_DECLARE(bool lattice_points(const df_lattice_build_job& job, df_lattice& lattice);)

namespace DF_TARGET {
namespace {

// Marks the codes of all vertices, which are written in the vertices' place.
template <class T, int D>
void mark(const T* features, int32_t* vertices, T* weights, const LatticeCode& code, const Embedding<T>& embedding,
          CodeBits& marks, int n_threads) {
    const int d = D == max_features ? code.d : D;
    typename std::remove_reference<decltype(Mask<T>{}[0])>::type step[max_features + 1];
    for (int k = 0; k <= d; ++k) step[k] = static_cast<int32_t>(static_cast<int64_t>(code.step[k]));
    over_points(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t) {
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
                    marks.mark(key);
                }
            });
    });
}

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

// Gives the codes in their order, each once; their numbers go to the vertices' place.
template <class Code>
Code* number_codes(Buffer<Keyed<Code>>& items, int32_t* vertices, df_lattice& lattice) {
    const int64_t entries = lattice.code.batch * lattice.code.points * (lattice.code.d + 1);
    {
        int bits = 0;
        while (bits < 127 && (lattice.code.cells >> bits) != 0) ++bits;
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

template <class T, class Code>
Code* sort_codes(const T* features, int32_t* vertices, T* weights, df_lattice& lattice, const Embedding<T>& embedding,
                 int n_threads) {
    constexpr int D = max_features;
    const LatticeCode& code = lattice.code;
    const int d = code.d;
    const int64_t entries = code.batch * code.points * (d + 1);
    Buffer<Keyed<Code>> items(entries);
    over_points(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t) {
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
    return number_codes(items, vertices, lattice);
}

template <class T>  // false where T has too few digits
bool points(const df_lattice_build_job& job, df_lattice& lattice) {
    const T* const features = static_cast<const T*>(job.features);
    T* const weights = static_cast<T*>(job.weights);
    int32_t* const vertices = job.vertices;
    const int n_threads = job.n_threads;
    LatticeCode& code = lattice.code;
    const Embedding<T> embedding(code.d, job.widths, job.stretch);
    if (!set_code(features, code, embedding, n_threads)) return false;
    const auto entries = static_cast<uint64_t>(code.batch * code.points * (code.d + 1));
    if (code.cells < (uint64_t{1} << 31) && code.cells <= (uint64_t{1} << 22) + 240 * entries) {
        CodeBits marks(static_cast<int64_t>(code.cells), n_threads);
        const auto with = [&](auto mark_all) { mark_all(features, vertices, weights, code, embedding, marks, n_threads); };
        switch (code.d) {
            case 2: with(mark<T, 2>); break;
            case 3: with(mark<T, 3>); break;
            case 5: with(mark<T, 5>); break;
            case 6: with(mark<T, 6>); break;
            default: with(mark<T, max_features>);
        }
        lattice.rows = marks.count();
        lattice.codes = marks.number();
        over_points(code, n_threads, [&](int64_t item, int64_t begin, int64_t end, int64_t) {
            int32_t* const out = vertices + item * code.points * (code.d + 1);
            for (int64_t i = begin * (code.d + 1); i < end * (code.d + 1); ++i)
                out[i] = marks.place_of(static_cast<uint32_t>(out[i]));
        });
        return true;
    }
    if (code.cells < uint64_t{1} << 63)
        lattice.codes = sort_codes<T, uint64_t>(features, vertices, weights, lattice, embedding, n_threads);
    else
        lattice.wide_codes =
            sort_codes<T, unsigned __int128>(features, vertices, weights, lattice, embedding, n_threads);
    return true;
}

}  // namespace

bool lattice_points(const df_lattice_build_job& job, df_lattice& lattice) {
    return job.type == DF_F32 ? points<float>(job, lattice) : points<double>(job, lattice);
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
extern "C" int df_lattice_build(const df_lattice_build_job* job) {
    using namespace densefield;
    *job->lattice = nullptr;
    return guarded([&] {
        check_type(job->type);
        if (job->batch < 1 || job->points < 1 || job->n_threads < 1) throw BadArgument();
        if (job->d < 1 || job->d > max_features) throw BadArgument();
        if (job->points > INT32_MAX / (job->batch * (job->d + 1))) throw BadArgument();
        df_lattice* const made = new df_lattice;
        made->code.d = job->d;
        made->code.batch = job->batch;
        made->code.points = job->points;
        bool enough;
        try {
            enough = DF_DISPATCH(lattice_points(*job, *made));
        } catch (...) {
            delete made;
            throw;
        }
        made->touched = made->rows;
        *job->rows = enough ? made->rows : -1;
        *job->lattice = made;
    });
}

extern "C" int df_lattice_free(df_lattice* lattice) {
    delete lattice;
    return DF_OK;
}
#endif
