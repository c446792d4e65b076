// Which of the cpu backend's own kernels runs an operation.
#include "backend/cpu/fast/fast.h"

#include <stdio.h>

const struct sdg_fast_kernels *sdg_fast_kernels_of(const struct sdg_cpu_backend *backend)
{
    const struct sdg_fast_kernels *best = sdg_fast_kernels_get(-1);
    return best->pairs && (backend->disable & SDG_FEATURE_BF16) ? sdg_fast_kernels_get(2) : best;
}

bool sdg_fast_types(const struct sdg_cpu_step *step, bool *half)
{
    const struct sdg_graph *graph = &step->program->graph;
    const enum sdg_dtype type = graph->values[step->op->out].dtype;
    sdg_value reads[6];
    int count = sdg_op_reads(graph, step->op, reads);
    for (int i = 0; i < count; i++)
        if (graph->values[reads[i]].dtype != type)
            return false;
    *half = type == SDG_BF16;
    return type == SDG_F32 || type == SDG_BF16;
}

enum sdg_result sdg_fast_read_weight(struct sdg_cpu_program *program, sdg_value v, enum sdg_dtype dtype, void *to)
{
    enum { PART = 1 << 16 };
    const struct sdg_value_info *weight = sdg_cpu_value(program, v);
    const struct sdg_tensor *tensor = sdg_tensors_find(program->weights, weight->name);
    if (weight->slice_of || !tensor || (tensor->dtype != SDG_F32 && tensor->dtype != SDG_F16 && tensor->dtype != SDG_BF16))
        return sdg_cpu_read_weight(program, v, dtype, to);
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(program));
    const int64_t count = sdg_value_elements(weight); // the tensor's, as was checked when creation began
    const size_t size = sdg_dtype_size(dtype), from_size = sdg_dtype_size(tensor->dtype);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += PART)
        kernels->convert((const char *)tensor->data + (size_t)i * from_size, tensor->dtype, (char *)to + (size_t)i * size, dtype == SDG_BF16,
                         count - i < PART ? count - i : PART);
    if (program->release_weights)
        sdg_tensors_release(program->weights, tensor);
    return SDG_OK;
}

void sdg_fast_take(struct sdg_cpu_step *step, enum sdg_result (*run)(const struct sdg_cpu_step *step, int64_t row), bool *taken)
{
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(step->program));
    snprintf(step->kernel, sizeof step->kernel, "%s:%s", sdg_op_name(step->op->kind), kernels->name);
    step->run = run;
    *taken = true;
}

static enum sdg_result select(struct sdg_cpu_program *program, struct sdg_cpu_step *step, bool *taken)
{
    (void)program;
    switch (step->op->kind) {
    case SDG_OP_ATTENTION: return sdg_fast_select_attention(step, taken);
    case SDG_OP_GROUP_NORM: return sdg_fast_select_group_norm(step, taken);
    case SDG_OP_CONV2D:
    case SDG_OP_LINEAR: return sdg_fast_select_product(step, taken);
    case SDG_OP_LAYER_NORM:
    case SDG_OP_UNARY:
    case SDG_OP_BINARY:
    case SDG_OP_GEGLU: sdg_fast_select_pointwise(step, taken); break;
    case SDG_OP_UPSAMPLE_NEAREST:
    case SDG_OP_CONCAT:
    case SDG_OP_SLICE: sdg_fast_select_copy(step, taken); break;
    default: break;
    }
    return SDG_OK;
}

const struct sdg_cpu_provider sdg_fast_provider = {.name = "fast", .select = select};
