#include "formats/model.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/model_parts.h"

#include <string.h>

// The networks have to fit together: channels of the latent, width of the context.
static enum sdg_result check_latent(const struct sdg_log *log, const struct sdg_model *model, const char *path)
{
    const struct sdg_unet_config *unet = &model->unet_config;
    int latent = model->vae_config.latent_channels;
    if (unet->out_channels == latent && (unet->in_channels == latent || unet->in_channels == 2 * latent + 1))
        return SDG_OK;
    return sdg_fail(
        log, SDG_ERROR_INPUT,
        "%s: the UNet (unet/config.json) has %d channels in and %d out, which does not fit an autoencoder of %d "
        "latent channels",
        path, unet->in_channels, unet->out_channels, latent);
}

static enum sdg_result check_fit(const struct sdg_log *log, const struct sdg_model *model)
{
    const struct sdg_unet_config *unet = &model->unet_config;
    const struct sdg_text_config *text = model->text_config;
    SDG_TRY(check_latent(log, model, model->path));
    int context = text[0].hidden + (model->text_encoders == 2 ? text[1].hidden : 0);
    if (unet->cross_attention_dim != context)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: cross_attention_dim of the UNet (unet/config.json) is %d, but the text encoder gives %d",
                        model->path, unet->cross_attention_dim, context);
    if (model->text_encoders == 1) {
        if (unet->addition_embed_dim)
            return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                            "%s: addition_embed_type text_time (unet/config.json) without a second text encoder is "
                            "not supported",
                            model->path);
        return SDG_OK;
    }
    if (unet->in_channels != unet->out_channels)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: inpainting models with two text encoders are not supported",
                        model->path);
    if (!unet->addition_embed_dim ||
        unet->addition_embed_dim != 6 * unet->addition_time_embed_dim + text[1].projection_dim)
        return sdg_fail(
            log, SDG_ERROR_INPUT,
            "%s: projection_class_embeddings_input_dim (unet/config.json) is %d, should be 6 x %d + projection_dim "
            "%d of the second text encoder",
            model->path, unet->addition_embed_dim, unet->addition_time_embed_dim, text[1].projection_dim);
    return SDG_OK;
}

static enum sdg_model_kind kind_of(const struct sdg_model *model)
{
    if (model->text_encoders == 2)
        return SDG_MODEL_SDXL;
    if (model->unet_config.in_channels != model->unet_config.out_channels)
        return SDG_MODEL_INPAINT;
    if (model->unet_config.time_cond_proj_dim || strcmp(model->scheduler.class_name, "LCMScheduler") == 0)
        return SDG_MODEL_LCM;
    return SDG_MODEL_SD;
}

static enum sdg_result fill_model(const struct sdg_log *log, const char *path, struct sdg_model *model)
{
    model->path = sdg_strdup(log, path);
    if (!model->path)
        return SDG_ERROR_MEMORY;
    switch (sdg_path_kind(path)) {
    case SDG_PATH_MISSING: return sdg_fail(log, SDG_ERROR_INPUT, "%s: there is no such model file or folder", path);
    case SDG_PATH_FOLDER: SDG_TRY(sdg_folder_open(log, model)); break;
    default: SDG_TRY(sdg_check_file_kind(log, path)); SDG_TRY(sdg_single_file_open(log, model));
    }
    model->kind = kind_of(model);
    return check_fit(log, model);
}

enum sdg_result sdg_model_open_params(const struct sdg_log *log, const char *path,
                                      const struct sdg_model_params *params, struct sdg_model **out)
{
    struct sdg_model *model = sdg_alloc(log, 1, sizeof *model, "a model");
    if (!model)
        return SDG_ERROR_MEMORY;
    model->no_mmap = params && params->no_mmap;
    model->zeros_for_no_prompt = true;
    enum sdg_result result = SDG_OK;
    if (params && params->tokenizer && !(model->tokenizer_path = sdg_strdup(log, params->tokenizer)))
        result = SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = fill_model(log, path, model);
    if (result != SDG_OK) {
        sdg_model_close(&model);
        return result;
    }
    *out = model;
    return SDG_OK;
}

enum sdg_result sdg_model_open(const struct sdg_log *log, const char *path, struct sdg_model **out)
{
    return sdg_model_open_params(log, path, NULL, out);
}

static enum sdg_result open_vae_folder(const struct sdg_log *log, const char *folder, bool copy,
                                       struct sdg_vae_config *config, struct sdg_tensors **tensors)
{
    char *path, *text;
    SDG_TRY(sdg_folder_config(log, folder, &path, &text));
    enum sdg_result result = sdg_vae_config_parse(log, path, text, config);
    sdg_free(text);
    sdg_free(path);
    return result == SDG_OK ? sdg_folder_weights(log, folder, SDG_PART_VAE, copy, tensors) : result;
}

enum sdg_result sdg_model_replace_vae(const struct sdg_log *log, struct sdg_model *model, const char *path)
{
    struct sdg_vae_config config = {0};
    struct sdg_tensors *tensors = NULL;
    if (sdg_path_kind(path) == SDG_PATH_MISSING)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: there is no such autoencoder file or folder", path);
    if (sdg_path_kind(path) == SDG_PATH_FOLDER)
        SDG_TRY(open_vae_folder(log, path, model->no_mmap, &config, &tensors));
    else
        SDG_TRY(sdg_single_file_vae(log, path, model->no_mmap,
                                    model->vae_config.tiny ? 0 : model->vae_config.scaling_factor, &config, &tensors));
    struct sdg_vae_config before = model->vae_config;
    model->vae_config = config;
    enum sdg_result result = check_latent(log, model, path);
    if (result != SDG_OK) {
        model->vae_config = before;
        sdg_tensors_destroy(&tensors);
        return result;
    }
    sdg_tensors_destroy(&model->vae);
    model->vae = tensors;
    return SDG_OK;
}

void sdg_model_close(struct sdg_model **handle)
{
    struct sdg_model *model = *handle;
    *handle = NULL;
    if (!model)
        return;
    sdg_tensors_destroy(&model->unet);
    sdg_tensors_destroy(&model->vae);
    for (int i = 0; i < 2; i++)
        sdg_tensors_destroy(&model->text[i]);
    sdg_model_drop_tokenizers(model);
    sdg_free(model->tokenizer_path);
    sdg_free(model->base_path);
    sdg_free(model->path);
    sdg_free(model);
}
