#include "backend/vulkan/vk_ops.h"

struct sdg_push_conv1d_causal { // GLSL twin: Push in shaders/conv1d_causal.comp
    uint32_t total, c, tokens, pitch, start;
};
_Static_assert(sizeof(struct sdg_push_conv1d_causal) == 20, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]), *out = sdg_vk_value(lo, op->out);
    const int64_t total = sdg_value_elements(out);
    const struct sdg_push_conv1d_causal push = {
        .total = (uint32_t)total,
        .c = (uint32_t)out->dims[3],
        .tokens = (uint32_t)sdg_vk_pixels(out),
        .pitch = (uint32_t)x->dims[3],
        .start = (uint32_t)op->u.conv1d_causal.start,
    };
    struct sdg_vk_dispatch d = {
        .family = "conv1d_causal",
        .type = sdg_vk_float_type(lo->graph, op),
        .spec = {[SDG_SPEC_FUNCTION] = op->u.conv1d_causal.activation,
                 [SDG_SPEC_BACKWARD] = op->u.conv1d_causal.backward,
                 [SDG_SPEC_TAPS] = (uint32_t)op->u.conv1d_causal.kernel,
                 [SDG_SPEC_SHIFTED] = op->in[2] != 0},
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_read(lo, op->in[2]),
                     sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    sdg_vk_add_codes(lo, &d);
    d.bindings[d.binding_count++] = sdg_vk_read(lo, op->in[3]);
    d.spec[SDG_SPEC_READS] = !op->in[3] ? 0 : x->dtype == SDG_S8 ? 2 : 1;
    d.spec[SDG_SPEC_IN_PAIRS] = op->in[3] ? sdg_vk_pairs_per_row(lo, op->in[3]) : 0;
    return sdg_vk_emit_elements(lo, &d, op->codes.interval ? sdg_vk_ceil(total, 4) : total);
}

const struct sdg_vk_op sdg_vk_op_conv1d_causal = {.lower = lower};
