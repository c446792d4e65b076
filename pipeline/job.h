// A job: one picture, all parameters resolved and checked.
#ifndef SDG_PIPELINE_JOB_H
#define SDG_PIPELINE_JOB_H

#include "pipeline/branches.h"
#include "pipeline/pipeline.h"
#include "scheduler/rng.h"
#include "scheduler/sampler.h"

enum { SDG_PICTURES_MAX = 64 }; // at once

struct sdg_job {
    const struct sdg_generate_params *params;
    const char *prompt, *negative; // never NULL
    bool negative_absent;
    int width, height; // pixels
    int latent_w, latent_h, latent_c;
    size_t latent_elements;
    double cfg_scale;
    bool guidance;           // the prompt and its negative, run together
    bool guidance_embedding; // LCM
    int pictures;            // that run together through the UNet, of as many jobs with this one first; else 1
    bool split_guidance;     // the branches one after the other, when memory is short
    struct sdg_branches branches;
    // UNet and decoder of the picture before may be there, and these stay for the next; until memory is short
    bool keep_networks;
    bool tile_vae;
    int tile; // latent pixels
    int tile_step;
    enum sdg_method method;
    enum sdg_schedule schedule;
    bool preferred; // the sampler is the one that the model's folder means, so that its eta goes with it
    struct sdg_sampler *sampler;
    struct sdg_scheduler_config scheduler;
    struct sdg_rng rng, sampler_rng;
    bool one_rng;
    int clip_skip; // 1..layers as sdg_text_params.skip
    uint64_t seed;
    int steps;
    double strength, start; // start: clock at the beginning of the call
    unsigned only;          // bits of the networks (sdg_network_kind) that it runs; 0 = all that a picture needs
    int chunks;             // of 77 tokens that the prompts have at least
    bool latent_only;       // no decoder is prepared
    bool early_decoder;     // previews: it is there beside the UNet, until memory is short
    bool full_strength;     // inpainting with strength 1 starts from noise alone
    double planned;         // bytes
    double decode_share;    // estimated decode time in units of one sampling step
};

// Defaults filled in, names looked up, ranges checked, the sampler made. SDG_ERROR_USAGE or _INPUT with what is wrong.
// `params` must outlive the job. To be cleared also after a failure.
enum sdg_result sdg_job_create(struct sdg_pipeline *p, const struct sdg_generate_params *params, struct sdg_job *job);
// SDG_ERROR_USAGE, naming `what`, unless it is NULL and 0, or finite and as large as the job's latent.
enum sdg_result sdg_job_check_latent(const struct sdg_pipeline *p, const struct sdg_job *job, const char *what,
                                     const float *data, size_t count);
// SDG_ERROR_USAGE where the autoencoder is only a decoder.
enum sdg_result sdg_job_check_encoder(const struct sdg_pipeline *p);
// A job of the text encoder or the autoencoder alone, of a picture's size, tiles, generators and clip skip.
enum sdg_result sdg_job_create_part(struct sdg_pipeline *p, const struct sdg_generate_params *params,
                                    struct sdg_job *job);
void sdg_job_clear(struct sdg_job *job);
// What a part's difference from the negative prompt is multiplied with, before its weight: the guidance scale where it
// is above 1 and not an input of the network.
double sdg_job_scale(const struct sdg_job *job);
// Guidance scale and size in pixels where the caller says nothing: what the model's folder prefers, else what it was
// made for.
double sdg_default_cfg_scale(const struct sdg_model *model);
void sdg_default_size(const struct sdg_model *model, int *width, int *height);
// SDG_ERROR_USAGE unless the text encoders have that layer; 0 is what models of this kind take.
enum sdg_result sdg_find_clip_skip(const struct sdg_pipeline *p, int skip, int *out);
// The model's UNet takes mask and masked picture besides the latent.
bool sdg_inpaints(const struct sdg_model *model);
// Size of one run of the autoencoder in latent pixels: a tile, or the whole.
void sdg_tile_size(const struct sdg_job *job, int64_t *h, int64_t *w);
// Whether it takes more than one such run.
bool sdg_job_is_tiled(const struct sdg_job *job);

#endif
