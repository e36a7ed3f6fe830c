/* The whole of the native library's face: plain C, so that ctypes loads one binary from every Python and every torch.
 *
 * A function of a job returns a df_status; buffers are contiguous and belong to the caller; `n_threads` says how many
 * threads may work (results do not depend on it). Without a job there are the questions df_sizes, df_cpu and
 * df_mean_field_layout, and df_memory_take, df_memory_release and df_lattice_free for what the library holds.
 */
#ifndef DENSEFIELD_H
#define DENSEFIELD_H

#include <stdint.h>

#if defined(_WIN32)
#define DF_API __declspec(dllexport)
#else
#define DF_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum df_status { DF_OK = 0, DF_BAD_ARGUMENT = 1, DF_OUT_OF_MEMORY = 2, DF_FAILED = 3 };
enum df_type { DF_F32 = 0, DF_F64 = 1 }; /* of what a job calls void*, where it has a `type` */

/* Memory for a caller's large results, aligned to large pages. Given back, it waits for the next (base/memory.cpp). */
DF_API int df_memory_take(int64_t bytes, void** memory);
DF_API int df_memory_release(void* memory);

/* The sizes of all jobs in bytes, a null name at the end: what fills them in elsewhere is held against these. */
typedef struct {
    const char* name;
    int64_t bytes;
} df_size;
DF_API const df_size* df_sizes(void);

/* The instruction set in use: "baseline", "avx2" or "avx512". */
DF_API const char* df_cpu(void);

/* Separable Gaussian filtering on a grid of 1 to 8 axes.
 *
 * output(p) = sum_q prod_a k_a(p_a - q_a) input(q), with k_a(r) = exp(-r^2 / (2 theta_a^2)) or, where orders[a] is 1 or
 * 2, its first or second derivative by theta_a. Outside the grid, input is 0. k_a is cut where it falls below the
 * precision of the type (see ops/gaussian/op.py). `input` and `output` hold `planes` grids of sizes[0] x ... x
 * sizes[axes - 1] and may be the same memory.
 */
typedef struct {
    const void* input;
    void* output;
    int64_t planes;
    int64_t sizes[8];
    double theta[8];
    int64_t orders[8];
    int32_t axes, type, n_threads;
} df_gaussian_filter_job;

DF_API int df_gaussian_filter(const df_gaussian_filter_job* job);

/* Gaussian filtering by the permutohedral lattice (Adams, Baek, Davis 2010), in two steps: build once, filter often.
 *
 * df_lattice_build: features (batch, d, points), 1 <= d <= 16, which are divided by the kernel's `widths` (d) and
 * multiplied by `stretch`; taken as they are where `widths` is null. Fills, for each point, the rows of the value table
 * that hold its d + 1 simplex vertices (`vertices`, (batch, points, d + 1)) and its barycentric `weights` in them, and
 * gives the number of rows, or -1 where the features, of more than 2e4 widths, want float64.
 * df_lattice_fill, where called next, adds the points one step away from those that are there, unless they are then
 * more than `most_rows`, and gives the number of rows: those that are added come last. df_lattice_outgrows, of the same
 * job, gives before, in less time, a number of rows that there would be at least, counted until it exceeds `most_rows`.
 * df_lattice_links then fills `neighbours` (d + 1, rows, 2): the row one step back and one step on along each blur
 * axis, `rows` where there is none; and for each row the places in `weights` that touch it: entries[starts[r] ..
 * starts[r + 1]), ascending. Rows, and those that are added, stand in the order of their lattice coordinates; `order`,
 * where not null, gives that of all. Who splats to few channels does without entries: `starts` and `entries` may both
 * be null. df_lattice_free ends it.
 * DF_BAD_ARGUMENT: a value that is not finite, or features so wide that the lattice's coordinates overflow.
 *
 * df_lattice_filter: values and output are (batch, channels, points). output = slice(blur(splat(values))) * scale, the
 * blur axes in reverse order where `reverse` (the transpose).
 */
typedef struct df_lattice df_lattice;

typedef struct {
    const void* features;
    const double* widths;
    double stretch;
    int64_t batch, points;
    int32_t* vertices;
    void* weights;
    int64_t* rows;
    df_lattice** lattice;
    int32_t d, type, n_threads;
} df_lattice_build_job;

typedef struct {
    df_lattice* lattice;
    int64_t most_rows;
    int64_t* rows;
    int32_t n_threads;
} df_lattice_fill_job;

typedef struct {
    const df_lattice* lattice;
    const int32_t* vertices;
    int32_t *neighbours, *starts, *entries, *order;
    int32_t n_threads;
} df_lattice_links_job;

typedef struct {
    const void* values;
    void* output;
    int64_t batch, channels, points, rows;
    const int32_t* vertices;
    const void* weights;
    const int32_t *neighbours, *starts, *entries;
    double scale;
    int32_t d, reverse, type, n_threads;
} df_lattice_filter_job;

DF_API int df_lattice_build(const df_lattice_build_job* job);
DF_API int df_lattice_outgrows(const df_lattice_fill_job* job);
DF_API int df_lattice_fill(const df_lattice_fill_job* job);
DF_API int df_lattice_links(const df_lattice_links_job* job);
DF_API int df_lattice_free(df_lattice* lattice);
DF_API int df_lattice_filter(const df_lattice_filter_job* job);

/* Mean-field inference of a dense CRF over one image or point set, as one fused loop (Kraehenbuehl and Koltun 2011).
 *
 * Q <- softmax(scores - sum_m mu_m after_m K_m (before_m Q)); K_m is a lattice filter (see above) or the exact
 * Gaussian of a 2-D grid, `before` and `after` hold its normalisation, mu_m is an energy: one number, one a label or a
 * symmetric matrix. Several lattices of one term are added up. Arrays of labels are (labels, points).
 *
 * Inside the loop labels are the fastest axis, in `groups` of `width` (df_mean_field_layout): Q is
 * (groups, points, width), in half precision where `half` is set and the CPU converts fast; so are the scores, less each
 * point's greatest, until the last iteration. A span of 6e4 is too wide for that, one of 1e30 without `half`. At most 2048
 * labels, 8 terms and 128 lattices (crf/field_limits.h).
 */
typedef struct {
    const int32_t* vertices; /* a lattice over `points` points */
    const float* weights;
    const int32_t *neighbours, *starts, *entries; /* starts and entries both null: the call sorts for itself */
    const float *before, *after; /* (points,) */
    int64_t rows, touched; /* all, and those that pixels touch, which come first */
    const int32_t* order;  /* (rows,) in the order of their coordinates; null: they stand in it */
    int32_t d, term;
} df_field_lattice;

typedef struct {
    const float *before_y, *after_y, *before_x, *after_x; /* (height,) and (width,) */
    double theta_y, theta_x;
    int32_t term;
} df_field_grid;

typedef struct {
    const float* energies; /* 1, labels or labels x labels of them */
    double* gradient;      /* as many, by the backward call; may be null */
    int32_t kind;          /* 0, 1, 2 */
} df_field_term;

typedef struct {
    int64_t labels, points, height, width; /* height * width == points where there is a grid */
    int32_t iterations, half, n_threads, n_lattices, n_grids, n_terms;
    const df_field_lattice* lattices;
    const df_field_grid* grids;
    const df_field_term* terms;
    const float* scores;  /* (labels, points), negative energies */
    const float* initial; /* log Q to begin with; null: the scores normalised */
    float* output;        /* log Q */
    int32_t* doubtful;    /* set to 1, nothing computed, where `scores` hold NaN, Inf or a wide span; null: not asked */
    double* seconds;      /* (8,) by phase (base/watch.h), added to by a forward call of one thread; null: not wanted */
    void* saved;          /* Q before each iteration, (iterations, groups, points, width); null: not wanted */

    /* backward */
    const float* grad_output;
    float* grad_scores;
    float* grad_initial; /* null: not wanted */
    float* errors;       /* dL / d(logits of each iteration), (iterations, groups, points, width); null: not wanted */
} df_mean_field_job;

/* The layout of Q: its groups, their width, and the bytes of a number where `half` is asked for: 4 up to four labels. */
DF_API int df_mean_field_layout(int64_t labels, int64_t* groups, int64_t* width, int64_t* bytes);
DF_API int df_mean_field_forward(const df_mean_field_job* job);
DF_API int df_mean_field_backward(const df_mean_field_job* job);

/* What the gradient of a mean field by its kernels' widths needs of one iteration: sums over pairs of points (i, j) of
 * a_i . b_j, labels summed up, weighted by the kernel. a and b are rows of labels, a point a row: (groups, points, width)
 * as above; b is in half precision where `half` is set.
 *
 * df_lattice_moments: K is the lattice filter without its scale, f the features (d, points). cross[k] = sum over i of
 * f_k,i of_a_i a_i . K(f_k of_b b)_i; ahead[i] = of_a_i a_i . K(of_b b)_i; behind[i] = of_b_i b_i . K'(of_a a)_i.
 * All three are added to what is there.
 *
 * df_grid_pairs: points stand in `lines` lines of `length`, the next in a line `step` rows on, the next line `next` rows.
 * b is filtered along its lines: after[x] * sum over t of taps[|t|] before[x + t] b[x + t], |t| < n_taps. Then
 * pairs[y, r + radius] += sum over x of a[y, x] . filtered[y + r, x], |r| <= radius; one group at a time.
 */
typedef struct {
    const float* a;
    const void* b;
    int64_t groups, points, width;
    int32_t half, n_threads;
    /* the lattice */
    const int32_t* vertices;
    const float* weights;
    const int32_t *neighbours, *starts, *entries;
    int64_t rows;
    int32_t d;
    const float *features, *of_a, *of_b;
    double* cross;
    float *ahead, *behind;
} df_lattice_moments_job;

typedef struct {
    const float* a;
    const void* b;
    int64_t groups, points, width;
    int32_t half, n_threads;
    int64_t lines, length, next, step;
    const float *taps, *before, *after; /* (n_taps,), (length,), (length,) */
    int64_t n_taps, radius;
    double* pairs; /* (lines, 2 radius + 1) */
} df_grid_pairs_job;

DF_API int df_lattice_moments(const df_lattice_moments_job* job);
DF_API int df_grid_pairs(const df_grid_pairs_job* job);

/* The affinity filter: scores averaged over a window with masks m = exp(-scale distance(e_i, e_j)) from embeddings.
 *
 * `shape` holds batch, height, width, window, rate. Planes (masks, weights: one value for each pair of the half window)
 * and maps (C channels) lie as window/window.h says, `dot` like a single plane; everything else is contiguous (batch,
 * channels, height, width) or (batch, height, width). Distances: 0 L1, 1 half the squared L2, 2 minus the dot product.
 * NULL stands for an array that is not wanted. ops/local_filter/kernels.py calls these in turn; formulas are in
 * ops/local_filter/op.py.
 */

/* masks <- exp(-scale distance), planes. */
typedef struct {
    const void* embeddings;
    void* masks;
    int64_t shape[5];
    int64_t channels;
    double scale;
    int32_t distance, type, n_threads;
} df_pair_masks_job;

/* map <- values, times `factor` (batch, height, width) where given; then, where `partner` is given, dot <- sum over
 * channels of map * partner (like values). With `finite`, NaN or Inf is a bad argument, as it is in embeddings
 * everywhere. */
typedef struct {
    const void *values, *factor, *partner;
    void *map, *dot;
    int64_t shape[5];
    int64_t channels;
    int32_t finite, type, n_threads;
} df_window_pack_job;

/* Iteration i takes maps[i] into maps[i + 1], the last into output: factor * (centre * map + sum over the window of
 * masks * map); with `normalize`, factor <- 1 / (sum of masks + centre + floor) first, 0 where that sum underflows.
 * centre is centre_value where `centre` is NULL, floor is floor_value where `floor` is NULL, and factor 1 where
 * `factor` is NULL. maps[i + 2] may be maps[i]. */
typedef struct {
    const void* masks;
    void** maps;
    const void *centre, *floor;
    void *factor, *output;
    double centre_value, floor_value;
    int64_t shape[5];
    int64_t channels, iterations;
    int32_t normalize, type, n_threads;
} df_window_filter_job;

/* The gradient of that, from h = factor * the gradient by output, a map, and `dot` of it and the output; `maps` as the
 * iterations took them. output <- the gradient by maps[0]; h and `spare`, another map, are overwritten. sums <- minus
 * masks times the gradient by them, planes; of_centre (batch, height, width) += the sum over channels and iterations of
 * h * map; dot += that of h * what the iteration made, minus the gradient by centre and floor through the sum of masks.
 * Each of output, sums and of_centre may be NULL: not wanted; dot where not normalized. */
typedef struct {
    const void* masks;
    void** maps;
    const void *centre, *factor;
    void *h, *spare, *dot, *sums, *of_centre, *output;
    double centre_value;
    int64_t shape[5];
    int64_t channels, iterations;
    int32_t type, n_threads;
} df_window_filter_gradient_job;

/* gradient <- scale * sum over the window of weights * d distance / d embeddings, and scale_gradient <- the sum of
 * weights * distance over pairs (NULL: not wanted). */
typedef struct {
    const void *embeddings, *weights;
    void* gradient;
    double* scale_gradient;
    int64_t shape[5];
    int64_t channels;
    double scale;
    int32_t distance, type, n_threads;
} df_pair_gradient_job;

DF_API int df_pair_masks(const df_pair_masks_job* job);
DF_API int df_window_pack(const df_window_pack_job* job);
DF_API int df_window_filter(const df_window_filter_job* job);
DF_API int df_window_filter_gradient(const df_window_filter_gradient_job* job);
DF_API int df_pair_gradient(const df_pair_gradient_job* job);

/* The pair loss of embeddings: a hinge on the distance of each pair of pixels within a window.
 *
 * loss = sum over pairs with both labels counted of phi(d), phi(d) = max(d - alpha, 0) where the labels are equal and
 * max(beta - d, 0) where they differ, or the square of these. Each unordered pair inside the image enters once; *count
 * is the number of pairs. `labels` (batch, height, width), INT32_MIN where a pixel is left out. `gradient` <- that of
 * 2 * *weight * loss by the embeddings, unless NULL. *weight of 0 becomes 1 / max(2 * *count + places, 1).
 */
typedef struct {
    const void* embeddings;
    const int32_t* labels;
    void* gradient;
    double *weight, *loss;
    int64_t* count;
    int64_t shape[5];
    int64_t channels;
    double alpha, beta, places;
    int32_t distance, squared, type, n_threads;
} df_pair_loss_job;

DF_API int df_pair_loss(const df_pair_loss_job* job);

#ifdef __cplusplus
}
#endif

#endif
