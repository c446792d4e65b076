// Attention on all threads: first every head's keys and values are packed, then tiles of queries are worked off.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include "base/memory.h"

struct state {
    struct sdg_fast_attention op;
    const struct sdg_fast_kernels *kernels;
    size_t k_floats, v_floats, work_floats; // packed keys and values of one head; work space of one thread
};

// Floats, so that what follows stays 64-byte aligned.
static size_t padded(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    struct state *state = step->state;
    state->op.q = sdg_cpu_data(step->program, step->op->in[0]);
    state->op.k = sdg_cpu_data(step->program, step->op->in[1]);
    state->op.v = sdg_cpu_data(step->program, step->op->in[2]);
    state->op.out = sdg_cpu_data(step->program, step->op->out);
    size_t heads = (size_t)(state->op.samples * state->op.heads);
    state->op.packed_k = step->scratch;
    state->op.packed_v = state->op.packed_k + padded(heads * state->k_floats);
    return SDG_OK;
}

struct loop {
    const struct state *state;
    const struct sdg_fast_codes *codes;
    int64_t tiles; // of one head's queries
    float *work;   // [threads, work_floats]
};

static void pack_head(void *context, int64_t head, int thread)
{
    const struct loop *l = context;
    const struct sdg_fast_attention *op = &l->state->op;
    (void)thread;
    l->state->kernels->attention_pack(op, head / op->heads, head % op->heads);
}

static void run_tile(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const struct state *state = l->state;
    const int64_t head = index / l->tiles;
    state->kernels->attention_tile(&state->op, head / state->op.heads, head % state->op.heads,
                                   index % l->tiles * state->kernels->tile, l->codes,
                                   l->work + (size_t)thread * state->work_floats);
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *state = step->state;
    const int64_t heads = state->op.samples * state->op.heads;
    struct sdg_fast_codes how;
    struct loop loop = {
        .state = state,
        .codes = sdg_fast_codes(step, row, &how),
        .tiles = (state->op.queries + state->kernels->tile - 1) / state->kernels->tile,
        .work = state->op.packed_v + padded((size_t)heads * state->v_floats),
    };
    sdg_cpu_run(step->program, heads, pack_head, &loop);
    sdg_cpu_run(step->program, heads * loop.tiles, run_tile, &loop);
    return SDG_OK;
}

static void destroy(struct sdg_cpu_step *step)
{
    sdg_free(step->state);
}

enum sdg_result sdg_fast_select_attention(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_cpu_program *program = step->program;
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *q = sdg_cpu_value(program, op->in[0]), *k = sdg_cpu_value(program, op->in[1]),
                                *v = sdg_cpu_value(program, op->in[2]);
    bool half;
    if (!sdg_fast_types(step, &half))
        return SDG_OK;
    struct state *state = sdg_alloc(program->base.log, 1, sizeof *state, "a kernel");
    if (!state)
        return SDG_ERROR_MEMORY;
    state->kernels = sdg_fast_kernels_for(step);
    state->op = (struct sdg_fast_attention){
        .samples = q->dims[0],
        .heads = op->u.attention.heads,
        .queries = q->dims[1] * q->dims[2],
        .keys = k->dims[1] * k->dims[2],
        .d = k->dims[3] / op->u.attention.heads,
        .dv = v->dims[3] / op->u.attention.heads,
        .scale = op->u.attention.scale,
        .causal = op->u.attention.causal,
        .half = half,
        .pairs = half && state->kernels->halves == SDG_FAST_PAIRS,
    };
    state->kernels->attention_sizes(&state->op, &state->k_floats, &state->v_floats, &state->work_floats);
    state->work_floats = padded(state->work_floats);
    const size_t heads = (size_t)(state->op.samples * state->op.heads),
                 threads = (size_t)sdg_cpu_backend_of(program)->threads;
    step->scratch_bytes =
        (padded(heads * state->k_floats) + padded(heads * state->v_floats) + threads * state->work_floats) *
        sizeof(float);
    step->state = state;
    step->prepare = prepare;
    step->destroy = destroy;
    sdg_fast_take(step, run, taken);
    return SDG_OK;
}
