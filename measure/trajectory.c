#include "measure/trajectory.h"

#include "base/clock.h"
#include "base/memory.h"
#include "pipeline/answers.h"
#include "pipeline/call.h"
#include "pipeline/job.h"
#include "pipeline/progress.h"
#include "pipeline/sample.h"
#include "pipeline/start.h"
#include "pipeline/text.h"

#include <string.h>

size_t sdg_trajectory_elements(const struct sdg_trajectory *t)
{
    return t->channels * t->pixels;
}

static float *point_of(const struct sdg_trajectory *t, int call)
{
    return t->points + (size_t)call * (1 + t->branches) * sdg_trajectory_elements(t);
}

const float *sdg_trajectory_answer(const struct sdg_trajectory *t, int call)
{
    return point_of(t, call) + sdg_trajectory_elements(t);
}

void sdg_trajectory_clear(struct sdg_trajectory *t)
{
    sdg_free(t->timesteps);
    sdg_free(t->points);
    *t = (struct sdg_trajectory){0};
}

// ---- recording ----

static enum sdg_result allocate(const struct sdg_log *log, const struct sdg_job *job, struct sdg_trajectory *t)
{
    size_t points;
    *t = (struct sdg_trajectory){
        .calls = (size_t)sdg_sampler_calls(job->sampler),
        .branches = (size_t)job->branches.count,
        .channels = (size_t)job->latent_c,
        .pixels = job->latent_elements / (size_t)job->latent_c,
    };
    if (!sdg_mul_size(t->calls * (1 + t->branches), job->latent_elements, &points))
        points = SIZE_MAX;
    t->timesteps = sdg_alloc(log, t->calls, sizeof *t->timesteps, "timesteps");
    t->points = t->timesteps ? sdg_alloc_raw(log, points, sizeof *t->points, "a trajectory") : NULL;
    for (size_t i = 0; t->points && i < t->calls; i++)
        t->timesteps[i] = sdg_sampler_timestep(job->sampler, (int)i);
    return t->points ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result record(void *user, int call, const float *input, const float *answers)
{
    const struct sdg_trajectory *t = user;
    const size_t elements = sdg_trajectory_elements(t);
    float *point = point_of(t, call);
    memcpy(point, input, elements * sizeof *point);
    memcpy(point + elements, answers, t->branches * elements * sizeof *point);
    return SDG_OK;
}

static enum sdg_result draw(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_trajectory *out)
{
    struct sdg_start start = {0};
    const struct sdg_hooks before = p->hooks;
    if (p->model->unet_config.in_channels != job->latent_c)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: its UNet sees %d channels, its latents have %d: outputs can be compared for plain "
                        "text-to-image models only",
                        p->model->path, p->model->unet_config.in_channels, job->latent_c);
    SDG_TRY(allocate(&p->log, job, out));
    SDG_TRY(sdg_stage_text(p, job));
    enum sdg_result result = sdg_start_create(p, job, &start);
    p->hooks = (struct sdg_hooks){.after_call = record, .user = out};
    if (result == SDG_OK)
        result = sdg_stage_sample(p, job, &start);
    p->hooks = before;
    sdg_start_clear(&start);
    return result;
}

static enum sdg_result create_job(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                  struct sdg_job *job)
{
    enum sdg_result result = sdg_job_create(p, generate, job);
    job->latent_only = job->keep_networks = true;
    return result;
}

enum sdg_result sdg_trajectory_record(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                      struct sdg_trajectory *out)
{
    struct sdg_job job;
    *out = (struct sdg_trajectory){0};
    SDG_TRY(sdg_call_enter(p, __func__));
    enum sdg_result result = create_job(p, generate, &job);
    if (result == SDG_OK)
        result = draw(p, &job, out);
    if (result != SDG_OK)
        sdg_trajectory_clear(out);
    sdg_job_clear(&job);
    return sdg_call_leave(p, result);
}

// ---- replaying ----

struct replay {
    const struct sdg_trajectory *trajectory;
    void (*see)(void *user, int call, float *answer);
    void *user;
    float *answer; // [branches][elements]
};

static bool fits(const struct sdg_trajectory *t, const struct sdg_job *job)
{
    bool same = t->calls == (size_t)sdg_sampler_calls(job->sampler) && t->branches == (size_t)job->branches.count &&
        t->channels == (size_t)job->latent_c && sdg_trajectory_elements(t) == job->latent_elements;
    for (size_t i = 0; same && i < t->calls; i++)
        same = t->timesteps[i] == sdg_sampler_timestep(job->sampler, (int)i);
    return same;
}

static enum sdg_result run_call(struct sdg_answers *answers, const struct replay *r, int call)
{
    const struct sdg_trajectory *t = r->trajectory;
    SDG_TRY(sdg_answers_run(answers, call, point_of(t, call), r->answer));
    SDG_TRY(sdg_program_check_finite(answers->unet, r->answer, t->branches * sdg_trajectory_elements(t),
                                     "the UNet's output"));
    r->see(r->user, call, r->answer);
    return SDG_OK;
}

static enum sdg_result run_prepared(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_answers *answers,
                                    const struct replay *r)
{
    const int calls = (int)r->trajectory->calls;
    for (int call = 0; call < calls; call++) {
        double began = sdg_clock();
        SDG_TRY(run_call(answers, r, call));
        SDG_TRY(sdg_progress_report(p, job, "compare", call + 1, calls, sdg_clock() - began, -1));
    }
    return SDG_OK;
}

static enum sdg_result run_calls(struct sdg_pipeline *p, struct sdg_job *job, const struct replay *r)
{
    struct sdg_answers answers;
    if (!fits(r->trajectory, job))
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: latents or timesteps are not those of the other model: outputs cannot be compared",
                        p->model->path);
    SDG_TRY(sdg_stage_text(p, job));
    enum sdg_result result = sdg_answers_begin(p, job, NULL, &answers);
    if (result == SDG_OK)
        result = run_prepared(p, job, &answers, r);
    sdg_answers_end(&answers);
    return result;
}

enum sdg_result sdg_trajectory_replay(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                      const struct sdg_trajectory *trajectory,
                                      void (*see)(void *user, int call, float *answer), void *user)
{
    const size_t answers = trajectory->branches * sdg_trajectory_elements(trajectory);
    struct sdg_job job;
    struct replay replay = {.trajectory = trajectory,
                            .see = see,
                            .user = user,
                            .answer = sdg_alloc_raw(&p->log, answers, sizeof(float), "latents")};
    if (!replay.answer)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_call_enter(p, __func__);
    if (result != SDG_OK) {
        sdg_free(replay.answer);
        return result;
    }
    result = create_job(p, generate, &job);
    if (result == SDG_OK)
        result = run_calls(p, &job, &replay);
    sdg_job_clear(&job);
    sdg_free(replay.answer);
    return sdg_call_leave(p, result);
}
