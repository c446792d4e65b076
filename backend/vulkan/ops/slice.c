#include "backend/vulkan/vk_ops.h"

struct sdg_push_slice { // GLSL twin: Push in shaders/slice.comp
    uint32_t total, c, in_c, start;
};
_Static_assert(sizeof(struct sdg_push_slice) == 16, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]), *out = sdg_vk_value(lo, op->out);
    int64_t unit = sdg_vk_move_unit(lo, op->u.slice.start);
    const struct sdg_push_slice push = {
        .total = (uint32_t)(sdg_value_elements(out) / unit),
        .c = (uint32_t)(out->dims[3] / unit),
        .in_c = (uint32_t)(x->dims[3] / unit),
        .start = (uint32_t)(op->u.slice.start / unit),
    };
    return sdg_vk_emit_move(lo, "slice", unit, &push, sizeof push);
}

const struct sdg_vk_op sdg_vk_op_slice = {.lower = lower};
