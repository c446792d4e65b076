// scheduler_config.json, by one rule for all classes: keys that the class knows are read, with the class's value where
// they are absent; keys that it does not know are passed over, as diffusers does. Values that are not implemented are
// refused where they say something about the network, and become objections where they belong to the way of drawing.
#include "base/json.h"
#include "formats/config.h"
#include "formats/config_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- classes of diffusers -------------------------------------------------------------------------------------------

enum knows { // groups of keys
    SPACING = 1 << 0,
    ZERO_SNR = 1 << 1,
    ALPHA_ONE = 1 << 2,
    CLIP = 1 << 3,
    THRESHOLD = 1 << 4, // and applies it
    SIGMAS = 1 << 5,    // use_karras_sigmas, ..
    FINAL = 1 << 6,     // final_sigmas_type
    FLOW = 1 << 7,
    CONSISTENCY = 1 << 8,
    EULER = 1 << 9,
    DPM = 1 << 10,
    UNIPC = 1 << 11,
    PNDM = 1 << 12,
    DDPM = 1 << 13,
    EDM = 1 << 14,     // no betas
    LAMBDAS = 1 << 15, // lambda_min_clipped, use_lu_lambdas
    RANGE = 1
        << 16, // karras sigmas between sigma_min and sigma_max, which all take that know these sigmas, but for lms
};

struct class {
    const char *name;
    float beta_start, beta_end;
    enum sdg_beta_schedule beta_schedule;
    enum sdg_spacing spacing;
    bool set_alpha_to_one, clip_sample;
    unsigned knows;
};

#define OLD 0.0001f, 0.02f, SDG_BETA_LINEAR
#define MIXED 0.00085f, 0.012f, SDG_BETA_LINEAR
#define LATENT 0.00085f, 0.012f, SDG_BETA_SCALED_LINEAR

static const struct class classes[] = {
    {"DDIMScheduler", OLD, SDG_SPACING_LEADING, true, true, SPACING | ZERO_SNR | ALPHA_ONE | CLIP | THRESHOLD},
    {"DDIMParallelScheduler", OLD, SDG_SPACING_LEADING, true, true, SPACING | ZERO_SNR | ALPHA_ONE | CLIP | THRESHOLD},
    {"DDPMScheduler", OLD, SDG_SPACING_LEADING, true, true, SPACING | ZERO_SNR | CLIP | THRESHOLD | DDPM},
    {"DDPMParallelScheduler", OLD, SDG_SPACING_LEADING, true, true, SPACING | ZERO_SNR | CLIP | THRESHOLD | DDPM},
    {"PNDMScheduler", OLD, SDG_SPACING_LEADING, false, false, SPACING | ALPHA_ONE | PNDM},
    {"LCMScheduler", LATENT, SDG_SPACING_LEADING, true, false, ZERO_SNR | CLIP | THRESHOLD | CONSISTENCY},
    {"TCDScheduler", LATENT, SDG_SPACING_LEADING, true, false, ZERO_SNR | CONSISTENCY},
    {"EulerDiscreteScheduler", OLD, SDG_SPACING_LINSPACE, true, false,
     SPACING | ZERO_SNR | SIGMAS | RANGE | FINAL | EULER},
    {"EulerAncestralDiscreteScheduler", OLD, SDG_SPACING_LINSPACE, true, false, SPACING | ZERO_SNR},
    {"HeunDiscreteScheduler", MIXED, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS | RANGE | CLIP},
    {"KDPM2DiscreteScheduler", MIXED, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS | RANGE},
    {"KDPM2AncestralDiscreteScheduler", MIXED, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS | RANGE},
    {"LMSDiscreteScheduler", OLD, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS},
    {"DPMSolverMultistepScheduler", OLD, SDG_SPACING_LINSPACE, true, false,
     SPACING | ZERO_SNR | SIGMAS | RANGE | FINAL | FLOW | THRESHOLD | DPM | LAMBDAS},
    {"UniPCMultistepScheduler", OLD, SDG_SPACING_LINSPACE, true, false,
     SPACING | ZERO_SNR | SIGMAS | RANGE | FINAL | FLOW | THRESHOLD | UNIPC},
    {"EDMEulerScheduler", OLD, SDG_SPACING_LINSPACE, true, false, EDM | FINAL},
    {"EDMDPMSolverMultistepScheduler", OLD, SDG_SPACING_LINSPACE, true, false, EDM | FINAL | THRESHOLD | DPM},
    // Without a sampler here, but with betas as the others have them.
    {"DEISMultistepScheduler", OLD, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS | RANGE | FLOW},
    {"DPMSolverSinglestepScheduler", OLD, SDG_SPACING_LINSPACE, true, false, SIGMAS | RANGE | FINAL | FLOW},
    {"DPMSolverSDEScheduler", MIXED, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS | RANGE},
    {"SASolverScheduler", OLD, SDG_SPACING_LINSPACE, true, false, SPACING | SIGMAS | RANGE | FLOW},
};
// One that is not among them. What it says about betas is read as if it were.
static const struct class unknown_class = {"",   OLD,   SDG_SPACING_LINSPACE,
                                           true, false, SPACING | ZERO_SNR | ALPHA_ONE | CLIP | SIGMAS | FINAL | FLOW};

static const struct class *find_class(const char *name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].name, name) == 0)
            return &classes[i];
    return &unknown_class;
}

// A class whose noise levels may come from something else than betas: what it is named after, or that its file has
// none.
static bool has_other_levels(const struct sdg_json *json, const char *name)
{
    static const char *const families[] = {"Flow", "EDM", "SCM", "UnCLIP", "CogVideoX", "Cosine", "Consistency"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strstr(name, families[i]))
            return true;
    return *name && find_class(name) == &unknown_class && !sdg_json_get(json, "beta_start");
}

void sdg_scheduler_config_default(struct sdg_scheduler_config *out)
{
    *out = (struct sdg_scheduler_config){
        .train_timesteps = 1000,
        .beta_start = 0.00085f,
        .beta_end = 0.012f,
        .beta_schedule = SDG_BETA_SCALED_LINEAR,
        .prediction = SDG_PREDICT_EPSILON,
        .clip_sample_range = 1,
        .original_inference_steps = 50,
        .timestep_scaling = 10,
        .spacing = SDG_SPACING_LEADING,
        .steps_offset = 1,
        .lambda_min_clipped = -INFINITY,
        .final_sigmas_zero = true,
        .solver = {.order = 2},
    };
}

// ---- objections -----------------------------------------------------------------------------------------------------

static void object(const cJSON *item, const char *key, const char *possible, char *objection)
{
    char shown[64];
    if (!*objection) // the first one counts
        snprintf(objection, SDG_OBJECTION_BYTES, "%s is %s, supported: %s", key, sdg_json_show(item, shown), possible);
}

enum { CHOICES = 6 };

// The index of the key's value in `names`, the first where the key is absent. Others are an objection.
static int choose(const struct sdg_json *json, const char *key, const char *const names[CHOICES], char *objection)
{
    const cJSON *item = sdg_json_get(json, key);
    char shown[64], possible[96] = "";
    const char *value = cJSON_IsString(item) ? item->valuestring : item ? sdg_json_show(item, shown) : names[0];
    for (int i = 0; i < CHOICES && names[i]; i++) {
        if (strcmp(value, names[i]) == 0)
            return i;
        size_t length = strlen(possible);
        snprintf(possible + length, sizeof possible - length, "%s%s", i ? ", " : "", names[i]);
    }
    object(item, key, possible, objection);
    return 0;
}

// A key whose every value but null is an objection, or every one that is not false.
static void only_absent(const struct sdg_json *json, const char *key, const char *possible, char *objection)
{
    const cJSON *item = sdg_json_get(json, key);
    if (item && !(cJSON_IsFalse(item) && strcmp(possible, "false") == 0))
        object(item, key, possible, objection);
}

// ---- what describes the network -------------------------------------------------------------------------------------

static enum sdg_result read_trained_betas(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    const cJSON *list = sdg_json_get(json, "trained_betas"), *item;
    if (!list)
        return SDG_OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != c->train_timesteps ||
        c->train_timesteps > SDG_TRAINED_BETAS_MAX)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: trained_betas has %d entries, supported: num_train_timesteps (%d), at most %d", json->path,
                        cJSON_GetArraySize(list), c->train_timesteps, SDG_TRAINED_BETAS_MAX);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item) || !(item->valuedouble > 0 && item->valuedouble < 1))
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: trained_betas: entry %d should be between 0 and 1",
                            json->path, c->trained_count);
        c->trained_betas[c->trained_count++] = (float)item->valuedouble;
    }
    return SDG_OK;
}

static enum sdg_result read_betas(const struct sdg_json *json, const struct class *d, struct sdg_scheduler_config *c)
{
    static const char *const betas[] = {[SDG_BETA_SCALED_LINEAR] = "scaled_linear",
                                        [SDG_BETA_LINEAR] = "linear",
                                        [SDG_BETA_SQUARED_COSINE] = "squaredcos_cap_v2"};
    int beta;
    SDG_TRY(sdg_json_float(json, "beta_start", 1e-9, 0.999, d->beta_start, &c->beta_start));
    SDG_TRY(sdg_json_float(json, "beta_end", 1e-9, 0.999, d->beta_end, &c->beta_end));
    SDG_TRY(sdg_json_enum(json, "beta_schedule", betas, 3, (int)d->beta_schedule, &beta));
    c->beta_schedule = (enum sdg_beta_schedule)beta;
    return read_trained_betas(json, c);
}

static enum sdg_result read_edm(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    static const char *const schedules[] = {"karras", "exponential"};
    struct sdg_edm *edm = &c->edm;
    int schedule;
    edm->used = true;
    SDG_TRY(sdg_json_float(json, "sigma_min", 1e-6, 1e6, 0.002f, &edm->sigma_min));
    SDG_TRY(sdg_json_float(json, "sigma_max", 1e-6, 1e6, 80, &edm->sigma_max));
    SDG_TRY(sdg_json_float(json, "sigma_data", 1e-6, 1e6, 0.5f, &edm->sigma_data));
    SDG_TRY(sdg_json_float(json, "rho", 0.1, 100, 7, &edm->rho));
    SDG_TRY(sdg_json_enum(json, "sigma_schedule", schedules, 2, 0, &schedule));
    edm->exponential = schedule == 1;
    if (edm->sigma_min >= edm->sigma_max)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: sigma_min is %g, should be below sigma_max, which is %g",
                        json->path, (double)edm->sigma_min, (double)edm->sigma_max);
    return SDG_OK;
}

// A model of flow matching: from the noise to the picture on a straight line.
static enum sdg_result refuse_flow(const struct sdg_json *json)
{
    bool flow;
    SDG_TRY(sdg_json_bool(json, "use_flow_sigmas", false, &flow));
    if (flow)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: use_flow_sigmas is true: the model was trained by flow matching, which is not supported",
                        json->path);
    return SDG_OK;
}

static enum sdg_result read_network(const struct sdg_json *json, const struct class *d, struct sdg_scheduler_config *c)
{
    // an EDM network predicts its own kind of either
    static const char *const predictions[] = {
        [SDG_PREDICT_EPSILON] = "epsilon", [SDG_PREDICT_V] = "v_prediction", [SDG_PREDICT_SAMPLE] = "sample"};
    const struct sdg_json none = {json->log, json->path, NULL};
    const bool edm = d->knows & EDM, consistency = d->knows & CONSISTENCY;
    int prediction;
    SDG_TRY(sdg_json_int(json, "num_train_timesteps", 1, 100000, 1000, &c->train_timesteps));
    SDG_TRY(sdg_json_enum(json, "prediction_type", predictions, edm ? 2 : 3, SDG_PREDICT_EPSILON, &prediction));
    c->prediction = (enum sdg_prediction)prediction;
    SDG_TRY(read_betas(edm ? &none : json, d, c));
    if (edm)
        SDG_TRY(read_edm(json, c));
    if (d->knows & FLOW)
        SDG_TRY(refuse_flow(json));
    SDG_TRY(
        sdg_json_bool(d->knows & ZERO_SNR ? json : &none, "rescale_betas_zero_snr", false, &c->rescale_betas_zero_snr));
    const struct sdg_json *const clip = d->knows & CLIP ? json : &none;
    SDG_TRY(sdg_json_bool(clip, "clip_sample", d->clip_sample, &c->clip_sample));
    SDG_TRY(sdg_json_float(clip, "clip_sample_range", 1e-6, 1e6, 1, &c->clip_sample_range));
    SDG_TRY(sdg_json_int(consistency ? json : &none, "original_inference_steps", 1, c->train_timesteps,
                         c->train_timesteps < 50 ? c->train_timesteps : 50, &c->original_inference_steps));
    return sdg_json_float(consistency ? json : &none, "timestep_scaling", 1e-6, 1e6, 10, &c->timestep_scaling);
}

// ---- the way of drawing ---------------------------------------------------------------------------------------------

static enum sdg_result read_sigma_rules(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    SDG_TRY(sdg_json_bool(json, "use_karras_sigmas", false, &c->use_karras_sigmas));
    SDG_TRY(sdg_json_bool(json, "use_exponential_sigmas", false, &c->use_exponential_sigmas));
    SDG_TRY(sdg_json_bool(json, "use_beta_sigmas", false, &c->use_beta_sigmas));
    const char *const key = c->use_karras_sigmas ? "use_karras_sigmas" : "use_exponential_sigmas";
    if (c->use_karras_sigmas + c->use_exponential_sigmas + c->use_beta_sigmas > 1)
        object(sdg_json_get(json, key), key, "one of karras, exponential and beta sigmas at a time",
               c->schedule_objection);
    return SDG_OK;
}

// diffusers keeps what a class does not know beside its configuration, and takes this range from there.
static enum sdg_result read_range(const struct sdg_json *json, unsigned knows, struct sdg_scheduler_config *c)
{
    if (c->use_karras_sigmas ? !(knows & RANGE) : !c->use_exponential_sigmas && !c->use_beta_sigmas)
        return SDG_OK;
    SDG_TRY(sdg_json_float(json, "sigma_min", 1e-6, 1e6, 0, &c->sigma_min));
    SDG_TRY(sdg_json_float(json, "sigma_max", 1e-6, 1e6, 0, &c->sigma_max));
    if (c->sigma_min > 0 && c->sigma_max > 0 && c->sigma_min >= c->sigma_max)
        object(sdg_json_get(json, "sigma_min"), "sigma_min", "below sigma_max", c->schedule_objection);
    return SDG_OK;
}

static enum sdg_result read_schedule(const struct sdg_json *json, const struct class *d, struct sdg_scheduler_config *c)
{
    static const char *const spacings[] = {
        [SDG_SPACING_LEADING] = "leading", [SDG_SPACING_LINSPACE] = "linspace", [SDG_SPACING_TRAILING] = "trailing"};
    static const char *const finals[] = {"zero", "sigma_min"};
    const struct sdg_json none = {json->log, json->path, NULL};
    const struct sdg_json *const spaced = d->knows & SPACING ? json : &none;
    int spacing, final;
    SDG_TRY(sdg_json_enum(spaced, "timestep_spacing", spacings, 3, (int)d->spacing, &spacing));
    SDG_TRY(sdg_json_int(spaced, "steps_offset", 0, c->train_timesteps - 1, 0, &c->steps_offset));
    SDG_TRY(sdg_json_enum(d->knows & FINAL ? json : &none, "final_sigmas_type", finals, 2, 0, &final));
    SDG_TRY(sdg_json_bool(d->knows & ALPHA_ONE ? json : &none, "set_alpha_to_one", d->set_alpha_to_one,
                          &c->set_alpha_to_one));
    c->spacing = (enum sdg_spacing)spacing;
    c->final_sigmas_zero = final == 0;
    c->lambda_min_clipped = -INFINITY;
    if (!(d->knows & SIGMAS))
        return SDG_OK;
    SDG_TRY(read_sigma_rules(json, c));
    return read_range(json, d->knows, c);
}

static enum sdg_result read_euler(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    static const char *const interpolations[CHOICES] = {"linear", "log_linear"};
    static const char *const types[CHOICES] = {"discrete", "continuous"};
    c->log_linear = choose(json, "interpolation_type", interpolations, c->schedule_objection) == 1;
    c->continuous = choose(json, "timestep_type", types, c->schedule_objection) == 1 && c->prediction == SDG_PREDICT_V;
    return SDG_OK;
}

static const char *const orders[CHOICES] = {"2", "1", "3"};
static const int order_of[] = {2, 1, 3};

static enum sdg_result read_lambdas(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    const cJSON *least = sdg_json_get(json, "lambda_min_clipped");
    SDG_TRY(sdg_json_bool(json, "use_lu_lambdas", false, &c->use_lu_lambdas));
    if (!least)
        return SDG_OK;
    if (cJSON_IsNumber(least) && least->valuedouble < INFINITY)
        c->lambda_min_clipped = least->valuedouble;
    else
        object(least, "lambda_min_clipped", "a number or -Infinity", c->schedule_objection);
    return SDG_OK;
}

// What diffusers itself refuses or has no formula for.
static void check_algorithm(const struct sdg_json *json, bool edm, struct sdg_scheduler_config *c)
{
    const cJSON *item = sdg_json_get(json, "algorithm_type");
    const struct sdg_solver *s = &c->solver;
    const bool noise = s->algorithm == SDG_ALGORITHM_DPM || s->algorithm == SDG_ALGORITHM_SDE_DPM;
    const bool deis = cJSON_IsString(item) && strcmp(item->valuestring, "deis") == 0;
    if (noise && edm)
        object(item, "algorithm_type", "dpmsolver++, sde-dpmsolver++", c->solver_objection);
    else if ((noise || deis) && c->final_sigmas_zero)
        object(item, "algorithm_type", "dpmsolver++, sde-dpmsolver++ with final_sigmas_type zero", c->solver_objection);
    if (s->order == 3 && (s->algorithm == SDG_ALGORITHM_SDE_DPM || (edm && s->algorithm == SDG_ALGORITHM_SDE_DPMPP)))
        object(item, "algorithm_type", "with solver_order 3 the others", c->solver_objection);
}

static enum sdg_result read_dpm(const struct sdg_json *json, const struct class *d, struct sdg_scheduler_config *c)
{
    static const char *const algorithms[CHOICES] = {"dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver",
                                                    "deis"};
    static const enum sdg_algorithm algorithm_of[] = {SDG_ALGORITHM_DPMPP, SDG_ALGORITHM_DPM, SDG_ALGORITHM_SDE_DPMPP,
                                                      SDG_ALGORITHM_SDE_DPM, SDG_ALGORITHM_DPMPP};
    static const char *const types[CHOICES] = {"midpoint", "heun", "logrho", "bh1", "bh2"}; // the last are midpoint
    bool lower = true;
    struct sdg_solver *s = &c->solver;
    s->algorithm = algorithm_of[choose(json, "algorithm_type", algorithms, c->solver_objection)];
    s->heun = choose(json, "solver_type", types, c->solver_objection) == 1;
    s->order = order_of[choose(json, "solver_order", orders, c->solver_objection)];
    SDG_TRY(sdg_json_bool(json, "lower_order_final", true, &lower));
    SDG_TRY(sdg_json_bool(json, "euler_at_final", false, &s->euler_at_final));
    s->full_order_final = !lower;
    check_algorithm(json, d->knows & EDM, c);
    if (d->knows & LAMBDAS) {
        only_absent(json, "variance_type", "null", c->solver_objection);
        return read_lambdas(json, c);
    }
    return SDG_OK;
}

static void read_uncorrected(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    const int bits = 64, room = bits * (int)(sizeof c->solver.uncorrected / sizeof *c->solver.uncorrected);
    const cJSON *list = sdg_json_get(json, "disable_corrector"), *item;
    if (list && !cJSON_IsArray(list))
        object(list, "disable_corrector", "a list of steps", c->solver_objection);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item))
            object(list, "disable_corrector", "a list of steps", c->solver_objection);
        else if (item->valuedouble >= 0 && item->valuedouble < room && floor(item->valuedouble) == item->valuedouble)
            c->solver.uncorrected[(int)item->valuedouble / bits] |= UINT64_C(1) << ((int)item->valuedouble % bits);
    }
}

static enum sdg_result read_unipc(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    static const char *const types[CHOICES] = {"bh2", "bh1", "midpoint", "heun", "logrho"}; // the last are bh2
    bool picture = true, lower = true;
    struct sdg_solver *s = &c->solver;
    s->bh1 = choose(json, "solver_type", types, c->solver_objection) == 1;
    s->order = order_of[choose(json, "solver_order", orders, c->solver_objection)];
    SDG_TRY(sdg_json_bool(json, "predict_x0", true, &picture));
    SDG_TRY(sdg_json_bool(json, "lower_order_final", true, &lower));
    s->predict_noise = !picture;
    s->full_order_final = !lower;
    // in diffusers these divide by zero where the walk ends at 0
    if (s->bh1 && c->final_sigmas_zero)
        object(sdg_json_get(json, "solver_type"), "solver_type", "bh2 with final_sigmas_type zero",
               c->solver_objection);
    if (!picture && c->final_sigmas_zero)
        object(sdg_json_get(json, "predict_x0"), "predict_x0", "true with final_sigmas_type zero", c->solver_objection);
    if (!lower && s->order > 1 && c->final_sigmas_zero)
        object(sdg_json_get(json, "lower_order_final"), "lower_order_final", "true with final_sigmas_type zero",
               c->solver_objection);
    read_uncorrected(json, c);
    only_absent(json, "solver_p", "null", c->solver_objection);
    only_absent(json, "use_dynamic_shifting", "false", c->schedule_objection);
    only_absent(json, "shift_terminal", "null", c->schedule_objection);
    return SDG_OK;
}

static enum sdg_result read_solver(const struct sdg_json *json, const struct class *d, struct sdg_scheduler_config *c)
{
    static const char *const variances[CHOICES] = {"fixed_small", "fixed_small_log", "fixed_large"};
    bool skipped = true;
    c->solver.order = 2;
    if (d->knows & THRESHOLD)
        only_absent(json, "thresholding", "false", c->solver_objection);
    if (d->knows & EULER)
        SDG_TRY(read_euler(json, c));
    if (d->knows & DPM)
        SDG_TRY(read_dpm(json, d, c));
    if (d->knows & UNIPC)
        SDG_TRY(read_unipc(json, c));
    if (d->knows & PNDM)
        SDG_TRY(sdg_json_bool(json, "skip_prk_steps", false, &skipped));
    c->solver.runge_kutta_start = !skipped;
    if (d->knows & DDPM)
        c->solver.large_variance = choose(json, "variance_type", variances, c->solver_objection) == 2;
    return SDG_OK;
}

// ---- the file -------------------------------------------------------------------------------------------------------

static enum sdg_result read_names(const struct sdg_json *json, const char *class_name, struct sdg_scheduler_config *c)
{
    const char *name;
    SDG_TRY(sdg_json_string(json, "_class_name", "", &name));
    if (strlen(name) >= sizeof c->class_name)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: _class_name is longer than %zu characters", json->path,
                        sizeof c->class_name - 1);
    snprintf(c->class_name, sizeof c->class_name, "%s", *class_name ? class_name : name);
    const bool known = find_class(c->class_name) != &unknown_class;
    if (!known && has_other_levels(json, c->class_name))
        return sdg_fail(
            json->log, SDG_ERROR_UNSUPPORTED,
            "%s: the scheduler class is '%s', whose noise levels are not known here: flow matching and other "
            "kinds of diffusion are not supported",
            json->path, c->class_name);
    // Where index and file differ, the index wins, as in diffusers; but not about what kind of model it is.
    if (*name && *class_name && has_other_levels(json, name) != has_other_levels(json, class_name))
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: _class_name is '%s', but model_index.json says '%s', which has other noise levels: make "
                        "the two agree",
                        json->path, name, class_name);
    return SDG_OK;
}

static enum sdg_result read_scheduler(const struct sdg_json *json, const char *class_name,
                                      struct sdg_scheduler_config *c)
{
    SDG_TRY(read_names(json, class_name, c));
    const struct class *d = find_class(c->class_name);
    SDG_TRY(read_network(json, d, c));
    SDG_TRY(read_schedule(json, d, c));
    return read_solver(json, d, c);
}

enum sdg_result sdg_scheduler_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                           const char *class_name, struct sdg_scheduler_config *out)
{
    struct sdg_scheduler_config config = {0};
    struct sdg_json json;
    SDG_TRY(sdg_json_parse(log, path, text, &json));
    enum sdg_result result = read_scheduler(&json, class_name, &config);
    sdg_json_free(&json);
    if (result == SDG_OK)
        *out = config;
    return result;
}
