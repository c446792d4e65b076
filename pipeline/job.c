// From the caller's parameters to a job: defaults filled in, names looked up, ranges checked, the sampler made.
#include "pipeline/job.h"

#include "base/clock.h"
#include "pipeline/method.h"
#include "pipeline/parameter_names.h"
#include "text/prompt.h"
#include "text/prompt_check.h"
#include "vae/vae.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SIDE = 16384, MOST_SIGMAS = 1001 }; // of 1000 steps and the 0 that they end at

static double number_or(struct sdg_number number, double otherwise)
{
    return number.given ? number.value : otherwise;
}

// What a model of this kind is usually run with, where its folder says nothing.
double sdg_default_cfg_scale(const struct sdg_model *model)
{
    return number_or(model->preferences.cfg_scale, model->kind == SDG_MODEL_LCM ? 8.5 : 7.0);
}

void sdg_default_size(const struct sdg_model *model, int *width, int *height)
{
    const struct sdg_unet_config *unet = &model->unet_config;
    const int factor = sdg_vae_factor(&model->vae_config);
    *width = model->preferences.width ? model->preferences.width : unet->sample_width * factor;
    *height = model->preferences.height ? model->preferences.height : unet->sample_height * factor;
}

bool sdg_inpaints(const struct sdg_model *model)
{
    return model->unet_config.in_channels == 2 * model->vae_config.latent_channels + 1;
}

static enum sdg_result find_size(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_image *init = job->params->init_image;
    int factor = sdg_vae_factor(&p->model->vae_config), width, height;
    sdg_default_size(p->model, &width, &height);
    job->width = job->params->width ? job->params->width : init ? init->width : width;
    job->height = job->params->height ? job->params->height : init ? init->height : height;
    const struct {
        const char *name;
        int value;
    } sides[2] = {{"width", job->width}, {"height", job->height}};
    for (int i = 0; i < 2; i++)
        if (sides[i].value < factor || sides[i].value > MAX_SIDE || sides[i].value % factor)
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "%s is %d, should be a multiple of %d from %d to %d",
                            sides[i].name, sides[i].value, factor, factor, MAX_SIDE);
    if (init && (init->width != job->width || init->height != job->height))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the init image is %dx%d, the picture %dx%d: resize it first",
                        init->width, init->height, job->width, job->height);
    job->latent_w = job->width / factor;
    job->latent_h = job->height / factor;
    job->latent_c = p->model->vae_config.latent_channels;
    job->latent_elements = (size_t)job->latent_w * (size_t)job->latent_h * (size_t)job->latent_c;
    return SDG_OK;
}

static enum sdg_result check_finite(const struct sdg_pipeline *p, const char *what, const float *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(data[i]))
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "number %zu of the %s is not finite", i + 1, what);
    return SDG_OK;
}

enum sdg_result sdg_job_check_latent(const struct sdg_pipeline *p, const struct sdg_job *job, const char *what,
                                     const float *data, size_t count)
{
    if (!data && count)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "%s_count is %zu, but there is no %s", what, count, what);
    if (!data)
        return SDG_OK;
    if (count != job->latent_elements)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "the %s has %zu numbers, a picture of %dx%d starts from %dx%dx%d (channels, height, width), "
                        "which are %zu",
                        what, count, job->width, job->height, job->latent_c, job->latent_h, job->latent_w,
                        job->latent_elements);
    return check_finite(p, what, data, count);
}

// Counts of the caller's arrays. The mask is as large as the init image, whose size has been checked.
static enum sdg_result check_arrays(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    const size_t pixels = (size_t)job->width * (size_t)job->height;
    SDG_TRY(sdg_job_check_latent(p, job, "noise", g->noise, g->noise_count));
    SDG_TRY(sdg_job_check_latent(p, job, "init_latent", g->init_latent, g->init_latent_count));
    if (g->init_image && g->init_latent)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "there are an init image and an init latent, should be one of them");
    if (g->init_image && !g->init_image->pixels)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the init image has no pixels");
    if (g->mask_count != (g->mask ? pixels : 0))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the mask has %zu pixels, the picture of %dx%d has %zu",
                        g->mask ? g->mask_count : 0, job->width, job->height, pixels);
    if (g->sigmas ? g->sigma_count < 1 || g->sigma_count > MOST_SIGMAS : g->sigma_count != 0)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "there are %d sigmas, should be 1..%d, or 0 and no array",
                        g->sigma_count, MOST_SIGMAS);
    if (g->strength.given && !g->init_image && !g->init_latent)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "a strength needs an init image");
    return SDG_OK;
}

enum sdg_result sdg_job_check_encoder(const struct sdg_pipeline *p)
{
    if (!p->model->vae_config.decoder_only)
        return SDG_OK;
    return sdg_fail(&p->log, SDG_ERROR_USAGE,
                    "%s: the autoencoder has only a decoder, which takes no init image; name a whole one with --vae",
                    p->model->vae_path ? p->model->vae_path : p->model->path);
}

static enum sdg_result check_channels(struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_unet_config *u = &p->model->unet_config;
    if (u->out_channels != job->latent_c)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: the UNet has %d output channels, the autoencoder %d latent channels", p->model->path,
                        u->out_channels, job->latent_c);
    const bool inpaints = sdg_inpaints(p->model);
    if (u->in_channels != job->latent_c && !inpaints)
        return sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED,
                        "%s: the UNet takes %d channels; text-to-image models take %d, inpainting models %d",
                        p->model->path, u->in_channels, job->latent_c, 2 * job->latent_c + 1);
    if (inpaints && !job->params->mask)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "%s is an inpainting model: it needs an init image and a mask",
                        p->model->path);
    if (job->params->mask && !job->params->init_image)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "a mask needs an init image");
    return job->params->init_image ? sdg_job_check_encoder(p) : SDG_OK;
}

static enum sdg_result find_guidance(struct sdg_pipeline *p, struct sdg_job *job)
{
    job->cfg_scale = number_or(job->params->cfg_scale, sdg_default_cfg_scale(p->model));
    if (!isfinite(job->cfg_scale) || fabs(job->cfg_scale) > 1000)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "cfg scale is %g, should be a number from -1000 to 1000",
                        job->cfg_scale);
    job->guidance_embedding = p->model->unet_config.time_cond_proj_dim > 0;
    job->guidance = job->cfg_scale > 1.0 && !job->guidance_embedding;
    return SDG_OK;
}

// Image to image leaves out the first steps of the schedule; the pipeline of latent consistency models instead takes
// all steps among the timesteps of that strength.
static enum sdg_result find_strength(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_sampler_params *sampler)
{
    const struct sdg_generate_params *g = job->params;
    const bool consistency = p->model->latent_consistency && !g->mask &&
        (job->method == SDG_METHOD_LCM || job->method == SDG_METHOD_TCD) &&
        (job->schedule == SDG_SCHEDULE_MODEL || job->schedule == SDG_SCHEDULE_DISCRETE);
    job->strength = number_or(g->strength, 0.75);
    if (!g->init_image && !g->init_latent)
        return SDG_OK;
    if (!(job->strength > 0 && job->strength <= 1))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "strength is %g, should be above 0 and at most 1", job->strength);
    job->full_strength = g->mask && job->strength == 1;
    if (consistency)
        sampler->lcm_points = (int)(job->scheduler.original_inference_steps * job->strength);
    else
        sampler->first_step = job->steps - (int)(job->steps * job->strength);
    if (consistency ? sampler->lcm_points < job->steps : sampler->first_step >= job->steps)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        consistency ? "strength %g leaves fewer timesteps than %d steps; use fewer steps or a higher "
                                      "strength"
                                    : "strength %g of %d steps leaves no step to run; use more steps or a higher "
                                      "strength",
                        job->strength, job->steps);
    return SDG_OK;
}

// The caller's, or that of the sampler that the model's folder prefers; negative: the sampler's own.
static double find_eta(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    return number_or(job->params->eta, job->preferred ? number_or(p->model->preferences.eta, -1.0) : -1.0);
}

static enum sdg_result make_sampler(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    struct sdg_sampler_params params = {
        .method = job->method,
        .schedule = job->schedule,
        .config = &job->scheduler,
        .steps = job->steps,
        .eta = find_eta(p, job),
        .sigmas = g->sigmas,
        .sigma_count = g->sigma_count,
        .elements = job->latent_elements,
    };
    SDG_TRY(find_strength(p, job, &params));
    if (g->eta.given && !(g->eta.value >= 0 && g->eta.value <= 1))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "eta is %g, should be 0..1", g->eta.value);
    return sdg_sampler_create(&p->log, &params, &job->sampler);
}

static enum sdg_result seed_generators(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    int kind = SDG_RNG_CUDA, sampler_kind;
    if (g->rng)
        SDG_TRY(sdg_name_find(&p->log, SDG_NAMES_RNG, "rng", g->rng, &kind));
    sampler_kind = kind;
    if (g->sampler_rng)
        SDG_TRY(sdg_name_find(&p->log, SDG_NAMES_RNG, "sampler rng", g->sampler_rng, &sampler_kind));
    job->one_rng = !g->sampler_rng;
    job->seed = g->seed;
    sdg_rng_seed(&job->rng, (enum sdg_rng_kind)kind, job->seed);
    sdg_rng_seed(&job->sampler_rng, (enum sdg_rng_kind)sampler_kind, job->seed);
    return SDG_OK;
}

double sdg_job_scale(const struct sdg_job *job)
{
    return job->guidance ? job->cfg_scale : 1.0;
}

// ---- prompts ----

static enum sdg_result check_embedding(const struct sdg_pipeline *p, const char *what, const struct sdg_embedding *e)
{
    const struct sdg_model *m = p->model;
    const int length = sdg_tokenizer_length(p->tokenizer[0]), dim = m->unet_config.cross_attention_dim,
              pooled = m->text_encoders > 1 ? m->text_config[1].projection_dim : 0;
    if (e->tokens < length || e->tokens % length || e->tokens / length > SDG_PROMPT_MAX_CHUNKS)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the %s has %d tokens, should be a multiple of %d up to %d", what,
                        e->tokens, length, length * SDG_PROMPT_MAX_CHUNKS);
    if (e->dim != dim || e->pooled_dim != pooled)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "the %s has %d numbers per token and %d pooled ones, this model takes %d and %d", what, e->dim,
                        e->pooled_dim, dim, pooled);
    if (!e->data || (pooled && !e->pooled))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the %s has no numbers", what);
    SDG_TRY(check_finite(p, what, e->data, (size_t)e->tokens * (size_t)dim));
    return check_finite(p, what, e->pooled, (size_t)pooled);
}

static enum sdg_result check_embeddings(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    const struct sdg_embedding *e = g->embedding, *negative = g->negative_embedding;
    if (!e && negative)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "there is an embedding of the negative prompt, but none of the prompt");
    if (!e)
        return SDG_OK;
    if (g->prompt || g->negative_prompt)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "there are embeddings and a prompt, should be one of them");
    if (g->clip_skip)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "clip skip is %d, but the prompts are encoded already", g->clip_skip);
    SDG_TRY(check_embedding(p, "embedding of the prompt", e));
    if (negative)
        SDG_TRY(check_embedding(p, "embedding of the negative prompt", negative));
    if (job->guidance && !negative)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "cfg scale %g needs an embedding of the negative prompt beside that of the prompt",
                        job->cfg_scale);
    if (negative && negative->tokens != e->tokens)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "the embeddings of the prompt and of the negative prompt have %d and %d tokens, should have "
                        "as many (sdg_prompt_params.chunks)",
                        e->tokens, negative->tokens);
    return SDG_OK;
}

// Composed prompts need the negative prompt's branch at every scale: without it the differences of the parts from it
// cannot be added up.
static enum sdg_result find_branches(struct sdg_pipeline *p, struct sdg_job *job)
{
    const bool plain = job->params->plain_prompt;
    SDG_TRY(check_embeddings(p, job));
    if (job->params->embedding) // stands where the text would
        return sdg_branches_create(&p->log, "", "", true, job->guidance, sdg_sampler_steps(job->sampler), job->steps,
                                   &job->branches);
    SDG_TRY(sdg_check_prompt(&p->log, "the prompt", job->prompt, plain));
    SDG_TRY(sdg_check_prompt(&p->log, "the negative prompt", job->negative, plain));
    return sdg_branches_create(&p->log, job->prompt, job->negative, plain,
                               job->guidance || sdg_branches_composed(job->prompt, plain),
                               sdg_sampler_steps(job->sampler), job->steps, &job->branches);
}

// Stable Diffusion XL was trained on the last layer but one, of a single layer on what goes into it.
enum sdg_result sdg_find_clip_skip(const struct sdg_pipeline *p, int skip, int *out)
{
    int layers = p->model->text_config[0].layers;
    if (p->model->text_encoders > 1 && p->model->text_config[1].layers < layers)
        layers = p->model->text_config[1].layers;
    if (skip < 0 || skip > layers)
        return sdg_fail(
            &p->log, SDG_ERROR_USAGE,
            "clip skip is %d, should be 1..%d (the text encoder has %d layers), or absent for the model's own", skip,
            layers, layers);
    *out = skip ? skip : p->model->text_encoders > 1 ? 2 : 1;
    return SDG_OK;
}

static enum sdg_result find_tiles(struct sdg_pipeline *p, struct sdg_job *job)
{
    job->tile = p->params.vae_tile_size ? p->params.vae_tile_size : 32;
    job->tile_step = (int)(job->tile * (1 - number_or(p->params.vae_tile_overlap, 0.5)));
    if (job->tile_step < 1)
        job->tile_step = 1;
    job->tile_vae = p->params.vae_tiling && strcmp(p->params.vae_tiling, "on") == 0;
    return SDG_OK;
}

// Of several pictures, and of what is made of them while they are drawn.
static enum sdg_result check_sequence(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_preview_request *preview = &job->params->preview;
    const int batch = job->params->batch;
    if (batch < 0 || batch > SDG_PICTURES_MAX)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "batch is %d, should be 1..%d, or 0 for what suits", batch,
                        SDG_PICTURES_MAX);
    if (!sdg_name_at(SDG_NAMES_PREVIEW, (int)preview->kind))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the previews' kind is %d, no value of enum sdg_preview_kind",
                        (int)preview->kind);
    if (preview->kind == SDG_PREVIEW_NONE)
        return SDG_OK;
    if (!preview->fn)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "previews need a function that takes them");
    if (preview->interval < 0 || !sdg_pixel_bytes(preview->format))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "previews every %d steps in format %d: one of them is out of range",
                        preview->interval, (int)preview->format);
    job->early_decoder = preview->kind == SDG_PREVIEW_DECODER;
    return SDG_OK;
}

static void begin(struct sdg_pipeline *p, const struct sdg_generate_params *params, struct sdg_job *job)
{
    *job = (struct sdg_job){.params = params, .start = sdg_clock(), .pictures = 1};
    job->prompt = params->prompt ? params->prompt : "";
    job->negative = params->negative_prompt ? params->negative_prompt : "";
    job->negative_absent = !params->negative_prompt;
    job->keep_networks = p->params.keep == SDG_KEEP_NETWORKS;
}

enum sdg_result sdg_job_create_part(struct sdg_pipeline *p, const struct sdg_generate_params *params,
                                    struct sdg_job *job)
{
    begin(p, params, job);
    SDG_TRY(find_size(p, job));
    SDG_TRY(sdg_find_clip_skip(p, job->params->clip_skip, &job->clip_skip));
    SDG_TRY(find_tiles(p, job));
    return seed_generators(p, job);
}

enum sdg_result sdg_job_create(struct sdg_pipeline *p, const struct sdg_generate_params *params, struct sdg_job *job)
{
    begin(p, params, job);
    SDG_TRY(find_size(p, job));
    SDG_TRY(check_channels(p, job));
    SDG_TRY(check_arrays(p, job));
    SDG_TRY(check_sequence(p, job));
    SDG_TRY(find_guidance(p, job));
    SDG_TRY(sdg_job_choose_method(p, job));
    SDG_TRY(sdg_find_clip_skip(p, job->params->clip_skip, &job->clip_skip));
    SDG_TRY(find_tiles(p, job));
    SDG_TRY(seed_generators(p, job));
    SDG_TRY(make_sampler(p, job));
    return find_branches(p, job);
}

void sdg_tile_size(const struct sdg_job *job, int64_t *h, int64_t *w)
{
    *h = job->tile_vae && job->tile < job->latent_h ? job->tile : job->latent_h;
    *w = job->tile_vae && job->tile < job->latent_w ? job->tile : job->latent_w;
}

bool sdg_job_is_tiled(const struct sdg_job *job)
{
    int64_t h, w;
    sdg_tile_size(job, &h, &w);
    return h < job->latent_h || w < job->latent_w;
}

void sdg_job_clear(struct sdg_job *job)
{
    sdg_branches_clear(&job->branches);
    if (job->sampler)
        sdg_sampler_destroy(&job->sampler);
}
