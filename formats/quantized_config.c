// "quantization_config" of a UNet's config.json, read and written: how sdquant made this model, and out of which.
#include "formats/config_check.h"
#include "formats/quantized_parts.h"
#include "formats/scheme.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_GROUP = 1 << 20, MOST_SITES = 1 << 16 };

static const char method_name[] = "sdgen";
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
    if (strcmp(method, method_name) != 0)
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
    if (weight != 4 && weight != 6 && weight != 8)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: weight_bits is %d, should be 4, 6 or 8", json->path, weight);
    SDG_TRY(sdg_json_int(json, "activation_bits", 0, 1 << 20, 0, &activation));
    if ((activation < 2 || activation > 8) && activation != SDG_FLOAT_BITS)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: activation_bits is %d, should be 2 to 8, or %d for none",
                        json->path, activation, SDG_FLOAT_BITS);
    q->weight_bits = weight;
    q->activation_bits = activation;
    return SDG_OK;
}

// The name says the same as bits and rule, which is what is used.
static enum sdg_result read_scheme(const struct sdg_json *json, struct sdg_quantization_config *q)
{
    const char *scheme;
    int rule;
    char wanted[SDG_SCHEME_NAME_BYTES];
    SDG_TRY(read_bits(json, q));
    SDG_TRY(sdg_json_enum(json, "rule", sdg_interval_rule_names, SDG_INTERVAL_RULES, 0, &rule));
    const bool quantized = q->activation_bits != SDG_FLOAT_BITS;
    if (quantized != (rule != SDG_INTERVAL_NONE))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: rule is \"%s\", which does not fit activation_bits %d",
                        json->path, sdg_interval_rule_names[rule], q->activation_bits);
    snprintf(q->rule, sizeof q->rule, "%s", sdg_interval_rule_names[rule]);
    sdg_scheme_name(&(struct sdg_scheme){q->weight_bits, q->activation_bits, (enum sdg_interval_rule)rule}, wanted);
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

// Positions of tokens are those of one order of scanning; another one's intervals would be others.
static enum sdg_result read_scan_order(const struct sdg_json *json, struct sdg_quantization_config *q)
{
    const char *order;
    SDG_TRY(sdg_json_string(json, "scan_order", "", &order));
    if (*order && strcmp(order, SDG_SCAN_ROWS) != 0)
        return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                        "%s: scan_order is \"%.40s\", but the tokens of this model are scanned by " SDG_SCAN_ROWS
                        ": its intervals are for another order",
                        json->path, order);
    snprintf(q->scan_order, sizeof q->scan_order, "%s", order);
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
    SDG_TRY(sdg_config_digits(json, "statistics", from_statistics, q->statistics));
    SDG_TRY(sdg_config_digits(json, "base", true, q->base));
    SDG_TRY(sdg_config_digits(json, "fingerprint", true, q->fingerprint));
    SDG_TRY(sdg_config_base_path(json, q->base_path));
    SDG_TRY(sdg_json_int(json, "static_sites", 0, MOST_SITES, -1, &q->static_sites));
    SDG_TRY(read_scan_order(json, q));
    SDG_TRY(sdg_json_bool(json, "scan_codes", false, &q->scan_codes));
    SDG_TRY(sdg_json_bool(json, "learned", false, &q->learned));
    SDG_TRY(sdg_json_bool(json, "corrected", false, &q->corrected));
    q->present = true;
    return SDG_OK;
}

enum sdg_result sdg_quantization_config_read(const struct sdg_json *json, struct sdg_quantization_config *out)
{
    const cJSON *object = sdg_json_get(json, SDG_QUANTIZATION_KEY);
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

bool sdg_quantization_config_is_ours(const struct sdg_json *json)
{
    const cJSON *method = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(json->object, SDG_QUANTIZATION_KEY), "quant_method");
    return cJSON_IsString(method) && strcmp(method->valuestring, method_name) == 0;
}

// ---- writing ----

// cJSON prints 15 digits of a number, seeds have up to 16.
static cJSON *exact_number(int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, number);
    return cJSON_CreateRaw(text);
}

static bool add_item(cJSON *object, const char *key, cJSON *item)
{
    if (item && cJSON_AddItemToObject(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

cJSON *sdg_quantization_config_describe(const struct sdg_quantization_config *c)
{
    cJSON *q = cJSON_CreateObject();
    bool good = cJSON_AddStringToObject(q, "quant_method", method_name) &&
        cJSON_AddNumberToObject(q, "format", SDG_QUANTIZATION_FORMAT) &&
        cJSON_AddStringToObject(q, "scheme", c->scheme) && cJSON_AddNumberToObject(q, "weight_bits", c->weight_bits) &&
        cJSON_AddNumberToObject(q, "activation_bits", c->activation_bits) &&
        cJSON_AddStringToObject(q, "rule", c->rule) && cJSON_AddNumberToObject(q, "group", c->group) &&
        cJSON_AddStringToObject(q, "weight_rounding", c->weight_rounding) &&
        add_item(q, "seed", exact_number(c->seed)) &&
        (!c->statistics[0] || cJSON_AddStringToObject(q, "statistics", c->statistics)) &&
        cJSON_AddStringToObject(q, "base", c->base) && cJSON_AddStringToObject(q, "fingerprint", c->fingerprint) &&
        (c->static_sites < 0 || cJSON_AddNumberToObject(q, "static_sites", c->static_sites)) &&
        (!c->scan_order[0] || cJSON_AddStringToObject(q, "scan_order", c->scan_order)) &&
        (!c->scan_codes || cJSON_AddTrueToObject(q, "scan_codes")) && cJSON_AddBoolToObject(q, "learned", c->learned) &&
        cJSON_AddBoolToObject(q, "corrected", c->corrected) &&
        (!c->base_path[0] || cJSON_AddStringToObject(q, "base_path", c->base_path));
    if (good)
        return q;
    cJSON_Delete(q);
    return NULL;
}

static bool set_member(cJSON *object, const char *key, cJSON *value)
{
    if (value)
        cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    return add_item(object, key, value);
}

// The seed as it was read, which printing would round.
static bool keep_seed(cJSON *config)
{
    cJSON *seed = cJSON_GetObjectItemCaseSensitive(config, "seed");
    if (!cJSON_IsNumber(seed) || !(seed->valuedouble >= 0 && seed->valuedouble <= 0x1p53))
        return true; // refused by whoever reads it
    cJSON *exact = exact_number((int64_t)seed->valuedouble);
    if (exact && cJSON_ReplaceItemInObjectCaseSensitive(config, "seed", exact))
        return true;
    cJSON_Delete(exact);
    return false;
}

bool sdg_quantization_config_amend(cJSON *config, const char *fingerprint, const char *how)
{
    return cJSON_IsObject(config) && keep_seed(config) &&
        set_member(config, "fingerprint", cJSON_CreateString(fingerprint)) &&
        set_member(config, how, cJSON_CreateTrue());
}
