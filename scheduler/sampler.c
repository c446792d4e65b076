#include "scheduler/sampler.h"

#include "base/memory.h"
#include "scheduler/walk.h"

#include <math.h>
#include <string.h>

enum { MOST_STEPS = 1000 };

// ---- names and rules ------------------------------------------------------------------------------------------------

enum takes { TAKES_OWN_TIMESTEPS = 0, TAKES_SIGMA_SCHEDULES = 1, TAKES_CUSTOM_SIGMAS = 2, TAKES_ANY = 3 };

struct method {
    const char *alias, *class_name; // another name; class of diffusers
    sdg_walk_fill *fill;
    double eta; // where none is asked for
    enum takes takes;
    bool keeps_zero; // can start where a(t) = 0
    struct sdg_schedule_rules rules;
};

#define SIGMA_RULES .points = SDG_POINTS_FRACTIONAL, .own_range = true
#define SOLVER_RULES .points = SDG_POINTS_SOLVER, .rounding = SDG_ROUND_ALWAYS, .final_sigma = true
#define K_DIFFUSION_RULES .points = SDG_POINTS_FRACTIONAL, .log_interpolation = true

// A row per method, row_ and the end of its enumeration's value: a row of names.def without one here does not compile.
static const struct method row_EULER = {NULL,  "EulerDiscreteScheduler",          sdg_walk_euler, 0, TAKES_ANY,
                                        false, {SIGMA_RULES, .final_sigma = true}};
static const struct method row_EULER_A = {
    NULL, "EulerAncestralDiscreteScheduler", sdg_walk_euler_a, 1, TAKES_ANY, false, {SIGMA_RULES}};
static const struct method row_HEUN = {NULL,         "HeunDiscreteScheduler", sdg_walk_heun, 0, TAKES_ANY, false,
                                       {SIGMA_RULES}};
static const struct method row_DPM2 = {
    NULL, "KDPM2DiscreteScheduler", sdg_walk_dpm2, 0, TAKES_ANY, false, {SIGMA_RULES, .rounding = SDG_ROUND_KARRAS}};
static const struct method row_DPMPP2S_A = {NULL, NULL, sdg_walk_dpmpp2s_a, 1, TAKES_ANY, false, {K_DIFFUSION_RULES}};
static const struct method row_DPMPP2M = {NULL,  "DPMSolverMultistepScheduler",     sdg_walk_dpm, 0, TAKES_ANY,
                                          false, {SOLVER_RULES, .dpm_solver = true}};
static const struct method row_DPMPP2M_SDE = {
    NULL, NULL, sdg_walk_dpm_sde, 1, TAKES_ANY, false, {SOLVER_RULES, .dpm_solver = true}};
static const struct method row_DPMPP2MV2 = {NULL, NULL, sdg_walk_dpmpp2mv2, 0, TAKES_ANY, false, {K_DIFFUSION_RULES}};
static const struct method row_DDIM = {
    "ddim_leading", "DDIMScheduler", sdg_walk_ddim, 0, TAKES_SIGMA_SCHEDULES, true, {.points = SDG_POINTS_WHOLE}};
static const struct method row_DDIM_TRAILING = {
    NULL, NULL, sdg_walk_ddim, 0, TAKES_SIGMA_SCHEDULES, true, {.points = SDG_POINTS_WHOLE}};
static const struct method row_PNDM = {
    "plms", "PNDMScheduler", sdg_walk_pndm, 0, TAKES_OWN_TIMESTEPS, false, {.points = SDG_POINTS_WHOLE}};
static const struct method row_UNIPC = {NULL,
                                        "UniPCMultistepScheduler",
                                        sdg_walk_unipc,
                                        0,
                                        TAKES_SIGMA_SCHEDULES,
                                        false,
                                        {SOLVER_RULES, .ends_at_previous = true}};
static const struct method row_LMS = {NULL, "LMSDiscreteScheduler", sdg_walk_lms, 0, TAKES_ANY, false, {SIGMA_RULES}};
static const struct method row_LCM = {
    NULL, "LCMScheduler", sdg_walk_lcm, 0, TAKES_SIGMA_SCHEDULES, true, {.points = SDG_POINTS_LCM}};
static const struct method row_TCD = {
    NULL, "TCDScheduler", sdg_walk_tcd, 0.3, TAKES_OWN_TIMESTEPS, true, {.points = SDG_POINTS_LCM}};
static const struct method row_DDPM = {
    NULL, "DDPMScheduler", sdg_walk_ddpm, 0, TAKES_SIGMA_SCHEDULES, true, {.points = SDG_POINTS_WHOLE}};

static const struct method *const methods[SDG_METHOD_COUNT] = {
#define SDG_METHOD(upper, name, label) [SDG_METHOD_##upper] = &row_##upper,
#include "scheduler/names.def"
};

struct name { const char *name, *label; };
static const struct name method_names[SDG_METHOD_COUNT] = {
#define SDG_METHOD(upper, name, label) {name, label},
#include "scheduler/names.def"
};
static const struct name schedule_names[SDG_SCHEDULE_COUNT] = {
#define SDG_SCHEDULE(upper, name, label) {name, label},
#include "scheduler/names.def"
};

const char *sdg_method_name(enum sdg_method method)
{
    return (unsigned)method < SDG_METHOD_COUNT ? method_names[method].name : "unknown";
}

int sdg_method_from_name(const char *name)
{
    for (int i = 0; i < SDG_METHOD_COUNT; i++)
        if (strcmp(name, method_names[i].name) == 0 || (methods[i]->alias && strcmp(name, methods[i]->alias) == 0))
            return i;
    return -1;
}

int sdg_method_of_config(const struct sdg_scheduler_config *config)
{
    static const struct {
        const char *class_name;
        enum sdg_method method;
    } more[] = {
        {"DDIMParallelScheduler", SDG_METHOD_DDIM}, // the same, but for several steps at once
        {"DDPMParallelScheduler", SDG_METHOD_DDPM},
        {"EDMEulerScheduler", SDG_METHOD_EULER}, // for other networks
        {"EDMDPMSolverMultistepScheduler", SDG_METHOD_DPMPP2M},
    };
    const enum sdg_algorithm algorithm = config->solver.algorithm;
    int method = -1;
    for (int i = 0; i < SDG_METHOD_COUNT; i++)
        if (methods[i]->class_name && strcmp(config->class_name, methods[i]->class_name) == 0)
            method = i;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (strcmp(config->class_name, more[i].class_name) == 0)
            method = (int)more[i].method;
    const bool stochastic = algorithm == SDG_ALGORITHM_SDE_DPMPP || algorithm == SDG_ALGORITHM_SDE_DPM;
    return method == SDG_METHOD_DPMPP2M && stochastic ? SDG_METHOD_DPMPP2M_SDE : method;
}

const char *sdg_method_label(enum sdg_method method)
{
    return (unsigned)method < SDG_METHOD_COUNT ? method_names[method].label : "unknown";
}

const char *sdg_schedule_name(enum sdg_schedule schedule)
{
    return (unsigned)schedule < SDG_SCHEDULE_COUNT ? schedule_names[schedule].name : "unknown";
}

const char *sdg_schedule_label(enum sdg_schedule schedule)
{
    return (unsigned)schedule < SDG_SCHEDULE_COUNT ? schedule_names[schedule].label : "unknown";
}

int sdg_schedule_from_name(const char *name)
{
    for (int i = 0; i < SDG_SCHEDULE_COUNT; i++)
        if (strcmp(name, schedule_names[i].name) == 0)
            return i;
    return -1;
}

// ---- checks of parameters -------------------------------------------------------------------------------------------

static enum sdg_result check_sigmas(const struct sdg_log *log, const struct sdg_sampler_params *params)
{
    const struct method *method = methods[params->method];
    if (!(method->takes & TAKES_CUSTOM_SIGMAS))
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "sampling method %s cannot follow custom sigmas; euler, heun, lms or dpm++2m can",
                        sdg_method_name(params->method));
    if (params->sigma_count < 1)
        return sdg_fail(log, SDG_ERROR_USAGE, "custom sigmas: there are none");
    for (int i = 0; i < params->sigma_count; i++) {
        double sigma = params->sigmas[i];
        bool end = i > 0 && i == params->sigma_count - 1 && sigma == 0;
        if (!end && !(sigma >= 1e-6 && sigma <= 1e6))
            return sdg_fail(log, SDG_ERROR_USAGE,
                            "custom sigmas: number %d is %g, should be 1e-6 .. 1e6 (the last may be 0)", i + 1, sigma);
        if (i > 0 && sigma >= params->sigmas[i - 1])
            return sdg_fail(log, SDG_ERROR_USAGE, "custom sigmas: %g follows %g, they should fall", sigma,
                            params->sigmas[i - 1]);
    }
    return SDG_OK;
}

static bool follows_sigmas(const struct sdg_sampler_params *params)
{
    return params->schedule != SDG_SCHEDULE_DISCRETE && params->schedule != SDG_SCHEDULE_MODEL;
}

static enum sdg_result check_lcm(const struct sdg_log *log, const struct sdg_sampler_params *params)
{
    int original = params->config->original_inference_steps;
    if (original < 1 || original > params->config->train_timesteps)
        return sdg_fail(log, SDG_ERROR_INPUT, "scheduler: original_inference_steps is %d, should be 1 .. %d", original,
                        params->config->train_timesteps);
    if (params->steps > original)
        return sdg_fail(log, SDG_ERROR_USAGE, "steps: %d, but with %s the model has %d; take fewer steps",
                        params->steps, sdg_method_name(params->method), original);
    return SDG_OK;
}

// The model's options belong to its own schedule; whoever names another one means the sampler as it is known.
static struct sdg_solver solver_of(const struct sdg_sampler_params *params)
{
    struct sdg_solver solver = {0};
    if (params->schedule == SDG_SCHEDULE_MODEL && !params->sigmas)
        solver = params->config->solver;
    if (solver.order < 1 || solver.order > 3)
        solver.order = 2;
    return solver;
}

// PNDM's Runge-Kutta steps come first and are three, with a fourth to go on to.
static enum sdg_result check_start(const struct sdg_log *log, const struct sdg_sampler_params *params, int steps)
{
    if (params->method != SDG_METHOD_PNDM || !solver_of(params).runge_kutta_start)
        return SDG_OK;
    if (steps < 4)
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "steps: %d, but the model's scheduler (PNDM with skip_prk_steps false) takes at least 4",
                        steps);
    if (params->first_step > 0)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "the model's scheduler (PNDM with skip_prk_steps false) starts from noise alone: choose a "
                        "sampling method for image to image");
    return SDG_OK;
}

static enum sdg_result check_params(const struct sdg_log *log, const struct sdg_sampler_params *params)
{
    if ((unsigned)params->method >= SDG_METHOD_COUNT || (unsigned)params->schedule >= SDG_SCHEDULE_COUNT)
        return sdg_fail(log, SDG_ERROR_USAGE, "unknown sampling method or schedule (%d, %d)", (int)params->method,
                        (int)params->schedule);
    const struct method *method = methods[params->method];
    int steps = params->steps;
    if (params->sigmas) {
        SDG_TRY(check_sigmas(log, params));
        steps = params->sigma_count - (params->sigmas[params->sigma_count - 1] == 0);
    } else if (follows_sigmas(params) && !(method->takes & TAKES_SIGMA_SCHEDULES)) {
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "sampling method %s has timesteps of its own: schedule %s does not fit, take discrete or model",
                        sdg_method_name(params->method), sdg_schedule_name(params->schedule));
    }
    int most = params->config->train_timesteps < MOST_STEPS ? params->config->train_timesteps : MOST_STEPS;
    if (steps < 1 || steps > most)
        return sdg_fail(log, SDG_ERROR_USAGE, "steps: %d, should be 1 .. %d", steps, most);
    if (params->first_step < 0 || params->first_step >= steps)
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "first step: %d, should be 0 .. %d (nothing is left to do with so little strength)",
                        params->first_step, steps - 1);
    if (!(params->eta <= 1))
        return sdg_fail(log, SDG_ERROR_USAGE, "eta: %g, should be 0 .. 1", params->eta);
    if (params->elements == 0)
        return sdg_fail(log, SDG_ERROR_USAGE, "the latent is empty");
    SDG_TRY(check_start(log, params, steps));
    if (method->rules.points == SDG_POINTS_LCM && !follows_sigmas(params))
        return check_lcm(log, params);
    return SDG_OK;
}

// ---- the sampler ----------------------------------------------------------------------------------------------------

struct sdg_sampler {
    struct sdg_call *calls;
    int count, steps, first_step;
    double init_noise_sigma, eta;
    double clip_range; // infinite: predictions are not clipped
    size_t elements;
    float *saved, *noise, *history[SDG_WALK_HISTORY]; // [elements] each, where the calls use them
    float *memory;                                    // of the vectors
    int depth;                                        // of the history
    int latest;                                       // index in history[] of the last one pushed
};

static void combine_uses(const struct sdg_combination *c, bool *saved, int *history)
{
    *saved = *saved || c->saved != 0;
    for (int k = 0; k < SDG_WALK_HISTORY; k++)
        if (c->history[k] != 0 && *history < k + 1)
            *history = k + 1;
}

// Calls keep and push only what a later call uses; the vectors for that are allocated.
static enum sdg_result allocate_vectors(const struct sdg_log *log, struct sdg_sampler *s)
{
    bool saved = false, draws = false;
    for (int i = 0; i < s->count; i++) {
        combine_uses(&s->calls[i].update, &saved, &s->depth);
        combine_uses(&s->calls[i].correction, &saved, &s->depth);
        draws = draws || s->calls[i].draw;
    }
    for (int i = 0; i < s->count; i++) {
        s->calls[i].save = s->calls[i].save && saved;
        s->calls[i].push = s->calls[i].push && s->depth;
    }
    size_t vectors = (size_t)saved + draws + (size_t)s->depth, bytes;
    if (!sdg_mul_size(s->elements, sizeof(float), &bytes))
        return sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for a latent of %zu elements", s->elements);
    s->memory = sdg_alloc(log, vectors, bytes, "sampler");
    if (!s->memory)
        return SDG_ERROR_MEMORY;
    float *next = s->memory;
    if (saved) {
        s->saved = next;
        next += s->elements;
    }
    if (draws) {
        s->noise = next;
        next += s->elements;
    }
    for (int k = 0; k < s->depth; k++)
        s->history[k] = next + (size_t)k * s->elements;
    return SDG_OK;
}

static enum sdg_result build(const struct sdg_log *log, const struct sdg_sampler_params *params, struct sdg_walk *walk,
                             struct sdg_sampler *s)
{
    const struct method *method = methods[params->method];
    bool zero = method->keeps_zero && params->config->prediction != SDG_PREDICT_EPSILON;
    SDG_TRY(sdg_levels_create(log, params->config, zero, &walk->levels));
    SDG_TRY(sdg_steps_create(log, params, &method->rules, &walk->levels, &walk->steps));
    s->calls = sdg_alloc(log, sdg_walk_most_calls(walk->steps.count), sizeof *s->calls, "sampler");
    if (!s->calls)
        return SDG_ERROR_MEMORY;
    walk->params = params;
    walk->eta = params->eta < 0 ? method->eta : params->eta;
    walk->solver = solver_of(params);
    walk->calls = s->calls;
    method->fill(walk);

    s->count = walk->count;
    s->steps = walk->steps.count - params->first_step;
    s->first_step = params->first_step;
    s->init_noise_sigma = walk->init_noise_sigma;
    s->eta = walk->eta;
    s->clip_range = walk->clip ? (double)params->config->clip_sample_range : INFINITY;
    s->elements = params->elements;
    return allocate_vectors(log, s);
}

enum sdg_result sdg_sampler_create(const struct sdg_log *log, const struct sdg_sampler_params *params,
                                   struct sdg_sampler **out)
{
    *out = NULL;
    SDG_TRY(check_params(log, params));
    struct sdg_sampler *s = sdg_alloc(log, 1, sizeof *s, "sampler");
    if (!s)
        return SDG_ERROR_MEMORY;
    struct sdg_walk walk = {0};
    enum sdg_result result = build(log, params, &walk, s);
    sdg_steps_destroy(&walk.steps);
    sdg_levels_destroy(&walk.levels);
    if (result != SDG_OK)
        sdg_sampler_destroy(&s);
    *out = s;
    return result;
}

void sdg_sampler_destroy(struct sdg_sampler **sampler)
{
    if (!*sampler)
        return;
    sdg_free((*sampler)->memory);
    sdg_free((*sampler)->calls);
    sdg_free(*sampler);
    *sampler = NULL;
}

int sdg_sampler_calls(const struct sdg_sampler *s)
{
    return s->count;
}

int sdg_sampler_steps(const struct sdg_sampler *s)
{
    return s->steps;
}

int sdg_sampler_step_of_call(const struct sdg_sampler *s, int call)
{
    return s->calls[call].step - s->first_step;
}

double sdg_sampler_timestep(const struct sdg_sampler *s, int call)
{
    return s->calls[call].timestep;
}

double sdg_sampler_sigma(const struct sdg_sampler *s, int call)
{
    return s->calls[call].sigma;
}

double sdg_sampler_eta(const struct sdg_sampler *s)
{
    return s->eta;
}

double sdg_sampler_init_noise_sigma(const struct sdg_sampler *s)
{
    return s->init_noise_sigma;
}

void sdg_sampler_add_noise(const struct sdg_sampler *s, int call, float *latent, const float *noise)
{
    if (call >= s->count)
        return;
    const struct sdg_call *c = &s->calls[call];
    for (size_t i = 0; i < s->elements; i++)
        latent[i] = (float)(c->picture_scale * (double)latent[i] + c->noise_scale * (double)noise[i]);
}

void sdg_sampler_scale_input(const struct sdg_sampler *s, int call, const float *latent, float *model_input)
{
    double scale = s->calls[call].input_scale;
    for (size_t i = 0; i < s->elements; i++)
        model_input[i] = (float)(scale * (double)latent[i]);
}

void sdg_sampler_absorb(struct sdg_sampler *s, int call, double variance)
{
    struct sdg_combination *u = &s->calls[call].update;
    double reaches = u->output + u->prediction * s->calls[call].p_output;
    if (!isfinite(s->clip_range))
        u->noise = sqrt(fmax(u->noise * u->noise - reaches * reaches * variance, 0));
}

// ---- one step -------------------------------------------------------------------------------------------------------

struct terms { // of one element
    double latent, saved, output, prediction, noise, history[SDG_WALK_HISTORY];
};

static double clipped(double x, double range) // not a number stays that
{
    return x > range ? range : x < -range ? -range : x;
}

static double combine(const struct sdg_combination *c, const struct terms *t, int depth)
{
    double sum = c->latent * t->latent + c->saved * t->saved + c->output * t->output + c->prediction * t->prediction;
    for (int k = 0; k < depth; k++)
        sum += c->history[k] * t->history[k];
    return sum + c->noise * t->noise;
}

static const float *past(const struct sdg_sampler *s, int k) // the k-th last prediction
{
    return s->history[(s->latest + s->depth - k) % s->depth];
}

static void forget(struct sdg_sampler *s) // what an earlier walk left
{
    for (int k = 0; k < s->depth; k++)
        memset(s->history[k], 0, s->elements * sizeof(float));
    if (s->saved)
        memset(s->saved, 0, s->elements * sizeof(float));
    s->latest = 0;
}

// Sums are formed in double: latents are small, and at high noise the terms cancel.
void sdg_sampler_step(struct sdg_sampler *s, int call, const float *model_output, float *latent, struct sdg_rng *rng)
{
    const struct sdg_call *c = &s->calls[call];
    if (call == 0)
        forget(s);
    if (c->draw)
        sdg_rng_normal(rng, s->noise, s->elements);
    int next = s->depth ? (s->latest + 1) % s->depth : 0;
    for (size_t i = 0; i < s->elements; i++) {
        struct terms t = {.latent = (double)latent[i], .output = (double)model_output[i]};
        t.prediction = clipped(c->p_latent * t.latent + c->p_output * t.output, s->clip_range);
        t.saved = s->saved ? (double)s->saved[i] : 0;
        t.noise = c->draw ? (double)s->noise[i] : 0;
        for (int k = 0; k < s->depth; k++)
            t.history[k] = (double)past(s, k)[i];
        if (c->correct)
            t.latent = combine(&c->correction, &t, s->depth);
        latent[i] = (float)combine(&c->update, &t, s->depth);
        if (c->save)
            s->saved[i] = (float)t.latent;
        if (c->push)
            s->history[next][i] = (float)t.prediction;
    }
    if (c->push)
        s->latest = next;
}
