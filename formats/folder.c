// Diffusers folders: model_index.json, then a folder per component with config.json and weights.
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/model_parts.h"

#include <stdio.h>
#include <string.h>

enum sdg_result sdg_add_canonical(const struct sdg_log *log, struct sdg_tensors *view, enum sdg_part part, const struct sdg_tensor *tensor,
                                  const char *name)
{
    struct sdg_tensor copy = *tensor;
    if (part == SDG_PART_VAE && copy.rank == 4 && copy.dims[2] == 1 && copy.dims[3] == 1 && sdg_name_is_vae_projection(name))
        copy.rank = 2;
    return sdg_tensors_add(log, view, &copy, name);
}

static enum sdg_result add_source(const struct sdg_log *log, struct sdg_tensors *view, const char *path, enum sdg_part part, bool copy)
{
    struct sdg_source *source;
    SDG_TRY(sdg_check_file_kind(log, path));
    SDG_TRY(sdg_source_open(log, path, copy, &source));
    enum sdg_result result = sdg_tensors_use(log, view, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++) {
        char name[SDG_NAME_ROOM];
        if (sdg_name_canonical(part, source->tensors[i].name, name))
            result = sdg_add_canonical(log, view, part, &source->tensors[i], name);
    }
    sdg_source_drop(&source);
    return result;
}

// The file of one entry of the weight map, unless an earlier entry has brought it in.
static enum sdg_result add_shard(const struct sdg_log *log, struct sdg_tensors *view, const char *folder, const char *index,
                                 const cJSON *entry, enum sdg_part part, bool copy)
{
    if (!cJSON_IsString(entry) || !*entry->valuestring || strchr(entry->valuestring, '/'))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: weight_map should give a file name for %s", index, entry->string);
    char *path = sdg_path_join(log, folder, entry->valuestring);
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_tensors_uses(view, path) ? SDG_OK : add_source(log, view, path, part, copy);
    sdg_free(path);
    return result;
}

static enum sdg_result add_shards(const struct sdg_log *log, struct sdg_tensors *view, const char *folder, const char *index,
                                  enum sdg_part part, bool copy)
{
    char *text;
    struct sdg_json json;
    SDG_TRY(sdg_file_read_text(log, index, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, index, text, &json);
    sdg_free(text);
    if (result != SDG_OK)
        return result;
    const cJSON *map = sdg_json_get(&json, "weight_map"), *entry;
    if (!cJSON_IsObject(map))
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has no object weight_map", index);
    else
        for (entry = map->child; result == SDG_OK && entry; entry = entry->next)
            result = add_shard(log, view, folder, index, entry, part, copy);
    sdg_json_free(&json);
    return result;
}

// The names under which diffusers and transformers save weights; the first that exists is taken.
static const char *const weight_names[][2] = {
    // unet, vae                                          text encoders
    {"diffusion_pytorch_model.safetensors", "model.safetensors"},
    {"diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors"},
    {"diffusion_pytorch_model.safetensors.index.json", "model.safetensors.index.json"},
    {"diffusion_pytorch_model.safetensors.index.fp16.json", "model.safetensors.index.fp16.json"},
};
static const char *const pickle_names[] = {"diffusion_pytorch_model.bin", "pytorch_model.bin"};

static enum sdg_result no_weights(const struct sdg_log *log, const char *folder, int column)
{
    char *pickle = sdg_path_join(log, folder, pickle_names[column]);
    if (!pickle)
        return SDG_ERROR_MEMORY;
    enum sdg_result result;
    if (sdg_path_kind(pickle) != SDG_PATH_MISSING)
        result = sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: pickled weights are not read, save the model with safe_serialization=True", pickle);
    else
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has no weights, %s is missing", folder, weight_names[0][column]);
    sdg_free(pickle);
    return result;
}

static enum sdg_result fill_view(const struct sdg_log *log, struct sdg_tensors *view, const char *folder, enum sdg_part part, bool copy)
{
    int column = part == SDG_PART_TEXT;
    for (size_t i = 0; i < sizeof weight_names / sizeof *weight_names; i++) {
        char *path = sdg_path_join(log, folder, weight_names[i][column]);
        if (!path)
            return SDG_ERROR_MEMORY;
        if (sdg_path_kind(path) == SDG_PATH_MISSING) {
            sdg_free(path);
            continue;
        }
        bool sharded = strstr(weight_names[i][column], ".index.") != NULL;
        enum sdg_result result = sharded ? add_shards(log, view, folder, path, part, copy) : add_source(log, view, path, part, copy);
        sdg_free(path);
        return result;
    }
    return no_weights(log, folder, column);
}

enum sdg_result sdg_folder_weights(const struct sdg_log *log, const char *folder, enum sdg_part part, bool copy, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    SDG_TRY(sdg_tensors_new(log, folder, &view));
    enum sdg_result result = fill_view(log, view, folder, part, copy);
    if (result == SDG_OK)
        result = sdg_tensors_finish(log, view);
    if (result != SDG_OK) {
        sdg_tensors_destroy(&view);
        return result;
    }
    *out = view;
    return SDG_OK;
}

enum sdg_result sdg_folder_config(const struct sdg_log *log, const char *folder, char **path, char **text)
{
    char *file = sdg_path_join(log, folder, "config.json");
    if (!file)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_file_read_text(log, file, SDG_JSON_FILE_LIMIT, text);
    if (result != SDG_OK) {
        sdg_free(file);
        return result;
    }
    *path = file;
    return SDG_OK;
}

static enum sdg_result open_component(const struct sdg_log *log, struct sdg_model *model, const char *name, enum sdg_part part, int which)
{
    char *folder = sdg_path_join(log, model->path, name), *path = NULL, *text = NULL;
    struct sdg_tensors **tensors = part == SDG_PART_UNET ? &model->unet : part == SDG_PART_VAE ? &model->vae : &model->text[which];
    enum sdg_result result = folder ? sdg_folder_config(log, folder, &path, &text) : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        if (part == SDG_PART_UNET)
            result = sdg_unet_config_parse(log, path, text, &model->unet_config);
        else if (part == SDG_PART_VAE)
            result = sdg_vae_config_parse(log, path, text, &model->vae_config);
        else
            result = sdg_text_config_parse(log, path, text, &model->text_config[which]);
    }
    if (result == SDG_OK)
        result = sdg_folder_weights(log, folder, part, model->no_mmap, tensors);
    sdg_free(text);
    sdg_free(path);
    sdg_free(folder);
    return result;
}

static enum sdg_result open_scheduler(const struct sdg_log *log, struct sdg_model *model)
{
    char *path = sdg_path_join(log, model->path, "scheduler/scheduler_config.json"), *text = NULL;
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    sdg_scheduler_config_default(&model->scheduler);
    if (sdg_path_kind(path) != SDG_PATH_MISSING) {
        result = sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text);
        if (result == SDG_OK)
            result = sdg_scheduler_config_parse(log, path, text, &model->scheduler);
        model->has_scheduler = result == SDG_OK;
    }
    sdg_free(text);
    sdg_free(path);
    return result;
}

static enum sdg_result open_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i)
{
    bool found = false;
    char *folder = sdg_path_join(log, model->path, i ? "tokenizer_2" : "tokenizer");
    if (!folder)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_tokenizer_read(log, model, i, folder, &found);
    sdg_free(folder);
    return result != SDG_OK || found ? result : sdg_tokenizer_fallback(log, model, i);
}

static enum sdg_result check_pipeline_class(const struct sdg_json *json)
{
    static const char *const known[] = {
        "StableDiffusionPipeline",   "StableDiffusionImg2ImgPipeline",   "StableDiffusionInpaintPipeline",
        "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "LatentConsistencyModelPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
    };
    const char *name;
    SDG_TRY(sdg_json_string(json, "_class_name", known[0], &name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i]) == 0)
            return SDG_OK;
    return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: _class_name is \"%.64s\"; Stable Diffusion 1.x, 2.x, XL, inpainting and latent "
                    "consistency models are supported", json->path, name);
}

// Components are listed as ["library", "Class"]; [null, null] or no entry means there is none.
static bool listed(const struct sdg_json *json, const char *component)
{
    return cJSON_IsString(cJSON_GetArrayItem(sdg_json_get(json, component), 0));
}

static enum sdg_result read_index(const struct sdg_log *log, struct sdg_model *model, const char *path)
{
    char *text;
    struct sdg_json json;
    SDG_TRY(sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, path, text, &json);
    sdg_free(text);
    if (result != SDG_OK)
        return result;
    result = check_pipeline_class(&json);
    model->text_encoders = listed(&json, "text_encoder_2") ? 2 : 1;
    sdg_json_free(&json);
    return result;
}

static enum sdg_result guess_index(const struct sdg_log *log, struct sdg_model *model)
{
    static const char *const needed[] = {"unet/config.json", "vae/config.json", "text_encoder/config.json", "text_encoder_2/config.json"};
    bool there[4];
    for (int i = 0; i < 4; i++) {
        char *path = sdg_path_join(log, model->path, needed[i]);
        if (!path)
            return SDG_ERROR_MEMORY;
        there[i] = sdg_path_kind(path) == SDG_PATH_FILE;
        sdg_free(path);
    }
    if (!there[0] || !there[1] || !there[2])
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no diffusers model folder: neither model_index.json nor unet, vae and text_encoder "
                        "with a config.json each are there", model->path);
    model->text_encoders = there[3] ? 2 : 1;
    return SDG_OK;
}

enum sdg_result sdg_folder_open(const struct sdg_log *log, struct sdg_model *model)
{
    char *index = sdg_path_join(log, model->path, "model_index.json");
    if (!index)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_path_kind(index) != SDG_PATH_MISSING ? read_index(log, model, index) : guess_index(log, model);
    sdg_free(index);
    if (result != SDG_OK)
        return result;
    SDG_TRY(open_component(log, model, "unet", SDG_PART_UNET, 0));
    SDG_TRY(open_component(log, model, "vae", SDG_PART_VAE, 0));
    SDG_TRY(open_component(log, model, "text_encoder", SDG_PART_TEXT, 0));
    if (model->text_encoders == 2)
        SDG_TRY(open_component(log, model, "text_encoder_2", SDG_PART_TEXT, 1));
    SDG_TRY(open_scheduler(log, model));
    for (int i = 0; i < model->text_encoders; i++)
        SDG_TRY(open_tokenizer(log, model, i));
    return SDG_OK;
}
