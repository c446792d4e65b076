// Evaluation: every model draws the same pictures; latents and pictures are compared with the reference's as they
// appear. Models are open one at a time, so an evaluation of many needs the memory of the largest.
#include "sdgen/evaluate.h"

#include "base/clock.h"
#include "base/decibel.h"
#include "base/memory.h"
#include "base/platform.h"
#include "measure/evaluate_outputs.h"
#include "measure/evaluate_sites.h"
#include "pipeline/job.h"
#include "pipeline/template.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MODELS = 64, MAX_SEEDS = 100000 };
static const double MAX_BYTES = 4.0 * 1024 * 1024 * 1024;

// ---- describing the models before anything is drawn ----

static enum sdg_result check_params(const struct sdg_log *log, const struct sdg_evaluate_params *params)
{
    SDG_TRY(sdg_template_check_prompts(log, params->prompts, params->prompt_count, "to evaluate with"));
    if (params->model_count < 1 || params->model_count > MAX_MODELS)
        return sdg_fail(log, SDG_ERROR_USAGE, "there are %zu models to compare with the reference, should be 1..%d",
                        params->model_count, MAX_MODELS);
    SDG_REQUIRE(log, params->models, "models");
    if (params->seeds < 0 || params->seeds > MAX_SEEDS)
        return sdg_fail(log, SDG_ERROR_USAGE, "seeds is %d, should be 1..%d", params->seeds, MAX_SEEDS);
    if (params->site_runs < 0 || params->pictures < 0)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s is %d, should be positive, or 0 for none",
                        params->site_runs < 0 ? "site_runs" : "pictures",
                        params->site_runs < 0 ? params->site_runs : params->pictures);
    SDG_TRY(sdg_template_check(log, &params->generate, false));
    SDG_TRY(sdg_template_check_pipeline(log, &params->pipeline));
    if (params->prompt_count > (size_t)INT32_MAX / (size_t)(params->seeds ? params->seeds : 1))
        return sdg_fail(log, SDG_ERROR_USAGE, "%zu prompts with %d seeds are too many pictures", params->prompt_count,
                        params->seeds);
    return SDG_OK;
}

static enum sdg_result list_runs(struct sdg_evaluator *e)
{
    struct sdg_evaluation *shown = e->shown;
    const struct sdg_evaluate_params *params = e->params;
    shown->seeds = params->seeds ? params->seeds : 1;
    shown->runs = params->prompt_count * (size_t)shown->seeds;
    shown->models = params->model_count;
    shown->pictures = (size_t)params->pictures < shown->runs ? (size_t)params->pictures : shown->runs;
    const char **prompts = sdg_evaluation_take(e->store, shown->runs, sizeof *prompts);
    for (size_t i = 0; i < params->prompt_count && prompts; i++) {
        const char *copy = sdg_evaluation_text(e->store, "%s", params->prompts[i]);
        if (!copy)
            return SDG_ERROR_MEMORY;
        for (int k = 0; k < shown->seeds; k++)
            prompts[i * (size_t)shown->seeds + (size_t)k] = copy;
    }
    shown->prompts = prompts;
    return prompts ? SDG_OK : SDG_ERROR_MEMORY;
}

// What the reference's job says about all runs.
static enum sdg_result note_settings(struct sdg_evaluator *e, const struct sdg_job *job)
{
    struct sdg_evaluation *s = e->shown;
    s->steps = sdg_sampler_steps(job->sampler);
    s->calls = (size_t)sdg_sampler_calls(job->sampler);
    s->width = job->width;
    s->height = job->height;
    s->latent_channels = job->latent_c;
    s->latent_width = job->latent_w;
    s->latent_height = job->latent_h;
    s->seed = job->seed;
    s->cfg_scale = job->cfg_scale;
    s->sampler = sdg_method_name(job->method);
    s->schedule = sdg_schedule_name(job->schedule);
    s->rng = sdg_rng_name(job->rng.kind);
    e->elements = job->latent_elements;
    double *timesteps = sdg_evaluation_take(e->store, s->calls, sizeof *timesteps);
    int *step_of_call = sdg_evaluation_take(e->store, s->calls, sizeof *step_of_call);
    if (!timesteps || !step_of_call)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < s->calls; i++) {
        timesteps[i] = sdg_sampler_timestep(job->sampler, (int)i);
        step_of_call[i] = sdg_sampler_step_of_call(job->sampler, (int)i);
    }
    s->timesteps = timesteps;
    s->step_of_call = step_of_call;
    return SDG_OK;
}

static enum sdg_result check_same(const struct sdg_evaluator *e, const struct sdg_pipeline *p,
                                  const struct sdg_job *job)
{
    const struct sdg_evaluation *s = e->shown;
    if (job->latent_c != s->latent_channels || job->latent_w != s->latent_width || job->latent_h != s->latent_height)
        return sdg_fail(&e->log, SDG_ERROR_INPUT,
                        "%s has latents of %dx%dx%d, the reference of %dx%dx%d: they cannot be compared",
                        p->model->path, job->latent_c, job->latent_h, job->latent_w, s->latent_channels,
                        s->latent_height, s->latent_width);
    if (job->width != s->width || job->height != s->height)
        return sdg_fail(&e->log, SDG_ERROR_INPUT, "%s draws %dx%d pixels, the reference %dx%d: choose a size",
                        p->model->path, job->width, job->height, s->width, s->height);
    bool same = sdg_sampler_steps(job->sampler) == s->steps && sdg_sampler_calls(job->sampler) == (int)s->calls;
    for (size_t i = 0; i < s->calls && same; i++)
        same = sdg_sampler_timestep(job->sampler, (int)i) == s->timesteps[i];
    return same
        ? SDG_OK
        : sdg_fail(
              &e->log, SDG_ERROR_INPUT,
              "%s runs at other timesteps than the reference: name sampler and schedule instead of taking the model's",
              p->model->path);
}

// Everything that is kept of the reference, in bytes.
static enum sdg_result allocate_reference(struct sdg_evaluator *e)
{
    const struct sdg_evaluation *s = e->shown;
    double latents = (double)s->runs * s->steps * (double)e->elements * sizeof(float),
           pictures = (double)s->runs * s->width * s->height * 3;
    if (latents + pictures > MAX_BYTES)
        return sdg_fail(&e->log, SDG_ERROR_MEMORY,
                        "latents and pictures of %zu runs of the reference take %.1f GiB, at most %.0f are kept: use "
                        "fewer prompts, seeds or steps",
                        s->runs, (latents + pictures) / (1 << 30), MAX_BYTES / (1 << 30));
    e->latents =
        sdg_alloc_raw(&e->log, s->runs * (size_t)s->steps, e->elements * sizeof *e->latents, "the reference's latents");
    e->pictures = sdg_alloc(&e->log, s->runs, sizeof *e->pictures, "the reference's pictures");
    return e->latents && e->pictures ? SDG_OK : SDG_ERROR_MEMORY;
}

static size_t weight_bytes(const struct sdg_tensors *tensors)
{
    size_t sum = 0;
    for (size_t i = 0; tensors && i < sdg_tensors_count(tensors); i++)
        sum += sdg_tensors_at(tensors, i)->bytes;
    return sum;
}

static const char *make_name(struct sdg_evaluator *e, size_t model, const struct sdg_pipeline *p)
{
    const struct sdg_evaluate_model *m = sdg_evaluate_model_at(e, model);
    if (m->name)
        return sdg_evaluation_text(e->store, "%s", m->name);
    // By its folder; type, backend and correction only if they were asked for.
    return sdg_evaluation_text(e->store, "%s%s%s%s%s%s", p->model_name, m->type ? " " : "", m->type ? m->type : "",
                               m->backend ? " " : "", m->backend ? m->backend : "",
                               m->no_correction ? " uncorrected" : "");
}

static enum sdg_result allocate_model(struct sdg_evaluator *e, size_t model)
{
    struct sdg_model_record *record = &e->models[model];
    struct sdg_evaluation_model *m = record->shown;
    size_t steps = (size_t)e->shown->steps, runs = e->shown->runs;
    record->powers = sdg_evaluation_take(e->store, steps, sizeof *record->powers);
    record->seconds = sdg_evaluation_take(e->store, steps * runs, sizeof *record->seconds);
    record->picture_seconds = sdg_evaluation_take(e->store, runs, sizeof *record->picture_seconds);
    record->outputs = sdg_evaluation_take(e->store, e->shown->calls, sizeof *record->outputs);
    double *values = sdg_evaluation_take(e->store, 2 * steps + 3 * runs + e->shown->calls, sizeof *values);
    m->pictures = (const struct sdg_image *const *)(e->store->images + model * e->shown->pictures);
    if (!record->powers || !record->outputs || !record->seconds || !record->picture_seconds || !values)
        return SDG_ERROR_MEMORY;
    m->latent_sqnr = record->latent_sqnr = values;
    m->latent_mse = record->latent_mse = values + steps;
    m->run_sqnr = record->run_sqnr = values + 2 * steps;
    m->run_psnr = record->run_psnr = record->run_sqnr + runs;
    m->run_ssim = record->run_ssim = record->run_psnr + runs;
    record->output_sqnr = record->run_ssim + runs; // shown when it was measured
    return SDG_OK;
}

static enum sdg_result describe(struct sdg_evaluator *e, size_t model, const struct sdg_pipeline *p)
{
    static const char *const types[] = {[SDG_F32] = "f32", [SDG_F16] = "f16", [SDG_BF16] = "bf16"};
    struct sdg_evaluation_model *m = e->models[model].shown;
    const struct sdg_quantization_config *q = &p->model->unet_config.quantization;
    m->name = make_name(e, model, p);
    m->path = sdg_evaluation_text(e->store, "%s", p->model->path);
    m->scheme = sdg_evaluation_text(e->store, "%s", q->present ? q->scheme : types[p->stage[SDG_STAGE_UNET].dtype]);
    m->rule = sdg_interval_rule_name(p->quantized ? p->quantized->scheme.rule : SDG_INTERVAL_NONE);
    m->corrected = q->present && q->corrected && !p->params.no_correction;
    m->unet_bytes = weight_bytes(p->model->unet) - (p->quantized ? p->quantized->rounding_saves : 0);
    m->weight_bytes =
        m->unet_bytes + weight_bytes(p->model->vae) + weight_bytes(p->model->text[0]) + weight_bytes(p->model->text[1]);
    return m->name && m->path && m->scheme ? allocate_model(e, model) : SDG_ERROR_MEMORY;
}

static enum sdg_result look_at(struct sdg_evaluator *e, size_t model, struct sdg_pipeline *p)
{
    struct sdg_generate_params generate = sdg_evaluate_run(e, 0);
    struct sdg_job job;
    enum sdg_result result = sdg_job_create(p, &generate, &job);
    if (result == SDG_OK && !model)
        e->plain_latents = p->model->unet_config.in_channels == job.latent_c;
    if (result == SDG_OK)
        result = model ? check_same(e, p, &job) : note_settings(e, &job);
    if (result == SDG_OK && !model && e->params->site_runs && !p->quantized)
        result = sdg_evaluate_list_sites(e, p, &job);
    if (result == SDG_OK)
        result = describe(e, model, p);
    if (result == SDG_OK && e->shown->sites)
        result = sdg_evaluate_note_sites(e, model, p->quantized);
    sdg_job_clear(&job);
    return result;
}

static enum sdg_result look_at_all(struct sdg_evaluator *e)
{
    for (size_t i = 0; i <= e->shown->models; i++) {
        struct sdg_pipeline *p;
        SDG_TRY(sdg_evaluate_open(e, i, true, &p));
        enum sdg_result result = look_at(e, i, p);
        sdg_pipeline_destroy(&p);
        if (result != SDG_OK)
            return result;
    }
    return allocate_reference(e);
}

// ---- drawing and comparing ----

// One run of one model.
struct drawing {
    struct sdg_evaluator *e;
    double resumed; // when the last callback returned; negative before the first step
};

static void see_latent(void *user, int step, int steps, const float *latent, int c, int h, int w)
{
    struct drawing *d = user;
    struct sdg_evaluator *e = d->e;
    struct sdg_model_record *record = &e->models[e->model];
    // The first step is left out: tables and keys are made in it, and the program itself for the first picture.
    if (d->resumed >= 0)
        record->seconds[record->second_count++] = sdg_clock() - d->resumed;
    float *reference = e->latents + (e->run * (size_t)steps + (size_t)(step - 1)) * e->elements;
    (void)c, (void)h, (void)w; // checked before
    if (!e->model)
        memcpy(reference, latent, e->elements * sizeof *latent);
    struct sdg_power power = sdg_power_of_difference(reference, latent, e->elements);
    record->powers[step - 1].signal += power.signal;
    record->powers[step - 1].noise += power.noise;
    if (step == steps)
        record->run_sqnr[e->run] = sdg_decibel(power.signal, power.noise);
}

static bool see_progress(void *user, const struct sdg_progress *progress)
{
    struct drawing *d = user;
    bool sampled = !strcmp(progress->stage, "decode"), sampling = !strcmp(progress->stage, "sample");
    bool more = sdg_evaluate_report(d->e, sampled ? d->e->shown->steps : sampling ? progress->step : 0);
    d->resumed = sampling && progress->step > 0 ? sdg_clock() : -1;
    return more;
}

static enum sdg_result draw(struct sdg_evaluator *e, struct sdg_pipeline *p, double *mse)
{
    struct drawing drawing = {.e = e, .resumed = -1};
    struct sdg_model_record *record = &e->models[e->model];
    struct sdg_evaluation_model *m = record->shown;
    struct sdg_generate_params generate = sdg_evaluate_run(e, e->run);
    struct sdg_generate_info info;
    struct sdg_image *image;
    generate.latent = see_latent;
    generate.progress = see_progress;
    generate.latent_user = generate.progress_user = &drawing;
    SDG_TRY(sdg_generate(p, &generate, &image, &info));
    record->picture_seconds[e->run] = info.seconds_total;
    const size_t base = p->bare + sdg_engine_others(p->engine, &p->share),
                 planned = info.peak_planned > base ? info.peak_planned - base : 0;
    m->peak_planned = planned > m->peak_planned ? planned : m->peak_planned;
    m->peak_resident = info.peak_resident > m->peak_resident ? info.peak_resident : m->peak_resident;
    const struct sdg_image *reference = e->model ? e->pictures[e->run] : image;
    *mse += sdg_image_mse(reference, image);
    record->run_psnr[e->run] = sdg_psnr(reference, image);
    record->run_ssim[e->run] = sdg_ssim(reference, image);
    if (!e->model)
        e->pictures[e->run] = image;
    else if (e->run < e->shown->pictures)
        e->store->images[e->model * e->shown->pictures + e->run] = image;
    else
        sdg_image_destroy(&image);
    return SDG_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts the values.
static double median(double *values, size_t count)
{
    if (!count)
        return NAN;
    qsort(values, count, sizeof *values, by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static double mean(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum / (double)count;
}

static void conclude(struct sdg_evaluator *e, size_t model, double mse)
{
    struct sdg_model_record *record = &e->models[model];
    struct sdg_evaluation_model *m = record->shown;
    const struct sdg_evaluation *s = e->shown;
    for (int i = 0; i < s->steps; i++) {
        record->latent_sqnr[i] = sdg_decibel(record->powers[i].signal, record->powers[i].noise);
        record->latent_mse[i] = record->powers[i].noise / ((double)s->runs * (double)e->elements);
    }
    m->sqnr = mean(m->run_sqnr, s->runs);
    m->psnr = mean(m->run_psnr, s->runs);
    m->psnr_pooled = sdg_decibel(255.0 * 255.0, mse / (double)s->runs);
    m->ssim = mean(m->run_ssim, s->runs);
    m->seconds_step = median(record->seconds, record->second_count);
    m->seconds_picture = median(record->picture_seconds, s->runs);
}

static enum sdg_result draw_all(struct sdg_evaluator *e, size_t model)
{
    struct sdg_pipeline *p;
    double mse = 0;
    e->stage = "pictures";
    e->model = model;
    e->run = 0;
    sdg_memory_trim();
    sdg_resident_reset_peak();
    SDG_TRY(sdg_evaluate_open(e, model, false, &p));
    enum sdg_result result = SDG_OK;
    for (; e->run < e->shown->runs && result == SDG_OK; e->run++) {
        result = draw(e, p, &mse);
        e->done += e->shown->steps;
    }
    if (result == SDG_OK)
        result = sdg_evaluate_outputs(e, p);
    sdg_pipeline_destroy(&p);
    if (result == SDG_OK)
        conclude(e, model, mse);
    return result;
}

static enum sdg_result allocate_models(struct sdg_evaluator *e)
{
    size_t count = e->shown->models + 1;
    struct sdg_evaluation_model *shown = sdg_evaluation_take(e->store, count, sizeof *shown);
    e->models = sdg_evaluation_take(e->store, count, sizeof *e->models);
    e->store->images = sdg_evaluation_take(e->store, count * e->shown->pictures, sizeof *e->store->images);
    if (!shown || !e->models || !e->store->images)
        return SDG_ERROR_MEMORY;
    e->store->image_count = count * e->shown->pictures;
    e->shown->model = shown;
    for (size_t i = 0; i < count; i++)
        e->models[i].shown = &shown[i];
    return SDG_OK;
}

static enum sdg_result evaluate(struct sdg_evaluator *e)
{
    SDG_TRY(check_params(&e->log, e->params));
    SDG_TRY(list_runs(e));
    SDG_TRY(allocate_models(e));
    SDG_TRY(look_at_all(e));
    bool any = false;
    for (size_t i = 1; i <= e->shown->models; i++)
        any |= e->models[i].sites != NULL;
    if (!any)
        e->shown->sites = 0; // nobody quantizes them
    e->total = (int64_t)((e->shown->models + 1) * (e->shown->runs + (size_t)sdg_evaluate_output_runs(e)) +
                         (size_t)sdg_evaluate_site_runs(e)) *
        e->shown->steps;
    e->began = sdg_clock();
    for (size_t i = 0; i <= e->shown->models; i++)
        SDG_TRY(draw_all(e, i));
    return e->shown->sites ? sdg_evaluate_compare_sites(e) : SDG_OK;
}

static void clear(struct sdg_evaluator *e)
{
    for (size_t i = 0; e->pictures && i < e->shown->runs; i++)
        if (i < e->shown->pictures)
            e->store->images[i] = e->pictures[i]; // the result's from now on
        else
            sdg_image_destroy(&e->pictures[i]);
    sdg_free(e->pictures);
    for (int i = 0; e->trajectories && i < sdg_evaluate_output_runs(e); i++)
        sdg_trajectory_clear(&e->trajectories[i]);
    sdg_free(e->trajectories);
    sdg_free(e->latents);
    sdg_free(e->sites);
}

enum sdg_result sdg_evaluate(const struct sdg_evaluate_params *params, struct sdg_evaluation **out)
{
    SDG_REQUIRE(params ? &params->pipeline.log : NULL, out, "out");
    *out = NULL;
    SDG_REQUIRE(NULL, params, "params");
    struct sdg_evaluator e = {.params = params, .log = params->pipeline.log};
    SDG_TRY(sdg_evaluation_create(&e.log, &e.store));
    e.shown = &e.store->shown;
    enum sdg_result result = evaluate(&e);
    clear(&e);
    e.store->log = NULL;
    struct sdg_evaluation *evaluation = e.shown;
    if (result != SDG_OK)
        sdg_evaluation_destroy(&evaluation);
    *out = evaluation;
    return result;
}
