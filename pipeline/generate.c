// From a job to a picture: the stages one after the other.
#include "pipeline/call.h"
#include "pipeline/decode.h"
#include "pipeline/networks.h"
#include "pipeline/plan_report.h"
#include "pipeline/progress.h"
#include "pipeline/sample.h"
#include "pipeline/start.h"
#include "pipeline/text.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"

#include <stdio.h>
#include <string.h>

enum {
    FAR = 2, // times the area that the model was made for, or as much less
    COUNT_MAX = 1 << 20,
    SUITABLE_PIXELS = 2048, // of all latents that the UNet takes at once
};

// What a call makes, of pictures 0 .. count - 1: pictures, or latents where there are no pixels.
struct request {
    const struct sdg_generate_params *params;
    size_t count;
    const struct sdg_pixels *pixels; // [count]
    struct sdg_image **image;        // where the only one is made, when it is needed
    float *latents;                  // [count][a latent]
    struct sdg_generate_info *infos; // [count]; NULL = not wanted
};

// Pictures that are drawn together, each with what belongs to its number.
struct group {
    int count; // <= room of all arrays
    struct sdg_generate_params *params;
    struct sdg_job *jobs;
    struct sdg_start *starts;
    struct sdg_generate_info *infos;
};

static void fill_info(const struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_generate_info *info)
{
    info->seed = job->seed;
    info->width = job->width;
    info->height = job->height;
    info->steps = job->steps;
    info->clip_skip = job->clip_skip;
    info->cfg_scale = job->cfg_scale;
    info->eta = sdg_sampler_eta(job->sampler);
    info->sampler = sdg_method_name(job->method);
    info->schedule = sdg_schedule_name(job->schedule);
    info->rng = sdg_rng_name(job->rng.kind);
    info->model_name = p->model_name;
    info->backend = p->backend_text;
    info->type = p->type_text;
    info->tiled = sdg_job_is_tiled(job);
    info->peak_planned = (size_t)job->planned;
    info->peak_resident = sdg_resident_peak();
    info->seconds_total = info->seconds_load + info->seconds_text + info->seconds_sample + info->seconds_decode;
}

// Once for a batch, and not of pictures that begin with one.
static void say_size(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    int width, height;
    sdg_default_size(p->model, &width, &height);
    const double area = (double)job->width * job->height, usual = (double)width * height;
    if (job->params->image || job->params->init_image || (area <= FAR * usual && FAR * area >= usual))
        return;
    sdg_say(&p->log, SDG_LOG_INFO, "%s was made for %dx%d: pictures of %dx%d tend to %s", p->model_name, width, height,
            job->width, job->height, area > usual ? "repeat objects" : "be blurred");
}

static void say_line(void *user, const char *line)
{
    sdg_say(user, SDG_LOG_DEBUG, "%s", line);
}

// Once for pictures that differ in their noise alone.
static enum sdg_result say_plan(struct sdg_pipeline *p, const struct sdg_job *job, const struct sdg_memory_plan *plan)
{
    if (p->log.level < SDG_LOG_DEBUG || job->params->image > 0)
        return SDG_OK;
    return sdg_plan_print(&(struct sdg_plan_printer){say_line, &p->log}, p, job, plan);
}

static void say_times(const struct sdg_pipeline *p, const struct sdg_job *job, const struct sdg_generate_info *info)
{
    const int calls = sdg_sampler_calls(job->sampler);
    sdg_say(&p->log, SDG_LOG_DEBUG,
            "seconds: planning %.2f, text %.2f, sampling %.2f (%d evaluations, %.3f each), decoding %.2f",
            info->seconds_load, info->seconds_text, info->seconds_sample, calls,
            calls > 0 ? info->seconds_sample / calls : 0, info->seconds_decode);
}

// ---- a group ----

// Jobs of the group's other pictures: as the first one, but for what their seeds draw.
static enum sdg_result fill_group(struct sdg_pipeline *p, const struct request *r, size_t first, struct group *g)
{
    const struct sdg_job *model = &g->jobs[0];
    for (int i = 1; i < g->count; i++) {
        struct sdg_job *job = &g->jobs[i];
        const size_t number = first + (size_t)i;
        g->params[i] = g->params[0];
        g->params[i].seed = r->params->seed + number;
        g->params[i].image = r->params->image + (int)number;
        SDG_TRY(sdg_job_create(p, &g->params[i], job));
        job->keep_networks = model->keep_networks;
        job->split_guidance = model->split_guidance;
        job->tile_vae = model->tile_vae;
        job->early_decoder = model->early_decoder;
        job->latent_only = model->latent_only;
        job->planned = model->planned;
        job->decode_share = model->decode_share;
    }
    return SDG_OK;
}

static enum sdg_result finish(struct sdg_pipeline *p, const struct request *r, size_t number, struct sdg_job *job,
                              const struct sdg_start *start, bool keep_decoder)
{
    if (r->latents) {
        memcpy(r->latents + number * job->latent_elements, start->latent, job->latent_elements * sizeof *r->latents);
        return SDG_OK;
    }
    if (!r->image) {
        job->keep_networks |= keep_decoder;
        return sdg_stage_decode(p, job, start->latent, &r->pixels[number]);
    }
    if (sdg_image_create(job->width, job->height, r->image) != SDG_OK)
        return sdg_fail(&p->log, SDG_ERROR_MEMORY, "not enough memory for a picture of %dx%d", job->width, job->height);
    const struct sdg_pixels pixels = sdg_pixels_of(*r->image);
    const enum sdg_result result = sdg_stage_decode(p, job, start->latent, &pixels);
    if (result != SDG_OK)
        sdg_image_destroy(r->image);
    return result;
}

// From the plan to pixels; seconds are shared by the pictures.
static enum sdg_result draw_group(struct sdg_pipeline *p, const struct request *r, size_t first, double loading,
                                  struct group *g)
{
    struct sdg_job *job = &g->jobs[0];
    double clock = sdg_clock();
    SDG_TRY(fill_group(p, r, first, g));
    SDG_TRY(sdg_progress_report(p, job, "text", 0, 1, 0, -1));
    SDG_TRY(sdg_stage_text(p, job));
    const double text = sdg_clock() - clock;
    clock = sdg_clock();
    for (int i = 0; i < g->count; i++)
        SDG_TRY(sdg_start_create(p, &g->jobs[i], &g->starts[i]));
    SDG_TRY(sdg_progress_report(p, job, "sample", 0, sdg_sampler_steps(job->sampler), 0, -1));
    SDG_TRY(sdg_stage_sample(p, job, g->starts));
    const double sample = sdg_clock() - clock;
    for (int i = 0; i < g->count; i++) {
        struct sdg_generate_info *info = &g->infos[i];
        clock = sdg_clock();
        SDG_TRY(finish(p, r, first + (size_t)i, &g->jobs[i], &g->starts[i], i + 1 < g->count));
        *info = (struct sdg_generate_info){.seconds_load = loading / g->count,
                                           .seconds_text = text / g->count,
                                           .seconds_sample = sample / g->count,
                                           .seconds_decode = sdg_clock() - clock};
        fill_info(p, &g->jobs[i], info);
    }
    say_times(p, job, &g->infos[0]);
    return SDG_OK;
}

static void group_clear(struct group *g)
{
    for (int i = 0; i < g->count; i++) {
        sdg_start_clear(&g->starts[i]);
        sdg_job_clear(&g->jobs[i]);
        g->jobs[i] = (struct sdg_job){0};
    }
    g->count = 0;
}

static void group_free(struct group *g)
{
    sdg_free(g->params);
    sdg_free(g->jobs);
    sdg_free(g->starts);
    sdg_free(g->infos);
}

static enum sdg_result group_alloc(const struct sdg_log *log, size_t room, struct group *g)
{
    *g = (struct group){.params = sdg_alloc(log, room, sizeof *g->params, "pictures"),
                        .jobs = sdg_alloc(log, room, sizeof *g->jobs, "pictures"),
                        .starts = sdg_alloc(log, room, sizeof *g->starts, "pictures"),
                        .infos = sdg_alloc(log, room, sizeof *g->infos, "pictures")};
    return g->params && g->jobs && g->starts && g->infos ? SDG_OK : SDG_ERROR_MEMORY;
}

// ---- all pictures ----

static enum sdg_result check_outputs(const struct sdg_pipeline *p, const struct request *r, const struct sdg_job *job,
                                     size_t numbers)
{
    char what[40];
    if (r->count > 1 && r->params->noise)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "noise is of one picture, not of %zu", r->count);
    if (r->latents && (numbers % r->count || numbers / r->count != job->latent_elements))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "there is room for %zu numbers, %zu latents have %zu each", numbers,
                        r->count, job->latent_elements);
    for (size_t i = 0; r->pixels && i < r->count; i++) {
        snprintf(what, sizeof what, "pixels[%zu]", i);
        SDG_TRY(sdg_pixels_check(&p->log, what, &r->pixels[i], job->width, job->height));
    }
    return SDG_OK;
}

// How many at once, before memory has its say. Where nothing is asked for, as many as are faster together on a
// processor: those of few pixels, whose weights cost more than their arithmetic.
static int together(const struct sdg_pipeline *p, const struct request *r, const struct sdg_job *job, size_t left)
{
    const size_t pixels = (size_t)job->latent_w * (size_t)job->latent_h;
    size_t most = job->params->batch ? (size_t)job->params->batch : SUITABLE_PIXELS / pixels;
    if (r->params->latent || (p->quantized && p->quantized->scheme.rule == SDG_INTERVAL_DYNAMIC))
        most = 1; // the callback takes one picture at a time, and what is measured in a step would be all pictures'
    most = most < left ? most : left;
    return most < 1 ? 1 : most > SDG_PICTURES_MAX ? SDG_PICTURES_MAX : (int)most;
}

// Draws the pictures from number `first` on that go together; their count is g->count.
static enum sdg_result draw_next(struct sdg_pipeline *p, const struct request *r, size_t first, size_t numbers,
                                 struct group *g)
{
    struct sdg_job *job = &g->jobs[0];
    struct sdg_memory_plan plan;
    const double clock = sdg_clock();
    g->params[0] = *r->params;
    g->params[0].seed += first;
    g->params[0].image += (int)first;
    g->params[0].images = r->params->images ? r->params->images : (int)r->count;
    g->count = 1;
    SDG_TRY(sdg_job_create(p, &g->params[0], job));
    if (first == 0)
        SDG_TRY(check_outputs(p, r, job, numbers));
    job->pictures = together(p, r, job, r->count - first);
    job->latent_only = r->latents != NULL;
    job->keep_networks |= r->count > 1;
    say_size(p, job);
    SDG_TRY(sdg_memory_plan(p, job, &plan));
    SDG_TRY(say_plan(p, job, &plan));
    SDG_TRY(sdg_estimate_decode_share(p, job, &job->decode_share));
    g->count = job->pictures;
    const bool last = first + (size_t)g->count == r->count;
    job->keep_networks &= !last || p->params.keep == SDG_KEEP_NETWORKS;
    return draw_group(p, r, first, sdg_clock() - clock, g);
}

// Infos are the caller's when all is done.
static enum sdg_result draw_all(struct sdg_pipeline *p, const struct request *r, size_t numbers, struct group *g,
                                struct sdg_generate_info *infos)
{
    for (size_t done = 0; done < r->count;) {
        const enum sdg_result result = draw_next(p, r, done, numbers, g);
        for (int i = 0; i < g->count && result == SDG_OK && infos; i++)
            infos[done + (size_t)i] = g->infos[i];
        done += (size_t)g->count;
        group_clear(g);
        SDG_TRY(result);
    }
    return SDG_OK;
}

static enum sdg_result draw(struct sdg_pipeline *p, const struct request *r, size_t numbers)
{
    SDG_REQUIRE(&p->log, r->params, "params");
    if (r->count < 1 || r->count > COUNT_MAX)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the count of pictures is %zu, should be 1..%d", r->count, COUNT_MAX);
    struct sdg_generate_info *infos = NULL;
    struct group group;
    enum sdg_result result = group_alloc(&p->log, r->count < SDG_PICTURES_MAX ? r->count : SDG_PICTURES_MAX, &group);
    if (result == SDG_OK && r->infos && !(infos = sdg_alloc(&p->log, r->count, sizeof *infos, "pictures")))
        result = SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = draw_all(p, r, numbers, &group, infos);
    if (result == SDG_OK && infos)
        memcpy(r->infos, infos, r->count * sizeof *infos);
    if (result != SDG_OK && p->params.keep != SDG_KEEP_NETWORKS)
        sdg_networks_clear(p); // also what waited for the next picture
    sdg_free(infos);
    group_free(&group);
    return result;
}

enum sdg_result sdg_generate(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                             struct sdg_image **out, struct sdg_generate_info *info)
{
    if (out)
        *out = NULL;
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_generate"));
    const struct request request = {.params = params, .count = 1, .image = out, .infos = info};
    enum sdg_result result = SDG_OK;
    if (!out)
        result = sdg_fail(&pipeline->log, SDG_ERROR_USAGE, "the argument 'out' is NULL");
    if (result == SDG_OK)
        result = draw(pipeline, &request, 0);
    return sdg_call_leave(pipeline, result);
}

enum sdg_result sdg_generate_into(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                  const struct sdg_pixels *pixels, size_t count, struct sdg_generate_info *infos)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_generate_into"));
    const struct request request = {.params = params, .count = count, .pixels = pixels, .infos = infos};
    enum sdg_result result = SDG_OK;
    if (!pixels)
        result = sdg_fail(&pipeline->log, SDG_ERROR_USAGE, "the argument 'pixels' is NULL");
    if (result == SDG_OK)
        result = draw(pipeline, &request, 0);
    return sdg_call_leave(pipeline, result);
}

enum sdg_result sdg_generate_latents(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                     float *latents, size_t numbers, size_t count, struct sdg_generate_info *infos)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_generate_latents"));
    const struct request request = {.params = params, .count = count, .latents = latents, .infos = infos};
    enum sdg_result result = SDG_OK;
    if (!latents)
        result = sdg_fail(&pipeline->log, SDG_ERROR_USAGE, "the argument 'latents' is NULL");
    if (result == SDG_OK)
        result = draw(pipeline, &request, numbers);
    return sdg_call_leave(pipeline, result);
}
