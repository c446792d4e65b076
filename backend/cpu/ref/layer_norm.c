#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x, gamma, beta;
    struct sdg_ref_result out;
    double eps;
};

static void normalise(void *context, int64_t t, int thread)
{
    const struct loop *l = context;
    const int64_t channels = l->x.c;
    double mean = 0, variance = 0;
    (void)thread;
    for (int64_t c = 0; c < channels; c++)
        mean += sdg_ref_get(&l->x, t * channels + c);
    mean /= (double)channels;
    for (int64_t c = 0; c < channels; c++) {
        double value = sdg_ref_get(&l->x, t * channels + c) - mean;
        variance += value * value;
    }
    double scale = 1 / sqrt(variance / (double)channels + l->eps);
    for (int64_t c = 0; c < channels; c++) {
        double value = (sdg_ref_get(&l->x, t * channels + c) - mean) * scale;
        sdg_ref_store(&l->out, t * channels + c, value * sdg_ref_get(&l->gamma, c) + sdg_ref_get(&l->beta, c));
    }
}

enum sdg_result sdg_ref_layer_norm(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop l = {
        .x = sdg_ref_view(step, step->op->in[0]),
        .gamma = sdg_ref_view(step, step->op->in[1]),
        .beta = sdg_ref_view(step, step->op->in[2]),
        .out = sdg_ref_result(step, row),
        .eps = step->op->u.layer_norm.eps,
    };
    sdg_cpu_run(step->program, l.x.n * sdg_ref_tokens(&l.x), normalise, &l);
    return SDG_OK;
}
