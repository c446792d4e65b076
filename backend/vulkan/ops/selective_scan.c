#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

struct sdg_push_selective_scan { // GLSL twin: Push in shaders/selective_scan.glsl
    uint32_t tokens, c, chunk, chunks, bc_pitch, b_start, c_start, gate_pitch, gate_start;
    float scale;
};
_Static_assert(sizeof(struct sdg_push_selective_scan) == 40, "as in the shader");

struct sdg_push_selective_scan_prepare { // GLSL twin: Push in shaders/selective_scan_prepare.comp
    uint32_t c, x_pairs, room, pairs;
};
_Static_assert(sizeof(struct sdg_push_selective_scan_prepare) == 16, "as in the shader");

struct sdg_push_selective_scan_intervals { // GLSL twin: Push in shaders/selective_scan_intervals.comp
    uint32_t begin, count;
};
_Static_assert(sizeof(struct sdg_push_selective_scan_intervals) == 8, "as in the shader");

enum {
    INVOCATIONS = 128,
    STATES_PER_LANE = 4, // about: each more is registers, each less is sums between invocations
    MOST_LANES = 16,
    FEW_TOKENS = 128, // take less time one by one than more passes
    TILE = 8,         // a chunk is a multiple of it
    LEAST_CHUNK = 16,
    COLUMNS = 8 // channels that a workgroup of the second pass works on
};

// Operands by their places in op->in.
enum { X, DELTA, BC, A_LOG, D, DELTA_BIAS, GATE, ADD, X_INTERVAL, DELTA_INTERVAL, GATE_INTERVAL };

// Scratch: constants as selective_scan_prepare.comp makes them, then summaries (selective_scan_push.glsl), both of
// floats and aligned for binding.
struct layout {
    int64_t n, tokens, c, states;
    int64_t lanes;                                   // invocations that share a channel
    int64_t columns;                                 // workgroups beside each other
    int64_t chunk, chunks;                           // tokens of a chunk, chunks of a sample; one: token by token
    int64_t x_pairs, delta_pairs, gate_pairs, pairs; // intervals of a row: of operands, of the result
    int64_t constants;                               // numbers
    size_t constants_bytes, summaries_offset, summaries_bytes;
};

// As long as leaves the device enough workgroups, but not so short that the states between the chunks are more numbers
// than the operand x.
static int64_t choose_chunk(const struct sdg_vk_caps *caps, const struct layout *l)
{
    const int64_t wanted = sdg_vk_ceil(caps->scan_workgroups, l->n * l->columns),
                  least = l->states > LEAST_CHUNK ? l->states : LEAST_CHUNK;
    if (l->tokens <= FEW_TOKENS || wanted <= 1)
        return l->tokens;
    const int64_t chunk = l->tokens / wanted > least ? l->tokens / wanted : least;
    return sdg_vk_ceil(chunk, TILE) * TILE;
}

static void cut(const struct sdg_vk_caps *caps, struct layout *l)
{
    l->chunk = choose_chunk(caps, l);
    l->chunks = sdg_vk_ceil(l->tokens, l->chunk);
    l->summaries_bytes = (size_t)(l->n * (l->chunks - 1) * (l->states + 1) * l->c) * sizeof(float);
    if (l->summaries_bytes > caps->max_range) {
        l->chunk = l->tokens;
        l->chunks = 1;
        l->summaries_bytes = 0;
    }
}

// Intervals of a row, 1 if measured; 0 where there are none.
static int64_t count_pairs(const struct sdg_graph *graph, sdg_value interval)
{
    const struct sdg_value_info *info = &graph->values[interval];
    return !interval ? 0 : info->kind == SDG_VALUE_TABLE ? info->dims[1] : 1;
}

static struct layout layout_of(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    const struct sdg_value_info *out = &graph->values[op->out];
    struct layout l = {
        .n = out->dims[0],
        .tokens = sdg_vk_pixels(out),
        .c = out->dims[3],
        .states = graph->values[op->in[A_LOG]].dims[1],
        .lanes = 1,
        .x_pairs = count_pairs(graph, op->in[X_INTERVAL]),
        .delta_pairs = count_pairs(graph, op->in[DELTA_INTERVAL]),
        .gate_pairs = count_pairs(graph, op->in[GATE_INTERVAL]),
        .pairs = count_pairs(graph, op->codes.interval),
    };
    while (l.lanes < MOST_LANES && l.lanes * STATES_PER_LANE < l.states)
        l.lanes *= 2;
    l.columns = sdg_vk_ceil(l.c, INVOCATIONS / l.lanes);
    l.constants =
        (l.states + 2 + (op->codes.smoothing != 0)) * l.c + 2 * (l.x_pairs + l.delta_pairs + l.gate_pairs + l.pairs);
    l.constants_bytes = (size_t)l.constants * sizeof(float);
    l.summaries_offset = sdg_vk_align(l.constants_bytes, vk->caps.alignment);
    cut(&vk->caps, &l);
    return l;
}

static size_t scratch(const struct sdg_vk_lowering *lo)
{
    const struct layout l = layout_of(lo->vk, lo->graph, lo->op);
    return l.summaries_offset + l.summaries_bytes;
}

static struct sdg_push_selective_scan push_of(const struct sdg_vk_lowering *lo, const struct layout *l)
{
    const struct sdg_scan_params *params = &lo->op->u.selective_scan;
    return (struct sdg_push_selective_scan){
        .tokens = (uint32_t)l->tokens,
        .c = (uint32_t)l->c,
        .chunk = (uint32_t)l->chunk,
        .chunks = (uint32_t)l->chunks,
        .bc_pitch = (uint32_t)sdg_vk_value(lo, lo->op->in[BC])->dims[3],
        .b_start = (uint32_t)params->b_start,
        .c_start = (uint32_t)params->c_start,
        .gate_pitch = (uint32_t)sdg_vk_value(lo, lo->op->in[GATE])->dims[3],
        .gate_start = (uint32_t)params->gate_start,
        .scale = params->scale,
    };
}

static enum sdg_result emit_prepare(struct sdg_vk_lowering *lo, const struct layout *l)
{
    const sdg_value *in = lo->op->in;
    const struct sdg_push_selective_scan_prepare push = {.c = (uint32_t)l->c,
                                                         .x_pairs = (uint32_t)l->x_pairs,
                                                         .room = (uint32_t)(l->delta_pairs + l->gate_pairs),
                                                         .pairs = (uint32_t)l->pairs};
    struct sdg_vk_dispatch d = {
        .family = "selective_scan_prepare",
        .type = SDG_F32,
        .spec = {[SDG_SPEC_STATES] = (uint32_t)l->states, [SDG_SPEC_DELTA_BIAS] = in[DELTA_BIAS] != 0},
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, in[A_LOG]), sdg_vk_read(lo, in[D]), sdg_vk_read(lo, in[DELTA_BIAS]),
                     sdg_vk_scratch(lo, 0, l->constants_bytes, true)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    sdg_vk_add_codes(lo, &d);
    d.bindings[d.binding_count++] = sdg_vk_read(lo, in[X_INTERVAL]);
    d.spec[SDG_SPEC_IN_PAIRS] = in[X_INTERVAL] ? sdg_vk_pairs_per_row(lo, in[X_INTERVAL]) : 0;
    return sdg_vk_emit_elements(lo, &d, l->constants);
}

// `pairs` of an operand from number `begin` of the constants on.
static enum sdg_result emit_intervals(struct sdg_vk_lowering *lo, const struct layout *l, sdg_value interval,
                                      int64_t begin, int64_t pairs)
{
    const struct sdg_push_selective_scan_intervals push = {(uint32_t)begin, (uint32_t)(2 * pairs)};
    struct sdg_vk_dispatch d = {
        .family = "selective_scan_intervals",
        .type = SDG_F32,
        .spec = {[SDG_SPEC_IN_PAIRS] = interval ? sdg_vk_pairs_per_row(lo, interval) : 0},
        .binding_count = 3,
        .bindings = {sdg_vk_row(), sdg_vk_read(lo, interval), sdg_vk_scratch(lo, 0, l->constants_bytes, true)},
        .push = &push,
        .push_bytes = sizeof push,
    };
    return pairs ? sdg_vk_emit_elements(lo, &d, 2 * pairs) : SDG_OK;
}

static enum sdg_result emit_operand_intervals(struct sdg_vk_lowering *lo, const struct layout *l)
{
    const int64_t begin = (l->states + 2 + (lo->op->codes.smoothing != 0)) * l->c + 2 * l->x_pairs;
    SDG_TRY(emit_intervals(lo, l, lo->op->in[DELTA_INTERVAL], begin, l->delta_pairs));
    return emit_intervals(lo, l, lo->op->in[GATE_INTERVAL], begin + 2 * l->delta_pairs, l->gate_pairs);
}

// A pass over the tokens, with the bindings that all of them have.
static struct sdg_vk_dispatch over_tokens(const struct sdg_vk_lowering *lo, const struct layout *l, const char *family,
                                          const struct sdg_push_selective_scan *push)
{
    const sdg_value *in = lo->op->in;
    return (struct sdg_vk_dispatch){
        .family = family,
        .type = sdg_vk_float_type(lo->graph, lo->op),
        .local_size = INVOCATIONS,
        .spec = {[SDG_SPEC_BACKWARD] = lo->op->u.selective_scan.backward,
                 [SDG_SPEC_STATES] = (uint32_t)l->states,
                 [SDG_SPEC_LANES] = (uint32_t)l->lanes,
                 [SDG_SPEC_SMOOTHED] = lo->op->codes.smoothing != 0,
                 [SDG_SPEC_X_CODES] = in[X_INTERVAL] != 0,
                 [SDG_SPEC_X_SIGNED] = sdg_vk_value(lo, in[X])->dtype == SDG_S8,
                 [SDG_SPEC_IN_PAIRS] = (uint32_t)l->x_pairs,
                 [SDG_SPEC_DELTA_PAIRS] = (uint32_t)l->delta_pairs,
                 [SDG_SPEC_GATE_PAIRS] = (uint32_t)l->gate_pairs,
                 [SDG_SPEC_SIGNED] = (sdg_vk_value(lo, in[DELTA])->dtype == SDG_S8) |
                     (uint32_t)(sdg_vk_value(lo, in[GATE])->dtype == SDG_S8) << 1},
        .binding_count = 4,
        .bindings = {sdg_vk_read(lo, in[X]), sdg_vk_read(lo, in[DELTA]), sdg_vk_read(lo, in[BC]),
                     sdg_vk_scratch(lo, 0, l->constants_bytes, false)},
        .push = push,
        .push_bytes = sizeof *push,
    };
}

static struct sdg_vk_binding summaries(const struct sdg_vk_lowering *lo, const struct layout *l, bool written)
{
    return l->chunks > 1 ? sdg_vk_scratch(lo, l->summaries_offset, l->summaries_bytes, written) : sdg_vk_row();
}

// The first two passes of three: the states between the chunks.
static enum sdg_result emit_chunks(struct sdg_vk_lowering *lo, const struct layout *l,
                                   const struct sdg_push_selective_scan *push)
{
    struct sdg_vk_dispatch chunks = over_tokens(lo, l, "selective_scan_chunks", push);
    chunks.bindings[chunks.binding_count++] = summaries(lo, l, true);
    memcpy(chunks.groups, (int64_t[3]){l->columns, l->chunks - 1, l->n}, sizeof chunks.groups);
    struct sdg_vk_dispatch carry = {
        .family = "selective_scan_carry",
        .type = SDG_F32,
        .local_size = INVOCATIONS,
        .spec = {[SDG_SPEC_STATES] = (uint32_t)l->states},
        .binding_count = 2,
        .bindings = {sdg_vk_scratch(lo, 0, l->constants_bytes, false), summaries(lo, l, true)},
        .push = push,
        .push_bytes = sizeof *push,
        .groups = {sdg_vk_ceil(l->c, COLUMNS), l->states, l->n},
    };
    SDG_TRY(sdg_vk_emit(lo, &chunks));
    return sdg_vk_emit(lo, &carry);
}

static enum sdg_result emit_results(struct sdg_vk_lowering *lo, const struct layout *l,
                                    const struct sdg_push_selective_scan *push)
{
    const struct sdg_op *op = lo->op;
    struct sdg_vk_dispatch d = over_tokens(lo, l, "selective_scan", push);
    d.bindings[d.binding_count++] = sdg_vk_read(lo, op->in[GATE]);
    d.bindings[d.binding_count++] = sdg_vk_read(lo, op->in[ADD]);
    d.bindings[d.binding_count++] = sdg_vk_write(lo, op->out);
    d.bindings[d.binding_count++] = summaries(lo, l, false);
    d.spec[SDG_SPEC_CONTINUED] = l->chunks > 1;
    d.spec[SDG_SPEC_GATED] = op->in[GATE] != 0;
    d.spec[SDG_SPEC_ADDED] = op->in[ADD] != 0;
    if (op->codes.interval) {
        d.spec[SDG_SPEC_LOWEST] = (uint32_t)op->codes.lowest;
        d.spec[SDG_SPEC_HIGHEST] = (uint32_t)op->codes.highest;
        d.spec[SDG_SPEC_OUT_PAIRS] = (uint32_t)l->pairs;
    }
    memcpy(d.groups, (int64_t[3]){l->columns, l->chunks, l->n}, sizeof d.groups);
    return sdg_vk_emit(lo, &d);
}

// "selective_scan_f32" token by token, "selective_scan_f32_chunks_of_64" in three passes.
static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct layout l = layout_of(lo->vk, lo->graph, lo->op);
    const struct sdg_push_selective_scan push = push_of(lo, &l);
    SDG_TRY(emit_prepare(lo, &l));
    SDG_TRY(emit_operand_intervals(lo, &l));
    if (l.chunks > 1)
        SDG_TRY(emit_chunks(lo, &l, &push));
    lo->kernel[0] = 0; // the pass that gives the operation its name
    SDG_TRY(emit_results(lo, &l, &push));
    const size_t used = strlen(lo->kernel);
    if (l.chunks > 1)
        snprintf(lo->kernel + used, sizeof lo->kernel - used, "_chunks_of_%lld", (long long)l.chunk);
    return SDG_OK;
}

const struct sdg_vk_op sdg_vk_op_selective_scan = {.lower = lower, .scratch = scratch};
