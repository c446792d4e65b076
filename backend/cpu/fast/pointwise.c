// Layer norm, element-wise operations and intervals on all threads, a fixed number of elements at a time.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include <math.h>

enum { PART_ELEMENTS = 16384 };

static const struct sdg_fast_kernels *kernels_of(const struct sdg_cpu_step *step)
{
    return sdg_fast_kernels_of(sdg_cpu_backend_of(step->program));
}

static bool is_bf16(const struct sdg_cpu_step *step)
{
    return sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_BF16;
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

static enum sdg_result run_unary(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_op *op = step->op;
    const struct sdg_fast_kernels *kernels = kernels_of(step);
    const void *x = sdg_cpu_data(step->program, op->in[0]);
    void *out = sdg_cpu_data(step->program, op->out);
    const bool bf16 = is_bf16(step);
    const int64_t count = sdg_value_elements(sdg_cpu_value(step->program, op->out));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += PART_ELEMENTS)
        kernels->unary(op->u.unary.function, op->u.unary.a, op->u.unary.b, x, out, bf16, i,
                       smaller(i + PART_ELEMENTS, count));
    return SDG_OK;
}

// y has x's shape, or 1 in N and/or in H and W. Runs of elements that lie side by side in both are worked off together:
// whole parts if the shapes are equal, samples if y has one sample for all, else pixels.
static enum sdg_result run_binary(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_op *op = step->op;
    const struct sdg_fast_kernels *kernels = kernels_of(step);
    const struct sdg_value_info *vx = sdg_cpu_value(step->program, op->in[0]),
                                *vy = sdg_cpu_value(step->program, op->in[1]);
    const char *x = sdg_cpu_data(step->program, op->in[0]), *y = sdg_cpu_data(step->program, op->in[1]);
    char *out = sdg_cpu_data(step->program, op->out);
    const bool bf16 = is_bf16(step);
    const int64_t size = bf16 ? 2 : 4, channels = vx->dims[3], pixels = vx->dims[1] * vx->dims[2];
    const bool one_sample = vy->dims[0] != vx->dims[0],
               one_pixel = vy->dims[1] != vx->dims[1] || vy->dims[2] != vx->dims[2];
    const int64_t piece = one_pixel ? 1 : smaller(part_rows(channels), pixels), pieces = (pixels + piece - 1) / piece;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < vx->dims[0] * pieces; i++) {
        const int64_t sample = i / pieces, pixel = i % pieces * piece;
        const int64_t from = (sample * pixels + pixel) * channels;
        const int64_t y_pixels = one_pixel ? 1 : pixels,
                      with = ((one_sample ? 0 : sample * y_pixels) + (one_pixel ? 0 : pixel)) * channels;
        kernels->binary(op->u.binary.function, x + from * size, y + with * size, out + from * size, bf16,
                        smaller(piece, pixels - pixel) * channels);
    }
    return SDG_OK;
}

static enum sdg_result run_quantize(const struct sdg_cpu_step *step, int64_t row)
{
    sdg_fast_make_codes(step, row, sdg_cpu_data(step->program, step->op->in[0]), is_bf16(step));
    return SDG_OK;
}

static void choose_interval(float smallest, float largest, float lowest, float highest, float *interval)
{
    const float silu_depth = 0.2785f; // a little more than -min of SiLU
    const float scale = lowest < 0 ? fmaxf(largest / highest, smallest / lowest) : (largest + silu_depth) / highest;
    interval[0] = scale > 0 ? fmaxf(scale, 0x1p-100f) : 1;
    interval[1] = lowest < 0 ? 0 : fminf(rintf(silu_depth / interval[0]), highest);
}

static enum sdg_result run_measure_interval(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_op *op = step->op;
    const struct sdg_fast_kernels *kernels = kernels_of(step);
    const void *x = sdg_cpu_data(step->program, op->in[0]);
    const bool bf16 = is_bf16(step);
    const int64_t count = sdg_value_elements(sdg_cpu_value(step->program, op->in[0]));
    float smallest = 0, largest = 0;
#pragma omp parallel for schedule(static) reduction(min : smallest) reduction(max : largest)
    for (int64_t i = 0; i < count; i += PART_ELEMENTS) {
        float low, high;
        kernels->extremes(x, bf16, i, smaller(i + PART_ELEMENTS, count), &low, &high);
        smallest = fminf(smallest, low);
        largest = fmaxf(largest, high);
    }
    choose_interval(smallest, largest, (float)op->u.measure_interval.lowest, (float)op->u.measure_interval.highest,
                    sdg_cpu_data(step->program, op->out));
    return SDG_OK;
}

static enum sdg_result run_geglu(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_fast_kernels *kernels = kernels_of(step);
    const struct sdg_value_info *info = sdg_cpu_value(step->program, step->op->out);
    const void *x = sdg_cpu_data(step->program, step->op->in[0]);
    void *out = sdg_cpu_data(step->program, step->op->out);
    const bool bf16 = is_bf16(step);
    struct sdg_fast_codes how;
    const struct sdg_fast_codes *codes = sdg_fast_codes(step, row, &how);
    const int64_t channels = info->dims[3], rows = sdg_value_elements(info) / channels, part = part_rows(channels);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i += part)
        kernels->geglu(x, out, bf16, codes, channels, i, smaller(i + part, rows));
    return SDG_OK;
}

static enum sdg_result run_layer_norm(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct sdg_fast_kernels *kernels = kernels_of(step);
    const struct sdg_value_info *info = sdg_cpu_value(step->program, op->out);
    const void *x = sdg_cpu_data(step->program, op->in[0]);
    const float *gamma = sdg_cpu_data(step->program, op->in[1]), *beta = sdg_cpu_data(step->program, op->in[2]);
    void *out = sdg_cpu_data(step->program, op->out);
    const bool bf16 = is_bf16(step);
    struct sdg_fast_codes how;
    const struct sdg_fast_codes *codes = sdg_fast_codes(step, row, &how);
    const int64_t channels = info->dims[3], rows = sdg_value_elements(info) / channels, part = part_rows(channels);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i += part)
        kernels->layer_norm(x, gamma, beta, op->u.layer_norm.eps, out, bf16, codes, channels, i,
                            smaller(i + part, rows));
    return SDG_OK;
}

void sdg_fast_select_pointwise(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    bool bf16;
    if (op->kind == SDG_OP_MEASURE_INTERVAL) { // its result is f32 whatever it reads
        const enum sdg_dtype type = sdg_cpu_value(step->program, op->in[0])->dtype;
        if (type == SDG_F32 || type == SDG_BF16)
            sdg_fast_take(step, run_measure_interval, taken);
        return;
    }
    if (!sdg_fast_types(step, &bf16))
        return;
    switch (op->kind) {
    case SDG_OP_UNARY: sdg_fast_take(step, run_unary, taken); break;
    case SDG_OP_BINARY: sdg_fast_take(step, run_binary, taken); break;
    case SDG_OP_GEGLU: sdg_fast_take(step, run_geglu, taken); break;
    case SDG_OP_QUANTIZE: sdg_fast_take(step, run_quantize, taken); break;
    case SDG_OP_LAYER_NORM:
        if (sdg_cpu_value(step->program, op->in[1])->dtype != SDG_F32 ||
            sdg_cpu_value(step->program, op->in[2])->dtype != SDG_F32)
            return;
        sdg_cpu_want_weight(step->program, op->in[1]);
        sdg_cpu_want_weight(step->program, op->in[2]);
        sdg_fast_take(step, run_layer_norm, taken);
        break;
    default: break;
    }
}
