// Weights from a model's files, checked against what the graph expects and brought into the form kernels want.
#include "backend/backend.h"

#include "base/log.h"
#include "base/nibbles.h"

#include <float.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape_text { char text[160]; };

static struct shape_text shape_text(const int64_t *dims, int rank)
{
    struct shape_text shape = {"["};
    size_t used = 1;
    for (int i = 0; i < rank && used < sizeof shape.text - 24; i++)
        used += (size_t)snprintf(shape.text + used, sizeof shape.text - used, "%s%" PRId64, i ? "," : "", dims[i]);
    snprintf(shape.text + used, sizeof shape.text - used, "]");
    return shape;
}

// Shape of the whole tensor, of which a value may be a slice.
static void expected_dims(const struct sdg_value_info *v, int64_t dims[4])
{
    memcpy(dims, v->dims, 4 * sizeof *dims);
    if (v->slice_of)
        dims[1] = v->slice_of;
}

// A linear layer and a 1x1 convolution are the same thing; models of one architecture store it either way.
static bool shape_fits(const struct sdg_value_info *v, const struct sdg_tensor *tensor)
{
    int64_t dims[4];
    expected_dims(v, dims);
    bool one_by_one = v->rank >= 2 && dims[2] == 1 && dims[3] == 1;
    if (tensor->rank != v->rank && !(one_by_one && (tensor->rank == 2 || tensor->rank == 4)))
        return false;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] != dims[i])
            return false;
    }
    return true;
}

// How a weight lies in the file.
struct stored {
    const struct sdg_tensor *tensor;
    int bits; // of integers, 8 or 4; 0: floats
    // of integers that are wanted as floats, or the other way round: [outputs, groups] of f32; else NULL
    const struct sdg_tensor *scale;
    size_t groups, group; // inputs in each group; the last may have fewer
    size_t scale_start;   // first input that the scales are about, of the whole tensor's
};

struct source { // what all messages begin with
    const struct sdg_log *log;
    const struct sdg_tensors *weights;
};

static enum sdg_result wrong_type(const struct source *s, const struct sdg_tensor *tensor, const char *expected)
{
    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has type %s, expected %s", sdg_tensors_path(s->weights),
                    tensor->name, sdg_dtype_name(tensor->dtype), expected);
}

static enum sdg_result wrong_shape(const struct source *s, const struct sdg_tensor *tensor, const int64_t *dims,
                                   int rank)
{
    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has shape %s, expected %s", sdg_tensors_path(s->weights),
                    tensor->name, shape_text(tensor->dims, tensor->rank).text, shape_text(dims, rank).text);
}

// ---- scales ----

static const char weight_suffix[] = ".weight", scale_suffix[] = ".weight_scale";

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), end = strlen(suffix);
    return length > end && strcmp(text + length - end, suffix) == 0;
}

static enum sdg_result check_scales(const struct source *s, const struct sdg_tensor *tensor)
{
    for (size_t i = 0; i < tensor->bytes / sizeof(float); i++) {
        float scale;
        memcpy(&scale, (const char *)tensor->data + i * sizeof scale, sizeof scale);
        if (!(scale > 0 && scale <= FLT_MAX))
            return sdg_fail(s->log, SDG_ERROR_INPUT,
                            "%s: tensor %s has scale %g at %zu, expected positive finite numbers",
                            sdg_tensors_path(s->weights), tensor->name, (double)scale, i);
    }
    return SDG_OK;
}

static int64_t inputs_of(const struct sdg_value_info *v, bool whole)
{
    return (whole && v->slice_of ? v->slice_of : v->dims[1]) * v->dims[2] * v->dims[3];
}

// MODULE[a:b].weight_scale of a slice if the file has it, else MODULE.weight_scale.
static enum sdg_result find_scale(const struct source *s, const struct sdg_value_info *v, struct stored *out)
{
    char name[512];
    int module = (int)(strlen(v->name) - strlen(weight_suffix));
    if (v->slice_of &&
        snprintf(name, sizeof name, "%.*s[%" PRId64 ":%" PRId64 "]%s", module, v->name, v->slice_start,
                 v->slice_start + v->dims[1], scale_suffix) < (int)sizeof name)
        out->scale = sdg_tensors_find(s->weights, name);
    const bool whole = !out->scale;
    if (whole && snprintf(name, sizeof name, "%.*s%s", module, v->name, scale_suffix) < (int)sizeof name)
        out->scale = sdg_tensors_find(s->weights, name);
    if (!out->scale)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %.*s%s is missing, but %s is quantized",
                        sdg_tensors_path(s->weights), module, v->name, scale_suffix, v->name);
    if (out->scale->dtype != SDG_F32)
        return wrong_type(s, out->scale, "f32");
    out->scale_start = whole ? 0 : (size_t)(v->slice_start * v->dims[2] * v->dims[3]);
    // Without a group size, all inputs of an output share a scale.
    const char *text = sdg_tensors_metadata(s->weights, "group");
    int64_t inputs = inputs_of(v, whole), group = text ? strtoll(text, NULL, 10) : 0;
    if (group <= 0 || group > inputs)
        group = inputs;
    const int64_t dims[2] = {v->dims[0], (inputs - 1) / group + 1};
    const int rank = dims[1] == 1 && out->scale->rank != 2 ? 1 : 2;
    if (out->scale->rank != rank || out->scale->dims[0] != dims[0] || (rank == 2 && out->scale->dims[1] != dims[1]))
        return wrong_shape(s, out->scale, dims, rank);
    out->groups = (size_t)dims[1];
    out->group = (size_t)group;
    return check_scales(s, out->scale);
}

// ---- finding ----

// One code per byte, or rows of codes two in a byte.
static enum sdg_result check_integers(const struct source *s, const struct sdg_value_info *v, const struct stored *w)
{
    if (w->bits == 8) {
        int64_t dims[4];
        expected_dims(v, dims);
        return shape_fits(v, w->tensor) ? SDG_OK : wrong_shape(s, w->tensor, dims, v->rank);
    }
    const int64_t dims[2] = {v->dims[0], (int64_t)sdg_packed_row((size_t)inputs_of(v, true))};
    if (w->tensor->rank == 2 && w->tensor->dims[0] == dims[0] && w->tensor->dims[1] == dims[1])
        return SDG_OK;
    return wrong_shape(s, w->tensor, dims, 2);
}

static enum sdg_result find_for_integers(const struct source *s, const struct sdg_value_info *v, struct stored *out)
{
    out->bits = v->bits == 4 ? 4 : 8;
    enum sdg_dtype type = out->bits == 4 ? SDG_U8 : SDG_S8;
    // a model that leaves its codes to be rounded anew, with the scales that it has
    if (sdg_dtype_is_float(out->tensor->dtype) && ends_with(v->name, weight_suffix)) {
        int64_t dims[4];
        expected_dims(v, dims);
        return shape_fits(v, out->tensor) ? find_scale(s, v, out) : wrong_shape(s, out->tensor, dims, v->rank);
    }
    if (out->tensor->dtype != type)
        return wrong_type(s, out->tensor, out->bits == 4 ? "u8, two codes of 4 bits in each" : "s8");
    return check_integers(s, v, out);
}

static enum sdg_result find_for_floats(const struct source *s, const struct sdg_value_info *v, struct stored *out)
{
    enum sdg_dtype type = out->tensor->dtype;
    if (v->rank >= 2 && ends_with(v->name, weight_suffix) && (type == SDG_S8 || type == SDG_U8)) {
        out->bits = type == SDG_U8 ? 4 : 8;
        SDG_TRY(check_integers(s, v, out));
        return find_scale(s, v, out);
    }
    if (!shape_fits(v, out->tensor)) {
        int64_t dims[4];
        expected_dims(v, dims);
        return wrong_shape(s, out->tensor, dims, v->rank);
    }
    if (!sdg_dtype_is_float(type))
        return wrong_type(s, out->tensor, "a float type");
    if (!ends_with(v->name, scale_suffix))
        return SDG_OK;
    return type == SDG_F32 ? check_scales(s, out->tensor) : wrong_type(s, out->tensor, "f32");
}

static enum sdg_result find_weight(const struct sdg_log *log, const struct sdg_tensors *weights,
                                   const struct sdg_value_info *v, struct stored *out)
{
    const struct source s = {log, weights};
    *out = (struct stored){.tensor = sdg_tensors_find(weights, v->name)};
    if (!out->tensor)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s is missing", sdg_tensors_path(weights), v->name);
    return v->dtype == SDG_S8 ? find_for_integers(&s, v, out) : find_for_floats(&s, v, out);
}

// ---- loading ----

// sdg_convert wants aligned elements, files have them anywhere.
static void convert_unaligned(char *to, enum sdg_dtype to_type, const char *from, enum sdg_dtype from_type,
                              size_t count)
{
    size_t from_size = sdg_dtype_size(from_type), to_size = sdg_dtype_size(to_type);
    if (to_type == from_type || (uintptr_t)from % from_size == 0) {
        sdg_convert(to, to_type, from, from_type, count);
        return;
    }
    _Alignas(8) char chunk[4096];
    size_t per_chunk = sizeof chunk / from_size;
    while (count > 0) {
        size_t n = count < per_chunk ? count : per_chunk;
        memcpy(chunk, from, n * from_size);
        sdg_convert(to, to_type, chunk, from_type, n);
        from += n * from_size;
        to += n * to_size;
        count -= n;
    }
}

enum sdg_result sdg_weight_check(const struct sdg_log *log, const struct sdg_tensors *weights,
                                 const struct sdg_value_info *v)
{
    struct stored stored;
    return weights ? find_weight(log, weights, v, &stored) : SDG_OK;
}

// Elements of one type, [outer, axis 1, inner]; the file was checked to hold outer * whole * inner.
static void load_plain(const struct sdg_tensor *tensor, const struct sdg_value_info *v, enum sdg_dtype dtype, char *to)
{
    size_t outer = (size_t)v->dims[0], axis = (size_t)v->dims[1], inner = (size_t)v->dims[2] * (size_t)v->dims[3];
    size_t whole = v->slice_of ? (size_t)v->slice_of : axis, size = sdg_dtype_size(tensor->dtype);
    if (whole == axis) {
        axis *= outer;
        whole = axis;
        outer = 1;
    }
    const char *from = (const char *)tensor->data + (size_t)v->slice_start * inner * size;
    for (size_t i = 0; i < outer; i++)
        convert_unaligned(to + i * axis * inner * sdg_dtype_size(dtype), dtype, from + i * whole * inner * size,
                          tensor->dtype, axis * inner);
}

// Codes first .. first + count of row `output`, of the whole tensor's inputs.
static void read_codes(const struct stored *w, const struct sdg_value_info *v, size_t output, size_t first,
                       size_t count, int8_t *codes)
{
    size_t inputs = (size_t)inputs_of(v, true);
    if (w->bits == 4)
        sdg_unpack4_part((const uint8_t *)w->tensor->data + output * sdg_packed_row(inputs), first, count, codes);
    else
        memcpy(codes, (const int8_t *)w->tensor->data + output * inputs + first, count);
}

static float scale_of(const struct stored *w, size_t output, size_t input)
{
    float scale;
    memcpy(&scale,
           (const char *)w->scale->data + (output * w->groups + (input - w->scale_start) / w->group) * sizeof scale,
           sizeof scale);
    return scale;
}

static void load_codes(const struct stored *w, const struct sdg_value_info *v, int8_t *to)
{
    size_t first = (size_t)(v->slice_start * v->dims[2] * v->dims[3]), count = (size_t)inputs_of(v, false);
    for (size_t o = 0; o < (size_t)v->dims[0]; o++)
        read_codes(w, v, o, first, count, to + o * count);
}

static void load_expanded(const struct stored *w, const struct sdg_value_info *v, enum sdg_dtype dtype, char *to)
{
    enum { SOME = 1024 };
    int8_t codes[SOME];
    float values[SOME];
    size_t first = (size_t)(v->slice_start * v->dims[2] * v->dims[3]), count = (size_t)inputs_of(v, false),
           size = sdg_dtype_size(dtype);
    for (size_t o = 0; o < (size_t)v->dims[0]; o++)
        for (size_t i = 0; i < count; i += SOME) {
            size_t n = count - i < SOME ? count - i : SOME;
            read_codes(w, v, o, first + i, n, codes);
            for (size_t k = 0; k < n; k++)
                values[k] = (float)codes[k] * scale_of(w, o, first + i + k);
            sdg_convert(to + (o * count + i) * size, dtype, values, SDG_F32, n);
        }
}

// Floats rounded to codes.
static void load_rounded(const struct stored *w, const struct sdg_value_info *v, int8_t *to)
{
    enum { SOME = 1024 };
    float values[SOME];
    const size_t first = (size_t)(v->slice_start * v->dims[2] * v->dims[3]), count = (size_t)inputs_of(v, false),
                 whole = (size_t)inputs_of(v, true);
    const size_t size = sdg_dtype_size(w->tensor->dtype);
    for (size_t o = 0; o < (size_t)v->dims[0]; o++)
        for (size_t i = 0, n; i < count; i += n) {
            const float scale = scale_of(w, o, first + i);
            // inputs left that share the scale
            const size_t in_group = w->group - (first + i - w->scale_start) % w->group;
            n = count - i < SOME ? count - i : SOME;
            n = n < in_group ? n : in_group;
            convert_unaligned((char *)values, SDG_F32, (const char *)w->tensor->data + (o * whole + first + i) * size,
                              w->tensor->dtype, n);
            for (size_t k = 0; k < n; k++)
                to[o * count + i + k] = sdg_nearest_code(values[k], scale, w->bits);
        }
}

enum sdg_result sdg_weight_load(const struct sdg_log *log, const struct sdg_tensors *weights,
                                const struct sdg_value_info *v, enum sdg_dtype dtype, void *to, bool release)
{
    if (!weights)
        return sdg_fail(log, SDG_ERROR_USAGE, "tensor %s is needed, but no weights were given", v->name);
    bool integers = v->dtype == SDG_S8;
    if (integers ? dtype != SDG_S8 : dtype != SDG_F32 && dtype != SDG_F16 && dtype != SDG_BF16)
        return sdg_fail(log, SDG_ERROR_USAGE, "tensor %s cannot be loaded as %s", v->name, sdg_dtype_name(dtype));
    struct stored stored;
    SDG_TRY(find_weight(log, weights, v, &stored));
    if (integers && stored.scale)
        load_rounded(&stored, v, to);
    else if (integers)
        load_codes(&stored, v, to);
    else if (stored.scale)
        load_expanded(&stored, v, dtype, to);
    else
        load_plain(stored.tensor, v, dtype, to);
    if (release)
        sdg_tensors_release(weights, stored.tensor);
    return SDG_OK;
}

int sdg_weight_code_bits(const struct sdg_tensors *weights, const struct sdg_value_info *v)
{
    struct stored stored;
    if (!weights || v->dtype == SDG_S8 || find_weight(NULL, weights, v, &stored) != SDG_OK || stored.groups != 1)
        return 0;
    return stored.bits;
}

enum sdg_result sdg_weight_load_codes(const struct sdg_log *log, const struct sdg_tensors *weights,
                                      const struct sdg_value_info *v, int8_t *codes, float *scales, bool release)
{
    struct stored stored;
    SDG_TRY(find_weight(log, weights, v, &stored));
    load_codes(&stored, v, codes);
    for (size_t o = 0; o < (size_t)v->dims[0]; o++)
        scales[o] = scale_of(&stored, o, stored.scale_start);
    if (release)
        sdg_tensors_release(weights, stored.tensor);
    return SDG_OK;
}
