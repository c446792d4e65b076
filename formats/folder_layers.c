// Model folders that hold only what differs from another one, their base, which may do so in turn. Of a folder's own
// files and those of its bases the first found counts; of a component's tensors, wherever they lie in the folders.
#include "base/file.h"
#include "base/memory.h"
#include "formats/model_parts.h"
#include "formats/quantized_folder.h"

#include <stdio.h>
#include <string.h>

// ---- files ----

static const char *layer_path(const struct sdg_model *model, int layer)
{
    return layer ? model->bases[layer - 1] : model->path;
}

enum sdg_result sdg_folder_locate(const struct sdg_log *log, const struct sdg_model *model, const char *name,
                                  char **out)
{
    for (int layer = 0;; layer++) {
        char *path = sdg_path_join(log, layer_path(model, layer), name);
        if (!path || layer == model->base_count || sdg_files_kind(model->files, path) != SDG_PATH_MISSING) {
            *out = path;
            return path ? SDG_OK : SDG_ERROR_MEMORY;
        }
        sdg_free(path);
    }
}

enum sdg_result sdg_folder_component(const struct sdg_log *log, const struct sdg_model *model, const char *name,
                                     char **out)
{
    char *config = sdg_path_join(log, name, "config.json"), *path = NULL;
    enum sdg_result result = config ? sdg_folder_locate(log, model, config, &path) : SDG_ERROR_MEMORY;
    sdg_free(config);
    if (result != SDG_OK)
        return result;
    if (sdg_files_kind(model->files, path) == SDG_PATH_MISSING) {
        sdg_free(path);
        return sdg_folder_locate(log, model, name, out);
    }
    path[strlen(path) - strlen("/config.json")] = 0;
    *out = path;
    return SDG_OK;
}

// ---- the bases ----

static enum sdg_result read_unet_config(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                        struct sdg_unet_config *out)
{
    char *unet = sdg_path_join(log, folder, "unet"), *path, *text;
    if (!unet)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_folder_config(log, files, unet, &path, &text);
    if (result == SDG_OK) {
        result = sdg_unet_config_parse(log, path, text, out);
        sdg_free(text);
        sdg_free(path);
    }
    sdg_free(unet);
    return result;
}

static enum sdg_result check_is_model(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                      const char *named, const char *base)
{
    char *unet = sdg_path_join(log, base, "unet");
    if (!unet)
        return SDG_ERROR_MEMORY;
    const bool good = sdg_files_kind(files, base) == SDG_PATH_FOLDER && sdg_files_kind(files, unet) == SDG_PATH_FOLDER;
    sdg_free(unet);
    return good ? SDG_OK
                : sdg_fail(log, SDG_ERROR_INPUT,
                           "%s: stores only what differs from the model \"%s\" (base_path in unet/config.json), but %s "
                           "is no model folder: put that model there, or correct base_path",
                           folder, named, base);
}

// The base that the folder at `path` names, and its configuration, which goes to configs[model->base_count].
static enum sdg_result add_base(const struct sdg_log *log, struct sdg_model *model, const char *path, const char *named,
                                struct sdg_unet_config *configs)
{
    if (model->base_count == SDG_BASES_MAX)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: its base has a base, and so on, more than %d times: do they lead back to themselves? (the "
                        "last is base_path \"%s\" in unet/config.json of %s)",
                        model->path, SDG_BASES_MAX, named, path);
    char *base = *named == '/' ? sdg_strdup(log, named) : sdg_path_join(log, path, named);
    if (!base)
        return SDG_ERROR_MEMORY;
    model->bases[model->base_count++] = base;
    SDG_TRY(check_is_model(log, model->files, path, named, base));
    struct sdg_unet_config *config = &configs[model->base_count];
    SDG_TRY(read_unet_config(log, model->files, base, config));
    if (config->quantization.present)
        return sdg_fail(
            log, SDG_ERROR_INPUT,
            "%s: base_path \"%s\" (unet/config.json) leads to %s, which is quantized itself (%s), not a full-precision "
            "model",
            path, named, base, config->quantization.scheme);
    return SDG_OK;
}

// ---- tensors ----

// Puts the tensors that folder `name` of a layer has over *view, those of the layers below, and makes them *view. The
// layer without a base has to have them, others may.
static enum sdg_result put_over(const struct sdg_log *log, const struct sdg_model *model, int layer, const char *name,
                                enum sdg_part part, struct sdg_tensors **view)
{
    char *folder = sdg_path_join(log, layer_path(model, layer), name);
    if (!folder)
        return SDG_ERROR_MEMORY;
    struct sdg_tensors *own = NULL;
    enum sdg_result result = *view ? sdg_folder_differences(log, model->files, folder, part, &own)
                                   : sdg_folder_weights(log, model->files, folder, part, &own);
    if (result == SDG_OK && !own)
        result = sdg_tensors_set_bare_folder(log, *view, folder);
    sdg_free(folder);
    if (result == SDG_OK && own && *view)
        result = sdg_tensors_overlay(log, own, view);
    if (result == SDG_OK && own)
        *view = own;
    else
        sdg_tensors_destroy(&own);
    return result;
}

static enum sdg_result has_folder(const struct sdg_log *log, const struct sdg_model *model, int layer, const char *name,
                                  bool *there)
{
    char *folder = sdg_path_join(log, layer_path(model, layer), name);
    if (!folder)
        return SDG_ERROR_MEMORY;
    *there = sdg_files_kind(model->files, folder) == SDG_PATH_FOLDER;
    sdg_free(folder);
    return SDG_OK;
}

enum sdg_result sdg_folder_part(const struct sdg_log *log, const struct sdg_model *model, const char *name,
                                enum sdg_part part, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    enum sdg_result result = SDG_OK;
    for (int layer = model->base_count; result == SDG_OK && layer >= 0; layer--) {
        bool there = false;
        result = has_folder(log, model, layer, name, &there);
        if (result == SDG_OK && there)
            result = put_over(log, model, layer, name, part, &view);
    }
    if (result != SDG_OK)
        sdg_tensors_destroy(&view);
    *out = view;
    return result;
}

// ---- the UNet ----

// A self-attention in whose place something else mixes the tokens.
static bool is_replaced(const char *name)
{
    return strstr(name, ".attn1.") != NULL;
}

// Whether what lies below is what the folder at `path` was made for.
static enum sdg_result check_base(const struct sdg_log *log, const char *path, const char *wanted,
                                  const struct sdg_tensors *base)
{
    char found[17];
    sdg_tensors_fingerprint(base, found);
    if (strcmp(found, wanted) == 0)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: its tensors have the fingerprint %s, but base of %s in %s/unet/config.json is %s: this is not "
                    "the model that the differences were made for",
                    sdg_tensors_path(base), found, SDG_PREFERENCES_KEY, path, wanted);
}

// The tensors of a full-precision layer over those of its base, *view.
static enum sdg_result put_full_over(const struct sdg_log *log, const struct sdg_model *model, int layer,
                                     const struct sdg_unet_config *config, struct sdg_tensors **view)
{
    const bool differs = *view, replaced = config->mamba.d_state != 0;
    if (differs)
        SDG_TRY(check_base(log, layer_path(model, layer), config->base.fingerprint, *view));
    // Of differences, those that the layer itself has stay: they are to be found unused.
    if (replaced && differs)
        sdg_tensors_drop(*view, is_replaced);
    SDG_TRY(put_over(log, model, layer, "unet", SDG_PART_UNET, view));
    if (replaced && !differs)
        sdg_tensors_drop(*view, is_replaced);
    return SDG_OK;
}

// A quantized file says what it is, so that it has to be there.
static enum sdg_result put_quantized_over(const struct sdg_log *log, const struct sdg_model *model,
                                          struct sdg_tensors **view)
{
    struct sdg_tensors *own = NULL;
    char *config = sdg_path_join(log, model->path, SDG_QUANTIZED_CONFIG_FILE),
         *folder = sdg_path_join(log, model->path, "unet");
    enum sdg_result result =
        config && folder ? sdg_folder_weights(log, model->files, folder, SDG_PART_UNET, &own) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_quantized_finish(log, &model->unet_config.quantization, config, own, view);
    sdg_free(folder);
    sdg_free(config);
    if (result == SDG_OK)
        *view = own;
    else
        sdg_tensors_destroy(&own);
    return result;
}

// `configs`: of the model, then, filled here, of its bases.
static enum sdg_result find_bases(const struct sdg_log *log, struct sdg_model *model, struct sdg_unet_config *configs)
{
    for (const char *named; *(named = configs[model->base_count].base.path);)
        SDG_TRY(add_base(log, model, layer_path(model, model->base_count), named, configs));
    return SDG_OK;
}

enum sdg_result sdg_folder_bases(const struct sdg_log *log, struct sdg_model *model)
{
    struct sdg_unet_config *configs = sdg_alloc(log, SDG_BASES_MAX + 1, sizeof *configs, "configurations");
    if (!configs)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = read_unet_config(NULL, model->files, model->path, configs);
    result = result == SDG_OK ? find_bases(log, model, configs) : result == SDG_ERROR_MEMORY ? result : SDG_OK;
    sdg_free(configs);
    return result;
}

static enum sdg_result open_layers(const struct sdg_log *log, struct sdg_model *model, struct sdg_unet_config *configs)
{
    SDG_TRY(find_bases(log, model, configs));
    for (int layer = model->base_count; layer > 0; layer--)
        SDG_TRY(put_full_over(log, model, layer, &configs[layer], &model->unet));
    return configs[0].quantization.present ? put_quantized_over(log, model, &model->unet)
                                           : put_full_over(log, model, 0, &configs[0], &model->unet);
}

enum sdg_result sdg_folder_unet(const struct sdg_log *log, struct sdg_model *model)
{
    struct sdg_unet_config *configs = sdg_alloc(log, SDG_BASES_MAX + 1, sizeof *configs, "configurations");
    if (!configs)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = read_unet_config(log, model->files, model->path, configs);
    if (result == SDG_OK) {
        model->unet_config = *configs;
        result = open_layers(log, model, configs);
    }
    sdg_free(configs);
    return result;
}
