#include "backend/vulkan/vk_ops.h"

struct sdg_push_selective_scan { // GLSL twin: Push in shaders/selective_scan.glsl
    uint32_t tokens, c, chunk, chunks, bc_pitch, b_start, c_start, gate_pitch, gate_start;
    float scale;
};
_Static_assert(sizeof(struct sdg_push_selective_scan) == 40, "as in the shader");

struct sdg_push_selective_scan_prepare { // GLSL twin: Push in shaders/selective_scan_prepare.comp
    uint32_t c, pairs;
};
_Static_assert(sizeof(struct sdg_push_selective_scan_prepare) == 8, "as in the shader");

enum {
    INVOCATIONS = 128,
    STATES_PER_LANE = 4, // about: each more is registers, each less is sums between invocations
    MOST_LANES = 16
};

// Operands by their places in op->in.
enum { X, DELTA, BC, A_LOG, D, DELTA_BIAS, GATE, ADD };

struct layout {
    int64_t n, tokens, c, states, lanes;
    int64_t pairs;     // intervals of a row
    int64_t constants; // floats in all
    size_t constants_bytes;
};

static struct layout layout_of(const struct sdg_graph *graph, const struct sdg_op *op)
{
    const struct sdg_value_info *out = &graph->values[op->out], *interval = &graph->values[op->codes.interval];
    struct layout l = {
        .n = out->dims[0],
        .tokens = sdg_vk_pixels(out),
        .c = out->dims[3],
        .states = graph->values[op->in[A_LOG]].dims[1],
        .lanes = 1,
        .pairs = !op->codes.interval            ? 0
            : interval->kind == SDG_VALUE_TABLE ? interval->dims[1]
                                                : 1,
    };
    while (l.lanes < MOST_LANES && l.lanes * STATES_PER_LANE < l.states)
        l.lanes *= 2;
    l.constants = (l.states + 2) * l.c + 2 * l.pairs;
    l.constants_bytes = (size_t)l.constants * sizeof(float);
    return l;
}

static size_t scratch(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    (void)vk;
    return layout_of(graph, op).constants_bytes;
}

static enum sdg_result emit_prepare(struct sdg_vk_lowering *lo, const struct layout *l)
{
    const sdg_value *in = lo->op->in;
    const struct sdg_push_selective_scan_prepare push = {.c = (uint32_t)l->c, .pairs = (uint32_t)l->pairs};
    struct sdg_vk_dispatch d = {
        .family = "selective_scan_prepare",
        .type = SDG_F32,
        .spec = {[SDG_SPEC_STATES] = (uint32_t)l->states, [SDG_SPEC_DELTA_BIAS] = in[DELTA_BIAS] != 0},
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, in[A_LOG]), sdg_vk_read(lo, in[D]), sdg_vk_read(lo, in[DELTA_BIAS]),
                     sdg_vk_scratch(lo, 0, l->constants_bytes, true)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    sdg_vk_add_codes(lo, &d);
    return sdg_vk_emit_elements(lo, &d, l->constants);
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const sdg_value *in = op->in;
    const struct sdg_scan_params *params = &op->u.selective_scan;
    const struct layout l = layout_of(lo->graph, op);
    const struct sdg_push_selective_scan push = {
        .tokens = (uint32_t)l.tokens,
        .c = (uint32_t)l.c,
        .chunk = (uint32_t)l.tokens,
        .chunks = 1,
        .bc_pitch = (uint32_t)sdg_vk_value(lo, in[BC])->dims[3],
        .b_start = (uint32_t)params->b_start,
        .c_start = (uint32_t)params->c_start,
        .gate_pitch = (uint32_t)sdg_vk_value(lo, in[GATE])->dims[3],
        .gate_start = (uint32_t)params->gate_start,
        .scale = params->scale,
    };
    const struct sdg_output_codes *codes = &op->codes;
    struct sdg_vk_dispatch results = {
        .family = "selective_scan",
        .type = sdg_vk_float_type(lo->graph, op),
        .local_size = INVOCATIONS,
        .spec = {[SDG_SPEC_LOWEST] = (uint32_t)codes->lowest,
                 [SDG_SPEC_HIGHEST] = (uint32_t)codes->highest,
                 [SDG_SPEC_OUT_PAIRS] = (uint32_t)l.pairs,
                 [SDG_SPEC_BACKWARD] = params->backward,
                 [SDG_SPEC_STATES] = (uint32_t)l.states,
                 [SDG_SPEC_LANES] = (uint32_t)l.lanes,
                 [SDG_SPEC_GATED] = in[GATE] != 0,
                 [SDG_SPEC_ADDED] = in[ADD] != 0},
        .binding_count = 8,
        .bindings = {sdg_vk_read(lo, in[X]), sdg_vk_read(lo, in[DELTA]), sdg_vk_read(lo, in[BC]),
                     sdg_vk_scratch(lo, 0, l.constants_bytes, false), sdg_vk_read(lo, in[GATE]),
                     sdg_vk_read(lo, in[ADD]), sdg_vk_write(lo, op->out), sdg_vk_row()},
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {sdg_vk_ceil(l.c, INVOCATIONS / l.lanes), 1, l.n},
    };
    SDG_TRY(emit_prepare(lo, &l));
    lo->kernel[0] = 0; // the pass that gives the operation its name
    return sdg_vk_emit(lo, &results);
}

const struct sdg_vk_op sdg_vk_op_selective_scan = {.lower = lower, .scratch = scratch};
