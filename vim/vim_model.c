#include "vim/vim_model.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/quantized_folder.h"
#include "graph/leftovers.h"
#include "graph/weights.h"
#include "mamba/mamba.h"
#include "vim/vim.h"

#include <string.h>

// ---- files ----

static enum sdg_result read_config(const struct sdg_log *log, const char *folder, struct sdg_vim_config *out)
{
    char *text = NULL, *path = sdg_path_join(log, folder, sdg_quantized_network_files.config);
    enum sdg_result result = path ? sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_vim_config_parse(log, path, text, out);
    sdg_free(text);
    sdg_free(path);
    return result;
}

static enum sdg_result open_weights(const struct sdg_log *log, const char *folder, struct sdg_tensors **out)
{
    char *path = sdg_path_join(log, folder, sdg_quantized_network_files.weights);
    enum sdg_result result = path ? sdg_tensors_open(log, path, out) : SDG_ERROR_MEMORY;
    sdg_free(path);
    return result;
}

// The base has to be a full-precision model, so that chains of bases end here.
static enum sdg_result open_base(const struct sdg_log *log, const struct sdg_vim_model *model, struct sdg_tensors **out)
{
    const char *named = model->config.quantization.base_path;
    struct sdg_vim_config config;
    char *base = *named == '/' ? sdg_strdup(log, named) : sdg_path_join(log, model->path, named);
    enum sdg_result result = base ? read_config(log, base, &config) : SDG_ERROR_MEMORY;
    if (result == SDG_OK && config.quantization.present)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: base_path \"%s\" leads to %s, which is quantized itself (%s)",
                          model->path, named, base, config.quantization.scheme);
    if (result == SDG_OK)
        result = open_weights(log, base, out);
    sdg_free(base);
    return result;
}

static enum sdg_result finish_quantized(const struct sdg_log *log, struct sdg_vim_model *model)
{
    const struct sdg_quantization_config *q = &model->config.quantization;
    struct sdg_tensors *base = NULL;
    if (!q->present)
        return SDG_OK;
    if (*q->base_path)
        SDG_TRY(open_base(log, model, &base));
    char *path = sdg_path_join(log, model->path, sdg_quantized_network_files.config);
    enum sdg_result result = path ? sdg_quantized_finish(log, q, path, model->tensors, &base) : SDG_ERROR_MEMORY;
    sdg_free(path);
    sdg_tensors_destroy(&base);
    return result;
}

// ---- checks ----

static bool is_expected(const char *name)
{
    return sdg_vim_is_position(name) || sdg_quantized_is_tensor(name);
}

static enum sdg_result check_graph(const struct sdg_log *log, const struct sdg_vim_model *model,
                                   const struct sdg_graph *graph)
{
    struct sdg_weight weight;
    SDG_TRY(sdg_leftovers_check(log, model->tensors, (const struct sdg_graph *const[]){graph}, 1, is_expected, NULL));
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == SDG_VALUE_WEIGHT)
            SDG_TRY(sdg_weight_find(log, model->tensors, &graph->values[i], &weight));
    return sdg_mamba_check_weights(log, graph, model->tensors);
}

static enum sdg_result check_weights(const struct sdg_log *log, const struct sdg_vim_model *model)
{
    struct sdg_graph *graph;
    SDG_TRY(sdg_vim_graph(log, &model->config, 1, &graph));
    enum sdg_result result = check_graph(log, model, graph);
    sdg_graph_destroy(&graph);
    return result;
}

// ---- all of it ----

static bool says_vim(const char *path, const char *text)
{
    struct sdg_json json;
    if (sdg_json_parse(NULL, path, text, &json) != SDG_OK)
        return false;
    const cJSON *type = sdg_json_get(&json, "model_type");
    const bool vim = cJSON_IsString(type) && strcmp(type->valuestring, "vim") == 0;
    sdg_json_free(&json);
    return vim;
}

enum sdg_result sdg_vim_model_is(const struct sdg_log *log, const char *path, bool *is)
{
    char *text = NULL, *file = sdg_path_join(log, path, sdg_quantized_network_files.config);
    *is = false;
    if (!file)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    if (sdg_path_kind(file) == SDG_PATH_FILE)
        result = sdg_file_read_text(NULL, file, SDG_JSON_FILE_LIMIT, &text);
    *is = text && says_vim(file, text);
    sdg_free(text);
    sdg_free(file);
    // a file that cannot be read is somebody else's to complain about
    return result == SDG_ERROR_MEMORY ? sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory to read %s", path) : SDG_OK;
}

static enum sdg_result refuse_drawing(const struct sdg_log *log, const char *path)
{
    char *index = sdg_path_join(log, path, "model_index.json");
    if (!index)
        return SDG_ERROR_MEMORY;
    const bool draws = sdg_path_kind(index) == SDG_PATH_FILE;
    sdg_free(index);
    return draws ? sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: is no Vision Mamba classifier but a model that draws pictures, for sdgen", path)
                 : SDG_OK;
}

static enum sdg_result open_model(const struct sdg_log *log, const char *path, struct sdg_vim_model *model)
{
    model->path = sdg_strdup(log, path);
    if (!model->path)
        return SDG_ERROR_MEMORY;
    if (sdg_path_kind(path) != SDG_PATH_FOLDER)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no folder, but a model is one with %s and %s", path,
                        sdg_quantized_network_files.config, sdg_quantized_network_files.weights);
    SDG_TRY(refuse_drawing(log, path));
    SDG_TRY(read_config(log, path, &model->config));
    SDG_TRY(open_weights(log, path, &model->tensors));
    SDG_TRY(finish_quantized(log, model));
    return check_weights(log, model);
}

enum sdg_result sdg_vim_model_open(const struct sdg_log *log, const char *path, struct sdg_vim_model **out)
{
    *out = NULL;
    struct sdg_vim_model *model = sdg_alloc(log, 1, sizeof *model, "a model");
    if (!model)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = open_model(log, path, model);
    if (result != SDG_OK)
        sdg_vim_model_close(&model);
    *out = model;
    return result;
}

void sdg_vim_model_close(struct sdg_vim_model **handle)
{
    struct sdg_vim_model *model = *handle;
    *handle = NULL;
    if (!model)
        return;
    sdg_tensors_destroy(&model->tensors);
    sdg_free(model->path);
    sdg_free(model);
}
