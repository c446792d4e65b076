#include "pipeline/method.h"

#include "pipeline/parameter_names.h"
#include "vae/vae.h"

#include <stdio.h>
#include <string.h>

enum { MAX_STEPS = 1000, USUAL_STEPS = 20, CONSISTENCY_STEPS = 4 };

static bool distilled(const struct sdg_model *model)
{
    const char *const class_name = model->scheduler.class_name;
    return model->latent_consistency || strcmp(class_name, "LCMScheduler") == 0 ||
        strcmp(class_name, "TCDScheduler") == 0;
}

// Why the model's own scheduler draws unless another one is chosen; NULL: it does not matter.
static const char *reason(const struct sdg_model *model)
{
    const struct sdg_scheduler_config *c = &model->scheduler;
    if (c->edm.used)
        return "noise levels of its own (EDM)";
    if (distilled(model))
        return "made for few steps";
    if (c->continuous)
        return "continuous timesteps";
    if (!model->has_scheduler)
        return NULL;
    if (c->rescale_betas_zero_snr)
        return "zero terminal SNR";
    return c->spacing == SDG_SPACING_TRAILING ? "trailing timesteps" : NULL;
}

static int method_of_model(const struct sdg_model *model)
{
    const struct sdg_scheduler_config *c = &model->scheduler;
    if (*c->class_name)
        return sdg_method_of_config(c);
    return c->edm.used ? SDG_METHOD_EULER : model->latent_consistency ? SDG_METHOD_LCM : SDG_METHOD_EULER_A;
}

// Old configurations were not written for what is drawn with them today; diffusers' pipelines for Stable Diffusion 1.x
// and 2.x set right what would change the picture, and the one for inpainting other things than the others.
static void correct_scheduler(const struct sdg_pipeline *p, struct sdg_job *job)
{
    const bool inpainting = job->params->mask != NULL;
    job->scheduler = p->model->scheduler;
    if (p->params.prediction)
        job->scheduler.prediction = strcmp(p->params.prediction, "v") == 0 ? SDG_PREDICT_V : SDG_PREDICT_EPSILON;
    if (!p->model->corrects_scheduler)
        return;
    job->scheduler.steps_offset = 1;
    if (inpainting)
        job->scheduler.solver.runge_kutta_start = false;
    else
        job->scheduler.clip_sample = false;
}

// Names of sampler and schedule, NULL where there is none: the caller's, else those that the model's folder prefers.
// Who asks for the schedule "model" means the model's own sampler with it, and who gives sigmas has his schedule.
struct names { const char *sampler, *schedule; };

static struct names wanted_names(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    const struct sdg_preferences *like = &p->model->preferences;
    const bool model = g->schedule && strcmp(g->schedule, sdg_schedule_name(SDG_SCHEDULE_MODEL)) == 0;
    const bool other = g->sampler && strcmp(g->sampler, like->sampler) != 0;
    return (struct names){
        .sampler = !g->sampler && *like->sampler && !model ? like->sampler : g->sampler,
        .schedule = !g->schedule && *like->schedule && !g->sigmas && !other ? like->schedule : g->schedule,
    };
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
static enum sdg_result check_scheduler(const struct sdg_pipeline *p, const struct sdg_job *job, struct names names,
                                       bool schedule_of_model)
{
    const struct sdg_scheduler_config *c = &job->scheduler;
    const bool own_solver = !names.sampler && (!names.schedule || schedule_of_model),
               own_schedule = (!names.sampler && !names.schedule) || schedule_of_model;
    char unknown[SDG_OBJECTION_BYTES];
    if (!p->model->has_scheduler)
        return SDG_OK;
    snprintf(unknown, sizeof unknown, "the scheduler class '%s' has no counterpart here", c->class_name);
    if (*c->class_name && sdg_method_of_config(c) < 0)
        SDG_TRY(object(p, own_solver, unknown));
    if (*c->solver_objection)
        SDG_TRY(object(p, own_solver, c->solver_objection));
    return *c->schedule_objection ? object(p, own_schedule, c->schedule_objection) : SDG_OK;
}

static void say(const struct sdg_pipeline *p, const struct sdg_job *job, const char *why)
{
    const char *const class_name = p->model->scheduler.class_name;
    sdg_say(&p->log, SDG_LOG_INFO, "%s: %s: drawn with its own scheduler%s%s: %s, %s", p->model->path, why,
            *class_name ? ", " : "", class_name, sdg_method_name(job->method), sdg_schedule_name(job->schedule));
}

// For who asks for more: who chose what. `own`: the sampler is the model's.
static void say_choice(const struct sdg_pipeline *p, const struct sdg_job *job, struct names names, bool own,
                       const char *why)
{
    const struct sdg_generate_params *g = job->params;
    sdg_say(&p->log, SDG_LOG_DEBUG, "sampler: %s, %s; schedule: %s, %s", sdg_method_name(job->method),
            g->sampler          ? "as asked"
                : names.sampler ? "as the model's folder prefers"
                : !own          ? "the usual one"
                : why           ? why
                                : "the model's",
            sdg_schedule_name(job->schedule),
            g->sigmas                                 ? "sigmas as given"
                : g->schedule                         ? "as asked"
                : names.schedule                      ? "as the model's folder prefers"
                : job->schedule == SDG_SCHEDULE_MODEL ? "the model's"
                                                      : "the usual one");
}

// The model's options of a sampler are for who takes the model's scheduler. A name that says what an option says wins.
static void choose_solver(const struct sdg_pipeline *p, struct sdg_job *job, struct names names)
{
    struct sdg_solver *solver = &job->scheduler.solver;
    const bool dpm = job->method == SDG_METHOD_DPMPP2M || job->method == SDG_METHOD_DPMPP2M_SDE;
    if (!names.sampler)
        return;
    if ((int)job->method != method_of_model(p->model))
        *solver = (struct sdg_solver){.order = 2};
    if (dpm) {
        solver->algorithm = SDG_ALGORITHM_DPMPP; // dpm++2m_sde makes it stochastic
        solver->order = 2;
    }
}

static enum sdg_result choose_names(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct names names = wanted_names(p, job);
    job->preferred = !job->params->sampler && (names.sampler || !names.schedule);
    const char *const why = reason(p->model);
    int method = SDG_METHOD_EULER_A, schedule = SDG_SCHEDULE_DISCRETE;
    if (names.schedule)
        SDG_TRY(sdg_name_find(&p->log, SDG_NAMES_SCHEDULE, "scheduler", names.schedule, &schedule));
    const bool model = schedule == SDG_SCHEDULE_MODEL;
    if (model && !p->model->has_scheduler && !p->model->single_file)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "%s: has no scheduler/scheduler_config.json, so there is no scheduler 'model'", p->model->path);
    SDG_TRY(check_scheduler(p, job, names, model));
    const bool own = !names.sampler && (model || why);
    if (names.sampler) {
        method = sdg_method_from_name(names.sampler);
        if (method < 0)
            return sdg_name_find(&p->log, SDG_NAMES_SAMPLER, "sampling method", names.sampler, &method);
    } else if (own) {
        method = method_of_model(p->model);
        if (method < 0)
            return sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED,
                            "%s: scheduler class '%s' has no counterpart here; choose a sampling method",
                            p->model->path, p->model->scheduler.class_name);
    }
    if (!names.schedule && !job->params->sigmas && (own || p->model->scheduler.edm.used))
        schedule = SDG_SCHEDULE_MODEL;
    job->method = (enum sdg_method)method;
    job->schedule = (enum sdg_schedule)schedule;
    choose_solver(p, job, names);
    if (own && why && !model)
        say(p, job, why);
    say_choice(p, job, names, own, why);
    return SDG_OK;
}

// Sigmas come in place of both: a 0 at their end is where the last step arrives, none of its own.
static enum sdg_result count_steps(const struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_generate_params *g = job->params;
    const bool few = distilled(p->model) && (job->method == SDG_METHOD_LCM || job->method == SDG_METHOD_TCD);
    const int liked = p->model->preferences.steps;
    int steps = g->steps ? g->steps : liked ? liked : few ? CONSISTENCY_STEPS : USUAL_STEPS;
    if (g->sigmas) {
        const int count = g->sigma_count - (g->sigma_count > 1 && g->sigmas[g->sigma_count - 1] == 0);
        if (g->steps && g->steps != count)
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "steps is %d, but the sigmas are of %d: leave one of the two out",
                            g->steps, count);
        if (g->schedule)
            return sdg_fail(&p->log, SDG_ERROR_USAGE,
                            "scheduler is '%s', but the sigmas come in its place: leave one of the two out",
                            g->schedule);
        steps = count;
    }
    if (steps < 1 || steps > MAX_STEPS)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "steps is %d, should be 1..%d", steps, MAX_STEPS);
    job->steps = steps;
    return SDG_OK;
}

enum sdg_result sdg_job_choose_method(struct sdg_pipeline *p, struct sdg_job *job)
{
    correct_scheduler(p, job);
    SDG_TRY(choose_names(p, job));
    return count_steps(p, job);
}

enum sdg_result sdg_check_preferences(const struct sdg_pipeline *p)
{
    const struct sdg_model *model = p->model;
    const struct sdg_preferences *like = &model->preferences;
    const char *const place = "model_index.json: " SDG_PREFERENCES_KEY;
    const int factor = sdg_vae_factor(&model->vae_config);
    char legal[400];
    int index;
    if (*like->sampler && sdg_method_from_name(like->sampler) < 0) {
        sdg_names_join(SDG_NAMES_SAMPLER, legal, sizeof legal);
        return sdg_fail(&p->log, SDG_ERROR_INPUT, "%s: %s: sampler is \"%s\", should be one of: %s", model->path, place,
                        like->sampler, legal);
    }
    if (*like->schedule && sdg_name_find(NULL, SDG_NAMES_SCHEDULE, "", like->schedule, &index) != SDG_OK) {
        sdg_names_join(SDG_NAMES_SCHEDULE, legal, sizeof legal);
        return sdg_fail(&p->log, SDG_ERROR_INPUT, "%s: %s: schedule is \"%s\", should be one of: %s", model->path,
                        place, like->schedule, legal);
    }
    if (strcmp(like->schedule, sdg_schedule_name(SDG_SCHEDULE_MODEL)) == 0 && !model->has_scheduler)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: %s: schedule is \"%s\", but there is no scheduler/scheduler_config.json", model->path,
                        place, like->schedule);
    if (like->width % factor || like->height % factor)
        return sdg_fail(&p->log, SDG_ERROR_INPUT, "%s: %s: %s is %d, should be a multiple of %d", model->path, place,
                        like->width % factor ? "width" : "height", like->width % factor ? like->width : like->height,
                        factor);
    return SDG_OK;
}
