// Autoencoder stages: latent -> pixels and back, whole or in overlapping tiles.
#include "pipeline/decode.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/networks.h"
#include "pipeline/planar.h"
#include "pipeline/progress.h"
#include "pipeline/tiles.h"
#include "text/tokenizer.h"
#include "vae/vae.h"

#include <math.h>

enum sdg_result sdg_decoder_prepare(struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_DECODER, 0);
    return sdg_network_prepare(p, SDG_NETWORK_DECODER, &shape, NULL);
}

// Multiply-accumulates of one run.
static enum sdg_result count_macs(const struct sdg_pipeline *p, enum sdg_network_kind kind,
                                  const struct sdg_network_shape *shape, double *macs)
{
    struct sdg_graph *graph;
    SDG_TRY(sdg_network_build(p, kind, shape, &graph));
    *macs = sdg_graph_macs(graph);
    sdg_graph_destroy(&graph);
    return SDG_OK;
}

enum sdg_result sdg_estimate_decode_share(struct sdg_pipeline *p, const struct sdg_job *job, double *share)
{
    const struct sdg_network_shape decoder = {.height = job->latent_h, .width = job->latent_w};
    struct sdg_network_shape step =
        sdg_network_shape(p, job, SDG_NETWORK_UNET_STEP, sdg_tokenizer_length(p->tokenizer[0]));
    double unet = 0, whole = 0;
    step.batch = job->branches.count;
    SDG_TRY(count_macs(p, SDG_NETWORK_UNET_STEP, &step, &unet));
    SDG_TRY(count_macs(p, SDG_NETWORK_DECODER, &decoder, &whole));
    *share = whole / unet;
    return SDG_OK;
}

static struct sdg_tiling tiling_of(const struct sdg_pipeline *p, const struct sdg_job *job, bool decode)
{
    int64_t h, w;
    int factor = sdg_vae_factor(&p->model->vae_config);
    sdg_tile_size(job, &h, &w);
    return (struct sdg_tiling){
        .height = job->latent_h,
        .width = job->latent_w,
        .tile_h = (int)h,
        .tile_w = (int)w,
        .step = job->tile_step,
        .in_scale = decode ? 1 : factor,
        .out_scale = decode ? factor : 1,
    };
}

// ---- decode ----

struct progress {
    struct sdg_pipeline *p;
    struct sdg_job *job;
    double start;
};

static enum sdg_result report(void *user, int done, int tiles)
{
    struct progress *r = user;
    double seconds = (sdg_clock() - r->start) / done;
    return sdg_progress_report(r->p, r->job, "decode", done, tiles, seconds, seconds * (tiles - done));
}

// `done` as of sdg_tiles_run.
static enum sdg_result decode(struct sdg_pipeline *p, const struct sdg_job *job, const float *latent,
                              const struct sdg_pixels *out, enum sdg_result (*done)(void *, int, int), void *user)
{
    const struct sdg_vae_config *c = &p->model->vae_config;
    size_t pixels = (size_t)job->width * (size_t)job->height * 3,
           latent_pixels = (size_t)job->latent_w * (size_t)job->latent_h;
    if (c->out_channels != 3)
        return sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED, "%s: the autoencoder makes %d channels instead of 3",
                        p->model->path, c->out_channels);
    float *image = sdg_alloc_raw(&p->log, pixels, sizeof *image, "the decoded picture");
    float *input = sdg_alloc_raw(&p->log, job->latent_elements, sizeof *input, "the latent");
    enum sdg_result result = image && input ? sdg_decoder_prepare(p, job) : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        sdg_planar_to_nhwc(latent, input, job->latent_c, latent_pixels);
        for (size_t i = 0; i < job->latent_elements; i++)
            input[i] = input[i] / c->scaling_factor;
        struct sdg_tiling tiling = tiling_of(p, job, true);
        tiling.in_channels = job->latent_c;
        tiling.out_channels = 3;
        result = sdg_tiles_run(&p->log, p->kept[SDG_NETWORK_DECODER].program, "latent", "image", &tiling, input, image,
                               done, user);
    }
    if (result == SDG_OK)
        result = sdg_program_check_finite(p->kept[SDG_NETWORK_DECODER].program, image, pixels, "the decoded picture");
    if (result == SDG_OK)
        sdg_pixels_write(out, image);
    sdg_free(input);
    sdg_free(image);
    return result;
}

enum sdg_result sdg_decode_quietly(struct sdg_pipeline *p, const struct sdg_job *job, const float *latent,
                                   const struct sdg_pixels *out)
{
    return decode(p, job, latent, out, NULL, NULL);
}

enum sdg_result sdg_stage_decode(struct sdg_pipeline *p, struct sdg_job *job, const float *latent,
                                 const struct sdg_pixels *out)
{
    struct progress progress = {p, job, sdg_clock()};
    const enum sdg_result result = decode(p, job, latent, out, report, &progress);
    if (result != SDG_OK || !job->keep_networks)
        sdg_network_clear(p, SDG_NETWORK_DECODER);
    sdg_memory_trim();
    return result;
}

// ---- encode ----

static enum sdg_result run_encoder(struct sdg_pipeline *p, struct sdg_job *job, const float *image, float *out,
                                   int channels)
{
    struct sdg_program *program = NULL;
    struct sdg_tiling tiling = tiling_of(p, job, false);
    tiling.in_channels = 3;
    tiling.out_channels = channels;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_ENCODER, 0);
    SDG_TRY(sdg_network_compile(p, SDG_NETWORK_ENCODER, &shape, &program));
    enum sdg_result result = sdg_tiles_run(&p->log, program, "image", p->model->vae_config.tiny ? "latent" : "moments",
                                           &tiling, image, out, NULL, NULL);
    if (result == SDG_OK)
        result = sdg_program_check_finite(program, out, (size_t)(job->latent_w * job->latent_h * channels),
                                          "the encoded image");
    sdg_program_destroy(&program);
    return result;
}

// mean + exp(logvar / 2) * noise; log-variance clamped as in diffusers' DiagonalGaussianDistribution. `noise` NULL: the
// mean.
static void sample_posterior(const float *moments, int channels, size_t pixels, const float *noise, float *latent)
{
    for (size_t i = 0; i < pixels; i++)
        for (int k = 0; k < channels; k++) {
            const float *m = moments + i * 2 * (size_t)channels;
            float logvar = fminf(fmaxf(m[channels + k], -30.0f), 20.0f);
            size_t at = (size_t)k * pixels + i;
            latent[at] = noise ? m[k] + expf(0.5f * logvar) * noise[at] : m[k];
        }
}

enum sdg_result sdg_stage_encode(struct sdg_pipeline *p, struct sdg_job *job, const float *image, bool sample,
                                 float *latent)
{
    const struct sdg_vae_config *c = &p->model->vae_config;
    size_t pixels = (size_t)job->latent_w * (size_t)job->latent_h;
    int channels = c->tiny ? job->latent_c : 2 * job->latent_c;
    if (c->in_channels != 3)
        return sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED, "%s: the autoencoder takes %d channels instead of 3",
                        p->model->path, c->in_channels);
    SDG_TRY(sdg_progress_report(p, job, "encode", 0, 1, 0, -1));
    float *encoded = sdg_alloc_raw(&p->log, pixels * (size_t)channels, sizeof *encoded, "the encoded image");
    float *noise = sample ? sdg_alloc_raw(&p->log, job->latent_elements, sizeof *noise, "noise") : NULL;
    enum sdg_result result =
        encoded && (noise || !sample) ? run_encoder(p, job, image, encoded, channels) : SDG_ERROR_MEMORY;
    if (result == SDG_OK && c->tiny)
        sdg_nhwc_to_planar(encoded, latent, job->latent_c, pixels);
    if (result == SDG_OK && !c->tiny) {
        if (sample)
            sdg_rng_normal(&job->rng, noise, job->latent_elements);
        sample_posterior(encoded, job->latent_c, pixels, noise, latent);
    }
    for (size_t i = 0; i < job->latent_elements && result == SDG_OK; i++)
        latent[i] = latent[i] * c->scaling_factor;
    sdg_free(noise);
    sdg_free(encoded);
    sdg_memory_trim();
    return result;
}
