// Which of the cpu backend's own kernels runs an operation.
#include "backend/cpu/fast/fast.h"

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
    case SDG_OP_QUANTIZE:
    case SDG_OP_MEASURE_INTERVAL:
    case SDG_OP_HADAMARD:
    case SDG_OP_GEGLU: sdg_fast_select_pointwise(step, taken); break;
    case SDG_OP_UPSAMPLE_NEAREST:
    case SDG_OP_CONCAT:
    case SDG_OP_SLICE: sdg_fast_select_copy(step, taken); break;
    case SDG_OP_CONV1D_CAUSAL: sdg_fast_select_conv1d_causal(step, taken); break;
    case SDG_OP_SELECTIVE_SCAN: sdg_fast_select_selective_scan(step, taken); break;
    case SDG_OP_MATMUL: sdg_fast_select_matmul(step, taken); break;
    case SDG_OP_FAKE_QUANTIZE:
    case SDG_OP_UNARY_GRADIENT:
    case SDG_OP_FAKE_QUANTIZE_GRADIENT:
    case SDG_OP_SELECTIVE_SCAN_GRADIENT:
    case SDG_OP_SUM:
    case SDG_OP_PAD:
    case SDG_OP_BROADCAST: sdg_fast_select_gradient(step, taken); break;
    default: break;
    }
    return SDG_OK;
}

const struct sdg_cpu_provider sdg_fast_provider = {.name = "fast", .select = select};
