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
    return open_part(log, source, SDG_PART_TEXT, prefix, &none, &model->text[0]);
}

static enum sdg_result open_openclip(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source,
                                     const char *prefix, int i)
{
    SDG_TRY(sdg_infer_openclip(log, source, prefix, i == 0, &model->text_config[i]));
    return sdg_openclip_open(log, source, prefix, &model->text_config[i], i == 0, &model->text[i]);
}

static enum sdg_result open_text_encoders(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    static const char xl_first[] = "conditioner.embedders.0.transformer.",
                      xl_second[] = "conditioner.embedders.1.model.";
    model->text_encoders = 1;
    if (has_prefix(source, xl_first)) {
        model->text_encoders = 2;
        model->vae_config.scaling_factor = 0.13025f;
        SDG_TRY(open_clip(log, model, source, xl_first));
        return open_openclip(log, model, source, xl_second, 1);
    }
    const char *openclip = sdg_ldm_prefix(SDG_PART_OPENCLIP);
    if (!has_prefix(source, openclip))
        return open_clip(log, model, source, sdg_ldm_prefix(SDG_PART_TEXT));
    // The file does not say what the network predicts; of the published models the larger and more popular ones predict
    // v.
    model->scheduler.prediction = SDG_PREDICT_V;
    sdg_say(log, SDG_LOG_INFO, "%s: a Stable Diffusion 2.x checkpoint, assumed to predict v", source->path);
    return open_openclip(log, model, source, openclip, 0);
}

static enum sdg_result open_parts(const struct sdg_log *log, struct sdg_model *model, struct sdg_source *source)
{
    const char *const unet = sdg_ldm_prefix(SDG_PART_UNET), *const vae = sdg_ldm_prefix(SDG_PART_VAE);
    struct sdg_ldm_layout layout = {0};
    SDG_TRY(check_layout(log, source));
    SDG_TRY(sdg_infer_unet(log, source, unet, &model->unet_config, &layout));
    SDG_TRY(sdg_infer_vae(log, source, vae, &model->vae_config, &layout));
    SDG_TRY(open_part(log, source, SDG_PART_UNET, unet, &layout, &model->unet));
    SDG_TRY(open_part(log, source, SDG_PART_VAE, vae, &layout, &model->vae));
    return open_text_encoders(log, model, source);
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
        result = sdg_find_file_tokenizer(log, model, i);
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
