// For tests of graph/: networks to test with, and an interpreter that says what a graph means.
#ifndef SDG_TESTS_SUPPORT_GRAPHS_H
#define SDG_TESTS_SUPPORT_GRAPHS_H

#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

// ---- messages ----

struct messages {
    int errors, warnings;
    char last[512], last_warning[512];
};

static void on_message(void *user, enum sdg_log_level level, const char *message)
{
    struct messages *messages = user;
    if (level == SDG_LOG_ERROR) {
        messages->errors++;
        snprintf(messages->last, sizeof messages->last, "%s", message);
    } else if (level == SDG_LOG_WARNING) {
        messages->warnings++;
        snprintf(messages->last_warning, sizeof messages->last_warning, "%s", message);
    }
}

static struct messages messages;
static const struct sdg_log test_log = {.fn = on_message, .user = &messages, .level = SDG_LOG_INFO};

static struct sdg_graph *new_graph(void)
{
    struct sdg_graph *g;
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_graph_create(&test_log, &g), SDG_OK);
    return g;
}

// ---- random numbers ----

static uint64_t random_state;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static int64_t random_between(int64_t low, int64_t high)
{
    return low + (int64_t)(random_bits() % (uint32_t)(high - low + 1));
}

static float hashed(const char *name, int64_t index)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    hash = (hash ^ (uint32_t)index) * 2654435761u;
    hash ^= hash >> 15;
    hash *= 2246822519u;
    hash ^= hash >> 13;
    return (float)(hash & 0xffff) / 65536.0f - 0.5f;
}

// ---- interpreter: the meaning of a graph, in plain loops; no attention and no embedding ----

enum { TEST_ROW = 1 };

struct tensor {
    float *data;
    int64_t n, h, w, c;
};

static float *element(struct tensor t, int64_t n, int64_t y, int64_t x, int64_t c)
{
    return &t.data[((n * t.h + y) * t.w + x) * t.c + c];
}

static struct tensor tensor_of(const struct sdg_graph *g, float **data, sdg_value v)
{
    const int64_t *d = g->values[v].dims;
    return (struct tensor){data[v], d[0], d[1], d[2], d[3]};
}

static float weight_at(const struct sdg_value_info *w, int64_t o, int64_t i, int64_t ky, int64_t kx)
{
    int64_t whole = w->slice_of ? w->slice_of : w->dims[1];
    return hashed(w->name, ((o * whole + w->slice_start + i) * w->dims[2] + ky) * w->dims[3] + kx);
}

static float apply_unary(enum sdg_unary function, float x, float a, float b)
{
    switch (function) {
    case SDG_UNARY_NONE: return x;
    case SDG_UNARY_SILU: return x / (1 + expf(-x));
    case SDG_UNARY_GELU_ERF: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case SDG_UNARY_GELU_TANH: return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case SDG_UNARY_QUICK_GELU: return x / (1 + expf(-1.702f * x));
    case SDG_UNARY_RELU: return x > 0 ? x : 0;
    case SDG_UNARY_TANH: return tanhf(x);
    case SDG_UNARY_SIGMOID: return 1 / (1 + expf(-x));
    case SDG_UNARY_SOFTPLUS: return log1pf(expf(x));
    case SDG_UNARY_AFFINE: return a * x + b;
    case SDG_UNARY_EXP: return expf(x);
    case SDG_UNARY_SQRT: return sqrtf(x);
    case SDG_UNARY_RECIPROCAL: return 1 / x;
    }
    return NAN;
}

// Gamma and beta of each channel, then mean and 1 / deviation of each token; else the result.
static void run_layer_norm(const struct sdg_graph *g, const struct sdg_op *op, float **data)
{
    const struct tensor x = tensor_of(g, data, op->in[0]), out = tensor_of(g, data, op->out);
    for (int64_t t = 0; t < x.n * x.h * x.w; t++) {
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < x.c; c++)
            sum += (double)x.data[t * x.c + c];
        const double mean = sum / (double)x.c;
        for (int64_t c = 0; c < x.c; c++)
            squares += ((double)x.data[t * x.c + c] - mean) * ((double)x.data[t * x.c + c] - mean);
        const double scale = 1 / sqrt(squares / (double)x.c + (double)op->u.layer_norm.eps);
        for (int64_t c = 0; c < x.c; c++) {
            const float gamma = weight_at(&g->values[op->in[1]], c, 0, 0, 0),
                        beta = weight_at(&g->values[op->in[2]], c, 0, 0, 0);
            if (op->u.layer_norm.statistics) {
                memcpy(out.data + 2 * c, (float[2]){gamma, beta}, 2 * sizeof(float));
                memcpy(out.data + 2 * (x.c + t), (float[2]){(float)mean, (float)scale}, 2 * sizeof(float));
            } else {
                out.data[t * x.c + c] = (float)((x.data[t * x.c + c] - mean) * scale) * gamma + beta;
            }
        }
    }
}

// What a product multiplies: in[0], or that normalised, which is to be freed.
static struct tensor loaded(const struct sdg_graph *g, const struct sdg_op *op, float **data)
{
    struct tensor x = tensor_of(g, data, op->in[0]);
    const float *norm = data[op->load.norm], *from = x.data;
    if (!op->load.norm)
        return x;
    x.data = malloc((size_t)(x.n * x.h * x.w * x.c) * sizeof *x.data);
    for (int64_t i = 0; i < x.n * x.h * x.w * x.c; i++) {
        const float *affine = norm + 2 * (i % x.c), *moments = norm + 2 * (x.c + i / x.c);
        x.data[i] = (from[i] - moments[0]) * moments[1] * affine[0] + affine[1];
    }
    return x;
}

// linear then geglu, in the epilogue of the first.
static void run_gated(const struct sdg_graph *g, const struct sdg_op *op, float **data)
{
    const struct tensor x = loaded(g, op, data), out = tensor_of(g, data, op->out);
    for (int64_t p = 0; p < out.n * out.h * out.w; p++)
        for (int64_t o = 0; o < out.c; o++) {
            float y[2];
            for (int64_t k = 0; k < 2; k++) {
                const int64_t row = o + k * out.c;
                y[k] = op->epilogue.bias ? weight_at(&g->values[op->epilogue.bias], row, 0, 0, 0) : 0;
                for (int64_t i = 0; i < x.c; i++)
                    y[k] += x.data[p * x.c + i] * weight_at(&g->values[op->in[1]], row, i, 0, 0);
            }
            out.data[p * out.c + o] = y[0] * apply_unary(SDG_UNARY_GELU_ERF, y[1], 0, 0);
        }
    if (op->load.norm)
        free(x.data);
}

static void run_product(const struct sdg_graph *g, const struct sdg_op *op, float **data)
{
    struct tensor x = loaded(g, op, data), out = tensor_of(g, data, op->out);
    const struct sdg_value_info *w = &g->values[op->in[1]];
    const struct sdg_epilogue *e = &op->epilogue;
    bool conv = op->kind == SDG_OP_CONV2D;
    int stride = conv ? op->u.conv2d.stride : 1, top = conv ? op->u.conv2d.pad_top : 0,
        left = conv ? op->u.conv2d.pad_left : 0, times = conv ? op->u.conv2d.upsample : 1;
    for (int64_t n = 0; n < out.n; n++)
        for (int64_t y = 0; y < out.h; y++)
            for (int64_t xx = 0; xx < out.w; xx++)
                for (int64_t o = 0; o < out.c; o++) {
                    float sum = 0;
                    for (int64_t ky = 0; ky < w->dims[2]; ky++)
                        for (int64_t kx = 0; kx < w->dims[3]; kx++) {
                            int64_t sy = y * stride + ky - top, sx = xx * stride + kx - left;
                            if (sy < 0 || sy >= x.h * times || sx < 0 || sx >= x.w * times)
                                continue;
                            for (int64_t i = 0; i < x.c; i++)
                                sum += *element(x, n, sy / times, sx / times, i) * weight_at(w, o, i, ky, kx);
                        }
                    if (e->bias)
                        sum += weight_at(&g->values[e->bias], o, 0, 0, 0);
                    if (e->table) {
                        const int64_t *td = g->values[e->table].dims;
                        sum += data[e->table][(TEST_ROW * td[1] + (td[1] == 1 ? 0 : n)) * td[3] + o];
                    }
                    if (e->residual)
                        sum += *element(tensor_of(g, data, e->residual), n, y, xx, o);
                    *element(out, n, y, xx, o) = apply_unary(e->activation, sum, 0, 0);
                }
    if (op->load.norm)
        free(x.data);
}

static float joined_at(struct tensor a, struct tensor b, int64_t n, int64_t y, int64_t x, int64_t c)
{
    return c < a.c ? *element(a, n, y, x, c) : *element(b, n, y, x, c - a.c);
}

static void run_group_norm(const struct sdg_graph *g, const struct sdg_op *op, float **data)
{
    struct tensor a = tensor_of(g, data, op->in[0]), b = tensor_of(g, data, op->in[3]),
                  out = tensor_of(g, data, op->out);
    int64_t size = out.c / op->u.group_norm.groups;
    for (int64_t n = 0; n < out.n; n++)
        for (int64_t first = 0; first < out.c; first += size) {
            double sum = 0, squares = 0, count = (double)(out.h * out.w * size);
            for (int64_t p = 0; p < out.h * out.w * size; p++) {
                double v = joined_at(a, b, n, p / size / out.w, p / size % out.w, first + p % size);
                sum += v;
                squares += v * v;
            }
            double mean = sum / count, scale = 1 / sqrt(squares / count - mean * mean + (double)op->u.group_norm.eps);
            for (int64_t p = 0; p < out.h * out.w * size; p++) {
                int64_t y = p / size / out.w, x = p / size % out.w, c = first + p % size;
                float v = (float)((joined_at(a, b, n, y, x, c) - mean) * scale);
                v = v * weight_at(&g->values[op->in[1]], c, 0, 0, 0) + weight_at(&g->values[op->in[2]], c, 0, 0, 0);
                *element(out, n, y, x, c) = apply_unary(op->u.group_norm.activation, v, 0, 0);
            }
        }
}

static float simple_op_at(const struct sdg_graph *g, const struct sdg_op *op, float **data, int64_t n, int64_t y,
                          int64_t x, int64_t c)
{
    struct tensor a = tensor_of(g, data, op->in[0]), b = tensor_of(g, data, op->in[1]),
                  out = tensor_of(g, data, op->out);
    switch (op->kind) {
    case SDG_OP_UNARY: return apply_unary(op->u.unary.function, *element(a, n, y, x, c), op->u.unary.a, op->u.unary.b);
    case SDG_OP_BINARY: {
        float left = *element(a, n, y, x, c),
              right = *element(b, b.n == 1 ? 0 : n, b.h == 1 ? 0 : y, b.w == 1 ? 0 : x, c);
        return op->u.binary.function == SDG_BINARY_ADD ? left + right : left * right;
    }
    case SDG_OP_GEGLU:
        return *element(a, n, y, x, c) * apply_unary(SDG_UNARY_GELU_ERF, *element(a, n, y, x, c + out.c), 0, 0);
    case SDG_OP_UPSAMPLE_NEAREST: return *element(a, n, y * a.h / out.h, x * a.w / out.w, c);
    case SDG_OP_CONCAT: return joined_at(a, b, n, y, x, c);
    case SDG_OP_SLICE: return *element(a, n, y, x, c + op->u.slice.start);
    default: fail_msg("%s is not interpreted", sdg_op_name(op->kind)); return NAN;
    }
}

static void run_op(const struct sdg_graph *g, const struct sdg_op *op, float **data)
{
    if (op->epilogue.gated) {
        run_gated(g, op, data);
        return;
    }
    if (op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR) {
        run_product(g, op, data);
        return;
    }
    if (op->kind == SDG_OP_GROUP_NORM || op->kind == SDG_OP_LAYER_NORM) {
        (op->kind == SDG_OP_GROUP_NORM ? run_group_norm : run_layer_norm)(g, op, data);
        return;
    }
    struct tensor out = tensor_of(g, data, op->out);
    for (int64_t i = 0; i < out.n * out.h * out.w * out.c; i++)
        out.data[i] = simple_op_at(g, op, data, i / out.c / out.w / out.h, i / out.c / out.w % out.h, i / out.c % out.w,
                                   i % out.c);
}

// Every operand must be defined before it is read, whatever the rewrites did to the order.
static void assert_ordered(const struct sdg_graph *g)
{
    bool *defined = calloc(g->value_count, sizeof *defined);
    for (size_t v = 1; v < g->value_count; v++)
        defined[v] = g->values[v].kind != SDG_VALUE_ACTIVATION && g->values[v].kind != SDG_VALUE_NONE;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        const sdg_value operands[] = {
            op->in[0],    op->in[1], op->in[2], op->in[3], op->epilogue.bias, op->epilogue.table, op->epilogue.residual,
            op->load.norm};
        assert_non_null(op->name);
        assert_true((unsigned)op->kind < SDG_OP_COUNT);
        for (size_t k = 0; k < sizeof operands / sizeof *operands; k++)
            assert_true(!operands[k] || defined[operands[k]]);
        assert_int_equal(g->values[op->out].kind, SDG_VALUE_ACTIVATION);
        assert_false(defined[op->out]);
        defined[op->out] = true;
    }
    for (size_t v = 1; v < g->value_count; v++)
        assert_true(!g->values[v].output || defined[v]);
    free(defined);
}

// Interprets the graph and returns the outputs behind each other; *count elements, to be freed.
static float *interpret(const struct sdg_graph *g, size_t *count)
{
    assert_ordered(g);
    float **data = calloc(g->value_count, sizeof *data);
    for (size_t v = 1; v < g->value_count; v++) {
        const struct sdg_value_info *info = &g->values[v];
        if (info->kind == SDG_VALUE_NONE || info->kind == SDG_VALUE_WEIGHT)
            continue;
        int64_t elements = sdg_value_elements(info);
        data[v] = malloc((size_t)elements * sizeof(float));
        for (int64_t i = 0; i < elements; i++)
            data[v][i] = info->kind == SDG_VALUE_ACTIVATION ? NAN : 2 * hashed(info->name, i);
    }
    for (size_t i = 0; i < g->op_count; i++)
        run_op(g, &g->ops[i], data);
    float *out = NULL;
    *count = 0;
    for (size_t v = 1; v < g->value_count; v++) {
        if (!g->values[v].output)
            continue;
        size_t elements = (size_t)sdg_value_elements(&g->values[v]);
        out = realloc(out, (*count + elements) * sizeof *out);
        memcpy(out + *count, data[v], elements * sizeof *out);
        *count += elements;
    }
    for (size_t v = 0; v < g->value_count; v++)
        free(data[v]);
    free(data);
    return out;
}

// Fuses, also for backends that have `fusions`, and asserts that the outputs are the same up to rounding.
static inline void fuse_for_and_compare(struct sdg_graph *g, unsigned fusions)
{
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    size_t before_count, after_count;
    float *before = interpret(g, &before_count);
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    assert_int_equal(sdg_graph_fuse_for(g, fusions), SDG_OK);
    float *after = interpret(g, &after_count);
    assert_int_equal(before_count, after_count);
    double error = 0, power = 0;
    for (size_t i = 0; i < before_count; i++) {
        error += ((double)before[i] - after[i]) * ((double)before[i] - after[i]);
        power += (double)before[i] * before[i];
    }
    assert_true(power > 0);
    assert_true(error <= 1e-10 * power); // f32 rounding through a dozen layers, squared; false for NaN
    free(before);
    free(after);
}

static inline void fuse_and_compare(struct sdg_graph *g)
{
    fuse_for_and_compare(g, 0);
}

static inline size_t count_ops(const struct sdg_graph *g, enum sdg_op_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < g->op_count; i++)
        count += g->ops[i].kind == kind;
    return count;
}

static const struct sdg_op *find_op(const struct sdg_graph *g, const char *name)
{
    for (size_t i = 0; i < g->op_count; i++) {
        if (strcmp(g->ops[i].name, name) == 0)
            return &g->ops[i];
    }
    fail_msg("there is no operation %s", name);
    return NULL;
}

// ---- networks to test with ----

static const struct sdg_conv_params same3 = {.stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
static const struct sdg_conv_params plain = {.stride = 1};

static int64_t channels_of(const struct sdg_graph *g, sdg_value v)
{
    return g->values[v].dims[3];
}

static sdg_value conv(struct sdg_graph *g, const char *name, sdg_value x, int64_t out, int kernel, int stride,
                      sdg_value table)
{
    struct sdg_epilogue e = {.bias = sdg_graph_vector_weight(g, out, "%s.bias", name), .table = table};
    sdg_value w = sdg_graph_conv_weight(g, out, channels_of(g, x), kernel, kernel, "%s.weight", name);
    struct sdg_conv_params p = kernel == 3 ? same3 : plain;
    p.stride = stride;
    return sdg_graph_conv2d(g, name, x, w, p, e);
}

static sdg_value norm(struct sdg_graph *g, const char *name, sdg_value x, int groups)
{
    int64_t c = channels_of(g, x);
    sdg_value gamma = sdg_graph_vector_weight(g, c, "%s.weight", name),
              beta = sdg_graph_vector_weight(g, c, "%s.bias", name);
    return sdg_graph_group_norm(g, name, x, gamma, beta, groups, 1e-5f, SDG_UNARY_NONE);
}

static inline sdg_value layer_norm(struct sdg_graph *g, const char *name, sdg_value x)
{
    int64_t c = channels_of(g, x);
    sdg_value gamma = sdg_graph_vector_weight(g, c, "%s.weight", name),
              beta = sdg_graph_vector_weight(g, c, "%s.bias", name);
    return sdg_graph_layer_norm(g, name, x, gamma, beta, 1e-5f);
}

static inline sdg_value linear(struct sdg_graph *g, const char *name, sdg_value x, int64_t out)
{
    struct sdg_epilogue e = {.bias = sdg_graph_vector_weight(g, out, "%s.bias", name)};
    return sdg_graph_linear(g, name, x, sdg_graph_linear_weight(g, out, channels_of(g, x), "%s.weight", name), e);
}

static sdg_value res_block(struct sdg_graph *g, const char *name, sdg_value x, int64_t out, int groups)
{
    char part[6][64];
    const char *const parts[6] = {"norm1", "conv1", "norm2", "conv2", "conv_shortcut", "time"};
    for (int i = 0; i < 6; i++)
        snprintf(part[i], sizeof part[i], "%s.%s", name, parts[i]);
    sdg_value time = sdg_graph_table(g, part[5], 3, random_bits() % 2 ? 1 : g->values[x].dims[0], out);
    sdg_value h =
        conv(g, part[1], sdg_graph_unary(g, part[0], norm(g, part[0], x, groups), SDG_UNARY_SILU), out, 3, 1, time);
    h = conv(g, part[3], sdg_graph_unary(g, part[2], norm(g, part[2], h, groups), SDG_UNARY_SILU), out, 3, 1, 0);
    sdg_value shortcut = channels_of(g, x) == out ? x : conv(g, part[4], x, out, 1, 1, 0);
    return random_bits() % 2 ? sdg_graph_binary(g, name, SDG_BINARY_ADD, h, shortcut)
                             : sdg_graph_binary(g, name, SDG_BINARY_ADD, shortcut, h);
}

// Attention without the attention: projections, a gated linear unit, residuals.
static sdg_value transformer(struct sdg_graph *g, const char *name, sdg_value x)
{
    char up[64], down[64];
    snprintf(up, sizeof up, "%s.up", name);
    snprintf(down, sizeof down, "%s.down", name);
    int64_t c = channels_of(g, x);
    struct sdg_epilogue e = {.bias = sdg_graph_vector_weight(g, 4 * c, "%s.bias", up)};
    sdg_value h =
        sdg_graph_geglu(g, up, sdg_graph_linear(g, up, x, sdg_graph_linear_weight(g, 4 * c, c, "%s.weight", up), e));
    h = sdg_graph_linear(g, down, h, sdg_graph_linear_weight(g, c, 2 * c, "%s.weight", down), (struct sdg_epilogue){0});
    return sdg_graph_binary(g, name, SDG_BINARY_ADD, h, x);
}

// A small UNet: `levels` levels with `layers` blocks each, skips into the way up.
static inline struct sdg_graph *unet(int64_t n, int64_t size, int64_t width, int levels, int layers, int groups)
{
    struct sdg_graph *g = new_graph();
    sdg_value skips[64], h = conv(g, "conv_in", sdg_graph_input(g, "latent", n, size, size + 1, 4), width, 3, 1, 0);
    int skip_count = 0;
    char name[64];
    skips[skip_count++] = h;
    for (int level = 0; level < levels; level++) {
        for (int i = 0; i < layers; i++) {
            snprintf(name, sizeof name, "down%d.%d", level, i);
            h = transformer(g, name, res_block(g, name, h, width << level, groups));
            skips[skip_count++] = h;
        }
        snprintf(name, sizeof name, "down%d.sample", level);
        if (level + 1 < levels)
            skips[skip_count++] = h = conv(g, name, h, width << level, 3, 2, 0);
    }
    h = res_block(g, "mid", h, channels_of(g, h), groups);
    for (int level = levels - 1; level >= 0; level--) {
        for (int i = 0; i <= layers; i++) {
            snprintf(name, sizeof name, "up%d.%d", level, i);
            h = sdg_graph_concat(g, name, h, skips[--skip_count]);
            h = transformer(g, name, res_block(g, name, h, width << level, groups));
        }
        if (level > 0) {
            snprintf(name, sizeof name, "up%d.sample", level);
            const int64_t *d = g->values[skips[skip_count - 1]].dims;
            h = sdg_graph_upsample_nearest(g, name, h, d[1], d[2]);
            h = conv(g, name, h, channels_of(g, h), 3, 1, 0);
        }
    }
    h = sdg_graph_unary(g, "act_out", norm(g, "norm_out", h, groups), SDG_UNARY_SILU);
    sdg_graph_output(g, "noise", conv(g, "conv_out", h, 4, 3, 1, 0));
    return g;
}

// Any operations on any earlier values of a fitting shape: all cases a rewrite has to recognise as none of its
// business.
static inline struct sdg_graph *random_graph(uint64_t seed, int length)
{
    enum { LIMIT = 128 };
    random_state = seed * 977 + 1;
    struct sdg_graph *g = new_graph();
    sdg_value made[LIMIT] = {sdg_graph_input(g, "a", 2, 3, 4, 4), sdg_graph_input(g, "b", 2, 3, 4, 6)};
    char name[32];
    for (int i = 2; i < length && i < LIMIT; i++) {
        snprintf(name, sizeof name, "op%d", i);
        int64_t recent = i > 5 ? i - 5 : 0;
        sdg_value x = made[random_between(random_bits() % 4 ? recent : 0, i - 1)],
                  y = made[random_between(recent, i - 1)];
        int64_t c = channels_of(g, x), half = c % 2 ? c : c / 2;
        switch (random_between(0, 9)) {
        case 0: made[i] = norm(g, name, x, c % 2 ? 1 : 2); break;
        case 1:
            made[i] = sdg_graph_unary(g, name, x, (enum sdg_unary)random_between(SDG_UNARY_SILU, SDG_UNARY_SOFTPLUS));
            break;
        case 2: made[i] = sdg_graph_affine(g, name, x, 0.5f, 0.25f); break;
        case 3:
        case 4: made[i] = conv(g, name, x, random_between(2, 6), random_bits() % 2 ? 3 : 1, 1, 0); break;
        case 5:
            made[i] = c + channels_of(g, y) > 16 ? sdg_graph_slice(g, name, x, c - half, half)
                                                 : sdg_graph_concat(g, name, x, y);
            break;
        case 6:
        case 7:
            if (c == channels_of(g, y)) {
                made[i] = sdg_graph_binary(g, name, random_bits() % 4 ? SDG_BINARY_ADD : SDG_BINARY_MUL, x, y);
                break;
            } // fall through
        case 8: made[i] = sdg_graph_unary(g, name, made[i - 1], SDG_UNARY_SILU); break;
        default: made[i] = conv(g, name, made[i - 1], channels_of(g, x), 1, 1, 0); break;
        }
        if (random_bits() % 12 == 0)
            sdg_graph_output(g, name, made[i]);
    }
    if (!g->values[made[length - 1]].output)
        sdg_graph_output(g, "last", made[length - 1]);
    return g;
}

#endif
