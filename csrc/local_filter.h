/* The affinity filter: scores averaged over a window with masks m = exp(-scale distance(e_i, e_j)) from embeddings.
 *
 * `shape` holds batch, height, width, window, rate. Planes (masks, weights: one value for each pair of the half window)
 * and maps (C channels) lie as csrc/window.h says, `dot` like a single plane; everything else is contiguous (batch, channels, height,
 * width) or (batch, height, width). Distances: 0 L1, 1 half the squared L2, 2 minus the dot product. NULL stands for an
 * array that is not wanted. ops/local_filter/native.py calls these in turn; formulas are in ops/local_filter/op.py.
 */
#ifndef DENSEFIELD_LOCAL_FILTER_H
#define DENSEFIELD_LOCAL_FILTER_H

#include "densefield.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DF_LOCAL_FILTER(T, S)                                                                                         \
    /* masks <- exp(-scale distance), planes. */                                                                      \
    DF_API int df_pair_masks_##S(const T* embeddings, T* masks, const int64_t* shape, int64_t channels,               \
                                 int32_t distance, double scale, int32_t n_threads);                                  \
    /* map <- values, times `factor` (batch, height, width) where given; then, where `partner` is given, dot <-       \
       sum over channels of map * partner (like values). With `finite`, NaN or Inf is a bad argument, as it is in     \
       embeddings everywhere. */                                                                                      \
    DF_API int df_window_pack_##S(const T* values, const T* factor, const T* partner, T* map, T* dot,                 \
                                  const int64_t* shape, int64_t channels, int32_t finite, int32_t n_threads);         \
    /* Iteration i takes maps[i] into maps[i + 1], the last into output: factor * (centre * map + sum over the window  \
       of masks * map); with `normalize`, factor <- 1 / (sum of masks + centre + floor) first, 0 where that sum        \
       underflows. centre is centre_value where `centre` is NULL, floor is floor_value where `floor` is NULL, and     \
       factor 1 where `factor` is NULL. maps[i + 2] may be maps[i]. */                                                \
    DF_API int df_window_filter_##S(const T* masks, T* const* maps, const T* centre, double centre_value,             \
                                    const T* floor, double floor_value, int32_t normalize, T* factor, T* output,      \
                                    const int64_t* shape, int64_t channels, int64_t iterations, int32_t n_threads);   \
    /* The gradient of that, from h = factor * the gradient by output, a map, and `dot` of it and the output; `maps` as \
       the iterations took them. output <- the gradient by maps[0]; h and `spare`, another map, are overwritten. sums \
       <- minus masks times the gradient by them, planes; of_centre (batch, height, width) += the sum over channels   \
       and iterations of h * map; dot += that of h * what the iteration made, minus the gradient by centre and floor  \
       through the sum of masks. Each of output, sums and of_centre may be NULL: not wanted; dot where not normalized. */ \
    DF_API int df_window_filter_gradient_##S(const T* masks, T* const* maps, const T* centre, double centre_value,    \
                                             const T* factor, T* h, T* spare, T* dot, T* sums, T* of_centre,          \
                                             T* output, const int64_t* shape, int64_t channels, int64_t iterations,   \
                                             int32_t n_threads);                                                      \
    /* gradient <- scale * sum over the window of weights * d distance / d embeddings, and scale_gradient <- the sum  \
       of weights * distance over pairs (NULL: not wanted). */                                                        \
    DF_API int df_pair_gradient_##S(const T* embeddings, const T* weights, T* gradient, const int64_t* shape,         \
                                    int64_t channels, int32_t distance, double scale, double* scale_gradient,         \
                                    int32_t n_threads);

DF_LOCAL_FILTER(float, f32)
DF_LOCAL_FILTER(double, f64)

#ifdef __cplusplus
}
#endif

#endif
