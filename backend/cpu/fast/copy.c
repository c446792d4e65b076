// Operations that only move pixels: upsample_nearest, concat, slice, on all threads, for any storage type.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include <stdio.h>

struct image {
    char *data;
    int64_t n, h, w;
    size_t pixel; // bytes
};

static struct image image_of(const struct sdg_cpu_step *step, sdg_value v)
{
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    return (struct image){sdg_cpu_data(step->program, v), info->dims[0], info->dims[1], info->dims[2],
                          (size_t)info->dims[3] * sdg_dtype_size(info->dtype)};
}

struct loop { struct image x, y, out; };

static void upsample_line(void *context, int64_t line, int thread)
{
    const struct loop *l = context;
    const struct image *x = &l->x, *out = &l->out;
    const int64_t from_line = line / out->h * x->h + line % out->h * x->h / out->h;
    (void)thread;
    for (int64_t i = 0; i < out->w; i++)
        memcpy(out->data + (size_t)(line * out->w + i) * out->pixel,
               x->data + (size_t)(from_line * x->w + i * x->w / out->w) * x->pixel, x->pixel);
}

static enum sdg_result run_upsample_nearest(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop loop = {.x = image_of(step, step->op->in[0]), .out = image_of(step, step->op->out)};
    sdg_cpu_run(step->program, loop.out.n * loop.out.h, upsample_line, &loop);
    return SDG_OK;
}

static void concat_line(void *context, int64_t line, int thread)
{
    const struct loop *l = context;
    const struct image *x = &l->x, *y = &l->y, *out = &l->out;
    (void)thread;
    for (int64_t i = line * out->w; i < (line + 1) * out->w; i++) {
        memcpy(out->data + (size_t)i * out->pixel, x->data + (size_t)i * x->pixel, x->pixel);
        memcpy(out->data + (size_t)i * out->pixel + x->pixel, y->data + (size_t)i * y->pixel, y->pixel);
    }
}

static enum sdg_result run_concat(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop loop = {image_of(step, step->op->in[0]), image_of(step, step->op->in[1]),
                        image_of(step, step->op->out)};
    sdg_cpu_run(step->program, loop.out.n * loop.out.h, concat_line, &loop);
    return SDG_OK;
}

// x.data is where the slice begins.
static void slice_line(void *context, int64_t line, int thread)
{
    const struct loop *l = context;
    const struct image *x = &l->x, *out = &l->out;
    (void)thread;
    for (int64_t i = line * out->w; i < (line + 1) * out->w; i++)
        memcpy(out->data + (size_t)i * out->pixel, x->data + (size_t)i * x->pixel, out->pixel);
}

static enum sdg_result run_slice(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop loop = {.x = image_of(step, step->op->in[0]), .out = image_of(step, step->op->out)};
    loop.x.data +=
        (size_t)step->op->u.slice.start * sdg_dtype_size(sdg_cpu_value(step->program, step->op->in[0])->dtype);
    sdg_cpu_run(step->program, loop.out.n * loop.out.h, slice_line, &loop);
    return SDG_OK;
}

void sdg_fast_select_copy(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_graph *graph = sdg_cpu_graph(step->program);
    sdg_value reads[SDG_OP_MAX_READS];
    int count = sdg_op_reads(graph, step->op, reads);
    for (int i = 0; i < count; i++)
        if (graph->values[reads[i]].dtype != graph->values[step->op->out].dtype)
            return;
    switch (step->op->kind) {
    case SDG_OP_UPSAMPLE_NEAREST: step->run = run_upsample_nearest; break;
    case SDG_OP_CONCAT: step->run = run_concat; break;
    case SDG_OP_SLICE: step->run = run_slice; break;
    default: return;
    }
    snprintf(step->kernel, sizeof step->kernel, "copy");
    *taken = true;
}
