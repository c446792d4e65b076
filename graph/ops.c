// Builders of operations: one function per operation, which is also its shape rule.
#include "graph/graph.h"

#include "base/memory.h"
#include "graph/build.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

// An operation being built: what the checks need for their messages.
struct builder {
    struct sdg_graph *g;
    const char *name;
    enum sdg_op_kind kind;
};

#define FAIL(b, format, ...) SDG_GRAPH_FAIL((b)->g, "%s (%s): " format, (b)->name, sdg_op_name((b)->kind), __VA_ARGS__)
#define SHAPE(b, value) sdg_shape_text(&(b)->g->values[value]).text

static bool begin(struct builder *b, struct sdg_graph *g, const char *name, enum sdg_op_kind kind)
{
    *b = (struct builder){.g = g, .name = name, .kind = kind};
    if (g->result != SDG_OK)
        return false;
    if (!name || !*name) {
        SDG_GRAPH_FAIL(g, "a %s operation has no name", sdg_op_name(kind));
        return false;
    }
    return true;
}

static bool is_value(const struct builder *b, sdg_value v, const char *role)
{
    if (v && v < b->g->value_count && b->g->values[v].kind != SDG_VALUE_NONE)
        return true;
    FAIL(b, "%s is missing", role);
    return false;
}

// An activation or input of a float type.
static bool is_activation(const struct builder *b, sdg_value v, const char *role)
{
    if (!is_value(b, v, role))
        return false;
    const struct sdg_value_info *info = &b->g->values[v];
    if (sdg_value_is_read(info) && sdg_dtype_is_float(info->dtype))
        return true;
    FAIL(b, "%s %s is no float activation or input", role, SHAPE(b, v));
    return false;
}

// The same or codes: for what only moves data.
static bool is_movable(const struct builder *b, sdg_value v, const char *role)
{
    if (v && v < b->g->value_count && sdg_value_is_read(&b->g->values[v]) && sdg_dtype_is_codes(b->g->values[v].dtype))
        return true;
    return is_activation(b, v, role);
}

static bool is_weight(const struct builder *b, sdg_value v, int least_rank, const char *role)
{
    if (!is_value(b, v, role))
        return false;
    const struct sdg_value_info *info = &b->g->values[v];
    if (info->kind == SDG_VALUE_WEIGHT && info->rank >= least_rank)
        return true;
    FAIL(b, "%s %s is no weight of rank %d", role, SHAPE(b, v), least_rank);
    return false;
}

static bool is_vector(const struct builder *b, sdg_value v, int64_t length, const char *role, const char *of)
{
    if (!is_weight(b, v, 1, role))
        return false;
    const struct sdg_value_info *info = &b->g->values[v];
    if (info->rank == 1 && info->dims[0] == length)
        return true;
    FAIL(b, "%s %s has shape %s, but %s needs [%" PRId64 "]", role, info->name, SHAPE(b, v), of, length);
    return false;
}

static sdg_value finish(const struct builder *b, struct sdg_op op, int64_t n, int64_t h, int64_t w, int64_t c)
{
    struct sdg_graph *g = b->g;
    struct sdg_value_info info = {.kind = SDG_VALUE_ACTIVATION, .dtype = SDG_F32, .dims = {n, h, w, c}};
    op.kind = b->kind;
    op.out = sdg_graph_add_value(g, &info, NULL, b->name);
    if (!op.out || !sdg_graph_insert_op(g, g->op_count, &op, b->name))
        return 0;
    return op.out;
}

static sdg_value finish_moved(const struct builder *b, struct sdg_op op, sdg_value x, int64_t h, int64_t w, int64_t c)
{
    const enum sdg_dtype type = b->g->values[x].dtype;
    sdg_value out = finish(b, op, b->g->values[x].dims[0], h, w, c);
    if (out)
        b->g->values[out].dtype = type;
    return out;
}

static sdg_value finish_like(const struct builder *b, struct sdg_op op, sdg_value x)
{
    int64_t d[4];
    memcpy(d, b->g->values[x].dims, sizeof d);
    return finish(b, op, d[0], d[1], d[2], d[3]);
}

// ---- conv2d, linear ----

static bool check_epilogue(const struct builder *b, const struct sdg_epilogue *epilogue, const int64_t out[4])
{
    struct sdg_value_info shape = {.kind = SDG_VALUE_ACTIVATION, .dims = {out[0], out[1], out[2], out[3]}};
    struct sdg_shape_text text = sdg_shape_text(&shape);
    if (epilogue->bias && !is_vector(b, epilogue->bias, out[3], "bias", text.text))
        return false;
    if (epilogue->table) {
        if (!is_value(b, epilogue->table, "table"))
            return false;
        const struct sdg_value_info *table = &b->g->values[epilogue->table];
        if (table->kind != SDG_VALUE_TABLE || (table->dims[1] != 1 && table->dims[1] != out[0]) ||
            table->dims[3] != out[3]) {
            FAIL(b, "table %s does not fit the result %s", SHAPE(b, epilogue->table), text.text);
            return false;
        }
    }
    if (epilogue->residual) {
        if (!is_activation(b, epilogue->residual, "residual"))
            return false;
        if (!sdg_same_shape(&b->g->values[epilogue->residual], &shape)) {
            FAIL(b, "residual %s does not have the result's shape %s", SHAPE(b, epilogue->residual), text.text);
            return false;
        }
    }
    if ((unsigned)epilogue->activation >= SDG_UNARY_AFFINE) {
        FAIL(b, "function %d cannot be an epilogue's activation", (int)epilogue->activation);
        return false;
    }
    return true;
}

static bool check_channels(const struct builder *b, sdg_value x, sdg_value weight)
{
    if (!is_activation(b, x, "input") || !is_weight(b, weight, 2, "weight"))
        return false;
    const struct sdg_value_info *w = &b->g->values[weight];
    if (b->g->values[x].dims[3] == w->dims[1])
        return true;
    FAIL(b, "input %s does not have the input channels of weight %s %s", SHAPE(b, x), w->name, SHAPE(b, weight));
    return false;
}

// Length of one output axis; 0 if the kernel does not fit into the padded input.
static int64_t conv_length(int64_t in, int64_t kernel, int stride, int pad_before, int pad_after)
{
    int64_t padded = in + pad_before + pad_after;
    return padded < kernel ? 0 : (padded - kernel) / stride + 1;
}

// The result's shape, and the attributes that conv2d and its gradients have.
static bool check_conv(const struct builder *b, sdg_value x, sdg_value weight, const struct sdg_conv_params *p,
                       struct sdg_op *op, int64_t out[4])
{
    if (!check_channels(b, x, weight))
        return false;
    const int64_t *xd = b->g->values[x].dims, *wd = b->g->values[weight].dims;
    if (p->stride < 1 || p->pad_top < 0 || p->pad_left < 0 || p->pad_bottom < 0 || p->pad_right < 0) {
        FAIL(b, "stride %d, padding %d,%d,%d,%d is impossible", p->stride, p->pad_top, p->pad_left, p->pad_bottom,
             p->pad_right);
        return false;
    }
    out[0] = xd[0];
    out[1] = conv_length(xd[1], wd[2], p->stride, p->pad_top, p->pad_bottom);
    out[2] = conv_length(xd[2], wd[3], p->stride, p->pad_left, p->pad_right);
    out[3] = wd[0];
    if (!out[1] || !out[2]) {
        FAIL(b, "input %s is smaller than the kernel of weight %s", SHAPE(b, x), SHAPE(b, weight));
        return false;
    }
    op->u.conv2d.kernel_h = (int)wd[2];
    op->u.conv2d.kernel_w = (int)wd[3];
    op->u.conv2d.stride = p->stride;
    op->u.conv2d.pad_top = p->pad_top;
    op->u.conv2d.pad_left = p->pad_left;
    op->u.conv2d.pad_bottom = p->pad_bottom;
    op->u.conv2d.pad_right = p->pad_right;
    op->u.conv2d.upsample = 1;
    return true;
}

sdg_value sdg_graph_conv2d(struct sdg_graph *g, const char *name, sdg_value x, sdg_value weight,
                           struct sdg_conv_params p, struct sdg_epilogue epilogue)
{
    struct builder b;
    struct sdg_op op = {.in = {x, weight}, .epilogue = epilogue};
    int64_t out[4];
    if (!begin(&b, g, name, SDG_OP_CONV2D) || !check_conv(&b, x, weight, &p, &op, out) ||
        !check_epilogue(&b, &epilogue, out))
        return 0;
    return finish(&b, op, out[0], out[1], out[2], out[3]);
}

sdg_value sdg_graph_linear(struct sdg_graph *g, const char *name, sdg_value x, sdg_value weight,
                           struct sdg_epilogue epilogue)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_LINEAR) || !check_channels(&b, x, weight))
        return 0;
    const int64_t *xd = g->values[x].dims, *wd = g->values[weight].dims;
    if (wd[2] != 1 || wd[3] != 1)
        return FAIL(&b, "input %s: weight %s has a kernel larger than 1x1", SHAPE(&b, x), SHAPE(&b, weight));
    int64_t out[4] = {xd[0], xd[1], xd[2], wd[0]};
    if (!check_epilogue(&b, &epilogue, out))
        return 0;
    return finish(&b, (struct sdg_op){.in = {x, weight}, .epilogue = epilogue}, out[0], out[1], out[2], out[3]);
}

// ---- attention, norms ----

static bool check_attention(const struct builder *b, sdg_value q, sdg_value k, sdg_value v, int heads, float scale,
                            bool causal)
{
    if (!is_activation(b, q, "query") || !is_activation(b, k, "key") || !is_activation(b, v, "value"))
        return false;
    const int64_t *qd = b->g->values[q].dims, *kd = b->g->values[k].dims, *vd = b->g->values[v].dims;
    if (heads < 1 || qd[3] % heads || vd[3] % heads)
        FAIL(b, "query %s and value %s cannot be split into %d heads", SHAPE(b, q), SHAPE(b, v), heads);
    else if (qd[0] != kd[0] || qd[3] != kd[3])
        FAIL(b, "query %s and key %s differ in batch or channels", SHAPE(b, q), SHAPE(b, k));
    else if (kd[0] != vd[0] || kd[1] * kd[2] != vd[1] * vd[2])
        FAIL(b, "key %s and value %s differ in batch or tokens", SHAPE(b, k), SHAPE(b, v));
    else if (causal && qd[1] * qd[2] != kd[1] * kd[2])
        FAIL(b, "causal, but query %s and key %s differ in tokens", SHAPE(b, q), SHAPE(b, k));
    else if (!isfinite(scale))
        FAIL(b, "scale %g is not finite", (double)scale);
    else
        return true;
    return false;
}

sdg_value sdg_graph_attention(struct sdg_graph *g, const char *name, sdg_value q, sdg_value k, sdg_value v, int heads,
                              float scale, bool causal)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_ATTENTION) || !check_attention(&b, q, k, v, heads, scale, causal))
        return 0;
    const int64_t *qd = g->values[q].dims;
    struct sdg_op op = {.in = {q, k, v}};
    op.u.attention.heads = heads;
    op.u.attention.scale = scale;
    op.u.attention.causal = causal;
    return finish(&b, op, qd[0], qd[1], qd[2], g->values[v].dims[3]);
}

static bool check_norm(const struct builder *b, sdg_value x, sdg_value gamma, sdg_value beta, float eps)
{
    if (!is_activation(b, x, "input"))
        return false;
    struct sdg_shape_text shape = sdg_shape_text(&b->g->values[x]);
    int64_t channels = b->g->values[x].dims[3];
    if (!is_vector(b, gamma, channels, "gamma", shape.text) ||
        (beta && !is_vector(b, beta, channels, "beta", shape.text)))
        return false;
    if (isfinite(eps) && eps >= 0)
        return true;
    FAIL(b, "eps %g is not a small positive number", (double)eps);
    return false;
}

sdg_value sdg_graph_group_norm(struct sdg_graph *g, const char *name, sdg_value x, sdg_value gamma, sdg_value beta,
                               int groups, float eps, enum sdg_unary activation)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_GROUP_NORM) || !is_value(&b, beta, "beta") || !check_norm(&b, x, gamma, beta, eps))
        return 0;
    if (groups < 1 || g->values[x].dims[3] % groups)
        return FAIL(&b, "the channels of input %s cannot be split into %d groups", SHAPE(&b, x), groups);
    if (activation != SDG_UNARY_NONE && activation != SDG_UNARY_SILU)
        return FAIL(&b, "function %d cannot be a group norm's activation", (int)activation);
    struct sdg_op op = {.in = {x, gamma, beta}};
    op.u.group_norm.groups = groups;
    op.u.group_norm.eps = eps;
    op.u.group_norm.activation = activation;
    return finish_like(&b, op, x);
}

sdg_value sdg_graph_layer_norm(struct sdg_graph *g, const char *name, sdg_value x, sdg_value gamma, sdg_value beta,
                               float eps)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_LAYER_NORM) || !is_value(&b, beta, "beta") || !check_norm(&b, x, gamma, beta, eps))
        return 0;
    struct sdg_op op = {.in = {x, gamma, beta}};
    op.u.layer_norm.eps = eps;
    return finish_like(&b, op, x);
}

// ---- element-wise ----

// Of those without numbers of their own.
static bool is_unary(enum sdg_unary function)
{
    return function != SDG_UNARY_NONE && function != SDG_UNARY_AFFINE && (unsigned)function <= SDG_UNARY_RECIPROCAL;
}

sdg_value sdg_graph_unary(struct sdg_graph *g, const char *name, sdg_value x, enum sdg_unary function)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_UNARY) || !is_activation(&b, x, "input"))
        return 0;
    if (!is_unary(function))
        return FAIL(&b, "input %s: function %d is no unary function", SHAPE(&b, x), (int)function);
    struct sdg_op op = {.in = {x}};
    op.u.unary.function = function;
    return finish_like(&b, op, x);
}

sdg_value sdg_graph_affine(struct sdg_graph *g, const char *name, sdg_value x, float a, float b_)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_UNARY) || !is_activation(&b, x, "input"))
        return 0;
    if (!isfinite(a) || !isfinite(b_))
        return FAIL(&b, "%g x + %g is not finite", (double)a, (double)b_);
    struct sdg_op op = {.in = {x}};
    op.u.unary.function = SDG_UNARY_AFFINE;
    op.u.unary.a = a;
    op.u.unary.b = b_;
    return finish_like(&b, op, x);
}

sdg_value sdg_graph_binary(struct sdg_graph *g, const char *name, enum sdg_binary function, sdg_value x, sdg_value y)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_BINARY) || !is_activation(&b, x, "input") || !is_activation(&b, y, "second input"))
        return 0;
    if (function != SDG_BINARY_ADD && function != SDG_BINARY_MUL)
        return FAIL(&b, "function %d is no binary function", (int)function);
    const int64_t *xd = g->values[x].dims, *yd = g->values[y].dims;
    bool samples = yd[0] == xd[0] || yd[0] == 1;
    bool pixels = (yd[1] == xd[1] && yd[2] == xd[2]) || (yd[1] == 1 && yd[2] == 1);
    if (!samples || !pixels || yd[3] != xd[3])
        return FAIL(&b, "%s cannot be broadcast to %s", SHAPE(&b, y), SHAPE(&b, x));
    struct sdg_op op = {.in = {x, y}};
    op.u.binary.function = function;
    return finish_like(&b, op, x);
}

sdg_value sdg_graph_geglu(struct sdg_graph *g, const char *name, sdg_value x)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_GEGLU) || !is_activation(&b, x, "input"))
        return 0;
    const int64_t *d = g->values[x].dims;
    if (d[3] % 2)
        return FAIL(&b, "the channels of input %s are not even", SHAPE(&b, x));
    return finish(&b, (struct sdg_op){.in = {x}}, d[0], d[1], d[2], d[3] / 2);
}

// ---- moving data ----

sdg_value sdg_graph_upsample_nearest(struct sdg_graph *g, const char *name, sdg_value x, int64_t h, int64_t w)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_UPSAMPLE_NEAREST) || !is_movable(&b, x, "input"))
        return 0;
    return finish_moved(&b, (struct sdg_op){.in = {x}}, x, h, w, g->values[x].dims[3]);
}

sdg_value sdg_graph_concat(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_CONCAT) || !is_activation(&b, x, "input") || !is_activation(&b, y, "second input"))
        return 0;
    const int64_t *xd = g->values[x].dims, *yd = g->values[y].dims;
    if (xd[0] != yd[0] || xd[1] != yd[1] || xd[2] != yd[2])
        return FAIL(&b, "%s and %s differ in more than channels", SHAPE(&b, x), SHAPE(&b, y));
    return finish(&b, (struct sdg_op){.in = {x, y}}, xd[0], xd[1], xd[2], xd[3] + yd[3]);
}

sdg_value sdg_graph_slice(struct sdg_graph *g, const char *name, sdg_value x, int64_t start, int64_t length)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_SLICE) || !is_movable(&b, x, "input"))
        return 0;
    const int64_t *d = g->values[x].dims;
    if (start < 0 || length < 1 || length > d[3] || start > d[3] - length)
        return FAIL(&b, "channels %" PRId64 " to %" PRId64 "+%" PRId64 " are not inside %s", start, start, length,
                    SHAPE(&b, x));
    struct sdg_op op = {.in = {x}};
    op.u.slice.start = start;
    return finish_moved(&b, op, x, d[1], d[2], length);
}

// ---- along the tokens ----

static bool holds_channels(const struct builder *b, sdg_value v, int64_t start, int64_t length, const char *role)
{
    const int64_t channels = b->g->values[v].dims[3];
    if (start >= 0 && start <= channels && length <= channels - start)
        return true;
    FAIL(b, "%s %s does not have the channels %" PRId64 " to %" PRId64 "+%" PRId64, role, SHAPE(b, v), start, start,
         length);
    return false;
}

static bool same_positions(const struct builder *b, sdg_value v, sdg_value x, const char *role)
{
    if (!is_activation(b, v, role))
        return false;
    const int64_t *d = b->g->values[v].dims, *xd = b->g->values[x].dims;
    if (d[0] == xd[0] && d[1] == xd[1] && d[2] == xd[2])
        return true;
    FAIL(b, "%s %s does not have the tokens of input %s", role, SHAPE(b, v), SHAPE(b, x));
    return false;
}

sdg_value sdg_graph_conv1d_causal(struct sdg_graph *g, const char *name, sdg_value x, int64_t start, sdg_value weight,
                                  sdg_value bias, enum sdg_unary activation, bool backward)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_CONV1D_CAUSAL) || !is_activation(&b, x, "input") ||
        !is_weight(&b, weight, 3, "weight"))
        return 0;
    const int64_t *w = g->values[weight].dims, *xd = g->values[x].dims;
    if (g->values[weight].rank != 3 || w[1] != 1 || w[2] < 2 || w[2] > 8)
        return FAIL(&b, "weight %s has shape %s, not [C,1,K] with K of 2 to 8", g->values[weight].name,
                    SHAPE(&b, weight));
    if (!holds_channels(&b, x, start, w[0], "input") || (bias && !is_vector(&b, bias, w[0], "bias", SHAPE(&b, weight))))
        return 0;
    if (activation != SDG_UNARY_NONE && activation != SDG_UNARY_SILU)
        return FAIL(&b, "function %d cannot be a causal convolution's activation", (int)activation);
    struct sdg_op op = {.in = {x, weight, bias}};
    op.u.conv1d_causal.start = start;
    op.u.conv1d_causal.kernel = (int)w[2];
    op.u.conv1d_causal.activation = activation;
    op.u.conv1d_causal.backward = backward;
    return finish(&b, op, xd[0], xd[1], xd[2], w[0]);
}

static bool check_scan_weights(const struct builder *b, const struct sdg_scan_operands *in)
{
    if (!is_weight(b, in->a_log, 2, "A_log"))
        return false;
    const struct sdg_value_info *a = &b->g->values[in->a_log];
    const int64_t channels = b->g->values[in->x].dims[3];
    if (a->rank != 2 || a->dims[0] != channels || a->dims[1] > 256) {
        FAIL(b, "A_log %s has shape %s, but input %s needs [%" PRId64 ",S] with S of 1 to 256", a->name,
             SHAPE(b, in->a_log), SHAPE(b, in->x), channels);
        return false;
    }
    return is_vector(b, in->d, channels, "D", SHAPE(b, in->x)) &&
        (!in->delta_bias || is_vector(b, in->delta_bias, channels, "delta's bias", SHAPE(b, in->x)));
}

static bool check_scan(const struct builder *b, const struct sdg_scan_operands *in,
                       const struct sdg_scan_params *params)
{
    const struct sdg_graph *g = b->g;
    if (!is_activation(b, in->x, "input") || !same_positions(b, in->delta, in->x, "delta") ||
        !same_positions(b, in->bc, in->x, "B and C") || !check_scan_weights(b, in) ||
        (in->gate && !same_positions(b, in->gate, in->x, "gate")) ||
        (in->add && !same_positions(b, in->add, in->x, "second sum")))
        return false;
    const int64_t channels = g->values[in->x].dims[3], states = g->values[in->a_log].dims[1];
    const int64_t *dims[] = {g->values[in->delta].dims, in->add ? g->values[in->add].dims : NULL};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        if (dims[i] && dims[i][3] != channels) {
            FAIL(b, "%s %s does not have the channels of input %s", i ? "second sum" : "delta",
                 SHAPE(b, i ? in->add : in->delta), SHAPE(b, in->x));
            return false;
        }
    if (!holds_channels(b, in->bc, params->b_start, states, "B of") ||
        !holds_channels(b, in->bc, params->c_start, states, "C of") ||
        (in->gate && !holds_channels(b, in->gate, params->gate_start, channels, "gate")))
        return false;
    if (isfinite(params->scale))
        return true;
    FAIL(b, "scale %g is not finite", (double)params->scale);
    return false;
}

sdg_value sdg_graph_selective_scan(struct sdg_graph *g, const char *name, struct sdg_scan_operands in,
                                   struct sdg_scan_params params)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_SELECTIVE_SCAN) || !check_scan(&b, &in, &params))
        return 0;
    struct sdg_op op = {.in = {in.x, in.delta, in.bc, in.a_log, in.d, in.delta_bias, in.gate, in.add}};
    op.u.selective_scan = params;
    return finish_like(&b, op, in.x);
}

sdg_value sdg_graph_hadamard(struct sdg_graph *g, const char *name, sdg_value x, int64_t block)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_HADAMARD) || !is_activation(&b, x, "input"))
        return 0;
    if (block < 2 || block > SDG_HADAMARD_MOST || (block & (block - 1)) || g->values[x].dims[3] % block)
        return FAIL(&b,
                    "the channels of input %s cannot be split into blocks of %" PRId64 ", a power of two up to 4096",
                    SHAPE(&b, x), block);
    struct sdg_op op = {.in = {x}};
    op.u.hadamard.block = block;
    return finish_like(&b, op, x);
}

// ---- integers ----

// An interval of value `of`, for all its tokens or one for each.
static bool is_interval(const struct builder *b, sdg_value v, sdg_value of)
{
    if (!is_value(b, v, "interval"))
        return false;
    const struct sdg_value_info *info = &b->g->values[v];
    const int64_t *d = info->dims, tokens = b->g->values[of].dims[1] * b->g->values[of].dims[2];
    const bool table = info->kind == SDG_VALUE_TABLE,
               measured = info->kind == SDG_VALUE_ACTIVATION && info->dtype == SDG_F32 && d[0] == 1 && d[1] == 1;
    if ((!table && !measured) || d[2] != 1 || d[3] != 2)
        FAIL(b, "interval %s is neither a row table [T, tokens or 1, 1, 2] nor an activation [1,1,1,2]", SHAPE(b, v));
    else if (d[1] != 1 && d[1] != tokens)
        FAIL(b, "intervals %s %s are for %" PRId64 " tokens, but %s has %" PRId64, info->name, SHAPE(b, v), d[1],
             SHAPE(b, of), tokens);
    else
        return true;
    return false;
}

// The same, or one that is learned: an input or the result of any operation, [1, 1, tokens or 1, 2].
static bool is_learnable_interval(const struct builder *b, sdg_value v, sdg_value of)
{
    const struct sdg_value_info *info = v && v < b->g->value_count ? &b->g->values[v] : NULL;
    if (!info || !sdg_value_is_read(info) || info->dtype != SDG_F32)
        return is_interval(b, v, of);
    const int64_t *d = info->dims, tokens = b->g->values[of].dims[1] * b->g->values[of].dims[2];
    if (d[0] == 1 && d[1] == 1 && (d[2] == 1 || d[2] == tokens) && d[3] == 2)
        return true;
    FAIL(b, "interval %s is not [1, 1, tokens or 1, 2] with the tokens of %s", SHAPE(b, v), SHAPE(b, of));
    return false;
}

static bool holds_zero_and_one(const struct builder *b, int lowest, int highest)
{
    if (lowest <= 0 && highest >= 1 && highest <= 1 << 20 && lowest >= -(1 << 20))
        return true;
    FAIL(b, "codes %d to %d do not hold 0 and 1", lowest, highest);
    return false;
}

// True if a byte holds the codes, and they include that of 0 and one more.
static bool are_codes(const struct builder *b, int lowest, int highest)
{
    if (lowest < 0 ? lowest >= -128 && highest >= 1 && highest <= 127 : lowest == 0 && highest >= 1 && highest <= 255)
        return true;
    FAIL(b, "codes %d to %d do not fit: -128..-1 to 1..127, or 0 to 1..255", lowest, highest);
    return false;
}

static enum sdg_dtype code_type(int lowest)
{
    return lowest < 0 ? SDG_S8 : SDG_U8;
}

sdg_value sdg_graph_fake_quantize(struct sdg_graph *g, const char *name, sdg_value x, sdg_value interval, int lowest,
                                  int highest)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_FAKE_QUANTIZE) || !is_activation(&b, x, "input") ||
        !is_learnable_interval(&b, interval, x) || !holds_zero_and_one(&b, lowest, highest))
        return 0;
    struct sdg_op op = {.in = {x, interval}};
    op.u.fake_quantize.lowest = lowest;
    op.u.fake_quantize.highest = highest;
    return finish_like(&b, op, x);
}

sdg_value sdg_graph_quantize(struct sdg_graph *g, const char *name, sdg_value x, sdg_value interval, int lowest,
                             int highest)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_QUANTIZE) || !is_activation(&b, x, "input") || !is_interval(&b, interval, x) ||
        !are_codes(&b, lowest, highest))
        return 0;
    sdg_value out = finish_like(&b, (struct sdg_op){.in = {x}, .codes = {interval, lowest, highest, 0}}, x);
    if (out)
        g->values[out].dtype = code_type(lowest);
    return out;
}

sdg_value sdg_graph_measure_interval(struct sdg_graph *g, const char *name, sdg_value x, int lowest, int highest)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_MEASURE_INTERVAL) || !is_activation(&b, x, "input") ||
        !are_codes(&b, lowest, highest))
        return 0;
    struct sdg_op op = {.in = {x}};
    op.u.measure_interval.lowest = lowest;
    op.u.measure_interval.highest = highest;
    return finish(&b, op, 1, 1, 1, 2);
}

// The operation at an index, as one to be changed.
static struct sdg_op *existing_op(struct builder *b, struct sdg_graph *g, size_t index)
{
    if (g->result != SDG_OK)
        return NULL;
    if (index >= g->op_count) {
        SDG_GRAPH_FAIL(g, "operation %zu of %zu does not exist", index, g->op_count);
        return NULL;
    }
    struct sdg_op *op = &g->ops[index];
    *b = (struct builder){.g = g, .name = op->name, .kind = op->kind};
    return op;
}

enum sdg_result sdg_graph_emit_codes(struct sdg_graph *g, size_t op_index, sdg_value interval, int lowest, int highest)
{
    struct builder b;
    struct sdg_op *op = existing_op(&b, g, op_index);
    if (!op || !is_interval(&b, interval, op->out) || !are_codes(&b, lowest, highest))
        return sdg_graph_check(g);
    if (sdg_op_result(op->kind) != SDG_RESULT_EITHER) {
        FAIL(&b, "cannot have codes as its result %s", SHAPE(&b, op->out));
        return sdg_graph_check(g);
    }
    op->codes = (struct sdg_output_codes){interval, lowest, highest, 0};
    g->values[op->out].dtype = code_type(lowest);
    return SDG_OK;
}

enum sdg_result sdg_graph_smooth(struct sdg_graph *g, size_t op_index, sdg_value smoothing)
{
    struct builder b;
    struct sdg_op *op = existing_op(&b, g, op_index);
    if (!op || !is_vector(&b, smoothing, g->values[op->out].dims[3], "smoothing", SHAPE(&b, op->out)))
        return sdg_graph_check(g);
    if (op->kind == SDG_OP_FAKE_QUANTIZE)
        op->in[2] = smoothing;
    else if (op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR)
        FAIL(&b, "%s is not smoothed: its weights can be", SHAPE(&b, op->out));
    else if (op->codes.interval)
        op->codes.smoothing = smoothing;
    else
        FAIL(&b, "%s holds no codes that could be smoothed", SHAPE(&b, op->out));
    return sdg_graph_check(g);
}

// True if the value holds integer codes, as many as there are values of `of`.
static bool are_codes_of(const struct builder *b, sdg_value codes, sdg_value of)
{
    const struct sdg_value_info *q = &b->g->values[codes];
    if (sdg_value_is_read(q) && sdg_dtype_is_codes(q->dtype) && sdg_same_shape(q, &b->g->values[of]))
        return true;
    FAIL(b, "%s %s are no codes of input %s", sdg_dtype_name(q->dtype), SHAPE(b, codes), SHAPE(b, of));
    return false;
}

int sdg_op_interval_of(enum sdg_op_kind kind, int operand)
{
    if (kind == SDG_OP_CONV1D_CAUSAL)
        return operand == 0 ? 3 : 0;
    if (kind != SDG_OP_SELECTIVE_SCAN)
        return 0;
    return operand == 0 ? 8 : operand == 1 ? 9 : operand == 6 ? 10 : 0;
}

enum sdg_result sdg_graph_read_codes(struct sdg_graph *g, size_t op_index, int operand, sdg_value codes,
                                     sdg_value interval)
{
    struct builder b;
    struct sdg_op *op = existing_op(&b, g, op_index);
    if (!op || !is_value(&b, codes, "codes") || !is_interval(&b, interval, codes))
        return sdg_graph_check(g);
    const int at = sdg_op_interval_of(op->kind, operand);
    if (!at || !op->in[operand])
        FAIL(&b, "%s is not made of codes", SHAPE(&b, op->out));
    else if (are_codes_of(&b, codes, op->in[operand])) {
        op->in[operand] = codes;
        op->in[at] = interval;
    }
    return sdg_graph_check(g);
}

// A sum of codes has one scale and zero point only if all of them are of one token, or of tokens that share theirs.
static bool sums_one_interval(const struct builder *b, const struct sdg_op *op, sdg_value interval)
{
    const struct sdg_value_info *info = &b->g->values[interval];
    const bool one_token = op->kind == SDG_OP_LINEAR ||
        (op->u.conv2d.kernel_h == 1 && op->u.conv2d.kernel_w == 1 && op->u.conv2d.stride == 1 &&
         !op->u.conv2d.pad_top && !op->u.conv2d.pad_left && !op->u.conv2d.pad_bottom && !op->u.conv2d.pad_right);
    if (info->dims[1] == 1 || one_token)
        return true;
    FAIL(b,
         "intervals %s %s differ from token to token, which goes with a kernel of 1x1, stride 1 and no padding only: "
         "this "
         "one of %dx%d, stride %d reads codes of several tokens",
         info->name, SHAPE(b, interval), op->u.conv2d.kernel_h, op->u.conv2d.kernel_w, op->u.conv2d.stride);
    return false;
}

enum sdg_result sdg_graph_use_codes(struct sdg_graph *g, size_t op_index, sdg_value codes, sdg_value interval,
                                    sdg_value weight_scale, int weight_bits)
{
    struct builder b;
    struct sdg_op *op = existing_op(&b, g, op_index);
    if (!op || !is_value(&b, codes, "codes") || !is_interval(&b, interval, codes))
        return sdg_graph_check(g);
    struct sdg_value_info *weight = &g->values[op->in[1]];
    if ((op->kind != SDG_OP_CONV2D && op->kind != SDG_OP_LINEAR) || weight->kind != SDG_VALUE_WEIGHT)
        FAIL(&b, "%s cannot be computed in integers", SHAPE(&b, op->out));
    else if (weight_bits != 4 && weight_bits != 8)
        FAIL(&b, "weights of %d bits, not of 4 or 8", weight_bits);
    else if (are_codes_of(&b, codes, op->in[0]) && sums_one_interval(&b, op, interval) &&
             is_vector(&b, weight_scale, weight->dims[0], "weight scale", weight->name)) {
        weight->dtype = SDG_S8;
        weight->bits = weight_bits;
        op->in[0] = codes;
        op->in[2] = interval;
        op->in[3] = weight_scale;
    }
    return sdg_graph_check(g);
}

sdg_value sdg_graph_embed(struct sdg_graph *g, const char *name, sdg_value ids, sdg_value tokens, sdg_value positions)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_EMBED) || !is_value(&b, ids, "ids") || !is_weight(&b, tokens, 2, "token table") ||
        !is_weight(&b, positions, 2, "position table"))
        return 0;
    const struct sdg_value_info *i = &g->values[ids], *t = &g->values[tokens], *p = &g->values[positions];
    if (i->kind != SDG_VALUE_INPUT || i->dtype != SDG_S32 || i->dims[1] != 1 || i->dims[3] != 1)
        return FAIL(&b, "ids %s are no s32 input [N,1,T,1]", SHAPE(&b, ids));
    if (t->rank != 2 || p->rank != 2 || t->dims[1] != p->dims[1])
        return FAIL(&b, "token table %s and position table %s differ in channels", SHAPE(&b, tokens),
                    SHAPE(&b, positions));
    if (p->dims[0] < i->dims[2])
        return FAIL(&b, "position table %s has fewer rows than ids %s have tokens", SHAPE(&b, positions),
                    SHAPE(&b, ids));
    return finish(&b, (struct sdg_op){.in = {ids, tokens, positions}}, i->dims[0], 1, i->dims[2], t->dims[1]);
}

// ---- for training ----

sdg_value sdg_graph_constant(struct sdg_graph *g, const char *name, sdg_value weight)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_CONSTANT) || !is_weight(&b, weight, 1, "weight"))
        return 0;
    const struct sdg_value_info *w = &g->values[weight];
    if (!sdg_dtype_is_float(w->dtype))
        return FAIL(&b, "weight %s is of integers", w->name);
    const int64_t *d = w->dims;
    struct sdg_op op = {.in = {weight}};
    return w->rank == 1 ? finish(&b, op, 1, 1, 1, d[0]) : finish(&b, op, 1, 1, d[0], d[1] * d[2] * d[3]);
}

// [1,1,rows,C] if `like` is 0; else positions are arranged as those of that value, of which there must be as many.
static sdg_value matmul(struct sdg_graph *g, const char *name, sdg_value a, sdg_value b_, bool transpose_a,
                        bool transpose_b, sdg_value like)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_MATMUL) || !is_activation(&b, a, "left factor") ||
        !is_activation(&b, b_, "right factor"))
        return 0;
    const struct sdg_value_info *left = &g->values[a], *right = &g->values[b_];
    const int64_t a_rows = sdg_value_positions(left), b_rows = sdg_value_positions(right);
    const int64_t inner = transpose_a ? a_rows : left->dims[3], rows = transpose_a ? left->dims[3] : a_rows;
    if (inner != (transpose_b ? right->dims[3] : b_rows))
        return FAIL(&b, "%s%s and %s%s do not have the same inner length", SHAPE(&b, a),
                    transpose_a ? " transposed" : "", SHAPE(&b, b_), transpose_b ? " transposed" : "");
    int64_t d[4] = {1, 1, rows, 0};
    if (like && sdg_value_positions(&g->values[like]) == rows)
        memcpy(d, g->values[like].dims, sizeof d);
    struct sdg_op op = {.in = {a, b_}};
    op.u.matmul.transpose_a = transpose_a;
    op.u.matmul.transpose_b = transpose_b;
    return finish(&b, op, d[0], d[1], d[2], transpose_b ? b_rows : right->dims[3]);
}

sdg_value sdg_graph_matmul(struct sdg_graph *g, const char *name, sdg_value a, sdg_value b, bool transpose_a,
                           bool transpose_b)
{
    return matmul(g, name, a, b, transpose_a, transpose_b, transpose_a ? 0 : a);
}

sdg_value sdg_graph_matmul_like(struct sdg_graph *g, const char *name, sdg_value a, sdg_value b, bool transpose_a,
                                bool transpose_b, sdg_value like)
{
    return matmul(g, name, a, b, transpose_a, transpose_b, like);
}

sdg_value sdg_graph_sum(struct sdg_graph *g, const char *name, sdg_value x, struct sdg_axes axes)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_SUM) || !is_activation(&b, x, "input"))
        return 0;
    const int64_t *d = g->values[x].dims;
    struct sdg_op op = {.in = {x}};
    op.u.sum = axes;
    return finish(&b, op, axes.samples ? 1 : d[0], axes.tokens ? 1 : d[1], axes.tokens ? 1 : d[2],
                  axes.channels ? 1 : d[3]);
}

sdg_value sdg_graph_broadcast(struct sdg_graph *g, const char *name, sdg_value x, int64_t n, int64_t h, int64_t w,
                              int64_t c)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_BROADCAST) || !is_activation(&b, x, "input"))
        return 0;
    const int64_t *d = g->values[x].dims;
    const struct sdg_value_info shape = {.kind = SDG_VALUE_ACTIVATION, .dims = {n, h, w, c}};
    const bool tokens = (d[1] == h && d[2] == w) || (d[1] == 1 && d[2] == 1);
    if ((d[0] != n && d[0] != 1) || !tokens || (d[3] != c && d[3] != 1))
        return FAIL(&b, "%s cannot be broadcast to %s", SHAPE(&b, x), sdg_shape_text(&shape).text);
    return finish(&b, (struct sdg_op){.in = {x}}, n, h, w, c);
}

sdg_value sdg_graph_pad(struct sdg_graph *g, const char *name, sdg_value x, int64_t start, int64_t channels)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_PAD) || !is_activation(&b, x, "input"))
        return 0;
    const int64_t *d = g->values[x].dims;
    if (start < 0 || start > channels || d[3] > channels - start)
        return FAIL(&b, "%s does not fit into channels from %" PRId64 " of %" PRId64, SHAPE(&b, x), start, channels);
    struct sdg_op op = {.in = {x}};
    op.u.pad.start = start;
    return finish(&b, op, d[0], d[1], d[2], channels);
}

static bool has_shape(const struct builder *b, sdg_value grad, int64_t n, int64_t h, int64_t w, int64_t c)
{
    const struct sdg_value_info shape = {.kind = SDG_VALUE_ACTIVATION, .dims = {n, h, w, c}};
    if (!is_activation(b, grad, "gradient"))
        return false;
    if (sdg_same_shape(&b->g->values[grad], &shape))
        return true;
    FAIL(b, "gradient %s does not have the result's shape %s", SHAPE(b, grad), sdg_shape_text(&shape).text);
    return false;
}

static bool has_shape_of(const struct builder *b, sdg_value grad, sdg_value x)
{
    const int64_t *d = b->g->values[x].dims;
    return has_shape(b, grad, d[0], d[1], d[2], d[3]);
}

sdg_value sdg_graph_unary_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value grad,
                                   enum sdg_unary function)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_UNARY_GRADIENT) || !is_activation(&b, x, "input") || !has_shape_of(&b, grad, x))
        return 0;
    if (!is_unary(function))
        return FAIL(&b, "input %s: function %d is no unary function", SHAPE(&b, x), (int)function);
    struct sdg_op op = {.in = {x, grad}};
    op.u.unary_gradient.function = function;
    return finish_like(&b, op, x);
}

sdg_value sdg_graph_conv2d_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value weight,
                                    struct sdg_conv_params p, sdg_value grad, int of)
{
    struct builder b;
    struct sdg_op op = {.in = {x, weight, grad}, .gradient_of = of};
    int64_t out[4];
    if (!begin(&b, g, name, SDG_OP_CONV2D_GRADIENT) || !check_conv(&b, x, weight, &p, &op, out) ||
        !has_shape(&b, grad, out[0], out[1], out[2], out[3]))
        return 0;
    if (of != 0 && of != 1)
        return FAIL(&b, "operand %d is neither 0 nor 1", of);
    const int64_t *wd = g->values[weight].dims;
    return of == 0 ? finish_like(&b, op, x) : finish(&b, op, 1, 1, wd[0], wd[1] * wd[2] * wd[3]);
}

sdg_value sdg_graph_group_norm_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value x2,
                                        sdg_value gamma, sdg_value grad, int groups, float eps)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_GROUP_NORM_GRADIENT) || !is_activation(&b, x, "input") ||
        (x2 && !same_positions(&b, x2, x, "second input")))
        return 0;
    const int64_t *d = g->values[x].dims, channels = d[3] + (x2 ? g->values[x2].dims[3] : 0);
    if (!is_vector(&b, gamma, channels, "gamma", SHAPE(&b, x)) || !has_shape(&b, grad, d[0], d[1], d[2], channels))
        return 0;
    if (groups < 1 || channels % groups || !isfinite(eps) || eps < 0)
        return FAIL(&b, "%d groups of %" PRId64 " channels, eps %g", groups, channels, (double)eps);
    struct sdg_op op = {.in = {x, gamma, grad, x2}};
    op.u.group_norm_gradient.groups = groups;
    op.u.group_norm_gradient.eps = eps;
    return finish(&b, op, d[0], d[1], d[2], 2 * channels);
}

sdg_value sdg_graph_layer_norm_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value gamma,
                                        sdg_value grad, float eps)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_LAYER_NORM_GRADIENT) || !check_norm(&b, x, gamma, 0, eps) ||
        !has_shape_of(&b, grad, x))
        return 0;
    const int64_t *d = g->values[x].dims;
    struct sdg_op op = {.in = {x, gamma, grad}};
    op.u.layer_norm_gradient.eps = eps;
    return finish(&b, op, d[0], d[1], d[2], 2 * d[3]);
}

sdg_value sdg_graph_attention_gradient(struct sdg_graph *g, const char *name, sdg_value q, sdg_value k, sdg_value v,
                                       sdg_value grad, int heads, float scale, bool causal, int of)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_ATTENTION_GRADIENT) || !check_attention(&b, q, k, v, heads, scale, causal))
        return 0;
    const int64_t *qd = g->values[q].dims;
    if (!has_shape(&b, grad, qd[0], qd[1], qd[2], g->values[v].dims[3]))
        return 0;
    if (of < 0 || of > 2)
        return FAIL(&b, "operand %d is not one of three", of);
    struct sdg_op op = {.in = {q, k, v, grad}, .gradient_of = of};
    op.u.attention_gradient.heads = heads;
    op.u.attention_gradient.scale = scale;
    op.u.attention_gradient.causal = causal;
    return finish_like(&b, op, op.in[of]);
}

sdg_value sdg_graph_conv1d_causal_gradient(struct sdg_graph *g, const char *name, sdg_value x, int64_t start,
                                           int kernel, sdg_value grad, bool backward)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_CONV1D_CAUSAL_GRADIENT) || !is_activation(&b, x, "input") ||
        !same_positions(&b, grad, x, "gradient") || !holds_channels(&b, x, start, g->values[grad].dims[3], "input"))
        return 0;
    if (kernel < 2 || kernel > 8)
        return FAIL(&b, "kernel %d is not 2 to 8", kernel);
    struct sdg_op op = {.in = {x, grad}, .gradient_of = 1};
    op.u.conv1d_causal_gradient.start = start;
    op.u.conv1d_causal_gradient.kernel = kernel;
    op.u.conv1d_causal_gradient.backward = backward;
    return finish(&b, op, 1, 1, g->values[grad].dims[3], kernel);
}

sdg_value sdg_graph_selective_scan_gradient(struct sdg_graph *g, const char *name, struct sdg_scan_operands in,
                                            struct sdg_scan_params params, sdg_value grad, int of)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_SELECTIVE_SCAN_GRADIENT) || !check_scan(&b, &in, &params) ||
        !has_shape_of(&b, grad, in.x))
        return 0;
    if (of != 0 && of != 3)
        return FAIL(&b, "operand %d is neither 0 nor that of A_log", of);
    const int64_t *d = g->values[in.x].dims;
    struct sdg_op op = {.in = {in.x, in.delta, in.bc, in.a_log, in.d, in.delta_bias, in.gate, in.add, grad},
                        .gradient_of = of};
    op.u.selective_scan_gradient = params;
    if (of == 3)
        return finish(&b, op, 1, 1, d[3], g->values[in.a_log].dims[1]);
    return finish(&b, op, d[0], d[1], d[2], (in.gate ? 4 : 3) * d[3] + g->values[in.bc].dims[3]);
}

sdg_value sdg_graph_fake_quantize_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value interval,
                                           int lowest, int highest, sdg_value grad, int of)
{
    struct builder b;
    if (!begin(&b, g, name, SDG_OP_FAKE_QUANTIZE_GRADIENT) || !is_activation(&b, x, "input") ||
        !is_learnable_interval(&b, interval, x) || !holds_zero_and_one(&b, lowest, highest) ||
        !has_shape_of(&b, grad, x))
        return 0;
    if (of != 0 && of != 1)
        return FAIL(&b, "operand %d is neither 0 nor 1", of);
    const struct sdg_value_info *i = &g->values[interval];
    struct sdg_op op = {.in = {x, interval, grad}, .gradient_of = of};
    op.u.fake_quantize_gradient.lowest = lowest;
    op.u.fake_quantize_gradient.highest = highest;
    return of == 0 ? finish_like(&b, op, x)
                   : finish(&b, op, 1, 1, i->kind == SDG_VALUE_TABLE ? i->dims[1] : i->dims[2], 2);
}
