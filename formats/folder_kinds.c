// Folders that are no model: what they are, and which path was meant.
#include "base/json.h"
#include "base/memory.h"
#include "formats/model_parts.h"

#include <stdio.h>
#include <string.h>

struct content {
    const struct sdg_log *log;
    const struct sdg_files *list;
    const char *folder;
    int files, weights, folders, models;
    bool lora;
    char weight[256], model[256]; // the first of each
};

static enum sdg_result add_file(void *user, const char *name)
{
    struct content *c = user;
    const size_t length = strlen(name), ending = strlen(".safetensors");
    c->files++;
    c->lora |= strcmp(name, "pytorch_lora_weights.safetensors") == 0 || strcmp(name, "adapter_config.json") == 0;
    if (length > ending && strcmp(name + length - ending, ".safetensors") == 0 && c->weights++ == 0)
        snprintf(c->weight, sizeof c->weight, "%s", name);
    return SDG_OK;
}

static enum sdg_result add_folder(void *user, const char *name)
{
    struct content *c = user;
    char *inner = sdg_path_join(c->log, c->folder, name),
         *index = inner ? sdg_path_join(c->log, inner, "model_index.json") : NULL,
         *snapshots = inner ? sdg_path_join(c->log, inner, "snapshots") : NULL;
    const bool failed = !index || !snapshots;
    c->folders++;
    if (!failed &&
        (sdg_files_kind(c->list, index) == SDG_PATH_FILE || sdg_files_kind(c->list, snapshots) == SDG_PATH_FOLDER) &&
        c->models++ == 0)
        snprintf(c->model, sizeof c->model, "%s", name);
    sdg_free(snapshots);
    sdg_free(index);
    sdg_free(inner);
    return failed ? SDG_ERROR_MEMORY : SDG_OK;
}

// The class that a config.json names: "UNet2DConditionModel", "CLIPTextModel", else its "model_type"; "" if there is no
// such file or name.
static void read_class(const struct sdg_files *files, const char *folder, char name[static 64])
{
    char *path = sdg_path_join(NULL, folder, "config.json"), *text = NULL;
    struct sdg_json json;
    *name = 0;
    if (path && sdg_files_kind(files, path) == SDG_PATH_FILE &&
        sdg_files_text(NULL, files, path, SDG_JSON_FILE_LIMIT, &text) == SDG_OK &&
        sdg_json_parse(NULL, path, text, &json) == SDG_OK) {
        const cJSON *found = sdg_json_get(&json, "_class_name");
        if (!found)
            found = cJSON_GetArrayItem(sdg_json_get(&json, "architectures"), 0);
        if (!found)
            found = sdg_json_get(&json, "model_type");
        if (cJSON_IsString(found))
            snprintf(name, 64, "%s", found->valuestring);
        sdg_json_free(&json);
    }
    sdg_free(text);
    sdg_free(path);
}

static bool is_component(const char *class_name)
{
    static const char *const classes[] = {"UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny", "CLIPTextModel",
                                          "CLIPTextModelWithProjection"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(class_name, classes[i]) == 0)
            return true;
    return false;
}

static enum sdg_result refuse_class(const struct sdg_log *log, const char *folder, const char *class_name)
{
    if (is_component(class_name))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is one component of a diffusers model (%s); give the folder above, which has "
                        "model_index.json",
                        folder, class_name);
    if (strcmp(class_name, "vim") == 0)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is a Vision Mamba classifier, which sdvim runs, no model that draws pictures", folder);
    if (strcmp(class_name, "ControlNetModel") == 0)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: is a ControlNet, which steers a model and is none; give the model that it was made for, "
                        "adding it is not in this version",
                        folder);
    return sdg_fail(
        log, SDG_ERROR_UNSUPPORTED,
        "%s: is a %s (config.json), no model that is supported; Stable Diffusion 1.x, 2.x and XL models are", folder,
        class_name);
}

static enum sdg_result refuse(const struct sdg_log *log, const struct content *c)
{
    if (c->lora)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: holds a LoRA, which changes a model and is none; give the model that it was made for, "
                        "adding it is not in this version",
                        c->folder);
    if (c->models == 1)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is not the model's folder but the one above; give %s/%s", c->folder,
                        c->folder, c->model);
    if (c->models > 1)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: holds %d models; give one of them, such as %s/%s", c->folder,
                        c->models, c->folder, c->model);
    if (c->weights == 1)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no diffusers model folder; give the file in it, %s/%s", c->folder,
                        c->folder, c->weight);
    if (c->weights > 1)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is no diffusers model folder; give one of the %d safetensors files in it, such as %s/%s",
                        c->folder, c->weights, c->folder, c->weight);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: is no diffusers model folder: neither model_index.json nor unet, vae and text_encoder with a "
                    "config.json each are there%s",
                    c->folder, c->files + c->folders ? "" : " (it is empty)");
}

enum sdg_result sdg_folder_refuse(const struct sdg_log *log, const struct sdg_files *files, const char *folder)
{
    struct content c = {.log = log, .list = files, .folder = folder};
    char class_name[64];
    read_class(files, folder, class_name);
    if (*class_name)
        return refuse_class(log, folder, class_name);
    SDG_TRY(sdg_files_list(log, files, folder, add_file, &c));
    SDG_TRY(sdg_files_list_folders(log, files, folder, add_folder, &c));
    return refuse(log, &c);
}
