#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_view x, weight, grad, out;
    int64_t kernel_h, kernel_w, stride, pad_top, pad_left;
};

// Index of the gradient's pixel whose kernel reads (y, x) at (ky, kx); -1 if there is none.
static int64_t reader(const struct loop *l, int64_t n, int64_t y, int64_t x, int64_t ky, int64_t kx)
{
    const int64_t down = y + l->pad_top - ky, across = x + l->pad_left - kx;
    if (down < 0 || across < 0 || down % l->stride || across % l->stride || down / l->stride >= l->grad.h ||
        across / l->stride >= l->grad.w)
        return -1;
    return (n * l->grad.h + down / l->stride) * l->grad.w + across / l->stride;
}

// One pixel of x: the weights of all that read it.
static void reverse_pixel(void *context, int64_t pixel, int thread)
{
    const struct loop *l = context;
    const int64_t n = pixel / l->x.w / l->x.h, y = pixel / l->x.w % l->x.h, x = pixel % l->x.w,
                  taps = l->kernel_h * l->kernel_w;
    (void)thread;
    for (int64_t c = 0; c < l->x.c; c++) {
        double sum = 0;
        for (int64_t k = 0; k < taps; k++) {
            const int64_t from = reader(l, n, y, x, k / l->kernel_w, k % l->kernel_w);
            for (int64_t o = 0; o < l->grad.c && from >= 0; o++)
                sum +=
                    sdg_ref_get(&l->grad, from * l->grad.c + o) * sdg_ref_get(&l->weight, (o * l->x.c + c) * taps + k);
        }
        sdg_ref_put(&l->out, pixel * l->x.c + c, sum);
    }
}

// One weight: what it multiplies, times the gradient, over all pixels.
static void reverse_weight(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t taps = l->kernel_h * l->kernel_w, o = index / taps / l->x.c, c = index / taps % l->x.c,
                  k = index % taps;
    double sum = 0;
    (void)thread;
    for (int64_t pixel = 0; pixel < l->grad.n * l->grad.h * l->grad.w; pixel++) {
        const int64_t n = pixel / l->grad.w / l->grad.h,
                      y = pixel / l->grad.w % l->grad.h * l->stride + k / l->kernel_w - l->pad_top,
                      x = pixel % l->grad.w * l->stride + k % l->kernel_w - l->pad_left;
        if (y >= 0 && y < l->x.h && x >= 0 && x < l->x.w)
            sum += sdg_ref_get(&l->grad, pixel * l->grad.c + o) *
                sdg_ref_get(&l->x, ((n * l->x.h + y) * l->x.w + x) * l->x.c + c);
    }
    sdg_ref_put(&l->out, index, sum);
}

enum sdg_result sdg_ref_conv2d_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, op->in[0]),
        .weight = sdg_ref_view(step, op->in[1]),
        .grad = sdg_ref_view(step, op->in[2]),
        .out = sdg_ref_view(step, op->out),
        .kernel_h = op->u.conv2d_gradient.kernel_h,
        .kernel_w = op->u.conv2d_gradient.kernel_w,
        .stride = op->u.conv2d_gradient.stride,
        .pad_top = op->u.conv2d_gradient.pad_top,
        .pad_left = op->u.conv2d_gradient.pad_left,
    };
    if (op->gradient_of == 0)
        sdg_cpu_run(step->program, l.x.n * sdg_ref_tokens(&l.x), reverse_pixel, &l);
    else
        sdg_cpu_run(step->program, sdg_ref_elements(&l.out), reverse_weight, &l);
    return SDG_OK;
}
