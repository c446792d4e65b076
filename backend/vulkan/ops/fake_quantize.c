#include "backend/vulkan/vk_ops.h"

struct sdg_push_fake_quantize { // GLSL twin: Push in shaders/fake_quantize.comp
    uint32_t total, c;
};
_Static_assert(sizeof(struct sdg_push_fake_quantize) == 8, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *out = sdg_vk_value(lo, op->out);
    const struct sdg_value_info *interval = sdg_vk_value(lo, op->in[1]);
    int64_t total = sdg_value_elements(out);
    if (interval->kind != SDG_VALUE_TABLE && interval->dims[2] != 1)
        return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED,
                        "%s: backend vulkan reads intervals of several tokens from tables only", op->name);
    const struct sdg_push_fake_quantize push = {.total = (uint32_t)total, .c = (uint32_t)out->dims[3]};
    struct sdg_vk_dispatch d = {
        .family = "fake_quantize",
        .type = out->dtype,
        .binding_count = 2,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    sdg_vk_add_interval(lo, &d, op->in[1], op->u.fake_quantize.lowest, op->u.fake_quantize.highest);
    sdg_vk_add_smoothing(lo, &d, op->in[2]);
    return sdg_vk_emit_elements(lo, &d, total);
}

const struct sdg_vk_op sdg_vk_op_fake_quantize = {.lower = lower};
