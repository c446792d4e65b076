// Layer norm, element-wise operations and intervals on all threads, a fixed number of elements at a time.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include <math.h>
#include <string.h>

enum { PART_ELEMENTS = 16384 };

// What the loops of this file work on.
struct loop {
    const struct sdg_fast_kernels *kernels;
    const struct sdg_op *op;
    const void *x;
    void *out;
    bool half;                          // x, and out unless it is codes
    int64_t count, channels;            // elements and channels of the output
    const struct sdg_fast_codes *codes; // to make, or NULL
    struct sdg_fast_codes how;          // what they point to
};

static void describe_loop(const struct sdg_cpu_step *step, int64_t row, struct loop *l)
{
    const struct sdg_value_info *out = sdg_cpu_value(step->program, step->op->out);
    *l = (struct loop){
        .kernels = sdg_fast_kernels_for(step),
        .op = step->op,
        .x = sdg_cpu_data(step->program, step->op->in[0]),
        .out = sdg_cpu_data(step->program, step->op->out),
        .half = sdg_cpu_value(step->program, step->op->in[0])->dtype != SDG_F32,
        .count = sdg_value_elements(out),
        .channels = out->dims[3],
    };
    l->codes = sdg_fast_codes(step, row, &l->how);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Rows worth one part.
static int64_t part_rows(int64_t channels)
{
    return channels < PART_ELEMENTS ? PART_ELEMENTS / channels : 1;
}

// `work` on the rows of the output.
static void run_rows(const struct sdg_cpu_step *step, struct loop *l, sdg_part_work *work)
{
    sdg_cpu_run_parts(step->program, l->count / l->channels, part_rows(l->channels), work, l);
}

static void unary_part(void *context, int64_t first, int64_t end, int thread)
{
    const struct loop *l = context;
    (void)thread;
    l->kernels->unary(l->op->u.unary.function, l->op->u.unary.a, l->op->u.unary.b, l->x, l->out, l->half, first, end);
}

static enum sdg_result run_unary(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop loop;
    describe_loop(step, row, &loop);
    sdg_cpu_run_parts(step->program, loop.count, PART_ELEMENTS, unary_part, &loop);
    return SDG_OK;
}

// y has x's shape, or 1 in N and/or in H and W. Runs of elements that lie side by side in both are worked off together:
// whole parts if the shapes are equal, samples if y has one sample for all, else pixels.
struct binary {
    struct loop loop;
    const char *y;
    int64_t pixels, y_pixels; // of a sample
    int64_t piece, pieces;    // pixels of one, pieces of a sample
    bool one_sample, one_pixel;
};

static void binary_piece(void *context, int64_t index, int thread)
{
    const struct binary *b = context;
    const struct loop *l = &b->loop;
    const int64_t sample = index / b->pieces, pixel = index % b->pieces * b->piece, size = l->half ? 2 : 4;
    const int64_t from = (sample * b->pixels + pixel) * l->channels,
                  with = ((b->one_sample ? 0 : sample * b->y_pixels) + (b->one_pixel ? 0 : pixel)) * l->channels;
    (void)thread;
    l->kernels->binary(l->op->u.binary.function, (const char *)l->x + from * size, b->y + with * size,
                       (char *)l->out + from * size, l->half, smaller(b->piece, b->pixels - pixel) * l->channels);
}

static enum sdg_result run_binary(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_value_info *x = sdg_cpu_value(step->program, step->op->in[0]),
                                *y = sdg_cpu_value(step->program, step->op->in[1]);
    struct binary b = {
        .y = sdg_cpu_data(step->program, step->op->in[1]),
        .pixels = x->dims[1] * x->dims[2],
        .one_sample = y->dims[0] != x->dims[0],
        .one_pixel = y->dims[1] != x->dims[1] || y->dims[2] != x->dims[2],
    };
    describe_loop(step, row, &b.loop);
    b.y_pixels = b.one_pixel ? 1 : b.pixels;
    b.piece = b.one_pixel ? 1 : smaller(part_rows(b.loop.channels), b.pixels);
    b.pieces = (b.pixels + b.piece - 1) / b.piece;
    sdg_cpu_run(step->program, x->dims[0] * b.pieces, binary_piece, &b);
    return SDG_OK;
}

static enum sdg_result run_quantize(const struct sdg_cpu_step *step, int64_t row)
{
    const sdg_value x = step->op->in[0];
    sdg_fast_make_codes(step, row, sdg_cpu_data(step->program, x), sdg_cpu_value(step->program, x)->dtype != SDG_F32);
    return SDG_OK;
}

static void choose_interval(float smallest, float largest, float lowest, float highest, float *interval)
{
    const float silu_depth = 0.2785f; // a little more than -min of SiLU
    const float scale = lowest < 0 ? fmaxf(largest / highest, smallest / lowest) : (largest + silu_depth) / highest;
    interval[0] = scale > 0 ? fmaxf(scale, 0x1p-100f) : 1;
    interval[1] = lowest < 0 ? 0 : fminf(rintf(silu_depth / interval[0]), highest);
}

struct extremes {
    struct loop loop;
    float *found; // [threads, 2]: smallest and largest, of which 0 is one
};

static size_t extremes_bytes(const struct sdg_cpu_step *step)
{
    return (size_t)sdg_cpu_backend_of(step->program)->threads * 2 * sizeof(float);
}

static void find_extremes(void *context, int64_t first, int64_t end, int thread)
{
    const struct extremes *e = context;
    float low, high, *found = e->found + 2 * thread;
    e->loop.kernels->extremes(e->loop.x, e->loop.half, first, end, &low, &high);
    found[0] = fminf(found[0], low);
    found[1] = fmaxf(found[1], high);
}

static enum sdg_result run_measure_interval(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const int threads = sdg_cpu_backend_of(step->program)->threads;
    struct extremes e = {.found = step->scratch};
    describe_loop(step, row, &e.loop);
    memset(e.found, 0, extremes_bytes(step));
    sdg_cpu_run_parts(step->program, sdg_value_elements(sdg_cpu_value(step->program, op->in[0])), PART_ELEMENTS,
                      find_extremes, &e);
    for (int i = 1; i < threads; i++) {
        e.found[0] = fminf(e.found[0], e.found[2 * i]);
        e.found[1] = fmaxf(e.found[1], e.found[2 * i + 1]);
    }
    choose_interval(e.found[0], e.found[1], (float)op->u.measure_interval.lowest, (float)op->u.measure_interval.highest,
                    e.loop.out);
    return SDG_OK;
}

static void geglu_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct loop *l = context;
    (void)thread;
    l->kernels->geglu(l->x, l->out, l->half, l->codes, l->channels, first, end);
}

static enum sdg_result run_geglu(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop loop;
    describe_loop(step, row, &loop);
    run_rows(step, &loop, geglu_rows);
    return SDG_OK;
}

struct layer_norm {
    struct loop loop;
    const float *gamma, *beta;
};

static void layer_norm_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct layer_norm *n = context;
    const struct loop *l = &n->loop;
    (void)thread;
    l->kernels->layer_norm(l->x, n->gamma, n->beta, l->op->u.layer_norm.eps, l->out, l->half, l->codes, l->channels,
                           first, end);
}

static enum sdg_result run_layer_norm(const struct sdg_cpu_step *step, int64_t row)
{
    struct layer_norm n = {
        .gamma = sdg_cpu_data(step->program, step->op->in[1]),
        .beta = sdg_cpu_data(step->program, step->op->in[2]),
    };
    describe_loop(step, row, &n.loop);
    sdg_cpu_run_parts(step->program, n.loop.count / n.loop.channels, part_rows(n.loop.channels), layer_norm_rows, &n);
    return SDG_OK;
}

struct hadamard {
    struct loop loop;
    float *work; // [threads][channels]
};

static void hadamard_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct hadamard *h = context;
    const struct loop *l = &h->loop;
    l->kernels->hadamard(l->x, l->out, l->half, l->codes, l->op->u.hadamard.block, l->channels, first, end,
                         h->work + thread * l->channels);
}

static enum sdg_result run_hadamard(const struct sdg_cpu_step *step, int64_t row)
{
    struct hadamard h = {.work = step->scratch};
    describe_loop(step, row, &h.loop);
    sdg_cpu_run_parts(step->program, h.loop.count / h.loop.channels, part_rows(h.loop.channels), hadamard_rows, &h);
    return SDG_OK;
}

void sdg_fast_select_pointwise(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    bool half;
    if (op->kind == SDG_OP_MEASURE_INTERVAL) { // its result is f32 whatever it reads
        const enum sdg_dtype type = sdg_cpu_value(step->program, op->in[0])->dtype;
        if (!sdg_fast_has_type(step, type))
            return;
        step->scratch_bytes = extremes_bytes(step);
        sdg_fast_take(step, run_measure_interval, taken);
        return;
    }
    if (!sdg_fast_types(step, &half))
        return;
    switch (op->kind) {
    case SDG_OP_UNARY: sdg_fast_take(step, run_unary, taken); break;
    case SDG_OP_BINARY: sdg_fast_take(step, run_binary, taken); break;
    case SDG_OP_GEGLU: sdg_fast_take(step, run_geglu, taken); break;
    case SDG_OP_QUANTIZE: sdg_fast_take(step, run_quantize, taken); break;
    case SDG_OP_HADAMARD:
        step->scratch_bytes = (size_t)sdg_cpu_backend_of(step->program)->threads *
            (size_t)sdg_cpu_value(step->program, op->out)->dims[3] * sizeof(float);
        sdg_fast_take(step, run_hadamard, taken);
        break;
    case SDG_OP_LAYER_NORM:
        if (sdg_op_is_fused(op) || sdg_cpu_value(step->program, op->in[1])->dtype != SDG_F32 ||
            sdg_cpu_value(step->program, op->in[2])->dtype != SDG_F32)
            return;
        sdg_cpu_want_weight(step->program, op->in[1]);
        sdg_cpu_want_weight(step->program, op->in[2]);
        sdg_fast_take(step, run_layer_norm, taken);
        break;
    default: break;
    }
}
