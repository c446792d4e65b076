// pipeline/method: which sampling method, schedule and number of steps a picture gets.
#include "base/json.h"
#include "pipeline/method.h"
#include "pipeline/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char said[4][400]; // by level

static void keep(void *user, enum sdg_log_level level, const char *text)
{
    (void)user;
    snprintf(said[level], sizeof said[level], "%s", text);
}

enum kind { SD, XL, LCM, SINGLE };

#define CLASS(name) "{\"_class_name\":\"" name "\","
#define EULER CLASS("EulerDiscreteScheduler")
#define DPM CLASS("DPMSolverMultistepScheduler")
#define PNDM CLASS("PNDMScheduler") "\"skip_prk_steps\":true}"

static struct sdg_preferences like; // of the model's folder

static enum sdg_result choose(const char *config, enum kind kind, const struct sdg_generate_params *g,
                              const char *prediction, struct sdg_job *job)
{
    static char path[] = "m";
    struct sdg_model model = {.path = path,
                              .preferences = like,
                              .single_file = kind == SINGLE,
                              .latent_consistency = kind == LCM,
                              .corrects_scheduler = kind == SD,
                              .has_scheduler = config && kind != SINGLE};
    struct sdg_pipeline p = {.model = &model, .params = {.prediction = prediction}};
    p.log = (struct sdg_log){.fn = keep, .level = SDG_LOG_INFO};
    memset(said, 0, sizeof said);
    sdg_scheduler_config_default(&model.scheduler);
    if (config)
        assert_int_equal(sdg_scheduler_config_parse(&p.log, "scheduler_config.json", config, "", &model.scheduler),
                         SDG_OK);
    *job = (struct sdg_job){.params = g};
    return sdg_job_choose_method(&p, job);
}

static void test_choice(void **state)
{
    (void)state;
    static const double sigmas[] = {10, 1};
    static const struct {
        const char *config;
        enum kind kind;
        struct sdg_generate_params g;
        const char *method, *schedule;
        int steps;
        const char *told; // to the user, as information
    } cases[] = {
        // the usual, where the model says nothing else
        {NULL, SD, {0}, "euler_a", "discrete", 20, ""},
        {PNDM, SD, {0}, "euler_a", "discrete", 20, ""},
        {EULER "\"timestep_spacing\":\"leading\",\"use_karras_sigmas\":true}", XL, {0}, "euler_a", "discrete", 20, ""},
        {NULL, SINGLE, {.schedule = "model"}, "euler_a", "model", 20, ""},
        // what the usual would contradict
        {EULER "\"timestep_spacing\":\"trailing\"}", XL, {.steps = 1}, "euler", "model", 1, "trailing timesteps"},
        {EULER "\"rescale_betas_zero_snr\":true,\"prediction_type\":\"v_prediction\"}",
         XL,
         {0},
         "euler",
         "model",
         20,
         "zero terminal SNR"},
        {EULER "\"timestep_type\":\"continuous\",\"prediction_type\":\"v_prediction\"}",
         XL,
         {0},
         "euler",
         "model",
         20,
         "continuous timesteps"},
        {CLASS("EDMEulerScheduler") "\"sigma_data\":1}", XL, {0}, "euler", "model", 20, "EDM"},
        {CLASS("EDMDPMSolverMultistepScheduler") "\"sigma_data\":1}", XL, {0}, "dpm++2m", "model", 20, "EDM"},
        {CLASS("LCMScheduler") "\"clip_sample\":false}", LCM, {0}, "lcm", "model", 4, "few steps"},
        {CLASS("TCDScheduler") "\"clip_sample\":false}", XL, {.steps = 8}, "tcd", "model", 8, "few steps"},
        {NULL, LCM, {0}, "lcm", "model", 4, "few steps"},
        {CLASS("DDIMScheduler") "\"timestep_spacing\":\"trailing\"}",
         SD,
         {.schedule = "karras"},
         "ddim",
         "karras",
         20,
         "trailing timesteps"},
        // what is asked for
        {EULER "\"timestep_spacing\":\"trailing\"}", XL, {.sampler = "euler"}, "euler", "discrete", 20, ""},
        {CLASS("LCMScheduler") "\"clip_sample\":false}", LCM, {.sampler = "ddim"}, "ddim", "discrete", 20, ""},
        {CLASS("EDMEulerScheduler") "\"sigma_data\":1}", XL, {.sampler = "heun"}, "heun", "model", 20, ""},
        {CLASS("EDMEulerScheduler") "\"sigma_data\":1}",
         XL,
         {.sampler = "heun", .schedule = "simple"},
         "heun",
         "simple",
         20,
         ""},
        {CLASS("EDMEulerScheduler") "\"sigma_data\":1}",
         XL,
         {.sigmas = sigmas, .sigma_count = 2},
         "euler",
         "discrete",
         2,
         "EDM"},
        {PNDM, SD, {.schedule = "model"}, "pndm", "model", 20, ""},
        {DPM "\"algorithm_type\":\"sde-dpmsolver++\",\"use_karras_sigmas\":true}",
         SD,
         {.schedule = "model"},
         "dpm++2m_sde",
         "model",
         20,
         ""},
        // the class without a sampler here is no obstacle to another
        {CLASS("SASolverScheduler") "\"beta_end\":0.012}", SD, {.sampler = "ddim"}, "ddim", "discrete", 20, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_job job;
        if (choose(cases[i].config, cases[i].kind, &cases[i].g, NULL, &job) != SDG_OK)
            fail_msg("case %zu: %s", i, said[SDG_LOG_ERROR]);
        if (strcmp(sdg_method_name(job.method), cases[i].method) != 0 ||
            strcmp(sdg_schedule_name(job.schedule), cases[i].schedule) != 0 || job.steps != cases[i].steps)
            fail_msg("case %zu: %s, %s, %d steps", i, sdg_method_name(job.method), sdg_schedule_name(job.schedule),
                     job.steps);
        if (!*cases[i].told ? *said[SDG_LOG_INFO] != 0 : !strstr(said[SDG_LOG_INFO], cases[i].told))
            fail_msg("case %zu: '%s'", i, said[SDG_LOG_INFO]);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        struct sdg_generate_params g;
        const char *words;
    } cases[] = {
        {NULL, {.schedule = "model"}, "has no scheduler/scheduler_config.json"},
        {CLASS("SASolverScheduler") "\"beta_end\":0.012}", {0}, "'SASolverScheduler' has no counterpart here"},
        {CLASS("SASolverScheduler") "\"beta_end\":0.012}", {.schedule = "model"}, "'SASolverScheduler'"},
        {DPM "\"algorithm_type\":\"nonsense\"}", {0}, "algorithm_type is \"nonsense\", supported: dpmsolver++"},
        {DPM "\"thresholding\":true}", {.schedule = "model"}, "thresholding is true"},
        {EULER "\"timestep_type\":\"nonsense\"}", {.sampler = "heun", .schedule = "model"}, "timestep_type is"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_job job;
        if (choose(cases[i].config, SD, &cases[i].g, NULL, &job) == SDG_OK ||
            !strstr(said[SDG_LOG_ERROR], cases[i].words))
            fail_msg("case %zu: '%s'", i, said[SDG_LOG_ERROR]);
    }
    // another sampler is taken instead, and that is said
    struct sdg_job job;
    const struct sdg_generate_params named = {.sampler = "euler"};
    assert_int_equal(choose(DPM "\"algorithm_type\":\"nonsense\"}", SD, &named, NULL, &job), SDG_OK);
    assert_non_null(strstr(said[SDG_LOG_WARNING], "the chosen sampler is taken instead"));
}

// Options of the model's sampler are its own; the network's are everybody's.
static void test_options(void **state)
{
    (void)state;
    static const char dpm[] = DPM "\"solver_order\":3,\"solver_type\":\"heun\",\"prediction_type\":\"v_prediction\"}",
                      unipc[] = CLASS("UniPCMultistepScheduler") "\"solver_order\":3}";
    const struct sdg_generate_params model = {.schedule = "model"}, other = {.sampler = "unipc", .schedule = "model"},
                                     own = {.sampler = "unipc", .schedule = "model"},
                                     named = {.sampler = "dpm++2m", .schedule = "model"};
    struct sdg_job job;
    assert_int_equal(choose(dpm, XL, &model, NULL, &job), SDG_OK);
    assert_true(job.scheduler.solver.order == 3 && job.scheduler.solver.heun);
    assert_int_equal(choose(dpm, XL, &other, NULL, &job), SDG_OK);
    assert_true(job.scheduler.solver.order == 2 && !job.scheduler.solver.heun);
    assert_int_equal(job.scheduler.prediction, SDG_PREDICT_V);
    assert_int_equal(choose(dpm, XL, &named, "eps", &job), SDG_OK); // its name says the order
    assert_true(job.scheduler.solver.order == 2 && job.scheduler.solver.heun);
    assert_int_equal(job.scheduler.prediction, SDG_PREDICT_EPSILON);
    assert_int_equal(choose(unipc, XL, &own, NULL, &job), SDG_OK);
    assert_int_equal(job.scheduler.solver.order, 3);
}

// diffusers' pipelines for Stable Diffusion 1.x and 2.x correct clip_sample and steps_offset, that for inpainting
// steps_offset and skip_prk_steps; the others nothing.
static void test_corrections(void **state)
{
    (void)state;
    static const char ddim[] = CLASS("DDIMScheduler") "\"steps_offset\":0}",
                      pndm[] = CLASS("PNDMScheduler") "\"steps_offset\":0}";
    static const unsigned char mask[1] = {0};
    const struct sdg_generate_params plain = {.schedule = "model"}, masked = {.schedule = "model", .mask = mask};
    struct sdg_job job;
    assert_int_equal(choose(ddim, SD, &plain, NULL, &job), SDG_OK);
    assert_true(job.scheduler.steps_offset == 1 && !job.scheduler.clip_sample);
    assert_int_equal(choose(ddim, SD, &masked, NULL, &job), SDG_OK);
    assert_true(job.scheduler.steps_offset == 1 && job.scheduler.clip_sample);
    assert_int_equal(choose(ddim, XL, &plain, NULL, &job), SDG_OK);
    assert_true(job.scheduler.steps_offset == 0 && job.scheduler.clip_sample);
    assert_int_equal(choose(pndm, SD, &plain, NULL, &job), SDG_OK);
    assert_true(job.scheduler.solver.runge_kutta_start);
    assert_int_equal(choose(pndm, SD, &masked, NULL, &job), SDG_OK);
    assert_false(job.scheduler.solver.runge_kutta_start);
}

// What the folder prefers stands in for what the caller does not name, key by key.
static void test_preferences(void **state)
{
    (void)state;
    static const double sigmas[] = {10, 1};
    static const char lcm[] = CLASS("LCMScheduler") "\"clip_sample\":false}",
                      trailing[] = CLASS("DDIMScheduler") "\"timestep_spacing\":\"trailing\"}";
    static const struct {
        struct sdg_preferences like;
        const char *config;
        enum kind kind;
        struct sdg_generate_params g;
        const char *method, *schedule;
        int steps;
        bool preferred;
    } cases[] = {
        {{.sampler = "dpm++2m", .schedule = "karras", .steps = 12}, PNDM, SD, {0}, "dpm++2m", "karras", 12, true},
        {{.sampler = "dpm++2m", .schedule = "karras"}, PNDM, SD, {.steps = 5}, "dpm++2m", "karras", 5, true},
        {{.sampler = "dpm++2m", .schedule = "karras"}, PNDM, SD, {.sampler = "euler"}, "euler", "discrete", 20, false},
        {{.sampler = "dpm++2m", .schedule = "karras"}, PNDM, SD, {.sampler = "pndm"}, "pndm", "discrete", 20, false},
        {{.sampler = "dpm++2m", .schedule = "karras"},
         PNDM,
         SD,
         {.sampler = "dpm++2m"},
         "dpm++2m",
         "karras",
         20,
         false},
        {{.sampler = "dpm++2m", .schedule = "karras"}, PNDM, SD, {.schedule = "ays"}, "dpm++2m", "ays", 20, true},
        // the schedule "model" of the caller brings its own sampler, that of the folder goes with the folder's
        {{.sampler = "dpm++2m", .schedule = "karras"}, PNDM, SD, {.schedule = "model"}, "pndm", "model", 20, false},
        {{.sampler = "heun", .schedule = "model"}, PNDM, SD, {0}, "heun", "model", 20, true},
        {{.schedule = "model"}, PNDM, SD, {0}, "pndm", "model", 20, false},
        {{.schedule = "model"}, PNDM, SD, {.sampler = "heun"}, "heun", "discrete", 20, false},
        {{.sampler = "euler", .schedule = "karras", .steps = 12},
         PNDM,
         SD,
         {.sigmas = sigmas, .sigma_count = 2},
         "euler",
         "discrete",
         2,
         true},
        // before what the model's scheduler asks for
        {{.sampler = "euler", .steps = 6}, lcm, LCM, {0}, "euler", "discrete", 6, true},
        {{.steps = 6}, lcm, LCM, {0}, "lcm", "model", 6, true},
        {{.sampler = "ddim"}, trailing, SD, {0}, "ddim", "discrete", 20, true},
        {{.cfg_scale = {true, 2}}, trailing, SD, {0}, "ddim", "model", 20, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_job job;
        like = cases[i].like;
        if (choose(cases[i].config, cases[i].kind, &cases[i].g, NULL, &job) != SDG_OK)
            fail_msg("case %zu: %s", i, said[SDG_LOG_ERROR]);
        if (strcmp(sdg_method_name(job.method), cases[i].method) != 0 ||
            strcmp(sdg_schedule_name(job.schedule), cases[i].schedule) != 0 || job.steps != cases[i].steps ||
            job.preferred != cases[i].preferred)
            fail_msg("case %zu: %s, %s, %d steps, preferred %d", i, sdg_method_name(job.method),
                     sdg_schedule_name(job.schedule), job.steps, job.preferred);
    }
    like = (struct sdg_preferences){0};
}

static void test_wrong_preferences(void **state)
{
    (void)state;
    static char path[] = "m";
    static const struct {
        struct sdg_preferences like;
        const char *words; // NULL: nothing is wrong
    } cases[] = {
        {{0}, NULL},
        {{.sampler = "unipc", .schedule = "beta", .width = 64, .height = 72}, NULL},
        {{.sampler = "Euler"}, "m: model_index.json: _sdgen: sampler is \"Euler\", should be one of: euler, euler_a"},
        {{.schedule = "normal"}, "schedule is \"normal\", should be one of: discrete, karras"},
        {{.schedule = "model"}, "there is no scheduler/scheduler_config.json"},
        {{.width = 100}, "width is 100, should be a multiple of 8"},
        {{.width = 64, .height = 63}, "height is 63, should be a multiple of 8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_model model = {.path = path, .preferences = cases[i].like, .vae_config = {.levels = 4}};
        const struct sdg_pipeline p = {.model = &model, .log = {.fn = keep, .level = SDG_LOG_INFO}};
        memset(said, 0, sizeof said);
        const enum sdg_result result = sdg_check_preferences(&p);
        if (result != (cases[i].words ? SDG_ERROR_INPUT : SDG_OK) ||
            (cases[i].words && !strstr(said[SDG_LOG_ERROR], cases[i].words)))
            fail_msg("case %zu: %d, '%s'", i, (int)result, said[SDG_LOG_ERROR]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_options),     cmocka_unit_test(test_corrections),
        cmocka_unit_test(test_preferences), cmocka_unit_test(test_wrong_preferences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
