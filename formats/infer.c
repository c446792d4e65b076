#include "formats/infer.h"

#include "formats/config_check.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SD_HEADS = 8, SD_HEAD_CHANNELS = 64, SD_GROUPS = 32, CLIP_HEADS = 12, CLIP_HEAD_CHANNELS = 64 };
// Widths of the text encoders of Stable Diffusion 1.x (CLIP ViT-L) and 2.x (OpenCLIP ViT-H); XL's second is ViT-bigG.
enum { SD1_CONTEXT = 768, SD2_CONTEXT = 1024, XL_CONTEXT_2 = 1280, XL_CONTEXT = SD1_CONTEXT + XL_CONTEXT_2 };

struct finder {
    const struct sdg_log *log;
    const struct sdg_source *source;
    const char *prefix;
    size_t begin, end; // of the names with this prefix
};

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static struct finder finder_of(const struct sdg_log *log, const struct sdg_source *source, const char *prefix)
{
    struct finder f = {log, source, prefix, 0, 0};
    while (f.begin < source->count && !starts(source->tensors[f.begin].name, prefix))
        f.begin++;
    f.end = f.begin;
    while (f.end < source->count && starts(source->tensors[f.end].name, prefix))
        f.end++;
    return f;
}

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

// What stands behind the prefix and `stem` in the next name that begins so, from tensor *i on, which then is the one
// behind it; NULL when there are no more.
static const char *next_behind(const struct finder *f, const char *stem, size_t *i)
{
    const size_t prefix = strlen(f->prefix), length = strlen(stem);
    while (*i < f->end) {
        const char *name = f->source->tensors[(*i)++].name + prefix;
        if (strncmp(name, stem, length) == 0)
            return name + length;
    }
    return NULL;
}

enum { STEM_BYTES = 96 };

// Whether there is any tensor whose name begins so, whichever of the module's tensors it is.
SDG_PRINTF(2, 3) static bool any(const struct finder *f, const char *format, ...)
{
    char stem[STEM_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(stem, sizeof stem, format, args);
    va_end(args);
    size_t i = f->begin;
    return next_behind(f, stem, &i) != NULL;
}

// One more than the largest number behind the stem in any name, so that "encoder.layers." has the layers of which at
// least something is there: what one of them lacks is then missed when it is read. 0 if there is none.
SDG_PRINTF(2, 3) static int count(const struct finder *f, const char *format, ...)
{
    char stem[STEM_BYTES];
    int most = 0, number, length;
    va_list args;
    va_start(args, format);
    vsnprintf(stem, sizeof stem, format, args);
    va_end(args);
    size_t i = f->begin;
    for (const char *behind; (behind = next_behind(f, stem, &i));) {
        length = 0;
        if (*behind >= '0' && *behind <= '9' && sscanf(behind, "%3d.%n", &number, &length) == 1 && length > 0 &&
            number >= most)
            most = number + 1;
    }
    return most;
}

// 0 when there is no such tensor or dimension, or it cannot be meant: the checks of the whole configuration refuse it.
static int dim(const struct sdg_tensor *tensor, int i)
{
    return tensor && i < tensor->rank && tensor->dims[i] <= INT_MAX ? (int)tensor->dims[i] : 0;
}

static enum sdg_result missing(const struct finder *f, const char *name)
{
    const struct sdg_tensor *there = find(f, "%s", name);
    if (there)
        SDG_TRY(sdg_tensor_check_readable(f->log, f->source->path, there));
    return sdg_fail(f->log, SDG_ERROR_INPUT, "%s: tensor %s%s is missing or has an unexpected shape", f->source->path,
                    f->prefix, name);
}

// Of a part of which others are there.
SDG_PRINTF(2, 3) static enum sdg_result hole(const struct finder *f, const char *format, ...)
{
    char stem[STEM_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(stem, sizeof stem, format, args);
    va_end(args);
    return sdg_fail(f->log, SDG_ERROR_INPUT,
                    "%s: tensor %s%s... is missing, and all others of that block: the file is damaged or was not "
                    "converted completely",
                    f->source->path, f->prefix, stem);
}

// ---- UNet ----
// LDM numbers the blocks of a side through: every level has its layers and one more, which resamples or takes a skip.

struct blocks { int per_level, levels; };

// The number of the first block that only resamples, by the blocks down or by where blocks up enlarge.
static int blocks_per_level(const struct finder *f, int inputs)
{
    for (int n = 2; n <= SDG_LAYERS_MAX + 1; n++)
        if (any(f, "input_blocks.%d.0.op.", n) || any(f, "output_blocks.%d.1.conv.", n - 1) ||
            any(f, "output_blocks.%d.2.conv.", n - 1))
            return n;
    return inputs < 2 ? 2 : inputs; // a single level has no resampler
}

static enum sdg_result infer_blocks(const struct finder *f, struct blocks *out)
{
    static const char *const sides[] = {"input_blocks", "output_blocks"};
    const int inputs = count(f, "input_blocks."), outputs = count(f, "output_blocks."),
              all = inputs > outputs ? inputs : outputs, per_level = blocks_per_level(f, inputs);
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < all; i++)
            if (!any(f, "%s.%d.", sides[side], i))
                return hole(f, "%s.%d.", sides[side], i);
    if (all == 0 || all % per_level)
        return hole(f, "input_blocks.%d.", all);
    *out = (struct blocks){per_level, all / per_level};
    return SDG_OK;
}

static bool has_attention(const struct finder *f, const char *place)
{
    static const char *const modules[] = {"norm", "proj_in", "proj_out", "transformer_blocks"};
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (any(f, "%s.%s.", place, modules[i]))
            return true;
    return false;
}

// What transformers tell, wherever they stand.
struct transformers {
    const struct sdg_tensor *context; // reads the prompt
    const struct sdg_tensor *projection;
};

// Adds the transformer at `place`, if there is one, to what is known of its level.
static bool infer_transformer(const struct finder *f, const char *place, int *depth, struct transformers *t)
{
    const int blocks = count(f, "%s.transformer_blocks.", place);
    for (int i = 0; i < blocks && !t->context; i++) {
        t->context = find(f, "%s.transformer_blocks.%d.attn2.to_k.weight", place, i);
        if (!t->context)
            t->context = find(f, "%s.transformer_blocks.%d.attn2.to_v.weight", place, i);
    }
    if (!t->projection)
        t->projection = find(f, "%s.proj_in.weight", place);
    if (!t->projection)
        t->projection = find(f, "%s.proj_out.weight", place);
    if (blocks > *depth)
        *depth = blocks;
    return has_attention(f, place);
}

// The channels of a level are what any of its resnets ends in.
static enum sdg_result infer_channels(const struct finder *f, int first, int layers, int *out)
{
    static const char *const convolutions[] = {"in_layers.2", "out_layers.3"};
    for (int i = first; i < first + layers; i++)
        for (int j = 0; j < 2; j++) {
            const struct sdg_tensor *conv = find(f, "input_blocks.%d.0.%s.weight", i, convolutions[j]);
            if ((*out = dim(conv, 0)) > 0)
                return SDG_OK;
        }
    char name[STEM_BYTES];
    snprintf(name, sizeof name, "input_blocks.%d.0.in_layers.2.weight", first);
    return missing(f, name);
}

// A level's channels, attention and transformer depth, from all its blocks. LDM builds the blocks up as those down.
static enum sdg_result infer_level(const struct finder *f, int level, struct blocks blocks, struct sdg_unet_config *c,
                                   struct transformers *t)
{
    const int first = level * blocks.per_level + 1, up = (blocks.levels - 1 - level) * blocks.per_level;
    bool attention = false;
    int depth = 0;
    char place[STEM_BYTES];
    for (int i = 0; i < blocks.per_level; i++) {
        if (i < blocks.per_level - 1) {
            snprintf(place, sizeof place, "input_blocks.%d.1", first + i);
            attention |= infer_transformer(f, place, &depth, t);
        }
        snprintf(place, sizeof place, "output_blocks.%d.1", up + i);
        attention |= infer_transformer(f, place, &depth, t);
    }
    c->layers_per_block[level] = blocks.per_level - 1;
    c->down_attention[level] = c->up_attention[blocks.levels - 1 - level] = attention;
    c->transformer_layers[level] = depth;
    return infer_channels(f, first, blocks.per_level - 1, &c->channels[level]);
}

// The middle block has the last level's depth. Its second resnet has the number behind the attention's.
static enum sdg_result infer_middle(const struct finder *f, struct sdg_unet_config *c, struct transformers *t)
{
    c->mid_attention = infer_transformer(f, "middle_block.1", &c->transformer_layers[c->levels - 1], t);
    if (c->mid_attention)
        return SDG_OK;
    if (any(f, "middle_block.2.") || !any(f, "middle_block.1."))
        return hole(f, "middle_block.1.");
    return sdg_fail(f->log, SDG_ERROR_UNSUPPORTED,
                    "%s: the UNet has no attention in its middle block (a distilled model such as SSD-1B), which is "
                    "not supported in one file",
                    f->source->path);
}

// SDXL's: the pooled prompt and the sizes.
static enum sdg_result infer_addition(const struct finder *f, struct sdg_unet_config *c)
{
    c->addition_embed_dim = dim(find(f, "label_emb.0.0.weight"), 1);
    if (!c->addition_embed_dim && any(f, "label_emb."))
        return missing(f, "label_emb.0.0.weight");
    c->addition_time_embed_dim = c->addition_embed_dim ? 256 : 0;
    c->sample_height = c->sample_width = c->addition_embed_dim ? 128 : 64;
    return SDG_OK;
}

// Stable Diffusion 1.x has 8 heads everywhere, the later ones 64 channels in each. These also have linear projections,
// but tools store those of the first as matrices, too: the width of its prompt tells.
static void infer_heads(struct sdg_unet_config *c, const struct sdg_tensor *projection)
{
    const bool first = c->cross_attention_dim == SD1_CONTEXT,
               later = c->cross_attention_dim == SD2_CONTEXT || c->cross_attention_dim == XL_CONTEXT;
    c->linear_projection = !first && (later || (projection && projection->rank == 2));
    for (int i = 0; i < c->levels; i++) {
        c->heads[i] = c->linear_projection ? c->channels[i] / SD_HEAD_CHANNELS : SD_HEADS;
        if (c->transformer_layers[i] == 0)
            c->transformer_layers[i] = 1;
    }
}

enum sdg_result sdg_infer_unet(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               struct sdg_unet_config *config, struct sdg_ldm_layout *layout)
{
    const struct finder f = finder_of(log, source, prefix);
    struct sdg_unet_config c = {.norm_groups = SD_GROUPS, .norm_eps = 1e-5f, .flip_sin_to_cos = true};
    const struct sdg_tensor *conv_in = find(&f, "input_blocks.0.0.weight"), *conv_out = find(&f, "out.2.weight");
    struct blocks blocks = {0};
    struct transformers t = {0};
    if (dim(conv_in, 3) != 3)
        return missing(&f, "input_blocks.0.0.weight");
    if (dim(conv_out, 3) != 3)
        return missing(&f, "out.2.weight");
    c.in_channels = dim(conv_in, 1);
    c.out_channels = dim(conv_out, 0);
    SDG_TRY(infer_blocks(&f, &blocks));
    SDG_TRY(sdg_check_range(log, source->path, "the number of the UNet's levels", blocks.levels, 1, SDG_MAX_LEVELS));
    c.levels = blocks.levels;
    for (int i = 0; i < c.levels; i++)
        SDG_TRY(infer_level(&f, i, blocks, &c, &t));
    SDG_TRY(infer_middle(&f, &c, &t));
    if (!t.context)
        return missing(&f, "middle_block.1.transformer_blocks.0.attn2.to_k.weight");
    c.cross_attention_dim = dim(t.context, 1);
    SDG_TRY(infer_addition(&f, &c));
    infer_heads(&c, t.projection);
    c.time_cond_proj_dim = dim(find(&f, "time_embed.cond_proj.weight"), 1);
    c.mid_resnets = 2;
    SDG_TRY(sdg_unet_config_check(log, source->path, &c));
    layout->unet_layers = blocks.per_level - 1;
    layout->unet_levels = c.levels;
    memcpy(layout->up_attention, c.up_attention, sizeof layout->up_attention);
    *config = c;
    return SDG_OK;
}

// ---- text encoders ----

// Names with and without "text_model.", depending on the program that wrote the file.
static const char *text_root(const struct finder *f)
{
    return any(f, "embeddings.") || any(f, "encoder.layers.") ? "" : "text_model.";
}

// How many layers the published encoders of this width have; 0: unknown. Stable Diffusion 2.x uses the last but one of
// 24, so that files may or may not hold the last.
static int known_layers(int hidden)
{
    return hidden == SD1_CONTEXT ? 12 : hidden == SD2_CONTEXT ? 24 : hidden == XL_CONTEXT_2 ? 32 : 0;
}

// The last layers can be missing without a gap. One layer less draws as "clip skip 2" does, which some meant when they
// saved the model so.
static enum sdg_result check_layers(const struct finder *f, const struct sdg_text_config *c, const char *stem,
                                    enum sdg_encoder encoder)
{
    const int known = known_layers(c->hidden);
    if (known == 0 || c->layers >= known || (encoder == SDG_ENCODER_OPENCLIP && c->layers == known - 1))
        return SDG_OK;
    if (encoder != SDG_ENCODER_CLIP || c->layers < known - 1)
        return hole(f, "%s%d.", stem, c->layers);
    sdg_say(f->log, SDG_LOG_WARNING, "%s: the text encoder lacks the last of %d layers: drawn as with clip skip 2",
            f->source->path, known);
    return SDG_OK;
}

static enum sdg_result infer_text_sizes(const struct finder *f, const char *root, struct sdg_text_config *c)
{
    const struct sdg_tensor *tokens = find(f, "%sembeddings.token_embedding.weight", root);
    c->vocab_size = dim(tokens, 0);
    c->hidden = dim(tokens, 1);
    if (!c->hidden)
        return missing(f, "text_model.embeddings.token_embedding.weight");
    c->positions = dim(find(f, "%sembeddings.position_embedding.weight", root), 0);
    c->layers = count(f, "%sencoder.layers.", root);
    for (int i = 0; i < c->layers && !c->intermediate; i++)
        c->intermediate = dim(find(f, "%sencoder.layers.%d.mlp.fc1.weight", root, i), 0);
    if (!c->positions || !c->intermediate)
        return missing(f,
                       c->positions ? "text_model.encoder.layers.0.mlp.fc1.weight"
                                    : "text_model.embeddings.position_embedding.weight");
    return SDG_OK;
}

enum sdg_result sdg_infer_text(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               enum sdg_encoder encoder, struct sdg_text_config *config)
{
    const struct finder f = finder_of(log, source, prefix);
    const bool openclip = encoder == SDG_ENCODER_OPENCLIP || encoder == SDG_ENCODER_OPENCLIP_XL;
    struct sdg_text_config c = {
        .activation = openclip ? SDG_TEXT_GELU : SDG_TEXT_QUICK_GELU, .eps = 1e-5f, .eos_token_id = 2};
    const char *root = text_root(&f);
    char stem[STEM_BYTES];
    SDG_TRY(infer_text_sizes(&f, root, &c));
    snprintf(stem, sizeof stem, "%sencoder.layers.", root);
    SDG_TRY(check_layers(&f, &c, stem, encoder));
    if (encoder == SDG_ENCODER_OPENCLIP && c.layers == known_layers(SD2_CONTEXT))
        c.layers--; // under these names the last layer is usually left out
    if (encoder == SDG_ENCODER_OPENCLIP_XL && !(c.projection_dim = dim(find(&f, "text_projection.weight"), 0)))
        return missing(&f, "text_projection.weight");
    c.heads = c.hidden % CLIP_HEAD_CHANNELS == 0 ? c.hidden / CLIP_HEAD_CHANNELS : CLIP_HEADS;
    SDG_TRY(sdg_text_config_check(log, source->path, &c));
    *config = c;
    return SDG_OK;
}

enum sdg_result sdg_infer_openclip(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                                   bool skip_last, struct sdg_text_config *config)
{
    static const char layers[] = "transformer.resblocks.";
    const struct finder f = finder_of(log, source, prefix);
    struct sdg_text_config c = {.activation = SDG_TEXT_GELU, .eps = 1e-5f, .eos_token_id = 2};
    const struct sdg_tensor *tokens = find(&f, "token_embedding.weight");
    c.vocab_size = dim(tokens, 0);
    c.hidden = dim(tokens, 1);
    c.heads = c.hidden / CLIP_HEAD_CHANNELS;
    c.positions = dim(find(&f, "positional_embedding"), 0);
    c.layers = count(&f, "%s", layers);
    for (int i = 0; i < c.layers && !c.intermediate; i++)
        c.intermediate = dim(find(&f, "%s%d.mlp.c_fc.weight", layers, i), 0);
    if (!c.hidden || !c.positions || !c.intermediate)
        return missing(&f,
                       !c.hidden          ? "token_embedding.weight"
                           : !c.positions ? "positional_embedding"
                                          : "transformer.resblocks.0.mlp.c_fc.weight");
    SDG_TRY(check_layers(&f, &c, layers, skip_last ? SDG_ENCODER_OPENCLIP : SDG_ENCODER_OPENCLIP_XL));
    if (skip_last) // of 24 layers the last may not have been stored
        c.layers -= c.hidden != SD2_CONTEXT || c.layers == known_layers(SD2_CONTEXT);
    else if (!(c.projection_dim = dim(find(&f, "text_projection"), 1)))
        return missing(&f, "text_projection");
    SDG_TRY(sdg_text_config_check(log, source->path, &c));
    *config = c;
    return SDG_OK;
}
