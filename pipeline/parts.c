// Stages by themselves: a prompt's embedding, a picture's latent, a latent's picture.
#include "sdgen/parts.h"

#include "base/memory.h"
#include "pipeline/call.h"
#include "pipeline/decode.h"
#include "pipeline/memory_plan.h"
#include "pipeline/progress.h"
#include "pipeline/prompt_texts.h"
#include "pipeline/text.h"

#include <string.h>

// A job that needs these networks only (bits of sdg_network_kind), planned: tiles where memory is short.
static enum sdg_result plan_part(struct sdg_pipeline *p, struct sdg_job *job, unsigned networks)
{
    struct sdg_memory_plan plan;
    job->only = networks;
    return sdg_memory_plan(p, job, &plan);
}

// ---- prompt -> embedding ----

void sdg_embedding_destroy(struct sdg_embedding **embedding)
{
    struct sdg_embedding *e = embedding ? *embedding : NULL;
    if (!e)
        return;
    sdg_free(e->data);
    sdg_free(e->pooled);
    sdg_free(e);
    *embedding = NULL;
}

// Of the only text of p->context.
static enum sdg_result copy_context(const struct sdg_pipeline *p, struct sdg_embedding **out)
{
    const struct sdg_context *c = &p->context;
    const size_t numbers = (size_t)c->tokens * (size_t)c->dim, pooled = (size_t)c->pooled_dim;
    struct sdg_embedding *e = sdg_alloc(&p->log, 1, sizeof *e, "an embedding");
    if (!e)
        return SDG_ERROR_MEMORY;
    *e = (struct sdg_embedding){.tokens = c->tokens, .dim = c->dim, .pooled_dim = c->pooled_dim};
    e->data = sdg_alloc_raw(&p->log, numbers, sizeof *e->data, "an embedding");
    e->pooled = pooled ? sdg_alloc_raw(&p->log, pooled, sizeof *e->pooled, "an embedding") : NULL;
    if (!e->data || (pooled && !e->pooled)) {
        sdg_embedding_destroy(&e);
        return SDG_ERROR_MEMORY;
    }
    memcpy(e->data, c->embedding, numbers * sizeof *e->data);
    if (pooled)
        memcpy(e->pooled, c->pooled, pooled * sizeof *e->pooled);
    *out = e;
    return SDG_OK;
}

static enum sdg_result run_text(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_embedding **out)
{
    SDG_TRY(plan_part(p, job, 1u << SDG_NETWORK_TEXT | (p->model->text_encoders > 1 ? 1u << SDG_NETWORK_TEXT_2 : 0)));
    SDG_TRY(sdg_progress_report(p, job, "text", 0, 1, 0, -1));
    SDG_TRY(sdg_stage_text(p, job));
    SDG_TRY(copy_context(p, out));
    return sdg_progress_report(p, job, "text", 1, 1, 0, 0);
}

static enum sdg_result encode_prompt(struct sdg_pipeline *p, const struct sdg_prompt_params *params,
                                     struct sdg_embedding **out)
{
    SDG_REQUIRE(&p->log, params, "params");
    SDG_REQUIRE(&p->log, out, "out");
    const struct sdg_generate_params generate = {.prompt = params->negative ? NULL : params->prompt,
                                                 .negative_prompt = params->negative ? params->prompt : NULL,
                                                 .plain_prompt = params->plain,
                                                 .clip_skip = params->clip_skip,
                                                 .progress = params->progress,
                                                 .progress_user = params->progress_user};
    struct sdg_job job;
    enum sdg_result result = sdg_job_create_part(p, &generate, &job);
    if (result == SDG_OK)
        result = sdg_prompt_texts(p, params, &job.branches);
    if (result == SDG_OK && job.branches.text_count > 1)
        result = sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED,
                          "the prompt is %d texts (AND, [from:to:when], [a|b]), an embedding is one: encode each",
                          job.branches.text_count);
    job.chunks = params->chunks;
    job.steps = job.branches.steps;
    if (result == SDG_OK)
        result = run_text(p, &job, out);
    sdg_job_clear(&job);
    return result;
}

enum sdg_result sdg_encode_prompt(struct sdg_pipeline *pipeline, const struct sdg_prompt_params *params,
                                  struct sdg_embedding **out)
{
    if (out)
        *out = NULL;
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_encode_prompt"));
    const enum sdg_result result = encode_prompt(pipeline, params, out);
    if (result != SDG_OK)
        sdg_embedding_destroy(out);
    return sdg_call_leave(pipeline, result);
}

// ---- the autoencoder ----

static enum sdg_result run_encoder(struct sdg_pipeline *p, struct sdg_job *job, const struct sdg_encode_params *params,
                                   float *latent)
{
    const struct sdg_pixels *picture = &params->picture;
    const size_t numbers = (size_t)picture->width * (size_t)picture->height * 3;
    SDG_TRY(plan_part(p, job, 1u << SDG_NETWORK_ENCODER));
    float *image = sdg_alloc_raw(&p->log, numbers, sizeof *image, "the picture");
    if (!image)
        return SDG_ERROR_MEMORY;
    sdg_pixels_read(picture, image);
    const enum sdg_result result = sdg_stage_encode(p, job, image, params->sample, latent);
    sdg_free(image);
    return result == SDG_OK ? sdg_progress_report(p, job, "encode", 1, 1, 0, 0) : result;
}

static enum sdg_result check_size(const struct sdg_pipeline *p, const struct sdg_job *job, size_t numbers)
{
    if (numbers == job->latent_elements)
        return SDG_OK;
    return sdg_fail(&p->log, SDG_ERROR_USAGE,
                    "the latent has %zu numbers, that of a picture of %dx%d has %dx%dx%d (channels, height, width), "
                    "which are %zu",
                    numbers, job->width, job->height, job->latent_c, job->latent_h, job->latent_w,
                    job->latent_elements);
}

static enum sdg_result encode_picture(struct sdg_pipeline *p, const struct sdg_encode_params *params, float *latent,
                                      size_t numbers)
{
    SDG_REQUIRE(&p->log, params, "params");
    SDG_REQUIRE(&p->log, latent, "latent");
    const struct sdg_pixels *picture = &params->picture;
    const struct sdg_generate_params generate = {.width = picture->width,
                                                 .height = picture->height,
                                                 .seed = params->seed,
                                                 .rng = params->rng,
                                                 .progress = params->progress,
                                                 .progress_user = params->progress_user};
    struct sdg_job job;
    SDG_TRY(sdg_pixels_check(&p->log, "picture", picture, picture->width, picture->height));
    SDG_TRY(sdg_job_check_encoder(p));
    enum sdg_result result = sdg_job_create_part(p, &generate, &job);
    if (result == SDG_OK)
        result = check_size(p, &job, numbers);
    if (result == SDG_OK)
        result = run_encoder(p, &job, params, latent);
    sdg_job_clear(&job);
    return result;
}

enum sdg_result sdg_encode_picture(struct sdg_pipeline *pipeline, const struct sdg_encode_params *params, float *latent,
                                   size_t numbers)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_encode_picture"));
    return sdg_call_leave(pipeline, encode_picture(pipeline, params, latent, numbers));
}

static enum sdg_result run_decoder(struct sdg_pipeline *p, struct sdg_job *job, const float *latent,
                                   const struct sdg_pixels *pixels)
{
    SDG_TRY(plan_part(p, job, 1u << SDG_NETWORK_DECODER));
    SDG_TRY(sdg_progress_report(p, job, "decode", 0, 1, 0, -1));
    return sdg_stage_decode(p, job, latent, pixels);
}

static enum sdg_result decode(struct sdg_pipeline *p, const struct sdg_decode_params *params,
                              const struct sdg_pixels *pixels)
{
    SDG_REQUIRE(&p->log, params, "params");
    SDG_REQUIRE(&p->log, pixels, "pixels");
    SDG_REQUIRE(&p->log, params->latent, "params.latent");
    const struct sdg_generate_params generate = {.width = pixels->width,
                                                 .height = pixels->height,
                                                 .progress = params->progress,
                                                 .progress_user = params->progress_user};
    struct sdg_job job;
    SDG_TRY(sdg_pixels_check(&p->log, "pixels", pixels, pixels->width, pixels->height));
    enum sdg_result result = sdg_job_create_part(p, &generate, &job);
    if (result == SDG_OK)
        result = check_size(p, &job, params->numbers);
    if (result == SDG_OK)
        result = sdg_job_check_latent(p, &job, "latent", params->latent, params->numbers);
    if (result == SDG_OK)
        result = run_decoder(p, &job, params->latent, pixels);
    sdg_job_clear(&job);
    return result;
}

enum sdg_result sdg_decode(struct sdg_pipeline *pipeline, const struct sdg_decode_params *params,
                           const struct sdg_pixels *pixels)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_decode"));
    return sdg_call_leave(pipeline, decode(pipeline, params, pixels));
}
