#include "sdgen/array.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/npy.h"
#include "formats/tensors.h"

#include <string.h>

static const size_t most_bytes = (size_t)256 << 20;

_Static_assert((int)SDG_ARRAY_DIMS == (int)SDG_MAX_DIMS, "an array has the dimensions of a tensor");

static bool ends_in(const char *path, const char *extension)
{
    size_t length = strlen(path), e = strlen(extension);
    return length > e && strcmp(path + length - e, extension) == 0;
}

enum sdg_result sdg_array_check_name(const struct sdg_log *log, const char *path)
{
    SDG_REQUIRE(log, path, "path");
    if (ends_in(path, ".npy") || ends_in(path, ".safetensors"))
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_USAGE,
                    "'%s': the extension says the format of numbers, it should be .npy or .safetensors", path);
}

// ---- reading ----

struct owned { // the handle and what it points at, followed by the name
    struct sdg_array array;
    char name[];
};

static enum sdg_result copy(const struct sdg_log *log, const struct sdg_tensor *t, const char *name,
                            struct sdg_array **out)
{
    size_t bytes = name ? strlen(name) + 1 : 1;
    struct owned *o = sdg_alloc(log, 1, sizeof *o + bytes, "an array");
    const size_t count = t->bytes / sdg_dtype_size(t->dtype);
    float *data = o ? sdg_alloc_raw(log, count, sizeof *data, "an array") : NULL;
    if (!data) {
        sdg_free(o);
        return SDG_ERROR_MEMORY;
    }
    if (name)
        memcpy(o->name, name, bytes);
    if (t->dtype == SDG_F32) // at any alignment
        memcpy(data, t->data, t->bytes);
    else
        sdg_convert(data, SDG_F32, t->data, t->dtype, count);
    o->array = (struct sdg_array){.name = o->name, .dims = t->rank, .data = data};
    memcpy(o->array.shape, t->dims, sizeof t->dims);
    *out = &o->array;
    return SDG_OK;
}

static enum sdg_result read_npy(const struct sdg_log *log, const char *path, const char *name, struct sdg_array **out)
{
    char *data;
    size_t size;
    struct sdg_tensor found = {0};
    SDG_TRY(sdg_file_read(log, path, most_bytes, &data, &size));
    enum sdg_result result = sdg_npy_parse(log, path, data, size, &found);
    if (result == SDG_OK)
        result = copy(log, &found, name, out);
    sdg_free(data);
    return result;
}

static enum sdg_result read_safetensors(const struct sdg_log *log, const char *path, const char *name,
                                        struct sdg_array **out)
{
    struct sdg_tensors *tensors;
    SDG_TRY(sdg_tensors_open(log, path, &tensors));
    const struct sdg_tensor *t = name ? sdg_tensors_find(tensors, name) : NULL;
    if (!t && sdg_tensors_count(tensors) == 1)
        t = sdg_tensors_at(tensors, 0);
    enum sdg_result result = SDG_OK;
    if (!t && !name)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has %zu tensors, should have just one", path,
                          sdg_tensors_count(tensors));
    else if (!t)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has no tensor '%s', and not just one", path, name);
    else if ((t->dtype != SDG_F32 && t->dtype != SDG_U8) || t->bytes > most_bytes)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s should be F32 or U8, and of at most %zu bytes", path,
                          t->name, most_bytes);
    else
        result = copy(log, t, name ? name : t->name, out);
    sdg_tensors_destroy(&tensors);
    return result;
}

enum sdg_result sdg_array_read(const struct sdg_log *log, const char *path, const char *name, struct sdg_array **out)
{
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_TRY(sdg_array_check_name(log, path));
    return ends_in(path, ".npy") ? read_npy(log, path, name, out) : read_safetensors(log, path, name, out);
}

void sdg_array_destroy(struct sdg_array **array)
{
    if (!array || !*array)
        return;
    sdg_free((*array)->data);
    sdg_free(*array);
    *array = NULL;
}

// ---- writing ----

static enum sdg_result to_tensor(const struct sdg_log *log, const char *path, const struct sdg_array *array,
                                 struct sdg_tensor *t)
{
    *t = (struct sdg_tensor){.name = array->name ? array->name : "",
                             .dtype = SDG_F32,
                             .rank = array->dims,
                             .data = array->data,
                             .bytes = sizeof(float)};
    for (int i = 0; i < array->dims && i < SDG_MAX_DIMS; i++) {
        t->dims[i] = array->shape[i];
        if (array->shape[i] < 0 || !sdg_mul_size(t->bytes, (size_t)array->shape[i], &t->bytes))
            t->bytes = SIZE_MAX;
    }
    if (array->dims < 0 || array->dims > SDG_MAX_DIMS || t->bytes > most_bytes)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: array '%s' should have 0 to %d dimensions and at most %zu bytes",
                        path, t->name, SDG_MAX_DIMS, most_bytes);
    SDG_REQUIRE(log, array->data || !t->bytes, "arrays.data");
    return SDG_OK;
}

enum sdg_result sdg_arrays_write(const struct sdg_log *log, const char *path, const struct sdg_array *arrays,
                                 size_t count)
{
    SDG_TRY(sdg_array_check_name(log, path));
    SDG_REQUIRE(log, arrays, "arrays");
    bool npy = ends_in(path, ".npy");
    if (npy && count != 1)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: a .npy file holds one array, not %zu", path, count);
    struct sdg_tensor *tensors = sdg_alloc(log, count, sizeof *tensors, "arrays");
    enum sdg_result result = tensors ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count && result == SDG_OK; i++)
        result = to_tensor(log, path, &arrays[i], &tensors[i]);
    if (result == SDG_OK)
        result = npy ? sdg_npy_write(log, path, tensors) : sdg_tensors_write(log, path, tensors, count, NULL, 0);
    sdg_free(tensors);
    return result;
}
