// Which reference kernel runs an operation, and what it needs: packed weights, plain weights, scratch.
#include "backend/cpu/ref/ref.h"

#include <stdio.h>

static enum sdg_result (*const kernels[SDG_OP_COUNT])(const struct sdg_cpu_step *step, int64_t row) = {
#define SDG_OP(name, upper, operands, result) [SDG_OP_##upper] = sdg_ref_##name,
#include "graph/ops.def"
#undef SDG_OP
};

static bool is_product(const struct sdg_op *op)
{
    return op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR;
}

static bool can_emit_codes(enum sdg_op_kind kind)
{
    return sdg_op_result(kind) == SDG_RESULT_EITHER || sdg_op_result(kind) == SDG_RESULT_CODES;
}

static bool is_interval(const struct sdg_value_info *info)
{
    return info->kind == SDG_VALUE_TABLE || info->dtype == SDG_F32;
}

// An operand that may be read as codes, and is.
static bool is_codes(const struct sdg_cpu_step *step, int k)
{
    const int interval = sdg_op_interval_of(step->op->kind, k);
    return interval && step->op->in[interval] &&
        sdg_dtype_is_codes(sdg_cpu_value(step->program, step->op->in[k])->dtype);
}

// Kernels read activations, inputs and weights of three float types, codes of some operands, and token ids.
static bool can_read(const struct sdg_cpu_step *step, int k)
{
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *info = sdg_cpu_value(step->program, op->in[k]);
    if (!op->in[k])
        return true;
    switch (sdg_op_operand(op->kind, k)) {
    case SDG_OPERAND_INTERVAL: return is_interval(info);
    case SDG_OPERAND_IDS: return info->dtype == SDG_S32;
    default: return info->kind != SDG_VALUE_TABLE && (sdg_dtype_is_run_float(info->dtype) || is_codes(step, k));
    }
}

// conv2d and linear on codes, or on floats that become some; nothing but the sum itself is different.
static bool is_integer_product(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    const struct sdg_cpu_program *program = step->program;
    const enum sdg_dtype x = sdg_cpu_value(program, op->in[0])->dtype;
    return is_product(op) && (op->load.codes.interval ? sdg_dtype_is_run_float(x) : sdg_dtype_is_codes(x)) &&
        sdg_cpu_value(program, op->in[1])->dtype == SDG_S8 && op->in[2] &&
        is_interval(sdg_cpu_value(program, op->in[2])) && op->in[3] &&
        sdg_cpu_value(program, op->in[3])->dtype == SDG_F32;
}

static bool moves_codes(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    enum sdg_dtype type = sdg_cpu_value(step->program, op->in[0])->dtype;
    return sdg_op_result(op->kind) == SDG_RESULT_MOVED && sdg_dtype_is_codes(type) &&
        sdg_cpu_value(step->program, op->out)->dtype == type;
}

static bool can_store(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    enum sdg_dtype type = sdg_cpu_value(step->program, op->out)->dtype;
    if (op->codes.interval)
        return can_emit_codes(op->kind) && is_interval(sdg_cpu_value(step->program, op->codes.interval)) &&
            type == (op->codes.lowest < 0 ? SDG_S8 : SDG_U8);
    return op->kind == SDG_OP_MEASURE_INTERVAL ? type == SDG_F32 : sdg_dtype_is_run_float(type);
}

static bool can_run(const struct sdg_cpu_step *step)
{
    if (moves_codes(step))
        return true;
    for (int k = 0; k < SDG_OP_MAX_INPUTS && !is_integer_product(step); k++)
        if (!can_read(step, k))
            return false;
    return can_store(step);
}

// Scratch memory of a thread.
static size_t work_bytes(const struct sdg_cpu_step *step)
{
    const struct sdg_value_info *keys;
    switch (step->op->kind) {
    case SDG_OP_MEASURE_INTERVAL: return 2 * sizeof(double); // the extremes it has found
    case SDG_OP_ATTENTION:                                   // a row of scores
        keys = sdg_cpu_value(step->program, step->op->in[1]);
        return (size_t)(keys->dims[1] * keys->dims[2]) * sizeof(double);
    case SDG_OP_ATTENTION_GRADIENT: return sdg_ref_attention_gradient_work(step);
    case SDG_OP_SELECTIVE_SCAN_GRADIENT: return sdg_ref_selective_scan_gradient_work(step);
    default: return 0;
    }
}

static enum sdg_result select(struct sdg_cpu_program *program, struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    if (!can_run(step))
        return SDG_OK;
    *taken = true;
    snprintf(step->kernel, sizeof step->kernel, "ref");
    step->run = kernels[op->kind];
    if (is_product(op)) {
        step->weight_bytes = sdg_ref_packed_bytes(sdg_cpu_value(program, op->in[1]));
        step->prepare = sdg_ref_pack;
    }
    for (int k = is_product(op) ? 2 : 0; k < SDG_OP_MAX_INPUTS; k++)
        if (sdg_cpu_value(program, op->in[k])->kind == SDG_VALUE_WEIGHT)
            sdg_cpu_want_weight(program, op->in[k]);
    sdg_cpu_want_weight(program, op->epilogue.bias);
    step->scratch_bytes = work_bytes(step) * (size_t)sdg_cpu_backend_of(program)->threads;
    return SDG_OK;
}

const struct sdg_cpu_provider sdg_cpu_reference_provider = {.name = "reference", .select = select};
