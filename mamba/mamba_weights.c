#include "graph/weights.h"
#include "mamba/mamba.h"

#include <float.h>
#include <math.h>

enum { BLOCK = 1024 };

// The largest number whose exponential is one of f32: the f32 below ln(FLT_MAX).
static const float EXP_MAX = 88.72283f;

static enum sdg_result check_numbers(const struct sdg_log *log, const struct sdg_weight *w, bool logarithm)
{
    float row[BLOCK];
    const size_t count = w->outputs * w->inputs;
    for (size_t first = 0; first < count; first += BLOCK) {
        const size_t part = count - first < BLOCK ? count - first : BLOCK;
        sdg_stored_expand(&w->stored, first, part, SDG_F32, row);
        for (size_t i = 0; i < part; i++) {
            if (!isfinite(row[i]))
                return sdg_fail(log, SDG_ERROR_INPUT,
                                "%s: tensor %s has a number that is not finite (%g): the file is damaged",
                                sdg_tensors_path(w->tensors), w->stored.tensor->name, (double)row[i]);
            if (logarithm && row[i] > EXP_MAX)
                return sdg_fail(log, SDG_ERROR_INPUT,
                                "%s: tensor %s has the logarithm %g, whose number is not finite in f32 (beyond e^%g)",
                                sdg_tensors_path(w->tensors), w->stored.tensor->name, (double)row[i], (double)EXP_MAX);
        }
    }
    return SDG_OK;
}

enum sdg_result sdg_mamba_check_weights(const struct sdg_log *log, const struct sdg_graph *graph,
                                        const struct sdg_tensors *tensors)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op->kind != SDG_OP_SELECTIVE_SCAN && op->kind != SDG_OP_CONV1D_CAUSAL)
            continue;
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++) {
            struct sdg_weight weight;
            if (op->in[k] && sdg_op_operand(op->kind, k) == SDG_OPERAND_WEIGHT &&
                sdg_weight_find(NULL, tensors, &graph->values[op->in[k]], &weight) == SDG_OK)
                SDG_TRY(check_numbers(log, &weight, op->kind == SDG_OP_SELECTIVE_SCAN && k == 3));
        }
    }
    return SDG_OK;
}
