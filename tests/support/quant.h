// For the tests of quant/: expected values that goldens/quant/make.py computed, and random numbers of the tests' own.
#ifndef SDG_TESTS_SUPPORT_QUANT_H
#define SDG_TESTS_SUPPORT_QUANT_H

#include "base/memory.h"
#include "formats/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sdg_tensors *expected_values;

static inline int open_expected(void **state)
{
    (void)state;
    return sdg_tensors_open(NULL, SDG_SOURCE_DIR "/tests/goldens/quant/expected.safetensors", &expected_values) ==
            SDG_OK
        ? 0
        : -1;
}

static inline int close_expected(void **state)
{
    (void)state;
    sdg_tensors_destroy(&expected_values);
    return 0;
}

// An aligned copy, for good until the end of the test: free() it. What is f16 there is f32 here.
static inline void *expected(const char *name, size_t *count)
{
    const struct sdg_tensor *t = sdg_tensors_find(expected_values, name);
    if (!t) {
        printf("expected.safetensors has no %s\n", name);
        exit(1);
    }
    if (count)
        *count = t->bytes / sdg_dtype_size(t->dtype);
    if (t->dtype != SDG_F16)
        return memcpy(malloc(t->bytes), t->data, t->bytes);
    float *values = malloc(2 * t->bytes);
    for (size_t i = 0; i < t->bytes / 2; i++) {
        uint16_t half;
        memcpy(&half, (const char *)t->data + 2 * i, sizeof half);
        values[i] = sdg_f32_from_f16(half);
    }
    return values;
}

static uint64_t random_state = 1;

static inline double uniform(void) // (0, 1)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(random_state >> 11) + 0.5) * 0x1p-53;
}

static inline double gauss(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

#endif
