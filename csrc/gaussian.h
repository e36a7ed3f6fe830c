/* Separable Gaussian filtering on a grid of any number of dimensions.
 *
 * output(p) = sum_q prod_a k_a(p_a - q_a) input(q), with k_a(r) = exp(-r^2 / (2 theta_a^2)) or, where orders[a] is 1 or
 * 2, its first or second derivative by theta_a. Outside the grid, input is 0. k_a is cut where it falls below the
 * precision of the type (see ops/gaussian/op.py). `input` and `output` hold `planes` grids of sizes[0] x ... x
 * sizes[dimensions - 1] and may be the same memory.
 */
#ifndef DENSEFIELD_GAUSSIAN_H
#define DENSEFIELD_GAUSSIAN_H

#include "densefield.h"

#ifdef __cplusplus
extern "C" {
#endif

DF_API int df_gaussian_filter_f32(const float* input, float* output, int64_t planes, int32_t dimensions,
                                  const int64_t* sizes, const double* theta, const int64_t* orders, int32_t n_threads);
DF_API int df_gaussian_filter_f64(const double* input, double* output, int64_t planes, int32_t dimensions,
                                  const int64_t* sizes, const double* theta, const int64_t* orders, int32_t n_threads);

#ifdef __cplusplus
}
#endif

#endif
