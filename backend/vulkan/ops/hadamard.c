#include "backend/vulkan/vk_ops.h"

#include <math.h>

struct sdg_push_hadamard { // GLSL twin: Push in shaders/hadamard.comp
    uint32_t total, c;
    float scale;
};
_Static_assert(sizeof(struct sdg_push_hadamard) == 12, "as in the shader");

enum { LEAST_SPAN = 256 }; // elements that are worth a workgroup

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *out = sdg_vk_value(lo, op->out);
    const int64_t total = sdg_value_elements(out), block = op->u.hadamard.block,
                  span = block < LEAST_SPAN ? LEAST_SPAN : block;
    const struct sdg_push_hadamard push = {
        .total = (uint32_t)total,
        .c = (uint32_t)out->dims[3],
        .scale = (float)(1 / sqrt((double)block)),
    };
    struct sdg_vk_dispatch d = {
        .family = "hadamard",
        .type = sdg_vk_float_type(lo->graph, op),
        .local_size = SDG_VK_INVOCATIONS,
        .spec = {[SDG_SPEC_BLOCK] = (uint32_t)block, [SDG_SPEC_SPAN] = (uint32_t)span},
        .binding_count = 2,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    sdg_vk_add_codes(lo, &d);
    return sdg_vk_emit_groups(lo, &d, sdg_vk_ceil(total, span));
}

const struct sdg_vk_op sdg_vk_op_hadamard = {.lower = lower};
