// What a graph means, in float64: forward only, operation by operation, apart from the backends' code. For finite
// differences, which need more digits than backends keep.
#ifndef SDG_TESTS_SUPPORT_FLOAT64_H
#define SDG_TESTS_SUPPORT_FLOAT64_H

#include "graph/graph.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Rounding has no derivative; what straight-through gradients are the derivatives of is the same function with the
// distance from x / scale to its code, or the bound that was reached, held where they were at first. A pass with
// `record` notes them, others use them.
struct float64 {
    const struct sdg_graph *graph;
    double **data;   // per value: all elements, leaves filled in by the caller
    double **frozen; // per value: of fake_quantize's results
    bool record;
};

static int64_t f64_count(const struct float64 *f, sdg_value v)
{
    return sdg_value_elements(&f->graph->values[v]);
}

static double *f64_room(size_t count)
{
    double *room = calloc(count ? count : 1, sizeof *room);
    if (!room)
        abort();
    return room;
}

static void f64_create(struct float64 *f, const struct sdg_graph *graph)
{
    *f = (struct float64){.graph = graph};
    f->data = calloc(graph->value_count, sizeof *f->data);
    f->frozen = calloc(graph->value_count, sizeof *f->frozen);
    if (!f->data || !f->frozen)
        abort();
    for (sdg_value v = 1; v < graph->value_count; v++)
        if (graph->values[v].kind != SDG_VALUE_NONE) {
            f->data[v] = f64_room((size_t)f64_count(f, v));
            f->frozen[v] = f64_room((size_t)f64_count(f, v));
        }
}

static void f64_destroy(struct float64 *f)
{
    for (sdg_value v = 1; v < f->graph->value_count; v++) {
        free(f->data[v]);
        free(f->frozen[v]);
    }
    free(f->data);
    free(f->frozen);
}

static double f64_unary(enum sdg_unary function, double x, double a, double b)
{
    switch (function) {
    case SDG_UNARY_NONE: return x;
    case SDG_UNARY_SILU: return x / (1 + exp(-x));
    case SDG_UNARY_GELU_ERF: return x * 0.5 * erfc(-x / sqrt(2));
    case SDG_UNARY_GELU_TANH: return x * 0.5 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * pow(x, 3))));
    case SDG_UNARY_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case SDG_UNARY_RELU: return x > 0 ? x : 0;
    case SDG_UNARY_TANH: return tanh(x);
    case SDG_UNARY_SIGMOID: return 1 / (1 + exp(-x));
    case SDG_UNARY_SOFTPLUS: return log(1 + exp(x));
    case SDG_UNARY_AFFINE: return a * x + b;
    case SDG_UNARY_EXP: return exp(x);
    case SDG_UNARY_SQRT: return sqrt(x);
    case SDG_UNARY_RECIPROCAL: return 1 / x;
    }
    abort();
}

static void f64_epilogue(const struct float64 *f, const struct sdg_op *op)
{
    const struct sdg_epilogue *e = &op->epilogue;
    const int64_t *d = f->graph->values[op->out].dims, channels = d[3], tokens = d[1] * d[2];
    for (int64_t i = 0; i < f64_count(f, op->out); i++) {
        double *y = &f->data[op->out][i];
        const int64_t c = i % channels, n = i / channels / tokens;
        if (e->bias)
            *y += f->data[e->bias][c];
        if (e->table) // row 0
            *y += f->data[e->table][f->graph->values[e->table].dims[1] == 1 ? c : n * channels + c];
        if (e->residual)
            *y += f->data[e->residual][i];
        *y = f64_unary(e->activation, *y, 0, 0);
    }
}

static void f64_product(const struct float64 *f, const struct sdg_op *op)
{
    const bool linear = op->kind == SDG_OP_LINEAR, ta = !linear && op->u.matmul.transpose_a,
               tb = linear || op->u.matmul.transpose_b;
    const struct sdg_value_info *a = &f->graph->values[op->in[0]], *b = &f->graph->values[op->in[1]];
    const int64_t a_columns = a->dims[3], a_rows = sdg_value_elements(a) / a_columns,
                  columns = f->graph->values[op->out].dims[3], inner = ta ? a_rows : a_columns,
                  rows = ta ? a_columns : a_rows, b_columns = sdg_value_elements(b) / (tb ? columns : inner);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            double sum = 0;
            for (int64_t k = 0; k < inner; k++)
                sum += f->data[op->in[0]][ta ? k * a_columns + i : i * a_columns + k] *
                    f->data[op->in[1]][tb ? j * b_columns + k : k * b_columns + j];
            f->data[op->out][i * columns + j] = sum;
        }
    f64_epilogue(f, op);
}

static void f64_attention(const struct float64 *f, const struct sdg_op *op)
{
    const struct sdg_value_info *q = &f->graph->values[op->in[0]], *k = &f->graph->values[op->in[1]],
                                *v = &f->graph->values[op->in[2]];
    const int64_t heads = op->u.attention.heads, d = q->dims[3] / heads, dv = v->dims[3] / heads,
                  queries = q->dims[1] * q->dims[2], keys = k->dims[1] * k->dims[2];
    memset(f->data[op->out], 0, (size_t)f64_count(f, op->out) * sizeof(double));
    for (int64_t n = 0; n < q->dims[0]; n++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < queries; i++) {
                double sum = 0;
                for (int pass = 0; pass < 2; pass++)
                    for (int64_t j = 0; j < (op->u.attention.causal ? i + 1 : keys); j++) {
                        double score = 0;
                        for (int64_t c = 0; c < d; c++)
                            score += f->data[op->in[0]][((n * queries + i) * heads + h) * d + c] *
                                f->data[op->in[1]][((n * keys + j) * heads + h) * d + c];
                        const double weight = exp(op->u.attention.scale * score);
                        if (pass == 0)
                            sum += weight;
                        for (int64_t c = 0; c < dv && pass == 1; c++)
                            f->data[op->out][((n * queries + i) * heads + h) * dv + c] +=
                                weight / sum * f->data[op->in[2]][((n * keys + j) * heads + h) * dv + c];
                    }
            }
}

static void f64_conv2d(const struct float64 *f, const struct sdg_op *op)
{
    const int64_t *x = f->graph->values[op->in[0]].dims, *w = f->graph->values[op->in[1]].dims,
                  *d = f->graph->values[op->out].dims;
    for (int64_t i = 0; i < f64_count(f, op->out); i++) {
        const int64_t o = i % d[3], left = i / d[3] % d[2] * op->u.conv2d.stride - op->u.conv2d.pad_left,
                      top = i / d[3] / d[2] % d[1] * op->u.conv2d.stride - op->u.conv2d.pad_top,
                      n = i / d[3] / d[2] / d[1];
        double sum = 0;
        for (int64_t k = 0; k < w[1] * w[2] * w[3]; k++) {
            const int64_t c = k / w[3] / w[2], at_y = top + k / w[3] % w[2], at_x = left + k % w[3];
            if (at_y >= 0 && at_y < x[1] && at_x >= 0 && at_x < x[2])
                sum += f->data[op->in[1]][o * w[1] * w[2] * w[3] + k] *
                    f->data[op->in[0]][((n * x[1] + at_y) * x[2] + at_x) * x[3] + c];
        }
        f->data[op->out][i] = sum;
    }
    f64_epilogue(f, op);
}

static double f64_joined(const struct float64 *f, const struct sdg_op *op, int64_t position, int64_t c)
{
    const int64_t first = f->graph->values[op->in[0]].dims[3], all = f->graph->values[op->out].dims[3];
    return c < first ? f->data[op->in[0]][position * first + c]
                     : f->data[op->in[3]][position * (all - first) + c - first];
}

static void f64_group_norm(const struct float64 *f, const struct sdg_op *op)
{
    const int64_t *d = f->graph->values[op->out].dims, tokens = d[1] * d[2], groups = op->u.group_norm.groups,
                  each = d[3] / groups;
    for (int64_t i = 0; i < d[0] * groups; i++) {
        const int64_t from = i / groups * tokens, first = i % groups * each, count = tokens * each;
        double sum = 0, squares = 0;
        for (int64_t k = 0; k < count; k++) {
            const double x = f64_joined(f, op, from + k / each, first + k % each);
            sum += x;
            squares += x * x;
        }
        const double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
        for (int64_t k = 0; k < count; k++) {
            const int64_t c = first + k % each;
            const double n = (f64_joined(f, op, from + k / each, c) - mean) / sqrt(variance + op->u.group_norm.eps);
            f->data[op->out][(from + k / each) * d[3] + c] =
                f64_unary(op->u.group_norm.activation, n * f->data[op->in[1]][c] + f->data[op->in[2]][c], 0, 0);
        }
    }
}

static void f64_layer_norm(const struct float64 *f, const struct sdg_op *op)
{
    const int64_t channels = f->graph->values[op->out].dims[3];
    for (int64_t t = 0; t < f64_count(f, op->out); t += channels) {
        const double *x = f->data[op->in[0]] + t;
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < channels; c++) {
            sum += x[c];
            squares += x[c] * x[c];
        }
        const double mean = sum / (double)channels, variance = squares / (double)channels - mean * mean;
        for (int64_t c = 0; c < channels; c++)
            f->data[op->out][t + c] =
                (x[c] - mean) / sqrt(variance + op->u.layer_norm.eps) * f->data[op->in[1]][c] + f->data[op->in[2]][c];
    }
}

static void f64_conv1d(const struct float64 *f, const struct sdg_op *op)
{
    const int64_t *xd = f->graph->values[op->in[0]].dims, tokens = xd[1] * xd[2],
                  channels = f->graph->values[op->out].dims[3], taps = op->u.conv1d_causal.kernel;
    for (int64_t i = 0; i < f64_count(f, op->out); i++) {
        const int64_t c = i % channels, t = i / channels % tokens, first = i / channels - t;
        double sum = op->in[2] ? f->data[op->in[2]][c] : 0;
        for (int64_t k = 0; k < taps; k++) {
            const int64_t from = op->u.conv1d_causal.backward ? t + taps - 1 - k : t - taps + 1 + k;
            if (from >= 0 && from < tokens)
                sum += f->data[op->in[1]][c * taps + k] *
                    f->data[op->in[0]][(first + from) * xd[3] + op->u.conv1d_causal.start + c];
        }
        f->data[op->out][i] = f64_unary(op->u.conv1d_causal.activation, sum, 0, 0);
    }
}

static void f64_scan(const struct float64 *f, const struct sdg_op *op)
{
    enum { STATES = 256 };
    const struct sdg_scan_params *p = &op->u.selective_scan;
    const int64_t *d = f->graph->values[op->out].dims, tokens = d[1] * d[2], channels = d[3],
                  states = f->graph->values[op->in[3]].dims[1], of_bc = f->graph->values[op->in[2]].dims[3];
    for (int64_t n = 0; n < d[0]; n++)
        for (int64_t c = 0; c < channels; c++) {
            double h[STATES] = {0};
            for (int64_t i = 0; i < tokens; i++) {
                const int64_t t = n * tokens + (p->backward ? tokens - 1 - i : i);
                const double x = f->data[op->in[0]][t * channels + c], *bc = f->data[op->in[2]] + t * of_bc;
                const double dt =
                    f64_unary(SDG_UNARY_SOFTPLUS,
                              f->data[op->in[1]][t * channels + c] + (op->in[5] ? f->data[op->in[5]][c] : 0), 0, 0);
                double y = f->data[op->in[4]][c] * x;
                for (int64_t s = 0; s < states; s++) {
                    h[s] = h[s] * exp(-dt * exp(f->data[op->in[3]][c * states + s])) + dt * x * bc[p->b_start + s];
                    y += h[s] * bc[p->c_start + s];
                }
                if (op->in[7])
                    y += f->data[op->in[7]][t * channels + c];
                if (op->in[6])
                    y *= f64_unary(SDG_UNARY_SILU,
                                   f->data[op->in[6]][t * f->graph->values[op->in[6]].dims[3] + p->gate_start + c], 0,
                                   0);
                f->data[op->out][t * channels + c] = y * p->scale;
            }
        }
}

static void f64_fake_quantize(const struct float64 *f, const struct sdg_op *op)
{
    const int64_t *d = f->graph->values[op->out].dims;
    const struct sdg_value_info *interval = &f->graph->values[op->in[1]];
    const int64_t own = interval->kind == SDG_VALUE_TABLE ? interval->dims[1] : interval->dims[2];
    const double lowest = op->u.fake_quantize.lowest, highest = op->u.fake_quantize.highest;
    for (int64_t i = 0; i < f64_count(f, op->out); i++) {
        const double *pair = f->data[op->in[1]] + 2 * (own == 1 ? 0 : i / d[3] % own),
                     x = f->data[op->in[0]][i] * (op->in[2] ? f->data[op->in[2]][i % d[3]] : 1);
        double *frozen = &f->frozen[op->out][i];
        const double steps = x / pair[0];
        if (f->record) // inside: what rounding adds, less than 1; outside: the bound, kept apart by a large number
            *frozen = steps + pair[1] < lowest ? lowest - pair[1] + 1e6
                : steps + pair[1] > highest    ? highest - pair[1] + 1e6
                                               : nearbyint(steps) - steps;
        f->data[op->out][i] = pair[0] * (*frozen > 1e5 ? *frozen - 1e6 : steps + *frozen);
    }
}

static void f64_element_wise(const struct float64 *f, const struct sdg_op *op)
{
    const struct sdg_value_info *x = &f->graph->values[op->in[0]], *y = &f->graph->values[op->in[1]],
                                *out = &f->graph->values[op->out];
    const int64_t channels = out->dims[3], tokens = out->dims[1] * out->dims[2];
    for (int64_t i = 0; i < f64_count(f, op->out); i++) {
        const int64_t c = i % channels, t = i / channels % tokens, n = i / channels / tokens;
        double *to = &f->data[op->out][i];
        if (op->kind == SDG_OP_UNARY)
            *to = f64_unary(op->u.unary.function, f->data[op->in[0]][i], op->u.unary.a, op->u.unary.b);
        if (op->kind == SDG_OP_SLICE)
            *to = f->data[op->in[0]][i / channels * x->dims[3] + op->u.slice.start + c];
        if (op->kind == SDG_OP_PAD)
            *to = c < op->u.pad.start || c >= op->u.pad.start + x->dims[3]
                ? 0
                : f->data[op->in[0]][i / channels * x->dims[3] + c - op->u.pad.start];
        if (op->kind == SDG_OP_CONCAT)
            *to = c < x->dims[3] ? f->data[op->in[0]][i / channels * x->dims[3] + c]
                                 : f->data[op->in[1]][i / channels * y->dims[3] + c - x->dims[3]];
        if (op->kind == SDG_OP_GEGLU)
            *to = f->data[op->in[0]][i / channels * 2 * channels + c] *
                f64_unary(SDG_UNARY_GELU_ERF, f->data[op->in[0]][i / channels * 2 * channels + channels + c], 0, 0);
        if (op->kind == SDG_OP_BROADCAST) {
            const int64_t own = x->dims[1] * x->dims[2];
            *to = f->data[op->in[0]][((x->dims[0] == 1 ? 0 : n) * own + (own == 1 ? 0 : t)) * x->dims[3] +
                                     (x->dims[3] == 1 ? 0 : c)];
        }
        if (op->kind == SDG_OP_BINARY) {
            const int64_t own = y->dims[1] * y->dims[2];
            const double left = f->data[op->in[0]][i],
                         right =
                             f->data[op->in[1]][((y->dims[0] == 1 ? 0 : n) * own + (own == 1 ? 0 : t)) * channels + c];
            *to = op->u.binary.function == SDG_BINARY_ADD ? left + right : left * right;
        }
        if (op->kind == SDG_OP_HADAMARD) {
            const int64_t block = op->u.hadamard.block, first = i - c % block;
            *to = 0;
            for (int64_t k = 0; k < block; k++)
                *to += f->data[op->in[0]][first + k] * (__builtin_popcountll((uint64_t)(c % block & k)) & 1 ? -1 : 1) /
                    sqrt((double)block);
        }
        if (op->kind == SDG_OP_CONSTANT)
            *to = f->data[op->in[0]][i];
    }
}

static void f64_sum(const struct float64 *f, const struct sdg_op *op)
{
    const int64_t *x = f->graph->values[op->in[0]].dims, *d = f->graph->values[op->out].dims;
    memset(f->data[op->out], 0, (size_t)f64_count(f, op->out) * sizeof(double));
    for (int64_t i = 0; i < f64_count(f, op->in[0]); i++) {
        const int64_t c = i % x[3], t = i / x[3] % (x[1] * x[2]), n = i / x[3] / (x[1] * x[2]);
        f->data[op->out][((op->u.sum.samples ? 0 : n) * d[1] * d[2] + (op->u.sum.tokens ? 0 : t)) * d[3] +
                         (op->u.sum.channels ? 0 : c)] += f->data[op->in[0]][i];
    }
}

// The operations of [0, count), tables at row 0.
static void f64_run(const struct float64 *f, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sdg_op *op = &f->graph->ops[i];
        switch (op->kind) {
        case SDG_OP_LINEAR:
        case SDG_OP_MATMUL: f64_product(f, op); break;
        case SDG_OP_CONV2D: f64_conv2d(f, op); break;
        case SDG_OP_GROUP_NORM: f64_group_norm(f, op); break;
        case SDG_OP_ATTENTION: f64_attention(f, op); break;
        case SDG_OP_LAYER_NORM: f64_layer_norm(f, op); break;
        case SDG_OP_CONV1D_CAUSAL: f64_conv1d(f, op); break;
        case SDG_OP_SELECTIVE_SCAN: f64_scan(f, op); break;
        case SDG_OP_FAKE_QUANTIZE: f64_fake_quantize(f, op); break;
        case SDG_OP_SUM: f64_sum(f, op); break;
        default: f64_element_wise(f, op); break;
        }
    }
}

#endif
