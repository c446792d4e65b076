// From the caller's parameters to a job: defaults filled in, names looked up, ranges checked, the sampler made.
#include "pipeline/job.h"

#include "base/clock.h"
#include "pipeline/parameter_names.h"
#include "vae/vae.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SIDE = 16384, MAX_STEPS = 1000 };

static double number_or(struct sdg_number number, double otherwise)
{
    return number.given ? number.value : otherwise;
}

// What a model of this kind is usually run with.
double sdg_default_cfg_scale(const struct sdg_model *model)
{
    return model->kind == SDG_MODEL_LCM ? 8.5 : 7.0;
}

bool sdg_inpaints(const struct sdg_model *model)
{
    return model->unet_config.in_channels == 2 * model->vae_config.latent_channels + 1;
}

static enum sdg_result find_size(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_image *init = job->params->init_image;
    int factor = sdg_vae_factor(&p->model->vae_config), native = p->model->unet_config.sample_size * factor;
    job->width = job->params->width ? job->params->width : init ? init->width : native;
    job->height = job->params->height ? job->params->height : init ? init->height : native;
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

static enum sdg_result check_noise(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    if (!g->noise && g->noise_count)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "noise_count is %zu, but there is no noise", g->noise_count);
    if (!g->noise)
        return SDG_OK;
    if (g->noise_count != job->latent_elements)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "the noise has %zu numbers, a picture of %dx%d starts from %dx%dx%d (channels, height, width), "
                        "which are %zu",
                        g->noise_count, job->width, job->height, job->latent_c, job->latent_h, job->latent_w,
                        job->latent_elements);
    for (size_t i = 0; i < g->noise_count; i++)
        if (!isfinite(g->noise[i]))
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "number %zu of the noise is not finite", i + 1);
    return SDG_OK;
}

// Counts of the caller's arrays. The mask is as large as the init image, whose size has been checked.
static enum sdg_result check_arrays(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    const size_t pixels = (size_t)job->width * (size_t)job->height;
    SDG_TRY(check_noise(p, job));
    if (g->init_image && !g->init_image->pixels)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the init image has no pixels");
    if (g->mask_count != (g->mask ? pixels : 0))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the mask has %zu pixels, the picture of %dx%d has %zu",
                        g->mask ? g->mask_count : 0, job->width, job->height, pixels);
    if (g->sigmas ? g->sigma_count < 1 : g->sigma_count != 0)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "there are %d sigmas, should be at least 1, or 0 and no array",
                        g->sigma_count);
    if (g->strength.given && !g->init_image)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "a strength needs an init image");
    return SDG_OK;
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
    return SDG_OK;
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

// Old configurations were not written for what is drawn with them today; diffusers' pipelines for Stable Diffusion 1.x
// and 2.x set right what would change the picture, and the one for inpainting other things than the others.
static void correct_scheduler(const struct sdg_pipeline *p, struct sdg_job *job)
{
    const bool inpainting = job->params->mask != NULL;
    job->scheduler = p->model->scheduler;
    if (!p->model->corrects_scheduler)
        return;
    job->scheduler.steps_offset = 1;
    if (inpainting)
        job->scheduler.runge_kutta_start = false;
    else
        job->scheduler.clip_sample = false;
}

static enum sdg_result object(const struct sdg_pipeline *p, bool needed, const char *objection)
{
    const char *const path = p->model->path;
    if (needed)
        return sdg_fail(
            &p->log, SDG_ERROR_UNSUPPORTED,
            "%s: scheduler/scheduler_config.json: %s; choose a sampling method and schedule to draw without "
            "the model's own",
            path, objection);
    sdg_say(&p->log, SDG_LOG_WARNING, "%s: scheduler/scheduler_config.json: %s; the chosen sampler is taken instead",
            path, objection);
    return SDG_OK;
}

// What the model's own sampler does that is not implemented stops a picture unless another one was chosen.
static enum sdg_result check_scheduler(const struct sdg_pipeline *p, const struct sdg_job *job, bool schedule_of_model)
{
    const struct sdg_generate_params *g = job->params;
    const struct sdg_scheduler_config *c = &job->scheduler;
    const bool own_solver = !g->sampler && (!g->schedule || schedule_of_model),
               own_schedule = (!g->sampler && !g->schedule) || schedule_of_model;
    // Where index and file differ, either may be the one that was meant.
    const char *const names[] = {c->class_name, c->file_class_name};
    const int count = strcmp(c->class_name, c->file_class_name) == 0 ? 1 : 2;
    if (!p->model->has_scheduler)
        return SDG_OK;
    for (int i = 0; i < count; i++) {
        char unknown[SDG_OBJECTION_BYTES];
        snprintf(unknown, sizeof unknown, "the scheduler class '%s' has no counterpart here", names[i]);
        if (*names[i] && sdg_method_from_class(names[i]) < 0)
            SDG_TRY(object(p, own_solver, unknown));
    }
    if (c->runge_kutta_start)
        SDG_TRY(object(p, own_solver, "skip_prk_steps is false or absent, supported: true"));
    if (*c->solver_objection)
        SDG_TRY(object(p, own_solver, c->solver_objection));
    return *c->schedule_objection ? object(p, own_schedule, c->schedule_objection) : SDG_OK;
}

static enum sdg_result find_sampler_names(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    int method = SDG_METHOD_EULER_A, schedule = SDG_SCHEDULE_DISCRETE;
    if (g->schedule)
        SDG_TRY(sdg_name_find(&p->log, SDG_NAMES_SCHEDULE, "scheduler", g->schedule, &schedule));
    if (schedule == SDG_SCHEDULE_MODEL && !p->model->has_scheduler && !p->model->single_file)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "%s: has no scheduler/scheduler_config.json, so there is no scheduler 'model'", p->model->path);
    correct_scheduler(p, job);
    SDG_TRY(check_scheduler(p, job, schedule == SDG_SCHEDULE_MODEL));
    if (g->sampler) {
        method = sdg_method_from_name(g->sampler);
        if (method < 0)
            return sdg_name_find(&p->log, SDG_NAMES_SAMPLER, "sampling method", g->sampler, &method);
    } else if (schedule == SDG_SCHEDULE_MODEL && p->model->has_scheduler) {
        method = sdg_method_from_class(p->model->scheduler.class_name);
        if (method < 0)
            return sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED,
                            "%s: scheduler class '%s' has no counterpart here; choose a sampling method",
                            p->model->path, p->model->scheduler.class_name);
    }
    job->method = (enum sdg_method)method;
    job->schedule = (enum sdg_schedule)schedule;
    return SDG_OK;
}

// Sigmas come in place of both: a 0 at their end is where the last step arrives, none of its own.
static enum sdg_result count_steps(const struct sdg_pipeline *p, const struct sdg_generate_params *g, int *steps)
{
    *steps = g->steps ? g->steps : 20;
    if (g->sigmas) {
        const int count = g->sigma_count - (g->sigma_count > 1 && g->sigmas[g->sigma_count - 1] == 0);
        if (g->steps && g->steps != count)
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "steps is %d, but the sigmas are of %d: leave one of the two out",
                            g->steps, count);
        if (g->schedule)
            return sdg_fail(&p->log, SDG_ERROR_USAGE,
                            "scheduler is '%s', but the sigmas come in its place: leave one of the two out",
                            g->schedule);
        *steps = count;
    }
    if (*steps < 1 || *steps > MAX_STEPS)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "steps is %d, should be 1..%d", *steps, MAX_STEPS);
    return SDG_OK;
}

static enum sdg_result make_sampler(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    if (p->params.prediction)
        job->scheduler.prediction = strcmp(p->params.prediction, "v") == 0 ? SDG_PREDICT_V : SDG_PREDICT_EPSILON;
    int steps = 0;
    SDG_TRY(count_steps(p, g, &steps));
    job->strength = number_or(g->strength, 0.75);
    int first = 0;
    if (g->init_image) {
        if (!(job->strength > 0 && job->strength <= 1))
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "strength is %g, should be above 0 and at most 1", job->strength);
        first = steps - (int)(steps * job->strength);
        job->full_strength = job->params->mask && job->strength == 1;
        if (first >= steps)
            return sdg_fail(&p->log, SDG_ERROR_USAGE,
                            "strength %g of %d steps leaves no step to run; use more steps or a higher strength",
                            job->strength, steps);
    }
    struct sdg_sampler_params params = {
        .method = job->method,
        .schedule = job->schedule,
        .config = &job->scheduler,
        .steps = steps,
        .first_step = first,
        .eta = number_or(g->eta, -1.0),
        .sigmas = g->sigmas,
        .sigma_count = g->sigma_count,
        .elements = job->latent_elements,
    };
    if (g->eta.given && !(g->eta.value >= 0 && g->eta.value <= 1))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "eta is %g, should be 0..1", g->eta.value);
    SDG_TRY(sdg_sampler_create(&p->log, &params, &job->sampler));
    job->steps = steps;
    return SDG_OK;
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
    sdg_rng_seed(&job->rng, (enum sdg_rng_kind)kind, (uint64_t)job->seed);
    sdg_rng_seed(&job->sampler_rng, (enum sdg_rng_kind)sampler_kind, (uint64_t)job->seed);
    return SDG_OK;
}

static enum sdg_result find_clip_skip(struct sdg_pipeline *p, struct sdg_job *job)
{
    int layers = p->model->text_config[0].layers, skip = job->params->clip_skip;
    if (skip < 0 || skip > layers)
        return sdg_fail(
            &p->log, SDG_ERROR_USAGE,
            "clip skip is %d, should be 1..%d (the text encoder has %d layers), or absent for the model's own", skip,
            layers, layers);
    job->clip_skip = skip ? skip : p->model->text_encoders > 1 ? 2 : 1;
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

enum sdg_result sdg_job_create(struct sdg_pipeline *p, const struct sdg_generate_params *params, struct sdg_job *job)
{
    *job = (struct sdg_job){.params = params, .start = sdg_clock()};
    job->prompt = params->prompt ? params->prompt : "";
    job->negative = params->negative_prompt ? params->negative_prompt : "";
    job->negative_absent = !params->negative_prompt;
    job->keep_networks = p->params.keep == SDG_KEEP_NETWORKS;
    if (!p->tokenizer[0])
        return sdg_fail(&p->log, SDG_ERROR_INPUT, "%s has no tokenizer: %s", p->model->path,
                        sdg_model_tokenizer_hint());
    SDG_TRY(find_size(p, job));
    SDG_TRY(check_channels(p, job));
    SDG_TRY(check_arrays(p, job));
    SDG_TRY(find_guidance(p, job));
    SDG_TRY(find_sampler_names(p, job));
    SDG_TRY(find_clip_skip(p, job));
    SDG_TRY(find_tiles(p, job));
    SDG_TRY(seed_generators(p, job));
    return make_sampler(p, job);
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
    if (job->sampler)
        sdg_sampler_destroy(&job->sampler);
}
