// For tests of samplers: a toy model with a closed form, and walks with it.
#ifndef SDG_TESTS_SUPPORT_WALKS_H
#define SDG_TESTS_SUPPORT_WALKS_H

#include "formats/tensors.h"
#include "scheduler/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    MOST_ELEMENTS = 64,
    GOLDEN_ELEMENTS = 16 // of the latents of goldens, of which files may have only the first
};

static char message[600]; // the last one

static inline void keep_message(void *user, enum sdg_log_level level, const char *text)
{
    (void)user;
    (void)level;
    snprintf(message, sizeof message, "%s", text);
}
static const struct sdg_log test_log = {.fn = keep_message, .level = SDG_LOG_WARNING};

// ---- toy model and walks ----

static inline float toy(float x, double t, enum sdg_prediction kind)
{
    double v = (double)x;
    if (kind == SDG_PREDICT_V)
        return (float)(0.3 * v - 0.4 * tanh(v) + 0.1 * sin(t / 300));
    return (float)(0.6 * tanh(v) + 0.2 * v + 0.1 * cos(t / 200));
}

static inline void walk_call(struct sdg_sampler *s, int call, size_t n, enum sdg_prediction kind, float *latent,
                             struct sdg_rng *rng)
{
    float input[MOST_ELEMENTS];
    sdg_sampler_scale_input(s, call, latent, input);
    for (size_t i = 0; i < n; i++)
        input[i] = toy(input[i], sdg_sampler_timestep(s, call), kind);
    sdg_sampler_step(s, call, input, latent, rng);
}

static inline float value(const struct sdg_tensor *t, size_t i)
{
    float x;
    memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
    return x;
}

// The larger, b when a is NaN. With fmax in its place GCC 12.2 for 64-bit ARM crashes on the loops below.
static inline double larger(double a, double b)
{
    return a > b ? a : b;
}

static inline double largest(const struct sdg_tensor *t)
{
    double most = 0;
    for (size_t i = 0; i < t->bytes / sizeof(float); i++)
        most = larger(fabs((double)value(t, i)), most);
    return most;
}

// Elements of a row.
static inline size_t row_length(const struct sdg_tensor *t)
{
    const size_t n = t->bytes / sizeof(float) / (size_t)t->dims[0];
    assert_true(n > 0 && n <= GOLDEN_ELEMENTS);
    return n;
}

// Largest difference between the latent and row `row` of `want`, which may have only the first of its elements.
static inline double row_difference(const float *latent, const struct sdg_tensor *want, int row)
{
    const size_t n = row_length(want);
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(latent[i]));
        worst = larger(fabs((double)latent[i] - (double)value(want, (size_t)row * n + i)), worst);
    }
    return worst;
}

// Walks from `latent` of n elements and compares with every row of `want` [calls + 1, up to n], relative to its largest
// value.
static inline double compare_walk(struct sdg_sampler *s, const struct sdg_tensor *want, size_t n,
                                  enum sdg_prediction kind, float *latent, struct sdg_rng *rng)
{
    assert_int_equal(want->dims[0], sdg_sampler_calls(s) + 1);
    double worst = row_difference(latent, want, 0);
    for (int call = 0; call < sdg_sampler_calls(s); call++) {
        walk_call(s, call, n, kind, latent, rng);
        worst = fmax(worst, row_difference(latent, want, call + 1));
    }
    return worst / largest(want);
}

static inline struct sdg_sampler *create(const struct sdg_sampler_params *params)
{
    struct sdg_sampler *s = NULL;
    message[0] = 0;
    if (sdg_sampler_create(&test_log, params, &s) != SDG_OK)
        fail_msg("%s", message);
    assert_non_null(s);
    return s;
}

static inline struct sdg_scheduler_config stable_diffusion(void)
{
    struct sdg_scheduler_config config;
    sdg_scheduler_config_default(&config);
    return config;
}

#endif
