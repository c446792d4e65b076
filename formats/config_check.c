#include "formats/config_check.h"

#include <string.h>

enum sdg_result sdg_config_class(const struct sdg_json *json, const char *key, const char *name, const char *other)
{
    const char *value;
    SDG_TRY(sdg_json_string(json, key, name, &value));
    if (strcmp(value, name) == 0 || (other && strcmp(value, other) == 0))
        return SDG_OK;
    return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s is \"%.40s\", supported: %s%s%s", json->path, key, value,
                    name, other ? ", " : "", other ? other : "");
}

enum sdg_result sdg_check_range(const struct sdg_log *log, const char *path, const char *key, int value, int lo, int hi)
{
    if (value >= lo && value <= hi)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is %d, should be from %d to %d", path, key, value, lo, hi);
}

enum sdg_result sdg_check_divides(const struct sdg_log *log, const char *path, const char *part_key, int part,
                                  const char *whole_key, int whole)
{
    if (part > 0 && whole % part == 0)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is %d, which does not divide %s %d", path, part_key, part, whole_key,
                    whole);
}

enum sdg_result sdg_config_digits(const struct sdg_json *json, const char *key, bool needed, char out[static 17])
{
    const char *text;
    SDG_TRY(sdg_json_string(json, key, "", &text));
    size_t length = strlen(text);
    if (!length && needed)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is missing", json->path, key);
    if (length && (length != 16 || strspn(text, "0123456789abcdef") != 16))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is \"%.40s\", should be 16 hexadecimal digits", json->path,
                        key, text);
    memcpy(out, text, length + 1);
    return SDG_OK;
}

enum sdg_result sdg_config_base_path(const struct sdg_json *json, char out[static SDG_BASE_PATH_BYTES])
{
    const char *path;
    SDG_TRY(sdg_json_string(json, "base_path", "", &path));
    if (!*path && sdg_json_get(json, "base_path"))
        return sdg_fail(json->log, SDG_ERROR_INPUT,
                        "%s: base_path is empty, should be the folder of the full-precision model", json->path);
    if (strlen(path) >= SDG_BASE_PATH_BYTES)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: base_path has %zu bytes, at most %d are read", json->path,
                        strlen(path), SDG_BASE_PATH_BYTES - 1);
    memcpy(out, path, strlen(path) + 1);
    return SDG_OK;
}

static bool all_false(const cJSON *item)
{
    const cJSON *entry;
    if (!cJSON_IsArray(item))
        return cJSON_IsFalse(item);
    cJSON_ArrayForEach(entry, item)
    {
        if (!cJSON_IsFalse(entry))
            return false;
    }
    return true;
}

static bool is_fixed(const struct sdg_fixed_key *key, const cJSON *item)
{
    switch (key->wanted) {
    case SDG_FIXED_NOTHING: return false;
    case SDG_FIXED_FALSE: return all_false(item);
    case SDG_FIXED_NUMBER: return cJSON_IsNumber(item) && item->valuedouble == key->number;
    case SDG_FIXED_STRING:
        return cJSON_IsString(item) &&
            (strcmp(item->valuestring, key->string) == 0 || (key->alias && strcmp(item->valuestring, key->alias) == 0));
    case SDG_FIXED_EMPTY: return (cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child;
    }
    return false;
}

enum sdg_result sdg_config_fixed_keys(const struct sdg_json *json, const struct sdg_fixed_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const cJSON *item = sdg_json_get(json, keys[i].key);
        char shown[64];
        if (item && !is_fixed(&keys[i], item))
            return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s is %s, which is not supported", json->path,
                            keys[i].key, sdg_json_show(item, shown));
    }
    return SDG_OK;
}
