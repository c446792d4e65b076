#include "backend/vulkan/vk_ops.h"

struct sdg_push_binary { // GLSL twin: Push in shaders/binary.comp
    uint32_t total, c, pixels, y_sample, y_pixel;
};
_Static_assert(sizeof(struct sdg_push_binary) == 20, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *y = sdg_vk_value(lo, op->in[1]), *out = sdg_vk_value(lo, op->out);
    int64_t total = sdg_value_elements(out), y_pixels = sdg_vk_pixels(y);
    const struct sdg_push_binary push = {
        .total = (uint32_t)total,
        .c = (uint32_t)out->dims[3],
        .pixels = (uint32_t)sdg_vk_pixels(out),
        .y_sample = y->dims[0] == 1 ? 0 : (uint32_t)(y_pixels * y->dims[3]),
        .y_pixel = y_pixels == 1 ? 0 : (uint32_t)y->dims[3],
    };
    struct sdg_vk_dispatch d = {
        .family = "binary",
        .type = out->dtype,
        .spec = {[SDG_SPEC_FUNCTION] = op->u.binary.function},
        .binding_count = 3,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    return sdg_vk_emit_elements(lo, &d, total);
}

const struct sdg_vk_op sdg_vk_op_binary = {.lower = lower};
