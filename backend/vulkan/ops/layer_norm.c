#include "backend/vulkan/vk_ops.h"

struct sdg_push_layer_norm { // GLSL twin: Push in shaders/layer_norm.comp
    uint32_t tokens, c;
    float eps;
};
_Static_assert(sizeof(struct sdg_push_layer_norm) == 12, "as in the shader");

enum { INVOCATIONS = SDG_VK_INVOCATIONS };

// Tokens of a workgroup: one for each subgroup, or one.
static int64_t tokens_at_once(const struct sdg_vk *vk, const struct sdg_shader *shader)
{
    const uint32_t subgroup = vk->caps.subgroup_size;
    return (shader->needs & SDG_FEATURE_SUBGROUP) && subgroup < INVOCATIONS ? INVOCATIONS / subgroup : 1;
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]);
    int64_t tokens = x->dims[0] * sdg_vk_pixels(x);
    const struct sdg_push_layer_norm push = {
        .tokens = (uint32_t)tokens, .c = (uint32_t)x->dims[3], .eps = op->u.layer_norm.eps};
    struct sdg_vk_dispatch d = {
        .family = "layer_norm",
        .type = sdg_vk_float_type(lo->graph, op),
        .columns = x->dims[3],
        .local_size = INVOCATIONS,
        .spec = {[SDG_SPEC_STATISTICS] = op->u.layer_norm.statistics},
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_read(lo, op->in[2]),
                     sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    sdg_vk_add_codes(lo, &d);
    d.shader = sdg_vk_find_shader(lo->vk->features, d.family, d.type, d.columns, NULL);
    if (!d.shader)
        return sdg_vk_no_shader(lo, &d);
    return sdg_vk_emit_groups(lo, &d, sdg_vk_ceil(tokens, tokens_at_once(lo->vk, d.shader)));
}

const struct sdg_vk_op sdg_vk_op_layer_norm = {.lower = lower};
