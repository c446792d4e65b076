// Tools of the kernels in this folder: types, intervals, codes, weights on all threads.
#include "backend/cpu/fast/tools.h"

#include <stdio.h>
#include <string.h>

const struct sdg_fast_kernels *sdg_fast_kernels_of(const struct sdg_cpu_backend *backend)
{
    return backend->kernels;
}

bool sdg_fast_types(const struct sdg_cpu_step *step, bool *bf16)
{
    const struct sdg_graph *graph = sdg_cpu_graph(step->program);
    const sdg_value interval = step->op->codes.interval;
    const enum sdg_dtype type = graph->values[interval ? step->op->in[0] : step->op->out].dtype;
    sdg_value reads[6];
    int count = sdg_op_reads(graph, step->op, reads);
    for (int i = 0; i < count; i++)
        if (reads[i] != interval && graph->values[reads[i]].dtype != type)
            return false;
    *bf16 = type == SDG_BF16;
    return type == SDG_F32 || type == SDG_BF16;
}

const float *sdg_fast_interval(const struct sdg_cpu_program *program, sdg_value interval, int64_t row)
{
    if (sdg_cpu_value(program, interval)->kind == SDG_VALUE_TABLE)
        return sdg_cpu_table(program, interval, row);
    return sdg_cpu_data(program, interval);
}

const struct sdg_fast_codes *sdg_fast_codes(const struct sdg_cpu_step *step, int64_t row, struct sdg_fast_codes *codes)
{
    const struct sdg_output_codes *wanted = &step->op->codes;
    if (!wanted->interval)
        return NULL;
    const float *interval = sdg_fast_interval(step->program, wanted->interval, row), zero = interval[1];
    *codes = (struct sdg_fast_codes){1.0f / interval[0], (float)wanted->lowest - zero, (float)wanted->highest - zero,
                                     (int32_t)zero};
    return codes;
}

void sdg_fast_make_codes(const struct sdg_cpu_step *step, int64_t row, const void *y, bool bf16)
{
    enum { PART = 1 << 14 };
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(step->program));
    uint8_t *out = sdg_cpu_data(step->program, step->op->out);
    struct sdg_fast_codes how;
    const struct sdg_fast_codes *codes = sdg_fast_codes(step, row, &how);
    const int64_t count = sdg_value_elements(sdg_cpu_value(step->program, step->op->out));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += PART)
        kernels->quantize(y, out, bf16, codes, i, i + PART < count ? i + PART : count);
}

void sdg_fast_pack4(const int8_t *codes, uint8_t *packed, size_t count)
{
    enum { HALF = SDG_FAST_NIBBLES / 2 };
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i += SDG_FAST_NIBBLES)
        for (size_t k = 0; k < HALF; k++)
            packed[i / 2 + k] = (uint8_t)((codes[i + k] & 15) | (codes[i + HALF + k] & 15) << 4);
}

void sdg_fast_unpack4(const struct sdg_cpu_step *step, const uint8_t *packed, int8_t *codes, size_t count)
{
    enum { PART = 1 << 14 };
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(step->program));
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i += PART)
        kernels->unpack4(packed + i / 2, codes + i, (int64_t)(count - i < PART ? count - i : PART), true);
}

void sdg_fast_expand(const struct sdg_cpu_step *step, const void *codes, int bits, void *to, bool bf16, size_t count)
{
    enum { PART = 1 << 13 };
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(step->program));
    const size_t size = bf16 ? 2 : 4;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i += PART) {
        _Alignas(SDG_CPU_ALIGNMENT) int8_t part[PART];
        const int8_t *from = (const int8_t *)codes + i;
        const int64_t n = (int64_t)(count - i < PART ? count - i : PART);
        if (bits == 4) {
            kernels->unpack4((const uint8_t *)codes + i / 2, part, n, false);
            from = part;
        }
        kernels->convert(from, SDG_S8, (char *)to + i * size, bf16, n);
    }
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
    if (!from || (type != SDG_F32 && type != SDG_F16 && type != SDG_BF16) || (dtype != SDG_F32 && dtype != SDG_BF16))
        return false;
    sdg_fast_kernels_of(backend)->convert(from, type, to, dtype == SDG_BF16, (int64_t)(count * weight->inputs));
    return true;
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
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_of(sdg_cpu_backend_of(step->program));
    snprintf(step->kernel, sizeof step->kernel, "%s:%s", sdg_op_name(step->op->kind), kernels->name);
    step->run = run;
    *taken = true;
}
