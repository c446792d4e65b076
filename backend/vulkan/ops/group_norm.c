#include "backend/vulkan/vk_ops.h"

struct sdg_push_group_norm { // GLSL twin: Push in shaders/group_norm.glsl
    uint32_t pixels, c, c1, group, groups, span, chunk, chunks;
    float eps;
};
_Static_assert(sizeof(struct sdg_push_group_norm) == 36, "as in the shader");

enum {
    INVOCATIONS = SDG_VK_INVOCATIONS,
    WIDTH = 4,         // channels of an invocation, where they allow it
    NEIGHBOURS = 32,   // channels of a pixel that a workgroup reads at least, where there are so many
    MOST_ROUNDS = 32,  // pixels of an invocation that make a chunk,
    LEAST_ROUNDS = 4,  // and where the device would not be busy
    MOST_CHUNKS = 256, // of a sample: each is read by all workgroups of its groups
};

// How the work is cut up: see the shaders.
struct layout { int64_t n, pixels, c, c1, groups, group, width, span, chunk, chunks; };

// The part of a workgroup's invocations that work, over all workgroups, as a number up to 1000.
static int64_t usage(int64_t units, int64_t span, int64_t groups)
{
    const int64_t busy = units < INVOCATIONS ? INVOCATIONS / units * units : INVOCATIONS;
    return 1000 * busy * groups / (INVOCATIONS * sdg_vk_ceil(groups, span) * span);
}

// The fewest groups side by side that keep a workgroup busy; false if none of them are channels by `width`.
static bool choose_span(struct layout *l, int64_t width)
{
    const int64_t most = width * INVOCATIONS, wanted = l->c < NEIGHBOURS ? l->c : NEIGHBOURS;
    int64_t best = 0;
    for (int64_t span = sdg_vk_ceil(wanted, l->group); span <= l->groups; span++) {
        const int64_t channels = span * l->group;
        if (span > 1 && (channels > most || span > INVOCATIONS))
            break;
        const int64_t used = usage(channels / width, span, l->groups);
        if (channels % width || used <= best)
            continue;
        best = used;
        l->span = span;
        l->width = width;
    }
    return best > 0;
}

// Whole samples where these are short, or as many as the device wants workgroups; else chunks, the shorter the fewer
// workgroups they make.
static void choose_chunk(struct layout *l, int64_t workgroups)
{
    const int64_t units = l->span * l->group / l->width, rows = units < INVOCATIONS ? INVOCATIONS / units : 1,
                  columns = l->n * sdg_vk_ceil(l->groups, l->span); // workgroups of a chunk
    l->chunk = l->pixels;
    if (l->pixels > rows * MOST_ROUNDS && columns < workgroups) {
        l->chunk = rows * MOST_ROUNDS;
        while (l->chunk > rows * LEAST_ROUNDS && columns * sdg_vk_ceil(l->pixels, l->chunk) < workgroups)
            l->chunk /= 2;
        while (sdg_vk_ceil(l->pixels, l->chunk) > MOST_CHUNKS)
            l->chunk *= 2;
    }
    l->chunks = sdg_vk_ceil(l->pixels, l->chunk);
}

static struct layout layout_of(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    const struct sdg_value_info *x = &graph->values[op->in[0]], *out = &graph->values[op->out];
    struct layout l = {.n = out->dims[0], .pixels = sdg_vk_pixels(out), .c = out->dims[3], .c1 = x->dims[3]};
    l.groups = op->u.group_norm.groups;
    l.group = l.c / l.groups;
    if ((l.c | l.c1) % WIDTH || !choose_span(&l, WIDTH))
        choose_span(&l, 1);
    choose_chunk(&l, vk->caps.norm_workgroups);
    return l;
}

// What is known of channels, and the statistics of all chunks.
static size_t scratch(const struct sdg_vk_lowering *lo)
{
    const struct layout l = layout_of(lo->vk, lo->graph, lo->op);
    return l.chunks == 1 ? 0 : (size_t)(2 * l.c + l.n * l.chunks * l.groups) * 2 * sizeof(float);
}

static enum sdg_result emit_whole(struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d)
{
    const struct sdg_op *op = lo->op;
    d->family = "group_norm";
    d->bindings[2] = sdg_vk_read(lo, op->in[1]);
    d->bindings[3] = sdg_vk_read(lo, op->in[2]);
    d->bindings[4] = sdg_vk_write(lo, op->out);
    d->binding_count = 5;
    sdg_vk_add_codes(lo, d);
    return sdg_vk_emit(lo, d);
}

static enum sdg_result emit_chunks(struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *apply, size_t parts)
{
    const struct sdg_op *op = lo->op;
    struct sdg_vk_dispatch stats = *apply;
    stats.family = "group_norm_stats";
    stats.bindings[2] = sdg_vk_scratch(lo, 0, parts, true);
    stats.bindings[3] = sdg_vk_read(lo, op->in[1]);
    stats.bindings[4] = sdg_vk_read(lo, op->in[2]);
    stats.binding_count = 5;
    sdg_vk_add_smoothing(lo, &stats, op->codes.smoothing);
    SDG_TRY(sdg_vk_emit(lo, &stats));
    apply->family = "group_norm_apply";
    apply->bindings[2] = sdg_vk_scratch(lo, 0, parts, false);
    apply->bindings[3] = sdg_vk_write(lo, op->out);
    apply->binding_count = 4;
    sdg_vk_add_interval(lo, apply, op->codes.interval, op->codes.lowest, op->codes.highest);
    lo->kernel[0] = 0; // the pass that gives the operation its name
    return sdg_vk_emit(lo, apply);
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct layout l = layout_of(lo->vk, lo->graph, op);
    const struct sdg_push_group_norm push = {
        .pixels = (uint32_t)l.pixels,
        .c = (uint32_t)l.c,
        .c1 = (uint32_t)l.c1,
        .group = (uint32_t)l.group,
        .groups = (uint32_t)l.groups,
        .span = (uint32_t)l.span,
        .chunk = (uint32_t)l.chunk,
        .chunks = (uint32_t)l.chunks,
        .eps = op->u.group_norm.eps,
    };
    struct sdg_vk_dispatch d = {
        .type = sdg_vk_float_type(lo->graph, op),
        .columns = l.width,
        .local_size = INVOCATIONS,
        .spec = {[SDG_SPEC_FUNCTION] = op->u.group_norm.activation},
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[3])},
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {sdg_vk_ceil(l.groups, l.span), l.chunks, l.n},
    };
    return l.chunks == 1 ? emit_whole(lo, &d) : emit_chunks(lo, &d, scratch(lo));
}

const struct sdg_vk_op sdg_vk_op_group_norm = {.lower = lower, .scratch = scratch};
