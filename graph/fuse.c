// Rewrites that leave the results as they are, up to rounding, and take less time and memory. Each keeps the graph
// valid, so that one that runs out of memory half-way leaves a correct graph, though its sticky result says that it
// failed.
#include "graph/graph.h"

#include "base/memory.h"
#include "graph/build.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REMOVED = SDG_OP_COUNT }; // kind of an operation that is taken out of the list by compact()

static bool has_epilogue(const struct sdg_op *op)
{
    return op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR;
}

static void remove_op(struct sdg_op *op)
{
    sdg_free(op->name);
    *op = (struct sdg_op){.kind = (enum sdg_op_kind)REMOVED};
}

static void remove_value(struct sdg_graph *g, sdg_value v)
{
    sdg_free(g->values[v].name);
    g->values[v] = (struct sdg_value_info){.kind = SDG_VALUE_NONE};
}

static void compact(struct sdg_graph *g)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->op_count; i++) {
        if ((int)g->ops[i].kind != REMOVED)
            g->ops[kept++] = g->ops[i];
    }
    g->op_count = kept;
}

// ---- dead operations ----

// Inputs and tables stay although nothing reads them: the host still writes them by name.
static enum sdg_result remove_dead(struct sdg_graph *g)
{
    bool *needed = sdg_alloc(g->log, g->value_count, sizeof *needed, "a graph rewrite");
    if (!needed)
        return SDG_ERROR_MEMORY;
    for (size_t i = g->op_count; i-- > 0;) {
        struct sdg_op *op = &g->ops[i];
        if (!needed[op->out] && !g->values[op->out].output) {
            remove_value(g, op->out);
            remove_op(op);
            continue;
        }
        sdg_value values[SDG_OP_OPERANDS];
        sdg_op_operands(op, values);
        for (int k = 0; k < SDG_OP_OPERANDS; k++)
            needed[values[k]] = true;
    }
    for (size_t v = 1; v < g->value_count; v++) {
        if (g->values[v].kind == SDG_VALUE_WEIGHT && !needed[v])
            remove_value(g, (sdg_value)v);
    }
    sdg_free(needed);
    compact(g);
    return SDG_OK;
}

// ---- epilogues ----

struct uses {
    size_t *count;    // per value: how often operations mention it; an output once more
    size_t *producer; // per value: the operation that makes it; SIZE_MAX if none does
};

static enum sdg_result count_uses(const struct sdg_graph *g, struct uses *uses)
{
    uses->count = sdg_alloc(g->log, g->value_count, sizeof *uses->count, "a graph rewrite");
    uses->producer = sdg_alloc(g->log, g->value_count, sizeof *uses->producer, "a graph rewrite");
    if (!uses->count || !uses->producer)
        return SDG_ERROR_MEMORY;
    for (size_t v = 0; v < g->value_count; v++) {
        uses->producer[v] = SIZE_MAX;
        uses->count[v] = g->values[v].output;
    }
    for (size_t i = 0; i < g->op_count; i++) {
        sdg_value values[SDG_OP_OPERANDS];
        sdg_op_operands(&g->ops[i], values);
        for (int k = 0; k < SDG_OP_OPERANDS; k++)
            uses->count[values[k]]++;
        uses->producer[g->ops[i].out] = i;
    }
    return SDG_OK;
}

// The operation that makes `v`, if nothing but one operand reads it; else NULL.
static struct sdg_op *sole_producer(struct sdg_graph *g, const struct uses *uses, sdg_value v)
{
    if (uses->producer[v] == SIZE_MAX || uses->count[v] != 1 || g->values[v].output)
        return NULL;
    struct sdg_op *producer = &g->ops[uses->producer[v]];
    return producer->codes.interval ? NULL : producer;
}

// Puts `producer` in place of operation `at`, its only reader. Moving it down is always legal, as its operands stay
// defined.
static void absorb(struct sdg_graph *g, struct uses *uses, struct sdg_op *producer, size_t at)
{
    sdg_value out = g->ops[at].out;
    struct sdg_op moved = *producer;
    *producer = (struct sdg_op){.kind = (enum sdg_op_kind)REMOVED};
    remove_op(&g->ops[at]);
    remove_value(g, moved.out);
    moved.out = out;
    g->ops[at] = moved;
    uses->producer[out] = at;
}

static void fuse_unary(struct sdg_graph *g, struct uses *uses, size_t at)
{
    enum sdg_unary function = g->ops[at].u.unary.function;
    struct sdg_op *producer = sole_producer(g, uses, g->ops[at].in[0]);
    if (!producer || function == SDG_UNARY_AFFINE)
        return;
    if (has_epilogue(producer) && producer->epilogue.activation == SDG_UNARY_NONE)
        producer->epilogue.activation = function;
    else if (producer->kind == SDG_OP_GROUP_NORM && producer->u.group_norm.activation == SDG_UNARY_NONE &&
             function == SDG_UNARY_SILU)
        producer->u.group_norm.activation = function;
    else
        return;
    absorb(g, uses, producer, at);
}

static struct sdg_op *takes_residual(struct sdg_graph *g, const struct uses *uses, sdg_value v)
{
    struct sdg_op *op = sole_producer(g, uses, v);
    bool fits = op && has_epilogue(op) && op->epilogue.activation == SDG_UNARY_NONE && !op->epilogue.residual;
    return fits ? op : NULL;
}

// x + y: of two candidates the later one takes the other as its residual, so that neither result waits longer than
// before.
static void fuse_add(struct sdg_graph *g, struct uses *uses, size_t at)
{
    sdg_value x = g->ops[at].in[0], y = g->ops[at].in[1];
    if (g->ops[at].u.binary.function != SDG_BINARY_ADD || !sdg_same_shape(&g->values[x], &g->values[y]))
        return;
    struct sdg_op *first = takes_residual(g, uses, x), *second = takes_residual(g, uses, y);
    struct sdg_op *producer = !second || (first && first > second) ? first : second;
    if (!producer)
        return;
    producer->epilogue.residual = producer == first ? y : x;
    absorb(g, uses, producer, at);
}

static enum sdg_result fuse_epilogues(struct sdg_graph *g)
{
    struct uses uses = {0};
    enum sdg_result result = count_uses(g, &uses);
    for (size_t i = 0; i < g->op_count && result == SDG_OK; i++) {
        if (g->ops[i].kind == SDG_OP_UNARY)
            fuse_unary(g, &uses, i);
        else if (g->ops[i].kind == SDG_OP_BINARY)
            fuse_add(g, &uses, i);
    }
    sdg_free(uses.count);
    sdg_free(uses.producer);
    compact(g);
    return result;
}

// ---- concat ----

// True if every reader of the concat's result can read the two parts instead; if only some can, nothing is gained.
static bool can_split(const struct sdg_graph *g, const struct sdg_op *concat)
{
    sdg_value joined = concat->out;
    if (g->values[joined].output)
        return false;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        sdg_value values[SDG_OP_OPERANDS];
        sdg_op_operands(op, values);
        for (int k = 0; k < SDG_OP_OPERANDS; k++) {
            bool reads = values[k] == joined;
            bool splits = k == 0 && ((has_epilogue(op) && !op->in[2]) || (op->kind == SDG_OP_GROUP_NORM && !op->in[3]));
            if (reads && !splits)
                return false;
        }
    }
    return true;
}

// y = f(W [a b] + ...) becomes t = W_a a + residual, then y = f(W_b b + ... + t).
static enum sdg_result split_product(struct sdg_graph *g, size_t at, sdg_value a, sdg_value b)
{
    int64_t a_channels = g->values[a].dims[3], channels = a_channels + g->values[b].dims[3];
    sdg_value weight = g->ops[at].in[1];
    sdg_value weight_a = sdg_graph_weight_slice(g, weight, 0, a_channels);
    sdg_value weight_b = sdg_graph_weight_slice(g, weight, a_channels, channels - a_channels);
    struct sdg_value_info sum = g->values[g->ops[at].out];
    sum.name = NULL;
    sum.output = false;
    sdg_value partial = sdg_graph_add_value(g, &sum, NULL, g->ops[at].name);
    size_t name_size = strlen(g->ops[at].name) + 48;
    char *name_a = sdg_alloc(g->log, name_size, 1, "a name"), *name_b = sdg_alloc(g->log, name_size, 1, "a name");
    if (g->result != SDG_OK || !name_a || !name_b) {
        sdg_free(name_a);
        sdg_free(name_b);
        return SDG_ERROR_MEMORY;
    }
    snprintf(name_a, name_size, "%s[0:%" PRId64 "]", g->ops[at].name, a_channels);
    snprintf(name_b, name_size, "%s[%" PRId64 ":%" PRId64 "]", g->ops[at].name, a_channels, channels);
    struct sdg_op first = g->ops[at];
    first.in[0] = a;
    first.in[1] = weight_a;
    first.out = partial;
    first.epilogue = (struct sdg_epilogue){.residual = g->ops[at].epilogue.residual};
    bool inserted = sdg_graph_insert_op(g, at, &first, name_a);
    sdg_free(name_a);
    if (!inserted) {
        sdg_free(name_b);
        return SDG_ERROR_MEMORY;
    }
    struct sdg_op *second = &g->ops[at + 1];
    sdg_free(second->name);
    second->name = name_b;
    second->in[0] = b;
    second->in[1] = weight_b;
    second->epilogue.residual = partial;
    return SDG_OK;
}

static enum sdg_result split_concats(struct sdg_graph *g)
{
    for (size_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind != SDG_OP_CONCAT || !can_split(g, &g->ops[i]))
            continue;
        sdg_value joined = g->ops[i].out, a = g->ops[i].in[0], b = g->ops[i].in[1];
        for (size_t k = i + 1; k < g->op_count; k++) {
            struct sdg_op *op = &g->ops[k];
            if (op->in[0] != joined)
                continue;
            if (op->kind == SDG_OP_GROUP_NORM) {
                op->in[0] = a;
                op->in[3] = b;
            } else {
                SDG_TRY(split_product(g, k, a, b));
                k++; // the second half, which reads `b`
            }
        }
    }
    return SDG_OK;
}

// ---- upsampling ----

// How often upsample_nearest repeats each pixel in both directions; 0 where that is no whole number, or not the same.
static int repetition(const struct sdg_graph *g, const struct sdg_op *upsample)
{
    const int64_t *from = g->values[upsample->in[0]].dims, *to = g->values[upsample->out].dims;
    const int64_t factor = to[1] / from[1];
    return to[1] == factor * from[1] && to[2] == factor * from[2] && factor <= INT16_MAX ? (int)factor : 0;
}

// Of codes whose intervals differ from token to token, those of the large picture are not those of the small one.
static bool has_one_interval(const struct sdg_graph *g, const struct sdg_op *conv)
{
    const struct sdg_value_info *interval = &g->values[conv->in[2]];
    return !conv->in[2] || (interval->kind == SDG_VALUE_TABLE ? interval->dims[1] : interval->dims[2]) == 1;
}

static bool absorb_upsampling(struct sdg_graph *g, const struct uses *uses, struct sdg_op *conv)
{
    struct sdg_op *upsample = sole_producer(g, uses, conv->in[0]);
    const int times = upsample && upsample->kind == SDG_OP_UPSAMPLE_NEAREST ? repetition(g, upsample) : 0;
    if (!times || !has_one_interval(g, conv) || times > INT16_MAX / conv->u.conv2d.upsample)
        return false;
    conv->u.conv2d.upsample *= times;
    conv->in[0] = upsample->in[0];
    remove_value(g, upsample->out);
    remove_op(upsample);
    return true;
}

static enum sdg_result fuse_upsampling(struct sdg_graph *g)
{
    struct uses uses = {0};
    enum sdg_result result = count_uses(g, &uses);
    for (size_t i = 0; i < g->op_count && result == SDG_OK; i++)
        while (g->ops[i].kind == SDG_OP_CONV2D && absorb_upsampling(g, &uses, &g->ops[i])) {
        }
    sdg_free(uses.count);
    sdg_free(uses.producer);
    compact(g);
    return result;
}

// ---- geglu ----

static bool takes_gate(const struct sdg_graph *g, const struct sdg_op *op)
{
    const struct sdg_epilogue *e = &op->epilogue;
    return op->kind == SDG_OP_LINEAR && g->values[op->in[1]].kind == SDG_VALUE_WEIGHT && !e->table && !e->residual &&
        e->activation == SDG_UNARY_NONE && !e->gated;
}

static enum sdg_result fuse_gates(struct sdg_graph *g)
{
    struct uses uses = {0};
    enum sdg_result result = count_uses(g, &uses);
    for (size_t i = 0; i < g->op_count && result == SDG_OK; i++) {
        const struct sdg_op *geglu = &g->ops[i];
        struct sdg_op *product = geglu->kind == SDG_OP_GEGLU ? sole_producer(g, &uses, geglu->in[0]) : NULL;
        // codes of a product are not smoothed
        if (!product || !takes_gate(g, product) || geglu->codes.smoothing || g->values[geglu->out].dims[3] % 2)
            continue;
        product->epilogue.gated = true;
        product->codes = geglu->codes;
        absorb(g, &uses, product, i);
    }
    sdg_free(uses.count);
    sdg_free(uses.producer);
    compact(g);
    return result;
}

// ---- what products load ----

// What is loaded is worked on anew for each tile of columns, and where windows overlap: what is not written and read
// in between pays for some of that, whatever the device. Floats of 16 bits only: those of 32 would need kernels of
// their own, and are what devices without memory to spare do not use.
enum { MOST_COLUMNS = 1280, MOST_LOADS = 3 };

// Whether `op` can load `from`'s operand in place of its result, and do with it what `from` does.
typedef bool takes_fn(const struct sdg_graph *g, const struct sdg_op *op, const struct sdg_op *from);

// How many operations read the result of the one at index `at`, if all can take it and are few and narrow; else 0.
static size_t count_takers(const struct sdg_graph *g, const struct uses *uses, size_t at, takes_fn *takes)
{
    const struct sdg_op *from = &g->ops[at];
    int64_t columns = 0;
    size_t count = 0;
    for (size_t i = at + 1; i < g->op_count; i++) {
        if (g->ops[i].in[0] != from->out || !takes(g, &g->ops[i], from))
            continue;
        columns += g->values[g->ops[i].in[1]].dims[0];
        count++;
    }
    const bool all = count == uses->count[from->out]; // an output's count is one more
    return all && columns <= MOST_COLUMNS && sdg_dtype_size(g->values[from->in[0]].dtype) == 2 ? count : 0;
}

static bool takes_norm(const struct sdg_graph *g, const struct sdg_op *op, const struct sdg_op *norm)
{
    const struct sdg_value_info *weight = &g->values[op->in[1]];
    return op->kind == SDG_OP_LINEAR && weight->kind == SDG_VALUE_WEIGHT && sdg_dtype_is_float(weight->dtype) &&
        !op->epilogue.table && !norm->codes.interval && !norm->u.layer_norm.statistics && weight->dims[1] % 4 == 0;
}

static void absorb_norm(struct sdg_graph *g, size_t at)
{
    struct sdg_op *norm = &g->ops[at];
    struct sdg_value_info *out = &g->values[norm->out];
    for (size_t i = at + 1; i < g->op_count; i++)
        if (g->ops[i].in[0] == norm->out) {
            g->ops[i].in[0] = norm->in[0];
            g->ops[i].load.norm = norm->out;
        }
    const int64_t entries = out->dims[3] + out->dims[0] * out->dims[1] * out->dims[2];
    memcpy(out->dims, (int64_t[4]){1, 1, entries, 2}, sizeof out->dims);
    out->dtype = SDG_F32;
    norm->u.layer_norm.statistics = true;
}

static bool takes_quantize(const struct sdg_graph *g, const struct sdg_op *op, const struct sdg_op *quantize)
{
    const int taps = op->u.conv2d.kernel_h * op->u.conv2d.kernel_w, stride = op->u.conv2d.stride * op->u.conv2d.stride;
    return (op->kind == SDG_OP_LINEAR || (op->kind == SDG_OP_CONV2D && taps <= MOST_LOADS * stride)) &&
        has_one_interval(g, op) && !quantize->codes.smoothing && g->values[quantize->out].dims[3] % 4 == 0;
}

static void absorb_quantize(struct sdg_graph *g, size_t at)
{
    struct sdg_op *quantize = &g->ops[at];
    for (size_t i = at + 1; i < g->op_count; i++)
        if (g->ops[i].in[0] == quantize->out) {
            g->ops[i].in[0] = quantize->in[0];
            g->ops[i].load.codes = quantize->codes;
        }
    remove_value(g, quantize->out);
    remove_op(quantize);
}

static enum sdg_result fuse_loads(struct sdg_graph *g, unsigned fusions)
{
    struct uses uses = {0};
    enum sdg_result result = count_uses(g, &uses);
    for (size_t i = 0; i < g->op_count && result == SDG_OK; i++) {
        const bool norm = g->ops[i].kind == SDG_OP_LAYER_NORM && (fusions & SDG_FUSION_NORM),
                   quantize = g->ops[i].kind == SDG_OP_QUANTIZE && (fusions & SDG_FUSION_QUANTIZE);
        const size_t count = norm ? count_takers(g, &uses, i, takes_norm)
            : quantize            ? count_takers(g, &uses, i, takes_quantize)
                                  : 0;
        if (norm && count)
            absorb_norm(g, i);
        else if (count == 1 || count == 2) // with three, as many bytes are loaded as were moved before
            absorb_quantize(g, i);
    }
    sdg_free(uses.count);
    sdg_free(uses.producer);
    compact(g);
    return result;
}

bool sdg_op_is_fused(const struct sdg_op *op)
{
    return (op->kind == SDG_OP_CONV2D && op->u.conv2d.upsample > 1) ||
        (op->kind == SDG_OP_LAYER_NORM && op->u.layer_norm.statistics) || op->epilogue.gated || op->load.norm ||
        op->load.codes.interval;
}

enum sdg_result sdg_graph_fuse_for(struct sdg_graph *g, unsigned fusions)
{
    SDG_TRY(g->result);
    enum sdg_result result = fusions & SDG_FUSION_UPSAMPLE ? fuse_upsampling(g) : SDG_OK;
    if (result == SDG_OK && (fusions & SDG_FUSION_GATE))
        result = fuse_gates(g);
    if (result == SDG_OK && (fusions & (SDG_FUSION_NORM | SDG_FUSION_QUANTIZE)))
        result = fuse_loads(g, fusions);
    if (result != SDG_OK)
        sdg_graph_failed(g, result);
    return result;
}

enum sdg_result sdg_graph_fuse(struct sdg_graph *g)
{
    SDG_TRY(g->result);
    bool has_output = false;
    for (size_t v = 1; v < g->value_count; v++)
        has_output |= g->values[v].output;
    if (!has_output)
        return sdg_fail(g->log, SDG_ERROR_USAGE,
                        "a graph without an output cannot be fused: all of it would be removed");
    enum sdg_result result = remove_dead(g);
    if (result == SDG_OK)
        result = fuse_epilogues(g);
    if (result == SDG_OK)
        result = split_concats(g);
    if (result == SDG_OK)
        result = remove_dead(g);
    if (result != SDG_OK)
        sdg_graph_failed(g, result);
    return result;
}
