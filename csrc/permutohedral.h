/* Gaussian filtering by the permutohedral lattice (Adams, Baek, Davis 2010), in two steps: build once, filter often.
 *
 * df_lattice_build_*: features (batch, d, points), 1 <= d <= 16, which are divided by the kernel's `widths` (d) and
 * multiplied by `stretch`; taken as they are where `widths` is null. Fills, for each point, the rows of the value table that hold its d + 1 simplex vertices (`vertices`, (batch, points, d + 1)) and its
 * barycentric `weights` in them, and gives the number of rows, or -1 where the features, of more than 2e4 widths, want
 * float64. df_lattice_links then fills `neighbours`
 * (d + 1, rows, 2): the row one step back and one step on along each blur axis, `rows` where there is none; and for each
 * row the places in `weights` that touch it: entries[starts[r] .. starts[r + 1]), ascending. df_lattice_free ends it.
 * df_lattice_fill, between the two, adds the points one step away from those that are there, unless they are then more
 * than `most_rows`, and gives the number of rows: those that are added come last.
 * df_lattice_outgrows tells before, in less time, whether they are more for sure; where it says no, they may be so still.
 * Rows, and those that are added, stand in the order of their lattice coordinates; `order`, where not null, gives that of all.
 * Who splats to few channels does without entries: `starts` and `entries` may both be null.
 * DF_BAD_ARGUMENT: a value that is not finite, or features so wide that the lattice's coordinates overflow.
 *
 * df_lattice_filter_*: values and output are (batch, channels, points). output = slice(blur(splat(values))) * scale, the
 * blur axes in reverse order where `reverse` (the transpose).
 */
#ifndef DENSEFIELD_PERMUTOHEDRAL_H
#define DENSEFIELD_PERMUTOHEDRAL_H

#include "densefield.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct df_lattice df_lattice;

DF_API int df_lattice_build_f32(const float* features, const double* widths, double stretch, int64_t batch, int32_t d,
                                int64_t points, int32_t* vertices, float* weights, int64_t* rows, df_lattice** lattice,
                                int32_t n_threads);
DF_API int df_lattice_build_f64(const double* features, const double* widths, double stretch, int64_t batch, int32_t d,
                                int64_t points, int32_t* vertices, double* weights, int64_t* rows, df_lattice** lattice,
                                int32_t n_threads);
DF_API int df_lattice_fill(df_lattice* lattice, int64_t most_rows, int64_t* rows, int32_t n_threads);
DF_API int df_lattice_outgrows(const df_lattice* lattice, int64_t most_rows, int32_t* yes);
DF_API int df_lattice_links(const df_lattice* lattice, const int32_t* vertices, int32_t* neighbours, int32_t* starts,
                            int32_t* entries, int32_t* order, int32_t n_threads);
DF_API int df_lattice_free(df_lattice* lattice);

DF_API int df_lattice_filter_f32(const float* values, float* output, int64_t batch, int64_t channels, int64_t points,
                                 int32_t d, int64_t rows, const int32_t* vertices, const float* weights,
                                 const int32_t* neighbours, const int32_t* starts, const int32_t* entries,
                                 int32_t reverse, float scale, int32_t n_threads);
DF_API int df_lattice_filter_f64(const double* values, double* output, int64_t batch, int64_t channels, int64_t points,
                                 int32_t d, int64_t rows, const int32_t* vertices, const double* weights,
                                 const int32_t* neighbours, const int32_t* starts, const int32_t* entries,
                                 int32_t reverse, double scale, int32_t n_threads);

#ifdef __cplusplus
}
#endif

#endif
