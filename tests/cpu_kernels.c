// The cpu backend's own kernels in every instruction set this processor has (the ops test only sees the best), against double precision.
// Bounds are normalised mean squared errors: 1e-11 in f32, where rounding of sums of a thousand terms gives about 1e-13; 1e-5 in bf16,
// whose own rounding of inputs already made is excluded and of results gives 3e-6.
#include "backend/cpu/fast/kernels.h"
#include "base/dtype.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEVELS = 4 };

static int compared;

// An array of f32 or bf16 and what it holds, as doubles.
struct array {
    void *data;
    double *value;
    int64_t count;
    bool half;
};

static uint32_t random_state = 1;

static double uniform(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) / 8388608.0 - 1;
}

static struct array make(int64_t count, bool half, double scale, double offset)
{
    struct array a = {.data = sdg_alloc(NULL, (size_t)count, 4, "array"), .value = sdg_alloc(NULL, (size_t)count, sizeof(double), "array"), .count = count, .half = half};
    assert_non_null(a.data);
    assert_non_null(a.value);
    for (int64_t i = 0; i < count; i++) {
        float x = (float)(uniform() * scale + offset);
        if (half)
            ((uint16_t *)a.data)[i] = sdg_bf16_from_f32(x);
        else
            ((float *)a.data)[i] = x;
        a.value[i] = half ? (double)sdg_f32_from_bf16(((uint16_t *)a.data)[i]) : (double)x;
    }
    return a;
}

static double stored(const struct array *a, int64_t i)
{
    return a->half ? (double)sdg_f32_from_bf16(((uint16_t *)a->data)[i]) : (double)((float *)a->data)[i];
}

static void drop(struct array *a)
{
    sdg_free(a->data);
    sdg_free(a->value);
}

// Compares what a kernel stored in `a` with a->value.
static void check(const struct array *a, const struct sdg_fast_kernels *kernels, const char *what)
{
    double error = 0, power = 0;
    for (int64_t i = 0; i < a->count; i++) {
        double d = stored(a, i) - a->value[i];
        error += d * d;
        power += a->value[i] * a->value[i];
    }
    const double bound = a->half ? 1e-5 : 1e-11;
    if (!(error <= bound * power))
        fail_msg("%s, %s, %s: NMSE %.3g, should be at most %g", kernels->name, what, a->half ? "bf16" : "f32", error / power, bound);
    compared++;
}

typedef void check_fn(const struct sdg_fast_kernels *kernels, bool half);

static void every_level(check_fn *fn)
{
    for (int level = 0; level < LEVELS; level++) {
        const struct sdg_fast_kernels *kernels = sdg_fast_kernels_get(level);
        if (!kernels) {
            print_message("skipped: this processor has no level %d\n", level);
            continue;
        }
        for (int half = 0; half < 2; half++)
            fn(kernels, half);
    }
}

static double unary_of(enum sdg_unary function, double x)
{
    switch (function) {
    case SDG_UNARY_SILU: return x / (1 + exp(-x));
    case SDG_UNARY_GELU_ERF: return x * erfc(-x / sqrt(2)) / 2;
    case SDG_UNARY_GELU_TANH: return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case SDG_UNARY_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case SDG_UNARY_RELU: return x > 0 ? x : 0;
    case SDG_UNARY_TANH: return tanh(x);
    case SDG_UNARY_SIGMOID: return 1 / (1 + exp(-x));
    case SDG_UNARY_SOFTPLUS: return log1p(exp(x));
    case SDG_UNARY_AFFINE: return -0.75 * x + 0.3;
    default: return x;
    }
}

static void check_unary(const struct sdg_fast_kernels *kernels, bool half)
{
    for (int function = SDG_UNARY_NONE; function <= SDG_UNARY_AFFINE; function++)
        for (int wide = 0; wide < 2; wide++) {
            struct array x = make(1003, half, wide ? 60 : 2, 0), y = make(1003, half, 0, 0);
            kernels->unary(function, -0.75f, 0.3f, x.data, y.data, half, 0, 500);
            kernels->unary(function, -0.75f, 0.3f, x.data, y.data, half, 500, 1003);
            for (int64_t i = 0; i < y.count; i++)
                y.value[i] = unary_of(function, x.value[i]);
            char what[32];
            snprintf(what, sizeof what, "unary %d", function);
            check(&y, kernels, what);
            drop(&x);
            drop(&y);
        }
}

static void check_not_a_number(const struct sdg_fast_kernels *kernels, bool half)
{
    for (int function = SDG_UNARY_SILU; function <= SDG_UNARY_QUICK_GELU; function++) {
        struct array x = make(40, half, 1, 0), y = make(40, half, 0, 0);
        if (half)
            ((uint16_t *)x.data)[33] = sdg_bf16_from_f32(NAN);
        else
            ((float *)x.data)[33] = NAN;
        kernels->unary(function, 0, 0, x.data, y.data, half, 0, 40);
        assert_true(isnan(stored(&y, 33)));
        assert_true(isfinite(stored(&y, 32)));
        compared++;
        drop(&x);
        drop(&y);
    }
}

static void check_geglu(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { ROWS = 5, CHANNELS = 37 };
    struct array x = make(ROWS * 2 * CHANNELS, half, 5, 0), y = make(ROWS * CHANNELS, half, 0, 0);
    kernels->geglu(x.data, y.data, half, CHANNELS, 0, ROWS);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < CHANNELS; c++)
            y.value[r * CHANNELS + c] = x.value[r * 2 * CHANNELS + c] * unary_of(SDG_UNARY_GELU_ERF, x.value[r * 2 * CHANNELS + CHANNELS + c]);
    check(&y, kernels, "geglu");
    drop(&x);
    drop(&y);
}

static void check_layer_norm(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { ROWS = 3, CHANNELS = 77 };
    struct array x = make(ROWS * CHANNELS, half, 3, 1), gamma = make(CHANNELS, false, 1, 1), beta = make(CHANNELS, false, 1, 0), y = make(ROWS * CHANNELS, half, 0, 0);
    kernels->layer_norm(x.data, gamma.data, beta.data, 1e-5f, y.data, half, CHANNELS, 0, ROWS);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, variance = 0;
        for (int c = 0; c < CHANNELS; c++)
            mean += x.value[r * CHANNELS + c] / CHANNELS;
        for (int c = 0; c < CHANNELS; c++)
            variance += pow(x.value[r * CHANNELS + c] - mean, 2) / CHANNELS;
        for (int c = 0; c < CHANNELS; c++)
            y.value[r * CHANNELS + c] = (x.value[r * CHANNELS + c] - mean) / sqrt(variance + 1e-5) * gamma.value[c] + beta.value[c];
    }
    check(&y, kernels, "layer norm");
    drop(&x);
    drop(&gamma);
    drop(&beta);
    drop(&y);
}

// Statistics of two inputs whose border lies inside a group, and normalising with given numbers.
static void check_group_norm(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { PIXELS = 19, A = 21, B = 83, CHANNELS = A + B, GROUPS = 8, EACH = CHANNELS / GROUPS };
    struct array a = make(PIXELS * A, half, 2, 30), b = make(PIXELS * B, half, 1, -5), y = make(PIXELS * CHANNELS, half, 0, 0);
    struct array mean = make(CHANNELS, false, 1, 0), scale = make(CHANNELS, false, 1, 0), shift = make(CHANNELS, false, 1, 0);
    struct array stats = make(2 * GROUPS, false, 0, 0);
    float work[2 * CHANNELS];
    struct sdg_fast_group_norm op = {.x = {a.data, b.data}, .channels = {A, B}, .pixels = PIXELS, .out = y.data, .groups = GROUPS, .half = half, .silu = true};
    kernels->group_norm_stats(&op, 0, 0, PIXELS, work, stats.data);
    kernels->group_norm_apply(&op, 0, 0, PIXELS, mean.data, scale.data, shift.data);
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < CHANNELS; c++) {
            double x = c < A ? a.value[p * A + c] : b.value[p * B + c - A];
            stats.value[c / EACH * 2] += x / (EACH * PIXELS);
            y.value[p * CHANNELS + c] = unary_of(SDG_UNARY_SILU, (x - mean.value[c]) * scale.value[c] + shift.value[c]);
        }
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < CHANNELS; c++)
            stats.value[c / EACH * 2 + 1] += pow((c < A ? a.value[p * A + c] : b.value[p * B + c - A]) - stats.value[c / EACH * 2], 2);
    check(&stats, kernels, "group norm's statistics");
    check(&y, kernels, "group norm");
    struct array *all[] = {&a, &b, &y, &mean, &scale, &shift, &stats};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void attention_reference(const struct sdg_fast_attention *op, const struct array *q, const struct array *k, const struct array *v, struct array *out)
{
    double *p = sdg_alloc(NULL, (size_t)op->keys, sizeof *p, "scores");
    for (int64_t i = 0; i < op->samples * op->queries * op->heads; i++) {
        const int64_t head = i % op->heads, query = i / op->heads % op->queries, sample = i / op->heads / op->queries;
        double top = -INFINITY, sum = 0;
        const int64_t keys = op->causal ? query + 1 : op->keys;
        for (int64_t j = 0; j < keys; j++) {
            p[j] = 0;
            for (int64_t c = 0; c < op->d; c++)
                p[j] += q->value[i * op->d + c] * k->value[((sample * op->keys + j) * op->heads + head) * op->d + c] * (double)op->scale;
            top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j < keys; j++)
            sum += p[j] = exp(p[j] - top);
        for (int64_t c = 0; c < op->dv; c++)
            for (int64_t j = 0; j < keys; j++)
                out->value[i * op->dv + c] += p[j] / sum * v->value[((sample * op->keys + j) * op->heads + head) * op->dv + c];
    }
    sdg_free(p);
}

static void check_attention_shape(const struct sdg_fast_kernels *kernels, bool half, int64_t queries, int64_t keys, int64_t d, int64_t dv, bool causal, double spread)
{
    enum { SAMPLES = 2, HEADS = 3 };
    struct array q = make(SAMPLES * HEADS * queries * d, half, spread, 0), k = make(SAMPLES * HEADS * keys * d, half, 1, 0);
    struct array v = make(SAMPLES * HEADS * keys * dv, half, 1, 0.5), out = make(SAMPLES * HEADS * queries * dv, half, 0, 0);
    struct sdg_fast_attention op = {
        .q = q.data, .k = k.data, .v = v.data, .out = out.data, .samples = SAMPLES, .heads = HEADS, .queries = queries, .keys = keys,
        .d = d, .dv = dv, .scale = 0.3f, .causal = causal, .half = half, .pairs = half && kernels->pairs,
    };
    size_t k_floats, v_floats, work_floats;
    kernels->attention_sizes(&op, &k_floats, &v_floats, &work_floats);
    float *work = sdg_alloc(NULL, work_floats, sizeof *work, "work");
    op.packed_k = sdg_alloc(NULL, SAMPLES * HEADS * k_floats, sizeof *op.packed_k, "keys");
    op.packed_v = sdg_alloc(NULL, SAMPLES * HEADS * v_floats, sizeof *op.packed_v, "values");
    for (int64_t i = 0; i < SAMPLES * HEADS; i++)
        kernels->attention_pack(&op, i / HEADS, i % HEADS);
    for (int64_t i = 0; i < SAMPLES * HEADS; i++)
        for (int64_t first = 0; first < queries; first += kernels->tile)
            kernels->attention_tile(&op, i / HEADS, i % HEADS, first, work);
    attention_reference(&op, &q, &k, &v, &out);
    check(&out, kernels, "attention");
    sdg_free(op.packed_v);
    sdg_free(op.packed_k);
    sdg_free(work);
    struct array *all[] = {&q, &k, &v, &out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void check_attention(const struct sdg_fast_kernels *kernels, bool half)
{
    check_attention_shape(kernels, half, 1, 1, 1, 1, false, 1);
    check_attention_shape(kernels, half, 67, 77, 5, 9, false, 2);
    check_attention_shape(kernels, half, 130, 129, 16, 8, false, 60); // scores up to a few hundred: the running maximum moves
    check_attention_shape(kernels, half, 77, 77, 12, 12, true, 5);
    check_attention_shape(kernels, half, 200, 200, 4, 7, true, 5);
}

static void check_product(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { ROWS = 17, CHANNELS = 58, STRIDE = 62 };
    const int64_t tile = kernels->tile, count = tile - 3, per = half ? 2 : 1;
    if (half && !kernels->pairs) // what such processors do not do
        return;
    // w[k / per][tile][k % per]: neighbouring channels side by side where they are multiplied as pairs
    struct array x = make(ROWS * STRIDE, half, 1, 0), w = make(CHANNELS * tile, half, 1, 0), sums = make(ROWS * tile, false, 1, 0);
    struct array bias = make(tile, false, 1, 0), table = make(tile, false, 1, 0), residual = make(tile, half, 1, 0), out = make(count, half, 0, 0);
    kernels->weighted_sums(x.data, STRIDE / per, ROWS, w.data, CHANNELS / per, half, sums.data);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < tile; c++)
            for (int64_t k = 0; k < CHANNELS; k++)
                sums.value[r * tile + c] += x.value[r * STRIDE + k] * w.value[(k / per * tile + c) * per + k % per];
    check(&sums, kernels, "weighted sums");
    kernels->epilogue((float *)sums.data + tile, bias.data, table.data, residual.data, SDG_UNARY_SILU, out.data, half, count);
    for (int64_t c = 0; c < count; c++)
        out.value[c] = unary_of(SDG_UNARY_SILU, sums.value[tile + c] + bias.value[c] + table.value[c] + residual.value[c]);
    check(&out, kernels, "epilogue");
    struct array *all[] = {&x, &w, &sums, &bias, &table, &residual, &out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

// Every f16, at an odd address, to f32 exactly.
static void check_convert(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { COUNT = 65536 };
    unsigned char *from = sdg_alloc(NULL, COUNT + 1, 2, "halves");
    struct array to = make(COUNT, half, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        uint16_t bits = (uint16_t)i;
        memcpy(from + 1 + 2 * i, &bits, 2);
    }
    kernels->convert(from + 1, SDG_F16, to.data, half, COUNT);
    for (int i = 0; i < COUNT; i++) {
        float expected = sdg_f32_from_f16((uint16_t)i);
        if (half)
            expected = sdg_f32_from_bf16(sdg_bf16_from_f32(expected));
        if (!(stored(&to, i) == (double)expected || (isnan(stored(&to, i)) && isnan(expected))))
            fail_msg("%s: f16 %04x became %g, should be %g", kernels->name, i, stored(&to, i), (double)expected);
    }
    compared++;
    sdg_free(from);
    drop(&to);
}

#define LEVEL_TEST(name) static void test_##name(void **unused) { (void)unused; every_level(check_##name); }
LEVEL_TEST(unary)
LEVEL_TEST(not_a_number)
LEVEL_TEST(geglu)
LEVEL_TEST(layer_norm)
LEVEL_TEST(group_norm)
LEVEL_TEST(attention)
LEVEL_TEST(product)
LEVEL_TEST(convert)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary), cmocka_unit_test(test_not_a_number), cmocka_unit_test(test_geglu), cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_group_norm), cmocka_unit_test(test_attention), cmocka_unit_test(test_product), cmocka_unit_test(test_convert),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%d comparisons\n", compared);
    return failures;
}
