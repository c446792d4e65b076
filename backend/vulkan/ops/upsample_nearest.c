#include "backend/vulkan/vk_ops.h"

struct sdg_push_upsample_nearest { // GLSL twin: Push in shaders/upsample_nearest.comp
    uint32_t total, c, in_h, in_w, out_h, out_w;
};
_Static_assert(sizeof(struct sdg_push_upsample_nearest) == 24, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]), *out = sdg_vk_value(lo, op->out);
    int64_t unit = sdg_vk_move_unit(lo, 0);
    const struct sdg_push_upsample_nearest push = {
        .total = (uint32_t)(sdg_value_elements(out) / unit),
        .c = (uint32_t)(out->dims[3] / unit),
        .in_h = (uint32_t)x->dims[1],
        .in_w = (uint32_t)x->dims[2],
        .out_h = (uint32_t)out->dims[1],
        .out_w = (uint32_t)out->dims[2],
    };
    return sdg_vk_emit_move(lo, "upsample_nearest", unit, &push, sizeof push);
}

const struct sdg_vk_op sdg_vk_op_upsample_nearest = {.lower = lower};
