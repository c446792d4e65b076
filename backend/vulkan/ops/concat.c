#include "backend/vulkan/vk_ops.h"

struct sdg_push_concat { // GLSL twin: Push in shaders/concat.comp
    uint32_t total, c, c1;
};
_Static_assert(sizeof(struct sdg_push_concat) == 12, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]), *out = sdg_vk_value(lo, op->out);
    int64_t total = sdg_value_elements(out);
    const struct sdg_push_concat push = {
        .total = (uint32_t)total, .c = (uint32_t)out->dims[3], .c1 = (uint32_t)x->dims[3]};
    struct sdg_vk_dispatch d = {
        .family = "concat",
        .type = out->dtype,
        .binding_count = 3,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    return sdg_vk_emit_elements(lo, &d, total);
}

const struct sdg_vk_op sdg_vk_op_concat = {.lower = lower};
