// Attention on all threads: first every head's keys and values are packed, then tiles of queries are worked off.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include "base/memory.h"

#include <omp.h>

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

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *state = step->state;
    const struct sdg_fast_attention *op = &state->op;
    struct sdg_fast_codes how;
    const struct sdg_fast_codes *codes = sdg_fast_codes(step, row, &how);
    const int64_t heads = op->samples * op->heads,
                  tiles = (op->queries + state->kernels->tile - 1) / state->kernels->tile;
    float *work = op->packed_v + padded((size_t)heads * state->v_floats);
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads; i++)
            state->kernels->attention_pack(op, i / op->heads, i % op->heads);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * tiles; i++) {
            int64_t head = i / tiles;
            state->kernels->attention_tile(op, head / op->heads, head % op->heads, i % tiles * state->kernels->tile,
                                           codes, work + (size_t)omp_get_thread_num() * state->work_floats);
        }
    }
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
    bool bf16;
    if (!sdg_fast_types(step, &bf16))
        return SDG_OK;
    struct state *state = sdg_alloc(program->base.log, 1, sizeof *state, "a kernel");
    if (!state)
        return SDG_ERROR_MEMORY;
    state->kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(program));
    state->op = (struct sdg_fast_attention){
        .samples = q->dims[0],
        .heads = op->u.attention.heads,
        .queries = q->dims[1] * q->dims[2],
        .keys = k->dims[1] * k->dims[2],
        .d = k->dims[3] / op->u.attention.heads,
        .dv = v->dims[3] / op->u.attention.heads,
        .scale = op->u.attention.scale,
        .causal = op->u.attention.causal,
        .bf16 = bf16,
        .pairs = bf16 && state->kernels->pairs,
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
