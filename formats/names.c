#include "formats/names.h"

#include <stdio.h>
#include <string.h>

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    size_t a = strlen(text), b = strlen(with);
    return a >= b && strcmp(text + a - b, with) == 0;
}

// The table. A row maps the module at one place of the network: '%' stands for a number, `numbers` says how the numbers
// of the two sides belong together, `leaves` how the names inside the module do.

enum numbers {
    AS_IS,
    REVERSED, // LDM counts the decoder's levels from the other end
    // LDM counts all blocks of a side through: every level has its layers and one more, the resampler or skip
    DOWN,
    UP,
    DOWNSAMPLE,
    UPSAMPLE, // sits behind the attention if there is one: the second number
};

enum leaves { ANY, UNET_RESNET, UNET_ATTENTION, VAE_RESNET, VAE_ATTENTION, OPENCLIP_LAYER, LEAF_TABLES };

struct pair { const char *diffusers, *ldm; };

// The first row of a module is what LDM calls it; what follows are other names that are found in such files.
static const struct pair leaf_tables[LEAF_TABLES][16] = {
    [UNET_RESNET] = {{"norm1", "in_layers.0"},
                     {"conv1", "in_layers.2"},
                     {"time_emb_proj", "emb_layers.1"},
                     {"norm2", "out_layers.0"},
                     {"conv2", "out_layers.3"},
                     {"conv_shortcut", "skip_connection"}},
    [UNET_ATTENTION] = {{"norm", "norm"},
                        {"proj_in", "proj_in"},
                        {"transformer_blocks", "transformer_blocks"},
                        {"proj_out", "proj_out"}},
    [VAE_RESNET] = {{"norm1", "norm1"},
                    {"conv1", "conv1"},
                    {"norm2", "norm2"},
                    {"conv2", "conv2"},
                    {"conv_shortcut", "nin_shortcut"}},
    // Converters leave the attention under diffusers' names, today's or the first ones.
    [VAE_ATTENTION] = {{"group_norm", "norm"},
                       {"to_q", "q"},
                       {"to_k", "k"},
                       {"to_v", "v"},
                       {"to_out.0", "proj_out"},
                       {"group_norm", "group_norm"},
                       {"to_q", "to_q"},
                       {"to_k", "to_k"},
                       {"to_v", "to_v"},
                       {"to_out.0", "to_out.0"},
                       {"to_q", "query"},
                       {"to_k", "key"},
                       {"to_v", "value"},
                       {"to_out.0", "proj_attn"}},
    [OPENCLIP_LAYER] = {{"layer_norm1", "ln_1"},
                        {"layer_norm2", "ln_2"},
                        {"mlp.fc1", "mlp.c_fc"},
                        {"mlp.fc2", "mlp.c_proj"},
                        {"self_attn.out_proj", "attn.out_proj"}},
};

static const struct row {
    enum sdg_part part;
    struct pair place;
    enum numbers numbers;
    enum leaves leaves;
} rows[] = {
    {SDG_PART_UNET, {"conv_in", "input_blocks.0.0"}, AS_IS, ANY},
    {SDG_PART_UNET, {"time_embedding.linear_1", "time_embed.0"}, AS_IS, ANY},
    {SDG_PART_UNET, {"time_embedding.linear_2", "time_embed.2"}, AS_IS, ANY},
    {SDG_PART_UNET, {"time_embedding.cond_proj", "time_embed.cond_proj"}, AS_IS, ANY},
    {SDG_PART_UNET, {"add_embedding.linear_1", "label_emb.0.0"}, AS_IS, ANY},
    {SDG_PART_UNET, {"add_embedding.linear_2", "label_emb.0.2"}, AS_IS, ANY},
    {SDG_PART_UNET, {"down_blocks.%.downsamplers.0.conv", "input_blocks.%.0.op"}, DOWNSAMPLE, ANY},
    {SDG_PART_UNET, {"down_blocks.%.resnets.%", "input_blocks.%.0"}, DOWN, UNET_RESNET},
    {SDG_PART_UNET, {"down_blocks.%.attentions.%", "input_blocks.%.1"}, DOWN, UNET_ATTENTION},
    {SDG_PART_UNET, {"mid_block.resnets.0", "middle_block.0"}, AS_IS, UNET_RESNET},
    {SDG_PART_UNET, {"mid_block.attentions.0", "middle_block.1"}, AS_IS, UNET_ATTENTION},
    {SDG_PART_UNET, {"mid_block.resnets.1", "middle_block.2"}, AS_IS, UNET_RESNET},
    {SDG_PART_UNET, {"up_blocks.%.upsamplers.0.conv", "output_blocks.%.%.conv"}, UPSAMPLE, ANY},
    {SDG_PART_UNET, {"up_blocks.%.resnets.%", "output_blocks.%.0"}, UP, UNET_RESNET},
    {SDG_PART_UNET, {"up_blocks.%.attentions.%", "output_blocks.%.1"}, UP, UNET_ATTENTION},
    {SDG_PART_UNET, {"conv_norm_out", "out.0"}, AS_IS, ANY},
    {SDG_PART_UNET, {"conv_out", "out.2"}, AS_IS, ANY},

    {SDG_PART_VAE, {"encoder.conv_in", "encoder.conv_in"}, AS_IS, ANY},
    {SDG_PART_VAE, {"encoder.down_blocks.%.resnets.%", "encoder.down.%.block.%"}, AS_IS, VAE_RESNET},
    {SDG_PART_VAE, {"encoder.down_blocks.%.downsamplers.0.conv", "encoder.down.%.downsample.conv"}, AS_IS, ANY},
    {SDG_PART_VAE, {"encoder.mid_block.resnets.0", "encoder.mid.block_1"}, AS_IS, VAE_RESNET},
    {SDG_PART_VAE, {"encoder.mid_block.attentions.0", "encoder.mid.attn_1"}, AS_IS, VAE_ATTENTION},
    {SDG_PART_VAE, {"encoder.mid_block.resnets.1", "encoder.mid.block_2"}, AS_IS, VAE_RESNET},
    {SDG_PART_VAE, {"encoder.conv_norm_out", "encoder.norm_out"}, AS_IS, ANY},
    {SDG_PART_VAE, {"encoder.conv_out", "encoder.conv_out"}, AS_IS, ANY},
    {SDG_PART_VAE, {"quant_conv", "quant_conv"}, AS_IS, ANY},
    {SDG_PART_VAE, {"post_quant_conv", "post_quant_conv"}, AS_IS, ANY},
    {SDG_PART_VAE, {"decoder.conv_in", "decoder.conv_in"}, AS_IS, ANY},
    {SDG_PART_VAE, {"decoder.mid_block.resnets.0", "decoder.mid.block_1"}, AS_IS, VAE_RESNET},
    {SDG_PART_VAE, {"decoder.mid_block.attentions.0", "decoder.mid.attn_1"}, AS_IS, VAE_ATTENTION},
    {SDG_PART_VAE, {"decoder.mid_block.resnets.1", "decoder.mid.block_2"}, AS_IS, VAE_RESNET},
    {SDG_PART_VAE, {"decoder.up_blocks.%.resnets.%", "decoder.up.%.block.%"}, REVERSED, VAE_RESNET},
    {SDG_PART_VAE, {"decoder.up_blocks.%.upsamplers.0.conv", "decoder.up.%.upsample.conv"}, REVERSED, ANY},
    {SDG_PART_VAE, {"decoder.conv_norm_out", "decoder.norm_out"}, AS_IS, ANY},
    {SDG_PART_VAE, {"decoder.conv_out", "decoder.conv_out"}, AS_IS, ANY},

    {SDG_PART_TEXT, {"text_model", "text_model"}, AS_IS, ANY},
    {SDG_PART_TEXT, {"text_projection", "text_projection"}, AS_IS, ANY},

    // Besides these: position embeddings, fused attention projections and the text projection, see openclip.c.
    {SDG_PART_OPENCLIP, {"text_model.embeddings.token_embedding", "token_embedding"}, AS_IS, ANY},
    {SDG_PART_OPENCLIP, {"text_model.encoder.layers.%", "transformer.resblocks.%"}, AS_IS, OPENCLIP_LAYER},
    {SDG_PART_OPENCLIP, {"text_model.final_layer_norm", "ln_final"}, AS_IS, ANY},
};

const char *sdg_ldm_prefix(enum sdg_part part)
{
    static const char *const prefixes[] = {[SDG_PART_UNET] = "model.diffusion_model.",
                                           [SDG_PART_VAE] = "first_stage_model.",
                                           [SDG_PART_TEXT] = "cond_stage_model.transformer.",
                                           [SDG_PART_OPENCLIP] = "cond_stage_model.model."};
    return prefixes[part];
}

// The part of `name` behind `pattern` and a '.', or NULL. Numbers are plain, at most three digits, no leading zeros.
static const char *match(const char *pattern, const char *name, int numbers[2])
{
    int n = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '%') {
            if (*name++ != *pattern)
                return NULL;
            continue;
        }
        const char *start = name;
        int value = 0;
        while (*name >= '0' && *name <= '9' && name - start < 3)
            value = value * 10 + (*name++ - '0');
        if (name == start || (*start == '0' && name - start > 1))
            return NULL;
        numbers[n++] = value;
    }
    return *name == '.' ? name + 1 : NULL;
}

static bool numbers_to_ldm(enum numbers kind, const struct sdg_ldm_layout *layout, const int from[2], int to[2])
{
    int i = from[0], j = from[1], layers = layout->unet_layers;
    to[0] = i;
    to[1] = j;
    switch (kind) {
    case AS_IS: return true;
    case REVERSED: to[0] = layout->vae_levels - 1 - i; return i < layout->vae_levels;
    case DOWN: to[0] = i * (layers + 1) + 1 + j; return i < layout->unet_levels && j < layers;
    case DOWNSAMPLE: to[0] = (i + 1) * (layers + 1); return i < layout->unet_levels;
    case UP: to[0] = i * (layers + 1) + j; return i < layout->unet_levels && j <= layers;
    case UPSAMPLE:
        if (i >= layout->unet_levels)
            return false;
        to[0] = i * (layers + 1) + layers;
        to[1] = 1 + layout->up_attention[i];
        return true;
    }
    return false;
}

static bool numbers_from_ldm(enum numbers kind, const struct sdg_ldm_layout *layout, const int from[2], int to[2])
{
    int n = from[0], per_level = layout->unet_layers + 1;
    to[0] = n;
    to[1] = from[1];
    switch (kind) {
    case AS_IS: return true;
    case REVERSED: to[0] = layout->vae_levels - 1 - n; break;
    case DOWN:
        to[0] = (n - 1) / per_level;
        to[1] = (n - 1) % per_level;
        break;
    case DOWNSAMPLE: to[0] = n / per_level - 1; break;
    case UP:
        to[0] = n / per_level;
        to[1] = n % per_level;
        break;
    case UPSAMPLE: to[0] = n / per_level; break;
    }
    int back[2]; // the way back rejects what does not exist, such as a resampler in the middle of a level
    return to[0] >= 0 && to[1] >= 0 && numbers_to_ldm(kind, layout, to, back) && back[0] == n &&
        (kind != UPSAMPLE || back[1] == from[1]);
}

// Writes `pattern` with its numbers filled in, a '.', and the leaf: `leaf` (NULL: none) and `rest`.
static bool compose(const char *pattern, const int numbers[2], const char *leaf, const char *rest,
                    char to[static SDG_NAME_ROOM])
{
    size_t used = 0;
    for (int n = 0; *pattern && used < SDG_NAME_ROOM - 16; pattern++) {
        if (*pattern == '%')
            used += (size_t)snprintf(to + used, SDG_NAME_ROOM - used, "%d", numbers[n++]);
        else
            to[used++] = *pattern;
    }
    int tail = snprintf(to + used, SDG_NAME_ROOM - used, ".%s%s%s", leaf ? leaf : "", leaf ? "." : "", rest);
    return tail > 0 && (size_t)tail < SDG_NAME_ROOM - used;
}

static bool translate(enum sdg_part part, const struct sdg_ldm_layout *layout, bool to_ldm, const char *name,
                      char to[static SDG_NAME_ROOM])
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        int from_numbers[2] = {0}, numbers[2];
        const char *rest =
            row->part != part ? NULL : match(to_ldm ? row->place.diffusers : row->place.ldm, name, from_numbers);
        if (!rest || !(to_ldm ? numbers_to_ldm : numbers_from_ldm)(row->numbers, layout, from_numbers, numbers))
            continue;
        const char *pattern = to_ldm ? row->place.ldm : row->place.diffusers;
        if (row->leaves == ANY)
            return compose(pattern, numbers, NULL, rest, to);
        for (const struct pair *leaf = leaf_tables[row->leaves]; leaf->diffusers; leaf++) {
            int none[2];
            const char *behind = match(to_ldm ? leaf->diffusers : leaf->ldm, rest, none);
            if (behind)
                return compose(pattern, numbers, to_ldm ? leaf->ldm : leaf->diffusers, behind, to);
        }
    }
    return false;
}

bool sdg_name_is_in_ldm_module(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name)
{
    int numbers[2] = {0}, other[2];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].part == part && match(rows[i].place.ldm, name, numbers) &&
            numbers_from_ldm(rows[i].numbers, layout, numbers, other))
            return true;
    return false;
}

bool sdg_name_to_ldm(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name,
                     char to[static SDG_NAME_ROOM])
{
    return translate(part, layout, true, name, to);
}

bool sdg_name_from_ldm(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name,
                       char to[static SDG_NAME_ROOM])
{
    return translate(part, layout, false, name, to);
}

// Removes the component at `at`, of `length` characters with its dot, by moving what stands before it.
static char *without_component(char *name, char *at, size_t length)
{
    memmove(name + length, name, (size_t)(at - name));
    return name + length;
}

static char *without_inner(char *name)
{
    static const char *const inner[] = {"_orig_mod.", "_fsdp_wrapped_module."};
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        for (char *at; (at = strstr(name, inner[i])) && (at == name || at[-1] == '.');)
            name = without_component(name, at, strlen(inner[i]));
    return name;
}

// Whether a checkpoint's own name begins here.
static bool is_root(const char *name)
{
    static const char *const roots[] = {"model.diffusion_model.", "first_stage_model.", "cond_stage_model.",
                                        "conditioner.embedders.", "model_ema."};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (starts(name, roots[i]))
            return true;
    return false;
}

char *sdg_name_unwrap(char *name)
{
    static const char *const always[] = {"state_dict.", "module.", "_forward_module."};
    static const char *const before_roots[] = {"model.", "model.diffusion_model.", "first_stage_model.",
                                               "cond_stage_model."};
    name = without_inner(name);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < sizeof always / sizeof *always && !more; i++)
            if ((more = starts(name, always[i])))
                name += strlen(always[i]);
        for (size_t i = 0; i < sizeof before_roots / sizeof *before_roots && !more; i++)
            if ((more = starts(name, before_roots[i]) && is_root(name + strlen(before_roots[i]))))
                name += strlen(before_roots[i]);
    }
    return name;
}

static bool canonical_text(const char *name, char to[static SDG_NAME_ROOM])
{
    static const char *const inner[] = {"embeddings.", "encoder.", "final_layer_norm."};
    const char *prefix = "";
    if (ends(name, "position_ids"))
        return false;
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        if (starts(name, inner[i]))
            prefix = "text_model.";
    return snprintf(to, SDG_NAME_ROOM, "%s%s", prefix, name) < SDG_NAME_ROOM;
}

static bool canonical_vae(const char *name, char to[static SDG_NAME_ROOM])
{
    static const struct pair renamed[] = {
        {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
    static const char attention[] = ".mid_block.attentions.0.";
    const char *at = strstr(name, attention);
    for (size_t i = 0; at && i < sizeof renamed / sizeof *renamed; i++) {
        int none[2];
        const char *module = at + sizeof attention - 1, *rest = match(renamed[i].ldm, module, none);
        if (rest)
            return snprintf(to, SDG_NAME_ROOM, "%.*s%s.%s", (int)(module - name), name, renamed[i].diffusers, rest) <
                SDG_NAME_ROOM;
    }
    return snprintf(to, SDG_NAME_ROOM, "%s", name) < SDG_NAME_ROOM;
}

bool sdg_name_canonical(enum sdg_part part, const char *wrapped, char to[static SDG_NAME_ROOM])
{
    char copy[SDG_NAME_ROOM];
    if (snprintf(copy, sizeof copy, "%s", wrapped) >= (int)sizeof copy)
        return false;
    const char *name = sdg_name_unwrap(copy);
    switch (part) {
    case SDG_PART_TEXT: return canonical_text(name, to);
    case SDG_PART_VAE: return canonical_vae(name, to);
    case SDG_PART_UNET:
    case SDG_PART_OPENCLIP: break;
    }
    return snprintf(to, SDG_NAME_ROOM, "%s", name) < SDG_NAME_ROOM;
}

bool sdg_name_is_vae_projection(const char *canonical)
{
    return strstr(canonical, ".mid_block.attentions.0.to_") && ends(canonical, ".weight");
}
