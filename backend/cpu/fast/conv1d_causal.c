// The causal convolution on all threads, some tokens at a time.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

enum { PART_MOST = 16384, PART_LEAST = 2048, PARTS_PER_THREAD = 4 }; // elements

struct loop {
    const struct sdg_fast_kernels *kernels;
    struct sdg_fast_conv1d op;
    const struct sdg_fast_codes *codes;
};

static void convolve(void *context, int64_t first, int64_t end, int thread)
{
    const struct loop *l = context;
    (void)thread;
    l->kernels->conv1d(&l->op, l->codes, first, end);
}

// Tokens of a part: some parts for each thread, so that none waits long for another, but none of less than a
// microsecond.
static int64_t part_of(const struct sdg_cpu_program *program, int64_t positions, int64_t channels)
{
    const int64_t share = positions * channels / (PARTS_PER_THREAD * (int64_t)sdg_cpu_backend_of(program)->threads),
                  elements = share > PART_MOST ? PART_MOST
        : share < PART_LEAST                   ? PART_LEAST
                                               : share;
    return elements > channels ? elements / channels : 1;
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_cpu_program *program = step->program;
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *x = sdg_cpu_value(program, op->in[0]), *out = sdg_cpu_value(program, op->out);
    struct sdg_fast_codes how;
    struct loop l = {
        .kernels = sdg_fast_kernels_for(step),
        .op =
            {
                .x = sdg_cpu_data(program, op->in[0]),
                .weight = step->weights,
                .bias = op->in[2] ? sdg_cpu_data(program, op->in[2]) : NULL,
                .out = sdg_cpu_data(program, op->out),
                .tokens = x->dims[1] * x->dims[2],
                .channels = out->dims[3],
                .x_channels = x->dims[3],
                .start = op->u.conv1d_causal.start,
                .kernel = op->u.conv1d_causal.kernel,
                .silu = op->u.conv1d_causal.activation == SDG_UNARY_SILU,
                .backward = op->u.conv1d_causal.backward,
                .half = x->dtype == SDG_BF16 || x->dtype == SDG_F16 || out->dtype == SDG_BF16 || out->dtype == SDG_F16,
                .source = sdg_fast_source(step, 0, row),
            },
        .codes = sdg_fast_codes(step, row, &how),
    };
    const int64_t positions = x->dims[0] * l.op.tokens;
    sdg_cpu_run_parts(program, positions, part_of(program, positions, l.op.channels), convolve, &l);
    return SDG_OK;
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    const int64_t channels = sdg_cpu_value(step->program, step->op->out)->dims[3];
    return sdg_fast_read_transposed(step, step->op->in[1], channels, step->weights);
}

// True if x is codes and the result codes or a type there are kernels for.
static bool has_codes(const struct sdg_cpu_step *step)
{
    const enum sdg_dtype type = sdg_cpu_value(step->program, step->op->out)->dtype;
    return sdg_fast_has_type(step, type) || step->op->codes.interval;
}

void sdg_fast_select_conv1d_causal(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    const enum sdg_unary activation = op->u.conv1d_causal.activation;
    bool half;
    if (!(op->in[3] ? has_codes(step) : sdg_fast_types(step, &half)) ||
        (activation != SDG_UNARY_NONE && activation != SDG_UNARY_SILU))
        return;
    if (op->in[2] && sdg_cpu_value(step->program, op->in[2])->dtype != SDG_F32)
        return;
    if (op->in[2])
        sdg_cpu_want_weight(step->program, op->in[2]);
    step->weight_bytes = (size_t)sdg_value_elements(sdg_cpu_value(step->program, op->in[1])) * sizeof(float);
    step->prepare = prepare;
    sdg_fast_take(step, run, taken);
}
