#include "backend/vulkan/vk_ops.h"

struct sdg_push_unary { // GLSL twin: Push in shaders/unary.comp
    uint32_t total;
    float a, b;
};
_Static_assert(sizeof(struct sdg_push_unary) == 12, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *out = sdg_vk_value(lo, op->out);
    int64_t total = sdg_value_elements(out);
    const struct sdg_push_unary push = {.total = (uint32_t)total, .a = op->u.unary.a, .b = op->u.unary.b};
    struct sdg_vk_dispatch d = {
        .family = "unary",
        .type = out->dtype,
        .spec = {[SDG_SPEC_FUNCTION] = op->u.unary.function},
        .binding_count = 2,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    return sdg_vk_emit_elements(lo, &d, total);
}

const struct sdg_vk_op sdg_vk_op_unary = {.lower = lower};
