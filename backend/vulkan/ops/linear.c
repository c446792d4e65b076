#include "backend/vulkan/vk_ops.h"

struct sdg_push_linear { // GLSL twin: Push in shaders/linear.glsl
    struct sdg_push_product product;
    uint32_t rows_per_sample, in_c;
};
_Static_assert(sizeof(struct sdg_push_linear) == 28, "as in the shader");

static struct sdg_vk_matmul matmul_of(const struct sdg_graph *graph, const struct sdg_op *op)
{
    const struct sdg_value_info *out = &graph->values[op->out];
    const int64_t channels = graph->values[op->in[0]].dims[3];
    return (struct sdg_vk_matmul){
        .family = "linear",
        .integer_family = "linear_s8",
        .m = out->dims[0] * sdg_vk_pixels(out),
        .n = graph->values[op->in[1]].dims[0],
        .k = sdg_vk_is_integer(graph, op) ? sdg_vk_ceil(channels, 4) : channels,
        .columns = channels,
        .rows_per_sample = sdg_vk_pixels(out),
    };
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    struct sdg_vk_matmul matmul = matmul_of(lo->graph, lo->op);
    const struct sdg_push_linear push = {
        .rows_per_sample = (uint32_t)matmul.rows_per_sample,
        .in_c = (uint32_t)matmul.columns,
    };
    matmul.push = &push;
    matmul.push_bytes = sizeof push;
    return sdg_vk_emit_matmul(lo, &matmul);
}

const struct sdg_vk_op sdg_vk_op_linear = {.lower = lower, .product = matmul_of};
