#include "formats/stored.h"

#include "base/finite.h"

#include "base/nibbles.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

// ---- encodings ----

// sdg_convert wants aligned elements, files have them anywhere.
static void convert(void *to, enum sdg_dtype to_type, const void *from, enum sdg_dtype from_type, size_t count)
{
    const size_t from_size = sdg_dtype_size(from_type), to_size = sdg_dtype_size(to_type);
    if (to_type == from_type || (uintptr_t)from % from_size == 0) {
        sdg_convert(to, to_type, from, from_type, count);
        return;
    }
    _Alignas(8) char chunk[4096];
    const size_t per_chunk = sizeof chunk / from_size;
    for (size_t i = 0, n; i < count; i += n) {
        n = count - i < per_chunk ? count - i : per_chunk;
        memcpy(chunk, (const char *)from + i * from_size, n * from_size);
        sdg_convert((char *)to + i * to_size, to_type, chunk, from_type, n);
    }
}

static void floats(const void *row, enum sdg_dtype type, size_t first, size_t count, float *to)
{
    convert(to, SDG_F32, (const char *)row + first * sdg_dtype_size(type), type, count);
}

static void bytes_as_codes(const void *row, size_t first, size_t count, int8_t *to)
{
    memcpy(to, (const int8_t *)row + first, count);
}

static void nibbles_as_codes(const void *row, size_t first, size_t count, int8_t *to)
{
    sdg_unpack4_part(row, first, count, to);
}

static const struct sdg_encoding encodings[SDG_DTYPE_COUNT] = {
    [SDG_F32] = {.block = 1, .bytes = 4, .numbers = floats},
    [SDG_F16] = {.block = 1, .bytes = 2, .numbers = floats},
    [SDG_BF16] = {.block = 1, .bytes = 2, .numbers = floats},
    [SDG_F64] = {.block = 1, .bytes = 8, .numbers = floats},
    [SDG_F8_E4M3] = {.block = 1, .bytes = 1, .numbers = floats},
    [SDG_F8_E5M2] = {.block = 1, .bytes = 1, .numbers = floats},
    [SDG_S8] = {.bits = 8, .block = 1, .bytes = 1, .codes = bytes_as_codes},
    [SDG_U8] = {.bits = 4, .block = 2, .bytes = 1, .codes = nibbles_as_codes},
};

const struct sdg_encoding *sdg_encoding_of(enum sdg_dtype dtype)
{
    return encodings[dtype].block ? &encodings[dtype] : NULL;
}

size_t sdg_encoding_row(const struct sdg_encoding *encoding, size_t inputs)
{
    return (inputs / encoding->block + (inputs % encoding->block != 0)) * encoding->bytes;
}

// ---- values ----

struct sdg_stored sdg_stored_numbers(const struct sdg_tensor *tensor)
{
    struct sdg_stored stored = {
        .tensor = tensor, .encoding = sdg_encoding_of(tensor->dtype), .outputs = (size_t)tensor->dims[0], .inputs = 1};
    for (int i = 1; i < tensor->rank; i++)
        stored.inputs *= (size_t)tensor->dims[i];
    return stored;
}

static const char *row_of(const struct sdg_stored *s, size_t output)
{
    return (const char *)s->tensor->data + output * sdg_encoding_row(s->encoding, s->inputs);
}

const void *sdg_stored_plain(const struct sdg_stored *s, size_t first)
{
    if (s->encoding->bits || s->tensor->added)
        return NULL;
    return (const char *)s->tensor->data + first * s->encoding->bytes;
}

float sdg_stored_scale(const struct sdg_stored *s, size_t output, size_t input)
{
    const size_t at = output * s->groups + (input - s->scale_start) / s->group;
    float scale;
    memcpy(&scale, (const char *)s->scale->data + at * sizeof scale, sizeof scale);
    return scale;
}

// Inputs from `input` on that share its scale.
static size_t left_in_group(const struct sdg_stored *s, size_t input)
{
    return s->group - (input - s->scale_start) % s->group;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum { SOME = 1024 }; // values on the stack

static void scaled_codes(const struct sdg_stored *s, size_t output, size_t input, size_t count, float *to)
{
    int8_t codes[SOME];
    s->encoding->codes(row_of(s, output), input, count, codes);
    for (size_t i = 0, n; i < count; i += n) {
        const float scale = sdg_stored_scale(s, output, input + i);
        n = least(count - i, left_in_group(s, input + i));
        for (size_t k = i; k < i + n; k++)
            to[k] = (float)codes[k] * scale;
    }
}

static void add_parts(const struct sdg_stored *s, size_t output, size_t input, size_t count, float *to)
{
    double sums[SOME], product[SOME];
    for (size_t i = 0; i < count; i++)
        sums[i] = to[i];
    for (const struct sdg_low_rank_part *part = s->tensor->added; part; part = part->next) {
        memset(product, 0, count * sizeof *product);
        for (size_t k = 0; k < part->rank; k++) {
            const double up = part->up[output * part->rank + k];
            const float *down = part->down + k * s->inputs + input;
            for (size_t i = 0; i < count; i++)
                product[i] += up * down[i];
        }
        for (size_t i = 0; i < count; i++)
            sums[i] += part->factor * product[i];
    }
    for (size_t i = 0; i < count; i++)
        to[i] = (float)sums[i];
}

// Up to SOME values of one row.
static void row_values(const struct sdg_stored *s, size_t output, size_t input, size_t count, float *to)
{
    if (s->encoding->bits)
        scaled_codes(s, output, input, count, to);
    else
        s->encoding->numbers(row_of(s, output), s->tensor->dtype, input, count, to);
    if (s->tensor->added)
        add_parts(s, output, input, count, to);
}

void sdg_stored_expand(const struct sdg_stored *s, size_t first, size_t count, enum sdg_dtype dtype, void *to)
{
    const void *plain = sdg_stored_plain(s, first);
    if (plain) {
        convert(to, dtype, plain, s->tensor->dtype, count);
        return;
    }
    float values[SOME];
    for (size_t i = 0, n; i < count; i += n) {
        const size_t output = (first + i) / s->inputs, input = (first + i) % s->inputs;
        n = least(least(count - i, s->inputs - input), SOME);
        row_values(s, output, input, n, values);
        sdg_convert((char *)to + i * sdg_dtype_size(dtype), dtype, values, SDG_F32, n);
    }
}

static void nearest_codes(const struct sdg_stored *s, int bits, size_t output, size_t input, size_t count, int8_t *to)
{
    float values[SOME];
    row_values(s, output, input, count, values);
    for (size_t i = 0, n; i < count; i += n) {
        const float scale = sdg_stored_scale(s, output, input + i);
        n = least(count - i, left_in_group(s, input + i));
        for (size_t k = i; k < i + n; k++)
            to[k] = sdg_nearest_code(values[k], scale, bits);
    }
}

void sdg_stored_codes(const struct sdg_stored *s, int bits, size_t first, size_t count, int8_t *to)
{
    const bool as_stored = s->encoding->bits && !s->tensor->added;
    for (size_t i = 0, n; i < count; i += n) {
        const size_t output = (first + i) / s->inputs, input = (first + i) % s->inputs;
        n = least(count - i, s->inputs - input);
        if (as_stored) {
            s->encoding->codes(row_of(s, output), input, n, to + i);
        } else {
            n = least(n, SOME);
            nearest_codes(s, bits, output, input, n, to + i);
        }
    }
}

// ---- checks ----

bool sdg_tensor_has_bad_number(const struct sdg_tensor *tensor, float *value)
{
    const struct sdg_encoding *encoding = sdg_encoding_of(tensor->dtype);
    float numbers[SOME];
    if (!encoding || encoding->bits)
        return false;
    for (size_t i = 0, n, all = tensor->bytes / sdg_dtype_size(tensor->dtype); i < all; i += n) {
        n = least(all - i, SOME);
        encoding->numbers(tensor->data, tensor->dtype, i, n, numbers);
        const size_t bad = sdg_first_not_finite(numbers, n);
        if (bad < n) {
            *value = numbers[bad];
            return true;
        }
    }
    return false;
}

enum sdg_result sdg_stored_check_scales(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                        const struct sdg_tensor *scales)
{
    for (size_t i = 0; i < scales->bytes / sizeof(float); i++) {
        float scale;
        memcpy(&scale, (const char *)scales->data + i * sizeof scale, sizeof scale);
        if (!(scale >= 0x1p-120f && scale <= FLT_MAX))
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: tensor %s: scale %zu is %g, should be a positive finite number, 2^-120 or more",
                            sdg_tensors_path(tensors), scales->name, i, (double)scale);
    }
    return SDG_OK;
}
