// The cpu backend's own kernels in every instruction set this processor has (the ops test only sees the best), against
// double precision. Bounds are normalised mean squared errors: 1e-11 in f32, where rounding of sums of a thousand terms
// gives about 1e-13; 1e-5 in bf16, whose own rounding of inputs already made is excluded and of results gives 3e-6; a
// 64th of that in f16, which has three bits more.
#include "backend/cpu/fast/sets.h"
#include "backend/cpu/fast/tools.h"
#include "base/dtype.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int compared;
static enum sdg_dtype half_type;             // of the kernels at hand
static const struct sdg_fast_kernels *plain; // those that they have beside them for f32

static float f32_from_half(uint16_t x)
{
    return half_type == SDG_F16 ? sdg_f32_from_f16(x) : sdg_f32_from_bf16(x);
}

static uint16_t half_from_f32(float x)
{
    return half_type == SDG_F16 ? sdg_f16_from_f32(x) : sdg_bf16_from_f32(x);
}

// An array of f32 or of halves and what it holds, as doubles.
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
    struct array a = {.data = sdg_alloc(NULL, (size_t)count, 4, "array"),
                      .value = sdg_alloc(NULL, (size_t)count, sizeof(double), "array"),
                      .count = count,
                      .half = half};
    assert_non_null(a.data);
    assert_non_null(a.value);
    for (int64_t i = 0; i < count; i++) {
        float x = (float)(uniform() * scale + offset);
        if (half)
            ((uint16_t *)a.data)[i] = half_from_f32(x);
        else
            ((float *)a.data)[i] = x;
        a.value[i] = half ? (double)f32_from_half(((uint16_t *)a.data)[i]) : (double)x;
    }
    return a;
}

static double stored(const struct array *a, int64_t i)
{
    return a->half ? (double)f32_from_half(((uint16_t *)a->data)[i]) : (double)((float *)a->data)[i];
}

static void drop(struct array *a)
{
    sdg_free(a->data);
    sdg_free(a->value);
}

// The bound for what is stored so: that of f32, or of a half's own rounding.
static double bound_of(bool half, double f32)
{
    return !half ? f32 : half_type == SDG_F16 ? 1e-5 / 64 : 1e-5;
}

// Compares what a kernel stored in `a` with a->value.
static void check_within(const struct array *a, const struct sdg_fast_kernels *kernels, const char *what, double bound)
{
    double error = 0, power = 0;
    for (int64_t i = 0; i < a->count; i++) {
        double d = stored(a, i) - a->value[i];
        error += d * d;
        power += a->value[i] * a->value[i];
    }
    if (!(error <= bound * power))
        fail_msg("%s, %s, %s: NMSE %.3g, should be at most %g", kernels->name, what,
                 sdg_dtype_name(a->half ? half_type : SDG_F32), error / power, bound);
    compared++;
}

static void check(const struct array *a, const struct sdg_fast_kernels *kernels, const char *what)
{
    check_within(a, kernels, what, bound_of(a->half, 1e-11));
}

typedef void check_fn(const struct sdg_fast_kernels *kernels, bool half);

static void every_set(check_fn *fn)
{
    size_t count;
    const struct sdg_fast_set *sets = sdg_fast_sets(&count);
    for (size_t i = 0; i < count; i++) {
        struct sdg_fast_kernels kernels, others;
        const bool f16 = sets[i].kernels->halves == SDG_FAST_HALVES;
        if (sets[i].needs & ~sdg_cpu_features()) {
            print_message("skipped: this processor has no %s\n", sets[i].name);
            continue;
        }
        sdg_fast_select(sets, count, sets[i].needs, f16, &kernels);
        sdg_fast_select(sets, count, sets[i].needs, false, &others);
        assert_string_equal(kernels.name, sets[i].name);
        half_type = f16 ? SDG_F16 : SDG_BF16;
        plain = f16 ? &others : &kernels;
        for (int half = f16; half < 2; half++)
            fn(&kernels, half);
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
    case SDG_UNARY_EXP: return exp(x);
    default: return x;
    }
}

static void check_unary(const struct sdg_fast_kernels *kernels, bool half)
{
    for (int function = SDG_UNARY_NONE; function <= SDG_UNARY_EXP; function++)
        for (int wide = 0; wide < (function == SDG_UNARY_EXP ? 1 : 2); wide++) {
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
            ((uint16_t *)x.data)[33] = half_from_f32(NAN);
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
    kernels->geglu(x.data, y.data, half, NULL, CHANNELS, 0, ROWS);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < CHANNELS; c++)
            y.value[r * CHANNELS + c] =
                x.value[r * 2 * CHANNELS + c] * unary_of(SDG_UNARY_GELU_ERF, x.value[r * 2 * CHANNELS + CHANNELS + c]);
    check(&y, kernels, "geglu");
    drop(&x);
    drop(&y);
}

static void check_layer_norm(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { ROWS = 3, CHANNELS = 77 };
    struct array x = make(ROWS * CHANNELS, half, 3, 1), gamma = make(CHANNELS, false, 1, 1),
                 beta = make(CHANNELS, false, 1, 0), y = make(ROWS * CHANNELS, half, 0, 0);
    kernels->layer_norm(x.data, gamma.data, beta.data, 1e-5f, y.data, half, NULL, CHANNELS, 0, ROWS);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, variance = 0;
        for (int c = 0; c < CHANNELS; c++)
            mean += x.value[r * CHANNELS + c] / CHANNELS;
        for (int c = 0; c < CHANNELS; c++)
            variance += pow(x.value[r * CHANNELS + c] - mean, 2) / CHANNELS;
        for (int c = 0; c < CHANNELS; c++)
            y.value[r * CHANNELS + c] =
                (x.value[r * CHANNELS + c] - mean) / sqrt(variance + 1e-5) * gamma.value[c] + beta.value[c];
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
    struct array a = make(PIXELS * A, half, 2, 30), b = make(PIXELS * B, half, 1, -5),
                 y = make(PIXELS * CHANNELS, half, 0, 0);
    struct array mean = make(CHANNELS, false, 1, 0), scale = make(CHANNELS, false, 1, 0),
                 shift = make(CHANNELS, false, 1, 0);
    struct array stats = make(2 * GROUPS, false, 0, 0);
    float work[2 * CHANNELS];
    struct sdg_fast_group_norm op = {.x = {a.data, b.data},
                                     .channels = {A, B},
                                     .pixels = PIXELS,
                                     .out = y.data,
                                     .groups = GROUPS,
                                     .half = half,
                                     .silu = true};
    kernels->group_norm_stats(&op, 0, 0, PIXELS, work, stats.data);
    kernels->group_norm_apply(&op, 0, 0, PIXELS, mean.data, scale.data, shift.data, NULL);
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < CHANNELS; c++) {
            double x = c < A ? a.value[p * A + c] : b.value[p * B + c - A];
            stats.value[c / EACH * 2] += x / (EACH * PIXELS);
            y.value[p * CHANNELS + c] = unary_of(SDG_UNARY_SILU, (x - mean.value[c]) * scale.value[c] + shift.value[c]);
        }
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < CHANNELS; c++)
            stats.value[c / EACH * 2 + 1] +=
                pow((c < A ? a.value[p * A + c] : b.value[p * B + c - A]) - stats.value[c / EACH * 2], 2);
    check(&stats, kernels, "group norm's statistics");
    check(&y, kernels, "group norm");
    struct array *all[] = {&a, &b, &y, &mean, &scale, &shift, &stats};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

// Every element, from where e^x is hardly a number to where x is all of it. 1e-5: x itself is rounded to 2^-24 of up to
// 120 before its power is taken.
static void check_softplus(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { COUNT = 4001 };
    struct array x = make(COUNT, half, 85, 0), y = make(COUNT, half, 0, 0);
    const double bound = !half ? 1e-5
        : half_type == SDG_F16 ? 0x1.1p-11
                               : 0x1.1p-8,
                 least = half && half_type == SDG_F16 ? 0x1.1p-25 : 0; // half the smallest number of f16
    kernels->unary(SDG_UNARY_SOFTPLUS, 0, 0, x.data, y.data, half, 0, COUNT);
    for (int i = 0; i < COUNT; i++) {
        const double expected = x.value[i] > 0 ? x.value[i] + log1p(exp(-x.value[i])) : log1p(exp(x.value[i]));
        if (!(fabs(stored(&y, i) - expected) <= bound * expected + least))
            fail_msg("%s: softplus(%g) is %g, should be %g", kernels->name, x.value[i], stored(&y, i), expected);
    }
    compared++;
    const float ends[] = {-INFINITY, -1e30f, -200, 200, 3e38f, INFINITY, NAN};
    float results[sizeof ends / sizeof *ends];
    plain->unary(SDG_UNARY_SOFTPLUS, 0, 0, ends, results, false, 0, sizeof ends / sizeof *ends);
    for (int i = 0; i < 3; i++)
        assert_true(results[i] >= 0 && results[i] < 1e-37f);
    for (int i = 3; i < 6; i++)
        assert_true(results[i] == ends[i]);
    assert_true(isnan(results[6]));
    drop(&x);
    drop(&y);
}

// Far below zero nothing overflows, far above it is x.
static void check_silu_ends(const struct sdg_fast_kernels *kernels, bool half)
{
    const float ends[] = {-INFINITY, -3e38f, -200, -87, 0, 200, 3e38f, INFINITY, NAN};
    float results[sizeof ends / sizeof *ends];
    (void)kernels;
    (void)half;
    plain->unary(SDG_UNARY_SILU, 0, 0, ends, results, false, 0, sizeof ends / sizeof *ends);
    for (int i = 0; i < 4; i++)
        assert_true(results[i] <= 0 && results[i] > -1e-35f);
    for (int i = 4; i < 8; i++)
        assert_true(results[i] == ends[i]);
    assert_true(isnan(results[8]));
    compared++;
}

// Twice the rounds are twice the operations.
static void check_peaks(const struct sdg_fast_kernels *kernels, bool half)
{
    (void)half;
    assert_true(kernels->multiply_adds(1) > 0 && kernels->multiply_adds(2) == 2 * kernels->multiply_adds(1));
    assert_true(kernels->exponentials(1) > 0 && kernels->exponentials(2) == 2 * kernels->exponentials(1));
    compared++;
}

// ---- along the tokens ----

static void conv1d_reference(const struct sdg_fast_conv1d *op, const struct array *x, const struct array *weight,
                             const struct array *bias, struct array *out)
{
    for (int64_t i = 0; i < out->count; i++) {
        const int64_t c = i % op->channels, position = i / op->channels, token = position % op->tokens;
        double sum = op->bias ? bias->value[c] : 0;
        for (int64_t k = 0; k < op->kernel; k++) {
            const int64_t away = op->backward ? op->kernel - 1 - k : k - op->kernel + 1;
            if (token + away >= 0 && token + away < op->tokens)
                sum +=
                    weight->value[k * op->channels + c] * x->value[(position + away) * op->x_channels + op->start + c];
        }
        out->value[i] = op->silu ? unary_of(SDG_UNARY_SILU, sum) : sum;
    }
}

static void check_conv1d(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { SAMPLES = 2, TOKENS = 11, POSITIONS = SAMPLES * TOKENS, CHANNELS = 37, START = 3, ALL = 43, MOST = 8 };
    struct array x = make(POSITIONS * ALL, half, 2, 0), weight = make(MOST * CHANNELS, false, 1, 0),
                 bias = make(CHANNELS, false, 1, 0);
    for (int kernel = 2; kernel <= MOST; kernel++)
        for (int backward = 0; backward < 2; backward++) {
            struct array out = make(POSITIONS * CHANNELS, half, 0, 0);
            const struct sdg_fast_conv1d op = {
                .x = x.data,
                .weight = weight.data,
                .bias = kernel % 3 ? bias.data : NULL,
                .out = out.data,
                .tokens = TOKENS,
                .channels = CHANNELS,
                .x_channels = ALL,
                .start = START,
                .kernel = kernel,
                .silu = kernel % 2,
                .backward = backward,
                .half = half,
            };
            kernels->conv1d(&op, NULL, 0, 9);
            kernels->conv1d(&op, NULL, 9, POSITIONS);
            conv1d_reference(&op, &x, &weight, &bias, &out);
            check(&out, kernels, "conv1d");
            drop(&out);
        }
    drop(&x);
    drop(&weight);
    drop(&bias);
}

// Operands of a scan and where its result goes. B lies behind C.
struct scan {
    struct sdg_fast_scan op;
    int64_t samples;
    struct array x, delta, bc, a_log, decay, d, bias, gate, add, out;
};

// delta + bias is about `delta` +- 2, log(-A) about `decay` +- 1.
static struct scan make_scan(bool half, int64_t samples, int64_t tokens, int64_t channels, int64_t states, double delta,
                             double decay)
{
    enum { BEFORE = 2, AFTER = 3 };
    const int64_t positions = samples * tokens, width = BEFORE + 2 * states + AFTER, stride = (channels + 15) / 16 * 16;
    struct scan s = {
        .samples = samples,
        .x = make(positions * channels, half, 2, 0),
        .delta = make(positions * channels, half, 1.5, 0.2),
        .bc = make(positions * width, half, 1, 0),
        .a_log = make(channels * states, false, 1, decay),
        .decay = make(stride * states, false, 0, 0),
        .d = make(channels, false, 1, 0),
        .bias = make(channels, false, 0.5, delta),
        .gate = make(positions * (channels + 5), half, 3, 0),
        .add = make(positions * channels, half, 2, 0),
        .out = make(positions * channels, half, 0, 0),
    };
    for (int64_t i = 0; i < channels * states; i++)
        ((float *)s.decay.data)[i % states * stride + i / states] = (float)(-exp(s.a_log.value[i]) / log(2));
    s.op = (struct sdg_fast_scan){
        .x = s.x.data,
        .delta = s.delta.data,
        .bc = s.bc.data,
        .decay = s.decay.data,
        .d = s.d.data,
        .delta_bias = s.bias.data,
        .out = s.out.data,
        .tokens = tokens,
        .channels = channels,
        .states = states,
        .stride = stride,
        .bc_channels = width,
        .gate_channels = channels + 5,
        .params = {.b_start = BEFORE + states, .c_start = BEFORE, .gate_start = 5, .scale = 1},
        .half = half,
    };
    return s;
}

static void drop_scan(struct scan *s)
{
    struct array *all[] = {&s->x, &s->delta, &s->bc, &s->a_log, &s->decay, &s->d, &s->bias, &s->gate, &s->add, &s->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

// Channels in two parts, as threads share them.
static void run_scan(const struct sdg_fast_kernels *kernels, const struct scan *s, const struct sdg_fast_codes *codes)
{
    const int64_t channels = s->op.channels, middle = channels > 16 ? 16 : channels;
    float *work = sdg_alloc(NULL, sdg_fast_scan_work(s->op.states, channels), sizeof *work, "work");
    assert_non_null(work);
    for (int64_t sample = 0; sample < s->samples; sample++) {
        kernels->scan(&s->op, codes, sample, 0, middle, work);
        kernels->scan(&s->op, codes, sample, middle, channels, work);
    }
    sdg_free(work);
}

// One channel of one sample in double precision.
static void scan_reference(const struct scan *s, int64_t sample, int64_t c, struct array *out)
{
    const struct sdg_fast_scan *op = &s->op;
    double h[256] = {0};
    for (int64_t i = 0; i < op->tokens; i++) {
        const int64_t p = sample * op->tokens + (op->params.backward ? op->tokens - 1 - i : i),
                      at = p * op->channels + c;
        const double x = s->x.value[at], *bc = s->bc.value + p * op->bc_channels,
                     delta = log1p(exp(s->delta.value[at] + (op->delta_bias ? s->bias.value[c] : 0)));
        double y = s->d.value[c] * x;
        for (int64_t k = 0; k < op->states; k++) {
            h[k] =
                exp(-exp(s->a_log.value[c * op->states + k]) * delta) * h[k] + delta * bc[op->params.b_start + k] * x;
            y += bc[op->params.c_start + k] * h[k];
        }
        y += op->add ? s->add.value[at] : 0;
        y *= op->gate ? unary_of(SDG_UNARY_SILU, s->gate.value[p * op->gate_channels + op->params.gate_start + c]) : 1;
        out->value[at] = y * (double)op->params.scale;
    }
}

static void check_scan_result(const struct sdg_fast_kernels *kernels, struct scan *s, const char *what, double bound)
{
    run_scan(kernels, s, NULL);
    for (int64_t i = 0; i < s->samples * s->op.channels; i++)
        scan_reference(s, i / s->op.channels, i % s->op.channels, &s->out);
    check_within(&s->out, kernels, what, bound_of(s->out.half, bound));
}

static void check_scan(const struct sdg_fast_kernels *kernels, bool half)
{
    static const struct {
        int64_t tokens, channels, states;
    } shapes[] = {{1, 9, 1}, {31, 5, 2}, {32, 16, 16}, {33, 37, 7}, {100, 21, 3}, {5, 50, 256}, {70, 3, 33}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = 0; kind < 8; kind++) {
            struct scan s =
                make_scan(half, 2, shapes[i].tokens, shapes[i].channels, shapes[i].states, kind & 4 ? 0 : -4, 1);
            s.op.params.backward = kind & 1;
            s.op.params.scale = kind & 2 ? 0.5f : 1;
            s.op.gate = kind & 2 ? s.gate.data : NULL;
            s.op.add = kind & 4 ? s.add.data : NULL;
            s.op.delta_bias = kind & 4 ? NULL : s.bias.data;
            check_scan_result(kernels, &s, "scan", 1e-11);
            drop_scan(&s);
        }
}

// The longest sequence, with states that forget within a few tokens and states that remember all of it: errors of
// exponentials close to 1 add up, a rounding of the 24th bit to a thousand times as much.
static void check_long_scan(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { TOKENS = 16384, CHANNELS = 3, STATES = 4 };
    for (int slow = 0; slow < 2; slow++) {
        struct scan s = make_scan(half, 1, TOKENS, CHANNELS, STATES, slow ? -6 : 0, slow ? -4 : 1);
        s.op.params.backward = slow;
        for (int64_t i = 0; slow && i < TOKENS * CHANNELS; i++) // the same errors each time, and sums that grow
            if (half)
                ((uint16_t *)s.delta.data)[i] = half_from_f32((float)(s.delta.value[i] = 0.5));
            else
                ((float *)s.delta.data)[i] = (float)(s.delta.value[i] = 0.3);
        check_scan_result(kernels, &s, slow ? "slow long scan" : "long scan", slow ? 1e-8 : 1e-11);
        drop_scan(&s);
    }
}

// Delta of no, and of any length; a state that is lost at once.
static void check_scan_ends(const struct sdg_fast_kernels *kernels, bool half)
{
    static const float deltas[] = {-1e30f, -200, -90, -87, 50, 3000, 1e30f};
    enum { TOKENS = 40, CHANNELS = sizeof deltas / sizeof *deltas, STATES = 3 };
    if (half)
        return;
    struct scan s = make_scan(false, 1, TOKENS, CHANNELS, STATES, 0, 0);
    for (int i = 0; i < CHANNELS * STATES; i += 2)
        ((float *)s.decay.data)[i % STATES * 16 + i / STATES] = -1e30f;
    for (int i = 0; i < TOKENS * CHANNELS; i++)
        ((float *)s.delta.data)[i] = deltas[i % CHANNELS];
    s.op.delta_bias = NULL;
    run_scan(kernels, &s, NULL);
    for (int i = 0; i < TOKENS * CHANNELS; i++) {
        assert_true(isfinite(stored(&s.out, i)));
        if (i % CHANNELS < 4) // no delta, nothing new
            assert_true(fabs(stored(&s.out, i) - s.d.value[i % CHANNELS] * s.x.value[i]) < 1e-6);
    }
    compared++;
    drop_scan(&s);
}

static void attention_reference(const struct sdg_fast_attention *op, const struct array *q, const struct array *k,
                                const struct array *v, struct array *out)
{
    double *p = sdg_alloc(NULL, (size_t)op->keys, sizeof *p, "scores");
    for (int64_t i = 0; i < op->samples * op->queries * op->heads; i++) {
        const int64_t head = i % op->heads, query = i / op->heads % op->queries, sample = i / op->heads / op->queries;
        double top = -INFINITY, sum = 0;
        const int64_t keys = op->causal ? query + 1 : op->keys;
        for (int64_t j = 0; j < keys; j++) {
            p[j] = 0;
            for (int64_t c = 0; c < op->d; c++)
                p[j] += q->value[i * op->d + c] * k->value[((sample * op->keys + j) * op->heads + head) * op->d + c] *
                    (double)op->scale;
            top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j < keys; j++)
            sum += p[j] = exp(p[j] - top);
        for (int64_t c = 0; c < op->dv; c++)
            for (int64_t j = 0; j < keys; j++)
                out->value[i * op->dv + c] +=
                    p[j] / sum * v->value[((sample * op->keys + j) * op->heads + head) * op->dv + c];
    }
    sdg_free(p);
}

static void run_attention(const struct sdg_fast_kernels *kernels, struct sdg_fast_attention *op,
                          const struct sdg_fast_codes *codes)
{
    size_t k_floats, v_floats, work_floats;
    kernels->attention_sizes(op, &k_floats, &v_floats, &work_floats);
    float *work = sdg_alloc(NULL, work_floats, sizeof *work, "work");
    op->packed_k = sdg_alloc(NULL, (size_t)(op->samples * op->heads) * k_floats, sizeof *op->packed_k, "keys");
    op->packed_v = sdg_alloc(NULL, (size_t)(op->samples * op->heads) * v_floats, sizeof *op->packed_v, "values");
    for (int64_t i = 0; i < op->samples * op->heads; i++)
        kernels->attention_pack(op, i / op->heads, i % op->heads);
    for (int64_t i = 0; i < op->samples * op->heads; i++)
        for (int64_t first = 0; first < op->queries; first += kernels->tile)
            kernels->attention_tile(op, i / op->heads, i % op->heads, first, codes, work);
    sdg_free(op->packed_v);
    sdg_free(op->packed_k);
    sdg_free(work);
}

static void check_attention_shape(const struct sdg_fast_kernels *kernels, bool half, int64_t queries, int64_t keys,
                                  int64_t d, int64_t dv, bool causal, double spread)
{
    enum { SAMPLES = 2, HEADS = 3 };
    struct array q = make(SAMPLES * HEADS * queries * d, half, spread, 0),
                 k = make(SAMPLES * HEADS * keys * d, half, 1, 0);
    struct array v = make(SAMPLES * HEADS * keys * dv, half, 1, 0.5),
                 out = make(SAMPLES * HEADS * queries * dv, half, 0, 0);
    struct sdg_fast_attention op = {
        .q = q.data,
        .k = k.data,
        .v = v.data,
        .out = out.data,
        .samples = SAMPLES,
        .heads = HEADS,
        .queries = queries,
        .keys = keys,
        .d = d,
        .dv = dv,
        .scale = 0.3f,
        .causal = causal,
        .half = half,
        .pairs = half && kernels->halves == SDG_FAST_PAIRS,
    };
    run_attention(kernels, &op, NULL);
    attention_reference(&op, &q, &k, &v, &out);
    check(&out, kernels, "attention");
    struct array *all[] = {&q, &k, &v, &out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void check_attention(const struct sdg_fast_kernels *kernels, bool half)
{
    check_attention_shape(kernels, half, 1, 1, 1, 1, false, 1);
    check_attention_shape(kernels, half, 67, 77, 5, 9, false, 2);
    // scores up to a few hundred: the running maximum moves
    check_attention_shape(kernels, half, 130, 129, 16, 8, false, 60);
    check_attention_shape(kernels, half, 64, 300, 24, 17, false, 1);
    // ... by more than a weight can be relative to the first keys'
    check_attention_shape(kernels, half, 30, 70, 32, 8, false, 300);
    check_attention_shape(kernels, half, 77, 77, 12, 12, true, 5);
    check_attention_shape(kernels, half, 200, 200, 4, 7, true, 5);
}

// How far sums of products may be off. Those of f16 are its own over 16 products: at most 6.4e-7 (matrix_kernel.h).
static double product_bound(enum sdg_fast_numbers numbers)
{
    return numbers == SDG_FAST_HALVES ? 1e-6 : 1e-11;
}

static void check_product_shape(const struct sdg_fast_kernels *kernels, bool half, int64_t rows, int64_t channels)
{
    const enum sdg_fast_numbers numbers = half ? kernels->halves : SDG_FAST_FLOATS;
    const int64_t tile = kernels->tile, count = tile - 3, per = numbers == SDG_FAST_PAIRS ? 2 : 1,
                  stride = channels + 4, last = (rows - 1) * tile;
    // w[k / per][tile][k % per]: neighbouring channels side by side where they are multiplied as pairs
    struct array x = make(rows * stride, half, 1, 0), w = make(channels * tile, half, 1, 0),
                 sums = make(rows * tile, false, 1, 0);
    struct array bias = make(tile, false, 1, 0), table = make(tile, false, 1, 0), residual = make(tile, half, 1, 0),
                 out = make(count, half, 0, 0);
    kernels->weighted_sums(x.data, stride / per, rows, w.data, channels / per, numbers, sums.data);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < tile; c++)
            for (int64_t k = 0; k < channels; k++)
                sums.value[r * tile + c] += x.value[r * stride + k] * w.value[(k / per * tile + c) * per + k % per];
    check_within(&sums, kernels, "weighted sums", product_bound(numbers));
    const struct sdg_fast_epilogue end = {
        .bias = bias.data, .table = table.data, .residual = residual.data, .activation = SDG_UNARY_SILU, .half = half};
    kernels->epilogue(&end, (float *)sums.data + last, out.data, count);
    for (int64_t c = 0; c < count; c++)
        out.value[c] =
            unary_of(SDG_UNARY_SILU, stored(&sums, last + c) + bias.value[c] + table.value[c] + residual.value[c]);
    check(&out, kernels, "epilogue");
    struct array *all[] = {&x, &w, &sums, &bias, &table, &residual, &out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void check_product(const struct sdg_fast_kernels *kernels, bool half)
{
    static const int64_t shapes[][2] = {{17, 58}, {1, 2}, {3, 4}, {4, 16}, {5, 34}, {6, 14}, {48, 320}};
    if (half && kernels->halves == SDG_FAST_FLOATS) // what such processors do not do
        return;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_product_shape(kernels, half, shapes[i][0], shapes[i][1]);
    if (!half || kernels->halves == SDG_FAST_HALVES) // no pairs
        check_product_shape(kernels, half, 7, 31);
}

// A row's sum for column c, of weights [k / unit][tile][k % unit] in bytes.
static int64_t code_product(const struct sdg_fast_code_product *p, const int8_t *w, const uint8_t *x, int64_t unit,
                            int64_t tile, int64_t c)
{
    int64_t sum = 0;
    const int zero = (int)p->intervals->pairs[1];
    for (int64_t k = 0; k < p->depth * unit; k++)
        sum += (int64_t)((p->is_signed ? (int8_t)x[k] : x[k]) - zero) * w[(k / unit * tile + c) * unit + k % unit];
    return sum;
}

static void check_code_rows(const struct sdg_fast_kernels *kernels, bool sign, bool nibbles, int64_t rows)
{
    enum { DEPTH = 650, GAP = 24 };
    const int64_t tile = kernels->tile, unit = kernels->unit, channels = DEPTH * unit, stride = channels + GAP;
    uint8_t *x = sdg_alloc(NULL, (size_t)(rows * stride), 1, "codes");
    int8_t *w = sdg_alloc(NULL, (size_t)(channels * tile), 1, "weights");
    uint8_t *packed = sdg_alloc(NULL, (size_t)(channels * tile), 1, "packed weights");
    int32_t *sums = sdg_alloc(NULL, (size_t)(rows * tile), sizeof *sums, "sums");
    int32_t *weight_sums = sdg_alloc(NULL, (size_t)tile, sizeof *weight_sums, "sums of weights");
    float *pairs = sdg_alloc(NULL, (size_t)rows * 2, sizeof *pairs, "intervals");
    for (int64_t i = 0; i < rows * stride; i++) // the first rows are the largest codes, where 16 bits are not enough
        x[i] = i < 2 * stride ? (sign ? 128 : 255) : (uint8_t)(uniform() * 128);
    for (int64_t i = 0; i < channels * tile; i++) {
        const int8_t code = i / unit % tile == 1 ? -128 : (int8_t)(uniform() * 127);
        w[i] = nibbles ? (int8_t)(code / 16) : code; // -8..7
        weight_sums[i / unit % tile] += w[i];
    }
    if (nibbles)
        sdg_fast_pack4(NULL, w, packed, (size_t)(channels * tile));
    for (int64_t r = 0; r < rows; r++)
        pairs[2 * r + 1] = (float)(sign ? (r % 3 - 1) * 7 : 3 + 15 * (r % 16));
    for (int step = 0; step <= 2; step++) { // one interval for all; each its own; every second one's
        const struct sdg_fast_intervals intervals = {pairs, step ? 2 : 0, rows};
        for (int64_t i = 0; i < rows * tile; i++)
            sums[i] = (int32_t)i; // they are added to
        const struct sdg_fast_code_product product = {
            .x = x,
            .is_signed = sign,
            .stride = stride,
            .rows = rows,
            .depth = DEPTH,
            .weights = nibbles ? (const int8_t *)packed : w,
            .nibbles = nibbles,
            .weight_sums = weight_sums,
            .intervals = &intervals,
            .token = 1,
            .token_step = step,
            .sums = sums,
        };
        kernels->code_sums(&product);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < tile; c++) {
                const struct sdg_fast_intervals own = {pairs + (step ? (1 + r * step) % rows * 2 : 0), 0, 1};
                struct sdg_fast_code_product row = product;
                row.intervals = &own;
                const int64_t sum = r * tile + c + code_product(&row, w, x + r * stride, unit, tile, c);
                if (sums[r * tile + c] != sum)
                    fail_msg("%s: sum of %s codes with %s, row %lld of %lld, column %lld is %d, should be %lld",
                             kernels->name, sign ? "signed" : "unsigned", nibbles ? "half bytes" : "bytes",
                             (long long)r, (long long)rows, (long long)c, sums[r * tile + c], (long long)sum);
            }
    }
    sdg_free(x);
    sdg_free(w);
    sdg_free(packed);
    sdg_free(sums);
    sdg_free(weight_sums);
    sdg_free(pairs);
}

static void check_code_sums(const struct sdg_fast_kernels *kernels, bool sign)
{
    static const int64_t rows[] = {1, 2, 3, 4, 5, 6, 7, 17};
    for (size_t i = 0; kernels->unit && i < sizeof rows / sizeof *rows; i++)
        for (int nibbles = 0; nibbles < 2; nibbles++, compared++)
            check_code_rows(kernels, sign, nibbles, rows[i]);
}

// Sums of the largest codes: where 16 bits, or f32, are not enough.
static void check_integers(const struct sdg_fast_kernels *kernels, bool sign)
{
    enum { ROWS = 17, CHANNELS = 2551, DEPTH = (CHANNELS + 1) / 2 };
    const int64_t tile = kernels->tile;
    float pairs[2 * ROWS]; // the first for all, or one for each row
    for (int r = 0; r < ROWS; r++) {
        pairs[2 * r] = 1;
        pairs[2 * r + 1] = (float)(sign ? 0 : 3 + 15 * r);
    }
    uint8_t *codes = sdg_alloc(NULL, ROWS, CHANNELS, "codes");
    int16_t *x = sdg_alloc(NULL, ROWS * DEPTH, 4, "pairs");
    int8_t *w = sdg_alloc(NULL, (size_t)(2 * DEPTH * tile), 1, "weights");
    int32_t *sums = sdg_alloc(NULL, (size_t)(ROWS * tile), sizeof *sums, "sums");
    for (int i = 0; i < ROWS * CHANNELS; i++)
        codes[i] = i < 3 * CHANNELS ? (sign ? 128 : 255) : (uint8_t)(uniform() * 128);
    for (int64_t i = 0; i < 2 * DEPTH * tile; i++)
        w[i] = i % (2 * tile) < tile ? -128 : (int8_t)(uniform() * 128);
    for (int stride = 0; stride <= 2; stride += 2) {
        const struct sdg_fast_intervals intervals = {pairs, stride, ROWS};
        kernels->widen(codes, sign, &intervals, CHANNELS, x, 0, 5);
        kernels->widen(codes, sign, &intervals, CHANNELS, x, 5, ROWS);
        memset(sums, 0, (size_t)(ROWS * tile) * sizeof *sums);
        kernels->weighted_sums(x, DEPTH, ROWS, w, DEPTH, SDG_FAST_INTEGERS, sums);
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t c = 0; c < tile; c++) {
                int64_t sum = 0;
                for (int64_t k = 0; k < CHANNELS; k++) {
                    const uint8_t code = codes[r * CHANNELS + k];
                    sum += (int64_t)((sign ? (int8_t)code : code) - (int)pairs[r * stride + 1]) *
                        w[(k / 2 * tile + c) * 2 + k % 2];
                }
                if (sums[r * tile + c] != sum)
                    fail_msg("%s: integer sum %lld is %d, should be %lld", kernels->name, (long long)(r * tile + c),
                             sums[r * tile + c], (long long)sum);
            }
    }
    const bool half = kernels != plain;
    struct array scales = make(tile, false, 1e-6, 0), out = make(tile - 1, half, 0, 0);
    const struct sdg_fast_epilogue end = {.integers = true, .scales = scales.data, .scale = 0.3f, .half = half};
    kernels->epilogue(&end, (float *)sums + tile, out.data, tile - 1);
    for (int64_t c = 0; c < tile - 1; c++)
        out.value[c] = (double)sums[tile + c] * scales.value[c] * (double)end.scale;
    check(&out, kernels, "integer epilogue");
    drop(&scales);
    drop(&out);
    sdg_free(codes);
    sdg_free(x);
    sdg_free(w);
    sdg_free(sums);
}

// Every f16, at an odd address, to f32 and to itself exactly.
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
            expected = f32_from_half(half_from_f32(expected));
        if (!(stored(&to, i) == (double)expected || (isnan(stored(&to, i)) && isnan(expected))))
            fail_msg("%s: f16 %04x became %g, should be %g", kernels->name, i, stored(&to, i), (double)expected);
    }
    compared++;
    sdg_free(from);
    drop(&to);
}

// Every s8, at an odd address, is exact in both types.
static void check_convert_codes(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { COUNT = 256 + 3 };
    int8_t from[COUNT + 1];
    struct array to = make(COUNT, half, 0, 0);
    for (int i = 0; i < COUNT; i++)
        from[i + 1] = (int8_t)(i - 128);
    kernels->convert(from + 1, SDG_S8, to.data, half, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_true(stored(&to, i) == (double)from[i + 1]);
    compared++;
    drop(&to);
}

// ---- codes ----

static const struct {
    int lowest, highest;
    float scale, zero;
} code_ranges[] = {
    {-128, 127, 0.03f, 0},
    {0, 255, 0.01f, 28},
    {-8, 7, 0.5f, 0},
    {0, 15, 0.125f, 2},
};
enum { CODE_RANGES = sizeof code_ranges / sizeof *code_ranges };

enum { MOST_TOKENS = 100 };

// The range's interval for all tokens, or one for each of so many (all of them lie in `pairs`); smoothing may be NULL.
static struct sdg_fast_codes codes_of(int range, int64_t tokens, float pairs[2 * MOST_TOKENS], const float *smoothing)
{
    const float scale = code_ranges[range].scale, zero = code_ranges[range].zero;
    for (int64_t t = 0; t < (tokens ? tokens : 1); t++) {
        pairs[2 * t] = scale * (1 + 0.21f * (float)(t % 7));
        pairs[2 * t + 1] = code_ranges[range].lowest < 0 ? 0 : zero + (float)(t % 11);
    }
    return (struct sdg_fast_codes){{pairs, tokens ? 2 : 0, tokens},
                                   tokens ? NAN : 1.0f / scale,
                                   (float)code_ranges[range].lowest,
                                   (float)code_ranges[range].highest,
                                   smoothing};
}

enum { MOST_CHANNELS = 80 };

// Factors around 1, for the second of each two kinds of codes; NULL for the first.
static const float *smoothing_of(int kind, float factors[MOST_CHANNELS])
{
    for (int c = 0; c < MOST_CHANNELS; c++)
        factors[c] = 0.6f + 0.037f * (float)(c * 7 % 29);
    return kind % 2 ? factors : NULL;
}

static int expected_code(int range, const float *pair, float y)
{
    float q = rintf(y * (1.0f / pair[0])) + pair[1];
    const float lowest = (float)code_ranges[range].lowest, highest = (float)code_ranges[range].highest;
    return (int)(q > lowest ? fminf(q, highest) : lowest); // the comparison is false for NaN
}

static int code_at(int range, const uint8_t *codes, int64_t i)
{
    return code_ranges[range].lowest < 0 ? (int8_t)codes[i] : codes[i];
}

static void compare_codes(const struct sdg_fast_kernels *kernels, const char *what, int range,
                          const struct sdg_fast_codes *how, int64_t channels, const uint8_t *codes, const float *y,
                          int64_t count, int tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        const float *pair = how->intervals.pairs + i / channels * how->intervals.stride;
        const float smooth = how->smoothing ? y[i] * how->smoothing[i % channels] : y[i];
        if (abs(code_at(range, codes, i) - expected_code(range, pair, smooth)) > tolerance)
            fail_msg("%s, %s, codes %d: element %lld is %d for %.9g, should be %d", kernels->name, what, range,
                     (long long)i, code_at(range, codes, i), (double)y[i], expected_code(range, pair, smooth));
    }
    compared++;
}

// The same values in f32.
static struct array widened(const struct array *a)
{
    struct array wide = make(a->count, false, 0, 0);
    for (int64_t i = 0; i < a->count; i++)
        ((float *)wide.data)[i] = (float)a->value[i];
    return wide;
}

// Ties, both ends, what no integer holds, and no number.
static void check_quantize(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { TOKENS = 17, CHANNELS = 59, COUNT = TOKENS * CHANNELS };
    static const float special[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, -0.0f, 1e-38f, 0.5f, -0.5f};
    for (int range = 0; range < CODE_RANGES; range++) {
        struct array x = make(COUNT, half, code_ranges[range].scale * 200, 0);
        for (int i = 0; i < COUNT; i++) {
            float y = i < 10 ? special[i]
                : i < 600    ? ((float)(i - 300) / 2) * code_ranges[range].scale
                             : (float)x.value[i];
            half ? (void)(((uint16_t *)x.data)[i] = half_from_f32(y)) : (void)(((float *)x.data)[i] = y);
            x.value[i] = stored(&x, i);
        }
        struct array wide = widened(&x);
        for (int kind = 0; kind < 4; kind++) {
            float pairs[2 * MOST_TOKENS], factors[MOST_CHANNELS];
            const struct sdg_fast_codes codes = codes_of(range, kind / 2 * TOKENS, pairs, smoothing_of(kind, factors));
            uint8_t out[COUNT + 1] = {[COUNT] = 77};
            kernels->quantize(x.data, out, half, &codes, CHANNELS, 0, 8);
            kernels->quantize(x.data, out, half, &codes, CHANNELS, 8, TOKENS);
            compare_codes(kernels, "quantize", range, &codes, CHANNELS, out, wide.data, COUNT, 0);
            assert_int_equal(out[COUNT], 77);
        }
        drop(&x);
        drop(&wide);
    }
}

static void check_extremes(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { COUNT = 1003 };
    for (int sign = -1; sign <= 1; sign++) {
        struct array x = make(COUNT, half, 1, 3 * sign);
        float smallest, largest, low = 0, high = 0;
        half ? (void)(((uint16_t *)x.data)[0] = half_from_f32(NAN)) : (void)(((float *)x.data)[0] = NAN);
        for (int i = 1; i < COUNT; i++) {
            low = fminf(low, (float)x.value[i]);
            high = fmaxf(high, (float)x.value[i]);
        }
        kernels->extremes(x.data, half, 0, COUNT, &smallest, &largest);
        assert_true(smallest == low && largest == high);
        compared++;
        drop(&x);
    }
}

// Operations that emit codes: those of the values that they give in f32.
static void check_norm_codes(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { ROWS = 5, CHANNELS = 77, COUNT = ROWS * CHANNELS };
    struct array x = make(COUNT * 2, half, 2, 0), gamma = make(CHANNELS, false, 1, 1),
                 beta = make(CHANNELS, false, 1, 0);
    struct array wide = widened(&x), y = make(COUNT, false, 0, 0);
    struct sdg_fast_group_norm norm = {
        .x = {wide.data, NULL}, .channels = {CHANNELS, 0}, .pixels = ROWS, .out = y.data, .groups = 7};
    for (int i = 0; i < 4 * CODE_RANGES; i++) {
        const int range = i / 4;
        float pairs[2 * MOST_TOKENS], factors[MOST_CHANNELS];
        const struct sdg_fast_codes codes = codes_of(range, i % 4 / 2 * ROWS, pairs, smoothing_of(i, factors));
        uint8_t out[COUNT];
        plain->layer_norm(wide.data, gamma.data, beta.data, 1e-5f, y.data, false, NULL, CHANNELS, 0, ROWS);
        kernels->layer_norm(x.data, gamma.data, beta.data, 1e-5f, out, half, &codes, CHANNELS, 0, ROWS);
        compare_codes(kernels, "layer norm", range, &codes, CHANNELS, out, y.data, COUNT, 0);
        plain->geglu(wide.data, y.data, false, NULL, CHANNELS, 0, ROWS);
        kernels->geglu(x.data, out, half, &codes, CHANNELS, 0, ROWS);
        compare_codes(kernels, "geglu", range, &codes, CHANNELS, out, y.data, COUNT, 0);
        for (int silu = 0; silu < 2; silu++) {
            norm.silu = silu;
            plain->group_norm_apply(&norm, 0, 0, ROWS, beta.data, gamma.data, beta.data, NULL);
            struct sdg_fast_group_norm coded = norm;
            coded.x[0] = x.data;
            coded.half = half;
            coded.out = out;
            kernels->group_norm_apply(&coded, 0, 0, ROWS, beta.data, gamma.data, beta.data, &codes);
            compare_codes(kernels, "group norm", range, &codes, CHANNELS, out, y.data, COUNT, 0);
        }
    }
    struct array *all[] = {&x, &gamma, &beta, &wide, &y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void check_hadamard_codes(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { ROWS = 7, CHANNELS = 72, COUNT = ROWS * CHANNELS };
    struct array x = make(COUNT, half, 2, 0), wide = widened(&x), y = make(COUNT, false, 0, 0);
    for (int i = 0; i < 4 * CODE_RANGES; i++) {
        const int range = i / 4;
        float pairs[2 * MOST_TOKENS], factors[MOST_CHANNELS], work[CHANNELS];
        const struct sdg_fast_codes codes = codes_of(range, i % 4 / 2 * ROWS, pairs, smoothing_of(i, factors));
        uint8_t out[COUNT];
        for (int64_t block = 2; block <= 8; block *= 2) {
            plain->hadamard(wide.data, y.data, false, NULL, block, CHANNELS, 0, ROWS, work);
            kernels->hadamard(x.data, out, half, &codes, block, CHANNELS, 0, 3, work);
            kernels->hadamard(x.data, out, half, &codes, block, CHANNELS, 3, ROWS, work);
            compare_codes(kernels, "hadamard", range, &codes, CHANNELS, out, y.data, COUNT, 0);
        }
    }
    struct array *all[] = {&x, &wide, &y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void check_scan_codes(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { TOKENS = 45, CHANNELS = 37, KERNEL = 3, COUNT = TOKENS * CHANNELS };
    struct scan s = make_scan(half, 1, TOKENS, CHANNELS, 5, -2, 1);
    struct array x = widened(&s.x), delta = widened(&s.delta), bc = widened(&s.bc), y = make(COUNT, false, 0, 0);
    struct sdg_fast_conv1d conv1d = {
        .x = x.data, .out = y.data, .tokens = TOKENS, .channels = CHANNELS, .x_channels = CHANNELS, .kernel = KERNEL};
    struct array weight = make(KERNEL * CHANNELS, false, 1, 0);
    conv1d.weight = weight.data;
    for (int i = 0; i < 4 * CODE_RANGES; i++) {
        const int range = i / 4;
        float pairs[2 * MOST_TOKENS], factors[MOST_CHANNELS];
        const struct sdg_fast_codes codes = codes_of(range, i % 4 / 2 * TOKENS, pairs, smoothing_of(i, factors));
        uint8_t out[COUNT];
        struct scan wide = s;
        wide.op.x = x.data;
        wide.op.delta = delta.data;
        wide.op.bc = bc.data;
        wide.op.out = y.data;
        wide.op.half = false;
        wide.op.params.backward = s.op.params.backward = i % 2;
        run_scan(plain, &wide, NULL);
        s.op.out = out;
        run_scan(kernels, &s, &codes);
        compare_codes(kernels, "scan", range, &codes, CHANNELS, out, y.data, COUNT, 0);
        struct sdg_fast_conv1d coded = conv1d;
        plain->conv1d(&conv1d, NULL, 0, TOKENS);
        coded.x = s.x.data;
        coded.half = half;
        coded.out = out;
        kernels->conv1d(&coded, &codes, 0, 20);
        kernels->conv1d(&coded, &codes, 20, TOKENS);
        compare_codes(kernels, "conv1d", range, &codes, CHANNELS, out, y.data, COUNT, 0);
    }
    struct array *all[] = {&x, &delta, &bc, &y, &weight};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
    drop_scan(&s);
}

// half results were rounded once more than those that became codes: one code may be another.
static void check_attention_codes(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { TOKENS = 90, HEADS = 3, D = 10, COUNT = TOKENS * HEADS * D };
    struct array q = make(COUNT, half, 2, 0), k = make(COUNT, half, 1, 0), v = make(COUNT, half, 4, 0),
                 y = make(COUNT, half, 0, 0);
    struct sdg_fast_attention op = {
        .q = q.data,
        .k = k.data,
        .v = v.data,
        .out = y.data,
        .samples = 1,
        .heads = HEADS,
        .queries = TOKENS,
        .keys = TOKENS,
        .d = D,
        .dv = D,
        .scale = 0.9f,
        .half = half,
        .pairs = half && kernels->halves == SDG_FAST_PAIRS,
    };
    run_attention(kernels, &op, NULL);
    float floats[COUNT];
    for (int i = 0; i < COUNT; i++)
        floats[i] = (float)stored(&y, i);
    for (int i = 0; i < 4 * CODE_RANGES; i++) {
        const int range = i / 4;
        float pairs[2 * MOST_TOKENS], factors[MOST_CHANNELS];
        const struct sdg_fast_codes codes = codes_of(range, i % 4 / 2 * TOKENS, pairs, smoothing_of(i, factors));
        uint8_t out[COUNT];
        op.out = out;
        run_attention(kernels, &op, &codes);
        compare_codes(kernels, "attention", range, &codes, HEADS * D, out, floats, COUNT, half);
    }
    struct array *all[] = {&q, &k, &v, &y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void check_unpack4(const struct sdg_fast_kernels *kernels, bool half)
{
    enum { COUNT = 3 * SDG_FAST_NIBBLES };
    int8_t codes[COUNT];
    _Alignas(64) int8_t out[COUNT];
    uint8_t packed[COUNT / 2];
    (void)half;
    for (int i = 0; i < COUNT; i++)
        codes[i] = (int8_t)((i * 7 + i / 16) % 16 - 8);
    sdg_fast_pack4(NULL, codes, packed, COUNT);
    for (int far = 0; far < 2; far++) {
        memset(out, 99, sizeof out);
        kernels->unpack4(packed, out, COUNT, far);
        assert_memory_equal(codes, out, COUNT);
    }
    compared++;
}

#define SET_TEST(name)                     \
    static void test_##name(void **unused) \
    {                                      \
        (void)unused;                      \
        every_set(check_##name);           \
    }
SET_TEST(unary)
SET_TEST(not_a_number)
SET_TEST(geglu)
SET_TEST(layer_norm)
SET_TEST(group_norm)
SET_TEST(softplus)
SET_TEST(silu_ends)
SET_TEST(peaks)
SET_TEST(conv1d)
SET_TEST(scan)
SET_TEST(long_scan)
SET_TEST(scan_ends)
SET_TEST(attention)
SET_TEST(product)
SET_TEST(integers)
SET_TEST(convert)
SET_TEST(quantize)
SET_TEST(extremes)
SET_TEST(norm_codes)
SET_TEST(hadamard_codes)
SET_TEST(scan_codes)
SET_TEST(attention_codes)
SET_TEST(unpack4)
SET_TEST(code_sums)
SET_TEST(convert_codes)

// ---- selection ----

static void wrong_sums(const void *x, int64_t stride, int64_t lines, const void *weights, int64_t depth,
                       enum sdg_fast_numbers numbers, void *sums)
{
    (void)x;
    (void)stride;
    (void)lines;
    (void)weights;
    (void)depth;
    (void)numbers;
    (void)sums;
}

static void wrong_unary(enum sdg_unary function, float a, float b, const void *x, void *out, bool half, int64_t begin,
                        int64_t end)
{
    (void)function;
    (void)a;
    (void)b;
    (void)x;
    (void)out;
    (void)half;
    (void)begin;
    (void)end;
}

static void wrong_convert(const void *from, enum sdg_dtype type, void *to, bool half, int64_t count)
{
    (void)from;
    (void)type;
    (void)to;
    (void)half;
    (void)count;
}

static void assert_same(const struct sdg_fast_kernels *a, const struct sdg_fast_kernels *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->halves, b->halves);
    assert_int_equal(a->tile, b->tile);
#define SAME(kernel) assert_true(a->kernel == b->kernel);
    SDG_FAST_EACH_KERNEL(SAME)
#undef SAME
}

// A row that has one kernel replaces that one and nothing else, and only where its features are; what a later row
// leaves out is not lost.
static void test_single_kernels(void **unused)
{
    enum { FIRST = 1, SECOND = 2 };
    size_t count;
    static const struct sdg_fast_kernels sums_only = {.weighted_sums = wrong_sums},
                                         unary_only = {.unary = wrong_unary, .halves = SDG_FAST_PAIRS},
                                         f16_only = {.convert = wrong_convert, .halves = SDG_FAST_HALVES};
    const struct sdg_fast_kernels *all = sdg_fast_sets(&count)->kernels;
    const struct sdg_fast_set rows[] = {
        {"all", 0, all}, {"sums", FIRST, &sums_only}, {"unary", FIRST | SECOND, &unary_only}, {"f16", 0, &f16_only}};
    struct sdg_fast_kernels expected = *all, chosen;
    (void)unused;

    expected.name = "all";
    sdg_fast_select(rows, 4, 0, false, &chosen);
    assert_same(&chosen, &expected);
    sdg_fast_select(rows, 4, SECOND, false, &chosen); // one of two features is not enough
    assert_same(&chosen, &expected);

    expected.name = "sums";
    expected.weighted_sums = wrong_sums;
    sdg_fast_select(rows, 4, FIRST, false, &chosen);
    assert_same(&chosen, &expected);

    expected.name = "unary";
    expected.unary = wrong_unary;
    expected.halves = SDG_FAST_PAIRS;
    sdg_fast_select(rows, 4, FIRST | SECOND, false, &chosen);
    assert_same(&chosen, &expected);

    expected.name = "f16"; // what asks for no other type leaves the others alone
    expected.convert = wrong_convert;
    expected.halves = SDG_FAST_HALVES;
    sdg_fast_select(rows, 4, FIRST | SECOND, true, &chosen);
    assert_same(&chosen, &expected);
}

// The rows of this build: the first has every kernel, and a tile comes with all kernels that depend on it.
static void test_rows(void **unused)
{
    size_t count;
    const struct sdg_fast_set *sets = sdg_fast_sets(&count);
    (void)unused;
    assert_string_equal(sets->name, "generic");
    assert_int_equal(sets->needs, 0);
#define IS_THERE(kernel) assert_non_null(sets->kernels->kernel);
    SDG_FAST_EACH_KERNEL(IS_THERE)
#undef IS_THERE
    for (size_t i = 0; i < count; i++) {
        const struct sdg_fast_kernels *k = sets[i].kernels;
        if (k->tile)
            assert_true(k->weighted_sums && k->epilogue && k->attention_sizes && k->attention_pack &&
                        k->attention_tile);
        if (k->halves) // a result in bf16 must not be rounded in two ways
            assert_true(k->convert && k->unary && k->binary && k->geglu && k->layer_norm && k->group_norm_apply);
#if !defined(__aarch64__) // where the instruction does what the code for any processor does
        if (k->halves)
            assert_true(k->conv1d && k->scan);
#endif
        if (k->halves == SDG_FAST_HALVES) // f16 is read by whoever reads activations
            assert_true(k->conv1d && k->scan && k->quantize && k->extremes && k->hadamard && k->group_norm_stats &&
                        k->weighted_sums);
    }
}

#if defined(__x86_64__)
static const struct {
    const char *names;
    unsigned mask;
} masks[] = {
    {"generic", 0},
    {"sse2", SDG_CPU_sse2},
    {"avx2", SDG_CPU_avx2 | SDG_CPU_fma},
    {"fma", SDG_CPU_fma},
    {"avx512", SDG_CPU_avx2 | SDG_CPU_fma | SDG_CPU_avx512f | SDG_CPU_avx512bw | SDG_CPU_avx512dq | SDG_CPU_avx512vl},
    {"fma,avx512vnni,sse2", SDG_CPU_fma | SDG_CPU_avx512vnni | SDG_CPU_sse2},
};
static const char full_name[] = "avx512bf16";
#elif defined(__aarch64__)
static const struct {
    const char *names;
    unsigned mask;
} masks[] = {
    {"generic", 0},
    {"neon", SDG_CPU_neon},
    {"neon,dotprod", SDG_CPU_neon | SDG_CPU_dotprod},
    {"i8mm,bf16", SDG_CPU_i8mm | SDG_CPU_bf16},
    {"neon_fp16", SDG_CPU_neon | SDG_CPU_fp16},
};
static const char full_name[] = "neon_bf16";
#else
static const struct {
    const char *names;
    unsigned mask;
} masks[] = {{"generic", 0}};
static const char full_name[] = "generic";
#endif

static void test_masks(void **unused)
{
    static const char *const wrong[] = {"", ",", "avx", "AVX2", "avx2,", ",avx2", "generic,,generic", "avx2 "};
    struct sdg_fast_kernels kernels;
    size_t count;
    unsigned mask;
    const struct sdg_fast_set *sets = sdg_fast_sets(&count);
    (void)unused;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        assert_int_equal(sdg_fast_mask(NULL, masks[i].names, &mask), SDG_OK);
        assert_int_equal(mask, masks[i].mask);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(sdg_fast_mask(NULL, wrong[i], &mask), SDG_ERROR_USAGE);
    assert_int_equal(sdg_fast_mask(NULL, NULL, &mask), SDG_OK);
    sdg_fast_select(sets, count, mask, false, &kernels);
    assert_string_equal(kernels.name, full_name);
    assert_int_equal(sdg_fast_mask(NULL, "generic", &mask), SDG_OK);
    sdg_fast_select(sets, count, mask, false, &kernels);
    assert_string_equal(kernels.name, "generic");
}

// What the backend says it runs with a mask; oneDNN only once it was held to it in time.
static void check_note(const char *mask, unsigned disable, const char *with, const char *without)
{
    struct sdg_backend *backend;
    const struct sdg_backend_params params = {.cpu_mask = mask, .disable = disable};
    assert_int_equal(sdg_backend_create(NULL, "cpu", &params, &backend), SDG_OK);
    const char *note = sdg_backend_info(backend)->note;
    if (!strstr(note, with) || (without && strstr(note, without)))
        fail_msg("'%s' with %s, without %s", note, with, without);
    sdg_backend_destroy(&backend);
}

static void test_backend(void **unused)
{
    struct sdg_fast_kernels best;
    struct sdg_backend *backend;
    char own[64];
    size_t count;
    const struct sdg_fast_set *sets = sdg_fast_sets(&count);
    (void)unused;
    sdg_fast_select(sets, count, sdg_cpu_features(), false, &best);
    snprintf(own, sizeof own, "own kernels %s", best.name);
    check_note("generic", 0, "no oneDNN; own kernels generic", NULL);
    check_note(NULL, 0, own, NULL); // a mask holds our kernels for one backend alone
    check_note(NULL, SDG_FEATURE_BF16, "own kernels", "own kernels avx512bf16");
#if defined(__aarch64__)
    if (sdg_cpu_features() & SDG_CPU_fp16)
        check_note(NULL, 0, ", neon_fp16", NULL);
    check_note("neon", 0, "own kernels neon", "fp16");
    check_note(NULL, SDG_FEATURE_F16, "own kernels neon", "fp16");
#endif
#if defined(__x86_64__)
    check_note("avx2", 0, "own kernels", "avx512"); // oneDNN is in use with all it has, so it is left out
    check_note("avx512", SDG_FEATURE_ONEDNN, "own kernels", "bf16");
#endif
    const struct sdg_backend_params wrong = {.cpu_mask = "avx2;fma"};
    assert_int_equal(sdg_backend_create(NULL, "cpu", &wrong, &backend), SDG_ERROR_USAGE);
    assert_null(backend);
}

static void note_rate(void *user, const struct sdg_peak *peak)
{
    assert_string_equal(peak->unit, "op/s");
    assert_true(peak->rate > 1e6 && peak->rate < 1e15); // of any processor
    ++*(int *)user;
}

static void test_rates(void **unused)
{
    struct sdg_backend *backend;
    int rates = 0;
    (void)unused;
    assert_int_equal(sdg_backend_create(NULL, "cpu", &(struct sdg_backend_params){.threads = 2}, &backend), SDG_OK);
    assert_int_equal(sdg_backend_peaks(backend, 0.05, note_rate, &rates), SDG_OK);
    assert_int_equal(rates, 4);
    sdg_backend_destroy(&backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),          cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_geglu),          cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_group_norm),     cmocka_unit_test(test_softplus),
        cmocka_unit_test(test_conv1d),         cmocka_unit_test(test_scan),
        cmocka_unit_test(test_long_scan),      cmocka_unit_test(test_scan_ends),
        cmocka_unit_test(test_attention),      cmocka_unit_test(test_product),
        cmocka_unit_test(test_integers),       cmocka_unit_test(test_convert),
        cmocka_unit_test(test_quantize),       cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_norm_codes),     cmocka_unit_test(test_scan_codes),
        cmocka_unit_test(test_hadamard_codes), cmocka_unit_test(test_attention_codes),
        cmocka_unit_test(test_unpack4),        cmocka_unit_test(test_code_sums),
        cmocka_unit_test(test_convert_codes),  cmocka_unit_test(test_single_kernels),
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_masks),
        cmocka_unit_test(test_backend),        cmocka_unit_test(test_silu_ends),
        cmocka_unit_test(test_peaks),          cmocka_unit_test(test_rates),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%d comparisons\n", compared);
    return failures;
}
