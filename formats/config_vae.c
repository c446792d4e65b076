// AutoencoderKL's and AutoencoderTiny's config.json. Missing keys take diffusers' defaults.
#include "base/json.h"
#include "formats/config.h"
#include "formats/config_check.h"

#include <string.h>

// Every entry of the array `key` must be `name`, and there must be `levels` of them.
static enum sdg_result check_blocks(const struct sdg_json *json, const char *key, const char *name, int levels)
{
    const cJSON *array = sdg_json_get(json, key), *item;
    if (!array)
        return SDG_OK;
    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) != levels)
        return sdg_fail(json->log, SDG_ERROR_INPUT,
                        "%s: %s should be an array of %d names, as many as block_out_channels", json->path, key,
                        levels);
    cJSON_ArrayForEach(item, array)
    {
        char shown[64];
        if (!cJSON_IsString(item) || strcmp(item->valuestring, name) != 0)
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s has %s, supported: %s", json->path, key,
                            sdg_json_show(item, shown), name);
    }
    return SDG_OK;
}

// Of both classes.
static const struct sdg_fixed_key fixed_keys[] = {
    {.key = "quantization_config", .wanted = SDG_FIXED_NOTHING},
};
static const struct sdg_fixed_key kl_keys[] = {
    {.key = "act_fn", .wanted = SDG_FIXED_STRING, .string = "silu", .alias = "swish"},
    {.key = "latents_mean", .wanted = SDG_FIXED_NOTHING},
    {.key = "latents_std", .wanted = SDG_FIXED_NOTHING},
};
static const struct sdg_fixed_key tiny_keys[] = {
    {.key = "act_fn", .wanted = SDG_FIXED_STRING, .string = "relu"},
    {.key = "upsample_fn", .wanted = SDG_FIXED_STRING, .string = "nearest"},
};

static enum sdg_result read_kl(const struct sdg_json *json, struct sdg_vae_config *c)
{
    c->levels = 1;
    c->channels[0] = 64;
    SDG_TRY(sdg_json_ints(json, "block_out_channels", 1, SDG_CHANNELS_MAX, SDG_MAX_LEVELS, c->channels, &c->levels));
    SDG_TRY(check_blocks(json, "down_block_types", "DownEncoderBlock2D", c->levels));
    SDG_TRY(check_blocks(json, "up_block_types", "UpDecoderBlock2D", c->levels));
    SDG_TRY(sdg_config_fixed_keys(json, kl_keys, sizeof kl_keys / sizeof *kl_keys));
    SDG_TRY(sdg_json_int(json, "layers_per_block", 1, SDG_LAYERS_MAX, 1, &c->layers_per_block));
    SDG_TRY(sdg_json_int(json, "norm_num_groups", 1, SDG_CHANNELS_MAX, 32, &c->norm_groups));
    SDG_TRY(sdg_json_bool(json, "mid_block_add_attention", true, &c->mid_attention));
    SDG_TRY(sdg_json_bool(json, "use_quant_conv", true, &c->quant_conv));
    SDG_TRY(sdg_json_bool(json, "use_post_quant_conv", true, &c->post_quant_conv));
    return sdg_json_float(json, "scaling_factor", 1e-6, 1e6, 0.18215f, &c->scaling_factor);
}

static enum sdg_result read_tiny_side(const struct sdg_json *json, const char *channels_key, const char *blocks_key,
                                      const int default_blocks[4], int *levels, int *channels, int *blocks)
{
    int count = 0, block_count = 0;
    SDG_TRY(sdg_json_ints(json, channels_key, 1, SDG_CHANNELS_MAX, SDG_MAX_LEVELS, channels, &count));
    SDG_TRY(sdg_json_ints(json, blocks_key, 1, SDG_LAYERS_MAX, SDG_MAX_LEVELS, blocks, &block_count));
    if (count == 0)
        for (; count < 4; count++)
            channels[count] = 64;
    if (block_count == 0)
        for (; block_count < 4; block_count++)
            blocks[block_count] = default_blocks[block_count];
    if (count != block_count)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s has %d entries and %s has %d, should be the same",
                        json->path, channels_key, count, blocks_key, block_count);
    // The network is one width throughout: the blocks have no shortcut convolutions.
    for (int i = 1; i < count; i++)
        if (channels[i] != channels[0])
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s differs between levels, which is not supported",
                            json->path, channels_key);
    *levels = count;
    return SDG_OK;
}

static enum sdg_result read_tiny(const struct sdg_json *json, struct sdg_vae_config *c)
{
    static const int encoder_blocks[] = {1, 3, 3, 3}, decoder_blocks[] = {3, 3, 3, 1};
    int decoder_levels, factor;
    c->tiny = true;
    SDG_TRY(read_tiny_side(json, "encoder_block_out_channels", "num_encoder_blocks", encoder_blocks, &c->levels,
                           c->channels, c->encoder_blocks));
    SDG_TRY(read_tiny_side(json, "decoder_block_out_channels", "num_decoder_blocks", decoder_blocks, &decoder_levels,
                           c->decoder_channels, c->decoder_blocks));
    if (decoder_levels != c->levels)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: the encoder has %d levels, the decoder %d", json->path,
                        c->levels, decoder_levels);
    SDG_TRY(sdg_config_fixed_keys(json, tiny_keys, sizeof tiny_keys / sizeof *tiny_keys));
    SDG_TRY(sdg_json_int(json, "upsampling_scaling_factor", 2, 2, 2, &factor));
    SDG_TRY(sdg_json_float(json, "latent_magnitude", 1e-6, 1e6, 3, &c->latent_magnitude));
    SDG_TRY(sdg_json_float(json, "latent_shift", -1e6, 1e6, 0.5f, &c->latent_shift));
    c->layers_per_block = 1;
    c->norm_groups = 1;
    return sdg_json_float(json, "scaling_factor", 1e-6, 1e6, 1, &c->scaling_factor);
}

static enum sdg_result read_vae(const struct sdg_json *json, struct sdg_vae_config *c)
{
    const char *class_name;
    SDG_TRY(sdg_config_class(json, "_class_name", "AutoencoderKL", "AutoencoderTiny"));
    SDG_TRY(sdg_json_string(json, "_class_name", "AutoencoderKL", &class_name));
    SDG_TRY(sdg_config_fixed_keys(json, fixed_keys, sizeof fixed_keys / sizeof *fixed_keys));
    SDG_TRY(sdg_json_int(json, "in_channels", 1, 16, 3, &c->in_channels));
    SDG_TRY(sdg_json_int(json, "out_channels", 1, 16, 3, &c->out_channels));
    SDG_TRY(sdg_json_int(json, "latent_channels", 1, 256, 4, &c->latent_channels));
    const bool tiny = strcmp(class_name, "AutoencoderTiny") == 0;
    SDG_TRY(sdg_json_bool(json, "force_upcast", !tiny, &c->force_upcast));
    return tiny ? read_tiny(json, c) : read_kl(json, c);
}

struct sdg_vae_config sdg_default_vae_config(int text_encoders)
{
    const bool xl = text_encoders > 1;
    return (struct sdg_vae_config){.scaling_factor = xl ? 0.13025f : 0.18215f, .force_upcast = true};
}

enum sdg_result sdg_vae_config_check(const struct sdg_log *log, const char *path, const struct sdg_vae_config *c)
{
    if (c->levels < 1 || c->levels > SDG_MAX_LEVELS)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the autoencoder has %d levels, supported: 1 to %d", path, c->levels,
                        SDG_MAX_LEVELS);
    SDG_TRY(sdg_check_range(log, path, "latent_channels", c->latent_channels, 1, 256));
    SDG_TRY(sdg_check_range(log, path, "in_channels", c->in_channels, 1, 16));
    SDG_TRY(sdg_check_range(log, path, "out_channels", c->out_channels, 1, 16));
    for (int i = 0; i < c->levels; i++) {
        SDG_TRY(sdg_check_range(log, path, "block_out_channels", c->channels[i], 1, SDG_CHANNELS_MAX));
        if (!c->tiny)
            SDG_TRY(
                sdg_check_divides(log, path, "norm_num_groups", c->norm_groups, "block_out_channels", c->channels[i]));
    }
    return sdg_check_range(log, path, "layers_per_block", c->layers_per_block, 1, SDG_LAYERS_MAX);
}

enum sdg_result sdg_vae_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                     struct sdg_vae_config *out)
{
    struct sdg_vae_config config = {0};
    struct sdg_json json;
    SDG_TRY(sdg_json_parse(log, path, text, &json));
    enum sdg_result result = read_vae(&json, &config);
    sdg_json_free(&json);
    if (result == SDG_OK)
        result = sdg_vae_config_check(log, path, &config);
    if (result == SDG_OK)
        *out = config;
    return result;
}
