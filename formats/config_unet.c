// UNet2DConditionModel's config.json. Missing keys take diffusers' defaults.
#include "base/json.h"
#include "formats/config.h"
#include "formats/config_check.h"
#include "formats/preferences.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Keys that change the network in ways that are not implemented.
static const struct sdg_fixed_key fixed_keys[] = {
    {.key = "act_fn", .wanted = SDG_FIXED_STRING, .string = "silu", .alias = "swish"},
    {.key = "attention_type", .wanted = SDG_FIXED_STRING, .string = "default"},
    {.key = "center_input_sample", .wanted = SDG_FIXED_FALSE},
    {.key = "class_embed_type", .wanted = SDG_FIXED_NOTHING},
    {.key = "class_embeddings_concat", .wanted = SDG_FIXED_FALSE},
    {.key = "conv_in_kernel", .wanted = SDG_FIXED_NUMBER, .number = 3},
    {.key = "conv_out_kernel", .wanted = SDG_FIXED_NUMBER, .number = 3},
    {.key = "cross_attention_norm", .wanted = SDG_FIXED_NOTHING},
    {.key = "downsample_padding", .wanted = SDG_FIXED_NUMBER, .number = 1},
    {.key = "dual_cross_attention", .wanted = SDG_FIXED_FALSE},
    {.key = "encoder_hid_dim", .wanted = SDG_FIXED_NOTHING},
    {.key = "encoder_hid_dim_type", .wanted = SDG_FIXED_NOTHING},
    {.key = "mid_block_only_cross_attention", .wanted = SDG_FIXED_FALSE},
    {.key = "mid_block_scale_factor", .wanted = SDG_FIXED_NUMBER, .number = 1},
    {.key = "num_class_embeds", .wanted = SDG_FIXED_NOTHING},
    {.key = "only_cross_attention", .wanted = SDG_FIXED_FALSE},
    {.key = "resnet_out_scale_factor", .wanted = SDG_FIXED_NUMBER, .number = 1},
    {.key = "resnet_skip_time_act", .wanted = SDG_FIXED_FALSE},
    {.key = "resnet_time_scale_shift", .wanted = SDG_FIXED_STRING, .string = "default"},
    {.key = "reverse_transformer_layers_per_block", .wanted = SDG_FIXED_NOTHING},
    {.key = "time_embedding_act_fn", .wanted = SDG_FIXED_NOTHING},
    {.key = "time_embedding_dim", .wanted = SDG_FIXED_NOTHING},
    {.key = "time_embedding_type", .wanted = SDG_FIXED_STRING, .string = "positional"},
    {.key = "timestep_post_act", .wanted = SDG_FIXED_NOTHING},
};

// One of two block types per level. An absent key means diffusers' default for four levels: attention in the levels
// first..last.
static enum sdg_result read_blocks(const struct sdg_json *json, const char *key, const char *plain,
                                   const char *attention, int attention_first, int attention_last, int levels,
                                   bool *out)
{
    const cJSON *array = sdg_json_get(json, key), *item;
    if (!array) {
        if (levels != 4)
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is missing", json->path, key);
        for (int i = 0; i < levels; i++)
            out[i] = i >= attention_first && i <= attention_last;
        return SDG_OK;
    }
    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) != levels)
        return sdg_fail(json->log, SDG_ERROR_INPUT,
                        "%s: %s should be an array of %d names, as many as block_out_channels", json->path, key,
                        levels);
    int i = 0;
    cJSON_ArrayForEach(item, array)
    {
        char shown[64];
        bool known = cJSON_IsString(item) &&
            (strcmp(item->valuestring, plain) == 0 || strcmp(item->valuestring, attention) == 0);
        if (!known)
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s has %s, supported: %s, %s", json->path, key,
                            sdg_json_show(item, shown), plain, attention);
        out[i++] = strcmp(item->valuestring, attention) == 0;
    }
    return SDG_OK;
}

static enum sdg_result read_mid_block(const struct sdg_json *json, struct sdg_unet_config *c)
{
    static const char *const types[] = {"UNetMidBlock2DCrossAttn", "UNetMidBlock2D"};
    int type;
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json->object, "mid_block_type")))
        return SDG_OK; // there is none
    SDG_TRY(sdg_json_enum(json, "mid_block_type", types, 2, 0, &type));
    c->mid_attention = type == 0;
    c->mid_resnets = type == 0 ? 2 : 1;
    return SDG_OK;
}

// One number, or one per level that all have to be the same.
static enum sdg_result read_cross_dim(const struct sdg_json *json, int levels, int *out)
{
    int dims[SDG_MAX_LEVELS];
    SDG_TRY(sdg_json_each(json, "cross_attention_dim", 1, SDG_CHANNELS_MAX, 1280, levels, dims));
    for (int i = 1; i < levels; i++)
        if (dims[i] != dims[0])
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                            "%s: cross_attention_dim differs between levels, which is not supported", json->path);
    *out = dims[0];
    return SDG_OK;
}

// One number, or height and width.
static enum sdg_result read_sample_size(const struct sdg_json *json, struct sdg_unet_config *c)
{
    int size[2];
    SDG_TRY(sdg_json_each(json, "sample_size", 1, 4096, 64, 2, size));
    c->sample_height = size[0];
    c->sample_width = size[1];
    return SDG_OK;
}

static enum sdg_result read_addition(const struct sdg_json *json, struct sdg_unet_config *c)
{
    const char *type;
    SDG_TRY(sdg_json_string(json, "addition_embed_type", "", &type));
    if (!*type)
        return SDG_OK;
    if (strcmp(type, "text_time") != 0)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: addition_embed_type is \"%.40s\", supported: text_time",
                        json->path, type);
    SDG_TRY(sdg_json_int(json, "addition_time_embed_dim", 2, SDG_CHANNELS_MAX, 0, &c->addition_time_embed_dim));
    SDG_TRY(sdg_json_int(json, "projection_class_embeddings_input_dim", 1, 16 * SDG_CHANNELS_MAX, 0,
                         &c->addition_embed_dim));
    if (c->addition_time_embed_dim == 0 || c->addition_embed_dim == 0)
        return sdg_fail(
            json->log, SDG_ERROR_INPUT,
            "%s: addition_embed_type text_time needs addition_time_embed_dim and projection_class_embeddings_input_dim",
            json->path);
    return SDG_OK;
}

// Of each size no default is known: the blocks' tensors would have to be believed.
static enum sdg_result read_size(const struct sdg_json *json, const char *key, int lo, int hi, int *out)
{
    if (!sdg_json_get(json, key))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is missing, which self_mixer \"mamba\" needs", json->path,
                        key);
    return sdg_json_int(json, key, lo, hi, lo, out);
}

// Keys that begin with "mamba_" are about the blocks: one that is not known, or that no block reads, would say of the
// network what it is not.
static enum sdg_result check_mamba_keys(const struct sdg_json *json, bool mamba)
{
    static const char *const known[] = {"mamba_d_state", "mamba_d_conv", "mamba_expand", "mamba_hadamard"};
    for (const cJSON *item = json->object->child; item; item = item->next) {
        char shown[64];
        bool found = false;
        if (strncmp(item->string, "mamba_", strlen("mamba_")) != 0 || cJSON_IsNull(item))
            continue;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= strcmp(item->string, known[i]) == 0;
        if (!found)
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %.64s is %s, which is not supported", json->path,
                            item->string, sdg_json_show(item, shown));
        if (!mamba)
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is %s, but self_mixer is not \"mamba\"", json->path,
                            item->string, sdg_json_show(item, shown));
    }
    return SDG_OK;
}

static enum sdg_result read_self_mixer(const struct sdg_json *json, struct sdg_mamba_sizes *out)
{
    static const char *const mixers[] = {"attention", "mamba"};
    int mixer;
    SDG_TRY(sdg_json_enum(json, "self_mixer", mixers, 2, 0, &mixer));
    SDG_TRY(check_mamba_keys(json, mixer == 1));
    if (mixer == 0)
        return SDG_OK;
    SDG_TRY(read_size(json, "mamba_d_state", 1, 256, &out->d_state));
    SDG_TRY(read_size(json, "mamba_d_conv", 2, 8, &out->d_conv));
    SDG_TRY(read_size(json, "mamba_expand", 1, SDG_MAMBA_INNER_MAX, &out->expand));
    return sdg_json_bool(json, "mamba_hadamard", false, &out->hadamard);
}

static enum sdg_result read_base_object(const struct sdg_json *json, struct sdg_base *out)
{
    for (const cJSON *item = json->object->child; item; item = item->next)
        if (strcmp(item->string, "base_path") != 0 && strcmp(item->string, "base") != 0)
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %.64s is no key of it, known: base_path, base", json->path,
                            item->string);
    SDG_TRY(sdg_config_base_path(json, out->path));
    if (!*out->path)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: base_path is missing, the folder of the model's base",
                        json->path);
    return sdg_config_digits(json, "base", true, out->fingerprint);
}

// Named by the object of that key, or by the quantization.
static enum sdg_result read_base(const struct sdg_json *json, struct sdg_unet_config *c)
{
    const struct sdg_quantization_config *q = &c->quantization;
    const cJSON *object = sdg_json_get(json, SDG_PREFERENCES_KEY);
    char where[600], shown[64];
    if (!object) {
        memcpy(c->base.path, q->base_path, sizeof c->base.path);
        memcpy(c->base.fingerprint, q->base, sizeof c->base.fingerprint);
        return SDG_OK;
    }
    snprintf(where, sizeof where, "%s: " SDG_PREFERENCES_KEY, json->path);
    if (!cJSON_IsObject(object))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s is %s, should be an object", where,
                        sdg_json_show(object, shown));
    if (q->present)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: names a base, but so does quantization_config", where);
    return read_base_object(&(struct sdg_json){json->log, where, object}, &c->base);
}

static enum sdg_result read_unet(const struct sdg_json *json, struct sdg_unet_config *c)
{
    static const int default_channels[] = {320, 640, 1280, 1280};
    SDG_TRY(sdg_config_class(json, "_class_name", "UNet2DConditionModel", NULL));
    SDG_TRY(sdg_config_fixed_keys(json, fixed_keys, sizeof fixed_keys / sizeof *fixed_keys));
    SDG_TRY(sdg_json_ints(json, "block_out_channels", 1, SDG_CHANNELS_MAX, SDG_MAX_LEVELS, c->channels, &c->levels));
    if (c->levels == 0) {
        memcpy(c->channels, default_channels, sizeof default_channels);
        c->levels = 4;
    }
    SDG_TRY(sdg_json_int(json, "in_channels", 1, 256, 4, &c->in_channels));
    SDG_TRY(sdg_json_int(json, "out_channels", 1, 256, 4, &c->out_channels));
    SDG_TRY(read_sample_size(json, c));
    const cJSON *version = sdg_json_get(json, "_diffusers_version");
    c->before_0_9 = cJSON_IsString(version) && strncmp(version->valuestring, "0.", 2) == 0 &&
        strtol(version->valuestring + 2, NULL, 10) < 9;
    SDG_TRY(read_blocks(json, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D", 0, 2, c->levels,
                        c->down_attention));
    SDG_TRY(read_blocks(json, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", 1, 3, c->levels, c->up_attention));
    SDG_TRY(read_mid_block(json, c));
    SDG_TRY(sdg_json_each(json, "layers_per_block", 1, SDG_LAYERS_MAX, 2, c->levels, c->layers_per_block));
    const char *heads = sdg_json_get(json, "num_attention_heads") ? "num_attention_heads" : "attention_head_dim";
    SDG_TRY(sdg_json_each(json, heads, 1, 1024, 8, c->levels, c->heads));
    SDG_TRY(
        sdg_json_each(json, "transformer_layers_per_block", 1, SDG_LAYERS_MAX, 1, c->levels, c->transformer_layers));
    SDG_TRY(read_cross_dim(json, c->levels, &c->cross_attention_dim));
    SDG_TRY(read_self_mixer(json, &c->mamba));
    SDG_TRY(sdg_json_int(json, "norm_num_groups", 1, SDG_CHANNELS_MAX, 32, &c->norm_groups));
    SDG_TRY(sdg_json_float(json, "norm_eps", 1e-12, 1, 1e-5f, &c->norm_eps));
    SDG_TRY(sdg_json_bool(json, "use_linear_projection", false, &c->linear_projection));
    SDG_TRY(sdg_json_bool(json, "flip_sin_to_cos", true, &c->flip_sin_to_cos));
    SDG_TRY(sdg_json_float(json, "freq_shift", -16, 16, 0, &c->freq_shift));
    SDG_TRY(sdg_json_int(json, "time_cond_proj_dim", 1, SDG_CHANNELS_MAX, 0, &c->time_cond_proj_dim));
    SDG_TRY(read_addition(json, c));
    SDG_TRY(sdg_quantization_config_read(json, &c->quantization));
    return read_base(json, c);
}

enum sdg_result sdg_unet_config_check(const struct sdg_log *log, const char *path, const struct sdg_unet_config *c)
{
    if (c->levels < 1 || c->levels > SDG_MAX_LEVELS)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the UNet has %d levels, supported: 1 to %d", path, c->levels,
                        SDG_MAX_LEVELS);
    SDG_TRY(sdg_check_range(log, path, "in_channels", c->in_channels, 1, 256));
    SDG_TRY(sdg_check_range(log, path, "out_channels", c->out_channels, 1, 256));
    SDG_TRY(sdg_check_range(log, path, "cross_attention_dim", c->cross_attention_dim, 1, SDG_CHANNELS_MAX));
    for (int i = 0; i < c->levels; i++) {
        SDG_TRY(sdg_check_range(log, path, "block_out_channels", c->channels[i], 1, SDG_CHANNELS_MAX));
        SDG_TRY(sdg_check_range(log, path, "layers_per_block", c->layers_per_block[i], 1, SDG_LAYERS_MAX));
        SDG_TRY(
            sdg_check_range(log, path, "transformer_layers_per_block", c->transformer_layers[i], 1, SDG_LAYERS_MAX));
        SDG_TRY(sdg_check_divides(log, path, "norm_num_groups", c->norm_groups, "block_out_channels", c->channels[i]));
        // The up blocks mirror the levels: block j works on level levels - 1 - j.
        bool attention =
            c->down_attention[i] || c->up_attention[c->levels - 1 - i] || (c->mid_attention && i == c->levels - 1);
        if (attention)
            SDG_TRY(sdg_check_divides(log, path, "attention_head_dim (the number of heads)", c->heads[i],
                                      "block_out_channels", c->channels[i]));
        if (attention && c->mamba.expand > SDG_MAMBA_INNER_MAX / c->channels[i])
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: mamba_expand is %d, but %d times the %d of block_out_channels are more than %d "
                            "channels",
                            path, c->mamba.expand, c->mamba.expand, c->channels[i], SDG_MAMBA_INNER_MAX);
    }
    if (c->channels[0] % 2 != 0)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: the first of block_out_channels is %d, it has to be even for the time embedding", path,
                        c->channels[0]);
    if (c->addition_time_embed_dim % 2 != 0 || c->time_cond_proj_dim % 2 != 0)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: addition_time_embed_dim and time_cond_proj_dim have to be even",
                        path);
    return SDG_OK;
}

enum sdg_result sdg_unet_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                      struct sdg_unet_config *out)
{
    struct sdg_unet_config config = {0};
    struct sdg_json json;
    SDG_TRY(sdg_json_parse(log, path, text, &json));
    enum sdg_result result = read_unet(&json, &config);
    sdg_json_free(&json);
    if (result == SDG_OK)
        result = sdg_unet_config_check(log, path, &config);
    if (result == SDG_OK)
        *out = config;
    return result;
}
