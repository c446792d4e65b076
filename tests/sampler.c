// Samplers and schedules against diffusers and k-diffusion on a toy model with a closed form, and every combination of
// method, schedule and number of steps for finite results or a clean refusal.
#include "base/memory.h"
#include "formats/tensors.h"
#include "scheduler/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/scheduler/"
#define SHARED SDG_SHARED_DIR "/goldens/schedulers/"

enum { MOST_ELEMENTS = 64 };

static char message[600]; // the last one

static void keep_message(void *user, enum sdg_log_level level, const char *text)
{
    (void)user;
    (void)level;
    snprintf(message, sizeof message, "%s", text);
}
static const struct sdg_log test_log = {.fn = keep_message, .level = SDG_LOG_WARNING};

// ---- toy model and walks
// ------------------------------------------------------------------------------------------------

static float toy(float x, double t, enum sdg_prediction kind)
{
    double v = (double)x;
    if (kind == SDG_PREDICT_V)
        return (float)(0.3 * v - 0.4 * tanh(v) + 0.1 * sin(t / 300));
    return (float)(0.6 * tanh(v) + 0.2 * v + 0.1 * cos(t / 200));
}

static void walk_call(struct sdg_sampler *s, int call, size_t n, enum sdg_prediction kind, float *latent,
                      struct sdg_rng *rng)
{
    float input[MOST_ELEMENTS];
    sdg_sampler_scale_input(s, call, latent, input);
    for (size_t i = 0; i < n; i++)
        input[i] = toy(input[i], sdg_sampler_timestep(s, call), kind);
    sdg_sampler_step(s, call, input, latent, rng);
}

static float value(const struct sdg_tensor *t, size_t i)
{
    float x;
    memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
    return x;
}

// The larger, b when a is NaN. With fmax in its place GCC 12.2 for 64-bit ARM crashes on the loops below.
static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double largest(const struct sdg_tensor *t)
{
    double most = 0;
    for (size_t i = 0; i < t->bytes / sizeof(float); i++)
        most = larger(fabs((double)value(t, i)), most);
    return most;
}

// Largest difference between the latent and row `row` of `want`.
static double row_difference(const float *latent, const struct sdg_tensor *want, int row, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(latent[i]));
        worst = larger(fabs((double)latent[i] - (double)value(want, (size_t)row * n + i)), worst);
    }
    return worst;
}

// Walks from `latent` and compares with every row of `want` [calls + 1, n], relative to its largest value.
static double compare_walk(struct sdg_sampler *s, const struct sdg_tensor *want, size_t n, enum sdg_prediction kind,
                           float *latent, struct sdg_rng *rng)
{
    assert_int_equal(want->dims[0], sdg_sampler_calls(s) + 1);
    double worst = row_difference(latent, want, 0, n);
    for (int call = 0; call < sdg_sampler_calls(s); call++) {
        walk_call(s, call, n, kind, latent, rng);
        worst = fmax(worst, row_difference(latent, want, call + 1, n));
    }
    return worst / largest(want);
}

static struct sdg_sampler *create(const struct sdg_sampler_params *params)
{
    struct sdg_sampler *s = NULL;
    message[0] = 0;
    if (sdg_sampler_create(&test_log, params, &s) != SDG_OK)
        fail_msg("%s", message);
    assert_non_null(s);
    return s;
}

static struct sdg_scheduler_config stable_diffusion(void)
{
    struct sdg_scheduler_config config;
    sdg_scheduler_config_default(&config);
    return config;
}

// ---- trajectories of diffusers
// --------------------------------------------------------------------------------------------

enum {
    KARRAS = 1,
    EXPONENTIAL = 2,
    BETA = 4,
    ALPHA_ONE = 8,
    NO_OFFSET = 16,
    LINEAR_BETAS = 32,
    ZERO_SNR = 64,
    SIGMA_MIN = 128,
    ORDER_3 = 256
};
#define LEADING SDG_SPACING_LEADING
#define LINSPACE SDG_SPACING_LINSPACE
#define TRAILING SDG_SPACING_TRAILING

static const struct golden_case {
    const char *file;
    enum sdg_method method;
    enum sdg_spacing spacing;
    int flags;
    double eta;
} golden_cases[] = {
    {"ddim", SDG_METHOD_DDIM, LEADING, 0, 0},
    {"ddim-eta1", SDG_METHOD_DDIM, LEADING, 0, 1},
    {"ddim-linspace", SDG_METHOD_DDIM, LINSPACE, 0, -1},
    {"ddim-trailing", SDG_METHOD_DDIM_TRAILING, LEADING, 0, -1},
    {"ddim-alpha-one", SDG_METHOD_DDIM, LEADING, ALPHA_ONE, -1},
    {"ddim-zero-snr", SDG_METHOD_DDIM, TRAILING, ZERO_SNR, -1},
    {"ddim-linear-betas", SDG_METHOD_DDIM, LEADING, LINEAR_BETAS, -1},
    {"pndm", SDG_METHOD_PNDM, LEADING, 0, -1},
    {"pndm-offset0", SDG_METHOD_PNDM, LEADING, NO_OFFSET | ALPHA_ONE, -1},
    {"euler", SDG_METHOD_EULER, LEADING, 0, -1},
    {"euler-linspace", SDG_METHOD_EULER, LINSPACE, 0, -1},
    {"euler-trailing", SDG_METHOD_EULER, TRAILING, 0, -1},
    {"euler-karras", SDG_METHOD_EULER, LINSPACE, KARRAS, -1},
    {"euler-karras-leading", SDG_METHOD_EULER, LEADING, KARRAS, -1},
    {"euler-exponential", SDG_METHOD_EULER, LINSPACE, EXPONENTIAL, -1},
    {"euler-beta", SDG_METHOD_EULER, LINSPACE, BETA, -1},
    {"euler_a", SDG_METHOD_EULER_A, LEADING, 0, -1},
    {"euler_a-linspace", SDG_METHOD_EULER_A, LINSPACE, 0, -1},
    {"heun", SDG_METHOD_HEUN, LEADING, 0, -1},
    {"heun-karras", SDG_METHOD_HEUN, LINSPACE, KARRAS, -1},
    {"dpm2", SDG_METHOD_DPM2, LEADING, 0, -1},
    {"dpm2-karras", SDG_METHOD_DPM2, LINSPACE, KARRAS, -1},
    {"dpm++2m", SDG_METHOD_DPMPP2M, LEADING, 0, -1},
    {"dpm++2m-linspace", SDG_METHOD_DPMPP2M, LINSPACE, 0, -1},
    {"dpm++2m-trailing", SDG_METHOD_DPMPP2M, TRAILING, 0, -1},
    {"dpm++2m-karras", SDG_METHOD_DPMPP2M, LINSPACE, KARRAS, -1},
    {"dpm++2m-exponential", SDG_METHOD_DPMPP2M, LINSPACE, EXPONENTIAL, -1},
    {"dpm++2m-sigma_min", SDG_METHOD_DPMPP2M, LEADING, SIGMA_MIN, -1},
    {"unipc", SDG_METHOD_UNIPC, LEADING, 0, -1},
    {"unipc-karras", SDG_METHOD_UNIPC, LINSPACE, KARRAS, -1},
    {"unipc-order3", SDG_METHOD_UNIPC, LEADING, ORDER_3, -1},
    {"lms", SDG_METHOD_LMS, LEADING, 0, -1},
    {"lms-karras", SDG_METHOD_LMS, LINSPACE, KARRAS, -1},
    {"lcm", SDG_METHOD_LCM, LEADING, NO_OFFSET | ALPHA_ONE, -1},
    {"tcd", SDG_METHOD_TCD, LEADING, NO_OFFSET | ALPHA_ONE, -1},
    {"ddpm", SDG_METHOD_DDPM, LEADING, 0, -1},
};

static struct sdg_scheduler_config case_config(const struct golden_case *c)
{
    struct sdg_scheduler_config config = stable_diffusion();
    config.spacing = c->spacing;
    config.use_karras_sigmas = c->flags & KARRAS;
    config.use_exponential_sigmas = c->flags & EXPONENTIAL;
    config.use_beta_sigmas = c->flags & BETA;
    config.set_alpha_to_one = c->flags & ALPHA_ONE;
    config.rescale_betas_zero_snr = c->flags & ZERO_SNR;
    config.final_sigmas_zero = !(c->flags & SIGMA_MIN);
    config.solver_order = c->flags & ORDER_3 ? 3 : 2;
    if (c->flags & NO_OFFSET)
        config.steps_offset = 0;
    if (c->flags & LINEAR_BETAS) {
        config.beta_schedule = SDG_BETA_LINEAR;
        config.beta_start = 1e-4f;
        config.beta_end = 0.02f;
    }
    return config;
}

static void check_tables(const struct sdg_sampler *s, const struct sdg_tensors *tensors, int steps)
{
    char name[64];
    snprintf(name, sizeof name, "%d.timesteps", steps);
    const struct sdg_tensor *timesteps = sdg_tensors_find(tensors, name);
    assert_int_equal(timesteps->dims[0], sdg_sampler_calls(s));
    for (int i = 0; i < sdg_sampler_calls(s); i++)
        assert_true(fabs(sdg_sampler_timestep(s, i) - (double)value(timesteps, (size_t)i)) < 2e-4);
    snprintf(name, sizeof name, "%d.init_noise_sigma", steps);
    double wanted = (double)value(sdg_tensors_find(tensors, name), 0);
    assert_true(fabs(sdg_sampler_init_noise_sigma(s) / wanted - 1) < 1e-6);
}

// One KIND.STEPS.samples. `seed` is that of torch's generator, which draws the first latent and then the sampler's
// noise.
static double check_trajectory(const struct golden_case *c, const struct sdg_tensors *tensors,
                               const struct sdg_tensor *want)
{
    struct sdg_scheduler_config config = case_config(c);
    size_t n = want->bytes / sizeof(float) / (size_t)want->dims[0];
    int steps = (int)strtol(strchr(want->name, '.') + 1, NULL, 10);
    config.prediction = strncmp(want->name, "epsilon.", 8) == 0 ? SDG_PREDICT_EPSILON : SDG_PREDICT_V;
    struct sdg_sampler_params params = {.method = c->method,
                                        .schedule = SDG_SCHEDULE_MODEL,
                                        .config = &config,
                                        .steps = steps,
                                        .eta = c->eta,
                                        .elements = n};
    struct sdg_sampler *s = create(&params);
    assert_int_equal(sdg_sampler_steps(s), steps);
    check_tables(s, tensors, steps);

    float latent[MOST_ELEMENTS];
    struct sdg_rng rng;
    assert_true(n <= MOST_ELEMENTS);
    sdg_rng_seed(&rng, SDG_RNG_CPU, 500 + (uint64_t)steps);
    sdg_rng_normal(&rng, latent, n);
    for (size_t i = 0; i < n; i++)
        latent[i] *= (float)sdg_sampler_init_noise_sigma(s);
    double worst = compare_walk(s, want, n, config.prediction, latent, &rng);
    sdg_sampler_destroy(&s);
    assert_null(s);
    return worst;
}

static struct sdg_tensors *open_golden(const char *folder, const char *file)
{
    char path[512];
    struct sdg_tensors *tensors = NULL;
    snprintf(path, sizeof path, "%s%s.safetensors", folder, file);
    if (access(path, R_OK) == 0 && sdg_tensors_open(&test_log, path, &tensors) != SDG_OK)
        fail_msg("%s", message);
    return tensors;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void test_diffusers(void **state)
{
    (void)state;
    int files = 0, skipped = 0, trajectories = 0;
    double worst = 0;
    for (size_t i = 0; i < sizeof golden_cases / sizeof *golden_cases; i++) {
        struct sdg_tensors *tensors = open_golden(GOLDENS, golden_cases[i].file);
        if (!tensors)
            tensors = open_golden(SHARED, golden_cases[i].file);
        if (!tensors) {
            printf("skipped: %s (not in tests/goldens, and no shared folder)\n", golden_cases[i].file);
            skipped++;
            continue;
        }
        files++;
        for (size_t k = 0; k < sdg_tensors_count(tensors); k++) {
            const struct sdg_tensor *want = sdg_tensors_at(tensors, k);
            if (!ends_with(want->name, ".samples"))
                continue;
            double difference = check_trajectory(&golden_cases[i], tensors, want);
            if (difference > 5e-6)
                fail_msg("%s %s: differs by %g", golden_cases[i].file, want->name, difference);
            worst = fmax(worst, difference);
            trajectories++;
        }
        sdg_tensors_destroy(&tensors);
    }
    printf("diffusers: %d trajectories of %d files, largest relative difference %.2g; %d files skipped\n", trajectories,
           files, worst, skipped);
    assert_true(files >= 18 && trajectories >= 100);
}

// ---- trajectories of k-diffusion
// ------------------------------------------------------------------------------------------

// Those start from noise * sigma and record the latent at each step's start. A variance preserving walk starts from the
// same latent / sqrt(sigma^2 + 1), and ends at the same picture.
static const struct k_case {
    const char *file;
    enum sdg_method method;
    bool preserving;
    // diffusers rounds the timesteps of dpm++2m, and dpm2's for karras
    double tolerance;
    bool discrete; // has the same steps
} k_cases[] = {
    {"euler", SDG_METHOD_EULER, false, 5e-6, true},         {"euler_a", SDG_METHOD_EULER_A, false, 5e-6, true},
    {"heun", SDG_METHOD_HEUN, false, 5e-6, true},           {"dpm2", SDG_METHOD_DPM2, false, 3e-5, true},
    {"dpm++2s_a", SDG_METHOD_DPMPP2S_A, false, 5e-6, true}, {"dpm++2mv2", SDG_METHOD_DPMPP2MV2, false, 5e-6, true},
    {"dpm++2m", SDG_METHOD_DPMPP2M, true, 1e-3, false},     {"lcm", SDG_METHOD_LCM, true, 2e-5, false},
};

static double k_trajectory(const struct k_case *c, const struct sdg_tensor *want)
{
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(want->name, "."), want->name);
    int schedule = sdg_schedule_from_name(name), steps = (int)strtol(strchr(want->name, '.') + 1, NULL, 10);
    assert_true(schedule >= 0);
    struct sdg_scheduler_config config = stable_diffusion();
    size_t n = want->bytes / sizeof(float) / (size_t)want->dims[0];
    struct sdg_sampler_params params = {.method = c->method,
                                        .schedule = (enum sdg_schedule)schedule,
                                        .config = &config,
                                        .steps = steps,
                                        .eta = -1,
                                        .elements = n};
    struct sdg_sampler *s = create(&params);
    float latent[MOST_ELEMENTS];
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CPU, 1400 + (uint64_t)steps);
    sdg_rng_normal(&rng, latent, n);
    double sigma = sdg_sampler_sigma(s, 0),
           scale = c->preserving ? sigma / sqrt(sigma * sigma + 1) : sdg_sampler_init_noise_sigma(s), worst = 0;
    for (size_t i = 0; i < n; i++)
        latent[i] = (float)((double)latent[i] * scale);
    for (int call = 0; call < sdg_sampler_calls(s); call++) {
        int step = sdg_sampler_step_of_call(s, call);
        if (!c->preserving && (call == 0 || sdg_sampler_step_of_call(s, call - 1) < step))
            worst = fmax(worst, row_difference(latent, want, step, n));
        walk_call(s, call, n, config.prediction, latent, &rng);
    }
    struct sdg_tensor last = *want;
    last.data = (const char *)want->data + (size_t)steps * n * sizeof(float);
    last.bytes = n * sizeof(float);
    worst = fmax(worst / largest(want), row_difference(latent, &last, 0, n) / largest(&last));
    sdg_sampler_destroy(&s);
    return worst;
}

static void test_k_diffusion(void **state)
{
    (void)state;
    int trajectories = 0;
    for (size_t i = 0; i < sizeof k_cases / sizeof *k_cases; i++) {
        struct sdg_tensors *tensors = open_golden(GOLDENS, k_cases[i].file);
        if (!tensors || sdg_tensors_find(tensors, "karras.5.samples") == NULL) {
            sdg_tensors_destroy(&tensors); // diffusers' file of that name
            tensors = open_golden(SHARED "kdiffusion/", k_cases[i].file);
        }
        if (!tensors) {
            printf("skipped: k-diffusion's %s (no shared folder)\n", k_cases[i].file);
            continue;
        }
        double worst = 0;
        for (size_t k = 0; k < sdg_tensors_count(tensors); k++) {
            const struct sdg_tensor *want = sdg_tensors_at(tensors, k);
            if (!ends_with(want->name, ".samples") || (!k_cases[i].discrete && strncmp(want->name, "discrete", 8) == 0))
                continue;
            double difference = k_trajectory(&k_cases[i], want);
            if (difference > k_cases[i].tolerance)
                fail_msg("%s %s: differs by %g", k_cases[i].file, want->name, difference);
            worst = fmax(worst, difference);
            trajectories++;
        }
        printf("k-diffusion %s: largest difference %.2g\n", k_cases[i].file, worst);
        sdg_tensors_destroy(&tensors);
    }
    assert_true(trajectories >= 16);
}

// ---- img2img
// ----------------------------------------------------------------------------------------------------------------

static void test_img2img(void **state)
{
    (void)state;
    struct sdg_tensors *tensors = open_golden(GOLDENS, "img2img");
    assert_non_null(tensors);
    const struct sdg_tensor *picture = sdg_tensors_find(tensors, "picture");
    size_t n = (size_t)picture->dims[0];
    int checked = 0;
    double worst = 0;
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        const struct sdg_tensor *want = sdg_tensors_at(tensors, i);
        char method[32];
        int steps, first;
        if (sscanf(want->name, "%31[^.].%d.%d.samples", method, &steps, &first) != 3)
            continue;
        struct sdg_scheduler_config config = stable_diffusion();
        struct sdg_sampler_params params = {.method = (enum sdg_method)sdg_method_from_name(method),
                                            .schedule = SDG_SCHEDULE_MODEL,
                                            .config = &config,
                                            .steps = steps,
                                            .first_step = first,
                                            .eta = -1,
                                            .elements = n};
        struct sdg_sampler *s = create(&params);
        assert_int_equal(sdg_sampler_steps(s), steps - first);
        assert_int_equal(sdg_sampler_step_of_call(s, 0), 0);
        assert_int_equal(sdg_sampler_step_of_call(s, sdg_sampler_calls(s) - 1), steps - first - 1);
        float latent[MOST_ELEMENTS], noise[MOST_ELEMENTS];
        struct sdg_rng rng;
        memcpy(latent, picture->data, picture->bytes);
        sdg_rng_seed(&rng, SDG_RNG_CPU, 77);
        sdg_rng_normal(&rng, noise, n);
        sdg_sampler_add_noise(s, 0, latent, noise);
        double difference = compare_walk(s, want, n, config.prediction, latent, &rng);
        if (difference > 5e-6)
            fail_msg("%s: differs by %g", want->name, difference);
        worst = fmax(worst, difference);
        checked++;
        sdg_sampler_destroy(&s);
    }
    printf("img2img: %d trajectories, largest relative difference %.2g\n", checked, worst);
    assert_int_equal(checked, 36);
    sdg_tensors_destroy(&tensors);
}

// A latent that was noised to call i and that the model understands perfectly is, one call later, noised to call i + 1.
static void test_noise_levels(void **state)
{
    (void)state;
    static const enum sdg_method methods[] = {SDG_METHOD_EULER, SDG_METHOD_DDIM, SDG_METHOD_DPMPP2M};
    struct sdg_scheduler_config config = stable_diffusion();
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        struct sdg_sampler_params params = {.method = methods[m],
                                            .schedule = SDG_SCHEDULE_MODEL,
                                            .config = &config,
                                            .steps = 20,
                                            .eta = -1,
                                            .elements = 1};
        struct sdg_sampler *s = create(&params);
        const float picture = 0.75f, noise = -1.25f;
        float latent = picture, expected;
        sdg_sampler_add_noise(s, 0, &latent, &noise);
        for (int call = 0; call < sdg_sampler_calls(s); call++) {
            sdg_sampler_step(s, call, &noise, &latent, NULL);
            expected = picture;
            sdg_sampler_add_noise(s, call + 1, &expected, &noise);
            if (call + 1 < sdg_sampler_calls(s))
                assert_true(fabsf(latent - expected) < 2e-5f);
        }
        assert_true(expected == picture); // the end has no noise
        sdg_sampler_destroy(&s);
    }
}

// ---- schedules of other programs
// ----------------------------------------------------------------------------------------------

static struct sdg_sampler *schedule(const struct sdg_scheduler_config *config, enum sdg_schedule kind, int steps)
{
    struct sdg_sampler_params params = {
        .method = SDG_METHOD_EULER, .schedule = kind, .config = config, .steps = steps, .eta = -1, .elements = 4};
    return create(&params);
}

static void test_schedules(void **state)
{
    (void)state;
    struct sdg_scheduler_config config = stable_diffusion();
    // the paper's table
    static const double ays[] = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152};
    struct sdg_sampler *s = schedule(&config, SDG_SCHEDULE_AYS, 10);
    for (int i = 0; i < 10; i++)
        assert_true(fabs(sdg_sampler_sigma(s, i) / ays[i] - 1) < 5e-3);
    sdg_sampler_destroy(&s);

    s = schedule(&config, SDG_SCHEDULE_AYS, 20); // every other level is one of those, the ones between geometric means
    for (int i = 0; i < 9; i++) {
        double below = sdg_sampler_sigma(s, 2 * i), above = sdg_sampler_sigma(s, 2 * i + 2);
        assert_true(fabs(below / ays[i] - 1) < 5e-3);
        assert_true(fabs(sdg_sampler_sigma(s, 2 * i + 1) / sqrt(below * above) - 1) < 1e-9);
    }
    sdg_sampler_destroy(&s);

    static const double simple[] = {999, 749, 499, 249};
    s = schedule(&config, SDG_SCHEDULE_SIMPLE, 4);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(sdg_sampler_timestep(s, i) - simple[i]) < 1e-3);
    sdg_sampler_destroy(&s);

    static const double uniform[] = {999, 749.25, 499.5, 249.75};
    s = schedule(&config, SDG_SCHEDULE_SGM_UNIFORM, 4);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(sdg_sampler_timestep(s, i) - uniform[i]) < 1e-3);
    sdg_sampler_destroy(&s);

    s = schedule(&config, SDG_SCHEDULE_DISCRETE, 1); // a single step starts from the most noise
    assert_true(sdg_sampler_timestep(s, 0) == 999);
    sdg_sampler_destroy(&s);

    // An expectation from Karras et al.: the 7th roots are evenly spaced between those of the first and last level.
    s = schedule(&config, SDG_SCHEDULE_KARRAS, 3);
    double ends = pow(sdg_sampler_sigma(s, 0), 1 / 7.0) + pow(sdg_sampler_sigma(s, 2), 1 / 7.0);
    assert_true(fabs(pow(sdg_sampler_sigma(s, 1), 1 / 7.0) - ends / 2) < 1e-9);
    assert_true(fabs(sdg_sampler_sigma(s, 0) - 14.6146) < 1e-3 && fabs(sdg_sampler_sigma(s, 2) - 0.0292) < 1e-4);
    sdg_sampler_destroy(&s);
}

static void test_custom_sigmas(void **state)
{
    (void)state;
    struct sdg_scheduler_config config = stable_diffusion();
    static const double with_end[] = {14.6, 3, 1, 0.2, 0},
                        broken[][3] = {{1, 1, 0},        {1, 2, 0},    {1, 0, 0}, {NAN, 1, 0},
                                       {INFINITY, 1, 0}, {-1, -2, -3}, {0, 0, 0}};
    struct sdg_sampler_params params = {.config = &config, .eta = -1, .elements = 4, .sigmas = with_end};
    for (int count = 4; count <= 5; count++)
        for (int method = 0; method < SDG_METHOD_COUNT; method++) {
            struct sdg_sampler *s = NULL;
            params.method = (enum sdg_method)method;
            params.sigma_count = count;
            if (sdg_sampler_create(&test_log, &params, &s) != SDG_OK) {
                assert_non_null(strstr(message, sdg_method_name(params.method)));
                continue;
            }
            assert_int_equal(sdg_sampler_steps(s), 4);
            for (int call = 0; call < sdg_sampler_calls(s); call++)
                if (call == 0 || sdg_sampler_step_of_call(s, call) > sdg_sampler_step_of_call(s, call - 1))
                    assert_true(fabs(sdg_sampler_sigma(s, call) / with_end[sdg_sampler_step_of_call(s, call)] - 1) <
                                1e-9);
            sdg_sampler_destroy(&s);
        }
    params.method = SDG_METHOD_EULER;
    params.sigma_count = 3;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct sdg_sampler *s = NULL;
        params.sigmas = broken[i];
        assert_int_equal(sdg_sampler_create(&test_log, &params, &s), SDG_ERROR_USAGE);
        assert_null(s);
    }
    params.sigma_count = 0;
    struct sdg_sampler *s = NULL;
    assert_int_equal(sdg_sampler_create(&test_log, &params, &s), SDG_ERROR_USAGE);
}

// ---- every combination
// ----------------------------------------------------------------------------------------------------------

// 1 if the walk was made and stayed finite, 0 if it was refused.
static int try_walk(const struct sdg_sampler_params *params)
{
    struct sdg_sampler *s = NULL;
    message[0] = 0;
    enum sdg_result result = sdg_sampler_create(&test_log, params, &s);
    if (result != SDG_OK) {
        assert_int_equal(result, SDG_ERROR_USAGE);
        assert_null(s);
        assert_non_null(strstr(message, sdg_method_name(params->method)));
        return 0;
    }
    float latent[4], picture[4] = {0.5f, -0.5f, 0, 1};
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CUDA, 1);
    sdg_rng_normal(&rng, latent, 4);
    if (params->first_step) {
        sdg_sampler_add_noise(s, 0, picture, latent);
        memcpy(latent, picture, sizeof latent);
    } else {
        for (int i = 0; i < 4; i++)
            latent[i] *= (float)sdg_sampler_init_noise_sigma(s);
    }
    assert_true(sdg_sampler_calls(s) >= sdg_sampler_steps(s));
    for (int call = 0; call < sdg_sampler_calls(s); call++) {
        double t = sdg_sampler_timestep(s, call), sigma = sdg_sampler_sigma(s, call);
        assert_true(t >= 0 && t <= params->config->train_timesteps - 1 && isfinite(sigma) && sigma > 0);
        double before = call ? sdg_sampler_timestep(s, call - 1) : t;
        // dpm2's own timesteps are rounded, not those between
        if (t > before + (params->method == SDG_METHOD_DPM2 ? 0.5 : 1e-3))
            fail_msg("%s %s, %d steps: timestep %g follows %g", sdg_method_name(params->method),
                     sdg_schedule_name(params->schedule), params->steps, t, before);
        walk_call(s, call, 4, params->config->prediction, latent, &rng);
        for (int i = 0; i < 4; i++)
            if (!(fabsf(latent[i]) < 1e3f))
                fail_msg("%s %s, %d steps from %d, prediction %d, call %d: latent is %g",
                         sdg_method_name(params->method), sdg_schedule_name(params->schedule), params->steps,
                         params->first_step, (int)params->config->prediction, call, (double)latent[i]);
    }
    sdg_sampler_destroy(&s);
    return 1;
}

static void test_combinations(void **state)
{
    (void)state;
    static const int step_counts[] = {1, 2, 3, 4, 7, 20, 50, 333, 999, 1000};
    int walked = 0, refused = 0;
    struct sdg_scheduler_config config = stable_diffusion();
    struct sdg_sampler_params params = {.config = &config, .elements = 4};
    for (int method = 0; method < SDG_METHOD_COUNT; method++)
        for (int kind = 0; kind < SDG_SCHEDULE_COUNT; kind++)
            for (size_t i = 0; i < sizeof step_counts / sizeof *step_counts; i++)
                for (int variant = 0; variant < 9; variant++) {
                    params.method = (enum sdg_method)method;
                    params.schedule = (enum sdg_schedule)kind;
                    params.steps = step_counts[i];
                    params.first_step = variant % 3 == 0 ? 0 : variant % 3 == 1 ? params.steps - 1 : params.steps / 3;
                    params.eta = variant % 2 ? 1 : -1;
                    config.prediction = (enum sdg_prediction)(variant / 3);
                    config.spacing = (enum sdg_spacing)(variant % 3);
                    config.solver_order = 1 + variant % 3;
                    int done = try_walk(&params);
                    walked += done;
                    refused += !done;
                }
    printf("combinations: %d walked and finite, %d refused\n", walked, refused);
    assert_true(walked > 8000 && refused < walked / 4);
}

// Other models: few timesteps, other betas, a terminal SNR of zero, a sigma_min end.
static void test_other_models(void **state)
{
    (void)state;
    int walked = 0;
    for (int method = 0; method < SDG_METHOD_COUNT; method++)
        for (int model = 0; model < 5; model++)
            for (int kind = 0; kind < 3; kind++)
                for (int steps = 1; steps <= 20; steps += 1 + steps / 3) {
                    struct sdg_scheduler_config config = stable_diffusion();
                    config.prediction = (enum sdg_prediction)kind;
                    if (model == 0)
                        config.rescale_betas_zero_snr = true;
                    if (model == 1)
                        config.beta_schedule = SDG_BETA_SQUARED_COSINE;
                    if (model == 2)
                        config.train_timesteps = 100;
                    if (model == 3)
                        config.final_sigmas_zero = false;
                    config.use_karras_sigmas = model == 3;
                    config.spacing = model == 0 ? TRAILING : LEADING;
                    config.clip_sample = model == 4;
                    struct sdg_sampler_params params = {.method = (enum sdg_method)method,
                                                        .schedule = SDG_SCHEDULE_MODEL,
                                                        .config = &config,
                                                        .steps = steps,
                                                        .eta = -1,
                                                        .elements = 4};
                    struct sdg_sampler *s = create(&params);
                    float latent[4];
                    struct sdg_rng rng;
                    sdg_rng_seed(&rng, SDG_RNG_STD, 3);
                    sdg_rng_normal(&rng, latent, 4);
                    for (int i = 0; i < 4; i++)
                        latent[i] *= (float)sdg_sampler_init_noise_sigma(s);
                    for (int call = 0; call < sdg_sampler_calls(s); call++)
                        walk_call(s, call, 4, config.prediction, latent, &rng);
                    for (int i = 0; i < 4; i++)
                        if (!isfinite(latent[i]))
                            fail_msg("%s, model %d, prediction %d, %d steps: latent is %g",
                                     sdg_method_name(params.method), model, kind, steps, (double)latent[i]);
                    walked++;
                    sdg_sampler_destroy(&s);
                }
    printf("other models: %d walks finite\n", walked);
}

static void test_refusals(void **state)
{
    (void)state;
    struct sdg_scheduler_config config = stable_diffusion(), hopeless = config;
    hopeless.beta_start = hopeless.beta_end = 0.99f;
    const struct sdg_sampler_params good = {
        .method = SDG_METHOD_EULER, .config = &config, .steps = 20, .eta = -1, .elements = 4};
    struct refusal {
        struct sdg_sampler_params params;
        enum sdg_result result;
        const char *says;
    } cases[] = {
        {good, SDG_ERROR_USAGE, "steps: 0"},
        {good, SDG_ERROR_USAGE, "steps: 1001"},
        {good, SDG_ERROR_USAGE, "first step: 20"},
        {good, SDG_ERROR_USAGE, "first step: -1"},
        {good, SDG_ERROR_USAGE, "eta: 1.5"},
        {good, SDG_ERROR_USAGE, "eta: "},
        {good, SDG_ERROR_USAGE, "latent is empty"},
        {good, SDG_ERROR_USAGE, "lcm"},
        {good, SDG_ERROR_USAGE, "karras"},
        {good, SDG_ERROR_INPUT, "betas"},
        {good, SDG_ERROR_USAGE, "unknown"},
        {good, SDG_ERROR_MEMORY, "not enough memory"},
        {good, SDG_ERROR_USAGE, "steps: -2147483648"},
    };
    cases[0].params.steps = 0;
    cases[1].params.steps = 1001;
    cases[2].params.first_step = 20;
    cases[3].params.first_step = -1;
    cases[4].params.eta = 1.5;
    cases[5].params.eta = NAN;
    cases[6].params.elements = 0;
    cases[7].params.method = SDG_METHOD_LCM;
    cases[7].params.steps = 51;
    cases[8].params.method = SDG_METHOD_PNDM;
    cases[8].params.schedule = SDG_SCHEDULE_KARRAS;
    cases[9].params.config = &hopeless;
    cases[10].params.method = (enum sdg_method)SDG_METHOD_COUNT;
    cases[11].params.method = SDG_METHOD_LMS;
    cases[11].params.elements = SIZE_MAX / 2;
    cases[12].params.steps = INT32_MIN;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_sampler *s = (struct sdg_sampler *)&config;
        message[0] = 0;
        assert_int_equal(sdg_sampler_create(&test_log, &cases[i].params, &s), cases[i].result);
        assert_null(s);
        if (!strstr(message, cases[i].says))
            fail_msg("'%s' does not say '%s'", message, cases[i].says);
    }
}

static void test_failing_allocations(void **state)
{
    (void)state;
    struct sdg_scheduler_config config = stable_diffusion();
    struct sdg_sampler_params params = {
        .method = SDG_METHOD_UNIPC, .config = &config, .steps = 20, .eta = -1, .elements = 16};
    struct sdg_sampler *s = NULL;
    size_t failed = 0;
    for (;; failed++) {
        sdg_test_fail_allocation(failed + 1);
        enum sdg_result result = sdg_sampler_create(&test_log, &params, &s);
        if (result == SDG_OK)
            break;
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_null(s);
    }
    sdg_test_fail_allocation(0);
    sdg_sampler_destroy(&s);
    assert_true(failed >= 4);
}

// A second walk of the same sampler gives the same bytes; so does a walk whose first try was broken by NaN.
static void test_walk_again(void **state)
{
    (void)state;
    for (int method = 0; method < SDG_METHOD_COUNT; method++) {
        struct sdg_scheduler_config config = stable_diffusion();
        struct sdg_sampler_params params = {
            .method = (enum sdg_method)method, .config = &config, .steps = 9, .eta = -1, .elements = 16};
        struct sdg_sampler *s = create(&params);
        float latent[3][16];
        for (int turn = 0; turn < 3; turn++) {
            struct sdg_rng rng;
            sdg_rng_seed(&rng, SDG_RNG_CPU, 5);
            sdg_rng_normal(&rng, latent[turn], 16);
            if (turn == 1)
                latent[turn][3] = NAN;
            for (int call = 0; call < sdg_sampler_calls(s); call++)
                walk_call(s, call, 16, config.prediction, latent[turn], &rng);
        }
        assert_memory_equal(latent[0], latent[2], sizeof latent[0]);
        assert_true(isnan(latent[1][3])); // what is not finite is never hidden
        sdg_sampler_destroy(&s);
    }
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < SDG_METHOD_COUNT; i++)
        assert_int_equal(sdg_method_from_name(sdg_method_name((enum sdg_method)i)), i);
    for (int i = 0; i < SDG_SCHEDULE_COUNT; i++)
        assert_int_equal(sdg_schedule_from_name(sdg_schedule_name((enum sdg_schedule)i)), i);
    assert_int_equal(sdg_method_from_name("plms"), SDG_METHOD_PNDM);
    assert_int_equal(sdg_method_from_name("ddim_leading"), SDG_METHOD_DDIM);
    assert_int_equal(sdg_method_from_name("Euler"), -1);
    assert_int_equal(sdg_schedule_from_name(""), -1);
    assert_int_equal(sdg_method_from_class("PNDMScheduler"), SDG_METHOD_PNDM);
    assert_int_equal(sdg_method_from_class("KDPM2DiscreteScheduler"), SDG_METHOD_DPM2);
    assert_int_equal(sdg_method_from_class("FlowMatchEulerDiscreteScheduler"), -1);
    assert_int_equal(sdg_method_from_class(""), -1);
    struct sdg_sampler *none = NULL;
    sdg_sampler_destroy(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diffusers),    cmocka_unit_test(test_k_diffusion),
        cmocka_unit_test(test_img2img),      cmocka_unit_test(test_noise_levels),
        cmocka_unit_test(test_schedules),    cmocka_unit_test(test_custom_sigmas),
        cmocka_unit_test(test_combinations), cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_walk_again),   cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
