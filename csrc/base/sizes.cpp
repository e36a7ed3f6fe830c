#include "densefield.h"

#define DF_SIZE(job) {#job, sizeof(job)}

extern "C" const df_size* df_sizes(void) {
    static const df_size sizes[] = {
        DF_SIZE(df_gaussian_filter_job),
        DF_SIZE(df_lattice_build_job),
        DF_SIZE(df_lattice_fill_job),
        DF_SIZE(df_lattice_links_job),
        DF_SIZE(df_lattice_filter_job),
        DF_SIZE(df_pair_masks_job),
        DF_SIZE(df_window_pack_job),
        DF_SIZE(df_window_filter_job),
        DF_SIZE(df_window_filter_gradient_job),
        DF_SIZE(df_pair_gradient_job),
        DF_SIZE(df_pair_loss_job),
        DF_SIZE(df_field_lattice),
        DF_SIZE(df_field_grid),
        DF_SIZE(df_field_term),
        DF_SIZE(df_mean_field_job),
        DF_SIZE(df_lattice_moments_job),
        DF_SIZE(df_grid_pairs_job),
        {nullptr, 0},
    };
    return sizes;
}
