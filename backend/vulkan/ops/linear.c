#include "backend/vulkan/vk_ops.h"

struct sdg_push_linear { // GLSL twin: Push in shaders/linear.comp and linear_s8.comp, where k is in words
    uint32_t m, n, k, rows_per_sample, table_samples, in_c;
};
_Static_assert(sizeof(struct sdg_push_linear) == 24, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_value_info *x = sdg_vk_value(lo, lo->op->in[0]), *out = sdg_vk_value(lo, lo->op->out);
    int64_t m = out->dims[0] * sdg_vk_pixels(out), n = sdg_vk_value(lo, lo->op->in[1])->dims[0], channels = x->dims[3];
    const struct sdg_push_linear push = {
        .m = (uint32_t)m,
        .n = (uint32_t)n,
        .k = (uint32_t)(sdg_vk_is_integer(lo->graph, lo->op) ? sdg_vk_ceil(channels, 4) : channels),
        .rows_per_sample = (uint32_t)sdg_vk_pixels(out),
        .table_samples = sdg_vk_table_samples(lo),
        .in_c = (uint32_t)channels,
    };
    return sdg_vk_emit_matmul(lo,
                              &(struct sdg_vk_matmul){.family = "linear",
                                                      .integer_family = "linear_s8",
                                                      .m = m,
                                                      .n = n,
                                                      .columns = channels,
                                                      .push = &push,
                                                      .push_bytes = sizeof push});
}

const struct sdg_vk_op sdg_vk_op_linear = {.lower = lower};
