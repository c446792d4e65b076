// Original Stable Diffusion checkpoints: all networks in one safetensors file, under LDM's names, without
// configurations.
#include "base/file.h"
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

static bool has_prefix(const struct sdg_source *source, const char *prefix)
{
    size_t low = 0, high = source->count; // the first name that is not below the prefix
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(source->tensors[middle].name, prefix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < source->count && starts(source->tensors[low].name, prefix);
}

// The first row that fits says what the file is, if not a Stable Diffusion 1.x checkpoint.
static enum sdg_result check_layout(const struct sdg_log *log, const struct sdg_source *source)
{
    static const struct {
        const char *prefix, *what;
    } others[] = {
        {"conditioner.embedders.0.model.", "is a Stable Diffusion XL refiner, which is not supported"},
        {"model.diffusion_model.joint_blocks.", "is a Stable Diffusion 3 checkpoint, which is not supported"},
        {"model.diffusion_model.double_blocks.", "is a Flux checkpoint, which is not supported"},
        {"double_blocks.", "is a Flux model, which is not supported"},
        {"lora_", "is a LoRA, not a model; put it into the LoRA folder and name it in the prompt"},
        {"unet.down_blocks.", "is a LoRA or adapter, not a model"},
        {"control_model.", "is a ControlNet, not a model"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (has_prefix(source, others[i].prefix))
            return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: %s", source->path, others[i].what);
    if (has_prefix(source, sdg_ldm_prefix(SDG_PART_UNET)))
        return SDG_OK;
    if (has_prefix(source, "model_ema."))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: holds only the averaged weights of a training (EMA, model_ema...), not the model itself; "
                        "save it with the averages in place of the weights",
                        source->path);
    if (has_prefix(source, "input_blocks.") || has_prefix(source, "diffusion_model."))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: holds only a UNet, without text encoder and autoencoder; a whole checkpoint, or a model "
                        "folder, is needed",
                        source->path);
    if (has_prefix(source, "down_blocks.") || has_prefix(source, "text_model."))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is one component of a diffusers model; give the folder that holds model_index.json",
                        source->path);
    if (has_prefix(source, "decoder.") || has_prefix(source, sdg_ldm_prefix(SDG_PART_VAE)))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no UNet, it is only an autoencoder; a whole model is needed",
                        source->path);
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no Stable Diffusion checkpoint (no tensors named %s...)",
                    source->path, sdg_ldm_prefix(SDG_PART_UNET));
}

// A layer of a text encoder that is stored, but not used.
static bool is_cut(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name)
{
    static const char stem[] = "text_model.encoder.layers.";
    return part == SDG_PART_TEXT && layout->text_layers && starts(name, stem) &&
        strtol(name + sizeof stem - 1, NULL, 10) >= layout->text_layers;
}

// One part of the checkpoint as a view under diffusers' names.
static enum sdg_result open_part(const struct sdg_log *log, struct sdg_source *source, enum sdg_part part,
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

// ---- text encoders ----

static enum sdg_result open_clip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                 const char *prefix, enum sdg_encoder encoder, int i)
{
    SDG_TRY(sdg_infer_text(log, source, prefix, encoder, &model->text_config[i]));
    const struct sdg_ldm_layout layout = {.text_layers = model->text_config[i].layers};
    return open_part(log, source, SDG_PART_TEXT, prefix, &layout, &model->text[i]);
}

static enum sdg_result open_openclip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                     const char *prefix, int i)
{
    SDG_TRY(sdg_infer_openclip(log, source, prefix, i == 0, &model->text_config[i]));
    return sdg_openclip_open(log, source, prefix, &model->text_config[i], i == 0, &model->text[i]);
}

// OpenCLIP's tokenizer pads with the token 0.
static enum sdg_result pad_with_zero(const struct sdg_log *log, struct sdg_model *model, int i)
{
    model->pad_token[i] = sdg_strdup(log, "!");
    return model->pad_token[i] ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result open_xl_encoders(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                        const char *first)
{
    static const char second[] = "conditioner.embedders.1.model.", renamed[] = "conditioner.embedders.1.transformer.";
    model->text_encoders = 2;
    model->vae_config.scaling_factor = 0.13025f;
    SDG_TRY(open_clip(log, model, source, first, SDG_ENCODER_CLIP_XL, 0));
    if (has_prefix(source, renamed))
        SDG_TRY(open_clip(log, model, source, renamed, SDG_ENCODER_OPENCLIP_XL, 1));
    else
        SDG_TRY(open_openclip(log, model, source, second, 1));
    return pad_with_zero(log, model, 1);
}

static enum sdg_result no_text_encoder(const struct sdg_log *log, const struct sdg_model *model,
                                       const struct sdg_source *source)
{
    const bool xl = model->unet_config.addition_embed_dim > 0;
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: has a UNet but no %stext encoder%s: it holds only a part of a model (as files for ComfyUI's "
                    "\"diffusion_models\" do); a whole checkpoint, or a model folder, is needed",
                    source->path, xl && has_prefix(source, "conditioner.embedders.1.") ? "first " : "",
                    xl ? " (conditioner.embedders.0.transformer...)" : " (cond_stage_model...)");
}

// Tools that go by way of diffusers write the encoder of Stable Diffusion 2.x under transformers' names, where only the
// UNet's projections and the width tell it from that of 1.x.
static enum sdg_result open_text_encoders(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    static const char xl_first[] = "conditioner.embedders.0.transformer.";
    const char *const openclip = sdg_ldm_prefix(SDG_PART_OPENCLIP), *const clip = sdg_ldm_prefix(SDG_PART_TEXT);
    const struct sdg_unet_config *unet = &model->unet_config;
    model->text_encoders = 1;
    if (has_prefix(source, xl_first))
        return open_xl_encoders(log, model, source, xl_first);
    if (unet->addition_embed_dim)
        return no_text_encoder(log, model, source);
    if (has_prefix(source, openclip))
        SDG_TRY(open_openclip(log, model, source, openclip, 0));
    else if (!has_prefix(source, clip))
        return no_text_encoder(log, model, source);
    else if (!unet->linear_projection)
        return open_clip(log, model, source, clip, SDG_ENCODER_CLIP, 0);
    else
        SDG_TRY(open_clip(log, model, source, clip, SDG_ENCODER_OPENCLIP, 0));
    return pad_with_zero(log, model, 0);
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

static enum sdg_result open_parts(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    const char *const unet = sdg_ldm_prefix(SDG_PART_UNET), *const vae = sdg_ldm_prefix(SDG_PART_VAE);
    struct sdg_ldm_layout layout = {0};
    SDG_TRY(unwrap(log, source));
    SDG_TRY(check_layout(log, source));
    SDG_TRY(sdg_infer_unet(log, source, unet, &model->unet_config, &layout));
    SDG_TRY(sdg_infer_vae(log, source, vae, &model->vae_config, &layout));
    SDG_TRY(open_part(log, source, SDG_PART_UNET, unet, &layout, &model->unet));
    SDG_TRY(open_part(log, source, SDG_PART_VAE, vae, &layout, &model->vae));
    SDG_TRY(open_text_encoders(log, model, source));
    return sdg_declared_read(log, source, model);
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

// The weights file of a diffusers folder, without the folder: enough for AutoencoderTiny, whose programs are given just
// that file.
static enum sdg_result open_tiny_vae(const struct sdg_log *log, struct sdg_source *source,
                                     struct sdg_vae_config *config, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    SDG_TRY(sdg_infer_tiny_vae(log, source, config));
    SDG_TRY(sdg_tensors_new(log, source->path, &view));
    enum sdg_result result = sdg_tensors_use(log, view, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++)
        result = sdg_tensors_add(log, view, &source->tensors[i], source->tensors[i].name);
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

static enum sdg_result open_vae(const struct sdg_log *log, struct sdg_source *source, float scaling_factor,
                                struct sdg_vae_config *config, struct sdg_tensors **out)
{
    struct sdg_ldm_layout layout = {0};
    const char *prefix = sdg_ldm_prefix(SDG_PART_VAE);
    if (has_prefix(source, "decoder.layers."))
        return open_tiny_vae(log, source, config, out);
    if (has_prefix(source, "decoder.up_blocks."))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is the weights file of a diffusers autoencoder; give its folder, with config.json",
                        source->path);
    if (!has_prefix(source, prefix))
        prefix = "";
    SDG_TRY(sdg_infer_vae(log, source, prefix, config, &layout));
    if (scaling_factor > 0)
        config->scaling_factor = scaling_factor;
    return open_part(log, source, SDG_PART_VAE, prefix, &layout, out);
}

enum sdg_result sdg_single_file_vae(const struct sdg_log *log, const char *path, bool copy, float scaling_factor,
                                    struct sdg_vae_config *config, struct sdg_tensors **out)
{
    struct sdg_source *source;
    SDG_TRY(sdg_check_file_kind(log, path));
    SDG_TRY(sdg_source_open(log, path, copy, &source));
    enum sdg_result result = open_vae(log, source, scaling_factor, config, out);
    sdg_source_drop(&source); // the view holds it
    return result;
}
