// conv2d and linear where oneDNN is not there (other processors, or not built in): f32, and bf16 on processors that multiply bf16 pairs.
//
// A convolution is a sum over kernel positions of products of shifted pixels with that position's weights; a linear layer is the case of
// one position, its rows of tokens taken as one long line of pixels. Weights are packed at load as
// [channel blocks][kh][kw][depth][tile], with depth = I, or I / 2 pairs.
// Work is cut into pieces of PIXELS output pixels of one line times one block of output channels; their sums stay in the cache.
#include "backend/cpu/fast/fast.h"

#include "base/memory.h"

#include <omp.h>
#include <string.h>

enum { PIXELS = 48 }; // a multiple of the rows of every instruction set's register tile

struct state {
    const struct sdg_fast_kernels *kernels;
    bool half;                          // bf16: x and weights are taken in pairs of channels
    int64_t depth;                      // I, or I / 2 pairs
    int64_t samples, height, width, in; // of x
    int64_t lines, columns, out;        // of the output, per sample
    int64_t kernel_h, kernel_w, stride, pad_top, pad_left;
    int64_t blocks, pieces;             // of output channels; of one line
};

static float *packed_weights(const struct sdg_cpu_step *step, int64_t block)
{
    const struct state *s = step->state;
    return (float *)step->weights + block * s->kernel_h * s->kernel_w * s->depth * s->kernels->tile;
}

static void pack(const struct sdg_cpu_step *step, const void *plain, int64_t block)
{
    const struct state *s = step->state;
    const int64_t tile = s->kernels->tile, positions = s->kernel_h * s->kernel_w, size = s->half ? 2 : 4, per = s->half ? 2 : 1;
    char *to = (char *)packed_weights(step, block);
    memset(to, 0, (size_t)(positions * s->depth * tile) * sizeof(float));
    for (int64_t i = 0; i < s->in; i++)
        for (int64_t o = 0; o < tile && block * tile + o < s->out; o++)
            for (int64_t p = 0; p < positions; p++)
                memcpy(to + ((p * s->depth + i / per) * tile + o) * 4 + i % per * 2,
                       (const char *)plain + (((block * tile + o) * s->in + i) * positions + p) * size, (size_t)size);
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    const struct state *s = step->state;
    const sdg_value weight = step->op->in[1];
    const size_t count = (size_t)sdg_value_elements(sdg_cpu_value(step->program, weight));
    void *plain = sdg_alloc_raw(step->program->log, count, s->half ? 2 : 4, "weights being packed");
    if (!plain)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_fast_read_weight(step->program, weight, s->half ? SDG_BF16 : SDG_F32, plain);
    if (result == SDG_OK) {
#pragma omp parallel for schedule(static)
        for (int64_t block = 0; block < s->blocks; block++)
            pack(step, plain, block);
    }
    sdg_free(plain);
    return result;
}

struct piece { int64_t sample, line, first, count, block; };

// Adds to `sums` what one kernel position contributes: the pixels it reads inside the image are one run, the others count as zero.
static void add_position(const struct sdg_cpu_step *step, const struct piece *piece, int64_t ky, int64_t kx, float *sums)
{
    const struct state *s = step->state;
    const int64_t y = piece->line * s->stride + ky - s->pad_top, shift = kx - s->pad_left;
    if (y < 0 || y >= s->height)
        return;
    int64_t begin = piece->first, end = piece->first + piece->count;
    while (begin < end && begin * s->stride + shift < 0)
        begin++;
    while (begin < end && (end - 1) * s->stride + shift >= s->width)
        end--;
    if (begin == end)
        return;
    const int64_t at = ((piece->sample * s->height + y) * s->width + begin * s->stride + shift) * s->depth; // in units of 4 bytes
    const char *x = (const char *)sdg_cpu_data(step->program, step->op->in[0]) + at * 4;
    s->kernels->weighted_sums(x, s->stride * s->depth, end - begin, packed_weights(step, piece->block) + (ky * s->kernel_w + kx) * s->depth * s->kernels->tile,
                              s->depth, s->half, sums + (begin - piece->first) * s->kernels->tile);
}

static void run_piece(const struct sdg_cpu_step *step, const struct piece *piece, int64_t row, float *sums)
{
    const struct state *s = step->state;
    const struct sdg_epilogue *e = &step->op->epilogue;
    const struct sdg_cpu_program *program = step->program;
    const int64_t tile = s->kernels->tile, channel = piece->block * tile;
    const int64_t channels = s->out - channel < tile ? s->out - channel : tile;
    memset(sums, 0, (size_t)(piece->count * tile) * sizeof *sums);
    for (int64_t ky = 0; ky < s->kernel_h; ky++)
        for (int64_t kx = 0; kx < s->kernel_w; kx++)
            add_position(step, piece, ky, kx, sums);
    const float *bias = e->bias ? (const float *)sdg_cpu_data(program, e->bias) + channel : NULL;
    const char *residual = e->residual ? sdg_cpu_data(program, e->residual) : NULL;
    char *out = sdg_cpu_data(program, step->op->out);
    const int64_t size = s->half ? 2 : 4;
    for (int64_t i = 0; i < piece->count; i++) {
        const int64_t pixel = (piece->sample * s->lines + piece->line) * s->columns + piece->first + i, at = pixel * s->out + channel;
        const float *table = NULL;
        if (e->table) { // a linear layer's line runs through all samples
            const int64_t sample = pixel / (sdg_value_elements(sdg_cpu_value(program, step->op->out)) / sdg_cpu_value(program, step->op->out)->dims[0] / s->out);
            table = sdg_cpu_table(program, e->table, row) + sample * sdg_cpu_table_stride(program, e->table) + channel;
        }
        s->kernels->epilogue(sums + i * tile, bias, table, residual ? residual + at * size : NULL, e->activation, out + at * size, s->half, channels);
    }
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *s = step->state;
    const int64_t per_block = s->samples * s->lines * s->pieces;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->blocks * per_block; i++) {
        struct piece piece = {.block = i / per_block, .first = i % s->pieces * PIXELS};
        piece.line = i % per_block / s->pieces % s->lines;
        piece.sample = i % per_block / s->pieces / s->lines;
        piece.count = s->columns - piece.first < PIXELS ? s->columns - piece.first : PIXELS;
        run_piece(step, &piece, row, (float *)step->scratch + omp_get_thread_num() * PIXELS * s->kernels->tile);
    }
    return SDG_OK;
}

static void destroy(struct sdg_cpu_step *step)
{
    sdg_free(step->state);
}

static void describe_shape(const struct sdg_cpu_step *step, struct state *s)
{
    const struct sdg_op *op = step->op;
    const int64_t *x = sdg_cpu_value(step->program, op->in[0])->dims, *y = sdg_cpu_value(step->program, op->out)->dims;
    s->in = x[3];
    s->out = y[3];
    s->depth = s->half ? s->in / 2 : s->in;
    if (op->kind == SDG_OP_LINEAR) {
        s->samples = s->height = s->lines = s->kernel_h = s->kernel_w = s->stride = 1;
        s->width = s->columns = x[0] * x[1] * x[2];
    } else {
        s->samples = x[0];
        s->height = x[1];
        s->width = x[2];
        s->lines = y[1];
        s->columns = y[2];
        s->kernel_h = op->u.conv2d.kernel_h;
        s->kernel_w = op->u.conv2d.kernel_w;
        s->stride = op->u.conv2d.stride;
        s->pad_top = op->u.conv2d.pad_top;
        s->pad_left = op->u.conv2d.pad_left;
    }
    s->blocks = (s->out + s->kernels->tile - 1) / s->kernels->tile;
    s->pieces = (s->columns + PIXELS - 1) / PIXELS;
}

enum sdg_result sdg_fast_select_product(struct sdg_cpu_step *step, bool *taken)
{
    struct sdg_cpu_program *program = step->program;
    const struct sdg_op *op = step->op;
    const struct sdg_epilogue *e = &op->epilogue;
    bool half;
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(program));
    if (!sdg_fast_types(step, &half) || sdg_cpu_value(program, op->in[1])->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if ((e->bias && sdg_cpu_value(program, e->bias)->dtype != SDG_F32) || e->activation == SDG_UNARY_AFFINE)
        return SDG_OK;
    if (half && (!kernels->pairs || sdg_cpu_value(program, op->in[0])->dims[3] % 2))
        return SDG_OK;
    struct state *s = sdg_alloc(program->log, 1, sizeof *s, "a kernel");
    if (!s)
        return SDG_ERROR_MEMORY;
    s->kernels = kernels;
    s->half = half;
    step->state = s;
    step->destroy = destroy;
    step->prepare = prepare;
    describe_shape(step, s);
    step->weight_bytes = (size_t)(s->blocks * s->kernel_h * s->kernel_w * s->depth * s->kernels->tile) * sizeof(float);
    step->scratch_bytes = (size_t)sdg_cpu_backend_of(program)->threads * (size_t)(PIXELS * s->kernels->tile) * sizeof(float);
    sdg_cpu_want_weight(program, e->bias);
    sdg_fast_take(step, run, taken);
    return SDG_OK;
}
