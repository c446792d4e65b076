#include "formats/kinds.h"

#include "base/memory.h"
#include "formats/names.h"

#include <stdio.h>
#include <string.h>

// Whether `name` is as `pattern`, where '*' stands for any text.
static bool fits(const char *pattern, const char *name)
{
    const char *star = NULL, *from = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            from = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == 0;
}

static bool has(const struct sdg_source *source, const char *pattern)
{
    for (size_t i = 0; i < source->count; i++)
        if (fits(pattern, source->tensors[i].name))
            return true;
    return false;
}

// ---- the table ----

// A file is of the first kind all of whose patterns are names of its tensors.
struct kind {
    const char *patterns[3];
    const char *what;   // "X is ..."
    const char *advice; // what to do; NULL where there is nothing to do but to take another model
};

// The advice of all that changes a model.
#define CHANGES_A_MODEL "give the model that it was made for; adding it is not in this version"

// What a file may be that has a UNet of Stable Diffusion's build as well.
static const struct kind variants[] = {
    {{"conditioner.embedders.0.model.*"}, "a Stable Diffusion XL refiner", NULL},
    {{"noise_augmentor.*"}, "an unCLIP model, which draws variations of pictures", NULL},
    {{"embedder.model.visual.*"}, "an unCLIP model, which draws variations of pictures", NULL},
    {{"model.diffusion_model.*.time_stack.*"}, "Stable Video Diffusion, which makes videos", NULL},
    {{"model.diffusion_model.*.time_mixer*"}, "Stable Video Diffusion, which makes videos", NULL},
    {{"model.diffusion_model.*.motion_modules.*"}, "an AnimateDiff model, which makes videos", NULL},
    {{"cc_projection.weight"}, "a Zero123 model, which turns objects", NULL},
    {{"model.diffusion_model.*.fuser.*"}, "a GLIGEN model, which is given boxes", NULL},
};

// What a file is that has no such UNet.
static const struct kind others[] = {
    // Changes of a model.
    {{"*.hada_w1_a"}, "a LyCORIS (LoHa), which changes a model and is none", CHANGES_A_MODEL},
    {{"*.lokr_w*"}, "a LyCORIS (LoKr), which changes a model and is none", CHANGES_A_MODEL},
    {{"*.oft_blocks"}, "a LyCORIS (OFT), which changes a model and is none", CHANGES_A_MODEL},
    {{"*.oft_diag"}, "a LyCORIS (OFT), which changes a model and is none", CHANGES_A_MODEL},
    {{"lora_unet_*.diff"}, "a LyCORIS (full differences), which changes a model and is none", CHANGES_A_MODEL},
    {{"lora_controlnet"}, "a Control-LoRA, which steers a model and is none", CHANGES_A_MODEL},
    {{"lora_*"}, "a LoRA, which changes a model and is none", CHANGES_A_MODEL},
    {{"*.lora_down.weight"}, "a LoRA, which changes a model and is none", CHANGES_A_MODEL},
    {{"*.lora_A.*"}, "a LoRA, which changes a model and is none", CHANGES_A_MODEL},
    {{"*.lora.down.weight"}, "a LoRA, which changes a model and is none", CHANGES_A_MODEL},
    {{"*_lora.down.weight"}, "a LoRA, which changes a model and is none", CHANGES_A_MODEL},
    {{"*.lora_linear_layer.*"}, "a LoRA, which changes a model and is none", CHANGES_A_MODEL},
    {{"unet.conv_in.weight"},
     "the parts of a diffusers model in one file, under the names of their folders",
     "give the folder that holds model_index.json"},
    {{"unet.down_blocks.*"}, "a LoRA or an adapter, which changes a model and is none", CHANGES_A_MODEL},
    {{"image_proj.*"}, "an IP-Adapter, which steers a model and is none", CHANGES_A_MODEL},
    {{"ip_adapter.*"}, "an IP-Adapter, which steers a model and is none", CHANGES_A_MODEL},
    {{"image_proj_model.*"}, "an IP-Adapter, which steers a model and is none", CHANGES_A_MODEL},
    {{"control_model.*"}, "a ControlNet, which steers a model and is none", CHANGES_A_MODEL},
    {{"controlnet_cond_embedding.*"}, "a ControlNet, which steers a model and is none", CHANGES_A_MODEL},
    {{"controlnet_down_blocks.*"}, "a ControlNet, which steers a model and is none", CHANGES_A_MODEL},
    {{"input_hint_block.*"}, "a ControlNet, which steers a model and is none", CHANGES_A_MODEL},
    {{"controlnet_blocks.*"}, "a ControlNet of another family of models", NULL},
    {{"body.0.block1.weight"}, "a T2I-Adapter, which steers a model and is none", CHANGES_A_MODEL},
    {{"adapter.body.*"}, "a T2I-Adapter, which steers a model and is none", CHANGES_A_MODEL},
    {{"*motion_modules.*"}, "an AnimateDiff motion module, which changes a model and is none", CHANGES_A_MODEL},
    {{"emb_params"}, "an embedding (textual inversion), a word for a model and not one", CHANGES_A_MODEL},
    {{"string_to_param*"}, "an embedding (textual inversion), a word for a model and not one", CHANGES_A_MODEL},
    {{"clip_l", "clip_g"}, "an embedding (textual inversion), a word for a model and not one", CHANGES_A_MODEL},
    // Other programs' networks.
    {{"body.0.rdb1.conv1.weight"}, "an upscaler of finished pictures (ESRGAN), not a model that draws", NULL},
    {{"RRDB_trunk.*"}, "an upscaler of finished pictures (ESRGAN), not a model that draws", NULL},
    {{"model.1.sub.0.RDB1.*"}, "an upscaler of finished pictures (ESRGAN), not a model that draws", NULL},
    {{"layers.*.residual_group.*"}, "an upscaler of finished pictures (SwinIR, HAT), not a model that draws", NULL},
    {{"layers.*.blocks.*", "conv_first.weight"}, "an upscaler of finished pictures, not a model that draws", NULL},
    {{"body.0.weight", "body.1.weight", "body.2.weight"},
     "an upscaler of finished pictures (Real-ESRGAN), not a model that draws",
     NULL},
    {{"*.SelfAttention.q.weight"}, "a T5 text encoder, a part of models such as SD 3 and Flux", NULL},
    {{"*.layers.*.self_attn.q_proj.weight", "*model.norm.weight"},
     "a language model, at most the text encoder of newer models",
     NULL},
    // Newer diffusion models; under "model.diffusion_model." or without it.
    {{"*joint_blocks.0.*"}, "a Stable Diffusion 3 checkpoint", NULL},
    {{"*distilled_guidance_layer.*"}, "a Chroma checkpoint", NULL},
    {{"*txt_in.individual_token_refiner.*"}, "a HunyuanVideo checkpoint", NULL},
    {{"*double_stream_blocks.*"}, "a HiDream checkpoint", NULL},
    {{"*double_stream_modulation_img*"}, "a Flux.2 checkpoint", NULL},
    {{"*double_blocks.0.*"}, "a Flux checkpoint", NULL},
    {{"*single_transformer_blocks.0.*"}, "a Flux checkpoint", NULL},
    {{"*cap_pad_token"}, "a Z-Image checkpoint", NULL},
    {{"*cap_embedder.*"}, "a Z-Image or Lumina checkpoint", NULL},
    {{"*transformer_blocks.0.img_mod.*"}, "a Qwen-Image checkpoint", NULL},
    {{"*patchify_proj.*"}, "an LTX-Video checkpoint", NULL},
    {{"*blocks.0.cross_attn.*", "*patch_embedding.weight"}, "a Wan checkpoint", NULL},
    {{"*double_layers.0.*"}, "an AuraFlow checkpoint", NULL},
    {{"*clip_txt_mapper.*"}, "a Stable Cascade checkpoint", NULL},
    {{"*clip_mapper.*"}, "a Stable Cascade (Wuerstchen) checkpoint", NULL},
    {{"*net.blocks.0.*"}, "a Cosmos checkpoint", NULL},
    {{"*transformer_blocks.0.*", "*adaln_single.*"}, "a PixArt or Sana checkpoint", NULL},
    {{"*joint_transformer_blocks.*"}, "an AuraFlow checkpoint", NULL},
    {{"*transformer_blocks.0.norm1_context.*"}, "a Stable Diffusion 3 checkpoint", NULL},
    {{"model.diffusion_model.*"}, "a diffusion model of another build than Stable Diffusion 1.x, 2.x and XL", NULL},
};

// Parts of a model that could be read, and what is missing is said.
static const struct kind parts[] = {
    {{"model_ema.*"},
     "a checkpoint that holds only averaged weights (EMA, model_ema.*)",
     "give the checkpoint with the weights under model.diffusion_model.*, or convert it"},
    {{"first_stage_model.*", "input_blocks.*"},
     "a checkpoint whose UNet has lost the beginning of its tensors' names (model.diffusion_model.)",
     "give the original file"},
    {{"first_stage_model.*", "cond_stage_model.*"},
     "an autoencoder and a text encoder without a UNet (no tensors named model.diffusion_model.*)",
     "give the complete checkpoint"},
    {{"first_stage_model.*", "conditioner.*"},
     "an autoencoder and text encoders without a UNet (no tensors named model.diffusion_model.*)",
     "give the complete checkpoint"},
    {{"first_stage_model.*"}, "only an autoencoder and has no UNet", "give the whole model, and this with --vae"},
    {{"decoder.conv_in.weight"}, "only an autoencoder and has no UNet", "give the whole model, and this with --vae"},
    {{"decoder.layers.0.weight"},
     "only a tiny autoencoder (TAESD) and has no UNet",
     "give the whole model, and this with --taesd"},
    {{"1.weight", "3.conv.0.weight"},
     "only a tiny autoencoder (TAESD) and has no UNet",
     "give the whole model, and this with --taesd"},
    {{"0.weight", "1.conv.0.weight"},
     "only the encoder of a tiny autoencoder (TAESD) and has no UNet",
     "give the whole model, and the decoder with --taesd"},
    {{"down_blocks.*"}, "one component of a diffusers model, its UNet", "give the folder that holds model_index.json"},
    {{"input_blocks.*"}, "only a UNet, without text encoder and autoencoder", "give the whole model"},
    {{"diffusion_model.input_blocks.*"}, "only a UNet, without text encoder and autoencoder", "give the whole model"},
    {{"text_model.*", "vision_model.*"}, "a whole CLIP model, of which Stable Diffusion has the text half", NULL},
    {{"text_model.*"},
     "only a text encoder, one component of a model",
     "give the whole model; if it is a diffusers folder, the one that holds model_index.json"},
    {{"transformer.resblocks.*"}, "only a text encoder (OpenCLIP), one component of a model", "give the whole model"},
    {{"cond_stage_model.*"}, "only a text encoder, and has no UNet", "give the whole model"},
    {{"conditioner.*"}, "only text encoders, and has no UNet", "give the whole model"},
    {{"vision_model.*"}, "a CLIP vision encoder, which looks at pictures", NULL},
    {{"visual.*"}, "a CLIP vision encoder, which looks at pictures", NULL},
};

static const struct kind *find_kind(const struct sdg_source *source, const struct kind *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool all = true;
        for (int j = 0; all && j < 3 && kinds[i].patterns[j]; j++)
            all = has(source, kinds[i].patterns[j]);
        if (all)
            return &kinds[i];
    }
    return NULL;
}

// One or a few vectors and nothing else: diffusers' file of an embedding has the word as its tensor's name.
static bool is_embedding(const struct sdg_source *source)
{
    for (size_t i = 0; i < source->count; i++)
        if (source->tensors[i].rank < 1 || source->tensors[i].rank > 2 || strstr(source->tensors[i].name, ".weight"))
            return false;
    return source->count >= 1 && source->count <= 3;
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

// *result: of a file that is this instead of a model.
static const struct kind *find_other(const struct sdg_source *source, enum sdg_result *result)
{
    static const struct kind embedding = {
        {NULL}, "an embedding (textual inversion), a word for a model and not one", CHANGES_A_MODEL};
    const struct kind *kind = find_kind(source, others, COUNT(others));
    *result = SDG_ERROR_UNSUPPORTED;
    if (kind)
        return kind;
    kind = find_kind(source, parts, COUNT(parts));
    if (!kind)
        return is_embedding(source) ? &embedding : NULL;
    *result = SDG_ERROR_INPUT;
    return kind;
}

enum sdg_result sdg_kinds_check_model(const struct sdg_log *log, const struct sdg_source *source)
{
    const bool unet = has(source, "model.diffusion_model.input_blocks.*");
    enum sdg_result result = SDG_ERROR_UNSUPPORTED;
    const struct kind *kind = unet ? find_kind(source, variants, COUNT(variants)) : find_other(source, &result);
    if (kind && kind->advice)
        return sdg_fail(log, result, "%s: is %s; %s", source->path, kind->what, kind->advice);
    if (kind)
        return sdg_fail(log, result, "%s: is %s, which is not supported; Stable Diffusion 1.x, 2.x and XL models are",
                        source->path, kind->what);
    if (unet)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no Stable Diffusion checkpoint: it has no tensors named %s*%s%.60s",
                    source->path, sdg_ldm_prefix(SDG_PART_UNET), source->count ? ", but such as " : "",
                    source->count ? source->tensors[0].name : "");
}

enum sdg_result sdg_kinds_no_autoencoder(const struct sdg_log *log, const struct sdg_source *source)
{
    if (has(source, "model.diffusion_model.input_blocks.*"))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a checkpoint without an autoencoder", source->path);
    enum sdg_result result;
    const struct kind *kind = find_other(source, &result);
    if (kind)
        return sdg_fail(log, result, "%s: is %s, and not an autoencoder", source->path, kind->what);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: no autoencoder of a known kind is in it (AutoencoderKL under the names of diffusers or of "
                    "original checkpoints, AutoencoderTiny or TAESD)%s%.60s",
                    source->path, source->count ? "; it has tensors such as " : "",
                    source->count ? source->tensors[0].name : "");
}

const char *sdg_kinds_of_channels(int in_channels, int latent)
{
    if (in_channels == 2 * latent)
        return "an instruct-pix2pix model, which edits pictures";
    if (in_channels == latent + 1)
        return "a depth model, which is given the depth of a picture";
    if (in_channels == latent + 3)
        return "an upscaling model, which is given a small picture";
    return NULL;
}

// ---- files that are not safetensors ----

static const struct magic {
    const char *bytes;
    size_t length;
    enum sdg_result result;
    const char *what;
} magics[] = {
#define PICKLE "which can run code; use the safetensors version"
#define FETCH "fetch the file again"
    {"GGUF", 4, SDG_ERROR_UNSUPPORTED,
     "is a GGUF file, which is not supported; use the safetensors version of the model"},
    {"GGML", 4, SDG_ERROR_UNSUPPORTED,
     "is an old GGML file, which is not supported; use the safetensors version of the model"},
    {"PK\x03\x04", 4, SDG_ERROR_UNSUPPORTED, "is a zip archive or PyTorch checkpoint (.ckpt, .pt), " PICKLE},
    {"\x80\x02", 2, SDG_ERROR_UNSUPPORTED, "is a Python pickle (.ckpt, .pt), " PICKLE},
    {"\x80\x03", 2, SDG_ERROR_UNSUPPORTED, "is a Python pickle (.ckpt, .pt), " PICKLE},
    {"\x80\x04", 2, SDG_ERROR_UNSUPPORTED, "is a Python pickle (.ckpt, .pt), " PICKLE},
    {"\x80\x05", 2, SDG_ERROR_UNSUPPORTED, "is a Python pickle (.ckpt, .pt), " PICKLE},
    {"version https://git-lfs", 23, SDG_ERROR_INPUT,
     "is a git-lfs pointer, not the file itself; fetch it with 'git lfs pull'"},
    {"<!DOCTYPE", 9, SDG_ERROR_INPUT, "is an HTML page, probably an error message saved by a download; " FETCH},
    {"<!doctype", 9, SDG_ERROR_INPUT, "is an HTML page, probably an error message saved by a download; " FETCH},
    {"<html", 5, SDG_ERROR_INPUT, "is an HTML page, probably an error message saved by a download; " FETCH},
    {"<HTML", 5, SDG_ERROR_INPUT, "is an HTML page, probably an error message saved by a download; " FETCH},
    {"<?xml", 5, SDG_ERROR_INPUT, "is an XML file, no weights; if it was saved by a download, " FETCH},
    {"{\"error", 7, SDG_ERROR_INPUT, "is a JSON error message saved by a download; " FETCH},
    {"\x1f\x8b", 2, SDG_ERROR_INPUT, "is a gzip archive; unpack it"},
    {"7z\xbc\xaf\x27\x1c", 6, SDG_ERROR_INPUT, "is a 7z archive; unpack it"},
    {"Rar!", 4, SDG_ERROR_INPUT, "is a RAR archive; unpack it"},
    {"\x89HDF", 4, SDG_ERROR_UNSUPPORTED, "is an HDF5 file of another program; use the safetensors version"},
    {"\x89PNG", 4, SDG_ERROR_INPUT, "is a picture (PNG), not a model"},
    {"\xff\xd8\xff", 3, SDG_ERROR_INPUT, "is a picture (JPEG), not a model"},
#undef PICKLE
#undef FETCH
};

// Bytes of text, line ends and UTF-8 included.
static bool is_text(const char *head, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)head[i];
        if (c == 0x7f || (c < 0x20 && c != '\n' && c != '\r' && c != '\t'))
            return false;
    }
    return bytes > 0;
}

// model_index.json, config.json, or the list of a model's shards.
static enum sdg_result refuse_json(const struct sdg_log *log, const char *path)
{
    if (strcmp(sdg_path_name(path), "model_index.json") != 0)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is a JSON file without weights; give the folder of the model that it belongs to", path);
    char *const folder = sdg_path_folder(log, path);
    if (!folder)
        return SDG_ERROR_MEMORY;
    const enum sdg_result result =
        sdg_fail(log, SDG_ERROR_INPUT, "%s: is the index of a diffusers model; give its folder, %s", path, folder);
    sdg_free(folder);
    return result;
}

enum sdg_result sdg_check_file_kind(const struct sdg_log *log, const struct sdg_files *files, const char *path)
{
    static const char zeros[64];
    char head[sizeof zeros];
    size_t got;
    SDG_TRY(sdg_files_head(log, files, path, head, sizeof head, &got));
    // The length of a header may look like the first bytes of something else.
    if (got > 8 && memcmp(head + 4, zeros, 4) == 0 && head[8] == '{')
        return SDG_OK;
    for (size_t i = 0; i < COUNT(magics); i++)
        if (got >= magics[i].length && memcmp(head, magics[i].bytes, magics[i].length) == 0)
            return sdg_fail(log, magics[i].result, "%s: %s", path, magics[i].what);
    if (!is_text(head, got)) {
        if (got == sizeof head && memcmp(head, zeros, got) == 0)
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: begins with zeros: the download was not finished; fetch it again", path);
        return SDG_OK;
    }
    const char *first = head;
    while (first < head + got - 1 && strchr(" \n\r\t", *first))
        first++;
    if (*first == '{' || (got > 3 && memcmp(head, "\xef\xbb\xbf{", 4) == 0))
        return refuse_json(log, path);
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a text file, not a model; a safetensors file or a folder is needed",
                    path);
}
