/* What the gradient of a mean field by its kernels' widths needs of one iteration: sums over pairs of points (i, j) of
 * a_i . b_j, labels summed up, weighted by the kernel. a and b are rows of labels, a point a row: (groups, points, width)
 * as in mean_field.h; b is in half precision where `half` is set.
 *
 * df_lattice_moments: K is the lattice filter without its scale, f the features (d, points). cross[k] = sum over i of
 * f_k,i of_a_i a_i . K(f_k of_b b)_i; ahead[i] = of_a_i a_i . K(of_b b)_i; behind[i] = of_b_i b_i . K'(of_a a)_i.
 * All three are added to what is there.
 *
 * df_grid_pairs: points stand in `lines` lines of `length`, the next in a line `step` rows on, the next line `next` rows.
 * b is filtered along its lines: after[x] * sum over t of taps[|t|] before[x + t] b[x + t], |t| < n_taps. Then
 * pairs[y, r + radius] += sum over x of a[y, x] . filtered[y + r, x], |r| <= radius; one group at a time.
 */
#ifndef DENSEFIELD_MEAN_FIELD_WIDTHS_H
#define DENSEFIELD_MEAN_FIELD_WIDTHS_H

#include "densefield.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    int32_t d, unused;
    const float *features, *of_a, *of_b;
    double* cross;
    float *ahead, *behind;
} df_moments;

typedef struct {
    const float* a;
    const void* b;
    int64_t groups, points, width;
    int32_t half, n_threads;
    int64_t lines, length, next, step;
    const float *taps, *before, *after; /* (n_taps,), (length,), (length,) */
    int64_t n_taps, radius;
    double* pairs; /* (lines, 2 radius + 1) */
} df_pairs;

DF_API int df_lattice_moments(const df_moments* job);
DF_API int df_grid_pairs(const df_pairs* job);

#ifdef __cplusplus
}
#endif

#endif
