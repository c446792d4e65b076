#include "backend/cpu/ref/ref.h"

#include <math.h>

enum sdg_result sdg_ref_layer_norm(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]);
    const struct sdg_ref_result out = sdg_ref_result(step, row);
    const struct sdg_ref_view gamma = sdg_ref_view(step, step->op->in[1]), beta = sdg_ref_view(step, step->op->in[2]);
    const int64_t all = x.n * sdg_ref_tokens(&x), channels = x.c;
    const double eps = step->op->u.layer_norm.eps;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < all; t++) {
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < channels; c++)
            mean += sdg_ref_get(&x, t * channels + c);
        mean /= (double)channels;
        for (int64_t c = 0; c < channels; c++) {
            double value = sdg_ref_get(&x, t * channels + c) - mean;
            variance += value * value;
        }
        double scale = 1 / sqrt(variance / (double)channels + eps);
        for (int64_t c = 0; c < channels; c++) {
            double value = (sdg_ref_get(&x, t * channels + c) - mean) * scale;
            sdg_ref_store(&out, t * channels + c, value * sdg_ref_get(&gamma, c) + sdg_ref_get(&beta, c));
        }
    }
    return SDG_OK;
}
