// Which reference kernel runs an operation, and what it needs: packed weights, plain weights, scratch.
#include "backend/cpu/ref/ref.h"

#include <stdio.h>

static enum sdg_result (*const kernels[SDG_OP_COUNT])(const struct sdg_cpu_step *step, int64_t row) = {
#define SDG_OP(name, upper) [SDG_OP_##upper] = sdg_ref_##name,
#include "graph/ops.def"
#undef SDG_OP
};

struct sdg_ref_view sdg_ref_view(const struct sdg_cpu_step *step, sdg_value v)
{
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    return (struct sdg_ref_view){
        .data = v ? sdg_cpu_data(step->program, v) : NULL,
        .type = info->dtype,
        .n = info->dims[0],
        .h = info->dims[1],
        .w = info->dims[2],
        .c = info->dims[3],
    };
}

static bool stores(enum sdg_dtype type)
{
    return type == SDG_F32 || type == SDG_F16 || type == SDG_BF16;
}

// Kernels read activations, inputs and weights of three float types, and token ids; tables in an epilogue or as an interval.
static bool can_read(const struct sdg_cpu_step *step, int k)
{
    const struct sdg_value_info *info = sdg_cpu_value(step->program, step->op->in[k]);
    if (!step->op->in[k])
        return true;
    if (info->kind == SDG_VALUE_TABLE)
        return step->op->kind == SDG_OP_FAKE_QUANTIZE && k > 0;
    return step->op->kind == SDG_OP_EMBED && k == 0 ? info->dtype == SDG_S32 : stores(info->dtype);
}

static bool can_run(const struct sdg_cpu_step *step)
{
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        if (!can_read(step, k))
            return false;
    return stores(sdg_cpu_value(step->program, step->op->out)->dtype);
}

static bool packs_weights(const struct sdg_op *op)
{
    return op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR;
}

static enum sdg_result select(struct sdg_cpu_program *program, struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    if (!can_run(step))
        return SDG_OK;
    *taken = true;
    snprintf(step->kernel, sizeof step->kernel, "ref");
    step->run = kernels[op->kind];
    if (packs_weights(op)) {
        step->weight_bytes = sdg_ref_packed_bytes(sdg_cpu_value(program, op->in[1]));
        step->prepare = sdg_ref_pack;
    }
    for (int k = packs_weights(op) ? 2 : 0; k < SDG_OP_MAX_INPUTS; k++)
        if (sdg_cpu_value(program, op->in[k])->kind == SDG_VALUE_WEIGHT)
            sdg_cpu_want_weight(program, op->in[k]);
    sdg_cpu_want_weight(program, op->epilogue.bias);
    if (op->kind == SDG_OP_ATTENTION) { // one row of scores per thread
        const struct sdg_value_info *keys = sdg_cpu_value(program, op->in[1]);
        step->scratch_bytes = (size_t)(keys->dims[1] * keys->dims[2]) * sizeof(double) * (size_t)sdg_cpu_backend_of(program)->threads;
    }
    return SDG_OK;
}

const struct sdg_cpu_provider sdg_cpu_reference_provider = {.name = "reference", .select = select};
