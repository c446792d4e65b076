#include "formats/infer.h"

#include "formats/config_check.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SD_HEADS = 8, SD_HEAD_CHANNELS = 64, SD_GROUPS = 32, CLIP_HEADS = 12, CLIP_HEAD_CHANNELS = 64 };

struct finder {
    const struct sdg_source *source;
    const char *prefix;
};

SDG_PRINTF(2, 3) static const struct sdg_tensor *find(const struct finder *f, const char *format, ...)
{
    char name[SDG_NAME_ROOM];
    int used = snprintf(name, sizeof name, "%s", f->prefix);
    va_list args;
    va_start(args, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, args);
    va_end(args);
    return sdg_source_find(f->source, name);
}

// 0 when there is no such tensor or dimension, or it cannot be meant: the checks of the whole configuration refuse it.
static int dim(const struct sdg_tensor *tensor, int i)
{
    return tensor && i < tensor->rank && tensor->dims[i] <= INT_MAX ? (int)tensor->dims[i] : 0;
}

static enum sdg_result missing(const struct sdg_log *log, const struct finder *f, const char *name)
{
    const struct sdg_tensor *there = find(f, "%s", name);
    if (there)
        SDG_TRY(sdg_tensor_check_readable(log, f->source->path, there));
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s%s is missing or has an unexpected shape", f->source->path,
                    f->prefix, name);
}

// A level's channels, attention and transformer depth, from its first block. False when there is no such level.
static bool infer_level(const struct finder *f, int level, int per_level, struct sdg_unet_config *c,
                        const struct sdg_tensor **context)
{
    int first = level * per_level + 1;
    const struct sdg_tensor *conv = find(f, "input_blocks.%d.0.in_layers.2.weight", first);
    if (!conv)
        return false;
    c->channels[level] = dim(conv, 0);
    c->layers_per_block[level] = per_level - 1;
    c->down_attention[level] = find(f, "input_blocks.%d.1.proj_in.weight", first) != NULL;
    int depth = 0;
    while (depth <= SDG_LAYERS_MAX &&
           find(f, "input_blocks.%d.1.transformer_blocks.%d.attn2.to_k.weight", first, depth))
        depth++;
    if (!*context)
        *context = find(f, "input_blocks.%d.1.transformer_blocks.0.attn2.to_k.weight", first);
    c->transformer_layers[level] = depth > 0 ? depth : 1;
    return true;
}

// Layers per level, plus one: the number of the first block that only resamples.
static int blocks_per_level(const struct finder *f)
{
    for (int n = 2; n <= SDG_LAYERS_MAX + 1; n++)
        if (find(f, "input_blocks.%d.0.op.weight", n))
            return n;
    int n = 1; // a single level has no resampler
    while (n <= SDG_LAYERS_MAX && find(f, "input_blocks.%d.0.in_layers.2.weight", n))
        n++;
    return n > 1 ? n : 2;
}

static void infer_middle(const struct finder *f, struct sdg_unet_config *c, const struct sdg_tensor **context)
{
    int last = c->levels - 1, depth = 0;
    c->mid_attention = find(f, "middle_block.1.proj_in.weight") != NULL;
    while (depth <= SDG_LAYERS_MAX && find(f, "middle_block.1.transformer_blocks.%d.attn2.to_k.weight", depth))
        depth++;
    if (!*context)
        *context = find(f, "middle_block.1.transformer_blocks.0.attn2.to_k.weight");
    if (depth > 0 && !c->down_attention[last])
        c->transformer_layers[last] = depth; // the middle block has the last level's depth
}

enum sdg_result sdg_infer_unet(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               struct sdg_unet_config *config, struct sdg_ldm_layout *layout)
{
    struct finder f = {source, prefix};
    struct sdg_unet_config c = {.norm_groups = SD_GROUPS, .norm_eps = 1e-5f, .flip_sin_to_cos = true};
    const struct sdg_tensor *conv_in = find(&f, "input_blocks.0.0.weight"), *conv_out = find(&f, "out.2.weight"),
                            *context = NULL;
    if (dim(conv_in, 3) != 3)
        return missing(log, &f, "input_blocks.0.0.weight");
    if (dim(conv_out, 3) != 3)
        return missing(log, &f, "out.2.weight");
    c.in_channels = dim(conv_in, 1);
    c.out_channels = dim(conv_out, 0);
    int per_level = blocks_per_level(&f);
    while (c.levels < SDG_MAX_LEVELS && infer_level(&f, c.levels, per_level, &c, &context))
        c.levels++;
    if (c.levels == 0)
        return missing(log, &f, "input_blocks.1.0.in_layers.2.weight");
    infer_middle(&f, &c, &context);
    if (!c.mid_attention) // no name tells a network without one from a damaged one
        sdg_say(log, SDG_LOG_INFO, "%s: the UNet has no attention in its middle block", source->path);
    if (!context)
        return missing(log, &f, "middle_block.1.transformer_blocks.0.attn2.to_k.weight");
    c.cross_attention_dim = dim(context, 1);
    const struct sdg_tensor *projection = find(&f, "middle_block.1.proj_in.weight");
    c.linear_projection = projection && projection->rank == 2;
    for (int i = 0; i < c.levels; i++) {
        c.up_attention[i] = find(&f, "output_blocks.%d.1.proj_in.weight", i * per_level) != NULL;
        c.heads[i] = c.linear_projection ? c.channels[i] / SD_HEAD_CHANNELS : SD_HEADS;
    }
    c.time_cond_proj_dim = dim(find(&f, "time_embed.cond_proj.weight"), 1);
    c.addition_embed_dim = dim(find(&f, "label_emb.0.0.weight"), 1);
    c.addition_time_embed_dim = c.addition_embed_dim ? 256 : 0;
    c.mid_resnets = 2;
    c.sample_height = c.sample_width = c.addition_embed_dim ? 128 : 64;
    SDG_TRY(sdg_unet_config_check(log, source->path, &c));
    layout->unet_layers = per_level - 1;
    layout->unet_levels = c.levels;
    memcpy(layout->up_attention, c.up_attention, sizeof layout->up_attention);
    *config = c;
    return SDG_OK;
}

// Names with and without "text_model.", depending on the program that wrote the file.
static const char *text_root(const struct finder *f)
{
    return find(f, "embeddings.token_embedding.weight") ? "" : "text_model.";
}

enum sdg_result sdg_infer_text(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               struct sdg_text_config *config)
{
    struct finder f = {source, prefix};
    struct sdg_text_config c = {.activation = SDG_TEXT_QUICK_GELU, .eps = 1e-5f, .eos_token_id = 2};
    const char *root = text_root(&f);
    const struct sdg_tensor *tokens = find(&f, "%sembeddings.token_embedding.weight", root);
    c.vocab_size = dim(tokens, 0);
    c.hidden = dim(tokens, 1);
    if (!c.hidden)
        return missing(log, &f, "text_model.embeddings.token_embedding.weight");
    c.positions = dim(find(&f, "%sembeddings.position_embedding.weight", root), 0);
    c.intermediate = dim(find(&f, "%sencoder.layers.0.mlp.fc1.weight", root), 0);
    while (c.layers <= SDG_LAYERS_MAX && find(&f, "%sencoder.layers.%d.mlp.fc1.weight", root, c.layers))
        c.layers++;
    if (!c.positions || !c.intermediate)
        return missing(log, &f,
                       c.positions ? "text_model.encoder.layers.0.mlp.fc1.weight"
                                   : "text_model.embeddings.position_embedding.weight");
    c.heads = c.hidden % CLIP_HEAD_CHANNELS == 0 ? c.hidden / CLIP_HEAD_CHANNELS : CLIP_HEADS;
    SDG_TRY(sdg_text_config_check(log, source->path, &c));
    *config = c;
    return SDG_OK;
}

enum sdg_result sdg_infer_openclip(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                                   bool skip_last, struct sdg_text_config *config)
{
    struct finder f = {source, prefix};
    struct sdg_text_config c = {.activation = SDG_TEXT_GELU, .eps = 1e-5f, .eos_token_id = 2};
    const struct sdg_tensor *tokens = find(&f, "token_embedding.weight");
    c.vocab_size = dim(tokens, 0);
    c.hidden = dim(tokens, 1);
    c.heads = c.hidden / CLIP_HEAD_CHANNELS;
    c.positions = dim(find(&f, "positional_embedding"), 0);
    c.intermediate = dim(find(&f, "transformer.resblocks.0.mlp.c_fc.weight"), 0);
    if (!c.hidden || !c.positions || !c.intermediate)
        return missing(log, &f,
                       !c.hidden          ? "token_embedding.weight"
                           : !c.positions ? "positional_embedding"
                                          : "transformer.resblocks.0.mlp.c_fc.weight");
    while (c.layers <= SDG_LAYERS_MAX && find(&f, "transformer.resblocks.%d.mlp.c_fc.weight", c.layers))
        c.layers++;
    if (skip_last)
        c.layers--;
    else if (!(c.projection_dim = dim(find(&f, "text_projection"), 1)))
        return missing(log, &f, "text_projection");
    SDG_TRY(sdg_text_config_check(log, source->path, &c));
    *config = c;
    return SDG_OK;
}
