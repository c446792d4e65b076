// From a job to a picture: the stages one after the other.
#include "pipeline/call.h"
#include "pipeline/decode.h"
#include "pipeline/plan_report.h"
#include "pipeline/progress.h"
#include "pipeline/sample.h"
#include "pipeline/start.h"
#include "pipeline/text.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"

enum { FAR = 2 }; // times the area that the model was made for, or as much less

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
    info->seconds_total = sdg_clock() - job->start;
    info->peak_planned = (size_t)job->planned;
    info->peak_resident = sdg_resident_peak();
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

static enum sdg_result generate(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *start,
                                struct sdg_image **out, struct sdg_generate_info *info)
{
    struct sdg_memory_plan plan;
    double clock = sdg_clock();
    say_size(p, job);
    SDG_TRY(sdg_memory_plan(p, job, &plan));
    SDG_TRY(say_plan(p, job, &plan));
    SDG_TRY(sdg_estimate_decode_share(p, job, &job->decode_share));
    info->seconds_load = sdg_clock() - clock;
    clock = sdg_clock();
    SDG_TRY(sdg_progress_report(p, job, "text", 0, 1, 0, -1));
    SDG_TRY(sdg_stage_text(p, job));
    info->seconds_text = sdg_clock() - clock;
    clock = sdg_clock();
    SDG_TRY(sdg_start_create(p, job, start));
    SDG_TRY(sdg_progress_report(p, job, "sample", 0, sdg_sampler_steps(job->sampler), 0, -1));
    SDG_TRY(sdg_stage_sample(p, job, start));
    info->seconds_sample = sdg_clock() - clock;
    clock = sdg_clock();
    SDG_TRY(sdg_stage_decode(p, job, start->latent, out));
    info->seconds_decode = sdg_clock() - clock;
    fill_info(p, job, info);
    say_times(p, job, info);
    return SDG_OK;
}

enum sdg_result sdg_generate(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                             struct sdg_image **out, struct sdg_generate_info *info)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_REQUIRE(&pipeline->log, out, "out");
    *out = NULL;
    SDG_REQUIRE(&pipeline->log, params, "params");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_generate"));
    struct sdg_job job;
    struct sdg_generate_info used = {0};
    enum sdg_result result = sdg_job_create(pipeline, params, &job);
    struct sdg_start start = {0};
    if (result == SDG_OK)
        result = generate(pipeline, &job, &start, out, &used);
    if (result == SDG_OK && info)
        *info = used;
    sdg_start_clear(&start);
    sdg_job_clear(&job);
    return sdg_call_leave(pipeline, result);
}
