// Noise levels, schedules, and every combination of method, schedule and number of steps for finite results or a clean
// refusal.
#include "base/memory.h"
#include "tests/support/walks.h"

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

// ---- schedules of other programs ----

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

// ---- every combination ----

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

// Image to image with a latent consistency model: LCMScheduler.set_timesteps(4, strength=0.75) of diffusers 0.42 takes
// every floor(37 / 4 i)-th from the top of the lowest 37 of its 50 timesteps.
static void test_lcm_points(void **state)
{
    (void)state;
    static const double wanted[] = {739, 559, 379, 199};
    struct sdg_scheduler_config config = stable_diffusion();
    struct sdg_sampler_params params = {.method = SDG_METHOD_LCM,
                                        .schedule = SDG_SCHEDULE_MODEL,
                                        .config = &config,
                                        .steps = 4,
                                        .lcm_points = 37,
                                        .eta = -1,
                                        .elements = 4};
    struct sdg_sampler *s = create(&params);
    assert_int_equal(sdg_sampler_calls(s), 4);
    for (int i = 0; i < 4; i++)
        assert_true(sdg_sampler_timestep(s, i) == wanted[i]);
    sdg_sampler_destroy(&s);
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
                    config.solver.order = 1 + variant % 3;
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
                    config.spacing = model == 0 ? SDG_SPACING_TRAILING : SDG_SPACING_LEADING;
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
    static const struct {
        const char *class_name;
        enum sdg_algorithm algorithm;
        int method;
    } classes[] = {
        {"PNDMScheduler", SDG_ALGORITHM_DPMPP, SDG_METHOD_PNDM},
        {"KDPM2DiscreteScheduler", SDG_ALGORITHM_DPMPP, SDG_METHOD_DPM2},
        {"DPMSolverMultistepScheduler", SDG_ALGORITHM_DPM, SDG_METHOD_DPMPP2M},
        {"DPMSolverMultistepScheduler", SDG_ALGORITHM_SDE_DPMPP, SDG_METHOD_DPMPP2M_SDE},
        {"EDMEulerScheduler", SDG_ALGORITHM_DPMPP, SDG_METHOD_EULER},
        {"FlowMatchEulerDiscreteScheduler", SDG_ALGORITHM_DPMPP, -1},
        {"", SDG_ALGORITHM_DPMPP, -1},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        struct sdg_scheduler_config c = stable_diffusion();
        snprintf(c.class_name, sizeof c.class_name, "%s", classes[i].class_name);
        c.solver.algorithm = classes[i].algorithm;
        assert_int_equal(sdg_method_of_config(&c), classes[i].method);
    }
    struct sdg_sampler *none = NULL;
    sdg_sampler_destroy(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise_levels),  cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_custom_sigmas), cmocka_unit_test(test_lcm_points),
        cmocka_unit_test(test_combinations),  cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_walk_again),    cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
