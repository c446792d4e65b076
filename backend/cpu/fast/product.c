// conv2d and linear where oneDNN is not there (other processors, or not built in, or without VNNI): f32, bf16 on
// processors that multiply pairs of it, f16 on those that multiply it, and integers.
//
// A convolution is a sum over kernel positions of products of shifted pixels with that position's weights; a linear
// layer is the case of one position, its rows of tokens taken as one long line of pixels. Weights are packed at load as
// [channel blocks][kh][kw][depth][tile], with depth = I, or I / 2 pairs, or units of codes. Kernels that multiply codes
// (SDG_FAST_CODES) take them as they are, with weights of bytes or half bytes, and the weights' sums, which lie behind
// them, for what zero points add. For the others codes are widened to 16 bits first, less their zero point; their
// weights stay bytes, or with four bits are packed, and unpacked into scratch memory. Either way what lies outside the
// image adds nothing. Float weights that the file has as codes stay codes as well (sdg_weight_code_bits), expanded into
// scratch memory by each run; their scales follow the sums. Work is cut into pieces of PIXELS output pixels of one line
// times one block of output channels; their sums stay in the cache.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { PIXELS = 48 }; // a multiple of the rows of every instruction set's register tile

struct state {
    const struct sdg_fast_kernels *kernels;
    enum sdg_fast_numbers numbers;
    bool is_signed;                     // x, where it is codes
    bool half;                          // storage of residual and out, and of x unless it is codes
    int64_t depth;                      // I, or pairs of I
    int64_t samples, height, width, in; // of x
    int64_t lines, columns, out;        // of the output, per sample
    int64_t kernel_h, kernel_w, stride, pad_top, pad_left;
    int64_t blocks, pieces;                 // of output channels; of one line
    size_t weight_bytes;                    // as they are multiplied
    bool packed;                            // integers kept as four bits
    int code_bits;                          // floats kept as codes, of so many bits; 0: kept as they are multiplied
    size_t code_count;                      // of these
    struct { size_t sums, x, weights; } at; // in scratch memory
};

static bool integers(const struct state *s)
{
    return s->numbers == SDG_FAST_INTEGERS || s->numbers == SDG_FAST_CODES;
}

static enum sdg_dtype weight_type(const struct state *s)
{
    return integers(s)                  ? SDG_S8
        : s->numbers == SDG_FAST_PAIRS  ? SDG_BF16
        : s->numbers == SDG_FAST_HALVES ? SDG_F16
                                        : SDG_F32;
}

static int64_t per_unit(const struct state *s)
{
    return s->numbers == SDG_FAST_CODES                                  ? s->kernels->unit
        : s->numbers == SDG_FAST_FLOATS || s->numbers == SDG_FAST_HALVES ? 1
                                                                         : 2;
}

// Bytes of a unit of x.
static int64_t unit_bytes(const struct state *s)
{
    return s->numbers == SDG_FAST_CODES ? s->kernels->unit : s->numbers == SDG_FAST_HALVES ? 2 : 4;
}

// Weights of one channel block of one kernel position.
static size_t position_count(const struct state *s)
{
    return (size_t)(s->depth * s->kernels->tile * per_unit(s));
}

static size_t position_bytes(const struct state *s)
{
    return position_count(s) * sdg_dtype_size(weight_type(s));
}

struct packing {
    const struct state *s;
    const char *plain;
    char *to;
    size_t size; // bytes of a weight, in both
};

static void pack(void *context, int64_t block, int thread)
{
    const struct packing *packing = context;
    const struct state *s = packing->s;
    const char *plain = packing->plain;
    char *to = packing->to;
    const size_t size = packing->size;
    const int64_t tile = s->kernels->tile, positions = s->kernel_h * s->kernel_w, per = per_unit(s);
    const size_t bytes = position_count(s) * size;
    (void)thread;
    to += (size_t)(block * positions) * bytes;
    memset(to, 0, (size_t)positions * bytes);
    for (int64_t i = 0; i < s->in; i++)
        for (int64_t o = 0; o < tile && block * tile + o < s->out; o++)
            for (int64_t p = 0; p < positions; p++)
                memcpy(to + (size_t)p * bytes + (size_t)((i / per * tile + o) * per + i % per) * size,
                       plain + (size_t)(((block * tile + o) * s->in + i) * positions + p) * size, size);
}

// Of each column of each kernel position, behind the weights.
static size_t sums_at(const struct state *s)
{
    return sdg_fast_align(s->packed ? s->weight_bytes / 2 : s->weight_bytes);
}

static void sum_weights(const struct state *s, const int8_t *weights, int32_t *sums)
{
    const int64_t tile = s->kernels->tile, per = per_unit(s);
    for (int64_t p = 0; p < s->blocks * s->kernel_h * s->kernel_w; p++, sums += tile) {
        memset(sums, 0, (size_t)tile * sizeof *sums);
        for (int64_t k = 0; k < s->depth; k++)
            for (int64_t i = 0; i < tile * per; i++)
                sums[i / per] += *weights++;
    }
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    const struct state *s = step->state;
    const sdg_value weight = step->op->in[1];
    const enum sdg_dtype type = s->code_bits ? SDG_S8 : weight_type(s);
    const bool nibbles = s->packed || s->code_bits == 4;
    const size_t plain_bytes = (size_t)sdg_value_elements(sdg_cpu_value(step->program, weight)) * sdg_dtype_size(type),
                 codes = s->code_bits ? s->code_count : s->weight_bytes;
    char *plain =
        sdg_alloc_raw(step->program->base.log, plain_bytes + (nibbles ? codes : 0), 1, "weights being packed");
    if (!plain)
        return SDG_ERROR_MEMORY;
    char *weights = nibbles ? plain + plain_bytes : step->weights;
    if (s->code_bits)
        sdg_cpu_read_codes(step->program, weight, (int8_t *)plain, sdg_fast_code_scales(step, s->out));
    else
        sdg_cpu_read_weight(step->program, weight, type, plain);
    struct packing packing = {s, plain, weights, sdg_dtype_size(type)};
    sdg_cpu_run(step->program, s->blocks, pack, &packing);
    if (s->numbers == SDG_FAST_CODES)
        sum_weights(s, (const int8_t *)weights, (int32_t *)((char *)step->weights + sums_at(s)));
    if (nibbles)
        sdg_fast_pack4(sdg_cpu_backend_of(step->program)->pool, (int8_t *)weights, step->weights, codes);
    sdg_free(plain);
    return SDG_OK;
}

// ---- run ----

static void *scratch_at(const struct sdg_cpu_step *step, size_t at)
{
    return (char *)step->scratch + at;
}

static const char *weights_at(const struct sdg_cpu_step *step, int64_t block, int64_t position)
{
    const struct state *s = step->state;
    const bool nibbles = s->packed && s->numbers == SDG_FAST_CODES, expanded = !nibbles && (s->packed || s->code_bits);
    const char *weights = expanded ? scratch_at(step, s->at.weights) : step->weights;
    return weights + (size_t)(block * s->kernel_h * s->kernel_w + position) * position_bytes(s) / (nibbles ? 2 : 1);
}

static const int32_t *sums_of_weights(const struct sdg_cpu_step *step, int64_t block, int64_t position)
{
    const struct state *s = step->state;
    const int32_t *sums = (const int32_t *)((const char *)step->weights + sums_at(s));
    return sums + (block * s->kernel_h * s->kernel_w + position) * s->kernels->tile;
}

// Codes whose channels do not fill units are copied.
static bool copies_codes(const struct state *s)
{
    return s->numbers == SDG_FAST_CODES && s->in != s->depth * s->kernels->unit;
}

static const char *input(const struct sdg_cpu_step *step)
{
    const struct state *s = step->state;
    return s->numbers == SDG_FAST_INTEGERS || copies_codes(s) ? scratch_at(step, s->at.x)
                                                              : sdg_cpu_data(step->program, step->op->in[0]);
}

struct widening {
    const struct state *s;
    struct sdg_fast_intervals intervals;
    bool sign;
    const uint8_t *codes;
    int16_t *x;
};

static void widen_pixels(void *context, int64_t first, int64_t end, int thread)
{
    const struct widening *w = context;
    (void)thread;
    w->s->kernels->widen(w->codes, w->sign, &w->intervals, w->s->in, w->x, first, end);
}

static void pad_pixels(void *context, int64_t first, int64_t end, int thread)
{
    const struct widening *w = context;
    const int64_t in = w->s->in, padded = w->s->depth * w->s->kernels->unit;
    char *to = (char *)w->x + first * padded;
    (void)thread;
    for (int64_t p = first; p < end; p++, to += padded) {
        memcpy(to, w->codes + p * in, (size_t)in);
        memset(to + in, 0, (size_t)(padded - in)); // their weights are 0
    }
}

static void prepare_integers(const struct sdg_cpu_step *step, int64_t row)
{
    enum { PIXELS_EACH = 64 };
    const struct state *s = step->state;
    const sdg_value x = step->op->in[0];
    struct widening widening = {
        .s = s,
        .intervals = sdg_fast_intervals(step->program, step->op->in[2], row),
        .sign = sdg_cpu_value(step->program, x)->dtype == SDG_S8,
        .codes = sdg_cpu_data(step->program, x),
        .x = scratch_at(step, s->at.x),
    };
    const int64_t pixels = s->samples * s->height * s->width;
    if (s->numbers == SDG_FAST_CODES) {
        if (copies_codes(s))
            sdg_cpu_run_parts(step->program, pixels, PIXELS_EACH, pad_pixels, &widening);
        return;
    }
    sdg_cpu_run_parts(step->program, pixels, PIXELS_EACH, widen_pixels, &widening);
    if (s->packed)
        sdg_fast_unpack4(step, step->weights, scratch_at(step, s->at.weights), s->weight_bytes);
}

struct piece { int64_t sample, line, first, count, block; };

// Adds to `sums` what one kernel position contributes: the pixels it reads inside the image are one run, the others
// count as zero.
static void add_position(const struct sdg_cpu_step *step, const struct piece *piece, int64_t ky, int64_t kx,
                         const struct sdg_fast_intervals *intervals, float *sums)
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
    const int64_t pixel = (piece->sample * s->height + y) * s->width + begin * s->stride + shift,
                  position = ky * s->kernel_w + kx;
    const char *x = input(step) + pixel * s->depth * unit_bytes(s), *weights = weights_at(step, piece->block, position);
    sums += (begin - piece->first) * s->kernels->tile;
    if (s->numbers == SDG_FAST_CODES)
        s->kernels->code_sums(&(struct sdg_fast_code_product){
            .x = (const uint8_t *)x,
            .is_signed = s->is_signed,
            .stride = s->stride * s->depth * s->kernels->unit,
            .rows = end - begin,
            .depth = s->depth,
            .weights = (const int8_t *)weights,
            .nibbles = s->packed,
            .weight_sums = sums_of_weights(step, piece->block, position),
            .intervals = intervals,
            .token = pixel,
            .token_step = s->stride,
            .sums = (int32_t *)sums,
        });
    else
        s->kernels->weighted_sums(x, s->stride * s->depth, end - begin, weights, s->depth, s->numbers, sums);
}

static void run_piece(const struct sdg_cpu_step *step, const struct piece *piece, int64_t row,
                      const struct sdg_fast_codes *codes, float *sums)
{
    const struct state *s = step->state;
    const struct sdg_epilogue *e = &step->op->epilogue;
    const struct sdg_cpu_program *program = step->program;
    const int64_t tile = s->kernels->tile, channel = piece->block * tile;
    const int64_t channels = s->out - channel < tile ? s->out - channel : tile;
    struct sdg_fast_intervals intervals = {0};
    if (integers(s))
        intervals = sdg_fast_intervals(program, step->op->in[2], row);
    memset(sums, 0, (size_t)(piece->count * tile) * sizeof *sums);
    for (int64_t ky = 0; ky < s->kernel_h; ky++)
        for (int64_t kx = 0; kx < s->kernel_w; kx++)
            add_position(step, piece, ky, kx, &intervals, sums);
    const char *residual = e->residual ? sdg_cpu_data(program, e->residual) : NULL;
    char *out = sdg_cpu_data(program, step->op->out);
    const int64_t size = s->half ? 2 : 4, out_size = codes ? 1 : size;
    struct sdg_fast_epilogue end = {.activation = e->activation, .half = s->half, .codes = codes, .scale = 1};
    end.integers = integers(s);
    if (end.integers) {
        end.scales = (const float *)sdg_cpu_data(program, step->op->in[3]) + channel;
        end.scale = intervals.pairs[0];
    } else if (s->code_bits) {
        end.scales = sdg_fast_code_scales(step, s->out) + channel;
        end.scale = s->numbers == SDG_FAST_HALVES ? SDG_FAST_HALF_CODES : 1;
    }
    if (e->bias)
        end.bias = (const float *)sdg_cpu_data(program, e->bias) + channel;
    for (int64_t i = 0; i < piece->count; i++) {
        const int64_t pixel = (piece->sample * s->lines + piece->line) * s->columns + piece->first + i,
                      at = pixel * s->out + channel;
        if (e->table) { // a linear layer's line runs through all samples
            const int64_t sample = pixel /
                (sdg_value_elements(sdg_cpu_value(program, step->op->out)) /
                 sdg_cpu_value(program, step->op->out)->dims[0] / s->out);
            end.table =
                sdg_cpu_table(program, e->table, row) + sample * sdg_cpu_table_stride(program, e->table) + channel;
        }
        if (intervals.stride) // pixels of the output are those of the input
            end.scale = intervals.pairs[pixel % intervals.tokens * intervals.stride];
        end.residual = residual ? residual + at * size : NULL;
        end.token = pixel;
        s->kernels->epilogue(&end, sums + i * tile, out + at * out_size, channels);
    }
}

struct loop {
    const struct sdg_cpu_step *step;
    int64_t row;
    const struct sdg_fast_codes *codes;
};

static void run_index(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const struct state *s = l->step->state;
    const int64_t per_block = s->samples * s->lines * s->pieces, at = index % per_block;
    struct piece piece = {.block = index / per_block, .first = at % s->pieces * PIXELS};
    piece.line = at / s->pieces % s->lines;
    piece.sample = at / s->pieces / s->lines;
    piece.count = s->columns - piece.first < PIXELS ? s->columns - piece.first : PIXELS;
    run_piece(l->step, &piece, l->row, l->codes,
              (float *)scratch_at(l->step, s->at.sums) + thread * PIXELS * s->kernels->tile);
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *s = step->state;
    struct sdg_fast_codes how;
    struct loop loop = {step, row, sdg_fast_codes(step, row, &how)};
    if (integers(s))
        prepare_integers(step, row);
    if (s->code_bits)
        sdg_fast_expand(step, step->weights, s->code_bits, scratch_at(step, s->at.weights),
                        s->numbers != SDG_FAST_FLOATS, s->code_count);
    sdg_cpu_run(step->program, s->blocks * s->samples * s->lines * s->pieces, run_index, &loop);
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
    s->depth = (s->in + per_unit(s) - 1) / per_unit(s);
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

// True if these kernels have the step's types; which numbers they multiply, and whether float activations are of 16
// bits.
static bool choose_numbers(const struct sdg_cpu_step *step, enum sdg_fast_numbers *numbers, bool *half)
{
    const struct sdg_op *op = step->op;
    const struct sdg_cpu_program *program = step->program;
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_for(step);
    if (!op->in[2]) {
        if (!sdg_fast_types(step, half))
            return false;
        *numbers = *half ? kernels->halves : SDG_FAST_FLOATS;
        return !*half || *numbers == SDG_FAST_HALVES ||
            (*numbers == SDG_FAST_PAIRS && sdg_cpu_value(program, op->in[0])->dims[3] % 2 == 0);
    }
    const sdg_value residual = op->epilogue.residual;
    const enum sdg_dtype out = sdg_cpu_value(program, op->out)->dtype,
                         type = residual ? sdg_cpu_value(program, residual)->dtype
        : op->codes.interval             ? SDG_F32
                                         : out;
    *numbers = kernels->unit ? SDG_FAST_CODES : SDG_FAST_INTEGERS;
    *half = type != SDG_F32;
    return sdg_fast_has_type(step, type) && (op->codes.interval || type == out);
}

// Bytes of the weights between runs.
static size_t plan_weights(const struct sdg_cpu_step *step, struct state *s)
{
    s->weight_bytes = (size_t)(s->blocks * s->kernel_h * s->kernel_w) * position_bytes(s);
    if (integers(s)) {
        const size_t together = s->numbers == SDG_FAST_CODES ? position_bytes(s) : s->weight_bytes;
        s->packed = sdg_cpu_value(step->program, step->op->in[1])->bits == 4 && together % SDG_FAST_NIBBLES == 0;
    }
    if (s->numbers == SDG_FAST_CODES)
        return sums_at(s) + (size_t)(s->blocks * s->kernel_h * s->kernel_w * s->kernels->tile) * sizeof(int32_t);
    if (s->numbers == SDG_FAST_INTEGERS)
        return s->packed ? s->weight_bytes / 2 : s->weight_bytes;
    s->code_bits = sdg_cpu_code_bits(step->program, step->op->in[1]);
    if (!s->code_bits)
        return s->weight_bytes;
    s->code_count = s->weight_bytes / sdg_dtype_size(weight_type(s));
    return sdg_fast_plan_codes(&s->code_bits, s->code_count, s->out);
}

static void plan_memory(struct sdg_cpu_step *step, struct state *s)
{
    const size_t threads = (size_t)sdg_cpu_backend_of(step->program)->threads;
    const bool widened = s->numbers == SDG_FAST_INTEGERS;
    step->weight_bytes = plan_weights(step, s);
    s->at.sums = sdg_fast_reserve(step, threads * (size_t)(PIXELS * s->kernels->tile) * sizeof(float));
    s->at.x = sdg_fast_reserve(
        step, widened || copies_codes(s) ? (size_t)(s->samples * s->height * s->width * s->depth * unit_bytes(s)) : 0);
    s->at.weights = sdg_fast_reserve(step, (s->packed && widened) || s->code_bits ? s->weight_bytes : 0);
}

enum sdg_result sdg_fast_select_product(struct sdg_cpu_step *step, bool *taken)
{
    struct sdg_cpu_program *program = step->program;
    const struct sdg_op *op = step->op;
    const struct sdg_epilogue *e = &op->epilogue;
    enum sdg_fast_numbers numbers;
    bool half;
    if (sdg_op_is_fused(op) || !choose_numbers(step, &numbers, &half) ||
        sdg_cpu_value(program, op->in[1])->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if ((e->bias && sdg_cpu_value(program, e->bias)->dtype != SDG_F32) || e->activation == SDG_UNARY_AFFINE)
        return SDG_OK;
    struct state *s = sdg_alloc(program->base.log, 1, sizeof *s, "a kernel");
    if (!s)
        return SDG_ERROR_MEMORY;
    s->kernels = sdg_fast_kernels_for(step);
    s->numbers = numbers;
    s->half = half;
    s->is_signed = sdg_cpu_value(program, op->in[0])->dtype == SDG_S8;
    step->state = s;
    step->destroy = destroy;
    step->prepare = prepare;
    describe_shape(step, s);
    plan_memory(step, s);
    sdg_cpu_want_weight(program, e->bias);
    if (integers(s))
        sdg_cpu_want_weight(program, op->in[3]);
    sdg_fast_take(step, run, taken);
    const int bits = s->packed ? 4 : s->code_bits;
    size_t length = strlen(step->kernel);
    snprintf(step->kernel + length, sizeof step->kernel - length, "%s%s",
             numbers == SDG_FAST_CODES          ? ", codes"
                 : numbers == SDG_FAST_INTEGERS ? ", integers"
                                                : "",
             bits == 4  ? ", 4-bit weights"
                 : bits ? ", 8-bit weights"
                        : "");
    return SDG_OK;
}
