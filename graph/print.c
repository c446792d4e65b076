// A listing for people: sdg_graph_print.
#include "graph/graph.h"

#include "graph/build.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct line {
    char text[480];
    size_t used;
};

static void SDG_PRINTF(2, 3) append(struct line *line, const char *format, ...)
{
    if (line->used >= sizeof line->text - 1)
        return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, sizeof line->text - line->used, format, arguments);
    va_end(arguments);
    if (length > 0)
        line->used += (size_t)length;
}

static const char *unary_name(enum sdg_unary function)
{
    static const char *const names[] = {
        [SDG_UNARY_NONE] = "none",
        [SDG_UNARY_SILU] = "silu",
        [SDG_UNARY_GELU_ERF] = "gelu_erf",
        [SDG_UNARY_GELU_TANH] = "gelu_tanh",
        [SDG_UNARY_QUICK_GELU] = "quick_gelu",
        [SDG_UNARY_RELU] = "relu",
        [SDG_UNARY_TANH] = "tanh",
        [SDG_UNARY_SIGMOID] = "sigmoid",
        [SDG_UNARY_SOFTPLUS] = "softplus",
        [SDG_UNARY_AFFINE] = "affine",
        [SDG_UNARY_EXP] = "exp",
        [SDG_UNARY_SQRT] = "sqrt",
        [SDG_UNARY_RECIPROCAL] = "reciprocal",
    };
    return (size_t)function < sizeof names / sizeof *names ? names[function] : "unknown";
}

static void append_value(struct line *line, const struct sdg_graph *g, const char *role, sdg_value value)
{
    const struct sdg_value_info *v = &g->values[value];
    append(line, " %s", role);
    if (v->name)
        append(line, "%s", v->name);
    else
        append(line, "%%%" PRIu32, value);
    if (v->kind == SDG_VALUE_WEIGHT && v->slice_of)
        append(line, "[:,%" PRId64 ":%" PRId64 "]", v->slice_start, v->slice_start + v->dims[1]);
    append(line, " %s", sdg_shape_text(v).text);
}

static void append_codes(struct line *line, const struct sdg_graph *g, const char *what,
                         const struct sdg_output_codes *codes)
{
    append(line, "%s %d..%d", what, codes->lowest, codes->highest);
    append_value(line, g, "of ", codes->interval);
    if (codes->smoothing)
        append_value(line, g, "smoothed by ", codes->smoothing);
}

static void append_attributes(struct line *line, const struct sdg_op *op)
{
    switch (op->kind) {
    case SDG_OP_CONV2D:
        append(line, " stride %d pad %d,%d,%d,%d", op->u.conv2d.stride, op->u.conv2d.pad_top, op->u.conv2d.pad_left,
               op->u.conv2d.pad_bottom, op->u.conv2d.pad_right);
        if (op->u.conv2d.upsample > 1)
            append(line, " upsampled %dx", op->u.conv2d.upsample);
        break;
    case SDG_OP_ATTENTION:
        append(line, " heads %d%s", op->u.attention.heads, op->u.attention.causal ? " causal" : "");
        break;
    case SDG_OP_GROUP_NORM:
        append(line, " groups %d %s", op->u.group_norm.groups, unary_name(op->u.group_norm.activation));
        break;
    case SDG_OP_LAYER_NORM: append(line, "%s", op->u.layer_norm.statistics ? " statistics" : ""); break;
    case SDG_OP_UNARY: append(line, " %s", unary_name(op->u.unary.function)); break;
    case SDG_OP_BINARY: append(line, " %s", op->u.binary.function == SDG_BINARY_ADD ? "add" : "mul"); break;
    case SDG_OP_CONV1D_CAUSAL:
        append(line, " from %" PRId64 " kernel %d%s %s", op->u.conv1d_causal.start, op->u.conv1d_causal.kernel,
               op->u.conv1d_causal.backward ? " backward" : "", unary_name(op->u.conv1d_causal.activation));
        break;
    case SDG_OP_SELECTIVE_SCAN:
        append(line, "%s scale %g", op->u.selective_scan.backward ? " backward" : "",
               (double)op->u.selective_scan.scale);
        break;
    case SDG_OP_HADAMARD: append(line, " block %" PRId64, op->u.hadamard.block); break;
    case SDG_OP_SLICE: append(line, " from %" PRId64, op->u.slice.start); break;
    case SDG_OP_PAD: append(line, " from %" PRId64, op->u.pad.start); break;
    case SDG_OP_MATMUL:
        append(line, "%s%s", op->u.matmul.transpose_a ? " left transposed" : "",
               op->u.matmul.transpose_b ? " right transposed" : "");
        break;
    case SDG_OP_SUM:
        append(line, " over%s%s%s", op->u.sum.samples ? " samples" : "", op->u.sum.tokens ? " tokens" : "",
               op->u.sum.channels ? " channels" : "");
        break;
    case SDG_OP_UNARY_GRADIENT: append(line, " of %s", unary_name(op->u.unary_gradient.function)); break;
    case SDG_OP_CONV2D_GRADIENT:
    case SDG_OP_ATTENTION_GRADIENT:
    case SDG_OP_SELECTIVE_SCAN_GRADIENT:
    case SDG_OP_FAKE_QUANTIZE_GRADIENT: append(line, " of operand %d", op->gradient_of); break;
    default: break;
    }
}

void sdg_graph_print(const struct sdg_graph *g)
{
    if (!g->log || g->log->level < SDG_LOG_DEBUG)
        return;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        const struct sdg_value_info *out = &g->values[op->out];
        struct line line = {.used = 0};
        append(&line, "%4zu %%%" PRIu32 " %s %s = %s", i, op->out, sdg_dtype_name(out->dtype), sdg_shape_text(out).text,
               sdg_op_name(op->kind));
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++) {
            if (op->in[k])
                append_value(&line, g, "", op->in[k]);
        }
        append_attributes(&line, op);
        if (op->load.norm)
            append_value(&line, g, "normalised by ", op->load.norm);
        if (op->load.codes.interval)
            append_codes(&line, g, " read as codes", &op->load.codes);
        if (op->epilogue.bias)
            append_value(&line, g, "+ ", op->epilogue.bias);
        if (op->epilogue.table)
            append_value(&line, g, "+ ", op->epilogue.table);
        if (op->epilogue.residual)
            append_value(&line, g, "+ ", op->epilogue.residual);
        if (op->epilogue.activation)
            append(&line, " %s", unary_name(op->epilogue.activation));
        if (op->epilogue.gated)
            append(&line, " gated");
        if (op->codes.interval)
            append_codes(&line, g, " codes", &op->codes);
        append(&line, "  # %s%s%s", op->name, out->output ? " -> " : "", out->output ? out->name : "");
        sdg_say(g->log, SDG_LOG_DEBUG, "%s", line.text);
    }
}
