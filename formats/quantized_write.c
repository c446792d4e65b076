// Writing and amending the UNet of a quantized folder.
#include "base/file.h"
#include "base/memory.h"
#include "base/nibbles.h"
#include "formats/preferences.h"
#include "formats/quantized_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sdg_quantized_writer {
    const struct sdg_log *log;
    struct sdg_tensor *tensors;
    char **names; // of tensors made here
    size_t count, capacity, name_count, name_capacity;
    size_t layers, bytes;
};

// ---- the list of tensors ----

enum sdg_result sdg_quantized_writer_create(const struct sdg_log *log, struct sdg_quantized_writer **out)
{
    struct sdg_quantized_writer *writer = sdg_alloc(log, 1, sizeof *writer, "tensors");
    if (!writer)
        return SDG_ERROR_MEMORY;
    writer->log = log;
    *out = writer;
    return SDG_OK;
}

void sdg_quantized_writer_destroy(struct sdg_quantized_writer **handle)
{
    struct sdg_quantized_writer *w = *handle;
    *handle = NULL;
    if (!w)
        return;
    for (size_t i = 0; i < w->name_count; i++)
        sdg_free(w->names[i]);
    sdg_free(w->names);
    sdg_free(w->tensors);
    sdg_free(w);
}

enum sdg_result sdg_quantized_add_tensor(struct sdg_quantized_writer *w, const struct sdg_tensor *tensor)
{
    if (!sdg_grow(w->log, &w->tensors, &w->capacity, w->count + 1, sizeof *w->tensors, "tensors"))
        return SDG_ERROR_MEMORY;
    w->tensors[w->count++] = *tensor;
    w->bytes += tensor->bytes;
    return SDG_OK;
}

static enum sdg_result add_new(struct sdg_quantized_writer *w, const char *name, const char *suffix,
                               struct sdg_tensor tensor)
{
    const size_t bytes = strlen(name) + strlen(suffix) + 1;
    if (!sdg_grow(w->log, &w->names, &w->name_capacity, w->name_count + 1, sizeof *w->names, "tensors"))
        return SDG_ERROR_MEMORY;
    char *full = sdg_alloc_raw(w->log, bytes, 1, "the name of a tensor");
    if (!full)
        return SDG_ERROR_MEMORY;
    snprintf(full, bytes, "%s%s", name, suffix);
    w->names[w->name_count++] = full;
    tensor.name = full;
    return sdg_quantized_add_tensor(w, &tensor);
}

enum sdg_result sdg_quantized_add_codes(struct sdg_quantized_writer *w, const char *module,
                                        const struct sdg_tensor *shape, int bits, const void *codes)
{
    struct sdg_tensor weight = {
        .dtype = bits == 4 ? SDG_U8 : SDG_S8, .rank = shape->rank, .data = codes, .bytes = (size_t)shape->dims[0]};
    size_t inputs = 1;
    for (int i = 1; i < shape->rank; i++)
        inputs *= (size_t)shape->dims[i];
    memcpy(weight.dims, shape->dims, sizeof weight.dims);
    if (bits == 4) {
        inputs = sdg_packed_row(inputs);
        weight.rank = 2;
        weight.dims[1] = (int64_t)inputs;
    }
    weight.bytes *= inputs;
    return add_new(w, module, SDG_WEIGHT_SUFFIX, weight);
}

enum sdg_result sdg_quantized_add_scales(struct sdg_quantized_writer *w, const char *op, size_t outputs, size_t groups,
                                         const float *scales)
{
    w->layers++;
    return add_new(w, op, SDG_WEIGHT_SCALE_SUFFIX,
                   (struct sdg_tensor){.dtype = SDG_F32,
                                       .rank = groups > 1 ? 2 : 1,
                                       .dims = {(int64_t)outputs, (int64_t)groups},
                                       .data = scales,
                                       .bytes = outputs * groups * sizeof *scales});
}

static enum sdg_result add_vector(struct sdg_quantized_writer *w, const char *name, const char *suffix,
                                  const float *numbers, size_t count)
{
    return add_new(
        w, name, suffix,
        (struct sdg_tensor){
            .dtype = SDG_F32, .rank = 1, .dims = {(int64_t)count}, .data = numbers, .bytes = count * sizeof *numbers});
}

enum sdg_result sdg_quantized_add_interval(struct sdg_quantized_writer *w, const char *site, size_t rows,
                                           const float *scales, const int32_t *zero_points)
{
    SDG_TRY(add_vector(w, site, SDG_INPUT_SCALE_SUFFIX, scales, rows));
    if (!zero_points)
        return SDG_OK;
    return add_new(w, site, SDG_INPUT_ZERO_POINT_SUFFIX,
                   (struct sdg_tensor){.dtype = SDG_S32,
                                       .rank = 1,
                                       .dims = {(int64_t)rows},
                                       .data = zero_points,
                                       .bytes = rows * sizeof *zero_points});
}

enum sdg_result sdg_quantized_add_token_intervals(struct sdg_quantized_writer *w, const char *site, size_t rows,
                                                  size_t height, size_t width, const float *scales,
                                                  const int32_t *zero_points, const float *factors)
{
    struct sdg_tensor table = {.dtype = SDG_F32,
                               .rank = 3,
                               .dims = {(int64_t)rows, (int64_t)height, (int64_t)width},
                               .data = scales,
                               .bytes = rows * height * width * sizeof *scales};
    SDG_TRY(add_new(w, site, SDG_INPUT_SCALE_SUFFIX, table));
    table.dtype = SDG_S32;
    table.data = zero_points;
    SDG_TRY(add_new(w, site, SDG_INPUT_ZERO_POINT_SUFFIX, table));
    return factors ? add_vector(w, site, SDG_INPUT_SCALE_TIME_SUFFIX, factors, SDG_INTERVAL_TIMES) : SDG_OK;
}

enum sdg_result sdg_quantized_add_timesteps(struct sdg_quantized_writer *w, const float *timesteps, size_t count)
{
    return add_vector(w, SDG_INTERVAL_TIMESTEPS, "", timesteps, count);
}

enum sdg_result sdg_quantized_add_smoothing(struct sdg_quantized_writer *w, const char *site, bool folded,
                                            size_t channels, const float *multipliers)
{
    return add_vector(w, site, folded ? SDG_FOLDED_SMOOTHING_SUFFIX : SDG_INPUT_SMOOTHING_SUFFIX, multipliers,
                      channels);
}

size_t sdg_quantized_writer_bytes(const struct sdg_quantized_writer *w)
{
    return w->bytes;
}

// ---- the UNet's file ----

// Large elements first, so that all of them are aligned in the file; then by name.
static int in_file_order(const void *a, const void *b)
{
    const struct sdg_tensor *x = a, *y = b;
    const size_t left = sdg_dtype_size(x->dtype), right = sdg_dtype_size(y->dtype);
    return left != right ? (left > right ? -1 : 1) : strcmp(x->name, y->name);
}

static enum sdg_result write_tensors(const struct sdg_quantized_writer *w, const char *path, int group,
                                     bool rounds_codes)
{
    struct sdg_tensor *sorted = sdg_alloc(w->log, w->count, sizeof *sorted, "tensors");
    if (!sorted)
        return SDG_ERROR_MEMORY;
    if (w->count) {
        memcpy(sorted, w->tensors, w->count * sizeof *sorted);
        qsort(sorted, w->count, sizeof *sorted, in_file_order);
    }
    char layers[24], inputs[24]; // per scale: the number of scales alone does not tell it
    snprintf(layers, sizeof layers, "%zu", w->layers);
    snprintf(inputs, sizeof inputs, "%d", group);
    struct sdg_metadata metadata[4] = {{"format", "pt"}, {SDG_LAYERS_KEY, layers}};
    size_t count = 2;
    if (group)
        metadata[count++] = (struct sdg_metadata){SDG_GROUP_KEY, inputs};
    if (rounds_codes)
        metadata[count++] = (struct sdg_metadata){SDG_CODES_KEY, SDG_CODES_ROUNDED};
    enum sdg_result result = sdg_tensors_write(w->log, path, sorted, w->count, metadata, count);
    sdg_free(sorted);
    return result;
}

static enum sdg_result fingerprint_of(const struct sdg_log *log, const char *path, char text[17])
{
    struct sdg_tensors *written;
    SDG_TRY(sdg_tensors_open(log, path, &written));
    sdg_tensors_fingerprint(written, text);
    sdg_tensors_destroy(&written);
    return SDG_OK;
}

// ---- its configuration ----

static enum sdg_result read_json(const struct sdg_log *log, const char *path, struct sdg_json *out)
{
    char *text;
    SDG_TRY(sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, path, text, out);
    sdg_free(text);
    return result;
}

// `text` is cJSON's, NULL when there was no memory for it.
static enum sdg_result write_text(const struct sdg_log *log, const char *path, char *text)
{
    enum sdg_result result =
        text ? sdg_output_text(log, path, text) : sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for %s", path);
    cJSON_free(text);
    return result;
}

// The base's configuration with the description added, as text for cJSON_free; NULL without memory.
static char *print_config(const struct sdg_json *base, cJSON *description)
{
    char *text = NULL;
    cJSON *config = cJSON_Duplicate(base->object, true);
    cJSON_DeleteItemFromObjectCaseSensitive(config, SDG_PREFERENCES_KEY); // its base; this folder has its own or none
    if (config && description && cJSON_AddItemToObject(config, SDG_QUANTIZATION_KEY, description))
        text = cJSON_Print(config);
    else
        cJSON_Delete(description);
    cJSON_Delete(config);
    return text;
}

static enum sdg_result write_config(const struct sdg_log *log, const char *from, const char *to,
                                    const struct sdg_quantization_config *config)
{
    struct sdg_json json;
    SDG_TRY(read_json(log, from, &json));
    enum sdg_result result = sdg_json_get(&json, SDG_QUANTIZATION_KEY)
        ? sdg_fail(log, SDG_ERROR_INPUT, "%s: has a quantization_config already: start from the model it was made of",
                   from)
        : write_text(log, to, print_config(&json, sdg_quantization_config_describe(config)));
    sdg_json_free(&json);
    return result;
}

const struct sdg_quantized_files sdg_quantized_unet_files = {"unet", SDG_QUANTIZED_WEIGHTS_FILE,
                                                             SDG_QUANTIZED_CONFIG_FILE},
                                 sdg_quantized_network_files = {"", "model.safetensors", "config.json"};

enum sdg_result sdg_quantized_write(const struct sdg_quantized_writer *w, const char *folder,
                                    const struct sdg_quantized_files *files, const char *base_config,
                                    const struct sdg_quantization_config *config, bool rounds_codes)
{
    struct sdg_quantization_config written = *config;
    char *weights = sdg_path_join(w->log, folder, files->weights), *json = sdg_path_join(w->log, folder, files->config);
    enum sdg_result result = weights && json ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = write_tensors(w, weights, config->group, rounds_codes);
    if (result == SDG_OK)
        result = fingerprint_of(w->log, weights, written.fingerprint);
    if (result == SDG_OK)
        result = write_config(w->log, base_config, json, &written);
    sdg_free(json);
    sdg_free(weights);
    return result;
}

// ---- amending ----

struct amendment {
    const struct sdg_log *log;
    const char *how;
    bool (*is_old)(const char *name); // may be NULL
    const struct sdg_tensor *tensors;
    size_t count;
};

static bool is_replaced(const struct amendment *a, const char *name)
{
    bool replaced = a->is_old && a->is_old(name);
    for (size_t i = 0; i < a->count && !replaced; i++)
        replaced = strcmp(a->tensors[i].name, name) == 0;
    return replaced;
}

static enum sdg_result replace_tensors(const struct amendment *a, const char *path, const struct sdg_tensors *old)
{
    struct sdg_tensor *all = sdg_alloc(a->log, sdg_tensors_count(old) + a->count, sizeof *all, "a table of tensors");
    if (!all)
        return SDG_ERROR_MEMORY;
    size_t total = 0, metadata_count;
    for (size_t i = 0; i < sdg_tensors_count(old); i++)
        if (!is_replaced(a, sdg_tensors_at(old, i)->name))
            all[total++] = *sdg_tensors_at(old, i);
    for (size_t i = 0; i < a->count; i++)
        all[total++] = a->tensors[i];
    const struct sdg_metadata *metadata = sdg_tensors_all_metadata(old, &metadata_count);
    enum sdg_result result = sdg_tensors_write(a->log, path, all, total, metadata, metadata_count);
    sdg_free(all);
    return result;
}

static enum sdg_result amend_config(const struct amendment *a, const char *path, const char *fingerprint)
{
    struct sdg_json json;
    SDG_TRY(read_json(a->log, path, &json));
    cJSON *config = cJSON_GetObjectItemCaseSensitive(json.object, SDG_QUANTIZATION_KEY);
    char *text = sdg_quantization_config_amend(config, fingerprint, a->how) ? cJSON_Print(json.object) : NULL;
    sdg_json_free(&json);
    return write_text(a->log, path, text);
}

static enum sdg_result amend_tensors(const struct amendment *a, const char *path, char fingerprint[17])
{
    struct sdg_tensors *old;
    SDG_TRY(sdg_tensors_open(a->log, path, &old));
    enum sdg_result result = replace_tensors(a, path, old);
    sdg_tensors_destroy(&old);
    return result == SDG_OK ? fingerprint_of(a->log, path, fingerprint) : result;
}

enum sdg_result sdg_quantized_amend(const struct sdg_log *log, const char *folder,
                                    const struct sdg_quantized_files *files, const char *how,
                                    bool (*is_old)(const char *name), const struct sdg_tensor *tensors, size_t count)
{
    char fingerprint[17];
    const struct amendment a = {log, how, is_old, tensors, count};
    char *weights = sdg_path_join(log, folder, files->weights), *config = sdg_path_join(log, folder, files->config);
    enum sdg_result result = weights && config ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = amend_tensors(&a, weights, fingerprint);
    if (result == SDG_OK)
        result = amend_config(&a, config, fingerprint);
    sdg_free(config);
    sdg_free(weights);
    return result;
}
