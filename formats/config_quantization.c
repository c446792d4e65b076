// "quantization_config" of a UNet's config.json: how sdquant made this model, and out of which.
#include "base/json.h"
#include "formats/config_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FLOAT_BITS = 16, MOST_GROUP = 1 << 20, MOST_SITES = 1 << 16 };

static const char *const rules[] = {"none", "static", "table", "tdq", "dynamic"};
static const char *const roundings[] = {"mse", "gptq"};

// Other programs' quantized models have the key too; their weights would be taken for broken ones.
static enum sdg_result check_method(const struct sdg_json *json)
{
    const char *method = NULL;
    int format;
    SDG_TRY(sdg_json_string(json, "quant_method", NULL, &method));
    if (!method)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: quant_method is missing; models quantized by sdquant have \"sdgen\" there", json->path);
    if (strcmp(method, "sdgen") != 0)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: quant_method is \"%.40s\", supported: sdgen; take the full-precision model and "
                        "quantize it with sdquant",
                        json->path, method);
    SDG_TRY(sdg_json_int(json, "format", 0, 1 << 30, 0, &format));
    if (format != SDG_QUANTIZATION_FORMAT)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: format is %d, supported: %d; quantize the model again with this version's sdquant",
                        json->path, format, SDG_QUANTIZATION_FORMAT);
    return SDG_OK;
}

// 0 stands for a missing number, which none of these may be.
static enum sdg_result read_bits(const struct sdg_json *json, struct sdg_quantization_config *q)
{
    int weight, activation;
    SDG_TRY(sdg_json_int(json, "weight_bits", 0, 1 << 20, 0, &weight));
    if (weight != 4 && weight != 8)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: weight_bits is %d, should be 4 or 8", json->path, weight);
    SDG_TRY(sdg_json_int(json, "activation_bits", 0, 1 << 20, 0, &activation));
    if ((activation < 2 || activation > 8) && activation != FLOAT_BITS)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: activation_bits is %d, should be 2 to 8, or %d for none",
                        json->path, activation, FLOAT_BITS);
    q->weight_bits = weight;
    q->activation_bits = activation;
    return SDG_OK;
}

// The name says the same as bits and rule, which is what is used.
static enum sdg_result read_scheme(const struct sdg_json *json, struct sdg_quantization_config *q)
{
    const char *scheme;
    int rule;
    char wanted[sizeof q->scheme];
    SDG_TRY(read_bits(json, q));
    SDG_TRY(sdg_json_enum(json, "rule", rules, sizeof rules / sizeof *rules, 0, &rule));
    bool quantized = q->activation_bits != FLOAT_BITS;
    if (quantized != (rule != 0))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: rule is \"%s\", which does not fit activation_bits %d",
                        json->path, rules[rule], q->activation_bits);
    snprintf(q->rule, sizeof q->rule, "%s", rules[rule]);
    snprintf(wanted, sizeof wanted, "w%da%d%s%s", q->weight_bits, q->activation_bits, quantized ? "-" : "",
             quantized ? q->rule : "");
    SDG_TRY(sdg_json_string(json, "scheme", "", &scheme));
    if (strcmp(scheme, wanted) != 0)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: scheme is \"%.40s\", but bits and rule are those of %s",
                        json->path, scheme, wanted);
    snprintf(q->scheme, sizeof q->scheme, "%s", wanted);
    SDG_TRY(sdg_json_int(json, "group", 0, MOST_GROUP, 0, &q->group));
    if (quantized && q->group)
        return sdg_fail(json->log, SDG_ERROR_INPUT,
                        "%s: group is %d, but integer products need one scale per output channel (group 0)", json->path,
                        q->group);
    return SDG_OK;
}

static enum sdg_result read_seed(const struct sdg_json *json, int64_t *out)
{
    const cJSON *item = sdg_json_get(json, "seed");
    char shown[64];
    if (item &&
        !(cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= 0x1p53 &&
          item->valuedouble == floor(item->valuedouble)))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: seed is %s, should be a whole number from 0 to 2^53",
                        json->path, sdg_json_show(item, shown));
    *out = item ? (int64_t)item->valuedouble : 0;
    return SDG_OK;
}

static enum sdg_result read_digits(const struct sdg_json *json, const char *key, bool needed, char out[static 17])
{
    const char *text;
    SDG_TRY(sdg_json_string(json, key, "", &text));
    size_t length = strlen(text);
    bool good = length == 16 && strspn(text, "0123456789abcdef") == 16;
    if (!good && (length || needed))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is \"%.40s\", should be 16 hexadecimal digits", json->path,
                        key, text);
    memcpy(out, text, length + 1);
    return SDG_OK;
}

static enum sdg_result read_base_path(const struct sdg_json *json, struct sdg_quantization_config *q)
{
    const char *path;
    SDG_TRY(sdg_json_string(json, "base_path", "", &path));
    if (!*path && sdg_json_get(json, "base_path"))
        return sdg_fail(json->log, SDG_ERROR_INPUT,
                        "%s: base_path is empty, should be the folder of the full-precision model", json->path);
    if (strlen(path) >= sizeof q->base_path)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: base_path has %zu bytes, at most %zu are read", json->path,
                        strlen(path), sizeof q->base_path - 1);
    snprintf(q->base_path, sizeof q->base_path, "%s", path);
    return SDG_OK;
}

static enum sdg_result read_config(const struct sdg_json *json, struct sdg_quantization_config *q)
{
    int rounding;
    SDG_TRY(check_method(json));
    SDG_TRY(read_scheme(json, q));
    SDG_TRY(sdg_json_enum(json, "weight_rounding", roundings, sizeof roundings / sizeof *roundings, 0, &rounding));
    snprintf(q->weight_rounding, sizeof q->weight_rounding, "%s", roundings[rounding]);
    SDG_TRY(read_seed(json, &q->seed));
    bool from_statistics = strcmp(q->rule, "none") != 0 && strcmp(q->rule, "dynamic") != 0;
    SDG_TRY(read_digits(json, "statistics", from_statistics, q->statistics));
    SDG_TRY(read_digits(json, "base", true, q->base));
    SDG_TRY(read_digits(json, "fingerprint", true, q->fingerprint));
    SDG_TRY(read_base_path(json, q));
    SDG_TRY(sdg_json_int(json, "static_sites", 0, MOST_SITES, 0, &q->static_sites));
    SDG_TRY(sdg_json_bool(json, "corrected", false, &q->corrected));
    q->present = true;
    return SDG_OK;
}

enum sdg_result sdg_quantization_config_read(const struct sdg_json *json, struct sdg_quantization_config *out)
{
    const cJSON *object = sdg_json_get(json, "quantization_config");
    char where[600], shown[64];
    if (!object)
        return SDG_OK;
    if (!cJSON_IsObject(object))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: quantization_config is %s, should be an object", json->path,
                        sdg_json_show(object, shown));
    snprintf(where, sizeof where, "%s: quantization_config", json->path);
    struct sdg_json inner = {json->log, where, object};
    struct sdg_quantization_config q = {0};
    SDG_TRY(read_config(&inner, &q));
    *out = q;
    return SDG_OK;
}
