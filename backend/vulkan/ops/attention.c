#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

struct sdg_push_attention { // GLSL twin: Push in shaders/attention.comp
    uint32_t queries, keys, pitch_qk, pitch_v;
    float scale;
};
_Static_assert(sizeof(struct sdg_push_attention) == 20, "as in the shader");

enum { INVOCATIONS = 64, SLICE = 32 };

// Queries a workgroup works on: more reuse of keys and values, until an invocation's share of the result (rows / 8
// times a quarter of each slice of 32 channels, in registers) grows too long.
static uint32_t choose_rows(int64_t queries, int64_t depth_v)
{
    int64_t per_row = sdg_vk_ceil(depth_v, SLICE) * SLICE / 8;
    if (4 * per_row <= 64 && queries > 16)
        return 32;
    return 2 * per_row <= 64 && queries > 8 ? 16 : 8;
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *q = sdg_vk_value(lo, op->in[0]), *k = sdg_vk_value(lo, op->in[1]),
                                *v = sdg_vk_value(lo, op->in[2]);
    int64_t heads = op->u.attention.heads, depth = q->dims[3] / heads, depth_v = v->dims[3] / heads;
    uint32_t rows = choose_rows(sdg_vk_pixels(q), depth_v);
    const struct sdg_push_attention push = {
        .queries = (uint32_t)sdg_vk_pixels(q),
        .keys = (uint32_t)sdg_vk_pixels(k),
        .pitch_qk = (uint32_t)q->dims[3],
        .pitch_v = (uint32_t)v->dims[3],
        .scale = op->u.attention.scale,
    };
    struct sdg_vk_dispatch d = {
        .family = "attention",
        .type = sdg_vk_float_type(lo->graph, op),
        .local_size = INVOCATIONS,
        .spec = {[SDG_SPEC_ROWS] = rows,
                 [SDG_SPEC_DEPTH] = (uint32_t)depth,
                 [SDG_SPEC_DEPTH_V] = (uint32_t)depth_v,
                 [SDG_SPEC_CAUSAL] = op->u.attention.causal},
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_read(lo, op->in[2]),
                     sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {sdg_vk_ceil(sdg_vk_pixels(q), rows), heads, q->dims[0]},
    };
    sdg_vk_add_codes(lo, &d);
    SDG_TRY(sdg_vk_emit(lo, &d));
    size_t used = strlen(lo->kernel);
    snprintf(lo->kernel + used, sizeof lo->kernel - used, "_d%lld_%ux32", (long long)depth, rows);
    return SDG_OK;
}

const struct sdg_vk_op sdg_vk_op_attention = {.lower = lower};
