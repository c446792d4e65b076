// A Hadamard transform before the out_proj of Mamba blocks, and its inverse in their weights.
#include "base/directory.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/model.h"
#include "formats/preferences.h"
#include "formats/quantized_folder.h"
#include "graph/weights.h"
#include "sdgen/quantize.h"
#include "unet/unet.h"
#include "vim/vim_model.h"

#include <math.h>
#include <string.h>

struct rotation {
    struct sdg_log log;
    const struct sdg_rotate_params *params;
    struct sdg_model *model;
    struct sdg_graph *graph; // the step graph that has the transforms
    struct sdg_tensor *tensors;
    size_t count;
};

// ---- weights ----

// W H of rows [count, block]: in place, by sums and differences of numbers 1, 2, 4, .. apart.
static void transform_rows(float *rows, size_t count, size_t block)
{
    const double scale = 1 / sqrt((double)block);
    double row[SDG_HADAMARD_MOST];
    for (size_t r = 0; r < count; r++, rows += block) {
        for (size_t i = 0; i < block; i++)
            row[i] = rows[i];
        for (size_t apart = 1; apart < block; apart *= 2)
            for (size_t first = 0; first < block; first += 2 * apart)
                for (size_t i = first; i < first + apart; i++) {
                    const double a = row[i], b = row[i + apart];
                    row[i] = a + b;
                    row[i + apart] = a - b;
                }
        for (size_t i = 0; i < block; i++)
            rows[i] = (float)(row[i] * scale);
    }
}

static enum sdg_result rotate_weight(struct rotation *r, sdg_value v, size_t block)
{
    const struct sdg_value_info *info = &r->graph->values[v];
    const size_t count = (size_t)sdg_value_elements(info);
    struct sdg_weight weight;
    SDG_TRY(sdg_weight_find(&r->log, r->model->unet, info, &weight));
    float *data = sdg_alloc_raw(&r->log, count, sizeof *data, "a rotated weight");
    if (!data)
        return SDG_ERROR_MEMORY;
    sdg_weight_read(&weight, 0, weight.outputs, SDG_F32, data);
    transform_rows(data, count / block, block);
    r->tensors[r->count++] = (struct sdg_tensor){.name = info->name,
                                                 .dtype = SDG_F32,
                                                 .rank = 2,
                                                 .dims = {info->dims[0], info->dims[1]},
                                                 .data = data,
                                                 .bytes = count * sizeof *data};
    return SDG_OK;
}

static const struct sdg_op *maker_of(const struct sdg_graph *graph, sdg_value v)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].out == v)
            return &graph->ops[i];
    return NULL;
}

// Of all linear layers that read what a transform makes.
static enum sdg_result rotate_weights(struct rotation *r)
{
    r->tensors = sdg_alloc(&r->log, r->graph->op_count, sizeof *r->tensors, "rotated weights");
    if (!r->tensors)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < r->graph->op_count; i++) {
        const struct sdg_op *op = &r->graph->ops[i], *maker = maker_of(r->graph, op->in[0]);
        if (op->kind == SDG_OP_LINEAR && maker && maker->kind == SDG_OP_HADAMARD)
            SDG_TRY(rotate_weight(r, op->in[1], (size_t)maker->u.hadamard.block));
    }
    return SDG_OK;
}

// ---- the folder ----

static bool add_base(cJSON *config, const char *base_path, const char *fingerprint)
{
    cJSON *base = cJSON_CreateObject();
    if (base && cJSON_AddStringToObject(base, "base_path", base_path) &&
        cJSON_AddStringToObject(base, "base", fingerprint) && cJSON_AddItemToObject(config, SDG_PREFERENCES_KEY, base))
        return true;
    cJSON_Delete(base);
    return false;
}

// The model's configuration with a transform and another base, as text for cJSON_free; NULL without memory.
static char *print_config(const struct sdg_json *from, const char *base_path, const char *fingerprint)
{
    char *text = NULL;
    cJSON *config = cJSON_Duplicate(from->object, true);
    cJSON_DeleteItemFromObjectCaseSensitive(config, SDG_PREFERENCES_KEY);
    cJSON_DeleteItemFromObjectCaseSensitive(config, "mamba_hadamard");
    if (config && cJSON_AddTrueToObject(config, "mamba_hadamard") && add_base(config, base_path, fingerprint))
        text = cJSON_Print(config);
    cJSON_Delete(config);
    return text;
}

static enum sdg_result write_config(const struct rotation *r, const char *from, const char *to, const char *base_path)
{
    char fingerprint[17], *text;
    struct sdg_json json;
    SDG_TRY(sdg_file_read_text(&r->log, from, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(&r->log, from, text, &json);
    sdg_free(text);
    SDG_TRY(result);
    sdg_tensors_fingerprint(r->model->unet, fingerprint);
    char *printed = print_config(&json, base_path, fingerprint);
    result = printed ? sdg_output_text(&r->log, to, printed)
                     : sdg_fail(&r->log, SDG_ERROR_MEMORY, "not enough memory for %s", to);
    cJSON_free(printed);
    sdg_json_free(&json);
    return result;
}

static enum sdg_result fill_folder(const struct rotation *r, struct sdg_folder_output *output)
{
    const char *root = sdg_folder_output_path(output);
    char *from = sdg_path_join(&r->log, r->model->path, SDG_QUANTIZED_CONFIG_FILE),
         *config = sdg_path_join(&r->log, root, SDG_QUANTIZED_CONFIG_FILE),
         *weights = sdg_path_join(&r->log, root, SDG_QUANTIZED_WEIGHTS_FILE), *base_path = NULL;
    enum sdg_result result = from && config && weights ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_folder_output_add(output, "unet");
    if (result == SDG_OK)
        result = sdg_path_relative(&r->log, root, r->model->path, &base_path);
    if (result == SDG_OK)
        result = sdg_tensors_write(&r->log, weights, r->tensors, r->count, NULL, 0);
    if (result == SDG_OK)
        result = write_config(r, from, config, base_path);
    sdg_free(from);
    sdg_free(config);
    sdg_free(weights);
    sdg_free(base_path);
    return result;
}

static enum sdg_result write_folder(const struct rotation *r)
{
    struct sdg_folder_output *output;
    SDG_TRY(sdg_folder_output_open(&r->log, r->params->output, false, &output));
    enum sdg_result result = fill_folder(r, output);
    if (result == SDG_OK)
        return sdg_folder_output_commit(&output);
    sdg_folder_output_discard(&output);
    return result;
}

// ---- all of it ----

static enum sdg_result open_model(struct rotation *r)
{
    bool vim;
    SDG_TRY(sdg_vim_model_is(&r->log, r->params->model, &vim));
    if (vim)
        return sdg_fail(&r->log, SDG_ERROR_INPUT,
                        "%s: is a Vision Mamba classifier, but --hadamard takes models with a UNet", r->params->model);
    SDG_TRY(sdg_model_open(&r->log, r->params->model, &r->model));
    struct sdg_unet_config config = r->model->unet_config;
    if (config.quantization.present)
        return sdg_fail(&r->log, SDG_ERROR_INPUT, "%s: is quantized already (%s): start from the full-precision model",
                        r->params->model, config.quantization.scheme);
    if (!config.mamba.d_state || config.mamba.hadamard)
        return sdg_fail(&r->log, SDG_ERROR_INPUT, "%s: %s", r->params->model,
                        config.mamba.hadamard ? "has Hadamard transforms already"
                                              : "has no Mamba blocks, which a Hadamard transform could go into");
    config.mamba.hadamard = true;
    const struct sdg_unet_shape shape = sdg_unet_smallest_shape(&config);
    return sdg_unet_fused_step_graph(&r->log, &config, &shape, &r->graph);
}

enum sdg_result sdg_rotate(const struct sdg_rotate_params *params)
{
    SDG_REQUIRE(NULL, params, "params");
    struct rotation r = {.log = params->log, .params = params};
    if (!params->model || !params->output || !*params->output)
        return sdg_fail(&r.log, SDG_ERROR_USAGE, "a model and an output folder are needed");
    enum sdg_result result = open_model(&r);
    if (result == SDG_OK)
        result = rotate_weights(&r);
    if (result == SDG_OK)
        result = write_folder(&r);
    for (size_t i = 0; i < r.count; i++)
        sdg_free((void *)r.tensors[i].data);
    sdg_free(r.tensors);
    sdg_graph_destroy(&r.graph);
    sdg_model_close(&r.model);
    return result;
}
