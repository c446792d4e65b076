// The generators against torch, Philox and libstdc++.
#include "formats/tensors.h"
#include "scheduler/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/scheduler/"

static void show(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    (void)level;
    print_error("%s\n", message);
}
static const struct sdg_log test_log = {.fn = show, .level = SDG_LOG_WARNING};

static struct sdg_tensors *open_golden(const char *path)
{
    struct sdg_tensors *tensors = NULL;
    assert_int_equal(sdg_tensors_open(&test_log, path, &tensors), SDG_OK);
    return tensors;
}

static float largest_difference(const float *got, const struct sdg_tensor *want)
{
    float worst = 0;
    for (size_t i = 0; i < want->bytes / sizeof(float); i++) {
        float value;
        memcpy(&value, (const char *)want->data + i * sizeof value, sizeof value);
        float difference = fabsf(got[i] - value);
        worst = difference > worst ? difference : worst;
        assert_true(isfinite(got[i]));
    }
    return worst;
}

static const struct sdg_tensor *find_prefix(const struct sdg_tensors *tensors, const char *prefix)
{
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++)
        if (strncmp(sdg_tensors_at(tensors, i)->name, prefix, strlen(prefix)) == 0)
            return sdg_tensors_at(tensors, i);
    return NULL;
}

// The draws SEED<infix>0.N, SEED<infix>1.N, ... of one generator; returns how many there are.
static int check_draws(const struct sdg_tensors *tensors, enum sdg_rng_kind kind, unsigned long long seed,
                       const char *infix, float *worst)
{
    struct sdg_rng rng;
    sdg_rng_seed(&rng, kind, seed);
    for (int k = 0;; k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%llu%s%d.", seed, infix, k);
        const struct sdg_tensor *want = find_prefix(tensors, prefix);
        if (!want)
            return k;
        float *got = calloc(want->bytes / sizeof(float), sizeof *got);
        sdg_rng_normal(&rng, got, want->bytes / sizeof(float));
        *worst = fmaxf(*worst, largest_difference(got, want));
        free(got);
    }
}

// SEED.N and SEED.uniform.N, each from a new generator; SEED.sequence.I.N.
static void test_torch(void **state)
{
    (void)state;
    struct sdg_tensors *tensors = open_golden(GOLDENS "torch_cpu.safetensors");
    int singles = 0, sequence = 0;
    float worst = 0;
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        const struct sdg_tensor *want = sdg_tensors_at(tensors, i);
        char *rest;
        unsigned long long seed = strtoull(want->name, &rest, 10);
        if (strncmp(rest, ".sequence.", 10) == 0) {
            if (strncmp(rest, ".sequence.0.", 12) == 0)
                sequence += check_draws(tensors, SDG_RNG_CPU, seed, ".sequence.", &worst);
            continue;
        }
        float *got = calloc(want->bytes / sizeof(float), sizeof *got);
        struct sdg_rng rng;
        sdg_rng_seed(&rng, SDG_RNG_CPU, seed);
        if (strncmp(rest, ".uniform.", 9) == 0)
            sdg_rng_uniform(&rng, got, want->bytes / sizeof(float));
        else
            sdg_rng_normal(&rng, got, want->bytes / sizeof(float));
        worst = fmaxf(worst, largest_difference(got, want));
        singles++;
        free(got);
    }
    printf("torch: %d first draws, %d in sequence, largest difference %g\n", singles, sequence, (double)worst);
    assert_int_equal(singles + sequence, sdg_tensors_count(tensors));
    assert_true(sequence > 10 && worst == 0);
    sdg_tensors_destroy(&tensors);
}

// SEED.DRAW.N: successive draws of one generator per seed.
static float check_seeds(const char *path, enum sdg_rng_kind kind)
{
    struct sdg_tensors *tensors = open_golden(path);
    int checked = 0;
    float worst = 0;
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        char *rest;
        unsigned long long seed = strtoull(sdg_tensors_at(tensors, i)->name, &rest, 10);
        if (strncmp(rest, ".0.", 3) == 0)
            checked += check_draws(tensors, kind, seed, ".", &worst);
    }
    printf("%s: %d draws, largest difference %.2g\n", sdg_rng_name(kind), checked, (double)worst);
    assert_true(checked > 0);
    assert_int_equal(checked, sdg_tensors_count(tensors));
    sdg_tensors_destroy(&tensors);
    return worst;
}

static void test_philox(void **state)
{
    (void)state;
    assert_true(check_seeds(GOLDENS "philox_cuda.safetensors", SDG_RNG_CUDA) <= 1e-6f);

    static const float known[] = {-0.92466f, -0.42534f, -2.64385f, 0.14518f}; // torch on CUDA, seed 0
    float got[4];
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CUDA, 0);
    sdg_rng_normal(&rng, got, 4);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(got[i] - known[i]) < 1e-5f);
}

static void test_std_default(void **state)
{
    (void)state;
    assert_true(check_seeds(GOLDENS "std_default.safetensors", SDG_RNG_STD) <= 1e-6f);

    // The C++ standard (rand.predef): from seed 1 the 10000th number is 1043618065. uniform() shows it shifted and
    // scaled.
    struct sdg_rng rng;
    float last = 0;
    sdg_rng_seed(&rng, SDG_RNG_STD, 1);
    for (int i = 0; i < 10000; i++)
        sdg_rng_uniform(&rng, &last, 1);
    assert_true(last == (float)1043618064 * 0x1p-31f);
}

// the C++ standard (rand.predef): from seed 5489 the 10000th number is 4123659995
static void test_mt19937(void **state)
{
    (void)state;
    struct sdg_rng rng;
    float last = 0;
    sdg_rng_seed(&rng, SDG_RNG_CPU, 5489);
    for (int i = 0; i < 10000; i++)
        sdg_rng_uniform(&rng, &last, 1);
    assert_true(last == (float)(4123659995u & 0xffffff) * 0x1p-24f);
}

// Mean, deviation, no value that is not finite, and equal results of equal seeds, for all kinds and odd sizes.
static void test_moments(void **state)
{
    (void)state;
    enum { COUNT = 200003 };
    float *a = calloc(COUNT, sizeof *a), *b = calloc(COUNT, sizeof *b);
    for (int kind = SDG_RNG_CUDA; kind <= SDG_RNG_STD; kind++) {
        struct sdg_rng first, second;
        sdg_rng_seed(&first, kind, UINT64_C(0xfedcba9876543210));
        sdg_rng_seed(&second, kind, UINT64_C(0xfedcba9876543210));
        sdg_rng_normal(&first, a, COUNT);
        sdg_rng_normal(&second, b, COUNT);
        assert_memory_equal(a, b, COUNT * sizeof *a);
        double sum = 0, square = 0;
        for (int i = 0; i < COUNT; i++) {
            assert_true(isfinite(a[i]));
            sum += (double)a[i];
            square += (double)a[i] * (double)a[i];
        }
        assert_true(fabs(sum / COUNT) < 0.01 && fabs(square / COUNT - 1) < 0.02);
        sdg_rng_normal(&first, b, COUNT);
        assert_memory_not_equal(a, b, COUNT * sizeof *a);
        sdg_rng_normal(&first, a, 0);
        sdg_rng_uniform(&first, b, COUNT);
        for (int i = 0; i < COUNT; i++)
            assert_true(b[i] >= 0 && b[i] < 1);
    }
    free(a);
    free(b);
}

static void test_names(void **state)
{
    (void)state;
    for (int kind = SDG_RNG_CUDA; kind <= SDG_RNG_STD; kind++)
        assert_int_equal(sdg_rng_from_name(sdg_rng_name(kind)), kind);
    assert_int_equal(sdg_rng_from_name("cpu"), SDG_RNG_CPU);
    assert_int_equal(sdg_rng_from_name(""), -1);
    assert_int_equal(sdg_rng_from_name("CPU"), -1);
    assert_string_equal(sdg_rng_name(99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),   cmocka_unit_test(test_philox),  cmocka_unit_test(test_std_default),
        cmocka_unit_test(test_mt19937), cmocka_unit_test(test_moments), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
