// scheduler_config.json. Which value an absent key stands for depends on the class, as in diffusers.
#include "base/json.h"
#include "formats/config.h"
#include "formats/config_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct class_defaults {
    const char *name;
    float beta_start, beta_end;
    enum sdg_beta_schedule beta_schedule;
    enum sdg_spacing spacing;
    bool set_alpha_to_one, clip_sample;
};

static const struct class_defaults classes[] = {
    {"DDIMScheduler", 0.0001f, 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LEADING, true, true},
    {"DDPMScheduler", 0.0001f, 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LEADING, true, true},
    {"PNDMScheduler", 0.0001f, 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LEADING, false, false},
    {"LCMScheduler", 0.00085f, 0.012f, SDG_BETA_SCALED_LINEAR, SDG_SPACING_LEADING, true, false},
    {"TCDScheduler", 0.00085f, 0.012f, SDG_BETA_SCALED_LINEAR, SDG_SPACING_LEADING, true, false},
    {"HeunDiscreteScheduler", 0.00085f, 0.012f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false},
    {"KDPM2DiscreteScheduler", 0.00085f, 0.012f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false},
    {"KDPM2AncestralDiscreteScheduler", 0.00085f, 0.012f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false},
    {"", 0.0001f, 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false}, // Euler, LMS, DPM-Solver, UniPC, ...
};

// Options of one class, with all values that are implemented; the first is the default. Keys that the class does not
// know are passed over, as diffusers does.
static const struct option {
    const char *class_name, *key;
    enum { SOLVER, SCHEDULE } concerns;
    const char *values[4];
} options[] = {
    {"DDPMScheduler", "variance_type", SOLVER, {"fixed_small", "fixed_small_log"}}, // the same numbers
    {"DPMSolverMultistepScheduler", "algorithm_type", SOLVER, {"dpmsolver++"}},
    {"DPMSolverMultistepScheduler", "solver_type", SOLVER, {"midpoint", "logrho", "bh1", "bh2"}}, // all are midpoint
    {"DPMSolverMultistepScheduler", "solver_order", SOLVER, {"2"}},
    {"DPMSolverMultistepScheduler", "variance_type", SOLVER, {NULL}},
    {"DPMSolverMultistepScheduler", "use_lu_lambdas", SCHEDULE, {"false"}},
    {"DPMSolverMultistepScheduler", "use_flow_sigmas", SCHEDULE, {"false"}},
    {"DPMSolverMultistepScheduler", "use_dynamic_shifting", SCHEDULE, {"false"}},
    {"EulerDiscreteScheduler", "interpolation_type", SCHEDULE, {"linear"}},
    {"EulerDiscreteScheduler", "timestep_type", SCHEDULE, {"discrete"}},
    {"EulerDiscreteScheduler", "sigma_min", SCHEDULE, {NULL}},
    {"EulerDiscreteScheduler", "sigma_max", SCHEDULE, {NULL}},
    {"UniPCMultistepScheduler", "solver_order", SOLVER, {"2", "1", "3"}},
    {"UniPCMultistepScheduler", "predict_x0", SOLVER, {"true"}},
    {"UniPCMultistepScheduler", "solver_type", SOLVER, {"bh2", "midpoint", "heun", "logrho"}}, // all are bh2
    {"UniPCMultistepScheduler", "lower_order_final", SOLVER, {"true"}},
    {"UniPCMultistepScheduler", "disable_corrector", SOLVER, {"[]"}},
    {"UniPCMultistepScheduler", "solver_p", SOLVER, {NULL}},
    {"UniPCMultistepScheduler", "use_flow_sigmas", SCHEDULE, {"false"}},
    {"UniPCMultistepScheduler", "use_dynamic_shifting", SCHEDULE, {"false"}},
};
enum { OPTION_VALUES = sizeof options->values / sizeof *options->values };

static const struct class_defaults *defaults_of(const char *name)
{
    const struct class_defaults *c = classes;
    while (*c->name && strcmp(c->name, name) != 0)
        c++;
    return c;
}

void sdg_scheduler_config_default(struct sdg_scheduler_config *out)
{
    *out = (struct sdg_scheduler_config){
        .train_timesteps = 1000,
        .beta_start = 0.00085f,
        .beta_end = 0.012f,
        .beta_schedule = SDG_BETA_SCALED_LINEAR,
        .prediction = SDG_PREDICT_EPSILON,
        .spacing = SDG_SPACING_LEADING,
        .steps_offset = 1,
        .clip_sample_range = 1,
        .original_inference_steps = 50,
        .timestep_scaling = 10,
        .lambda_min_clipped = -INFINITY,
        .final_sigmas_zero = true,
        .solver_order = 2,
        .lower_order_final = true,
    };
}

static enum sdg_result read_enums(const struct sdg_json *json, const struct class_defaults *d,
                                  struct sdg_scheduler_config *c)
{
    static const char *const betas[] = {[SDG_BETA_SCALED_LINEAR] = "scaled_linear",
                                        [SDG_BETA_LINEAR] = "linear",
                                        [SDG_BETA_SQUARED_COSINE] = "squaredcos_cap_v2"};
    static const char *const predictions[] = {
        [SDG_PREDICT_EPSILON] = "epsilon", [SDG_PREDICT_V] = "v_prediction", [SDG_PREDICT_SAMPLE] = "sample"};
    static const char *const spacings[] = {
        [SDG_SPACING_LEADING] = "leading", [SDG_SPACING_LINSPACE] = "linspace", [SDG_SPACING_TRAILING] = "trailing"};
    static const char *const finals[] = {"zero", "sigma_min"};
    int beta, prediction, spacing, final;
    SDG_TRY(sdg_json_enum(json, "beta_schedule", betas, 3, (int)d->beta_schedule, &beta));
    SDG_TRY(sdg_json_enum(json, "prediction_type", predictions, 3, SDG_PREDICT_EPSILON, &prediction));
    SDG_TRY(sdg_json_enum(json, "timestep_spacing", spacings, 3, (int)d->spacing, &spacing));
    SDG_TRY(sdg_json_enum(json, "final_sigmas_type", finals, 2, 0, &final));
    c->beta_schedule = (enum sdg_beta_schedule)beta;
    c->prediction = (enum sdg_prediction)prediction;
    c->spacing = (enum sdg_spacing)spacing;
    c->final_sigmas_zero = final == 0;
    return SDG_OK;
}

// A value as the table has it.
static const char *spelled(const cJSON *item, char text[static 64])
{
    if (cJSON_IsString(item))
        return item->valuestring;
    return cJSON_IsArray(item) && cJSON_GetArraySize(item) == 0 ? "[]" : sdg_json_show(item, text);
}

static void object(const cJSON *item, const char *key, const char *possible, char *objection)
{
    char shown[64];
    if (!*objection) // the first one counts
        snprintf(objection, SDG_OBJECTION_BYTES, "%s is %s, supported: %s", key, sdg_json_show(item, shown), possible);
}

static void check_option(const struct sdg_json *json, const struct option *option, struct sdg_scheduler_config *c)
{
    const cJSON *item = sdg_json_get(json, option->key);
    char text[64], possible[80] = "";
    if (!item)
        return;
    for (int i = 0; i < OPTION_VALUES && option->values[i]; i++) {
        if (strcmp(spelled(item, text), option->values[i]) == 0)
            return;
        snprintf(possible + strlen(possible), sizeof possible - strlen(possible), "%s%s", i ? ", " : "",
                 option->values[i]);
    }
    object(item, option->key, *possible ? possible : "null",
           option->concerns == SOLVER ? c->solver_objection : c->schedule_objection);
}

// DPM-Solver's last step is of first order where it ends at 0, whatever these say.
static void check_last_step(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    const cJSON *lower = sdg_json_get(json, "lower_order_final"), *euler = sdg_json_get(json, "euler_at_final");
    if (c->final_sigmas_zero)
        return;
    if (lower && !cJSON_IsTrue(lower))
        object(lower, "lower_order_final", "true with final_sigmas_type sigma_min", c->solver_objection);
    if (euler && !cJSON_IsFalse(euler))
        object(euler, "euler_at_final", "false with final_sigmas_type sigma_min", c->solver_objection);
}

// The noisiest levels are left out below this half log SNR. diffusers recommends -5.1 for cosine betas; with others as
// they are in use there are no such levels.
static void check_clipped_levels(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    const cJSON *least = sdg_json_get(json, "lambda_min_clipped");
    bool reaches_none = c->beta_schedule != SDG_BETA_SQUARED_COSINE && !c->rescale_betas_zero_snr &&
        c->train_timesteps <= 1000 && c->beta_end <= 0.02f;
    if (!least || (cJSON_IsNumber(least) && least->valuedouble <= (reaches_none ? -5.1 : -INFINITY)))
        return;
    object(least, "lambda_min_clipped", reaches_none ? "-Infinity, up to -5.1" : "-Infinity", c->schedule_objection);
}

static void check_sigma_rules(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    if (c->use_karras_sigmas + c->use_exponential_sigmas + c->use_beta_sigmas > 1)
        object(sdg_json_get(json, c->use_karras_sigmas ? "use_karras_sigmas" : "use_exponential_sigmas"),
               c->use_karras_sigmas ? "use_karras_sigmas" : "use_exponential_sigmas",
               "one of karras, exponential and beta sigmas at a time", c->schedule_objection);
}

static enum sdg_result check_options(const struct sdg_json *json, struct sdg_scheduler_config *c)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].class_name, c->class_name) == 0)
            check_option(json, &options[i], c);
    check_sigma_rules(json, c);
    if (strcmp(c->class_name, "DPMSolverMultistepScheduler") == 0) {
        check_last_step(json, c);
        check_clipped_levels(json, c);
    }
    if (strcmp(c->class_name, "PNDMScheduler") != 0)
        return SDG_OK;
    bool skipped;
    SDG_TRY(sdg_json_bool(json, "skip_prk_steps", false, &skipped));
    c->runge_kutta_start = !skipped;
    return SDG_OK;
}

static enum sdg_result read_scheduler(const struct sdg_json *json, const char *class_name,
                                      struct sdg_scheduler_config *c)
{
    const char *name;
    bool thresholding;
    SDG_TRY(sdg_json_string(json, "_class_name", "", &name));
    if (strlen(name) >= sizeof c->class_name)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: _class_name is longer than %zu characters", json->path,
                        sizeof c->class_name - 1);
    snprintf(c->file_class_name, sizeof c->file_class_name, "%s", name);
    snprintf(c->class_name, sizeof c->class_name, "%s", *class_name ? class_name : name);
    const struct class_defaults *d = defaults_of(c->class_name);
    if (sdg_json_get(json, "trained_betas"))
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: trained_betas are not supported", json->path);
    SDG_TRY(sdg_json_bool(json, "thresholding", false, &thresholding));
    if (thresholding)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: thresholding is true, which is not supported",
                        json->path);
    SDG_TRY(sdg_json_int(json, "num_train_timesteps", 1, 100000, 1000, &c->train_timesteps));
    SDG_TRY(sdg_json_float(json, "beta_start", 1e-9, 0.999, d->beta_start, &c->beta_start));
    SDG_TRY(sdg_json_float(json, "beta_end", 1e-9, 0.999, d->beta_end, &c->beta_end));
    SDG_TRY(read_enums(json, d, c));
    SDG_TRY(sdg_json_int(json, "steps_offset", 0, c->train_timesteps - 1, 0, &c->steps_offset));
    SDG_TRY(sdg_json_bool(json, "set_alpha_to_one", d->set_alpha_to_one, &c->set_alpha_to_one));
    SDG_TRY(sdg_json_bool(json, "clip_sample", d->clip_sample, &c->clip_sample));
    SDG_TRY(sdg_json_float(json, "clip_sample_range", 1e-6, 1e6, 1, &c->clip_sample_range));
    SDG_TRY(sdg_json_bool(json, "rescale_betas_zero_snr", false, &c->rescale_betas_zero_snr));
    SDG_TRY(sdg_json_bool(json, "use_karras_sigmas", false, &c->use_karras_sigmas));
    SDG_TRY(sdg_json_bool(json, "use_exponential_sigmas", false, &c->use_exponential_sigmas));
    SDG_TRY(sdg_json_bool(json, "use_beta_sigmas", false, &c->use_beta_sigmas));
    SDG_TRY(sdg_json_int(json, "original_inference_steps", 1, c->train_timesteps,
                         c->train_timesteps < 50 ? c->train_timesteps : 50, &c->original_inference_steps));
    SDG_TRY(sdg_json_float(json, "timestep_scaling", 1e-6, 1e6, 10, &c->timestep_scaling));
    SDG_TRY(sdg_json_int(json, "solver_order", 1, 4, 2, &c->solver_order));
    return check_options(json, c);
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
