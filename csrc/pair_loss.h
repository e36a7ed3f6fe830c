/* The pair loss of embeddings: a hinge on the distance of each pair of pixels within a window.
 *
 * loss = sum over pairs with both labels counted of phi(d), phi(d) = max(d - alpha, 0) where the labels are equal and
 * max(beta - d, 0) where they differ, or the square of these. Each unordered pair inside the image enters once; *count
 * is the number of pairs. `labels` (batch, height, width), INT32_MIN where a pixel is left out. `gradient` <- that of
 * 2 * *weight * loss by the embeddings, unless NULL. *weight of 0 becomes 1 / max(2 * *count + places, 1). `shape` holds
 * batch, height, width, window, rate.
 */
#ifndef DENSEFIELD_PAIR_LOSS_H
#define DENSEFIELD_PAIR_LOSS_H

#include "densefield.h"

#ifdef __cplusplus
extern "C" {
#endif

DF_API int df_pair_loss_f32(const float* embeddings, const int32_t* labels, float* gradient, const int64_t* shape,
                            int64_t channels, int32_t distance, double alpha, double beta, int32_t squared,
                            double* weight, double places, double* loss, int64_t* count, int32_t n_threads);
DF_API int df_pair_loss_f64(const double* embeddings, const int32_t* labels, double* gradient, const int64_t* shape,
                            int64_t channels, int32_t distance, double alpha, double beta, int32_t squared,
                            double* weight, double places, double* loss, int64_t* count, int32_t n_threads);

#ifdef __cplusplus
}
#endif

#endif
