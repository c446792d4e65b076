// The folder of a quantized model: integer weights with their scales, tables of intervals, a configuration that says
// how they were made, and copies of everything else.
#include "quantize/quant_write.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/memory.h"
#include "quant/quantized.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char weights_file[] = "unet/diffusion_pytorch_model.safetensors", config_file[] = "unet/config.json",
                  method_name[] = "sdgen";
static const char *const component_folders[] = {"scheduler",   "text_encoder", "text_encoder_2",   "tokenizer",
                                                "tokenizer_2", "vae",          "feature_extractor"};
static const char *const loose_files[] = {"model_index.json", "LICENSE", "LICENSE.md", "LICENSE.txt"};

// ---- the place of the output ----

// True if sdg_quant_write made this folder.
static bool is_our_folder(const char *path)
{
    struct sdg_json json;
    char *text, *file = sdg_path_join(NULL, path, config_file);
    bool ours = false;
    if (file && sdg_path_kind(file) == SDG_PATH_FILE &&
        sdg_file_read_text(NULL, file, SDG_JSON_FILE_LIMIT, &text) == SDG_OK) {
        if (sdg_json_parse(NULL, file, text, &json) == SDG_OK) {
            const cJSON *method = cJSON_GetObjectItemCaseSensitive(
                cJSON_GetObjectItemCaseSensitive(json.object, "quantization_config"), "quant_method");
            ours = cJSON_IsString(method) && strcmp(method->valuestring, method_name) == 0;
            sdg_json_free(&json);
        }
        sdg_free(text);
    }
    sdg_free(file);
    return ours;
}

// Whether the model lies in the folder that is to be replaced.
static bool contains_model(const struct sdg_quantize_params *params)
{
    char *way = NULL;
    bool inside = sdg_path_relative(NULL, params->output, params->model, &way) == SDG_OK && strncmp(way, "..", 2) != 0;
    sdg_free(way);
    return inside;
}

enum sdg_result sdg_quant_check_output(const struct sdg_log *log, const struct sdg_quantize_params *params)
{
    if (!*params->output)
        return sdg_fail(log, SDG_ERROR_USAGE, "the output folder has no name");
    if (sdg_path_kind(params->output) == SDG_PATH_MISSING)
        return SDG_OK;
    if (!params->force)
        return sdg_fail(log, SDG_ERROR_OUTPUT, "%s exists already: choose another name, or replace it by force",
                        params->output);
    if (!is_our_folder(params->output) || contains_model(params))
        return sdg_fail(log, SDG_ERROR_OUTPUT,
                        "%s exists and is no quantized model, or the model itself: it is not replaced", params->output);
    return SDG_OK;
}

// ---- tensors ----

struct tensor_list {
    const struct sdg_log *log;
    struct sdg_tensor *tensors; // those made here own their names
    bool *owned;
    size_t count, capacity, owned_capacity;
};

static enum sdg_result add_tensor(struct tensor_list *list, const struct sdg_tensor *tensor, bool owned)
{
    if (!sdg_grow(list->log, &list->tensors, &list->capacity, list->count + 1, sizeof *list->tensors, "tensors") ||
        !sdg_grow(list->log, &list->owned, &list->owned_capacity, list->count + 1, sizeof *list->owned, "tensors"))
        return SDG_ERROR_MEMORY;
    list->tensors[list->count] = *tensor;
    list->owned[list->count++] = owned;
    return SDG_OK;
}

// name.suffix
static enum sdg_result add_new(struct tensor_list *list, const char *name, const char *suffix, struct sdg_tensor tensor)
{
    size_t bytes = strlen(name) + strlen(suffix) + 1;
    char *full = sdg_alloc_raw(list->log, bytes, 1, "the name of a tensor");
    if (!full)
        return SDG_ERROR_MEMORY;
    snprintf(full, bytes, "%s%s", name, suffix);
    tensor.name = full;
    enum sdg_result result = add_tensor(list, &tensor, true);
    if (result != SDG_OK)
        sdg_free(full);
    return result;
}

static void free_list(struct tensor_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->owned[i])
            sdg_free((char *)(uintptr_t)list->tensors[i].name);
    sdg_free(list->tensors);
    sdg_free(list->owned);
}

static enum sdg_result add_codes(struct tensor_list *list, const struct sdg_quant_module *m)
{
    struct sdg_tensor weight = *m->tensor;
    weight.dtype = SDG_S8;
    weight.data = m->codes;
    weight.bytes = m->code_bytes;
    if (m->bits == 4) {
        weight.dtype = SDG_U8;
        weight.rank = 2;
        weight.dims[1] = (int64_t)m->code_bytes / weight.dims[0];
    }
    return add_new(list, m->name, ".weight", weight);
}

static enum sdg_result add_scales(struct tensor_list *list, const struct sdg_quant_module *m)
{
    for (size_t p = 0; p < m->part_count; p++) {
        const struct sdg_quant_part *part = &m->parts[p];
        const size_t outputs = (size_t)m->tensor->dims[0];
        const struct sdg_tensor scales = {.dtype = SDG_F32,
                                          .rank = part->groups > 1 ? 2 : 1,
                                          .dims = {(int64_t)outputs, (int64_t)part->groups},
                                          .data = part->scales,
                                          .bytes = outputs * part->groups * sizeof *part->scales};
        SDG_TRY(add_new(list, part->op, ".weight_scale", scales));
    }
    return SDG_OK;
}

static enum sdg_result add_site(struct tensor_list *list, const struct sdg_quant_site *site, int bits, int32_t *zeros)
{
    const struct sdg_site_fit *fit = &site->fit;
    const int64_t length = (int64_t)fit->length;
    SDG_TRY(add_new(
        list, site->name, ".input_scale",
        (struct sdg_tensor){
            .dtype = SDG_F32, .rank = 1, .dims = {length}, .data = fit->scales, .bytes = fit->length * sizeof(float)}));
    if (site->kind != SDG_SITE_SILU)
        return SDG_OK;
    for (size_t i = 0; i < fit->length; i++)
        zeros[i] = sdg_interval_make(site->kind, bits, fit->scales[i]).zero_point;
    return add_new(
        list, site->name, ".input_zero_point",
        (struct sdg_tensor){
            .dtype = SDG_S32, .rank = 1, .dims = {length}, .data = zeros, .bytes = fit->length * sizeof *zeros});
}

// A folder with a base need not hold codes that are the base's weights rounded to the nearest: they are made again on
// loading.
static bool leaves_codes(const struct sdg_quant_result *r, const struct sdg_quant_module *m)
{
    const struct sdg_scheme *scheme = &r->settings->scheme;
    return r->params->delta && !m->gptq && m->bits == scheme->weight_bits && scheme->activation_bits != SDG_FLOAT_BITS;
}

static bool is_quantized(const struct sdg_quant_plan *plan, const struct sdg_tensor *tensor)
{
    for (size_t i = 0; i < plan->module_count; i++)
        if (plan->modules[i].tensor == tensor)
            return true;
    return false;
}

// Large elements first, so that all of them are aligned in the file; then by name.
static int in_file_order(const void *a, const void *b)
{
    const struct sdg_tensor *x = a, *y = b;
    size_t left = sdg_dtype_size(x->dtype), right = sdg_dtype_size(y->dtype);
    return left != right ? (left > right ? -1 : 1) : strcmp(x->name, y->name);
}

static enum sdg_result fill_list(struct tensor_list *list, struct sdg_quant_result *r, int32_t *zeros)
{
    const struct sdg_quant_plan *plan = r->plan;
    r->bytes_before = r->bytes_after = r->bytes_stored = 0;
    for (size_t i = 0; i < plan->module_count; i++) {
        const struct sdg_quant_module *m = &plan->modules[i];
        SDG_TRY(add_scales(list, m));
        if (leaves_codes(r, m))
            r->bytes_after += (double)m->code_bytes;
        else
            SDG_TRY(add_codes(list, m));
    }
    for (size_t i = 0; i < plan->site_count; i++)
        if (plan->sites[i].fit.length)
            SDG_TRY(add_site(list, &plan->sites[i], r->settings->scheme.activation_bits, zeros + i * SDG_TDQ_TIMES));
    for (size_t i = 0; i < list->count; i++)
        r->bytes_stored += (double)list->tensors[i].bytes;
    r->bytes_after += r->bytes_stored;
    for (size_t i = 0; i < sdg_tensors_count(r->model->unet); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(r->model->unet, i);
        r->bytes_before += (double)t->bytes;
        if (is_quantized(plan, t))
            continue;
        r->bytes_after += (double)t->bytes;
        if (r->params->delta)
            continue;
        r->bytes_stored += (double)t->bytes;
        SDG_TRY(add_tensor(list, t, false));
    }
    return SDG_OK;
}

// Sorting moves tensors away from what `owned` says: names are freed by a list of their own.
static enum sdg_result write_sorted(struct tensor_list *list, const char *path, size_t group, size_t layers,
                                    bool rounded)
{
    struct sdg_tensor *sorted = sdg_alloc(list->log, list->count, sizeof *sorted, "tensors");
    if (!sorted)
        return SDG_ERROR_MEMORY;
    memcpy(sorted, list->tensors, list->count * sizeof *sorted);
    qsort(sorted, list->count, sizeof *sorted, in_file_order);
    char inputs[24]; // per scale: their number alone does not tell it
    snprintf(inputs, sizeof inputs, "%zu", group);
    char number[24];
    snprintf(number, sizeof number, "%zu", layers);
    struct sdg_metadata metadata[4] = {{"format", "pt"}, {SDG_LAYERS_KEY, number}};
    size_t count = 2;
    if (group)
        metadata[count++] = (struct sdg_metadata){"group", inputs};
    if (rounded)
        metadata[count++] = (struct sdg_metadata){SDG_CODES_KEY, SDG_CODES_ROUNDED};
    enum sdg_result result = sdg_tensors_write(list->log, path, sorted, list->count, metadata, count);
    sdg_free(sorted);
    return result;
}

static enum sdg_result write_tensors(const struct sdg_log *log, struct sdg_quant_result *r, const char *path)
{
    struct tensor_list list = {.log = log};
    int32_t *zeros = sdg_alloc(log, r->plan->site_count, SDG_TDQ_TIMES * sizeof *zeros, "zero points");
    bool rounded = false;
    size_t layers = 0;
    for (size_t i = 0; i < r->plan->module_count; i++) {
        rounded |= leaves_codes(r, &r->plan->modules[i]);
        layers += r->plan->modules[i].part_count;
    }
    enum sdg_result result = zeros ? fill_list(&list, r, zeros) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = write_sorted(&list, path, r->settings->group, layers, rounded);
    free_list(&list);
    sdg_free(zeros);
    return result;
}

// ---- configuration ----

static size_t count_static(const struct sdg_quant_plan *plan)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->site_count; i++)
        count += plan->sites[i].fit.length == 1;
    return count;
}

static bool any_gptq(const struct sdg_quant_plan *plan)
{
    for (size_t i = 0; i < plan->module_count; i++)
        if (plan->modules[i].gptq)
            return true;
    return false;
}

// NULL without memory. Seeds are small enough for JSON's numbers (checked by sdg_quantize).
static cJSON *describe(const struct sdg_quant_result *r, const char *base, const char *fingerprint,
                       const char *base_path)
{
    const struct sdg_quant_settings *s = r->settings;
    char scheme[SDG_SCHEME_NAME_BYTES];
    cJSON *q = cJSON_CreateObject();
    sdg_scheme_name(&s->scheme, scheme);
    bool good = cJSON_AddStringToObject(q, "quant_method", method_name) && cJSON_AddNumberToObject(q, "format", 1) &&
        cJSON_AddStringToObject(q, "scheme", scheme) &&
        cJSON_AddNumberToObject(q, "weight_bits", s->scheme.weight_bits) &&
        cJSON_AddNumberToObject(q, "activation_bits", s->scheme.activation_bits) &&
        cJSON_AddStringToObject(q, "rule", sdg_interval_rule_name(s->scheme.rule)) &&
        cJSON_AddNumberToObject(q, "group", (double)s->group) &&
        cJSON_AddStringToObject(q, "weight_rounding", any_gptq(r->plan) ? "gptq" : "mse") &&
        cJSON_AddNumberToObject(q, "seed", (double)r->params->seed) &&
        (!r->statistics[0] || cJSON_AddStringToObject(q, "statistics", r->statistics)) &&
        cJSON_AddStringToObject(q, "base", base) && cJSON_AddStringToObject(q, "fingerprint", fingerprint) &&
        cJSON_AddNumberToObject(q, "static_sites", (double)count_static(r->plan)) &&
        cJSON_AddBoolToObject(q, "corrected", false) &&
        (!base_path || cJSON_AddStringToObject(q, "base_path", base_path));
    if (good)
        return q;
    cJSON_Delete(q);
    return NULL;
}

// The base's configuration with the description added, as text for cJSON_free; NULL without memory.
static char *print_config(const struct sdg_json *base, cJSON *description)
{
    char *text = NULL;
    cJSON *config = cJSON_Duplicate(base->object, true);
    if (config && description && cJSON_AddItemToObject(config, "quantization_config", description))
        text = cJSON_Print(config);
    else
        cJSON_Delete(description);
    cJSON_Delete(config);
    return text;
}

static enum sdg_result fingerprint_of(const struct sdg_log *log, const char *path, char text[17])
{
    struct sdg_tensors *written;
    SDG_TRY(sdg_tensors_open(log, path, &written));
    sdg_tensors_fingerprint(written, text);
    sdg_tensors_destroy(&written);
    return SDG_OK;
}

static enum sdg_result write_config(const struct sdg_log *log, const struct sdg_quant_result *r, const char *from,
                                    const char *to, const char *weights, const char *base_path)
{
    char *text, base[17], fingerprint[17];
    struct sdg_json json;
    sdg_tensors_fingerprint(r->model->unet, base);
    SDG_TRY(fingerprint_of(log, weights, fingerprint));
    SDG_TRY(sdg_file_read_text(log, from, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, from, text, &json);
    sdg_free(text);
    if (result != SDG_OK)
        return result;
    if (sdg_json_get(&json, "quantization_config")) {
        result = sdg_fail(log, SDG_ERROR_INPUT,
                          "%s: has a quantization_config already: start from the model it was made of", from);
    } else {
        char *printed = print_config(&json, describe(r, base, fingerprint, base_path));
        result = printed ? sdg_output_text(log, to, printed)
                         : sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for %s", config_file);
        cJSON_free(printed);
    }
    sdg_json_free(&json);
    return result;
}

// ---- the other components ----

struct copying {
    const struct sdg_log *log;
    char *from, *to; // folders
};

static enum sdg_result copy_file(const struct sdg_log *log, const char *from, const char *to)
{
    struct sdg_map map;
    struct sdg_output *output;
    SDG_TRY(sdg_file_map(log, from, false, &map));
    enum sdg_result result = sdg_output_open(log, to, &output);
    if (result == SDG_OK) {
        result = sdg_output_write(output, map.data, map.size);
        if (result == SDG_OK)
            result = sdg_output_commit(&output);
        else
            sdg_output_discard(&output);
    }
    sdg_file_unmap(&map);
    return result;
}

static enum sdg_result copy_named(const struct sdg_log *log, const char *from_folder, const char *to_folder,
                                  const char *name)
{
    char *from = sdg_path_join(log, from_folder, name), *to = sdg_path_join(log, to_folder, name);
    enum sdg_result result = from && to ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK && sdg_path_kind(from) == SDG_PATH_FILE)
        result = copy_file(log, from, to);
    sdg_free(from);
    sdg_free(to);
    return result;
}

// Other programs' formats of the same weights (.bin, .msgpack, .onnx) are left behind.
static enum sdg_result copy_useful(void *user, const char *name)
{
    static const char *const endings[] = {".json", ".txt", ".safetensors", ".model"};
    const struct copying *c = user;
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcmp(dot, endings[i]) == 0)
            return copy_named(c->log, c->from, c->to, name);
    return SDG_OK;
}

static enum sdg_result copy_component(const struct sdg_log *log, const struct sdg_quant_result *r,
                                      struct sdg_folder_output *output, const char *name)
{
    struct copying c = {log, sdg_path_join(log, r->model->path, name),
                        sdg_path_join(log, sdg_folder_output_path(output), name)};
    enum sdg_result result = c.from && c.to ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK && sdg_path_kind(c.from) == SDG_PATH_FOLDER) {
        result = sdg_folder_output_add(output, name);
        if (result == SDG_OK)
            result = sdg_folder_list(log, c.from, copy_useful, &c);
    }
    sdg_free(c.from);
    sdg_free(c.to);
    return result;
}

static enum sdg_result copy_rest(const struct sdg_log *log, const struct sdg_quant_result *r,
                                 struct sdg_folder_output *output)
{
    for (size_t i = 0; i < sizeof loose_files / sizeof *loose_files; i++)
        SDG_TRY(copy_named(log, r->model->path, sdg_folder_output_path(output), loose_files[i]));
    for (size_t i = 0; !r->params->delta && i < sizeof component_folders / sizeof *component_folders; i++)
        SDG_TRY(copy_component(log, r, output, component_folders[i]));
    return SDG_OK;
}

// ---- all of it ----

static enum sdg_result fill_folder(const struct sdg_log *log, struct sdg_quant_result *r,
                                   struct sdg_folder_output *output)
{
    const char *root = sdg_folder_output_path(output);
    char *weights = sdg_path_join(log, root, weights_file), *config = sdg_path_join(log, root, config_file),
         *from = sdg_path_join(log, r->model->path, config_file), *base_path = NULL;
    enum sdg_result result = weights && config && from ? sdg_folder_output_add(output, "unet") : SDG_ERROR_MEMORY;
    if (result == SDG_OK && r->params->delta)
        result = sdg_path_relative(log, root, r->model->path, &base_path);
    if (result == SDG_OK)
        result = write_tensors(log, r, weights);
    if (result == SDG_OK)
        result = write_config(log, r, from, config, weights, base_path);
    if (result == SDG_OK)
        result = copy_rest(log, r, output);
    sdg_free(base_path);
    sdg_free(from);
    sdg_free(config);
    sdg_free(weights);
    return result;
}

enum sdg_result sdg_quant_write(const struct sdg_log *log, struct sdg_quant_result *r)
{
    struct sdg_folder_output *output;
    SDG_TRY(sdg_quant_check_output(log, r->params));
    SDG_TRY(sdg_folder_output_open(log, r->params->output, r->params->force, &output));
    enum sdg_result result = fill_folder(log, r, output);
    if (result == SDG_OK)
        return sdg_folder_output_commit(&output);
    sdg_folder_output_discard(&output);
    return result;
}
