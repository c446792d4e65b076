#include "backend/vulkan/vk_ops.h"

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED, "%s: backend vulkan cannot run this hadamard", lo->op->name);
}

const struct sdg_vk_op sdg_vk_op_hadamard = {.lower = lower};
