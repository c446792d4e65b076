// Mamba's scan on all threads: each works off a block of one sample's channels, from the first token to the last.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include <math.h>

enum {
    CACHE_LINE = 64,
    WIDEST = 16, // lanes
    BLOCKS_PER_THREAD = 4,
    BLOCK_MOST = 256, // channels
};

struct loop {
    const struct sdg_fast_kernels *kernels;
    struct sdg_fast_scan op;
    const struct sdg_fast_codes *codes;
    int64_t block, blocks; // channels of one, blocks of a sample
    float *work;           // [threads, work_floats]
    size_t work_floats;
};

// Channels of a block. Wide ones, as neighbours share pages and what fetches them; but some for each thread, so that
// none waits long for another. Whole cache lines of each token, so that no two threads write into the same one.
static int64_t block_of(const struct sdg_cpu_step *step)
{
    const struct sdg_value_info *delta = sdg_cpu_value(step->program, step->op->in[1]);
    const int64_t line = CACHE_LINE / (int64_t)sdg_dtype_size(sdg_cpu_value(step->program, step->op->in[2])->dtype),
                  share = delta->dims[0] * delta->dims[3] /
        (BLOCKS_PER_THREAD * (int64_t)sdg_cpu_backend_of(step->program)->threads),
                  most = share < BLOCK_MOST ? share : BLOCK_MOST;
    return most < line ? line : most / line * line;
}

// So that the next thread's begins at a cache line of its own.
static size_t work_floats(const struct sdg_cpu_step *step)
{
    const int64_t states = sdg_cpu_value(step->program, step->op->in[3])->dims[1];
    return sdg_fast_align(sdg_fast_scan_work(states, block_of(step)) * sizeof(float)) / sizeof(float);
}

static int64_t stride_of(int64_t channels)
{
    return (channels + WIDEST - 1) / WIDEST * WIDEST;
}

// A log2(e) from A_log. A limit far beyond what matters keeps products with delta, which may be 0, finite.
static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    const int64_t *dims = sdg_cpu_value(step->program, step->op->in[3])->dims, stride = stride_of(dims[0]);
    float *decay = step->weights;
    const enum sdg_result result = sdg_fast_read_transposed(step, step->op->in[3], stride, decay);
    for (int64_t s = 0; s < dims[1] && result == SDG_OK; s++)
        for (int64_t c = 0; c < dims[0]; c++) {
            const double a = exp((double)decay[s * stride + c]) * 1.4426950408889634;
            decay[s * stride + c] = a > 1e30 ? -1e30f : (float)-a;
        }
    return result;
}

static void scan_block(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t begin = index % l->blocks * l->block, end = begin + l->block;
    l->kernels->scan(&l->op, l->codes, index / l->blocks, begin, end < l->op.channels ? end : l->op.channels,
                     l->work + (size_t)thread * l->work_floats);
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_cpu_program *program = step->program;
    const sdg_value *in = step->op->in;
    const struct sdg_value_info *x = sdg_cpu_value(program, in[0]);
    struct sdg_fast_codes how;
    struct loop l = {
        .kernels = sdg_fast_kernels_for(step),
        .op =
            {
                .x = sdg_cpu_data(program, in[0]),
                .delta = sdg_cpu_data(program, in[1]),
                .bc = sdg_cpu_data(program, in[2]),
                .decay = step->weights,
                .d = sdg_cpu_data(program, in[4]),
                .delta_bias = in[5] ? sdg_cpu_data(program, in[5]) : NULL,
                .gate = in[6] ? sdg_cpu_data(program, in[6]) : NULL,
                .add = in[7] ? sdg_cpu_data(program, in[7]) : NULL,
                .out = sdg_cpu_data(program, step->op->out),
                .tokens = x->dims[1] * x->dims[2],
                .channels = x->dims[3],
                .states = sdg_cpu_value(program, in[3])->dims[1],
                .stride = stride_of(x->dims[3]),
                .bc_channels = sdg_cpu_value(program, in[2])->dims[3],
                .gate_channels = in[6] ? sdg_cpu_value(program, in[6])->dims[3] : 0,
                .params = step->op->u.selective_scan,
                .half = sdg_cpu_value(program, in[2])->dtype != SDG_F32,
                .x_source = sdg_fast_source(step, 0, row),
                .delta_source = sdg_fast_source(step, 1, row),
                .gate_source = sdg_fast_source(step, 6, row),
            },
        .codes = sdg_fast_codes(step, row, &how),
        .block = block_of(step),
        .work = step->scratch,
        .work_floats = work_floats(step),
    };
    l.blocks = (l.op.channels + l.block - 1) / l.block;
    sdg_cpu_run(program, x->dims[0] * l.blocks, scan_block, &l);
    return SDG_OK;
}

// True if all operands are floats of one type that there are kernels for, but for those that are codes; the result may
// be some.
static bool has_types(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    const int operands[] = {0, 1, 6, 7};
    const enum sdg_dtype type = sdg_cpu_value(step->program, op->in[2])->dtype,
                         result = sdg_cpu_value(step->program, op->out)->dtype;
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++) {
        const sdg_value v = op->in[operands[i]];
        const int interval = sdg_op_interval_of(op->kind, operands[i]);
        if (v && sdg_cpu_value(step->program, v)->dtype != type && !(interval && op->in[interval]))
            return false;
    }
    return sdg_fast_has_type(step, type) && (result == type || op->codes.interval);
}

void sdg_fast_select_selective_scan(struct sdg_cpu_step *step, bool *taken)
{
    struct sdg_cpu_program *program = step->program;
    const sdg_value *in = step->op->in, vectors[] = {in[4], in[5]};
    const int64_t *dims = sdg_cpu_value(program, in[3])->dims;
    if (!has_types(step))
        return;
    for (int i = 0; i < 2; i++)
        if (vectors[i] && sdg_cpu_value(program, vectors[i])->dtype != SDG_F32)
            return;
    for (int i = 0; i < 2; i++)
        if (vectors[i])
            sdg_cpu_want_weight(program, vectors[i]);
    step->weight_bytes = (size_t)(dims[1] * stride_of(dims[0])) * sizeof(float);
    step->scratch_bytes = (size_t)sdg_cpu_backend_of(program)->threads * work_floats(step) * sizeof(float);
    step->prepare = prepare;
    sdg_fast_take(step, run, taken);
}
