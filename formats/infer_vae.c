#include "formats/infer_vae.h"

#include "formats/config_check.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SD_GROUPS = 32, NAME_BYTES = 96 };

SDG_PRINTF(2, 3) static const struct sdg_tensor *find(const struct sdg_tensors *view, const char *format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return sdg_tensors_find(view, name);
}

// 0 when there is no such tensor or dimension, or it cannot be meant: the checks of the whole configuration refuse it.
static int dim(const struct sdg_tensor *tensor, int i)
{
    return tensor && i < tensor->rank && tensor->dims[i] <= INT_MAX ? (int)tensor->dims[i] : 0;
}

static bool has_prefix(const struct sdg_tensors *view, const char *prefix)
{
    for (size_t i = 0; i < sdg_tensors_count(view); i++)
        if (strncmp(sdg_tensors_at(view, i)->name, prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

bool sdg_vae_has_side(const struct sdg_tensors *view, const char *side)
{
    return has_prefix(view, side);
}

static enum sdg_result missing(const struct sdg_log *log, const struct sdg_tensors *view, const char *name)
{
    const struct sdg_tensor *there = find(view, "%s", name);
    if (there)
        SDG_TRY(sdg_tensor_check_readable(log, sdg_tensors_path(view), there));
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s of the autoencoder is missing or has an unexpected shape",
                    sdg_tensors_path(view), name);
}

// One more than the largest number behind the stem in any name, so that "decoder.up_blocks." has the levels of which at
// least something is there: what one of them lacks is then missed when it is read. 0 if there is none.
SDG_PRINTF(2, 3) static int count(const struct sdg_tensors *view, const char *format, ...)
{
    char stem[NAME_BYTES];
    int most = 0, number, length;
    va_list args;
    va_start(args, format);
    vsnprintf(stem, sizeof stem, format, args);
    va_end(args);
    for (size_t i = 0; i < sdg_tensors_count(view); i++) {
        const char *name = sdg_tensors_at(view, i)->name, *behind = name + strlen(stem);
        length = 0;
        if (strncmp(name, stem, strlen(stem)) == 0 && *behind >= '0' && *behind <= '9' &&
            sscanf(behind, "%3d.%n", &number, &length) == 1 && length > 0 && number >= most)
            most = number + 1;
    }
    return most;
}

// ---- AutoencoderKL ----

static int larger(int a, int b)
{
    return a > b ? a : b;
}

// What any of a level's resnets ends in.
static int infer_channels(const struct sdg_tensors *view, const char *block, int layers)
{
    for (int i = 0; i < layers; i++)
        for (int j = 1; j <= 2; j++) {
            const struct sdg_tensor *conv = find(view, "%s.resnets.%d.conv%d.weight", block, i, j);
            if (conv)
                return dim(conv, 0);
        }
    return 0;
}

// Where the two sides differ, the larger one is meant.
static enum sdg_result infer_levels(const struct sdg_log *log, const struct sdg_tensors *view, struct sdg_vae_config *c)
{
    c->levels = larger(count(view, "encoder.down_blocks."), count(view, "decoder.up_blocks."));
    if (c->levels == 0)
        return missing(log, view, "decoder.up_blocks.0.resnets.0.conv1.weight");
    SDG_TRY(sdg_check_range(log, sdg_tensors_path(view), "the number of the autoencoder's levels", c->levels, 1,
                            SDG_MAX_LEVELS));
    for (int i = 0; i < c->levels; i++) {
        char down[NAME_BYTES / 2], up[NAME_BYTES / 2];
        snprintf(down, sizeof down, "encoder.down_blocks.%d", i);
        snprintf(up, sizeof up, "decoder.up_blocks.%d", c->levels - 1 - i);
        const int fewer = count(view, "%s.resnets.", down), more = count(view, "%s.resnets.", up);
        c->channels[i] = infer_channels(view, down, fewer);
        if (!c->channels[i])
            c->channels[i] = infer_channels(view, up, more);
        if (!c->channels[i])
            return missing(log, view, down);
        c->layers_per_block = larger(c->layers_per_block, larger(fewer, more - 1));
    }
    return SDG_OK;
}

// All that were published have both, but no name tells an autoencoder without them from a damaged one.
static void report_absent(const struct sdg_log *log, const struct sdg_tensors *view, const struct sdg_vae_config *c)
{
    const bool quant = c->post_quant_conv || c->latent_channels != 4;
    if (!c->mid_attention || !quant)
        sdg_say(log, SDG_LOG_WARNING,
                "%s: the autoencoder has no %s, which all autoencoders of Stable Diffusion have; if colours or shapes "
                "are wrong, the file is damaged",
                sdg_tensors_path(view),
                quant                  ? "attention in its middle blocks"
                    : c->mid_attention ? "quant_conv and post_quant_conv"
                                       : "attention, no quant_conv and no post_quant_conv");
}

enum sdg_result sdg_infer_vae(const struct sdg_log *log, const struct sdg_tensors *view, struct sdg_vae_config *config)
{
    struct sdg_vae_config c = {.norm_groups = SD_GROUPS, .scaling_factor = 0.18215f, .force_upcast = true};
    const char *const conv_in = "encoder.conv_in.weight", *const latent_in = "decoder.conv_in.weight",
                      *const conv_out = "decoder.conv_out.weight";
    c.decoder_only = !sdg_vae_has_side(view, "encoder.");
    if (!sdg_vae_has_side(view, "decoder."))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has only the encoder of an autoencoder, its decoder is needed",
                        sdg_tensors_path(view));
    SDG_TRY(infer_levels(log, view, &c));
    c.in_channels = c.decoder_only ? 3 : dim(find(view, "%s", conv_in), 1);
    c.out_channels = dim(find(view, "%s", conv_out), 0);
    c.latent_channels = dim(find(view, "%s", latent_in), 1);
    if (!c.in_channels || !c.out_channels || !c.latent_channels)
        return missing(log, view, !c.in_channels ? conv_in : !c.out_channels ? conv_out : latent_in);
    // Both halves have them or none: where something is missing, loading says so.
    c.mid_attention =
        has_prefix(view, "decoder.mid_block.attentions.") || has_prefix(view, "encoder.mid_block.attentions.");
    c.post_quant_conv = has_prefix(view, "post_quant_conv.") || (!c.decoder_only && has_prefix(view, "quant_conv."));
    c.quant_conv = c.post_quant_conv && !c.decoder_only;
    SDG_TRY(sdg_vae_config_check(log, sdg_tensors_path(view), &c));
    report_absent(log, view, &c);
    *config = c;
    return SDG_OK;
}

// ---- AutoencoderTiny ----

// A convolution, a residual block, or neither: activations and upsamplers have no weights.
enum layer { OTHER, CONV, BLOCK };

static enum layer layer_at(const struct sdg_tensors *view, const char *side, int i)
{
    if (find(view, "%s.layers.%d.weight", side, i))
        return CONV;
    return find(view, "%s.layers.%d.conv.0.weight", side, i) ? BLOCK : OTHER;
}

// A level of the encoder is a convolution and its blocks, one of the decoder blocks and a convolution; the encoder has
// one convolution more at its end, the decoder one at its begin. False if there are more levels than possible.
static bool count_blocks(const struct sdg_tensors *view, const char *side, int *levels, int *blocks)
{
    int convs = 0, others = 0, since = 0, level_blocks[SDG_MAX_LEVELS + 1] = {0};
    for (int i = 0; others < 3 && convs <= SDG_MAX_LEVELS + 1; i++) {
        const enum layer layer = layer_at(view, side, i);
        others = layer == OTHER ? others + 1 : 0;
        since += layer == BLOCK;
        if (layer != CONV)
            continue;
        if (convs > 0 && convs <= SDG_MAX_LEVELS)
            level_blocks[convs - 1] = since;
        since = 0;
        convs++;
    }
    *levels = convs - 1;
    if (*levels < 1 || *levels > SDG_MAX_LEVELS || since > 0)
        return false;
    memcpy(blocks, level_blocks, (size_t)*levels * sizeof *blocks);
    return true;
}

static const struct sdg_tensor *last_conv(const struct sdg_tensors *view, const char *side)
{
    const struct sdg_tensor *last = NULL, *conv;
    for (int i = 0; i < SDG_MAX_LEVELS * (SDG_LAYERS_MAX + 2); i++)
        if ((conv = find(view, "%s.layers.%d.weight", side, i)))
            last = conv;
    return last;
}

static enum sdg_result unusual(const struct sdg_log *log, const struct sdg_tensors *view, const char *side)
{
    return sdg_fail(
        log, SDG_ERROR_UNSUPPORTED,
        "%s: the %s of this tiny autoencoder (TAESD) is not built as those of Stable Diffusion 1.x, 2.x and "
        "XL are, or layers are missing",
        sdg_tensors_path(view), side);
}

enum sdg_result sdg_infer_tiny_vae(const struct sdg_log *log, const struct sdg_tensors *view,
                                   struct sdg_vae_config *config)
{
    struct sdg_vae_config c = {.tiny = true,
                               .layers_per_block = 1,
                               .norm_groups = 1,
                               .scaling_factor = 1,
                               .latent_magnitude = 3,
                               .latent_shift = 0.5f};
    int levels = 0;
    c.decoder_only = !sdg_vae_has_side(view, "encoder.");
    if (!sdg_vae_has_side(view, "decoder."))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has only the encoder of a tiny autoencoder, its decoder is needed",
                        sdg_tensors_path(view));
    if (!count_blocks(view, "decoder", &c.levels, c.decoder_blocks))
        return unusual(log, view, "decoder");
    if (!c.decoder_only && (!count_blocks(view, "encoder", &levels, c.encoder_blocks) || levels != c.levels))
        return unusual(log, view, "encoder");
    for (int i = 0; i < c.levels; i++) {
        c.decoder_channels[i] = dim(find(view, "decoder.layers.0.weight"), 0);
        c.channels[i] = c.decoder_only ? c.decoder_channels[i] : dim(find(view, "encoder.layers.0.weight"), 0);
        if (c.decoder_only)
            c.encoder_blocks[i] = c.decoder_blocks[c.levels - 1 - i];
    }
    c.in_channels = c.decoder_only ? 3 : dim(find(view, "encoder.layers.0.weight"), 1);
    c.latent_channels = dim(find(view, "decoder.layers.0.weight"), 1);
    c.out_channels = dim(last_conv(view, "decoder"), 0);
    SDG_TRY(sdg_vae_config_check(log, sdg_tensors_path(view), &c));
    *config = c;
    return SDG_OK;
}
