// The graph itself: values, leaves, and questions about it. Operations are in ops.c.
#include "graph/graph.h"

#include "base/memory.h"
#include "graph/build.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// More elements than any device holds; keeps every later product of a size and a type's width far from overflow.
#define MAX_ELEMENTS (INT64_C(1) << 40)

enum sdg_result sdg_graph_create(const struct sdg_log *log, struct sdg_graph **out)
{
    *out = NULL;
    struct sdg_graph *g = sdg_alloc(log, 1, sizeof *g, "a graph");
    if (!g)
        return SDG_ERROR_MEMORY;
    g->log = log;
    g->rows = 1;
    g->value_count = 1; // value 0 means "none"
    if (!sdg_grow(log, &g->values, &g->value_capacity, 64, sizeof *g->values, "a graph's values")) {
        sdg_graph_destroy(&g);
        return SDG_ERROR_MEMORY;
    }
    *out = g;
    return SDG_OK;
}

void sdg_graph_destroy(struct sdg_graph **graph)
{
    struct sdg_graph *g = *graph;
    if (!g)
        return;
    for (size_t i = 0; i < g->value_count && g->values; i++)
        sdg_free(g->values[i].name);
    for (size_t i = 0; i < g->op_count; i++)
        sdg_free(g->ops[i].name);
    sdg_free(g->values);
    sdg_free(g->ops);
    sdg_free(g);
    *graph = NULL;
}

static bool copy_name(const struct sdg_log *log, char **name)
{
    char *copy = *name ? sdg_strdup(log, *name) : NULL;
    bool copied = copy || !*name;
    *name = copy;
    return copied;
}

// Counts grow with what is copied, so that a copy that failed half-way can be destroyed.
static bool copy_content(struct sdg_graph *to, const struct sdg_graph *from)
{
    const struct sdg_log *log = to->log;
    if (!sdg_grow(log, &to->values, &to->value_capacity, from->value_count, sizeof *to->values, "a graph's values") ||
        !sdg_grow(log, &to->ops, &to->op_capacity, from->op_count, sizeof *to->ops, "a graph's operations"))
        return false;
    while (to->value_count < from->value_count) {
        struct sdg_value_info *v = &to->values[to->value_count];
        *v = from->values[to->value_count++];
        if (!copy_name(log, &v->name))
            return false;
    }
    while (to->op_count < from->op_count) {
        struct sdg_op *op = &to->ops[to->op_count];
        *op = from->ops[to->op_count++];
        if (!copy_name(log, &op->name))
            return false;
    }
    to->rows = from->rows;
    return true;
}

enum sdg_result sdg_graph_copy(const struct sdg_log *log, const struct sdg_graph *from, struct sdg_graph **out)
{
    *out = NULL;
    SDG_TRY(from->result);
    struct sdg_graph *copy;
    SDG_TRY(sdg_graph_create(log, &copy));
    if (!copy_content(copy, from))
        sdg_graph_destroy(&copy);
    *out = copy;
    return copy ? SDG_OK : SDG_ERROR_MEMORY;
}

enum sdg_result sdg_graph_check(const struct sdg_graph *graph)
{
    return graph->result;
}

sdg_value sdg_graph_failed(struct sdg_graph *g, enum sdg_result result)
{
    if (g->result == SDG_OK)
        g->result = result;
    return 0;
}

struct sdg_shape_text sdg_shape_text(const struct sdg_value_info *info)
{
    struct sdg_shape_text shape;
    const int64_t *d = info->dims;
    int rank = info->kind == SDG_VALUE_WEIGHT ? info->rank : 4;
    if (rank == 1)
        snprintf(shape.text, sizeof shape.text, "[%" PRId64 "]", d[0]);
    else if (rank == 2)
        snprintf(shape.text, sizeof shape.text, "[%" PRId64 ",%" PRId64 "]", d[0], d[1]);
    else if (rank == 3)
        snprintf(shape.text, sizeof shape.text, "[%" PRId64 ",%" PRId64 ",%" PRId64 "]", d[0], d[1], d[2]);
    else
        snprintf(shape.text, sizeof shape.text, "[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]", d[0], d[1], d[2],
                 d[3]);
    return shape;
}

static bool dims_are_possible(const int64_t dims[4])
{
    int64_t elements = 1;
    for (int i = 0; i < 4; i++) {
        if (dims[i] < 1 || __builtin_mul_overflow(elements, dims[i], &elements) || elements > MAX_ELEMENTS)
            return false;
    }
    return true;
}

sdg_value sdg_graph_add_value(struct sdg_graph *g, const struct sdg_value_info *info, const char *name,
                              const char *where)
{
    if (g->result != SDG_OK)
        return 0;
    if (!dims_are_possible(info->dims))
        return SDG_GRAPH_FAIL(g, "%s: shape %s is impossible: dimensions are at least 1, elements at most 2^40", where,
                              sdg_shape_text(info).text);
    if (g->value_count >= UINT32_MAX)
        return SDG_GRAPH_FAIL(g, "%s: too many values in one graph", where);
    if (!sdg_grow(g->log, &g->values, &g->value_capacity, g->value_count + 1, sizeof *g->values, "a graph's values"))
        return sdg_graph_failed(g, SDG_ERROR_MEMORY);
    char *copy = name ? sdg_strdup(g->log, name) : NULL;
    if (name && !copy)
        return sdg_graph_failed(g, SDG_ERROR_MEMORY);
    g->values[g->value_count] = *info;
    g->values[g->value_count].name = copy;
    return (sdg_value)g->value_count++;
}

bool sdg_graph_insert_op(struct sdg_graph *g, size_t index, const struct sdg_op *op, const char *name)
{
    if (!sdg_grow(g->log, &g->ops, &g->op_capacity, g->op_count + 1, sizeof *g->ops, "a graph's operations")) {
        sdg_graph_failed(g, SDG_ERROR_MEMORY);
        return false;
    }
    char *copy = sdg_strdup(g->log, name);
    if (!copy) {
        sdg_graph_failed(g, SDG_ERROR_MEMORY);
        return false;
    }
    memmove(g->ops + index + 1, g->ops + index, (g->op_count - index) * sizeof *g->ops);
    g->ops[index] = *op;
    g->ops[index].name = copy;
    g->op_count++;
    return true;
}

// ---- leaves ----

// Inputs, tables and outputs are found by name, so each name is given once.
static bool name_is_free(struct sdg_graph *g, const char *name)
{
    if (g->result != SDG_OK)
        return false;
    if (!name || !*name) {
        SDG_GRAPH_FAIL(g, "an input, table or output of a graph has no name");
        return false;
    }
    if (sdg_graph_find(g, name)) {
        SDG_GRAPH_FAIL(g, "%s: the graph already has an input, table or output of this name", name);
        return false;
    }
    return true;
}

sdg_value sdg_graph_input(struct sdg_graph *g, const char *name, int64_t n, int64_t h, int64_t w, int64_t c)
{
    if (!name_is_free(g, name))
        return 0;
    struct sdg_value_info info = {.kind = SDG_VALUE_INPUT, .dtype = SDG_F32, .dims = {n, h, w, c}};
    return sdg_graph_add_value(g, &info, name, name);
}

sdg_value sdg_graph_input_s32(struct sdg_graph *g, const char *name, int64_t n, int64_t t)
{
    if (!name_is_free(g, name))
        return 0;
    struct sdg_value_info info = {.kind = SDG_VALUE_INPUT, .dtype = SDG_S32, .dims = {n, 1, t, 1}};
    return sdg_graph_add_value(g, &info, name, name);
}

sdg_value sdg_graph_table(struct sdg_graph *g, const char *name, int64_t rows, int64_t n, int64_t c)
{
    if (!name_is_free(g, name))
        return 0;
    for (size_t i = 1; i < g->value_count; i++) {
        if (g->values[i].kind == SDG_VALUE_TABLE && g->values[i].dims[0] != rows)
            return SDG_GRAPH_FAIL(g, "%s: the table has %" PRId64 " rows, table %s has %" PRId64, name, rows,
                                  g->values[i].name, g->values[i].dims[0]);
    }
    struct sdg_value_info info = {.kind = SDG_VALUE_TABLE, .dtype = SDG_F32, .dims = {rows, n, 1, c}};
    sdg_value table = sdg_graph_add_value(g, &info, name, name);
    if (table)
        g->rows = rows;
    return table;
}

sdg_value sdg_graph_interval_table(struct sdg_graph *g, const char *name, int64_t rows, int64_t tokens)
{
    return sdg_graph_table(g, name, rows, tokens, 2);
}

static sdg_value weight_value(struct sdg_graph *g, int rank, const int64_t dims[4], bool keeps_f32, const char *format,
                              va_list arguments)
{
    if (g->result != SDG_OK)
        return 0;
    char name[512];
    int length = vsnprintf(name, sizeof name, format, arguments);
    if (length < 1 || (size_t)length >= sizeof name)
        return SDG_GRAPH_FAIL(g, "%.100s...: the tensor name is empty or longer than %zu bytes", length < 1 ? "" : name,
                              sizeof name - 1);
    struct sdg_value_info info = {.kind = SDG_VALUE_WEIGHT, .dtype = SDG_F32, .rank = rank, .keeps_f32 = keeps_f32};
    memcpy(info.dims, dims, sizeof info.dims);
    return sdg_graph_add_value(g, &info, name, name);
}

sdg_value sdg_graph_conv_weight(struct sdg_graph *g, int64_t out, int64_t in, int kh, int kw, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    sdg_value v = weight_value(g, 4, (int64_t[4]){out, in, kh, kw}, false, name, arguments);
    va_end(arguments);
    return v;
}

sdg_value sdg_graph_linear_weight(struct sdg_graph *g, int64_t out, int64_t in, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    sdg_value v = weight_value(g, 2, (int64_t[4]){out, in, 1, 1}, false, name, arguments);
    va_end(arguments);
    return v;
}

sdg_value sdg_graph_vector_weight(struct sdg_graph *g, int64_t n, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    sdg_value v = weight_value(g, 1, (int64_t[4]){n, 1, 1, 1}, true, name, arguments);
    va_end(arguments);
    return v;
}

sdg_value sdg_graph_conv1d_weight(struct sdg_graph *g, int64_t channels, int kernel, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    sdg_value v = weight_value(g, 3, (int64_t[4]){channels, 1, kernel, 1}, true, name, arguments);
    va_end(arguments);
    return v;
}

sdg_value sdg_graph_matrix_weight(struct sdg_graph *g, int64_t rows, int64_t columns, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    sdg_value v = weight_value(g, 2, (int64_t[4]){rows, columns, 1, 1}, true, name, arguments);
    va_end(arguments);
    return v;
}

sdg_value sdg_graph_weight_slice(struct sdg_graph *g, sdg_value weight, int64_t start, int64_t length)
{
    if (g->result != SDG_OK)
        return 0;
    if (!weight || weight >= g->value_count || g->values[weight].kind != SDG_VALUE_WEIGHT ||
        g->values[weight].keeps_f32)
        return SDG_GRAPH_FAIL(g, "value %u: only conv and linear weights can be sliced", weight);
    struct sdg_value_info info = g->values[weight];
    if (start < 0 || length < 1 || length > info.dims[1] || start > info.dims[1] - length)
        return SDG_GRAPH_FAIL(g, "%s: channels %" PRId64 " to %" PRId64 "+%" PRId64 " are not inside the weight %s",
                              info.name, start, start, length, sdg_shape_text(&info).text);
    if (!info.slice_of)
        info.slice_of = info.dims[1];
    info.slice_start += start;
    info.dims[1] = length;
    return sdg_graph_add_value(g, &info, info.name, info.name);
}

void sdg_graph_output(struct sdg_graph *g, const char *name, sdg_value x)
{
    if (!name_is_free(g, name))
        return;
    if (!x || x >= g->value_count || g->values[x].kind != SDG_VALUE_ACTIVATION) {
        SDG_GRAPH_FAIL(g, "%s: an output must be the result of an operation", name);
        return;
    }
    struct sdg_value_info *v = &g->values[x];
    if (v->output) {
        SDG_GRAPH_FAIL(g, "%s: the value is already the output %s", name, v->name);
        return;
    }
    char *copy = sdg_strdup(g->log, name);
    if (!copy) {
        sdg_graph_failed(g, SDG_ERROR_MEMORY);
        return;
    }
    sdg_free(v->name);
    v->name = copy;
    v->output = true;
}

// ---- use ----

sdg_value sdg_graph_find(const struct sdg_graph *g, const char *name)
{
    for (size_t i = 1; i < g->value_count; i++) {
        const struct sdg_value_info *v = &g->values[i];
        bool named = v->kind == SDG_VALUE_INPUT || v->kind == SDG_VALUE_TABLE || v->output;
        if (named && v->name && strcmp(v->name, name) == 0)
            return (sdg_value)i;
    }
    return 0;
}

static const struct {
    const char *name;
    char operands[SDG_OP_MAX_INPUTS + 1];
    enum sdg_op_result result;
    bool for_training;
} columns[] = {
#define SDG_OP(name, upper, operands, result) [SDG_OP_##upper] = {#name, operands, SDG_RESULT_##result, false},
#define SDG_TRAINING_OP(name, upper, operands, result) [SDG_OP_##upper] = {#name, operands, SDG_RESULT_##result, true},
#include "graph/ops.def"
#undef SDG_OP
};

const char *sdg_op_name(enum sdg_op_kind kind)
{
    return (size_t)kind < SDG_OP_COUNT ? columns[kind].name : "unknown";
}

enum sdg_operand sdg_op_operand(enum sdg_op_kind kind, int k)
{
    return (enum sdg_operand)columns[kind].operands[k];
}

enum sdg_op_result sdg_op_result(enum sdg_op_kind kind)
{
    return columns[kind].result;
}

bool sdg_op_is_for_training(enum sdg_op_kind kind)
{
    return columns[kind].for_training;
}

bool sdg_op_is_interval(const struct sdg_op *op, sdg_value v)
{
    if (!v)
        return false;
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        if (op->in[k] == v && sdg_op_operand(op->kind, k) == SDG_OPERAND_INTERVAL)
            return true;
    return v == op->codes.interval || v == op->load.norm ||
        (v == op->out &&
         (op->kind == SDG_OP_MEASURE_INTERVAL || (op->kind == SDG_OP_LAYER_NORM && op->u.layer_norm.statistics)));
}

static int64_t saturating_product(const int64_t *factors, int count)
{
    int64_t product = 1;
    for (int i = 0; i < count; i++) {
        if (__builtin_mul_overflow(product, factors[i], &product))
            return INT64_MAX;
    }
    return product;
}

int64_t sdg_op_macs(const struct sdg_graph *g, const struct sdg_op *op)
{
    const struct sdg_value_info *out = &g->values[op->out];
    if (op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR) {
        const int64_t *w = g->values[op->in[1]].dims;
        return saturating_product((int64_t[]){sdg_value_elements(out), op->epilogue.gated ? 2 : 1, w[1], w[2], w[3]},
                                  5);
    }
    if (op->kind == SDG_OP_ATTENTION) {
        const int64_t *q = g->values[op->in[0]].dims, *k = g->values[op->in[1]].dims;
        return saturating_product((int64_t[]){q[0], q[1] * q[2], k[1] * k[2], q[3] + out->dims[3]}, 4);
    }
    if (op->kind == SDG_OP_MATMUL) {
        const struct sdg_value_info *a = &g->values[op->in[0]];
        const int64_t inner = op->u.matmul.transpose_a ? sdg_value_positions(a) : a->dims[3];
        return saturating_product((int64_t[]){sdg_value_elements(out), inner}, 2);
    }
    if (op->kind == SDG_OP_CONV1D_CAUSAL)
        return saturating_product((int64_t[]){sdg_value_elements(out), op->u.conv1d_causal.kernel}, 2);
    if (op->kind == SDG_OP_SELECTIVE_SCAN) // decay, input and output of each state
        return saturating_product((int64_t[]){sdg_value_elements(out), g->values[op->in[3]].dims[1], 3}, 3);
    return 0;
}

void sdg_op_operands(const struct sdg_op *op, sdg_value values[SDG_OP_OPERANDS])
{
    memcpy(values, op->in, sizeof op->in);
    values[SDG_OP_MAX_INPUTS] = op->epilogue.bias;
    values[SDG_OP_MAX_INPUTS + 1] = op->epilogue.table;
    values[SDG_OP_MAX_INPUTS + 2] = op->epilogue.residual;
    values[SDG_OP_MAX_INPUTS + 3] = op->codes.interval;
    values[SDG_OP_MAX_INPUTS + 4] = op->codes.smoothing;
    values[SDG_OP_MAX_INPUTS + 5] = op->load.norm;
}

// Of what an operation reads or writes of v.
static double value_bytes(const struct sdg_value_info *v)
{
    double elements = (double)sdg_value_elements(v);
    if (v->kind == SDG_VALUE_TABLE)
        elements /= (double)v->dims[0];
    return v->bits == 4 ? elements / 2 : elements * (double)sdg_dtype_size(v->dtype);
}

double sdg_op_bytes(const struct sdg_graph *g, const struct sdg_op *op)
{
    sdg_value read[SDG_OP_OPERANDS];
    sdg_op_operands(op, read);
    const double written = value_bytes(&g->values[op->out]);
    double bytes = written;
    for (int i = 0; i < SDG_OP_OPERANDS; i++) {
        bool again = !read[i];
        for (int k = 0; k < i && !again; k++)
            again = read[k] == read[i];
        if (again)
            continue;
        const bool looked_up = op->kind == SDG_OP_EMBED && g->values[read[i]].kind == SDG_VALUE_WEIGHT;
        bytes += looked_up ? written : value_bytes(&g->values[read[i]]);
    }
    return bytes;
}

int sdg_op_reads(const struct sdg_graph *g, const struct sdg_op *op, sdg_value reads[SDG_OP_MAX_READS])
{
    sdg_value candidates[SDG_OP_MAX_READS];
    memcpy(candidates, op->in, sizeof op->in);
    candidates[SDG_OP_MAX_INPUTS] = op->epilogue.residual;
    candidates[SDG_OP_MAX_INPUTS + 1] = op->codes.interval;
    candidates[SDG_OP_MAX_INPUTS + 2] = op->load.norm;
    int count = 0;
    for (int i = 0; i < SDG_OP_MAX_READS; i++) {
        bool wanted = candidates[i] && sdg_value_is_read(&g->values[candidates[i]]);
        for (int j = 0; j < count && wanted; j++)
            wanted = reads[j] != candidates[i];
        if (wanted)
            reads[count++] = candidates[i];
    }
    return count;
}

enum sdg_result sdg_graph_set_type(struct sdg_graph *g, enum sdg_dtype dtype)
{
    SDG_TRY(g->result);
    if (dtype != SDG_F32 && dtype != SDG_F16 && dtype != SDG_BF16)
        return sdg_fail(g->log, SDG_ERROR_USAGE, "a graph's type is f32, f16 or bf16, not %s", sdg_dtype_name(dtype));
    for (size_t i = 1; i < g->value_count; i++) {
        struct sdg_value_info *v = &g->values[i];
        bool typed = sdg_value_is_read(v) || (v->kind == SDG_VALUE_WEIGHT && !v->keeps_f32);
        if (typed && sdg_dtype_is_float(v->dtype))
            v->dtype = dtype;
    }
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            if (sdg_op_is_interval(op, op->in[k]))
                g->values[op->in[k]].dtype = SDG_F32;
        if (sdg_op_is_interval(op, op->out) ||
            (op->kind == SDG_OP_FAKE_QUANTIZE_GRADIENT && op->gradient_of == 1)) // which is as wide as what it changes
            g->values[op->out].dtype = SDG_F32;
    }
    return SDG_OK;
}

void sdg_graph_move_op(struct sdg_graph *g, size_t from, size_t to)
{
    if (from >= g->op_count || to >= from)
        return;
    struct sdg_op moved = g->ops[from];
    memmove(&g->ops[to + 1], &g->ops[to], (from - to) * sizeof *g->ops);
    g->ops[to] = moved;
}

double sdg_graph_macs(const struct sdg_graph *g)
{
    double macs = 0;
    for (size_t i = 0; i < g->op_count; i++)
        macs += (double)sdg_op_macs(g, &g->ops[i]);
    return macs;
}
