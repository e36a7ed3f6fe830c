// Filtering by a lattice that is built: splat, blur, slice, for some channels at a time.
#include <cstdint>
#include <cstring>

#include "base/dispatch.h"
#include "base/guard.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "densefield.h"
#include "lattice/table.h"

namespace densefield {

DF_DECLARE(void lattice_filter(const df_lattice_filter_job& job);)

namespace DF_TARGET {
namespace {

// The job, and what is in it of type T.
template <class T>
struct LatticeFilter : df_lattice_filter_job {
    const T* const values;
    T* const output;
    const T* const weights;
    const T scale;

    explicit LatticeFilter(const df_lattice_filter_job& job)
        : df_lattice_filter_job(job),
          values(static_cast<const T*>(job.values)),
          output(static_cast<T*>(job.output)),
          weights(static_cast<const T*>(job.weights)),
          scale(static_cast<T>(job.scale)) {}
};

constexpr int64_t chunk_points = 2048;

template <class T, int W>
void splat_by_rows(const LatticeFilter<T>& job, const T* pixels, T* table) {
    const T* const weights = job.weights;
    gather_rows<32>(
        {job.starts, job.entries, job.rows, job.d}, chunk_rows, job.n_threads,
        [=](int32_t corner, int64_t) { __builtin_prefetch(weights + corner); },
        [=](int64_t row, int64_t, const auto& each) {
            Row<T, W> sum;
            sum.zero();
            each([&](int32_t corner, int64_t pixel) __attribute__((always_inline)) {
                sum.add_from(pixels + pixel * W, weights[corner]);
            });
            sum.store(table + row * W);
        });
}

// Rows of few channels are less than the indices to them: parts of the pixels, cut by their number, add to tables of
// their own, which are then added up in order. `Corners`: d + 1 where it is known to the compiler, else 0.
template <class T, int W, int Corners>
void splat_in_parts(const LatticeFilter<T>& job, const T* pixels, T* table) {
    const int64_t count = job.batch * job.points, size = job.rows * W, most = count / 4096 + 1;
    const int64_t parts = most < 8 ? most : 8;
    const int corners = Corners > 0 ? Corners : job.d + 1;
    Buffer<T> others((parts - 1) * size);
    const auto body = [&](int64_t part, int) {
        T* const to = part == 0 ? table : others.data() + (part - 1) * size;
        std::memset(to, 0, static_cast<size_t>(size) * sizeof(T));
        const int64_t begin = count * part / parts, end = count * (part + 1) / parts;
        const int32_t* vertices = job.vertices + begin * corners;
        const T* weights = job.weights + begin * corners;
        for (int64_t i = begin; i < end; ++i, vertices += corners, weights += corners) {
            Row<T, W> row;
            row.load(pixels + i * W);
            splat_row<T, W>(row, vertices, weights, corners, to);
        }
    };
    parallel_for(parts, job.n_threads, body);
    parallel_ranges(size, chunk_rows * W, job.n_threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t part = 1; part < parts; ++part) {
            const T* const from = others.data() + (part - 1) * size;
            for (int64_t i = begin; i < end; ++i) table[i] += from[i];
        }
    });
}

// W channels from `first` on as rows, zeros where there are fewer.
template <class T, int W>
void pack_rows(const LatticeFilter<T>& job, int64_t first, T* pixels) {
    const int64_t count = job.channels - first < W ? job.channels - first : W;
    const int64_t each = (job.points + chunk_points - 1) / chunk_points;
    const auto pack = [&](int64_t chunk, int) {
        const int64_t item = chunk / each, begin = chunk % each * chunk_points;
        const int64_t end = begin + chunk_points < job.points ? begin + chunk_points : job.points;
        const T* const from = job.values + (item * job.channels + first) * job.points;
        T* const to = pixels + item * job.points * W;
        for (int64_t i = begin; i < end; ++i) {
            for (int64_t c = 0; c < count; ++c) to[i * W + c] = from[c * job.points + i];
            for (int64_t c = count; c < W; ++c) to[i * W + c] = 0;
        }
    };
    parallel_for(each * job.batch, job.n_threads, pack);
}

template <class T, int W, int Corners>
void filter_channels(const LatticeFilter<T>& job, int64_t first, T* pixels, T* table, T* other) {
    const int64_t count = job.channels - first < W ? job.channels - first : W;
    const int64_t each = (job.points + chunk_points - 1) / chunk_points;
    const int corners = Corners > 0 ? Corners : job.d + 1;

    const T* const rows = W == 1 ? job.values : pixels;
    if constexpr (W > 1) pack_rows<T, W>(job, first, pixels);
    if constexpr (W <= 4)
        splat_in_parts<T, W, Corners>(job, rows, table);
    else
        splat_by_rows<T, W>(job, rows, table);
    std::memset(table + job.rows * W, 0, W * sizeof(T));
    std::memset(other + job.rows * W, 0, W * sizeof(T));
    const T* const blurred =
        blur<T, W>(table, other, job.neighbours, corners, job.rows, job.reverse != 0, job.n_threads);

    const auto slice = [&](int64_t chunk, int) {
        const int64_t item = chunk / each, begin = chunk % each * chunk_points;
        const int64_t end = begin + chunk_points < job.points ? begin + chunk_points : job.points;
        T* const to = job.output + (item * job.channels + first) * job.points;
        const T scale = job.scale;
        const int32_t* vertices = job.vertices + (item * job.points + begin) * corners;
        const T* weights = job.weights + (item * job.points + begin) * corners;
        for (int64_t i = begin; i < end; ++i, vertices += corners, weights += corners) {
            T out[W];
            slice_row_in_order<T, W>(blurred, vertices, weights, corners, scale).store(out);
            for (int64_t c = 0; c < count; ++c) to[c * job.points + i] = out[c];
        }
    };
    parallel_for(each * job.batch, job.n_threads, slice);
}

template <class T, int W, int Corners = 0>
void filter_all(const LatticeFilter<T>& job) {
    Buffer<T> pixels(W == 1 ? 0 : job.batch * job.points * W), table((job.rows + 1) * W), other((job.rows + 1) * W);
    for (int64_t first = 0; first < job.channels; first += W)
        filter_channels<T, W, Corners>(job, first, pixels.data(), table.data(), other.data());
}

template <class T, int W>
void filter_few(const LatticeFilter<T>& job) {
    if (job.d == 2) return filter_all<T, W, 3>(job);
    if (job.d == 5) return filter_all<T, W, 6>(job);
    filter_all<T, W>(job);
}

template <class T>
void filter(const LatticeFilter<T>& job) {
    if (job.channels == 1) return filter_few<T, 1>(job);
    if (job.channels <= 4) return filter_few<T, 4>(job);
    if (job.channels <= 8) return filter_all<T, 8>(job);
    if (job.channels > 16 && job.channels <= 24) return filter_all<T, 24>(job);
    return filter_all<T, 16>(job);
}

}  // namespace

void lattice_filter(const df_lattice_filter_job& job) {
    job.type == DF_F32 ? filter(LatticeFilter<float>(job)) : filter(LatticeFilter<double>(job));
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
extern "C" int df_lattice_filter(const df_lattice_filter_job* job) {
    using namespace densefield;
    return guarded([&] {
        check_type(job->type);
        if (job->batch < 1 || job->channels < 1 || job->points < 1 || job->d < 1 || job->rows < 1 || job->n_threads < 1)
            throw BadArgument();
        if (job->channels > 4 && job->entries == nullptr) throw BadArgument();
        DF_DISPATCH(lattice_filter(*job));
    });
}
#endif
