#include "backend/cpu/ref/ref.h"

#include <math.h>

// The channels of x followed by those of x2, as one image.
struct joined { struct sdg_ref_view x, x2; };

static double get(const struct joined *in, int64_t position, int64_t channel)
{
    if (channel < in->x.c)
        return sdg_ref_get(&in->x, position * in->x.c + channel);
    return sdg_ref_get(&in->x2, position * in->x2.c + channel - in->x.c);
}

// Sum over one group of (value - shift)^power, power 1 or 2.
static double moment(const struct joined *in, int64_t n, int64_t first, int64_t channels, double shift, int power)
{
    int64_t tokens = sdg_ref_tokens(&in->x);
    double sum = 0;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = first; c < first + channels; c++) {
            double value = get(in, n * tokens + t, c) - shift;
            sum += power == 1 ? value : value * value;
        }
    return sum;
}

enum sdg_result sdg_ref_group_norm(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct joined in = {.x = sdg_ref_view(step, op->in[0]), .x2 = sdg_ref_view(step, op->in[3])};
    const struct sdg_ref_result result = sdg_ref_result(step, row);
    const struct sdg_ref_view gamma = sdg_ref_view(step, op->in[1]), beta = sdg_ref_view(step, op->in[2]),
                              *out = &result.view;
    const int64_t groups = op->u.group_norm.groups, channels = out->c / groups, tokens = sdg_ref_tokens(out);
    const double eps = op->u.group_norm.eps, count = (double)(channels * tokens);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < out->n; n++)
        for (int64_t group = 0; group < groups; group++) {
            int64_t first = group * channels;
            double mean = moment(&in, n, first, channels, 0, 1) / count;
            double scale = 1 / sqrt(moment(&in, n, first, channels, mean, 2) / count + eps);
            for (int64_t t = 0; t < tokens; t++)
                for (int64_t c = first; c < first + channels; c++) {
                    double value =
                        (get(&in, n * tokens + t, c) - mean) * scale * sdg_ref_get(&gamma, c) + sdg_ref_get(&beta, c);
                    sdg_ref_store(&result, (n * tokens + t) * out->c + c,
                                  sdg_ref_activation(op->u.group_norm.activation, value, 1, 0));
                }
        }
    return SDG_OK;
}
