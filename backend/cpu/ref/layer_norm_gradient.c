#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x, gamma, grad, out;
    double eps;
};

static void token_statistics(const struct loop *l, int64_t t, double *mean, double *inverse)
{
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < l->x.c; c++)
        sum += sdg_ref_get(&l->x, t * l->x.c + c);
    *mean = sum / (double)l->x.c;
    for (int64_t c = 0; c < l->x.c; c++)
        squares += pow(sdg_ref_get(&l->x, t * l->x.c + c) - *mean, 2);
    *inverse = 1 / sqrt(squares / (double)l->x.c + l->eps);
}

// With n = (x - mean) / deviation and d = grad * gamma: dx = (d - mean d - n mean(d n)) / deviation.
static void reverse_token(void *context, int64_t t, int thread)
{
    const struct loop *l = context;
    const int64_t channels = l->x.c;
    double mean, inverse, along_one = 0, along_x = 0;
    (void)thread;
    token_statistics(l, t, &mean, &inverse);
    for (int64_t c = 0; c < channels; c++) {
        const double d = sdg_ref_get(&l->grad, t * channels + c) * sdg_ref_get(&l->gamma, c);
        along_one += d / (double)channels;
        along_x += d * (sdg_ref_get(&l->x, t * channels + c) - mean) * inverse / (double)channels;
    }
    for (int64_t c = 0; c < channels; c++) {
        const double grad = sdg_ref_get(&l->grad, t * channels + c),
                     n = (sdg_ref_get(&l->x, t * channels + c) - mean) * inverse;
        sdg_ref_put(&l->out, t * 2 * channels + c,
                    (grad * sdg_ref_get(&l->gamma, c) - along_one - n * along_x) * inverse);
        sdg_ref_put(&l->out, t * 2 * channels + channels + c, grad * n);
    }
}

enum sdg_result sdg_ref_layer_norm_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, step->op->in[0]),
        .gamma = sdg_ref_view(step, step->op->in[1]),
        .grad = sdg_ref_view(step, step->op->in[2]),
        .out = sdg_ref_view(step, step->op->out),
        .eps = step->op->u.layer_norm_gradient.eps,
    };
    sdg_cpu_run(step->program, l.x.n * sdg_ref_tokens(&l.x), reverse_token, &l);
    return SDG_OK;
}
