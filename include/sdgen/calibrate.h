// Calibration: what a model's activations look like at every denoising step. Statistics of any number of machines merge
// exactly: the merged file of all shards equals the file of one run byte for byte.
#ifndef SDGEN_CALIBRATE_H
#define SDGEN_CALIBRATE_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_collect_merge SDG_LINK_NAME(sdg_collect_merge_, SDG_API_VERSION)
#define sdg_collect_show SDG_LINK_NAME(sdg_collect_show_, SDG_API_VERSION)

struct sdg_collect_params {
    const char *const *prompts; // [prompt_count] of the whole prompt file, the same for all shards
    size_t prompt_count;
    int shard, shards;  // 1 <= shard <= shards: this run takes prompts shard-1, shard-1+shards, ..; 0, 0 = all
    const char *output; // statistics file (safetensors), written after every prompt
    // second file: moments of the layers' inputs, for GPTQ; written now and then and at the end. NULL = none
    const char *hessians;
    // POSIX extended regular expression: sites with a match keep their tokens apart, where every layer that reads them
    // takes single tokens (linear, 1x1 convolution). NULL = those of Mamba blocks, "\\.mamba\\."; "" = none.
    // SDG_ERROR_USAGE if there is no such site
    const char *tokens;
    // weigh their values, too: intervals by token then make errors small beside the token that they are of, in each
    // picture, not the large ones of few pictures. Three times the size
    bool relative;
    // statistics of this model without smoothing: the sites that keep tokens are smoothed by what these and the weights
    // say, sigma = amax^alpha / wmax^(1 - alpha) for each channel, and what is recorded is of x / sigma. NULL = none
    const char *smooth;
    struct sdg_number smooth_alpha; // 0..1; default 0.5; only beside `smooth`
    // in place of alpha, a quantization scheme: both exponents are searched for each site, those that lose least with
    // its bits; none at all where that is best. NULL = alpha
    const char *smooth_scheme;
    // also record what Mamba's scans and causal convolutions read beside what layers do, so that it can be codes, too
    bool scan_operands;
    // go on with the prompts that the files do not have yet; without it an existing file is an error
    bool resume;
    // How pictures are made: negative_prompt, plain_prompt, size, steps (0 = 50), cfg_scale, sampler (NULL = ddim),
    // schedule (NULL = model), eta, seed (prompt i uses seed + i), rng, sampler_rng, clip_skip, progress. The rest must
    // be zero.
    struct sdg_generate_params generate;
};

// Runs the full-precision model on the prompts and records every site. The pipeline should run in f32; it keeps no
// network afterwards.
SDG_API enum sdg_result sdg_collect(struct sdg_pipeline *pipeline, const struct sdg_collect_params *params);

// Adds up statistics files, or files of Hessians: `inputs` [count] into `output`. SDG_ERROR_INPUT naming file and
// difference where they do not belong together.
SDG_API enum sdg_result sdg_collect_merge(const struct sdg_log *log, const char *const *inputs, size_t count,
                                          const char *output);

struct sdg_collected_site {
    const char *name, *kind; // kind: "symmetric" or "silu"
    size_t channels, rows;
    const double *timesteps; // [rows]
    const float *min, *max;  // [rows]
    const float *typical;    // [rows] 99.9 % of the values are smaller in magnitude
    double correlation;      // Pearson's r between timestep and range
    size_t height, width;    // of the grid of tokens that are kept apart; 0 = none are
};
struct sdg_collected_info {
    const char *model, *sampler, *settings;
    int steps, shard, shards;
    size_t rows, sites, prompts, prompts_done;
};
// Reads a statistics file; calls `info` once, then `site` for each site by name (only `only` if not NULL).
SDG_API enum sdg_result sdg_collect_show(const struct sdg_log *log, const char *path, const char *only,
                                         void (*info)(void *user, const struct sdg_collected_info *info),
                                         void (*site)(void *user, const struct sdg_collected_site *site), void *user);

#ifdef __cplusplus
}
#endif
#endif
