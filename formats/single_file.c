// Original Stable Diffusion checkpoints: all networks in one safetensors file, under LDM's names, without
// configurations.
#include "base/file.h"
#include "base/memory.h"
#include "formats/infer.h"
#include "formats/model_parts.h"

#include <string.h>

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

enum sdg_result sdg_ldm_open(const struct sdg_log *log, struct sdg_source *source, enum sdg_part part,
                             const char *prefix, const struct sdg_ldm_layout *layout, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    SDG_TRY(sdg_tensors_new(log, source->path, &view));
    enum sdg_result result = sdg_tensors_use(log, view, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++) {
        const struct sdg_tensor *tensor = &source->tensors[i];
        char plain[SDG_NAME_ROOM], name[SDG_NAME_ROOM];
        if (!starts(tensor->name, prefix) || !sdg_name_canonical(part, tensor->name + strlen(prefix), plain))
            continue;
        if (sdg_name_from_ldm(part, layout, plain, name))
            result = sdg_add_canonical(log, view, part, tensor, name);
        else
            result = sdg_tensors_add_unplaced(log, view, tensor->name, strlen(prefix),
                                              sdg_name_is_in_ldm_module(part, layout, plain));
    }
    if (result == SDG_OK)
        result = sdg_tensors_finish(log, view);
    if (result != SDG_OK) {
        sdg_tensors_destroy(&view);
        return result;
    }
    sdg_tensors_set_inferred(view);
    *out = view;
    return SDG_OK;
}

static enum sdg_result open_clip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                 const char *prefix)
{
    const struct sdg_ldm_layout none = {0};
    SDG_TRY(sdg_infer_text(log, source, prefix, &model->text_config[0]));
    return sdg_ldm_open(log, source, SDG_PART_TEXT, prefix, &none, &model->text[0]);
}

// OpenCLIP's tokenizer pads with the token 0.
static enum sdg_result open_openclip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                     const char *prefix, int i)
{
    SDG_TRY(sdg_infer_openclip(log, source, prefix, i == 0, &model->text_config[i]));
    SDG_TRY(sdg_openclip_open(log, source, prefix, &model->text_config[i], i == 0, &model->text[i]));
    model->pad_token[i] = sdg_strdup(log, "!");
    return model->pad_token[i] ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result no_text_encoder(const struct sdg_log *log, const struct sdg_source *source)
{
    if (sdg_source_has_prefix(source, "conditioner."))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: has no first text encoder (no tensors named conditioner.embedders.0.transformer.*), which "
                        "Stable Diffusion XL needs; give the complete checkpoint",
                        source->path);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: has no text encoder (no tensors named cond_stage_model.* or conditioner.*), it is only the "
                    "diffusion model; give the complete checkpoint",
                    source->path);
}

static enum sdg_result open_text_encoders(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    static const char xl_first[] = "conditioner.embedders.0.transformer.",
                      xl_second[] = "conditioner.embedders.1.model.";
    model->text_encoders = 1;
    if (sdg_source_has_prefix(source, xl_first)) {
        model->text_encoders = 2;
        SDG_TRY(open_clip(log, model, source, xl_first));
        return open_openclip(log, model, source, xl_second, 1);
    }
    const char *openclip = sdg_ldm_prefix(SDG_PART_OPENCLIP);
    if (!sdg_source_has_prefix(source, "cond_stage_model."))
        return no_text_encoder(log, source);
    if (!sdg_source_has_prefix(source, openclip))
        return open_clip(log, model, source, sdg_ldm_prefix(SDG_PART_TEXT));
    // The file does not say what the network predicts; of the published models the larger and more popular ones predict
    // v.
    model->scheduler.prediction = SDG_PREDICT_V;
    sdg_say(log, SDG_LOG_INFO, "%s: a Stable Diffusion 2.x checkpoint, assumed to predict v", source->path);
    return open_openclip(log, model, source, openclip, 0);
}

static enum sdg_result open_vae(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    const struct sdg_vae_config usual = sdg_default_vae_config(model->text_encoders);
    if (model->vae_path) {
        model->vae_config = usual;
        return SDG_OK;
    }
    SDG_TRY(sdg_autoencoder_of_checkpoint(log, source, &model->vae_config, &model->vae));
    if (!model->vae)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no autoencoder (no tensors named %s*): name one with --vae",
                        source->path, sdg_ldm_prefix(SDG_PART_VAE));
    model->vae_config.scaling_factor = usual.scaling_factor;
    model->vae_config.force_upcast = usual.force_upcast;
    return SDG_OK;
}

static enum sdg_result open_parts(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    const char *const unet = sdg_ldm_prefix(SDG_PART_UNET);
    struct sdg_ldm_layout layout = {0};
    SDG_TRY(sdg_kinds_check_model(log, source));
    SDG_TRY(sdg_infer_unet(log, source, unet, &model->unet_config, &layout));
    SDG_TRY(sdg_ldm_open(log, source, SDG_PART_UNET, unet, &layout, &model->unet));
    SDG_TRY(open_text_encoders(log, model, source));
    return open_vae(log, model, source);
}

// $SDGEN_TOKENIZER, then the file's folder, then a folder tokenizer in it, then the folder this build was told of. The
// order lets users replace what lies around.
static enum sdg_result find_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i)
{
    bool found = false;
    SDG_TRY(sdg_tokenizer_fallback(log, model, i));
    if (model->vocab_json[i])
        return SDG_OK;
    char *folder = sdg_path_folder(log, model->path), *inner = folder ? sdg_path_join(log, folder, "tokenizer") : NULL;
    enum sdg_result result = inner ? sdg_tokenizer_read(log, model, i, folder, &found) : SDG_ERROR_MEMORY;
    if (result == SDG_OK && !found)
        result = sdg_tokenizer_read(log, model, i, inner, &found);
#ifdef SDG_CLIP_TOKENIZER
    if (result == SDG_OK && !found)
        result = sdg_tokenizer_read(log, model, i, SDG_CLIP_TOKENIZER, &found);
#endif
    sdg_free(inner);
    sdg_free(folder);
    return result;
}

enum sdg_result sdg_single_file_open(const struct sdg_log *log, struct sdg_model *model)
{
    struct sdg_source *source;
    SDG_TRY(sdg_source_open(log, model->path, model->no_mmap, &source));
    model->single_file = true;
    sdg_scheduler_config_default(&model->scheduler);
    enum sdg_result result = open_parts(log, model, source);
    sdg_source_drop(&source); // the views hold it
    for (int i = 0; result == SDG_OK && i < model->text_encoders; i++)
        result = find_tokenizer(log, model, i);
    return result;
}
