// Weights from a model's files, checked against what the graph expects and brought into the form kernels want.
#include "backend/backend.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
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

static enum sdg_result find_weight(const struct sdg_log *log, const struct sdg_tensors *weights, const struct sdg_value_info *v, const struct sdg_tensor **out)
{
    const char *path = sdg_tensors_path(weights);
    const struct sdg_tensor *tensor = sdg_tensors_find(weights, v->name);
    if (!tensor)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s is missing", path, v->name);
    if (!shape_fits(v, tensor)) {
        int64_t dims[4];
        expected_dims(v, dims);
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s has shape %s, expected %s", path, v->name,
                        shape_text(tensor->dims, tensor->rank).text, shape_text(dims, v->rank).text);
    }
    if (!sdg_dtype_is_float(tensor->dtype))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s has type %s, expected a float type", path, v->name, sdg_dtype_name(tensor->dtype));
    *out = tensor;
    return SDG_OK;
}

// sdg_convert wants aligned elements, files have them anywhere.
static void convert_unaligned(char *to, enum sdg_dtype to_type, const char *from, enum sdg_dtype from_type, size_t count)
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

enum sdg_result sdg_weight_check(const struct sdg_log *log, const struct sdg_tensors *weights, const struct sdg_value_info *v)
{
    const struct sdg_tensor *tensor;
    return weights ? find_weight(log, weights, v, &tensor) : SDG_OK;
}

enum sdg_result sdg_weight_load(const struct sdg_log *log, const struct sdg_tensors *weights, const struct sdg_value_info *v, enum sdg_dtype dtype, void *to, bool release)
{
    if (!weights)
        return sdg_fail(log, SDG_ERROR_USAGE, "tensor %s is needed, but no weights were given", v->name);
    if (dtype != SDG_F32 && dtype != SDG_F16 && dtype != SDG_BF16)
        return sdg_fail(log, SDG_ERROR_USAGE, "tensor %s cannot be loaded as %s", v->name, sdg_dtype_name(dtype));
    const struct sdg_tensor *tensor = NULL;
    SDG_TRY(find_weight(log, weights, v, &tensor));
    // [outer, axis 1, inner]; the file was checked to hold outer * whole * inner elements.
    size_t outer = (size_t)v->dims[0], axis = (size_t)v->dims[1], inner = (size_t)v->dims[2] * (size_t)v->dims[3];
    size_t whole = v->slice_of ? (size_t)v->slice_of : axis;
    if (whole == axis) {
        axis *= outer;
        whole = axis;
        outer = 1;
    }
    const char *from = (const char *)tensor->data + (size_t)v->slice_start * inner * sdg_dtype_size(tensor->dtype);
    for (size_t i = 0; i < outer; i++) {
        convert_unaligned((char *)to + i * axis * inner * sdg_dtype_size(dtype), dtype,
                          from + i * whole * inner * sdg_dtype_size(tensor->dtype), tensor->dtype, axis * inner);
    }
    if (release)
        sdg_tensors_release(weights, tensor);
    return SDG_OK;
}
