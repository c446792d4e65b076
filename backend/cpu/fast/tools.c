// Tools of the kernels in this folder: types, intervals, codes, weights on all threads.
#include "backend/cpu/fast/tools.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

const struct sdg_fast_kernels *sdg_fast_kernels_of(const struct sdg_cpu_backend *backend, enum sdg_dtype dtype)
{
    return &backend->kernels[dtype == SDG_F16];
}

const struct sdg_fast_kernels *sdg_fast_kernels_for(const struct sdg_cpu_step *step)
{
    const struct sdg_graph *graph = sdg_cpu_graph(step->program);
    enum sdg_dtype type = graph->values[step->op->out].dtype;
    sdg_value reads[SDG_OP_MAX_READS];
    const int count = sdg_op_reads(graph, step->op, reads);
    for (int i = 0; i < count && type != SDG_F16; i++)
        type = graph->values[reads[i]].dtype;
    return sdg_fast_kernels_of(sdg_cpu_backend_of(step->program), type);
}

bool sdg_fast_has_type(const struct sdg_cpu_step *step, enum sdg_dtype dtype)
{
    return dtype == SDG_F32 || dtype == SDG_BF16 ||
        (dtype == SDG_F16 && sdg_fast_kernels_of(sdg_cpu_backend_of(step->program), dtype)->halves == SDG_FAST_HALVES);
}

bool sdg_fast_types(const struct sdg_cpu_step *step, bool *half)
{
    const struct sdg_graph *graph = sdg_cpu_graph(step->program);
    const sdg_value interval = step->op->codes.interval;
    const enum sdg_dtype type = graph->values[interval ? step->op->in[0] : step->op->out].dtype;
    sdg_value reads[SDG_OP_MAX_READS];
    int count = sdg_op_reads(graph, step->op, reads);
    for (int i = 0; i < count; i++)
        if (reads[i] != interval && graph->values[reads[i]].dtype != type)
            return false;
    *half = type != SDG_F32;
    return sdg_fast_has_type(step, type);
}

struct sdg_fast_intervals sdg_fast_intervals(const struct sdg_cpu_program *program, sdg_value interval, int64_t row)
{
    const struct sdg_value_info *info = sdg_cpu_value(program, interval);
    if (info->kind != SDG_VALUE_TABLE)
        return (struct sdg_fast_intervals){
            .pairs = sdg_cpu_data(program, interval),
            .stride = info->dims[2] == 1 ? 0 : 2,
            .tokens = info->dims[2],
        };
    return (struct sdg_fast_intervals){
        .pairs = sdg_cpu_table(program, interval, row),
        .stride = sdg_cpu_table_stride(program, interval),
        .tokens = info->dims[1],
    };
}

struct sdg_fast_source sdg_fast_source(const struct sdg_cpu_step *step, int k, int64_t row)
{
    const sdg_value *in = step->op->in;
    const enum sdg_dtype type = sdg_cpu_value(step->program, in[k])->dtype;
    if (!in[k] || !sdg_dtype_is_codes(type))
        return (struct sdg_fast_source){0};
    return (struct sdg_fast_source){true, type == SDG_S8,
                                    sdg_fast_intervals(step->program, in[sdg_op_interval_of(step->op->kind, k)], row)};
}

const struct sdg_fast_codes *sdg_fast_codes(const struct sdg_cpu_step *step, int64_t row, struct sdg_fast_codes *codes)
{
    const struct sdg_output_codes *wanted = &step->op->codes;
    if (!wanted->interval)
        return NULL;
    const struct sdg_fast_intervals intervals = sdg_fast_intervals(step->program, wanted->interval, row);
    *codes = (struct sdg_fast_codes){
        intervals,
        1.0f / intervals.pairs[0],
        (float)wanted->lowest,
        (float)wanted->highest,
        wanted->smoothing ? sdg_cpu_data(step->program, wanted->smoothing) : NULL,
    };
    return codes;
}

// What the loops of this file work on.
struct loop {
    const struct sdg_fast_kernels *kernels;
    const void *from;
    void *to;
    bool half;
    int bits;                           // of the codes
    int64_t channels;                   // of a row
    const struct sdg_fast_codes *codes; // to make
};

static void quantize_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct loop *l = context;
    (void)thread;
    l->kernels->quantize(l->from, l->to, l->half, l->codes, l->channels, first, end);
}

void sdg_fast_make_codes(const struct sdg_cpu_step *step, int64_t row, const void *y, bool half)
{
    enum { PART = 1 << 14 };
    struct sdg_fast_codes how;
    const struct sdg_value_info *info = sdg_cpu_value(step->program, step->op->out);
    struct loop loop = {
        .kernels = sdg_fast_kernels_for(step),
        .from = y,
        .to = sdg_cpu_data(step->program, step->op->out),
        .half = half,
        .channels = info->dims[3],
        .codes = sdg_fast_codes(step, row, &how),
    };
    sdg_cpu_run_parts(step->program, sdg_value_elements(info) / loop.channels,
                      loop.channels < PART ? PART / loop.channels : 1, quantize_rows, &loop);
}

static void pack_part(void *context, int64_t first, int64_t end, int thread)
{
    enum { HALF = SDG_FAST_NIBBLES / 2 };
    const struct loop *l = context;
    const int8_t *codes = l->from;
    uint8_t *packed = l->to;
    (void)thread;
    for (int64_t i = first; i < end; i += SDG_FAST_NIBBLES)
        for (int64_t k = 0; k < HALF; k++)
            packed[i / 2 + k] = (uint8_t)((codes[i + k] & 15) | (codes[i + HALF + k] & 15) << 4);
}

void sdg_fast_pack4(struct sdg_pool *pool, const int8_t *codes, uint8_t *packed, size_t count)
{
    enum { PART = SDG_FAST_NIBBLES << 8 };
    struct loop loop = {.from = codes, .to = packed};
    sdg_pool_run_parts(pool, (int64_t)count, PART, pack_part, &loop);
}

static void unpack_part(void *context, int64_t first, int64_t end, int thread)
{
    const struct loop *l = context;
    (void)thread;
    l->kernels->unpack4((const uint8_t *)l->from + first / 2, (int8_t *)l->to + first, end - first, true);
}

void sdg_fast_unpack4(const struct sdg_cpu_step *step, const uint8_t *packed, int8_t *codes, size_t count)
{
    enum { PART = 1 << 14 };
    struct loop loop = {sdg_fast_kernels_for(step), .from = packed, .to = codes};
    sdg_cpu_run_parts(step->program, (int64_t)count, PART, unpack_part, &loop);
}

enum { EXPAND_PART = 1 << 13 };

// f16 of codes, by their exponents.
static void divide_codes(uint16_t *codes, int64_t count)
{
    _Static_assert(SDG_FAST_HALF_CODES == 1 << 7, "what is taken from the exponent");
    for (int64_t i = 0; i < count; i++)
        codes[i] = (uint16_t)(codes[i] & 0x7fff ? codes[i] - (7 << 10) : codes[i]);
}

static void expand_part(void *context, int64_t first, int64_t end, int thread)
{
    _Alignas(SDG_CPU_ALIGNMENT) int8_t part[EXPAND_PART];
    const struct loop *l = context;
    const int8_t *from = (const int8_t *)l->from + first;
    (void)thread;
    if (l->bits == 4) {
        l->kernels->unpack4((const uint8_t *)l->from + first / 2, part, end - first, false);
        from = part;
    }
    l->kernels->convert(from, SDG_S8, (char *)l->to + first * (l->half ? 2 : 4), l->half, end - first);
    if (l->kernels->halves == SDG_FAST_HALVES)
        divide_codes((uint16_t *)l->to + first, end - first);
}

void sdg_fast_expand(const struct sdg_cpu_step *step, const void *codes, int bits, void *to, bool half, size_t count)
{
    struct loop loop = {
        .kernels = sdg_fast_kernels_for(step),
        .from = codes,
        .to = to,
        .half = half,
        .bits = bits,
    };
    sdg_cpu_run_parts(step->program, (int64_t)count, EXPAND_PART, expand_part, &loop);
}

size_t sdg_fast_align(size_t bytes)
{
    return (bytes + SDG_CPU_ALIGNMENT - 1) / SDG_CPU_ALIGNMENT * SDG_CPU_ALIGNMENT;
}

size_t sdg_fast_reserve(struct sdg_cpu_step *step, size_t bytes)
{
    const size_t at = step->scratch_bytes;
    step->scratch_bytes += sdg_fast_align(bytes);
    return at;
}

bool sdg_fast_read_weight(const struct sdg_cpu_backend *backend, const struct sdg_weight *weight, size_t first,
                          size_t count, enum sdg_dtype dtype, void *to)
{
    const enum sdg_dtype type = weight->stored.tensor->dtype;
    const void *from = sdg_weight_plain(weight, first, count);
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(backend, dtype);
    if (!from || !sdg_dtype_is_run_float(type) ||
        (dtype != SDG_F32 && dtype != SDG_BF16 && (dtype != SDG_F16 || kernels->halves != SDG_FAST_HALVES)))
        return false;
    kernels->convert(from, type, to, dtype != SDG_F32, (int64_t)(count * weight->inputs));
    return true;
}

enum sdg_result sdg_fast_read_transposed(struct sdg_cpu_step *step, sdg_value v, int64_t stride, float *to)
{
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    const int64_t rows = info->dims[0], columns = sdg_value_elements(info) / rows;
    float *plain =
        sdg_alloc_raw(step->program->base.log, (size_t)(rows * columns), sizeof *plain, "weights being packed");
    if (!plain)
        return SDG_ERROR_MEMORY;
    sdg_cpu_read_weight(step->program, v, SDG_F32, plain);
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < stride; r++)
            to[c * stride + r] = r < rows ? plain[r * columns + c] : 0;
    sdg_free(plain);
    return SDG_OK;
}

size_t sdg_fast_plan_codes(int *bits, size_t count, int64_t outputs)
{
    if (count % SDG_FAST_NIBBLES)
        *bits = 8;
    return sdg_fast_align(*bits == 4 ? count / 2 : count) + (size_t)outputs * sizeof(float);
}

float *sdg_fast_code_scales(const struct sdg_cpu_step *step, int64_t outputs)
{
    return (float *)((char *)step->weights + step->weight_bytes) - outputs;
}

void sdg_fast_take(struct sdg_cpu_step *step, enum sdg_result (*run)(const struct sdg_cpu_step *step, int64_t row),
                   bool *taken)
{
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_for(step);
    snprintf(step->kernel, sizeof step->kernel, "%s:%s", sdg_op_name(step->op->kind), kernels->name);
    step->run = run;
    *taken = true;
}
