#include "learn/adamw.h"

#include "base/memory.h"

#include <math.h>

enum sdg_result sdg_adamw_create(const struct sdg_log *log, const struct sdg_adamw_range *ranges, size_t range_count,
                                 const struct sdg_adamw_options *options, struct sdg_adamw *out)
{
    *out = (struct sdg_adamw){.options = *options, .ranges = ranges, .range_count = range_count};
    for (size_t i = 0; i < range_count; i++)
        out->count += ranges[i].count;
    out->mean = sdg_alloc(log, out->count, sizeof *out->mean, "an optimiser's moments");
    out->square = sdg_alloc(log, out->count, sizeof *out->square, "an optimiser's moments");
    if (out->mean && out->square)
        return SDG_OK;
    sdg_adamw_clear(out);
    return SDG_ERROR_MEMORY;
}

void sdg_adamw_clear(struct sdg_adamw *adamw)
{
    sdg_free(adamw->mean);
    sdg_free(adamw->square);
    *adamw = (struct sdg_adamw){0};
}

static double norm_of(const double *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

double sdg_adamw_step(struct sdg_adamw *adamw, double share, double *parameters, const double *gradients)
{
    const struct sdg_adamw_options *o = &adamw->options;
    const double norm = norm_of(gradients, adamw->count), kept = o->clip > 0 ? fmin(1, o->clip / (norm + 1e-6)) : 1;
    adamw->steps++;
    const double correct1 = 1 - pow(o->beta1, (double)adamw->steps), correct2 = 1 - pow(o->beta2, (double)adamw->steps);
    size_t i = 0;
    for (size_t r = 0; r < adamw->range_count; r++) {
        const double rate = share * adamw->ranges[r].rate;
        for (size_t end = i + adamw->ranges[r].count; i < end; i++) {
            const double g = gradients[i] * kept;
            double *m = &adamw->mean[i], *v = &adamw->square[i];
            *m = o->beta1 * *m + (1 - o->beta1) * g;
            *v = o->beta2 * *v + (1 - o->beta2) * g * g;
            parameters[i] -= rate * (o->decay * parameters[i] + *m / correct1 / (sqrt(*v / correct2) + o->epsilon));
        }
    }
    return norm;
}
