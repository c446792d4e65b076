// Original Stable Diffusion checkpoints: all networks in one safetensors file, under LDM's names, without
// configurations.
#include "base/memory.h"
#include "formats/declared.h"
#include "formats/infer.h"
#include "formats/model_parts.h"

#include <stdlib.h>
#include <string.h>

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

// A layer of a text encoder that is stored, but not used.
static bool is_cut(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name)
{
    static const char stem[] = "text_model.encoder.layers.";
    return part == SDG_PART_TEXT && layout->text_layers && starts(name, stem) &&
        strtol(name + sizeof stem - 1, NULL, 10) >= layout->text_layers;
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
        if (!starts(tensor->name, prefix) || !sdg_name_canonical(part, tensor->name + strlen(prefix), plain) ||
            is_cut(part, layout, plain))
            continue;
        if (sdg_name_from_ldm(part, layout, plain, name))
            result = sdg_add_canonical(log, view, part, tensor, name);
        else
            result = sdg_tensors_add_unplaced(log, view, tensor->name, strlen(prefix),
                                              sdg_name_is_in_ldm_module(part, layout, plain));
    }
    return sdg_finish_inferred(log, result, view, out);
}

// ---- text encoders ----

static enum sdg_result open_clip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                 const char *prefix, enum sdg_encoder encoder, int i)
{
    SDG_TRY(sdg_infer_text(log, source, prefix, encoder, &model->text_config[i]));
    const struct sdg_ldm_layout layout = {.text_layers = model->text_config[i].layers};
    return sdg_ldm_open(log, source, SDG_PART_TEXT, prefix, &layout, &model->text[i]);
}

static enum sdg_result open_openclip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                     const char *prefix, int i)
{
    SDG_TRY(sdg_infer_openclip(log, source, prefix, i == 0, &model->text_config[i]));
    return sdg_openclip_open(log, source, prefix, &model->text_config[i], i == 0, &model->text[i]);
}

static enum sdg_result open_xl_encoders(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                        const char *first)
{
    static const char second[] = "conditioner.embedders.1.model.", renamed[] = "conditioner.embedders.1.transformer.";
    model->text_encoders = 2;
    SDG_TRY(open_clip(log, model, source, first, SDG_ENCODER_CLIP_XL, 0));
    if (sdg_source_has_prefix(source, renamed))
        return open_clip(log, model, source, renamed, SDG_ENCODER_OPENCLIP_XL, 1);
    return open_openclip(log, model, source, second, 1);
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

// Tools that go by way of diffusers write the encoder of Stable Diffusion 2.x under transformers' names, where only the
// UNet's projections and the width tell it from that of 1.x.
static enum sdg_result open_text_encoders(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    static const char xl_first[] = "conditioner.embedders.0.transformer.";
    const char *const openclip = sdg_ldm_prefix(SDG_PART_OPENCLIP), *const clip = sdg_ldm_prefix(SDG_PART_TEXT);
    const struct sdg_unet_config *unet = &model->unet_config;
    model->text_encoders = 1;
    if (sdg_source_has_prefix(source, xl_first))
        return open_xl_encoders(log, model, source, xl_first);
    if (unet->addition_embed_dim)
        return no_text_encoder(log, source);
    if (sdg_source_has_prefix(source, openclip))
        return open_openclip(log, model, source, openclip, 0);
    if (!sdg_source_has_prefix(source, clip))
        return no_text_encoder(log, source);
    return open_clip(log, model, source, clip, unet->linear_projection ? SDG_ENCODER_OPENCLIP : SDG_ENCODER_CLIP, 0);
}

// Names as trainers wrap them; said, since nobody meant to save them so.
static enum sdg_result unwrap(const struct sdg_log *log, struct sdg_source *source)
{
    const char *changed;
    SDG_TRY(sdg_source_shorten(log, source, sdg_name_unwrap, &changed));
    if (changed)
        sdg_say(log, SDG_LOG_INFO, "%s: tensors are named as a trainer wraps them; read as %.120s, ...", source->path,
                changed);
    return SDG_OK;
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
    SDG_TRY(unwrap(log, source));
    SDG_TRY(sdg_kinds_check_model(log, source));
    SDG_TRY(sdg_infer_unet(log, source, unet, &model->unet_config, &layout));
    SDG_TRY(sdg_ldm_open(log, source, SDG_PART_UNET, unet, &layout, &model->unet));
    SDG_TRY(open_text_encoders(log, model, source));
    SDG_TRY(sdg_declared_read(log, source, model));
    return open_vae(log, model, source);
}

enum sdg_result sdg_single_file_open(const struct sdg_log *log, struct sdg_model *model)
{
    struct sdg_source *source;
    SDG_TRY(sdg_source_open(log, model->files, model->path, &source));
    model->single_file = true;
    sdg_scheduler_config_default(&model->scheduler);
    enum sdg_result result = open_parts(log, model, source);
    sdg_source_drop(&source); // the views hold it
    for (int i = 0; result == SDG_OK && i < model->text_encoders; i++)
        result = sdg_find_file_tokenizer(log, model, i);
    return result;
}
