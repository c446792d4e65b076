#include "quant/smoothing.h"

#include "base/memory.h"
#include "graph/weights.h"

#include <math.h>
#include <string.h>

void sdg_smoothing_make(const float *amax, const float *wmax, size_t channels, double alpha, float *multipliers)
{
    for (size_t k = 0; k < channels; k++) {
        const double a = fmax((double)amax[k], 1e-3), w = fmax((double)wmax[k], 1e-5);
        multipliers[k] = (float)(1 / fmax(pow(a, alpha) / pow(w, 1 - alpha), 1e-5));
    }
}

static enum sdg_result add_layer(const struct sdg_log *log, const struct sdg_value_info *value,
                                 const struct sdg_tensors *tensors, float *wmax)
{
    struct sdg_weight weight;
    SDG_TRY(sdg_weight_find(log, tensors, value, &weight));
    float *row = sdg_alloc_raw(log, weight.inputs, sizeof *row, "a row of weights");
    if (!row)
        return SDG_ERROR_MEMORY;
    for (size_t o = 0; o < weight.outputs; o++) {
        sdg_weight_read(&weight, o, 1, SDG_F32, row);
        for (size_t k = 0; k < weight.inputs; k++)
            wmax[k] = fmaxf(wmax[k], fabsf(row[k]));
    }
    sdg_free(row);
    return SDG_OK;
}

enum sdg_result sdg_smoothing_weights(const struct sdg_log *log, const struct sdg_graph *graph, sdg_value site,
                                      const struct sdg_tensors *tensors, float *wmax)
{
    for (int64_t k = 0; k < graph->values[site].dims[3]; k++)
        wmax[k] = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op->in[0] == site && sdg_op_is_quantizable(graph, op))
            SDG_TRY(add_layer(log, &graph->values[op->in[1]], tensors, wmax));
    }
    return SDG_OK;
}

enum sdg_result sdg_smoother_open(const struct sdg_log *log, const char *path, const struct sdg_tensors *tensors,
                                  struct sdg_number alpha, struct sdg_smoother *out)
{
    struct sdg_smoother s = {.tensors = tensors, .path = path, .alpha = alpha.given ? alpha.value : 0.5};
    char model[17];
    *out = (struct sdg_smoother){0};
    if (!path)
        return SDG_OK;
    if (!(s.alpha >= 0 && s.alpha <= 1))
        return sdg_fail(log, SDG_ERROR_USAGE, "alpha of smoothing is %g, should be 0 to 1", s.alpha);
    SDG_TRY(sdg_statistics_read(log, path, &s.statistics));
    sdg_tensors_fingerprint(tensors, model);
    if (strcmp(model, s.statistics->info.model) != 0) {
        enum sdg_result result = sdg_fail(log, SDG_ERROR_INPUT,
                                          "%s: is of another model: its weights have fingerprint %.20s, those of %s %s",
                                          path, s.statistics->info.model, sdg_tensors_path(tensors), model);
        sdg_smoother_close(&s);
        return result;
    }
    *out = s;
    return SDG_OK;
}

void sdg_smoother_close(struct sdg_smoother *smoother)
{
    sdg_statistics_destroy(&smoother->statistics);
    *smoother = (struct sdg_smoother){0};
}

enum sdg_result sdg_smoother_site(const struct sdg_log *log, const struct sdg_smoother *s,
                                  const struct sdg_graph *graph, const struct sdg_site *site, float *multipliers)
{
    const struct sdg_site_statistics *seen = sdg_statistics_find(s->statistics, site->name);
    const size_t channels = (size_t)graph->values[site->value].dims[3], rows = s->statistics->info.rows;
    if (!seen || seen->channels != channels || seen->smoothing)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no statistics of %s, with %zu channels and not smoothed",
                        s->path, site->name, channels);
    float *amax = sdg_alloc(log, channels, 2 * sizeof *amax, "smoothing");
    if (!amax)
        return SDG_ERROR_MEMORY;
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < channels; k++)
            amax[k] = fmaxf(amax[k], seen->largest[r * channels + k]);
    enum sdg_result result = sdg_smoothing_weights(log, graph, site->value, s->tensors, amax + channels);
    if (result == SDG_OK)
        sdg_smoothing_make(amax, amax + channels, channels, s->alpha, multipliers);
    sdg_free(amax);
    return result;
}
