#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x, gamma, beta;
    struct sdg_ref_result out;
    double eps;
    bool statistics;
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
    if (l->statistics) {
        sdg_ref_put(&l->out.view, 2 * (channels + t), mean);
        sdg_ref_put(&l->out.view, 2 * (channels + t) + 1, scale);
        return;
    }
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
        .statistics = step->op->u.layer_norm.statistics,
    };
    for (int64_t c = 0; l.statistics && c < l.x.c; c++) {
        sdg_ref_put(&l.out.view, 2 * c, sdg_ref_get(&l.gamma, c));
        sdg_ref_put(&l.out.view, 2 * c + 1, sdg_ref_get(&l.beta, c));
    }
    sdg_cpu_run(step->program, l.x.n * sdg_ref_tokens(&l.x), normalise, &l);
    return SDG_OK;
}
