#include "quant/smoothing.h"

#include "base/memory.h"
#include "graph/weights.h"

#include <math.h>

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
