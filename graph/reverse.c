// Gradients as a rewrite. Operations are visited from the loss back; each has a rule, which appends the operations that
// make the gradients of its operands out of that of its result. Gradients of a value that several read are added up.
#include "graph/reverse.h"

#include "base/memory.h"
#include "graph/build.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct sdg_axes all_positions = {.samples = true, .tokens = true};

// ---- activations apart ----

static void name_part(char *out, size_t size, const char *name, const char *part)
{
    snprintf(out, size, "%.480s.%s", name, part);
}

// The activation inside an operation, or NULL if its kind has none.
static enum sdg_unary *activation_of(struct sdg_op *op)
{
    switch (op->kind) {
    case SDG_OP_CONV2D:
    case SDG_OP_LINEAR:
    case SDG_OP_MATMUL: return &op->epilogue.activation;
    case SDG_OP_CONV1D_CAUSAL: return &op->u.conv1d_causal.activation;
    case SDG_OP_GROUP_NORM: return &op->u.group_norm.activation;
    default: return NULL;
    }
}

// Inserts `next` behind operation `at`: its first operand is what that made, and it makes what that was to make.
static bool continue_op(struct sdg_graph *g, size_t at, struct sdg_op next, const char *part)
{
    char name[512];
    struct sdg_value_info between = g->values[g->ops[at].out];
    between.output = false;
    name_part(name, sizeof name, g->ops[at].name, part);
    next.in[0] = sdg_graph_add_value(g, &between, g->ops[at].name, g->ops[at].name);
    next.out = g->ops[at].out;
    if (!next.in[0] || !sdg_graph_insert_op(g, at + 1, &next, name))
        return false;
    g->ops[at].out = next.in[0];
    return true;
}

// An activation inside operation `at` becomes an operation of its own behind it, so that no rule has to know of it.
static bool split_activation(struct sdg_graph *g, size_t at)
{
    enum sdg_unary *activation = activation_of(&g->ops[at]), function = activation ? *activation : SDG_UNARY_NONE;
    if (function == SDG_UNARY_NONE || g->ops[at].codes.interval)
        return true;
    struct sdg_op next = {.kind = SDG_OP_UNARY};
    next.u.unary.function = function;
    if (!continue_op(g, at, next, "activation"))
        return false;
    *activation_of(&g->ops[at]) = SDG_UNARY_NONE;
    return true;
}

// ---- what depends on what is learned ----

static void mark_dependent(const struct sdg_graph *g, const sdg_value *of, size_t count, bool *depends)
{
    memset(depends, 0, g->value_count * sizeof *depends);
    for (size_t i = 0; i < count; i++)
        depends[of[i]] = true;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        bool any = depends[op->epilogue.bias] || depends[op->epilogue.table] || depends[op->epilogue.residual] ||
            depends[op->codes.interval];
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            any = any || depends[op->in[k]];
        // an interval that follows what it is measured of is not learned through
        if (any && op->kind != SDG_OP_MEASURE_INTERVAL)
            depends[op->out] = true;
    }
}

// ---- the rules ----

struct reverse {
    struct sdg_graph *g;
    size_t values;       // of the graph before its reverse
    bool *depends;       // per value of these: on something that is learned
    sdg_value *gradient; // per value of these; 0: none so far
    char name[512];      // of what the current rule appends
};

static bool is_wanted(const struct reverse *r, sdg_value v)
{
    return v && r->depends[v];
}

static void give(struct reverse *r, sdg_value v, sdg_value grad)
{
    if (!is_wanted(r, v) || !grad)
        return;
    sdg_value *sum = &r->gradient[v];
    *sum = *sum ? sdg_graph_binary(r->g, r->name, SDG_BINARY_ADD, *sum, grad) : grad;
}

static sdg_value constant(struct reverse *r, sdg_value weight)
{
    return sdg_graph_constant(r->g, r->name, weight);
}

static const int64_t *dims(const struct reverse *r, sdg_value v)
{
    return r->g->values[v].dims;
}

// Bias, table and residual of a product; its activation is an operation of its own by now.
static void reverse_epilogue(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const struct sdg_epilogue *e = &op->epilogue;
    give(r, e->residual, grad);
    if (is_wanted(r, e->bias))
        give(r, e->bias, sdg_graph_sum(r->g, r->name, grad, all_positions));
    if (is_wanted(r, e->table)) {
        const bool shared = dims(r, e->table)[1] == 1;
        give(r, e->table, sdg_graph_sum(r->g, r->name, grad, (struct sdg_axes){.samples = shared, .tokens = true}));
    }
}

static void reverse_linear(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const sdg_value x = op->in[0], weight = op->in[1];
    reverse_epilogue(r, op, grad);
    if (is_wanted(r, x))
        give(r, x, sdg_graph_matmul_like(r->g, r->name, grad, constant(r, weight), false, false, x));
    if (is_wanted(r, weight))
        give(r, weight, sdg_graph_matmul(r->g, r->name, grad, x, true, false));
}

static void reverse_conv2d(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const struct sdg_conv_params params = {op->u.conv2d.stride, op->u.conv2d.pad_top, op->u.conv2d.pad_left,
                                           op->u.conv2d.pad_bottom, op->u.conv2d.pad_right};
    reverse_epilogue(r, op, grad);
    for (int k = 0; k < 2; k++)
        if (is_wanted(r, op->in[k]))
            give(r, op->in[k], sdg_graph_conv2d_gradient(r->g, r->name, op->in[0], op->in[1], params, grad, k));
}

// c = A B, where A and B are a and b or their transposes: dA = dc B^T, dB = A^T dc.
static void reverse_matmul(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const sdg_value a = op->in[0], b = op->in[1];
    const bool ta = op->u.matmul.transpose_a, tb = op->u.matmul.transpose_b;
    reverse_epilogue(r, op, grad);
    if (is_wanted(r, a))
        give(r, a,
             ta ? sdg_graph_matmul_like(r->g, r->name, b, grad, tb, true, a)
                : sdg_graph_matmul_like(r->g, r->name, grad, b, false, !tb, a));
    if (is_wanted(r, b))
        give(r, b,
             tb ? sdg_graph_matmul_like(r->g, r->name, grad, a, true, ta, b)
                : sdg_graph_matmul_like(r->g, r->name, a, grad, !ta, false, b));
}

static void reverse_unary(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    give(r, op->in[0],
         op->u.unary.function == SDG_UNARY_AFFINE
             ? sdg_graph_affine(r->g, r->name, grad, op->u.unary.a, 0)
             : sdg_graph_unary_gradient(r->g, r->name, op->in[0], grad, op->u.unary.function));
}

// The sum of `grad` over the axes along which something of the shape of `v` was repeated.
static sdg_value sum_to(struct reverse *r, sdg_value grad, sdg_value v)
{
    const int64_t *from = dims(r, grad), *to = dims(r, v);
    const struct sdg_axes axes = {
        .samples = from[0] != to[0], .tokens = from[1] != to[1] || from[2] != to[2], .channels = from[3] != to[3]};
    if (!axes.samples && !axes.tokens && !axes.channels)
        return grad;
    return sdg_graph_sum(r->g, r->name, grad, axes);
}

static void reverse_binary(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const sdg_value x = op->in[0], y = op->in[1];
    const bool multiply = op->u.binary.function == SDG_BINARY_MUL;
    if (is_wanted(r, x))
        give(r, x, multiply ? sdg_graph_binary(r->g, r->name, SDG_BINARY_MUL, grad, y) : grad);
    if (is_wanted(r, y))
        give(r, y, sum_to(r, multiply ? sdg_graph_binary(r->g, r->name, SDG_BINARY_MUL, grad, x) : grad, y));
}

// y = a gelu(b): a and b are the halves of x.
static void reverse_geglu(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    struct sdg_graph *g = r->g;
    const int64_t half = dims(r, op->out)[3];
    const sdg_value a = sdg_graph_slice(g, r->name, op->in[0], 0, half),
                    b = sdg_graph_slice(g, r->name, op->in[0], half, half),
                    gelu = sdg_graph_unary(g, r->name, b, SDG_UNARY_GELU_ERF),
                    to_a = sdg_graph_binary(g, r->name, SDG_BINARY_MUL, grad, gelu),
                    to_gelu = sdg_graph_binary(g, r->name, SDG_BINARY_MUL, grad, a),
                    to_b = sdg_graph_unary_gradient(g, r->name, b, to_gelu, SDG_UNARY_GELU_ERF);
    give(r, op->in[0], sdg_graph_concat(g, r->name, to_a, to_b));
}

static void reverse_layer_norm(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    struct sdg_graph *g = r->g;
    const sdg_value x = op->in[0], gamma = op->in[1], beta = op->in[2];
    const int64_t channels = dims(r, x)[3];
    if (is_wanted(r, beta))
        give(r, beta, sdg_graph_sum(g, r->name, grad, all_positions));
    if (!is_wanted(r, x) && !is_wanted(r, gamma))
        return;
    const sdg_value both = sdg_graph_layer_norm_gradient(g, r->name, x, gamma, grad, op->u.layer_norm.eps);
    if (is_wanted(r, x))
        give(r, x, sdg_graph_slice(g, r->name, both, 0, channels));
    if (is_wanted(r, gamma))
        give(r, gamma, sdg_graph_sum(g, r->name, sdg_graph_slice(g, r->name, both, channels, channels), all_positions));
}

// x and x2 lie side by side in the result.
static void reverse_group_norm(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    struct sdg_graph *g = r->g;
    const sdg_value x = op->in[0], gamma = op->in[1], beta = op->in[2], x2 = op->in[3];
    const int64_t first = dims(r, x)[3], channels = dims(r, op->out)[3];
    const sdg_value both =
        sdg_graph_group_norm_gradient(g, r->name, x, x2, gamma, grad, op->u.group_norm.groups, op->u.group_norm.eps);
    if (is_wanted(r, beta))
        give(r, beta, sdg_graph_sum(g, r->name, grad, all_positions));
    if (is_wanted(r, x))
        give(r, x, sdg_graph_slice(g, r->name, both, 0, first));
    if (is_wanted(r, x2))
        give(r, x2, sdg_graph_slice(g, r->name, both, first, channels - first));
    if (is_wanted(r, gamma))
        give(r, gamma, sdg_graph_sum(g, r->name, sdg_graph_slice(g, r->name, both, channels, channels), all_positions));
}

static void reverse_attention(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    for (int k = 0; k < 3; k++)
        if (is_wanted(r, op->in[k]))
            give(r, op->in[k],
                 sdg_graph_attention_gradient(r->g, r->name, op->in[0], op->in[1], op->in[2], grad,
                                              op->u.attention.heads, op->u.attention.scale, op->u.attention.causal, k));
}

static void reverse_concat(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const int64_t first = dims(r, op->in[0])[3], second = dims(r, op->in[1])[3];
    if (is_wanted(r, op->in[0]))
        give(r, op->in[0], sdg_graph_slice(r->g, r->name, grad, 0, first));
    if (is_wanted(r, op->in[1]))
        give(r, op->in[1], sdg_graph_slice(r->g, r->name, grad, first, second));
}

// `grad` of channels [start, ..) of x as that of all its channels.
static sdg_value all_channels(struct reverse *r, sdg_value grad, int64_t start, sdg_value x)
{
    const int64_t channels = dims(r, x)[3];
    return grad && dims(r, grad)[3] != channels ? sdg_graph_pad(r->g, r->name, grad, start, channels) : grad;
}

static void reverse_slice(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    give(r, op->in[0], all_channels(r, grad, op->u.slice.start, op->in[0]));
}

static void reverse_pad(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    give(r, op->in[0], sdg_graph_slice(r->g, r->name, grad, op->u.pad.start, dims(r, op->in[0])[3]));
}

static void reverse_sum(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const int64_t *d = dims(r, op->in[0]);
    give(r, op->in[0], sdg_graph_broadcast(r->g, r->name, grad, d[0], d[1], d[2], d[3]));
}

static void reverse_broadcast(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    give(r, op->in[0], sum_to(r, grad, op->in[0]));
}

static void reverse_constant(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    give(r, op->in[0], grad);
}

// With respect to x a convolution is one with the same weight in the other direction.
static void reverse_conv1d_causal(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    const sdg_value x = op->in[0], weight = op->in[1], bias = op->in[2];
    const int64_t start = op->u.conv1d_causal.start;
    const bool backward = op->u.conv1d_causal.backward;
    if (is_wanted(r, x)) {
        const sdg_value to_x = sdg_graph_conv1d_causal(r->g, r->name, grad, 0, weight, 0, SDG_UNARY_NONE, !backward);
        give(r, x, all_channels(r, to_x, start, x));
    }
    if (is_wanted(r, weight))
        give(r, weight,
             sdg_graph_conv1d_causal_gradient(r->g, r->name, x, start, op->u.conv1d_causal.kernel, grad, backward));
    if (is_wanted(r, bias))
        give(r, bias, sdg_graph_sum(r->g, r->name, grad, all_positions));
}

static void reverse_selective_scan(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    struct sdg_graph *g = r->g;
    const struct sdg_scan_operands in = {op->in[0], op->in[1], op->in[2], op->in[3],
                                         op->in[4], op->in[5], op->in[6], op->in[7]};
    const struct sdg_scan_params params = op->u.selective_scan;
    const int64_t channels = dims(r, in.x)[3], of_bc = dims(r, in.bc)[3];
    const sdg_value all = sdg_graph_selective_scan_gradient(g, r->name, in, params, grad, 0);
    if (is_wanted(r, in.x))
        give(r, in.x, sdg_graph_slice(g, r->name, all, 0, channels));
    if (is_wanted(r, in.delta) || is_wanted(r, in.delta_bias)) {
        const sdg_value to_delta = sdg_graph_slice(g, r->name, all, channels, channels);
        give(r, in.delta, to_delta);
        if (is_wanted(r, in.delta_bias))
            give(r, in.delta_bias, sdg_graph_sum(g, r->name, to_delta, all_positions));
    }
    if (is_wanted(r, in.bc))
        give(r, in.bc, sdg_graph_slice(g, r->name, all, 2 * channels, of_bc));
    if (is_wanted(r, in.add) || is_wanted(r, in.d)) {
        const sdg_value to_y = sdg_graph_slice(g, r->name, all, 2 * channels + of_bc, channels);
        give(r, in.add, to_y);
        if (is_wanted(r, in.d))
            give(r, in.d,
                 sdg_graph_sum(g, r->name, sdg_graph_binary(g, r->name, SDG_BINARY_MUL, to_y, in.x), all_positions));
    }
    if (is_wanted(r, in.gate)) {
        const sdg_value to_gate = sdg_graph_slice(g, r->name, all, 3 * channels + of_bc, channels);
        give(r, in.gate, all_channels(r, to_gate, params.gate_start, in.gate));
    }
    if (is_wanted(r, in.a_log))
        give(r, in.a_log, sdg_graph_selective_scan_gradient(g, r->name, in, params, grad, 3));
}

// Where there is smoothing, what is rounded is x * smoothing[c].
static void reverse_fake_quantize(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    struct sdg_graph *g = r->g;
    const sdg_value x = op->in[0], interval = op->in[1], smoothing = op->in[2] ? constant(r, op->in[2]) : 0,
                    rounded = smoothing ? sdg_graph_binary(g, r->name, SDG_BINARY_MUL, x, smoothing) : x;
    const int lowest = op->u.fake_quantize.lowest, highest = op->u.fake_quantize.highest;
    if (is_wanted(r, interval))
        give(r, interval, sdg_graph_fake_quantize_gradient(g, r->name, rounded, interval, lowest, highest, grad, 1));
    if (!is_wanted(r, x) && !is_wanted(r, op->in[2]))
        return;
    const sdg_value inner = sdg_graph_fake_quantize_gradient(g, r->name, rounded, interval, lowest, highest, grad, 0);
    if (is_wanted(r, x))
        give(r, x, smoothing ? sdg_graph_binary(g, r->name, SDG_BINARY_MUL, inner, smoothing) : inner);
    if (is_wanted(r, op->in[2]))
        give(r, op->in[2],
             sdg_graph_sum(g, r->name, sdg_graph_binary(g, r->name, SDG_BINARY_MUL, inner, x), all_positions));
}

// The matrix is symmetric.
static void reverse_hadamard(struct reverse *r, const struct sdg_op *op, sdg_value grad)
{
    give(r, op->in[0], sdg_graph_hadamard(r->g, r->name, grad, op->u.hadamard.block));
}

static void (*const rules[SDG_OP_COUNT])(struct reverse *r, const struct sdg_op *op, sdg_value grad) = {
    [SDG_OP_CONV2D] = reverse_conv2d,
    [SDG_OP_LINEAR] = reverse_linear,
    [SDG_OP_ATTENTION] = reverse_attention,
    [SDG_OP_GROUP_NORM] = reverse_group_norm,
    [SDG_OP_LAYER_NORM] = reverse_layer_norm,
    [SDG_OP_UNARY] = reverse_unary,
    [SDG_OP_BINARY] = reverse_binary,
    [SDG_OP_GEGLU] = reverse_geglu,
    [SDG_OP_CONCAT] = reverse_concat,
    [SDG_OP_SLICE] = reverse_slice,
    [SDG_OP_FAKE_QUANTIZE] = reverse_fake_quantize,
    [SDG_OP_CONV1D_CAUSAL] = reverse_conv1d_causal,
    [SDG_OP_SELECTIVE_SCAN] = reverse_selective_scan,
    [SDG_OP_HADAMARD] = reverse_hadamard,
    [SDG_OP_CONSTANT] = reverse_constant,
    [SDG_OP_MATMUL] = reverse_matmul,
    [SDG_OP_SUM] = reverse_sum,
    [SDG_OP_BROADCAST] = reverse_broadcast,
    [SDG_OP_PAD] = reverse_pad,
};

// ---- the pass ----

static bool is_of_integers(const struct sdg_graph *g, const struct sdg_op *op)
{
    bool codes = op->codes.interval != 0;
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        codes = codes || (op->in[k] && sdg_dtype_is_codes(g->values[op->in[k]].dtype));
    return codes;
}

static enum sdg_result failed(struct sdg_graph *g)
{
    return sdg_graph_check(g);
}

static enum sdg_result check_arguments(struct sdg_graph *g, sdg_value loss, const sdg_value *of, size_t count)
{
    if (!loss || loss >= g->value_count || g->values[loss].kind != SDG_VALUE_ACTIVATION ||
        sdg_value_elements(&g->values[loss]) != 1) {
        SDG_GRAPH_FAIL(g, "a loss is the result of an operation, of shape [1,1,1,1]");
        return failed(g);
    }
    for (size_t i = 0; i < count; i++) {
        const struct sdg_value_info *v = of[i] && of[i] < g->value_count ? &g->values[of[i]] : NULL;
        if (!v || v->kind == SDG_VALUE_NONE || v->kind == SDG_VALUE_ACTIVATION) {
            SDG_GRAPH_FAIL(g, "a gradient is with respect to an input, a table or a weight, which value %u is not",
                           of[i]);
            return failed(g);
        }
    }
    return SDG_OK;
}

static bool visit(struct reverse *r, size_t at)
{
    const struct sdg_op op = r->g->ops[at]; // the list grows
    const sdg_value grad = r->gradient[op.out];
    if (!grad || !r->depends[op.out])
        return true;
    if (is_of_integers(r->g, &op) || !rules[op.kind]) {
        SDG_GRAPH_FAIL(r->g, "%s (%s): %s", op.name, sdg_op_name(op.kind),
                       rules[op.kind] ? "works on integer codes, which have no gradients: use fake_quantize"
                                      : "there is no rule for gradients of this operation");
        return false;
    }
    name_part(r->name, sizeof r->name, op.name, "gradient");
    rules[op.kind](r, &op, grad);
    return r->g->result == SDG_OK;
}

// The gradients as outputs. One value may be the gradient of several; an output has one name.
static enum sdg_result name_gradients(struct reverse *r, const sdg_value *of, size_t count, sdg_value *gradients)
{
    for (size_t i = 0; i < count; i++) {
        sdg_value grad = r->gradient[of[i]];
        if (!grad) {
            SDG_GRAPH_FAIL(r->g, "the loss does not depend on %s", r->g->values[of[i]].name);
            return failed(r->g);
        }
        name_part(r->name, sizeof r->name, r->g->values[of[i]].name, "gradient");
        if (r->g->values[grad].output)
            grad = sdg_graph_affine(r->g, r->name, grad, 1, 0);
        sdg_graph_output(r->g, r->name, grad);
        if (gradients)
            gradients[i] = grad;
    }
    return failed(r->g);
}

static enum sdg_result run(struct reverse *r, sdg_value loss, const sdg_value *of, size_t count, sdg_value *gradients)
{
    const size_t operations = r->g->op_count;
    name_part(r->name, sizeof r->name, "loss", "gradient");
    r->gradient[loss] = sdg_graph_affine(r->g, r->name, loss, 0, 1); // 1; or NaN where the loss is
    for (size_t i = operations; i-- > 0;)
        if (!visit(r, i))
            return failed(r->g);
    return name_gradients(r, of, count, gradients);
}

enum sdg_result sdg_graph_reverse(struct sdg_graph *g, sdg_value loss, const sdg_value *of, size_t count,
                                  sdg_value *gradients)
{
    SDG_TRY(g->result);
    SDG_TRY(check_arguments(g, loss, of, count));
    for (size_t i = 0; i < g->op_count; i++)
        if (!split_activation(g, i))
            return failed(g);
    struct reverse r = {.g = g, .values = g->value_count};
    r.depends = sdg_alloc(g->log, r.values, sizeof *r.depends, "a reverse pass");
    r.gradient = sdg_alloc(g->log, r.values, sizeof *r.gradient, "a reverse pass");
    if (r.depends && r.gradient) {
        mark_dependent(g, of, count, r.depends);
        run(&r, loss, of, count, gradients);
    } else {
        sdg_graph_failed(g, SDG_ERROR_MEMORY);
    }
    sdg_free(r.depends);
    sdg_free(r.gradient);
    return failed(g);
}

// ---- weights that are learned ----

sdg_value sdg_graph_find_weight(const struct sdg_graph *g, const char *name)
{
    for (size_t v = 1; v < g->value_count; v++) {
        const struct sdg_value_info *info = &g->values[v];
        if (info->kind == SDG_VALUE_WEIGHT && !info->slice_of && strcmp(info->name, name) == 0)
            return (sdg_value)v;
    }
    return 0;
}

static void multiply_by(struct sdg_op *op, sdg_value weight)
{
    op->kind = SDG_OP_MATMUL;
    op->in[1] = weight;
    op->u.matmul.transpose_a = false;
    op->u.matmul.transpose_b = true;
}

enum sdg_result sdg_graph_use_matmul(struct sdg_graph *g, size_t op_index, sdg_value weight)
{
    SDG_TRY(g->result);
    struct sdg_op *op = op_index < g->op_count ? &g->ops[op_index] : NULL;
    if (!op || op->kind != SDG_OP_LINEAR || op->in[2] || op->codes.interval) {
        SDG_GRAPH_FAIL(g, "operation %zu is no linear of floats", op_index);
        return failed(g);
    }
    const struct sdg_value_info *w = weight < g->value_count ? &g->values[weight] : NULL;
    const int64_t outputs = g->values[op->out].dims[3], inputs = g->values[op->in[0]].dims[3];
    if (!w || !sdg_value_is_read(w) || sdg_value_positions(w) != outputs || w->dims[3] != inputs) {
        SDG_GRAPH_FAIL(g, "%s: a weight that is computed must be [1,1,%" PRId64 ",%" PRId64 "]", op->name, outputs,
                       inputs);
        return failed(g);
    }
    multiply_by(op, weight);
    return SDG_OK;
}

// How an operation reads a weight: nothing is learned that a kernel reorders when the program is made.
enum reading { NOT_AT_ALL, AS_FACTOR, AS_BIAS, OTHERWISE };

static enum reading reading_of(const struct sdg_op *op, sdg_value weight)
{
    if (op->epilogue.bias == weight)
        return AS_BIAS;
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        if (op->in[k] == weight)
            return op->kind == SDG_OP_LINEAR && k == 1 && !op->in[2] && !op->codes.interval ? AS_FACTOR : OTHERWISE;
    return NOT_AT_ALL;
}

static bool check_free(struct sdg_graph *g, sdg_value weight)
{
    const struct sdg_value_info *w = weight && weight < g->value_count ? &g->values[weight] : NULL;
    if (!w || w->kind != SDG_VALUE_WEIGHT || w->slice_of)
        SDG_GRAPH_FAIL(g, "value %u is no whole weight", weight);
    else if (sdg_graph_find(g, w->name))
        SDG_GRAPH_FAIL(g, "%s: the graph already has an input, table or output of this name", w->name);
    for (size_t i = 0; i < g->op_count && g->result == SDG_OK; i++)
        if (reading_of(&g->ops[i], weight) == OTHERWISE)
            SDG_GRAPH_FAIL(g, "%s (%s): weight %s cannot become an input, only those of linear can", g->ops[i].name,
                           sdg_op_name(g->ops[i].kind), w->name);
    return g->result == SDG_OK;
}

// A bias that an operation adds itself is added behind it, before what its activation was.
static bool add_behind(struct sdg_graph *g, size_t at, sdg_value bias)
{
    if (!split_activation(g, at))
        return false;
    g->ops[at].epilogue.bias = 0;
    struct sdg_op next = {.kind = SDG_OP_BINARY, .in = {0, bias}};
    next.u.binary.function = SDG_BINARY_ADD;
    return continue_op(g, at, next, "bias");
}

enum sdg_result sdg_graph_free_weight(struct sdg_graph *g, sdg_value weight)
{
    SDG_TRY(g->result);
    if (!check_free(g, weight))
        return failed(g);
    struct sdg_value_info *w = &g->values[weight];
    const int64_t rows = w->dims[0], columns = w->dims[1];
    const bool vector = w->rank == 1;
    *w = (struct sdg_value_info){
        .kind = SDG_VALUE_INPUT, .dtype = SDG_F32, .name = w->name, .dims = {1, 1, rows, columns}};
    if (vector) {
        w->dims[2] = 1;
        w->dims[3] = rows;
    }
    for (size_t i = 0; i < g->op_count; i++) {
        const enum reading reading = reading_of(&g->ops[i], weight);
        if (reading == AS_FACTOR)
            multiply_by(&g->ops[i], weight);
        else if (reading == AS_BIAS && !add_behind(g, i, weight))
            break;
    }
    return failed(g);
}

// ---- losses ----

static sdg_value mean(struct sdg_graph *g, const char *name, sdg_value x, double sign, float shift)
{
    const double count = x ? (double)sdg_value_elements(&g->values[x]) : 1;
    const sdg_value sum = sdg_graph_sum(g, name, x, (struct sdg_axes){true, true, true});
    return sdg_graph_affine(g, name, sum, (float)(sign / count), shift);
}

static sdg_value dot(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y)
{
    return sdg_graph_sum(g, name, sdg_graph_binary(g, name, SDG_BINARY_MUL, x, y), (struct sdg_axes){.channels = true});
}

sdg_value sdg_graph_cosine_loss(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y)
{
    const sdg_value squares = sdg_graph_binary(g, name, SDG_BINARY_MUL, dot(g, name, x, x), dot(g, name, y, y));
    const sdg_value lengths = sdg_graph_unary(g, name, sdg_graph_affine(g, name, squares, 1, 1e-12f), SDG_UNARY_SQRT);
    const sdg_value inverse = sdg_graph_unary(g, name, lengths, SDG_UNARY_RECIPROCAL);
    return mean(g, name, sdg_graph_binary(g, name, SDG_BINARY_MUL, dot(g, name, x, y), inverse), -1, 1);
}

static sdg_value subtract(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y)
{
    return sdg_graph_binary(g, name, SDG_BINARY_ADD, x, sdg_graph_affine(g, name, y, -1, 0));
}

// |x|^2 of each sample.
static sdg_value energy(struct sdg_graph *g, const char *name, sdg_value x)
{
    return sdg_graph_sum(g, name, dot(g, name, x, x), (struct sdg_axes){.tokens = true});
}

sdg_value sdg_graph_relative_loss(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y)
{
    const sdg_value error = energy(g, name, subtract(g, name, x, y)),
                    inverse = sdg_graph_unary(g, name, sdg_graph_affine(g, name, energy(g, name, y), 1, 1e-12f),
                                              SDG_UNARY_RECIPROCAL);
    return mean(g, name, sdg_graph_binary(g, name, SDG_BINARY_MUL, error, inverse), 1, 0);
}

sdg_value sdg_graph_square_loss(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y)
{
    const sdg_value difference = subtract(g, name, x, y);
    return mean(g, name, sdg_graph_binary(g, name, SDG_BINARY_MUL, difference, difference), 1, 0);
}
