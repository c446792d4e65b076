// The config.json of a Vision Mamba classifier. Sizes have to be said; what Vim's code has as an option of the
// architecture takes the value that is implemented where it is absent.
#include "base/json.h"
#include "formats/config.h"
#include "formats/config_check.h"

enum { SIDE_MAX = 4096, CLASSES_MAX = 65536, STATE_MAX = 256, TOKENS_MAX = 16384, EXPAND_MAX = 16 };

static const struct sdg_fixed_key fixed_keys[] = {
    {.key = "bimamba_type", .wanted = SDG_FIXED_STRING, .string = "v2"},
    {.key = "rms_norm", .wanted = SDG_FIXED_FALSE},
    {.key = "if_rope", .wanted = SDG_FIXED_FALSE},
    {.key = "if_bidirectional", .wanted = SDG_FIXED_FALSE},
    {.key = "use_double_cls_token", .wanted = SDG_FIXED_FALSE},
    {.key = "final_pool_type", .wanted = SDG_FIXED_STRING, .string = "none"},
};
// Options that the implemented network has turned on.
static const char *const needed[] = {"if_abs_pos_embed", "if_cls_token", "use_middle_cls_token", "if_divide_out"};

static enum sdg_result check_needed(const struct sdg_json *json)
{
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        bool on;
        SDG_TRY(sdg_json_bool(json, needed[i], true, &on));
        if (!on)
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s is false, supported: true", json->path,
                            needed[i]);
    }
    return SDG_OK;
}

// 0 stands for a missing number, which none of these may be.
static enum sdg_result read_size(const struct sdg_json *json, const char *key, int most, int *out)
{
    SDG_TRY(sdg_json_int(json, key, 1, most, 0, out));
    return *out ? SDG_OK
                : sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is missing, should be 1 to %d", json->path, key, most);
}

static enum sdg_result read_vim(const struct sdg_json *json, struct sdg_vim_config *c)
{
    SDG_TRY(sdg_config_class(json, "model_type", "vim", NULL));
    SDG_TRY(sdg_config_fixed_keys(json, fixed_keys, sizeof fixed_keys / sizeof *fixed_keys));
    SDG_TRY(check_needed(json));
    SDG_TRY(read_size(json, "image_size", SIDE_MAX, &c->image_size));
    SDG_TRY(read_size(json, "patch_size", SIDE_MAX, &c->patch_size));
    SDG_TRY(read_size(json, "num_channels", 3, &c->channels));
    SDG_TRY(read_size(json, "num_classes", CLASSES_MAX, &c->classes));
    SDG_TRY(read_size(json, "hidden_size", SDG_CHANNELS_MAX, &c->hidden));
    SDG_TRY(read_size(json, "num_layers", SDG_LAYERS_MAX, &c->layers));
    SDG_TRY(read_size(json, "d_state", STATE_MAX, &c->d_state));
    SDG_TRY(sdg_json_int(json, "d_conv", 2, 8, 4, &c->d_conv));
    SDG_TRY(sdg_json_int(json, "expand", 1, EXPAND_MAX, 2, &c->expand));
    SDG_TRY(sdg_json_float(json, "layer_norm_eps", 1e-12, 1, 1e-5f, &c->norm_eps));
    SDG_TRY(sdg_json_float(json, "max_value", 1e-6, 1e6, 255, &c->white));
    SDG_TRY(sdg_json_float(json, "image_mean", -1e6, 1e6, 0.5f, &c->mean));
    SDG_TRY(sdg_json_float(json, "image_std", 1e-6, 1e6, 0.5f, &c->std));
    return sdg_quantization_config_read(json, &c->quantization);
}

static enum sdg_result check(const struct sdg_log *log, const char *path, const struct sdg_vim_config *c)
{
    SDG_TRY(sdg_check_divides(log, path, "patch_size", c->patch_size, "image_size", c->image_size));
    const int64_t side = c->image_size / c->patch_size;
    if (c->channels == 2)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: num_channels is 2, should be 1 or 3", path);
    if (c->expand > SDG_MAMBA_INNER_MAX / c->hidden)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: expand is %d, but %d times the %d of hidden_size are more than %d channels", path,
                        c->expand, c->expand, c->hidden, SDG_MAMBA_INNER_MAX);
    if (side * side >= TOKENS_MAX)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %lldx%lld patches and a class token are more than %d tokens", path,
                        (long long)side, (long long)side, TOKENS_MAX);
    return SDG_OK;
}

enum sdg_result sdg_vim_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                     struct sdg_vim_config *out)
{
    struct sdg_vim_config config = {0};
    struct sdg_json json;
    SDG_TRY(sdg_json_parse(log, path, text, &json));
    enum sdg_result result = read_vim(&json, &config);
    sdg_json_free(&json);
    if (result == SDG_OK)
        result = check(log, path, &config);
    if (result == SDG_OK)
        *out = config;
    return result;
}
