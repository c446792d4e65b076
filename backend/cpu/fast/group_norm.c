// Group norm on all threads, in two passes over the input and one over the output: means and squared differences of
// chunks of pixels (a chunk stays in the cache for its two readings), merged in double precision in the order of the
// chunks; then all is normalised.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include "base/memory.h"

#include <math.h>

enum { CHUNK_ELEMENTS = 16384 };

struct state {
    struct sdg_fast_group_norm op;
    const struct sdg_fast_kernels *kernels;
    const float *gamma, *beta;
    float eps;
    int64_t samples, channels;
    int64_t chunk_pixels, chunks; // of one sample; the last chunk may be shorter
    float *stats;                 // [samples, chunks, groups, 2]
    float *mean, *scale;          // [samples, channels]
    float *work;                  // [threads, 2 channels]
};

static size_t stats_floats(const struct state *state)
{
    return (size_t)(state->samples * state->chunks * state->op.groups) * 2;
}

static int64_t chunk_end(const struct state *state, int64_t chunk)
{
    int64_t end = (chunk + 1) * state->chunk_pixels;
    return end < state->op.pixels ? end : state->op.pixels;
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    struct state *state = step->state;
    const struct sdg_op *op = step->op;
    for (int part = 0; part < 2; part++)
        state->op.x[part] = state->op.channels[part] ? sdg_cpu_data(step->program, op->in[part ? 3 : 0]) : NULL;
    state->op.out = sdg_cpu_data(step->program, op->out);
    state->gamma = sdg_cpu_data(step->program, op->in[1]);
    state->beta = sdg_cpu_data(step->program, op->in[2]);
    state->stats = step->scratch;
    state->mean = state->stats + stats_floats(state);
    state->scale = state->mean + state->samples * state->channels;
    state->work = state->scale + state->samples * state->channels;
    return SDG_OK;
}

struct loop {
    const struct state *state;
    const struct sdg_fast_codes *codes;
};

static void measure_chunk(void *context, int64_t index, int thread)
{
    const struct state *state = ((const struct loop *)context)->state;
    const int64_t sample = index / state->chunks, chunk = index % state->chunks;
    state->kernels->group_norm_stats(&state->op, sample, chunk * state->chunk_pixels, chunk_end(state, chunk),
                                     state->work + thread * 2 * state->channels,
                                     state->stats + index * state->op.groups * 2);
}

// Merges the chunks of one group of one sample, pairwise from the first on, and spreads mean and scale over its
// channels.
static void merge_group(void *context, int64_t index, int thread)
{
    const struct state *state = ((const struct loop *)context)->state;
    const int64_t per_group = state->channels / state->op.groups, sample = index / state->op.groups,
                  group = index % state->op.groups;
    (void)thread;
    double mean = 0, squares = 0, count = 0;
    for (int64_t chunk = 0; chunk < state->chunks; chunk++) {
        const float *stats = state->stats + ((sample * state->chunks + chunk) * state->op.groups + group) * 2;
        double more = (double)((chunk_end(state, chunk) - chunk * state->chunk_pixels) * per_group),
               difference = stats[0] - mean;
        count += more;
        mean += difference * more / count;
        squares += stats[1] + difference * difference * more * (count - more) / count;
    }
    const double scale = 1 / sqrt(squares / count + (double)state->eps);
    for (int64_t c = group * per_group; c < (group + 1) * per_group; c++) {
        state->mean[sample * state->channels + c] = (float)mean;
        state->scale[sample * state->channels + c] = (float)(scale * state->gamma[c]);
    }
}

static void apply_chunk(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const struct state *state = l->state;
    const int64_t sample = index / state->chunks, chunk = index % state->chunks, at = sample * state->channels;
    (void)thread;
    state->kernels->group_norm_apply(&state->op, sample, chunk * state->chunk_pixels, chunk_end(state, chunk),
                                     state->mean + at, state->scale + at, state->beta, l->codes);
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *state = step->state;
    const int64_t chunks = state->samples * state->chunks;
    struct sdg_fast_codes how;
    struct loop loop = {state, sdg_fast_codes(step, row, &how)};
    sdg_cpu_run(step->program, chunks, measure_chunk, &loop);
    sdg_cpu_run(step->program, state->samples * state->op.groups, merge_group, &loop);
    sdg_cpu_run(step->program, chunks, apply_chunk, &loop);
    return SDG_OK;
}

static void destroy(struct sdg_cpu_step *step)
{
    sdg_free(step->state);
}

enum sdg_result sdg_fast_select_group_norm(struct sdg_cpu_step *step, bool *taken)
{
    struct sdg_cpu_program *program = step->program;
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *x = sdg_cpu_value(program, op->in[0]);
    const enum sdg_unary activation = op->u.group_norm.activation;
    bool half;
    if (!sdg_fast_types(step, &half) || (activation != SDG_UNARY_NONE && activation != SDG_UNARY_SILU))
        return SDG_OK;
    if (sdg_cpu_value(program, op->in[1])->dtype != SDG_F32 || sdg_cpu_value(program, op->in[2])->dtype != SDG_F32)
        return SDG_OK;
    struct state *state = sdg_alloc(program->base.log, 1, sizeof *state, "a kernel");
    if (!state)
        return SDG_ERROR_MEMORY;
    state->kernels = sdg_fast_kernels_for(step);
    state->op = (struct sdg_fast_group_norm){
        .channels = {x->dims[3], op->in[3] ? sdg_cpu_value(program, op->in[3])->dims[3] : 0},
        .pixels = x->dims[1] * x->dims[2],
        .groups = op->u.group_norm.groups,
        .half = half,
        .silu = activation == SDG_UNARY_SILU,
    };
    state->eps = op->u.group_norm.eps;
    state->samples = x->dims[0];
    state->channels = state->op.channels[0] + state->op.channels[1];
    state->chunk_pixels = state->channels < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / state->channels : 1;
    state->chunks = (state->op.pixels + state->chunk_pixels - 1) / state->chunk_pixels;
    const size_t threads = (size_t)sdg_cpu_backend_of(program)->threads, channels = (size_t)state->channels;
    step->scratch_bytes =
        (stats_floats(state) + 2 * (size_t)state->samples * channels + threads * 2 * channels) * sizeof(float);
    step->state = state;
    step->prepare = prepare;
    step->destroy = destroy;
    sdg_cpu_want_weight(program, op->in[1]);
    sdg_cpu_want_weight(program, op->in[2]);
    sdg_fast_take(step, run, taken);
    return SDG_OK;
}
