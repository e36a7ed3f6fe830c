// Sums over pairs of points for the gradient by the kernels' widths. On a lattice nothing is sliced but the two filters
// whose products with a and b are wanted point by point: sums over all points are taken over the lattice's rows instead.
#include <cstdint>
#include <cstring>

#include "base/dispatch.h"
#include "base/guard.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "crf/softmax_rows.h"
#include "densefield.h"
#include "lattice/table.h"

namespace densefield {

DF_DECLARE(void lattice_moments(const df_lattice_moments_job& job); void grid_pairs(const df_grid_pairs_job& job);)

namespace DF_TARGET {
namespace {

constexpr int64_t splat_rows = 512, sliced_points = 2048, together = 5;

template <int W>
DF_INLINE double dot(Row<float, W> a, const Row<float, W>& b) {
    a.multiply(b);
    return static_cast<double>(total(a));
}

// Calls take(chunk, row, plain, times) for each row of the table, with the sums of its pixels' rows, `scale` included, and
// the same times each of K features.
template <int W, int K, class S, class Take>
void splat(const df_lattice_moments_job& job, const S* pixels, const float* scale, const float* features,
           const Take& take) {
    const int64_t points = job.points;
    const float* const weights = job.weights;
    gather_rows<16>(
        {job.starts, job.entries, job.rows, job.d}, splat_rows, job.n_threads,
        [=](int32_t, int64_t point) { __builtin_prefetch(pixels + point * W); },
        [&](int64_t row, int64_t chunk, const auto& each) {
            Row<float, W> plain, times[K > 0 ? K : 1];
            plain.zero();
            for (int k = 0; k < K; ++k) times[k].zero();
            each([&](int32_t corner, int64_t point) __attribute__((always_inline)) {
                const float weight = weights[corner] * scale[point];
                Row<float, W> here;
                here.load(pixels + point * W);
                plain.add(here, weight);
                for (int k = 0; k < K; ++k) times[k].add(here, weight * features[k * points + point]);
            });
            take(chunk, row, plain, times);
        });
}

// W: labels of a group; S: what b is stored as.
template <int W, class S>
class Moments {
public:
    explicit Moments(const df_lattice_moments_job& job)
        : job_(job),
          size_((job.rows + 1) * W),
          memory_((most_tables() + 1) * size_),
          chunks_((job.rows + splat_rows - 1) / splat_rows),
          partial_(chunks_ * together) {
        for (int64_t i = 0; i <= most_tables(); ++i) {
            tables_[i] = memory_.data() + i * size_;
            std::memset(tables_[i] + job.rows * W, 0, W * sizeof(float));
        }
    }

    void run(int64_t group) {
        const float* const a = job_.a + group * job_.points * W;
        const S* const b = static_cast<const S*>(job_.b) + group * job_.points * W;
        splat<W, 0>(job_, b, job_.of_b, nullptr, [&](int64_t, int64_t row, const Row<float, W>& plain,
                                                    const Row<float, W>*) { plain.store(tables_[0] + row * W); });
        spread(0, false);
        slice(a, job_.of_a, job_.ahead);
        splat<W, 0>(job_, a, job_.of_a, nullptr, [&](int64_t, int64_t row, const Row<float, W>& plain,
                                                    const Row<float, W>*) { plain.store(tables_[0] + row * W); });
        spread(0, true);
        slice(b, job_.of_b, job_.behind);
        int32_t k = 0;
        for (; k + together <= job_.d; k += together) cross<together>(a, b, k);
        for (; k < job_.d; ++k) cross<1>(a, b, k);
    }

private:
    int64_t most_tables() const { return job_.d >= together ? together : 1; }

    void spread(int64_t table, bool reverse) {
        float*& spare = tables_[most_tables()];
        float* const result = blur<float, W>(tables_[table], spare, job_.neighbours, job_.d + 1, job_.rows, reverse,
                                             job_.n_threads);
        if (result == tables_[table]) return;
        spare = tables_[table];
        tables_[table] = result;
    }

    template <class From>  // sums[i] += scale_i rows_i . (the table sliced at point i)
    void slice(const From* rows, const float* scale, float* sums) const {
        const int corners = job_.d + 1;
        const float* const table = tables_[0];
        parallel_ranges(job_.points, sliced_points, job_.n_threads, [&](int64_t begin, int64_t end, int64_t) {
            for (int64_t i = begin; i < end; ++i) {
                Row<float, W> own;
                own.load(rows + i * W);
                const auto sum = slice_row_in_order<float, W>(table, job_.vertices + i * corners, job_.weights + i * corners,
                                                              corners, 1.0f);
                sums[i] += scale[i] * static_cast<float>(dot(sum, own));
            }
        });
    }

    template <int K>
    void cross(const float* a, const S* b, int32_t first) {
        const float* const features = job_.features + first * job_.points;
        splat<W, K>(job_, b, job_.of_b, features,
                    [&](int64_t, int64_t row, const Row<float, W>&, const Row<float, W>* times) {
                        for (int k = 0; k < K; ++k) times[k].store(tables_[k] + row * W);
                    });
        for (int k = 0; k < K; ++k) spread(k, false);
        std::memset(partial_.data(), 0, static_cast<size_t>(chunks_) * together * sizeof(double));
        splat<W, K>(job_, a, job_.of_a, features,
                    [&](int64_t chunk, int64_t row, const Row<float, W>&, const Row<float, W>* times) {
                        for (int k = 0; k < K; ++k) {
                            Row<float, W> other;
                            other.load(tables_[k] + row * W);
                            partial_[chunk * together + k] += dot(times[k], other);
                        }
                    });
        for (int64_t chunk = 0; chunk < chunks_; ++chunk)
            for (int k = 0; k < K; ++k) job_.cross[first + k] += partial_[chunk * together + k];
    }

    const df_lattice_moments_job& job_;
    const int64_t size_;
    Buffer<float> memory_;
    const int64_t chunks_;
    Buffer<double> partial_;
    float* tables_[together + 1];  // the last in use is spare
};

template <int W, class S>
void pairs_of_group(const df_grid_pairs_job& job, int64_t group) {
    const float* const a = job.a + group * job.points * W;
    const S* const b = static_cast<const S*>(job.b) + group * job.points * W;
    const int64_t line = job.length * W, kept = 2 * job.radius + 1;
    constexpr int64_t together_lines = 8;
    const auto filter_line = [&](int64_t y, float* to) {
        for (int64_t x = 0; x < job.length; ++x) {
            const int64_t low = x - job.n_taps + 1 > 0 ? x - job.n_taps + 1 : 0;
            const int64_t high = x + job.n_taps < job.length ? x + job.n_taps : job.length;
            Row<float, W> sum;
            sum.zero();
            for (int64_t t = low; t < high; ++t)
                sum.add_from(b + (y * job.next + t * job.step) * W, job.taps[t < x ? x - t : t - x] * job.before[t]);
            sum.scale(job.after[x]);
            sum.store(to + x * W);
        }
    };
    // Some lines of b at a time against all lines of a within the radius: each pair of lines is one sum of its own.
    const auto body = [&](int64_t chunk, int) {
        const int64_t y0 = chunk * together_lines;
        const int64_t y1 = y0 + together_lines < job.lines ? y0 + together_lines : job.lines;
        Buffer<float> filtered(together_lines * line);
        for (int64_t y = y0; y < y1; ++y) filter_line(y, filtered.data() + (y - y0) * line);
        for (int64_t other = y0 - job.radius; other < y1 + job.radius; ++other) {
            if (other < 0 || other >= job.lines) continue;
            for (int64_t x0 = 0; x0 < job.length; x0 += 64) {
                const int64_t x1 = x0 + 64 < job.length ? x0 + 64 : job.length;
                for (int64_t y = y0; y < y1; ++y) {
                    if (y - other > job.radius || other - y > job.radius) continue;
                    Row<float, W> sum;
                    sum.zero();
                    for (int64_t x = x0; x < x1; ++x) {
                        Row<float, W> mine, theirs;
                        mine.load(a + (other * job.next + x * job.step) * W);
                        theirs.load(filtered.data() + (y - y0) * line + x * W);
                        mine.multiply(theirs);
                        sum.add(mine);
                    }
                    job.pairs[other * kept + y - other + job.radius] += static_cast<double>(total(sum));
                }
            }
        }
    };
    parallel_for((job.lines + together_lines - 1) / together_lines, job.n_threads, body);
}

template <int W>
void moments(const df_lattice_moments_job& job) {
    if (job.half) {
        Moments<W, Half> each(job);
        for (int64_t g = 0; g < job.groups; ++g) each.run(g);
        return;
    }
    Moments<W, float> each(job);
    for (int64_t g = 0; g < job.groups; ++g) each.run(g);
}

template <int W>
void pairs(const df_grid_pairs_job& job) {
    for (int64_t g = 0; g < job.groups; ++g)
        job.half ? pairs_of_group<W, Half>(job, g) : pairs_of_group<W, float>(job, g);
}

}  // namespace

void lattice_moments(const df_lattice_moments_job& job) {
    switch (job.width) {
        case 4: return moments<4>(job);
        case 8: return moments<8>(job);
        case 16: return moments<16>(job);
        case 24: return moments<24>(job);
        default: return moments<32>(job);
    }
}

void grid_pairs(const df_grid_pairs_job& job) {
    switch (job.width) {
        case 4: return pairs<4>(job);
        case 8: return pairs<8>(job);
        case 16: return pairs<16>(job);
        case 24: return pairs<24>(job);
        default: return pairs<32>(job);
    }
}

}  // namespace DF_TARGET
}  // namespace densefield

#if defined(DF_ENTRY)
namespace {

bool known(int64_t width) { return width == 4 || width == 8 || width == 16 || width == 24 || width == 32; }

}  // namespace

extern "C" int df_lattice_moments(const df_lattice_moments_job* job) {
    using namespace densefield;
    return guarded([&] {
        if (!known(job->width) || job->groups < 1 || job->points < 1 || job->rows < 1 || job->d < 1 || job->d > 16 ||
            job->n_threads < 1)
            throw BadArgument();
        DF_DISPATCH(lattice_moments(*job));
    });
}

extern "C" int df_grid_pairs(const df_grid_pairs_job* job) {
    using namespace densefield;
    return guarded([&] {
        if (!known(job->width) || job->groups < 1 || job->lines < 1 || job->length < 1 || job->n_taps < 1 ||
            job->radius < 0 || job->lines * job->length != job->points || job->n_threads < 1)
            throw BadArgument();
        DF_DISPATCH(grid_pairs(*job));
    });
}
#endif
