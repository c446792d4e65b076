#include "backend/vulkan/vk_ops.h"

struct sdg_push_conv2d { // GLSL twin: Push in shaders/conv2d.glsl
    struct sdg_push_product product;
    uint32_t in_h, in_w, in_c;
    uint32_t out_w, out_pixels;
    uint32_t kernel_w;
    uint32_t stride;
    int32_t pad_top, pad_left;
};
_Static_assert(sizeof(struct sdg_push_conv2d) == 56, "as in the shader");

static struct sdg_vk_matmul matmul_of(const struct sdg_graph *graph, const struct sdg_op *op)
{
    const struct sdg_value_info *out = &graph->values[op->out];
    const int64_t channels = graph->values[op->in[0]].dims[3],
                  taps = (int64_t)op->u.conv2d.kernel_h * op->u.conv2d.kernel_w;
    return (struct sdg_vk_matmul){
        .family = "conv2d",
        .integer_family = "conv2d_s8",
        .m = out->dims[0] * sdg_vk_pixels(out),
        .n = out->dims[3],
        .k = taps * (sdg_vk_is_integer(graph, op) ? sdg_vk_ceil(channels, 4) : channels),
        .columns = channels,
        .rows_per_sample = sdg_vk_pixels(out),
        .upsample = (uint32_t)op->u.conv2d.upsample,
    };
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]), *out = sdg_vk_value(lo, op->out);
    struct sdg_vk_matmul matmul = matmul_of(lo->graph, op);
    const struct sdg_push_conv2d push = {
        .in_h = (uint32_t)x->dims[1] * matmul.upsample,
        .in_w = (uint32_t)x->dims[2] * matmul.upsample,
        .in_c = (uint32_t)x->dims[3],
        .out_w = (uint32_t)out->dims[2],
        .out_pixels = (uint32_t)matmul.rows_per_sample,
        .kernel_w = (uint32_t)op->u.conv2d.kernel_w,
        .stride = (uint32_t)op->u.conv2d.stride,
        .pad_top = op->u.conv2d.pad_top,
        .pad_left = op->u.conv2d.pad_left,
    };
    matmul.push = &push;
    matmul.push_bytes = sizeof push;
    return sdg_vk_emit_matmul(lo, &matmul);
}

const struct sdg_vk_op sdg_vk_op_conv2d = {.lower = lower, .product = matmul_of};
