#include "backend/vulkan/vk_ops.h"

struct sdg_push_conv2d { // GLSL twin: Push in shaders/conv2d.comp and conv2d_s8.comp, where k is in words
    uint32_t m, n, k;
    uint32_t in_h, in_w, in_c;
    uint32_t out_w, out_pixels;
    uint32_t kernel_w;
    uint32_t stride;
    int32_t pad_top, pad_left;
    uint32_t table_samples;
};
_Static_assert(sizeof(struct sdg_push_conv2d) == 52, "as in the shader");

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]), *out = sdg_vk_value(lo, op->out);
    int64_t m = out->dims[0] * sdg_vk_pixels(out), n = out->dims[3],
            taps = (int64_t)op->u.conv2d.kernel_h * op->u.conv2d.kernel_w, upsample = op->u.conv2d.upsample;
    const struct sdg_push_conv2d push = {
        .m = (uint32_t)m,
        .n = (uint32_t)n,
        .k = (uint32_t)(taps * (sdg_vk_is_integer(lo->graph, op) ? sdg_vk_ceil(x->dims[3], 4) : x->dims[3])),
        .in_h = (uint32_t)(x->dims[1] * upsample),
        .in_w = (uint32_t)(x->dims[2] * upsample),
        .in_c = (uint32_t)x->dims[3],
        .out_w = (uint32_t)out->dims[2],
        .out_pixels = (uint32_t)sdg_vk_pixels(out),
        .kernel_w = (uint32_t)op->u.conv2d.kernel_w,
        .stride = (uint32_t)op->u.conv2d.stride,
        .pad_top = op->u.conv2d.pad_top,
        .pad_left = op->u.conv2d.pad_left,
        .table_samples = sdg_vk_table_samples(lo),
    };
    return sdg_vk_emit_matmul(lo,
                              &(struct sdg_vk_matmul){.family = "conv2d",
                                                      .integer_family = "conv2d_s8",
                                                      .m = m,
                                                      .n = n,
                                                      .columns = x->dims[3],
                                                      .upsample = (uint32_t)upsample,
                                                      .push = &push,
                                                      .push_bytes = sizeof push});
}

const struct sdg_vk_op sdg_vk_op_conv2d = {.lower = lower};
