#include "backend/cpu/ref/ref.h"

struct conv {
    struct sdg_ref_factor x;
    struct sdg_ref_epilogue end;
    const float *weight; // [C_in][KH][KW][C_out]
    int kernel_h, kernel_w, stride, pad_top, pad_left, upsample;
    int64_t blocks; // of a line
};

// Flat index of the input element that output column (n, oy, ox) sees at tap (ky, kx); -1 in the padding.
static int64_t tap(const struct conv *c, int64_t n, int64_t oy, int64_t ox, int ky, int kx)
{
    const struct sdg_ref_view *view = &c->x.x;
    int64_t y = oy * c->stride - c->pad_top + ky, x = ox * c->stride - c->pad_left + kx;
    if (y < 0 || y >= view->h * c->upsample || x < 0 || x >= view->w * c->upsample)
        return -1;
    return ((n * view->h + y / c->upsample) * view->w + x / c->upsample) * view->c;
}

// Outputs (n, oy, ox .. ox + columns), channels [o, o + outputs).
static void block(const struct conv *c, int64_t n, int64_t oy, int64_t ox, int columns, int64_t o, int outputs)
{
    const struct sdg_ref_view *out = &c->end.out.view;
    double sum[SDG_REF_POSITIONS][SDG_REF_CHANNELS] = {0};
    int64_t taps = (int64_t)c->kernel_h * c->kernel_w;
    for (int ky = 0; ky < c->kernel_h; ky++)
        for (int kx = 0; kx < c->kernel_w; kx++) {
            int64_t first[SDG_REF_POSITIONS] = {0};
            for (int p = 0; p < columns; p++)
                first[p] = tap(c, n, oy, ox + p, ky, kx);
            sdg_ref_dot(sum, &c->x, &c->end.intervals, first, columns, c->x.x.c,
                        c->weight + (ky * c->kernel_w + kx) * out->c + o, taps * out->c, outputs);
        }
    for (int p = 0; p < columns; p++)
        for (int k = 0; k < outputs; k++)
            sdg_ref_finish(&c->end, sum[p][k], n, o + k, ((n * out->h + oy) * out->w + ox + p) * out->c + o + k);
}

// `index` counts lines of all samples, then blocks of a line.
static void blocks(void *context, int64_t index, int thread)
{
    const struct conv *c = context;
    const struct sdg_ref_view *out = &c->end.out.view;
    const int64_t line = index / c->blocks, ox = index % c->blocks * SDG_REF_POSITIONS, left = out->w - ox;
    const int columns = left < SDG_REF_POSITIONS ? (int)left : SDG_REF_POSITIONS;
    (void)thread;
    for (int64_t o = 0; o < out->c; o += SDG_REF_CHANNELS) {
        int outputs = out->c - o < SDG_REF_CHANNELS ? (int)(out->c - o) : SDG_REF_CHANNELS;
        block(c, line / out->h, line % out->h, ox, columns, o, outputs);
    }
}

enum sdg_result sdg_ref_conv2d(const struct sdg_cpu_step *step, int64_t row)
{
    struct conv c = {
        .x = sdg_ref_factor(step, row),
        .end = sdg_ref_epilogue(step, row),
        .weight = step->weights,
        .kernel_h = step->op->u.conv2d.kernel_h,
        .kernel_w = step->op->u.conv2d.kernel_w,
        .stride = step->op->u.conv2d.stride,
        .pad_top = step->op->u.conv2d.pad_top,
        .pad_left = step->op->u.conv2d.pad_left,
        .upsample = step->op->u.conv2d.upsample,
    };
    const struct sdg_ref_view *out = &c.end.out.view;
    c.blocks = (out->w + SDG_REF_POSITIONS - 1) / SDG_REF_POSITIONS;
    sdg_cpu_run(step->program, out->n * out->h * c.blocks, blocks, &c);
    return SDG_OK;
}
