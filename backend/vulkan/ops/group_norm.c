#include "backend/vulkan/vk_ops.h"

struct sdg_push_group_norm { // GLSL twin: Push in shaders/group_norm.glsl
    uint32_t pixels, c, c1, group, chunk, chunks, total;
    float eps;
};
_Static_assert(sizeof(struct sdg_push_group_norm) == 32, "as in the shader");

// Scratch: partial statistics [N][chunks][C] of two floats, then scales [N][C] of two floats, both aligned for binding.
struct layout {
    int64_t n, pixels, c, c1, chunk, chunks;
    size_t part_bytes, scale_offset, scale_bytes;
};
enum { CHUNK = 64, INVOCATIONS = 64 };

static struct layout layout_of(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    const struct sdg_value_info *x = &graph->values[op->in[0]], *out = &graph->values[op->out];
    struct layout l = {.n = out->dims[0], .pixels = sdg_vk_pixels(out), .c = out->dims[3], .c1 = x->dims[3]};
    l.chunk = CHUNK;
    while (sdg_vk_ceil(l.pixels, l.chunk) > 1024) // enough to fill any device; more only lengthens the second pass
        l.chunk *= 2;
    l.chunks = sdg_vk_ceil(l.pixels, l.chunk);
    l.part_bytes = (size_t)(l.n * l.chunks * l.c) * 2 * sizeof(float);
    l.scale_offset = sdg_vk_align(l.part_bytes, vk->caps.alignment);
    l.scale_bytes = (size_t)(l.n * l.c) * 2 * sizeof(float);
    return l;
}

static size_t scratch(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    struct layout l = layout_of(vk, graph, op);
    return l.scale_offset + l.scale_bytes;
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct layout l = layout_of(lo->vk, lo->graph, op);
    enum sdg_dtype type = sdg_vk_float_type(lo->graph, op);
    int64_t group = l.c / op->u.group_norm.groups, total = l.n * l.pixels * l.c;
    const struct sdg_push_group_norm push = {
        .pixels = (uint32_t)l.pixels,
        .c = (uint32_t)l.c,
        .c1 = (uint32_t)l.c1,
        .group = (uint32_t)group,
        .chunk = (uint32_t)l.chunk,
        .chunks = (uint32_t)l.chunks,
        .total = (uint32_t)total,
        .eps = op->u.group_norm.eps,
    };
    struct sdg_vk_binding x = sdg_vk_read(lo, op->in[0]), x2 = sdg_vk_read(lo, op->in[3]);
    struct sdg_vk_dispatch apply = {
        .family = "group_norm",
        .type = type,
        .spec = {[SDG_SPEC_FUNCTION] = op->u.group_norm.activation},
        .binding_count = 5,
        .bindings = {x, x2, sdg_vk_scratch(lo, l.scale_offset, l.scale_bytes, false), sdg_vk_read(lo, op->in[2]),
                     sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    struct sdg_vk_dispatch stats = {
        .family = "group_norm_stats",
        .type = type,
        .local_size = INVOCATIONS,
        .binding_count = 3,
        .bindings = {x, x2, sdg_vk_scratch(lo, 0, l.part_bytes, true)},
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {sdg_vk_ceil(l.c, INVOCATIONS), l.chunks, l.n},
    };
    struct sdg_vk_dispatch merge = {
        .family = "group_norm_merge",
        .type = SDG_F32,
        .local_size = INVOCATIONS,
        .binding_count = 3,
        .bindings = {sdg_vk_scratch(lo, 0, l.part_bytes, false), sdg_vk_read(lo, op->in[1]),
                     sdg_vk_scratch(lo, l.scale_offset, l.scale_bytes, true)},
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {op->u.group_norm.groups, l.n, 1},
    };
    sdg_vk_add_codes(lo, &apply);
    SDG_TRY(sdg_vk_emit(lo, &stats));
    SDG_TRY(sdg_vk_emit(lo, &merge));
    lo->kernel[0] = 0; // the pass that gives the operation its name
    return sdg_vk_emit_elements(lo, &apply, op->codes.interval ? sdg_vk_ceil(total, 4) : total);
}

const struct sdg_vk_op sdg_vk_op_group_norm = {.lower = lower, .scratch = scratch};
