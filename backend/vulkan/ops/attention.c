#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

struct sdg_push_attention { // GLSL twin: Push in shaders/attention.glsl
    uint32_t queries, keys, pitch_qk, pitch_v;
    float scale;
    uint32_t depth, depth_v, causal;
};
_Static_assert(sizeof(struct sdg_push_attention) == 32, "as in the shader");

enum {
    INVOCATIONS = 64,
    MATRIX_SUMS = 64, // of the result, an invocation's share of them in registers
};

struct shape { int64_t queries, keys, heads, batch, depth, depth_v; };

// ---- without matrices ----

// How shaders/attention.comp cuts up the work: queries of a workgroup, keys of a block, channels of a slice.
struct cut { uint32_t rows, keys, slice; };

// 32 or 40, whichever needs fewer of the pieces that it cuts a and b into to be filled up.
static uint32_t best_length(int64_t a, int64_t b)
{
    enum { SHORT = 32, LONG = 40 };
    const int64_t with_short = (sdg_vk_ceil(a, SHORT) + sdg_vk_ceil(b, SHORT)) * SHORT,
                  with_long = (sdg_vk_ceil(a, LONG) + sdg_vk_ceil(b, LONG)) * LONG;
    return with_long <= with_short ? LONG : SHORT;
}

static uint32_t choose_slice(int64_t depth, int64_t depth_v)
{
    const int64_t deeper = depth > depth_v ? depth : depth_v;
    return deeper <= 8 ? 8 : deeper <= 16 ? 16 : best_length(depth, depth_v);
}

// More queries reuse keys and values more often, until an invocation's share of the result (rows / 8 times an eighth of
// each slice, in registers) grows too long.
static uint32_t choose_rows(int64_t queries, int64_t depth_v, uint32_t slice)
{
    const int64_t per_row = sdg_vk_ceil(depth_v, slice) * slice / 8;
    if (4 * per_row <= 64 && queries > 16)
        return 32;
    return 2 * per_row <= 64 && queries > 8 ? 16 : 8;
}

static size_t cut_bytes(const struct cut *c)
{
    enum { PARTS = 8 };
    return sizeof(float) * ((c->rows + c->keys) * (c->slice + 1) + c->rows * (c->keys + 1) + c->rows * PARTS);
}

// One block where that leaves no more of it empty than blocks of 32 or 40 do, as with the 77 keys of a prompt; but a
// long block may be too long for the shared memory: devices have 16 KiB or more.
static struct cut choose_cut(const struct sdg_vk_caps *caps, const struct shape *s)
{
    enum { ONE_BLOCK = 80 };
    const uint32_t best = best_length(s->keys, 0);
    struct cut cut = {.keys = sdg_vk_ceil(s->keys, best) * best == ONE_BLOCK ? ONE_BLOCK : best,
                      .slice = choose_slice(s->depth, s->depth_v)};
    cut.rows = choose_rows(s->queries, s->depth_v, cut.slice);
    if (cut_bytes(&cut) > caps->shared_bytes)
        cut.keys = best;
    if (cut_bytes(&cut) > caps->shared_bytes)
        cut.keys = 32;
    return cut;
}

// ---- by a tile of the shader's ----

struct plan {
    const struct sdg_tile *tile;
    const struct sdg_vk_matrix *matrix; // NULL: the shader has none
    uint32_t buffers;
};

// shaders/attention_lanes.glsl: for how many fours of channels results may wait in shared memory between blocks. Always
// as many as there is room for, so that heads of all sizes share a pipeline.
static uint32_t waiting_fours(const struct sdg_vk_caps *caps, const struct sdg_tile *t)
{
    return caps->shared_bytes / (t->m * 4 * (uint32_t)sizeof(float));
}

static bool plan_lanes(const struct sdg_vk_caps *caps, const struct shape *s, const struct sdg_tile *t,
                       struct plan *plan)
{
    *plan = (struct plan){.tile = t};
    return t->threads == caps->subgroup_size && (s->queries > t->m / 2 || t->tm == 1) &&
        s->depth_v <= 4 * (int64_t)waiting_fours(caps, t);
}

// The rest is shaders/attention_coopmat.glsl's.

// Bytes of shared memory.
static int64_t shared_bytes(const struct sdg_tile *t, const struct sdg_vk_matrix *matrix, int64_t depth,
                            uint32_t subgroup, uint32_t buffers)
{
    const int64_t padding = 16, lanes = t->n / t->tn * subgroup, parts = lanes > t->tm ? lanes / t->tm : 1;
    const int64_t queries = t->m * (sdg_vk_ceil(depth, matrix->k) * matrix->k * 2 + padding),
                  slices = buffers * t->n * (t->k * 2 + padding),
                  scores = t->m * (t->n * 4 + padding + t->n * 2 + padding),
                  rows = t->m * (parts + 1) * 4 + t->m / t->tm * 4;
    return queries + slices + scores + rows;
}

// What the shader's constants have to divide.
static bool divides(const struct sdg_tile *t, const struct sdg_vk_matrix *x, uint32_t subgroup)
{
    const uint32_t shares = t->n / t->tn, lanes = shares * subgroup, parts = lanes > t->tm ? lanes / t->tm : 1;
    return (parts & (parts - 1)) == 0 && t->tm % x->m == 0 && t->tn % x->n == 0 && t->n % x->k == 0 &&
        t->k % x->k == 0 && t->k % (x->n * shares) == 0 && x->n % 8 == 0 && x->k % 8 == 0 &&
        (lanes % t->tm == 0 || t->tm % lanes == 0) && t->n % (2 * parts) == 0;
}

static bool plan_matrices(const struct sdg_vk_caps *caps, const struct shape *s, const struct sdg_tile *t,
                          struct plan *plan)
{
    const struct sdg_vk_matrices *matrices = &caps->matrices;
    const int64_t sums = t->tm * sdg_vk_ceil(s->depth_v, t->k) * t->k / (t->n / t->tn);
    if (t->threads > matrices->most_subgroups || t->threads * matrices->subgroup > caps->max_invocations ||
        sums > (int64_t)MATRIX_SUMS * matrices->subgroup)
        return false;
    const struct sdg_vk_matrix *x = matrices->halves.list, *end = x + matrices->halves.count;
    while (x < end && !divides(t, x, matrices->subgroup))
        x++;
    for (uint32_t buffers = 2; x < end && buffers > 0; buffers--)
        if (shared_bytes(t, x, s->depth, matrices->subgroup, buffers) <= caps->shared_bytes) {
            *plan = (struct plan){t, x, buffers};
            return true;
        }
    return false;
}

// The tile whose blocks fit the number of keys best; of those the first one that gives the device enough workgroups.
static bool choose_tile(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, const struct shape *s,
                        struct plan *plan)
{
    int64_t least = INT64_MAX;
    bool enough = false;
    for (const struct sdg_tile *t = shader->tiles; t < shader->tiles + shader->tile_count; t++) {
        struct plan next;
        const int64_t keys = sdg_vk_ceil(s->keys, t->n) * t->n;
        if (keys > least || (keys == least && enough) ||
            !(shader->needs & SDG_FEATURE_LANES ? plan_lanes : plan_matrices)(caps, s, t, &next))
            continue;
        least = keys;
        enough = sdg_vk_ceil(s->queries, t->m) * s->heads * s->batch >= caps->workgroups;
        *plan = next;
    }
    return least < INT64_MAX;
}

static void add_plan(const struct sdg_vk *vk, const struct shape *s, struct sdg_vk_dispatch *d, const struct plan *plan)
{
    d->local_size = plan->tile->threads;
    d->spec[SDG_SPEC_BM] = plan->tile->m;
    d->spec[SDG_SPEC_BN] = plan->tile->n;
    d->spec[SDG_SPEC_TM] = plan->tile->tm;
    d->spec[SDG_SPEC_TN] = plan->tile->tn;
    if (!plan->matrix) {
        d->spec[SDG_SPEC_WAITING] = waiting_fours(&vk->caps, plan->tile);
        return;
    }
    d->local_size = plan->tile->threads * vk->caps.matrices.subgroup;
    d->spec[SDG_SPEC_DEPTH] = (uint32_t)s->depth;
    d->spec[SDG_SPEC_DEPTH_V] = (uint32_t)s->depth_v;
    d->spec[SDG_SPEC_FRAGMENT_M] = plan->matrix->m;
    d->spec[SDG_SPEC_FRAGMENT_N] = plan->matrix->n;
    d->spec[SDG_SPEC_FRAGMENT_K] = plan->matrix->k;
    d->spec[SDG_SPEC_BUFFERS] = plan->buffers;
    d->spec[SDG_SPEC_SUBGROUP] = vk->caps.matrices.subgroup;
}

static void add_cut(const struct shape *s, struct sdg_vk_dispatch *d, const struct cut *cut)
{
    d->local_size = INVOCATIONS;
    d->spec[SDG_SPEC_DEPTH] = (uint32_t)s->depth;
    d->spec[SDG_SPEC_DEPTH_V] = (uint32_t)s->depth_v;
    d->spec[SDG_SPEC_ROWS] = cut->rows;
    d->spec[SDG_SPEC_KEYS] = cut->keys;
    d->spec[SDG_SPEC_SLICE] = cut->slice;
    d->spec[SDG_SPEC_ONCE] = s->keys <= cut->keys;
}

// What shaders may use: rows are shared by neighbours in a subgroup, which takes subgroups without gaps.
static unsigned usable_features(const struct sdg_vk *vk)
{
    const struct sdg_vk_caps *caps = &vk->caps;
    enum { NEIGHBOURS = 8 };
    const bool fits = caps->subgroup_shuffle && caps->full_subgroups && caps->subgroup_size >= NEIGHBOURS &&
        INVOCATIONS % caps->subgroup_size == 0;
    return vk->features & ~(fits ? 0u : SDG_FEATURE_SUBGROUP);
}

// Picks the shader and the length of its blocks, queries and keys.
static void choose(const struct sdg_vk *vk, const struct shape *s, struct sdg_vk_dispatch *d, uint32_t *rows,
                   uint32_t *keys)
{
    const unsigned features = usable_features(vk);
    struct plan plan = {0};
    d->columns = (s->depth | s->depth_v) % 4 ? 1 : (s->depth | s->depth_v) % 8 ? 4 : 8;
    d->shader = sdg_vk_find_shader(features, d->family, d->type, d->columns, NULL);
    while (d->shader && d->shader->tile_count && !choose_tile(&vk->caps, d->shader, s, &plan))
        d->shader = sdg_vk_find_shader(features, d->family, d->type, d->columns, d->shader);
    if (d->shader && d->shader->tile_count) {
        add_plan(vk, s, d, &plan);
        *rows = plan.tile->m;
        *keys = plan.tile->n;
    } else {
        const struct cut cut = choose_cut(&vk->caps, s);
        add_cut(s, d, &cut);
        *rows = cut.rows;
        *keys = cut.keys;
    }
}

static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_value_info *q = sdg_vk_value(lo, op->in[0]), *k = sdg_vk_value(lo, op->in[1]),
                                *v = sdg_vk_value(lo, op->in[2]);
    const int64_t heads = op->u.attention.heads;
    const struct shape shape = {sdg_vk_pixels(q), sdg_vk_pixels(k),   heads,
                                q->dims[0],       q->dims[3] / heads, v->dims[3] / heads};
    const struct sdg_push_attention push = {
        .queries = (uint32_t)shape.queries,
        .keys = (uint32_t)shape.keys,
        .pitch_qk = (uint32_t)q->dims[3],
        .pitch_v = (uint32_t)v->dims[3],
        .scale = op->u.attention.scale,
        .depth = (uint32_t)shape.depth,
        .depth_v = (uint32_t)shape.depth_v,
        .causal = op->u.attention.causal,
    };
    struct sdg_vk_dispatch d = {
        .family = "attention",
        .type = sdg_vk_float_type(lo->graph, op),
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_read(lo, op->in[2]),
                     sdg_vk_write(lo, op->out)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    uint32_t rows, keys;
    choose(lo->vk, &shape, &d, &rows, &keys);
    d.groups[0] = sdg_vk_ceil(shape.queries, rows);
    d.groups[1] = heads;
    d.groups[2] = q->dims[0];
    sdg_vk_add_codes(lo, &d);
    SDG_TRY(sdg_vk_emit(lo, &d));
    size_t used = strlen(lo->kernel);
    snprintf(lo->kernel + used, sizeof lo->kernel - used, "_d%lld_%ux%u", (long long)shape.depth, rows, keys);
    return SDG_OK;
}

const struct sdg_vk_op sdg_vk_op_attention = {.lower = lower};
