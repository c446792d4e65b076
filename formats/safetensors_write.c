// Writing safetensors: the header is built in memory, the data follows straight from the caller's tensors, in their
// order.
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "formats/tensors.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const struct sdg_log *log;
    char *data;
    size_t length, capacity;
    bool failed;
};

static char *room_for(struct text *t, size_t bytes)
{
    if (!t->failed &&
        !sdg_grow(t->log, &t->data, &t->capacity, t->length + bytes + 1, 1, "the header of a weights file"))
        t->failed = true;
    return t->failed ? NULL : t->data + t->length;
}

SDG_PRINTF(2, 3) static void put(struct text *t, const char *format, ...)
{
    char piece[128];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    char *to = room_for(t, (size_t)n);
    if (to) {
        memcpy(to, piece, (size_t)n);
        t->length += (size_t)n;
    }
}

static void put_string(struct text *t, const char *string)
{
    put(t, "\"");
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\')
            put(t, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            put(t, "\\u%04x", (unsigned)*c);
        else
            put(t, "%c", *c);
    }
    put(t, "\"");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum sdg_result check_names(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensors,
                                   size_t count)
{
    const char **names = sdg_alloc(log, count, sizeof *names, "tensor names");
    if (!names)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        names[i] = tensors[i].name;
    if (count > 1)
        qsort(names, count, sizeof *names, by_name);
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < count && result == SDG_OK; i++) {
        if (tensors[i].added)
            result = sdg_fail(log, SDG_ERROR_USAGE, "%s: tensor %s has low-rank parts added, which no file can hold",
                              path, tensors[i].name);
        else if (tensors[i].unreadable)
            result = sdg_tensor_check_readable(log, path, &tensors[i]);
        else if (!sdg_utf8_valid(names[i], strlen(names[i])) || strcmp(names[i], "__metadata__") == 0)
            result = sdg_fail(log, SDG_ERROR_USAGE, "%s: '%s' cannot be the name of a tensor", path, names[i]);
        else if (i > 0 && strcmp(names[i - 1], names[i]) == 0)
            result = sdg_fail(log, SDG_ERROR_USAGE, "%s: two tensors named %s", path, names[i]);
    }
    sdg_free(names);
    return result;
}

static enum sdg_result check_size(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensor,
                                  size_t *total)
{
    size_t bytes = sdg_dtype_size(tensor->dtype);
    bool fits = tensor->rank >= 0 && tensor->rank <= SDG_MAX_DIMS;
    for (int i = 0; fits && i < tensor->rank; i++)
        fits = tensor->dims[i] >= 0 && !__builtin_mul_overflow(bytes, tensor->dims[i], &bytes);
    if (!fits || bytes != tensor->bytes || __builtin_add_overflow(*total, bytes, total))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: shape and size of tensor %s do not fit together", path,
                        tensor->name);
    return SDG_OK;
}

static enum sdg_result build_header(const char *path, const struct sdg_tensor *tensors, size_t count,
                                    const struct sdg_metadata *metadata, size_t metadata_count, struct text *t)
{
    size_t at = 0;
    put(t, "{");
    if (metadata_count > 0) {
        put(t, "\"__metadata__\":{");
        for (size_t i = 0; i < metadata_count; i++) {
            put(t, "%s", i ? "," : "");
            put_string(t, metadata[i].key);
            put(t, ":");
            put_string(t, metadata[i].value);
        }
        put(t, "%s", count > 0 ? "}," : "}");
    }
    for (size_t i = 0; i < count; i++) {
        size_t end = at;
        SDG_TRY(check_size(t->log, path, &tensors[i], &end));
        put(t, "%s", i ? "," : "");
        put_string(t, tensors[i].name);
        put(t, ":{\"dtype\":\"%s\",\"shape\":[", sdg_source_type_name(tensors[i].dtype));
        for (int d = 0; d < tensors[i].rank; d++)
            put(t, "%s%" PRId64, d ? "," : "", tensors[i].dims[d]);
        put(t, "],\"data_offsets\":[%zu,%zu]}", at, end);
        at = end;
    }
    put(t, "}");
    while (!t->failed && t->length % 8 != 0)
        put(t, " "); // so that the data starts at a multiple of 8
    return t->failed ? SDG_ERROR_MEMORY : SDG_OK;
}

static enum sdg_result write_file(const struct text *t, const char *path, const struct sdg_tensor *tensors,
                                  size_t count)
{
    struct sdg_output *output;
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)t->length >> 8 * i);
    SDG_TRY(sdg_output_open(t->log, path, &output));
    enum sdg_result result = sdg_output_write(output, length, sizeof length);
    if (result == SDG_OK)
        result = sdg_output_write(output, t->data, t->length);
    for (size_t i = 0; i < count && result == SDG_OK; i++)
        result = sdg_output_write(output, tensors[i].data, tensors[i].bytes);
    if (result == SDG_OK)
        return sdg_output_commit(&output);
    sdg_output_discard(&output);
    return result;
}

enum sdg_result sdg_tensors_write(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensors,
                                  size_t count, const struct sdg_metadata *metadata, size_t metadata_count)
{
    struct text header = {.log = log};
    SDG_TRY(check_names(log, path, tensors, count));
    enum sdg_result result = build_header(path, tensors, count, metadata, metadata_count, &header);
    if (result == SDG_OK)
        result = write_file(&header, path, tensors, count);
    sdg_free(header.data);
    return result;
}
