#include "backend/vulkan/vk_ops.h"

struct sdg_push_measure_interval { // GLSL twin: Push in shaders/measure_interval.comp
    uint32_t packs;
};
_Static_assert(sizeof(struct sdg_push_measure_interval) == 4, "as in the shader");
struct sdg_push_measure_interval_merge { // GLSL twin: Push in shaders/measure_interval_merge.comp
    uint32_t parts;
    float lowest, highest;
};
_Static_assert(sizeof(struct sdg_push_measure_interval_merge) == 12, "as in the shader");

// Enough workgroups to fill a device, each with some loads to do per invocation; scratch has two floats of each.
enum { LOADS = 8, MOST_PARTS = 256 };

static int64_t packs_of(const struct sdg_graph *graph, const struct sdg_op *op)
{
    int64_t total = sdg_value_elements(&graph->values[op->in[0]]);
    return total % 4 == 0 ? total / 4 : total; // the shader with the same width is taken
}

static int64_t parts_of(const struct sdg_graph *graph, const struct sdg_op *op)
{
    int64_t wanted = sdg_vk_ceil(packs_of(graph, op), SDG_VK_INVOCATIONS * LOADS);
    return wanted < MOST_PARTS ? wanted : MOST_PARTS;
}

static size_t scratch(const struct sdg_vk_lowering *lo)
{
    return (size_t)parts_of(lo->graph, lo->op) * 2 * sizeof(float);
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *x = sdg_vk_value(lo, op->in[0]);
    int64_t parts = parts_of(lo->graph, op);
    const size_t part_bytes = scratch(lo);
    const struct sdg_push_measure_interval push = {.packs = (uint32_t)packs_of(lo->graph, op)};
    const struct sdg_push_measure_interval_merge merge_push = {
        .parts = (uint32_t)parts,
        .lowest = (float)op->u.measure_interval.lowest,
        .highest = (float)op->u.measure_interval.highest,
    };
    const struct sdg_vk_dispatch d = {
        .family = "measure_interval",
        .type = x->dtype,
        .columns = sdg_value_elements(x),
        .local_size = SDG_VK_INVOCATIONS,
        .binding_count = 2,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_scratch(lo, 0, part_bytes, true)},
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {parts, 1, 1},
    };
    const struct sdg_vk_dispatch merge = {
        .family = "measure_interval_merge",
        .type = SDG_F32,
        .local_size = SDG_VK_INVOCATIONS,
        .binding_count = 2,
        .bindings = {sdg_vk_scratch(lo, 0, part_bytes, false), sdg_vk_write(lo, op->out)},
        .push = &merge_push,
        .push_bytes = sizeof merge_push,
        .groups = {1, 1, 1},
    };
    SDG_TRY(sdg_vk_emit(lo, &d));
    return sdg_vk_emit(lo, &merge);
}

const struct sdg_vk_op sdg_vk_op_measure_interval = {.lower = lower, .scratch = scratch};
