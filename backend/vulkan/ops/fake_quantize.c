#include "backend/vulkan/vk_ops.h"

struct sdg_push_fake_quantize { // GLSL twin: Push in shaders/fake_quantize.comp
    uint32_t total;
    float lowest, highest;
};
_Static_assert(sizeof(struct sdg_push_fake_quantize) == 12, "as in the shader");

enum sdg_result sdg_vk_lower_fake_quantize(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *out = sdg_vk_value(lo, op->out);
    int64_t total = sdg_value_elements(out);
    const struct sdg_push_fake_quantize push = {.total = (uint32_t)total, .lowest = (float)op->u.fake_quantize.lowest, .highest = (float)op->u.fake_quantize.highest};
    struct sdg_vk_dispatch d = {
        .family = "fake_quantize",
        .type = out->dtype,
        .spec_count = 1,
        .spec = {op->in[2] != 0},
        .binding_count = 5,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_write(lo, op->out), sdg_vk_read(lo, op->in[1]), sdg_vk_read(lo, op->in[2]), sdg_vk_row()},
        .push = &push,
        .push_bytes = sizeof push,
    };
    return sdg_vk_emit_elements(lo, &d, total);
}
