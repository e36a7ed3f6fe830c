/* Mean-field inference of a dense CRF over one image or point set, as one fused loop (Kraehenbuehl and Koltun 2011).
 *
 * Q <- softmax(-unary - sum_m mu_m after_m K_m (before_m Q)); K_m is a lattice filter (see permutohedral.h) or the exact
 * Gaussian of a 2-D grid, `before` and `after` hold its normalisation, mu_m is an energy: one number, one a label or a
 * symmetric matrix. Several lattices of one term are added up. Arrays of labels are (labels, points).
 *
 * Inside the loop labels are the fastest axis, in `groups` of `width` (df_mean_field_layout): Q is
 * (groups, points, width), in half precision where `half` is set and the CPU converts fast; so is `unary`, less each
 * point's least, until the last iteration. A span of 6e4 is too wide for that, one of 1e30 without `half`. At most 2048
 * labels, 8 terms and 128 lattices (field_limits.h).
 */
#ifndef DENSEFIELD_MEAN_FIELD_H
#define DENSEFIELD_MEAN_FIELD_H

#include "densefield.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const int32_t* vertices; /* a lattice over `points` points */
    const float* weights;
    const int32_t *neighbours, *starts, *entries; /* starts and entries may both be null: the call then sorts for itself */
    const float *before, *after; /* (points,) */
    int64_t rows, touched; /* all, and those that pixels touch, which come first */
    const int32_t* order;  /* (rows,) in the order of their coordinates; null: they stand in it */
    int32_t d, term;
} df_field_lattice;

typedef struct {
    const float *before_y, *after_y, *before_x, *after_x; /* (height,) and (width,) */
    double theta_y, theta_x;
    int32_t term, unused;
} df_field_grid;

typedef struct {
    const float* energies; /* 1, labels or labels x labels of them */
    double* gradient;      /* as many, by the backward call; may be null */
    int32_t kind, unused;  /* 0, 1, 2 */
} df_field_term;

typedef struct {
    int64_t labels, points, height, width; /* height * width == points where there is a grid */
    int32_t iterations, half, n_threads, n_lattices, n_grids, n_terms;
    int32_t scores, unused; /* `unary` holds scores, the negatives of energies */
    const df_field_lattice* lattices;
    const df_field_grid* grids;
    const df_field_term* terms;
    const float* unary;
    const float* initial; /* log Q to begin with; null: -unary normalised */
    float* output;        /* log Q */
    int32_t* doubtful;    /* set to 1, and nothing computed, where `unary` holds NaN, Inf or a wide span; null: not asked */
    double* seconds;      /* (8,) by phase (watch.h), added to by the forward call with one thread; null: not wanted */
    void* saved;          /* Q before each iteration, (iterations, groups, points, width); null: not wanted */

    /* backward */
    const float* grad_output;
    float* grad_unary;
    float* grad_initial; /* null: not wanted */
    float* errors;       /* dL / d(logits of each iteration), (iterations, groups, points, width); null: not wanted */
} df_field;

/* The layout of Q: its groups, their width, and the bytes of a number where `half` is asked for: 4 up to four labels. */
DF_API int df_mean_field_layout(int64_t labels, int64_t* groups, int64_t* width, int64_t* bytes);
DF_API int df_mean_field_forward(const df_field* field);
DF_API int df_mean_field_backward(const df_field* field);

#ifdef __cplusplus
}
#endif

#endif
