// Scheme, expressions and the scheme file: what of a model is quantized to how many bits.
#include "quantize/quant_settings.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <string.h>

enum { SMALLEST_GROUP = 16, LARGEST_GROUP = 16384, SCHEME_FILE_BYTES = 1 << 20 };

// ---- expressions ----

// `where` is for messages: the file or the parameter.
static enum sdg_result compile_rule(const struct sdg_log *log, const char *where, const char *expression, int bits,
                                    enum sdg_result kind, struct sdg_bits_rule *rule)
{
    char why[120];
    if (!*expression)
        return sdg_fail(log, kind, "%s: an empty expression matches every module: write '.' if that is meant", where);
    *rule = (struct sdg_bits_rule){.weight_bits = bits, .text = sdg_strdup(log, expression)};
    if (!rule->text)
        return SDG_ERROR_MEMORY;
    int failed = regcomp(&rule->match, expression, REG_EXTENDED | REG_NOSUB);
    if (!failed)
        return SDG_OK;
    regerror(failed, &rule->match, why, sizeof why);
    sdg_free(rule->text);
    return sdg_fail(log, kind, "%s: '%s' is no regular expression: %s", where, expression, why);
}

static enum sdg_result add_rule(const struct sdg_log *log, struct sdg_quant_settings *s, const char *where,
                                const char *expression, int bits, enum sdg_result kind)
{
    if (!sdg_grow(log, &s->rules, &s->rule_capacity, s->rule_count + 1, sizeof *s->rules, "expressions"))
        return SDG_ERROR_MEMORY;
    SDG_TRY(compile_rule(log, where, expression, bits, kind, &s->rules[s->rule_count]));
    s->rule_count++;
    return SDG_OK;
}

// Of a list of sites.
static enum sdg_result add_site_rule(const struct sdg_log *log, struct sdg_bits_rule **rules, size_t *count,
                                     size_t *capacity, const char *where, const char *expression)
{
    if (!sdg_grow(log, rules, capacity, *count + 1, sizeof **rules, "expressions"))
        return SDG_ERROR_MEMORY;
    SDG_TRY(compile_rule(log, where, expression, 0, SDG_ERROR_INPUT, &(*rules)[*count]));
    ++*count;
    return SDG_OK;
}

bool sdg_quant_settings_tokens(const struct sdg_quant_settings *s, const char *site)
{
    for (size_t i = 0; i < s->token_count; i++)
        if (regexec(&s->tokens[i].match, site, 0, NULL, 0) == 0)
            return true;
    return s->token_count == 0;
}

void sdg_quant_settings_mark_tokens(struct sdg_quant_settings *s, const char *site)
{
    for (size_t i = 0; i < s->token_count; i++)
        s->tokens[i].matched = s->tokens[i].matched || regexec(&s->tokens[i].match, site, 0, NULL, 0) == 0;
}

bool sdg_quant_settings_operand(struct sdg_quant_settings *s, const char *site)
{
    bool wanted = false;
    for (size_t i = 0; i < s->operand_count; i++)
        if (regexec(&s->operands[i].match, site, 0, NULL, 0) == 0)
            wanted = s->operands[i].matched = true;
    return wanted;
}

int sdg_quant_settings_bits(struct sdg_quant_settings *s, const char *module)
{
    int bits = s->scheme.weight_bits;
    for (size_t i = 0; i < s->rule_count; i++)
        if (regexec(&s->rules[i].match, module, 0, NULL, 0) == 0) {
            s->rules[i].matched = true;
            bits = s->rules[i].weight_bits;
        }
    return bits;
}

static void free_rules(struct sdg_bits_rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        regfree(&rules[i].match);
        sdg_free(rules[i].text);
    }
    sdg_free(rules);
}

void sdg_quant_settings_clear(struct sdg_quant_settings *s)
{
    free_rules(s->rules, s->rule_count);
    free_rules(s->tokens, s->token_count);
    free_rules(s->operands, s->operand_count);
    *s = (struct sdg_quant_settings){0};
}

// ---- the scheme file ----

struct scheme_file {
    struct sdg_json json;
    const char *scheme; // in the tree; NULL = not given
    int group;
};

static enum sdg_result only_known(const struct sdg_json *json, const char *where, const char *const *keys, int count)
{
    for (const cJSON *item = json->object->child; item; item = item->next) {
        bool known = false;
        for (int i = 0; i < count; i++)
            known = known || strcmp(keys[i], item->string) == 0;
        if (!known)
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: '%.60s' is not known in %s", json->path, item->string,
                            where);
    }
    return SDG_OK;
}

static enum sdg_result want_array(const struct sdg_json *json, const char *key, const cJSON **out)
{
    const cJSON *item = sdg_json_get(json, key);
    if (item && !cJSON_IsArray(item))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s should be an array", json->path, key);
    *out = item;
    return SDG_OK;
}

static enum sdg_result read_override(const struct sdg_json *file, const cJSON *item, struct sdg_quant_settings *s)
{
    static const char *const keys[] = {"match", "weight_bits"};
    const struct sdg_json json = {file->log, file->path, item};
    const char *match;
    int bits;
    if (!cJSON_IsObject(item))
        return sdg_fail(file->log, SDG_ERROR_INPUT,
                        "%s: overrides should be objects {\"match\": .., \"weight_bits\": ..}", file->path);
    SDG_TRY(only_known(&json, "an override", keys, 2));
    SDG_TRY(sdg_json_string(&json, "match", "", &match));
    SDG_TRY(sdg_json_int(&json, "weight_bits", 4, SDG_FLOAT_BITS, 0, &bits));
    if (bits != 4 && bits != 6 && bits != 8 && bits != SDG_FLOAT_BITS)
        return sdg_fail(file->log, SDG_ERROR_INPUT,
                        "%s: weight_bits of an override should be 4, 6, 8, or %d for floating point", file->path,
                        SDG_FLOAT_BITS);
    return add_rule(file->log, s, file->path, match, bits, SDG_ERROR_INPUT);
}

static enum sdg_result read_file_rules(const struct sdg_json *json, struct sdg_quant_settings *s)
{
    const cJSON *overrides, *skip, *tokens, *operands, *item;
    SDG_TRY(want_array(json, "overrides", &overrides));
    SDG_TRY(want_array(json, "skip", &skip));
    SDG_TRY(want_array(json, "tokens", &tokens));
    SDG_TRY(want_array(json, "scan_operands", &operands));
    cJSON_ArrayForEach(item, tokens)
    {
        if (!cJSON_IsString(item))
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: tokens should be an array of regular expressions",
                            json->path);
        SDG_TRY(
            add_site_rule(json->log, &s->tokens, &s->token_count, &s->token_capacity, json->path, item->valuestring));
    }
    cJSON_ArrayForEach(item, operands)
    {
        if (!cJSON_IsString(item))
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: scan_operands should be an array of regular expressions",
                            json->path);
        SDG_TRY(add_site_rule(json->log, &s->operands, &s->operand_count, &s->operand_capacity, json->path,
                              item->valuestring));
    }
    cJSON_ArrayForEach(item, overrides) SDG_TRY(read_override(json, item, s));
    cJSON_ArrayForEach(item, skip)
    {
        if (!cJSON_IsString(item))
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: skip should be an array of regular expressions",
                            json->path);
        SDG_TRY(add_rule(json->log, s, json->path, item->valuestring, SDG_FLOAT_BITS, SDG_ERROR_INPUT));
    }
    return SDG_OK;
}

static enum sdg_result read_scheme_file(struct scheme_file *file, struct sdg_quant_settings *s)
{
    static const char *const keys[] = {"scheme", "skip", "group", "overrides", "tokens", "scan_codes", "scan_operands"};
    SDG_TRY(only_known(
        &file->json, "a scheme file: scheme, skip, group, overrides, tokens, scan_codes, scan_operands are", keys, 7));
    SDG_TRY(sdg_json_string(&file->json, "scheme", NULL, &file->scheme));
    SDG_TRY(sdg_json_int(&file->json, "group", 0, LARGEST_GROUP, 0, &file->group));
    SDG_TRY(sdg_json_bool(&file->json, "scan_codes", false, &s->scan_codes));
    return read_file_rules(&file->json, s);
}

static enum sdg_result open_scheme_file(const struct sdg_log *log, const char *path, struct scheme_file *file)
{
    char *text;
    SDG_TRY(sdg_file_read_text(log, path, SCHEME_FILE_BYTES, &text));
    enum sdg_result result = sdg_json_parse(log, path, text, &file->json);
    sdg_free(text);
    return result;
}

// ---- all of it ----

static enum sdg_result set_scheme(const struct sdg_log *log, const struct sdg_quantize_params *params, const char *name,
                                  struct sdg_quant_settings *s)
{
    if (!name)
        return sdg_fail(log, SDG_ERROR_USAGE, "no quantization scheme is given: w8a8-tdq, w4a8-tdq, w8a16, ...");
    SDG_TRY(sdg_scheme_parse(log, name, &s->scheme));
    if (params->intervals) {
        int rule = sdg_interval_rule_from_name(params->intervals);
        if (rule <= SDG_INTERVAL_NONE || s->scheme.activation_bits == SDG_FLOAT_BITS)
            return sdg_fail(log, SDG_ERROR_USAGE,
                            "intervals '%.40s' with scheme %s: should be static, table, tdq, dynamic, token, "
                            "table-token or tdq-token, "
                            "for integer activations",
                            params->intervals, name);
        s->scheme.rule = (enum sdg_interval_rule)rule;
    }
    if (!sdg_scheme_is_runnable(&s->scheme))
        return sdg_fail(
            log, SDG_ERROR_USAGE,
            "scheme %s can only be simulated: there are no kernels for integer activations with floating-point weights",
            name);
    return SDG_OK;
}

static enum sdg_result set_group(const struct sdg_log *log, int group, struct sdg_quant_settings *s)
{
    if (group == 0)
        return SDG_OK;
    if (s->scheme.activation_bits != SDG_FLOAT_BITS)
        return sdg_fail(
            log, SDG_ERROR_USAGE,
            "group %d: groups of weights are for w4a16 and w8a16; integer sums need one scale per output channel",
            group);
    if (group < SMALLEST_GROUP || group > LARGEST_GROUP || group % SMALLEST_GROUP)
        return sdg_fail(log, SDG_ERROR_USAGE, "group is %d, should be 0 or a multiple of %d up to %d", group,
                        SMALLEST_GROUP, LARGEST_GROUP);
    s->group = (size_t)group;
    return SDG_OK;
}

static enum sdg_result read_settings(const struct sdg_log *log, const struct sdg_quantize_params *params,
                                     struct scheme_file *file, struct sdg_quant_settings *s)
{
    if (params->scheme_file) {
        SDG_TRY(open_scheme_file(log, params->scheme_file, file));
        SDG_TRY(read_scheme_file(file, s));
    }
    SDG_TRY(set_scheme(log, params, params->scheme ? params->scheme : file->scheme, s));
    if (s->token_count && !sdg_interval_rule_has_tokens(s->scheme.rule))
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "%s: \"tokens\" goes with intervals by token (token, table-token, tdq-token), not with %s",
                        params->scheme_file, sdg_interval_rule_name(s->scheme.rule));
    if (s->operand_count && (s->scheme.rule == SDG_INTERVAL_NONE || s->scheme.rule == SDG_INTERVAL_DYNAMIC))
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "%s: \"scan_operands\" goes with intervals that are known before, not with %s",
                        params->scheme_file, sdg_interval_rule_name(s->scheme.rule));
    SDG_TRY(set_group(log, params->group ? params->group : file->group, s));
    SDG_REQUIRE(log, params->skip || !params->skip_count, "skip");
    for (size_t i = 0; i < params->skip_count; i++) {
        SDG_REQUIRE(log, params->skip[i], "skip");
        SDG_TRY(add_rule(log, s, "modules to skip", params->skip[i], SDG_FLOAT_BITS, SDG_ERROR_USAGE));
    }
    return SDG_OK;
}

enum sdg_result sdg_quant_settings_read(const struct sdg_log *log, const struct sdg_quantize_params *params,
                                        struct sdg_quant_settings *out)
{
    struct sdg_quant_settings settings = {0};
    struct scheme_file file = {0};
    enum sdg_result result = read_settings(log, params, &file, &settings);
    sdg_json_free(&file.json);
    if (result != SDG_OK) {
        sdg_quant_settings_clear(&settings);
        return result;
    }
    *out = settings;
    return SDG_OK;
}
