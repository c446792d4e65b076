// Diffusers folders: model_index.json, then a folder per component with config.json and weights.
#include "base/json.h"
#include "base/memory.h"
#include "formats/config_check.h"
#include "formats/infer_vae.h"
#include "formats/model_parts.h"

#include <stdio.h>
#include <string.h>

enum sdg_result sdg_folder_config(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                  char **path, char **text)
{
    *path = *text = NULL;
    if (sdg_files_kind(files, folder) == SDG_PATH_MISSING)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: there is no such folder, but a model needs it: is it complete?",
                        folder);
    char *file = sdg_path_join(log, folder, "config.json");
    if (!file)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_files_text(log, files, file, SDG_JSON_FILE_LIMIT, text);
    if (result != SDG_OK) {
        sdg_free(file);
        return result;
    }
    *path = file;
    return SDG_OK;
}

// ---- components ----

static enum sdg_result open_component(const struct sdg_log *log, struct sdg_model *model, const char *name,
                                      enum sdg_part part, int which)
{
    char *folder = NULL, *path = NULL, *text = NULL;
    struct sdg_tensors **tensors = part == SDG_PART_VAE ? &model->vae : &model->text[which];
    SDG_TRY(sdg_folder_component(log, model, name, &folder));
    enum sdg_result result = sdg_folder_config(log, model->files, folder, &path, &text);
    if (result == SDG_OK)
        result = part == SDG_PART_VAE ? sdg_vae_config_parse(log, path, text, &model->vae_config)
                                      : sdg_text_config_parse(log, path, text, &model->text_config[which]);
    if (result == SDG_OK)
        result = sdg_folder_part(log, model, name, part, tensors);
    // The second encoder is of the class with a projection, whether or not its configuration names it.
    const struct sdg_tensor *projection =
        result == SDG_OK && which == 1 ? sdg_tensors_find(*tensors, "text_projection.weight") : NULL;
    if (projection && projection->rank == 2 && projection->dims[0] <= SDG_CHANNELS_MAX &&
        !model->text_config[1].projection_dim)
        model->text_config[1].projection_dim = (int)projection->dims[0];
    sdg_free(text);
    sdg_free(path);
    sdg_free(folder);
    return result;
}

// What is known of an autoencoder that another one takes the place of, which may be absent or broken: as much as its
// configuration says.
static enum sdg_result read_replaced_vae(const struct sdg_log *log, struct sdg_model *model)
{
    char *folder = NULL, *path = NULL, *text = NULL;
    struct sdg_vae_config own = {0};
    model->vae_config = sdg_default_vae_config(model->text_encoders);
    SDG_TRY(sdg_folder_component(log, model, "vae", &folder));
    if (sdg_folder_config(NULL, model->files, folder, &path, &text) == SDG_OK &&
        sdg_vae_config_parse(NULL, path, text, &own) == SDG_OK && !own.tiny)
        model->vae_config = own;
    sdg_free(text);
    sdg_free(path);
    sdg_free(folder);
    return SDG_OK;
}

static enum sdg_result open_vae(const struct sdg_log *log, struct sdg_model *model)
{
    char *folder = NULL;
    if (model->vae_path)
        return read_replaced_vae(log, model);
    SDG_TRY(sdg_folder_locate(log, model, "vae", &folder));
    enum sdg_result result = SDG_OK;
    if (sdg_files_kind(model->files, folder) == SDG_PATH_MISSING)
        result =
            sdg_fail(log, SDG_ERROR_INPUT,
                     "%s: there is no such folder, so that the model has no autoencoder: name one with --vae", folder);
    sdg_free(folder);
    SDG_TRY(result);
    SDG_TRY(open_component(log, model, "vae", SDG_PART_VAE, 0));
    model->vae_config.decoder_only = !sdg_vae_has_side(model->vae, "encoder.");
    return SDG_OK;
}

static enum sdg_result open_scheduler(const struct sdg_log *log, struct sdg_model *model)
{
    char *path = NULL, *text = NULL;
    enum sdg_result result = SDG_OK;
    SDG_TRY(sdg_folder_locate(log, model, "scheduler/scheduler_config.json", &path));
    sdg_scheduler_config_default(&model->scheduler);
    if (sdg_files_kind(model->files, path) != SDG_PATH_MISSING) {
        result = sdg_files_text(log, model->files, path, SDG_JSON_FILE_LIMIT, &text);
        if (result == SDG_OK)
            result = sdg_scheduler_config_parse(log, path, text, model->scheduler_class, &model->scheduler);
        model->has_scheduler = result == SDG_OK;
    }
    sdg_free(text);
    sdg_free(path);
    return result;
}

static enum sdg_result open_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i)
{
    char *folder = NULL;
    SDG_TRY(sdg_folder_locate(log, model, i ? "tokenizer_2" : "tokenizer", &folder));
    enum sdg_result result = sdg_find_folder_tokenizer(log, model, i, folder);
    sdg_free(folder);
    return result;
}

// ---- the folder ----

static enum sdg_result read_pipeline_class(const struct sdg_json *json, struct sdg_model *model)
{
    static const struct {
        const char *name;
        bool corrects_scheduler, latent_consistency;
    } known[] = {
        {"StableDiffusionPipeline", true, false},           {"StableDiffusionImg2ImgPipeline", true, false},
        {"StableDiffusionInpaintPipeline", true, false},    {"StableDiffusionXLPipeline", false, false},
        {"StableDiffusionXLImg2ImgPipeline", false, false}, {"StableDiffusionXLInpaintPipeline", false, false},
        {"LatentConsistencyModelPipeline", false, true},    {"LatentConsistencyModelImg2ImgPipeline", false, true},
    };
    const char *name;
    SDG_TRY(sdg_json_string(json, "_class_name", known[0].name, &name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            model->corrects_scheduler = known[i].corrects_scheduler;
            model->latent_consistency = known[i].latent_consistency;
            return SDG_OK;
        }
    return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                    "%s: _class_name is \"%.64s\"; Stable Diffusion 1.x, 2.x, XL, inpainting and latent "
                    "consistency models are supported",
                    json->path, name);
}

// Components are listed as ["library", "Class"]; [null, null] or no entry means there is none.
static bool listed(const struct sdg_json *json, const char *component)
{
    return cJSON_IsString(cJSON_GetArrayItem(sdg_json_get(json, component), 0));
}

// diffusers makes the class that the index names, whatever the scheduler's own file says.
static void read_scheduler_class(const struct sdg_json *json, struct sdg_model *model)
{
    const cJSON *name = cJSON_GetArrayItem(sdg_json_get(json, "scheduler"), 1);
    if (cJSON_IsString(name) && strlen(name->valuestring) < sizeof model->scheduler_class)
        snprintf(model->scheduler_class, sizeof model->scheduler_class, "%s", name->valuestring);
}

// transformers makes the class that the index names; another one cuts texts in another way.
static enum sdg_result check_tokenizer_class(const struct sdg_json *json, const char *component)
{
    const cJSON *name = cJSON_GetArrayItem(sdg_json_get(json, component), 1);
    if (!listed(json, component) || !cJSON_IsString(name) || strcmp(name->valuestring, "CLIPTokenizer") == 0 ||
        strcmp(name->valuestring, "CLIPTokenizerFast") == 0)
        return SDG_OK;
    return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s is a %.64s, supported: CLIPTokenizer", json->path,
                    component, name->valuestring);
}

static enum sdg_result parse_index(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                   struct sdg_json *json)
{
    char *text;
    SDG_TRY(sdg_files_text(log, files, path, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, path, text, json);
    sdg_free(text);
    return result;
}

static enum sdg_result read_index(const struct sdg_log *log, struct sdg_model *model, const char *path)
{
    struct sdg_json json;
    SDG_TRY(parse_index(log, model->files, path, &json));
    enum sdg_result result = read_pipeline_class(&json, model);
    if (result == SDG_OK && !listed(&json, "text_encoder") && listed(&json, "text_encoder_2"))
        result =
            sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                     "%s: has no first text encoder: a refiner of Stable Diffusion XL, which is not supported; give "
                     "the base model",
                     path);
    if (result == SDG_OK)
        result = check_tokenizer_class(&json, "tokenizer");
    if (result == SDG_OK)
        result = check_tokenizer_class(&json, "tokenizer_2");
    if (result == SDG_OK)
        result = sdg_json_bool(&json, "force_zeros_for_empty_prompt", true, &model->zeros_for_no_prompt);
    if (result == SDG_OK)
        result = sdg_preferences_read(&json, &model->preferences);
    if (listed(&json, "scheduler"))
        read_scheduler_class(&json, model);
    model->text_encoders = listed(&json, "text_encoder_2") ? 2 : 1;
    sdg_json_free(&json);
    return result;
}

// Whether a model without an index has `name`.
static enum sdg_result has(const struct sdg_log *log, const struct sdg_model *model, const char *name, bool *there)
{
    char *path;
    SDG_TRY(sdg_folder_locate(log, model, name, &path));
    *there = sdg_files_kind(model->files, path) == SDG_PATH_FILE;
    sdg_free(path);
    return SDG_OK;
}

static enum sdg_result guess_index(const struct sdg_log *log, struct sdg_model *model)
{
    bool vae, text, text_2;
    SDG_TRY(has(log, model, "vae/config.json", &vae));
    vae = vae || model->vae_path;
    SDG_TRY(has(log, model, "text_encoder/config.json", &text));
    SDG_TRY(has(log, model, "text_encoder_2/config.json", &text_2));
    if (!vae || !text)
        return sdg_folder_refuse(log, model->files, model->path);
    model->text_encoders = text_2 ? 2 : 1;
    model->latent_consistency = model->unet_config.time_cond_proj_dim > 0;
    model->corrects_scheduler = !text_2 && !model->latent_consistency;
    return SDG_OK;
}

// The index of this folder says at once whether the model is of a kind that is supported.
static enum sdg_result open_own_index(const struct sdg_log *log, struct sdg_model *model, bool *found)
{
    char *index = sdg_path_join(log, model->path, "model_index.json");
    if (!index)
        return SDG_ERROR_MEMORY;
    bool unet = false;
    *found = sdg_files_kind(model->files, index) != SDG_PATH_MISSING;
    enum sdg_result result = *found ? read_index(log, model, index) : has(log, model, "unet/config.json", &unet);
    sdg_free(index);
    return result == SDG_OK && !*found && !unet ? sdg_folder_refuse(log, model->files, model->path) : result;
}

static enum sdg_result open_base_index(const struct sdg_log *log, struct sdg_model *model)
{
    char *index;
    SDG_TRY(sdg_folder_locate(log, model, "model_index.json", &index));
    enum sdg_result result = sdg_files_kind(model->files, index) != SDG_PATH_MISSING ? read_index(log, model, index)
                                                                                     : guess_index(log, model);
    sdg_free(index);
    return result;
}

static enum sdg_result read_preferences_of(const struct sdg_log *log, struct sdg_model *model, const char *base)
{
    struct sdg_json json;
    char *path = sdg_path_join(log, base, "model_index.json");
    if (!path)
        return SDG_ERROR_MEMORY;
    const bool there = sdg_files_kind(model->files, path) != SDG_PATH_MISSING;
    enum sdg_result result = there ? parse_index(log, model->files, path, &json) : SDG_OK;
    if (there && result == SDG_OK) {
        result = sdg_preferences_read(&json, &model->preferences);
        sdg_json_free(&json);
    }
    sdg_free(path);
    return result;
}

// An index without preferences has those of the base.
static enum sdg_result inherit_preferences(const struct sdg_log *log, struct sdg_model *model)
{
    for (int i = 0; i < model->base_count && !model->preferences.given; i++)
        SDG_TRY(read_preferences_of(log, model, model->bases[i]));
    return SDG_OK;
}

// Pictures are the same without this file.
static enum sdg_result read_known_words(const struct sdg_log *log, struct sdg_model *model)
{
    enum { FILE_LIMIT = 16 << 20 };
    char *path;
    if (!*model->preferences.known_words)
        return SDG_OK;
    SDG_TRY(sdg_folder_locate(log, model, model->preferences.known_words, &path));
    enum sdg_result result = SDG_OK;
    if (sdg_files_kind(model->files, path) == SDG_PATH_FILE)
        result = sdg_files_text(log, model->files, path, FILE_LIMIT, &model->known_words);
    else
        sdg_say(log, SDG_LOG_WARNING,
                "%s: there is no such file, but model_index.json names it (known_words of %s): words that the model "
                "does not know are not told",
                path, SDG_PREFERENCES_KEY);
    sdg_free(path);
    return result;
}

// diffusers' pipelines for Stable Diffusion 1.x and 2.x take a small size that was saved before 0.9 for a mistake.
static void correct_size(struct sdg_unet_config *unet, bool corrects)
{
    if (corrects && unet->before_0_9 && unet->sample_height == unet->sample_width && unet->sample_height < 64)
        unet->sample_height = unet->sample_width = 64;
}

enum sdg_result sdg_folder_open(const struct sdg_log *log, struct sdg_model *model)
{
    bool index;
    SDG_TRY(open_own_index(log, model, &index));
    SDG_TRY(sdg_folder_unet(log, model));
    if (!index)
        SDG_TRY(open_base_index(log, model));
    SDG_TRY(inherit_preferences(log, model));
    SDG_TRY(read_known_words(log, model));
    correct_size(&model->unet_config, model->corrects_scheduler);
    SDG_TRY(open_vae(log, model));
    SDG_TRY(open_component(log, model, "text_encoder", SDG_PART_TEXT, 0));
    if (model->text_encoders == 2)
        SDG_TRY(open_component(log, model, "text_encoder_2", SDG_PART_TEXT, 1));
    SDG_TRY(open_scheduler(log, model));
    for (int i = 0; i < model->text_encoders; i++)
        SDG_TRY(open_tokenizer(log, model, i));
    return SDG_OK;
}
