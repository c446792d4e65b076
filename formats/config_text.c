// The config.json of transformers' CLIP text encoders. Missing keys take CLIPTextConfig's defaults.
#include "base/json.h"
#include "formats/config.h"
#include "formats/config_check.h"

#include <string.h>

// `architectures` names the class; only the one with a projection has text_projection.weight.
static enum sdg_result read_architecture(const struct sdg_json *json, bool *projection)
{
    const cJSON *array = sdg_json_get(json, "architectures");
    const cJSON *item = cJSON_IsArray(array) ? cJSON_GetArrayItem(array, 0) : NULL;
    char shown[64];
    *projection = false;
    if (!item)
        return SDG_OK;
    *projection = cJSON_IsString(item) && strcmp(item->valuestring, "CLIPTextModelWithProjection") == 0;
    if (!*projection && !(cJSON_IsString(item) && strcmp(item->valuestring, "CLIPTextModel") == 0))
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: architectures has %s, supported: CLIPTextModel, CLIPTextModelWithProjection", json->path,
                        sdg_json_show(item, shown));
    return SDG_OK;
}

static const struct sdg_fixed_key fixed_keys[] = {
    {.key = "is_decoder", .wanted = SDG_FIXED_FALSE},
    {.key = "add_cross_attention", .wanted = SDG_FIXED_FALSE},
    {.key = "pruned_heads", .wanted = SDG_FIXED_EMPTY},
    {.key = "quantization_config", .wanted = SDG_FIXED_NOTHING},
};

static enum sdg_result read_text(const struct sdg_json *json, struct sdg_text_config *c)
{
    static const char *const activations[] = {[SDG_TEXT_QUICK_GELU] = "quick_gelu", [SDG_TEXT_GELU] = "gelu"};
    bool projection;
    int activation;
    SDG_TRY(sdg_config_class(json, "model_type", "clip_text_model", "clip"));
    SDG_TRY(read_architecture(json, &projection));
    SDG_TRY(sdg_config_fixed_keys(json, fixed_keys, sizeof fixed_keys / sizeof *fixed_keys));
    SDG_TRY(sdg_json_int(json, "vocab_size", 1, 1 << 22, 49408, &c->vocab_size));
    SDG_TRY(sdg_json_int(json, "hidden_size", 1, SDG_CHANNELS_MAX, 512, &c->hidden));
    SDG_TRY(sdg_json_int(json, "intermediate_size", 1, 4 * SDG_CHANNELS_MAX, 2048, &c->intermediate));
    SDG_TRY(sdg_json_int(json, "num_hidden_layers", 1, SDG_LAYERS_MAX, 12, &c->layers));
    SDG_TRY(sdg_json_int(json, "num_attention_heads", 1, 1024, 8, &c->heads));
    SDG_TRY(sdg_json_int(json, "max_position_embeddings", 1, 65536, 77, &c->positions));
    SDG_TRY(sdg_json_enum(json, "hidden_act", activations, 2, SDG_TEXT_QUICK_GELU, &activation));
    c->activation = (enum sdg_text_activation)activation;
    SDG_TRY(sdg_json_float(json, "layer_norm_eps", 1e-12, 1, 1e-5f, &c->eps));
    SDG_TRY(sdg_json_int(json, "eos_token_id", 0, 1 << 22, 49407, &c->eos_token_id));
    SDG_TRY(sdg_json_bool(json, "use_attention_mask", false, &c->mask_padding));
    if (projection)
        SDG_TRY(sdg_json_int(json, "projection_dim", 1, SDG_CHANNELS_MAX, 512, &c->projection_dim));
    return SDG_OK;
}

enum sdg_result sdg_text_config_check(const struct sdg_log *log, const char *path, const struct sdg_text_config *c)
{
    SDG_TRY(sdg_check_range(log, path, "vocab_size", c->vocab_size, 1, 1 << 22));
    SDG_TRY(sdg_check_range(log, path, "hidden_size", c->hidden, 1, SDG_CHANNELS_MAX));
    SDG_TRY(sdg_check_range(log, path, "intermediate_size", c->intermediate, 1, 4 * SDG_CHANNELS_MAX));
    SDG_TRY(sdg_check_range(log, path, "num_hidden_layers", c->layers, 1, SDG_LAYERS_MAX));
    SDG_TRY(sdg_check_range(log, path, "max_position_embeddings", c->positions, 2, 65536));
    SDG_TRY(sdg_check_divides(log, path, "num_attention_heads", c->heads, "hidden_size", c->hidden));
    if (c->eos_token_id >= c->vocab_size)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: eos_token_id is %d, but vocab_size only %d", path, c->eos_token_id,
                        c->vocab_size);
    return SDG_OK;
}

enum sdg_result sdg_text_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                      struct sdg_text_config *out)
{
    struct sdg_text_config config = {0};
    struct sdg_json json;
    SDG_TRY(sdg_json_parse(log, path, text, &json));
    // The configuration of a whole CLIP model has that of its text half inside.
    const cJSON *inner = sdg_json_get(&json, "text_config");
    const struct sdg_json half = {log, path, inner};
    enum sdg_result result = cJSON_IsObject(inner) ? read_text(&half, &config) : read_text(&json, &config);
    sdg_json_free(&json);
    if (result == SDG_OK)
        result = sdg_text_config_check(log, path, &config);
    if (result == SDG_OK)
        *out = config;
    return result;
}
