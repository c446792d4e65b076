// Samplers against diffusers and k-diffusion on a toy model with a closed form.
#include "tests/support/walks.h"

#include <unistd.h>

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/scheduler/"
#define SHARED SDG_SHARED_DIR "/goldens/schedulers/"

// ---- trajectories of diffusers ----

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
    config.solver.order = c->flags & ORDER_3 ? 3 : 2;
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
    const size_t n = GOLDEN_ELEMENTS;
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

// ---- options of diffusers' classes ----

enum { MOST_ROWS = 32 };

static const struct sdg_tensor *find(const struct sdg_tensors *tensors, const char *name, int steps, const char *what)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%d.%s", name, steps, what);
    const struct sdg_tensor *found = sdg_tensors_find(tensors, full);
    if (!found)
        fail_msg("%s is missing", full);
    return found;
}

// The configuration is read from the text that diffusers got.
static double check_options(const struct sdg_tensors *tensors, const struct sdg_scheduler_config *config,
                            const char *name, const struct sdg_tensor *want, int steps)
{
    const size_t n = GOLDEN_ELEMENTS;
    int method = sdg_method_of_config(config);
    assert_true(method >= 0);
    struct sdg_sampler_params params = {.method = (enum sdg_method)method,
                                        .schedule = SDG_SCHEDULE_MODEL,
                                        .config = config,
                                        .steps = steps,
                                        .eta = -1,
                                        .elements = n};
    struct sdg_sampler *s = create(&params);
    const struct sdg_tensor *timesteps = find(tensors, name, steps, "timesteps");
    assert_int_equal(timesteps->dims[0], sdg_sampler_calls(s));
    for (int i = 0; i < sdg_sampler_calls(s); i++)
        if (fabs(sdg_sampler_timestep(s, i) - (double)value(timesteps, (size_t)i)) > 5e-4)
            fail_msg("%s of %d steps: timestep %d is %g, should be %g", name, steps, i, sdg_sampler_timestep(s, i),
                     (double)value(timesteps, (size_t)i));
    float latent[MOST_ELEMENTS];
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CPU, 500 + (uint64_t)steps);
    sdg_rng_normal(&rng, latent, n);
    for (size_t i = 0; i < n; i++)
        latent[i] *= (float)sdg_sampler_init_noise_sigma(s);
    struct sdg_tensor rows = *want;
    float scaled[MOST_ROWS * MOST_ELEMENTS];
    if (config->edm.used && sdg_sampler_init_noise_sigma(s) == 1) { // diffusers' latents are in sigma space
        assert_true(want->bytes <= sizeof scaled);
        for (int row = 0; row < want->dims[0]; row++) {
            const bool ended = row == sdg_sampler_calls(s);
            double sigma = ended && config->final_sigmas_zero ? 0 : sdg_sampler_sigma(s, row - ended);
            for (size_t i = 0, length = row_length(want); i < length; i++)
                scaled[(size_t)row * length + i] =
                    (float)((double)value(want, (size_t)row * length + i) / hypot(sigma, 1));
        }
        rows.data = scaled;
    }
    double worst = compare_walk(s, &rows, n, config->prediction, latent, &rng);
    sdg_sampler_destroy(&s);
    return worst;
}

static void test_options(void **state)
{
    (void)state;
    struct sdg_tensors *tensors = open_golden(GOLDENS, "options");
    assert_non_null(tensors);
    int configs = 0, trajectories = 0;
    double worst = 0;
    for (size_t k = 0; k < sdg_tensors_count(tensors); k++) {
        const struct sdg_tensor *want = sdg_tensors_at(tensors, k), *text;
        char name[64], key[80], json[4096];
        int steps;
        configs += ends_with(want->name, ".config");
        if (!ends_with(want->name, ".samples") || sscanf(want->name, "%63[^.].%d", name, &steps) != 2)
            continue;
        snprintf(key, sizeof key, "%s.config", name);
        text = sdg_tensors_find(tensors, key);
        assert_true(text && text->bytes < sizeof json);
        memcpy(json, text->data, text->bytes);
        json[text->bytes] = 0;
        struct sdg_scheduler_config config;
        if (sdg_scheduler_config_parse(&test_log, name, json, "", &config) != SDG_OK)
            fail_msg("%s", message);
        if (*config.solver_objection || *config.schedule_objection)
            fail_msg("%s: %s%s", name, config.solver_objection, config.schedule_objection);
        double difference = check_options(tensors, &config, name, want, steps);
        if (getenv("SDG_VERBOSE"))
            printf("%s %d: %.2g\n", name, steps, difference);
        if (difference > 1e-5)
            fail_msg("%s of %d steps: differs by %g", name, steps, difference);
        worst = fmax(worst, difference);
        trajectories++;
    }
    printf("options: %d trajectories of %d configurations, largest relative difference %.2g\n", trajectories, configs,
           worst);
    assert_true(configs == 71 && trajectories > 130);
    sdg_tensors_destroy(&tensors);
}

// ---- trajectories of k-diffusion ----

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
    const size_t n = GOLDEN_ELEMENTS;
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
            worst = fmax(worst, row_difference(latent, want, step));
        walk_call(s, call, n, config.prediction, latent, &rng);
    }
    struct sdg_tensor last = *want;
    last.bytes = row_length(want) * sizeof(float);
    last.data = (const char *)want->data + (size_t)steps * last.bytes;
    last.dims[0] = 1;
    worst = fmax(worst / largest(want), row_difference(latent, &last, 0) / largest(&last));
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

// ---- img2img ----

static void test_img2img(void **state)
{
    (void)state;
    struct sdg_tensors *tensors = open_golden(GOLDENS, "img2img");
    assert_non_null(tensors);
    const struct sdg_tensor *picture = sdg_tensors_find(tensors, "picture");
    const size_t n = GOLDEN_ELEMENTS;
    assert_int_equal(picture->dims[0], n);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diffusers),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_k_diffusion),
        cmocka_unit_test(test_img2img),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
