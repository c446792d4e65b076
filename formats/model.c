#include "formats/model.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/model_parts.h"

#include <string.h>

static enum sdg_result check_latent(const struct sdg_log *log, const struct sdg_model *model)
{
    const struct sdg_unet_config *unet = &model->unet_config;
    const int latent = model->vae_config.latent_channels, in = unet->in_channels, out = unet->out_channels;
    const char *const path = model->path, *const kind = out == latent ? sdg_kinds_of_channels(in, latent) : NULL;
    if (out == latent && (in == latent || in == 2 * latent + 1))
        return SDG_OK;
    if (kind)
        return sdg_fail(
            log, SDG_ERROR_UNSUPPORTED,
            "%s: its UNet takes %d channels: it is %s, which is not supported; text-to-image models take %d, "
            "inpainting models %d",
            path, in, kind, latent, 2 * latent + 1);
    if (out == latent)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: its UNet takes %d channels, which is not supported; text-to-image models take %d, "
                        "inpainting models %d",
                        path, in, latent, 2 * latent + 1);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: the UNet (%d channels in, %d out) and the autoencoder%s%s (%d latent channels) do not belong "
                    "together",
                    path, in, out, model->vae_path ? " " : "", model->vae_path ? model->vae_path : "", latent);
}

// "cross_attention_dim (unet/config.json)" of a folder; a single file has no such file.
static const char *in_config(const struct sdg_model *model)
{
    return model->single_file ? "" : " (unet/config.json)";
}

// The vector beside the timestep: the second encoder's pooled embedding and six embedded numbers.
static enum sdg_result check_added(const struct sdg_log *log, const struct sdg_model *model)
{
    const struct sdg_unet_config *unet = &model->unet_config;
    const int numbers = unet->addition_time_embed_dim, pooled = model->text_config[1].projection_dim,
              got = unet->addition_embed_dim;
    if (model->text_encoders == 1 && got)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: the UNet is given a vector of %d numbers beside the prompt%s, but there is no second text "
                        "encoder: an unCLIP model or another one that is not supported",
                        model->path, got, in_config(model));
    if (model->text_encoders == 1 || (got && got == 6 * numbers + pooled))
        return SDG_OK;
    if (got && got == 5 * numbers + pooled)
        return sdg_fail(
            log, SDG_ERROR_UNSUPPORTED,
            "%s: the UNet is given an aesthetic score (requires_aesthetics_score), as the refiner of Stable "
            "Diffusion XL is, which is not supported",
            model->path);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: projection_class_embeddings_input_dim%s is %d, should be 6 x %d + projection_dim %d of the "
                    "second text encoder",
                    model->path, in_config(model), got, numbers, pooled);
}

static enum sdg_result check_fit(const struct sdg_log *log, const struct sdg_model *model)
{
    const struct sdg_unet_config *unet = &model->unet_config;
    const struct sdg_text_config *text = model->text_config;
    SDG_TRY(check_latent(log, model));
    int context = text[0].hidden + (model->text_encoders == 2 ? text[1].hidden : 0);
    if (unet->cross_attention_dim != context)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: cross_attention_dim of the UNet%s is %d, but the text encoder gives %d", model->path,
                        in_config(model), unet->cross_attention_dim, context);
    SDG_TRY(check_added(log, model));
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

static enum sdg_result replace_vae(const struct sdg_log *log, struct sdg_model *model)
{
    const struct sdg_vae_config own = model->vae_config;
    return sdg_autoencoder_open(log, model->files, model->vae_path, &own, &model->vae_config, &model->vae);
}

static enum sdg_result missing_in_list(const struct sdg_log *log, const struct sdg_files *files, const char *path)
{
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: is neither a file nor a folder of the %zu files that were given%s%.200s",
                    path, files->count, files->count ? ", such as " : "", files->count ? files->sorted[0]->name : "");
}

// Nothing is there. It may be an address, or a name as Hugging Face's hub has them: OWNER/NAME.
static enum sdg_result missing_model(const struct sdg_log *log, const struct sdg_files *files, const char *path)
{
    if (files->listed && *path != '/')
        return missing_in_list(log, files, path);
    const char *const slash = strchr(path, '/'), *const end = path + strlen(path);
    const bool address = strncmp(path, "https://", 8) == 0 || strncmp(path, "http://", 7) == 0;
    const bool name = slash && slash > path && *path != '.' && *path != '~' && slash + 1 < end &&
        !strchr(slash + 1, '/') && !strchr(slash + 1, '.');
    if (address)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is an address, models are files and folders here: download it first",
                        path);
    if (name)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: there is no such model file or folder; a model of this name on Hugging Face has to be "
                        "downloaded first: hf download %s --local-dir FOLDER",
                        path, path);
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: there is no such model file or folder", path);
}

static enum sdg_result fill_model(const struct sdg_log *log, const char *path, struct sdg_model *model)
{
    const struct sdg_files *const files = model->files;
    if (sdg_files_kind(files, path) == SDG_PATH_MISSING && !sdg_files_is_dangling(files, path))
        return missing_model(log, files, path);
    SDG_TRY(sdg_hub_resolve(log, files, path, &model->path));
    if (sdg_files_kind(files, path) == SDG_PATH_FOLDER) {
        SDG_TRY(sdg_folder_open(log, model));
    } else {
        SDG_TRY(sdg_check_file_kind(log, files, path));
        SDG_TRY(sdg_single_file_open(log, model));
    }
    if (model->vae_path)
        SDG_TRY(replace_vae(log, model));
    model->kind = kind_of(model);
    return check_fit(log, model);
}

static enum sdg_result open_model(const struct sdg_log *log, const char *path, const struct sdg_model_params *params,
                                  struct sdg_model *model)
{
    struct sdg_files files;
    model->zeros_for_no_prompt = true;
    model->no_environment = params->no_environment;
    if (params->tokenizer && !(model->tokenizer_path = sdg_strdup(log, params->tokenizer)))
        return SDG_ERROR_MEMORY;
    if (params->vae && !(model->vae_path = sdg_strdup(log, params->vae)))
        return SDG_ERROR_MEMORY;
    SDG_TRY(sdg_files_init(log, params->files, params->file_count, params->no_mmap, &files));
    model->files = &files;
    const enum sdg_result result = fill_model(log, path, model);
    model->files = NULL;
    sdg_files_clear(&files);
    return result;
}

enum sdg_result sdg_model_open_params(const struct sdg_log *log, const char *path,
                                      const struct sdg_model_params *params, struct sdg_model **out)
{
    struct sdg_model *model = sdg_alloc(log, 1, sizeof *model, "a model");
    if (!model)
        return SDG_ERROR_MEMORY;
    const enum sdg_result result = open_model(log, path, params, model);
    if (result == SDG_OK)
        *out = model;
    else
        sdg_model_close(&model);
    return result;
}

enum sdg_result sdg_model_open(const struct sdg_log *log, const char *path, struct sdg_model **out)
{
    return sdg_model_open_params(log, path, &(struct sdg_model_params){0}, out);
}

// Zero terminal SNR makes sense where v is predicted, and only if sampling begins at the last level (Lin et al. 2023).
// Stable Diffusion 2.x predicts v at 768 pixels and noise at 512.
void sdg_model_set_prediction(struct sdg_model *model, enum sdg_prediction prediction)
{
    const bool v = prediction == SDG_PREDICT_V;
    model->scheduler.prediction = prediction;
    if (!model->single_file)
        return;
    model->scheduler.rescale_betas_zero_snr = v && model->zero_terminal_snr;
    model->scheduler.spacing = v && model->zero_terminal_snr ? SDG_SPACING_TRAILING : SDG_SPACING_LEADING;
    if (model->text_encoders == 1 && model->text_config[0].activation == SDG_TEXT_GELU)
        model->unet_config.sample_height = model->unet_config.sample_width = v ? 96 : 64;
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
    sdg_free(model->known_words);
    for (int i = 0; i < model->base_count; i++)
        sdg_free(model->bases[i]);
    sdg_free(model->vae_path);
    sdg_free(model->path);
    sdg_free(model);
}
