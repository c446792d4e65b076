// A job: one picture, all parameters resolved and checked.
#ifndef SDG_PIPELINE_JOB_H
#define SDG_PIPELINE_JOB_H

#include "pipeline/pipeline.h"
#include "scheduler/rng.h"
#include "scheduler/sampler.h"

struct sdg_job {
    const struct sdg_generate_params *params;
    const char *prompt, *negative; // never NULL
    bool negative_absent;
    int width, height; // pixels
    int latent_w, latent_h, latent_c;
    size_t latent_elements;
    double cfg_scale;
    bool guidance;           // two branches
    bool guidance_embedding; // LCM
    bool split_guidance;     // the branches one after the other, when memory is short
    // Residency of the networks that may be kept from picture to picture.
    bool keep_networks; // those of the picture before are there, and these stay for the next; until memory is short
    bool first_picture; // nothing was kept before it
    bool last_picture;  // nothing is kept after it
    bool tile_vae;
    int tile; // latent pixels
    int tile_step;
    enum sdg_method method;
    enum sdg_schedule schedule;
    struct sdg_sampler *sampler;
    struct sdg_scheduler_config scheduler;
    struct sdg_rng rng, sampler_rng;
    bool one_rng;
    int clip_skip; // 1..layers as sdg_text_params.skip
    int64_t seed;
    int steps;
    double strength, start; // start: clock at the beginning of the call
    bool latent_only;       // no decoder is prepared
    bool full_strength;     // inpainting with strength 1 starts from noise alone
    double planned;         // bytes
    double decode_share;    // estimated decode time in units of one sampling step
};

// Defaults filled in, names looked up, ranges checked, the sampler made. SDG_ERROR_USAGE or _INPUT with what is wrong.
// `params` must outlive the job. To be cleared also after a failure.
enum sdg_result sdg_job_create(struct sdg_pipeline *p, const struct sdg_generate_params *params, struct sdg_job *job);
void sdg_job_clear(struct sdg_job *job);
// Size of one run of the autoencoder in latent pixels: a tile, or the whole.
void sdg_tile_size(const struct sdg_job *job, int64_t *h, int64_t *w);
// Whether it takes more than one such run.
bool sdg_job_is_tiled(const struct sdg_job *job);

#endif
