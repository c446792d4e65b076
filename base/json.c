#include "base/json.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Numbers that Python's json module writes and JSON does not have, and what is parsed in their place. Not-a-number is
// no value that anything can use: it stays a word, which every reader refuses by its name.
static const struct special {
    const char *name, *literal;
} specials[] = {{"-Infinity", "-1e999"}, {"Infinity", "1e999"}, {"NaN", "\"NaN\""}};
enum { MOST_GROWTH = 2 }; // of a literal over its name

// The special number that is the whole value at `at`, or NULL.
static const struct special *special_at(const char *text, const char *at)
{
    if (at > text && !strchr(" \t\r\n:[,", at[-1]))
        return NULL;
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        size_t length = strlen(specials[i].name);
        if (strncmp(at, specials[i].name, length) == 0 && strchr(" \t\r\n,]}", at[length])) // or the text's end
            return &specials[i];
    }
    return NULL;
}

static void replace_specials(const char *text, char *out)
{
    bool quoted = false;
    for (const char *c = text; *c;) {
        const struct special *special = quoted ? NULL : special_at(text, c);
        if (special) {
            out = stpcpy(out, special->literal);
            c += strlen(special->name);
            continue;
        }
        if (quoted && *c == '\\' && c[1])
            *out++ = *c++;
        else if (*c == '"')
            quoted = !quoted;
        *out++ = *c++;
    }
    *out = 0;
}

// *copy is `text` as cJSON can read it, to be freed, or NULL where it can as it is.
static enum sdg_result readable(const struct sdg_log *log, const char *text, char **copy)
{
    size_t most = 0;
    *copy = NULL;
    for (const char *c = text; (c = strstr(c, "NaN")) != NULL; c += strlen("NaN"))
        most += MOST_GROWTH;
    if (most == 0 && !strstr(text, "Infinity"))
        return SDG_OK;
    *copy = sdg_alloc_raw(log, strlen(text) + most + 1, 1, "a JSON file");
    if (!*copy)
        return SDG_ERROR_MEMORY;
    replace_specials(text, *copy);
    return SDG_OK;
}

static int line_of(const char *text, const char *end)
{
    int line = 1;
    for (const char *c = text; end && c < end && *c; c++)
        line += *c == '\n';
    return line;
}

static enum sdg_result invalid(const struct sdg_log *log, const char *path, const char *text, const char *end)
{
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: is not valid JSON%s (line %d)", path, *text ? "" : ", it is empty",
                    line_of(text, end));
}

// The first \u0000, NULL if there is none. Backslashes come before the letter they are for, pairs of them alone.
static const char *find_escaped_nul(const char *text)
{
    while ((text = strchr(text, '\\')) && text[1]) {
        if (strncmp(text, "\\u0000", 6) == 0)
            return text;
        text += 2;
    }
    return NULL;
}

enum sdg_result sdg_json_parse(const struct sdg_log *log, const char *path, const char *text, struct sdg_json *json)
{
    const char *end = find_escaped_nul(text);
    char *copy;
    if (end)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has \\u0000 in a string, which is no text (line %d)", path,
                        line_of(text, end));
    SDG_TRY(readable(log, text, &copy));
    if (copy)
        text = copy;
    cJSON *root = cJSON_ParseWithOpts(text, &end, true);
    enum sdg_result result = root ? SDG_OK : invalid(log, path, text, end);
    sdg_free(copy);
    if (result != SDG_OK)
        return result;
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no JSON object", path);
    }
    *json = (struct sdg_json){log, path, root};
    return SDG_OK;
}

void sdg_json_free(struct sdg_json *json)
{
    cJSON_Delete((cJSON *)json->object);
    json->object = NULL;
}

const cJSON *sdg_json_get(const struct sdg_json *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json->object, key);
    return cJSON_IsNull(item) ? NULL : item;
}

const char *sdg_json_show(const cJSON *item, char text[static 64])
{
    if (cJSON_IsString(item))
        snprintf(text, 64, strlen(item->valuestring) < 48 ? "\"%s\"" : "\"%.48s...\"", item->valuestring);
    else if (cJSON_IsNumber(item) && isinf(item->valuedouble))
        snprintf(text, 64, "%sInfinity", item->valuedouble < 0 ? "-" : "");
    else if (cJSON_IsNumber(item))
        snprintf(text, 64, "%.10g", item->valuedouble);
    else
        snprintf(text, 64, "%s",
                 cJSON_IsArray(item)        ? "an array"
                     : cJSON_IsObject(item) ? "an object"
                     : cJSON_IsTrue(item)   ? "true"
                     : cJSON_IsFalse(item)  ? "false"
                                            : "null");
    return text;
}

static enum sdg_result wrong(const struct sdg_json *json, const char *key, const cJSON *item, const char *wanted)
{
    char shown[64];
    return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is %s, should be %s", json->path, key,
                    sdg_json_show(item, shown), wanted);
}

static bool whole_number(const cJSON *item, int lo, int hi, int *out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= lo && item->valuedouble <= hi) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *out = (int)item->valuedouble;
    return true;
}

static enum sdg_result wrong_int(const struct sdg_json *json, const char *key, const cJSON *item, int lo, int hi)
{
    char wanted[80];
    snprintf(wanted, sizeof wanted, "a whole number from %d to %d", lo, hi);
    return wrong(json, key, item, wanted);
}

enum sdg_result sdg_json_int(const struct sdg_json *json, const char *key, int lo, int hi, int fallback, int *out)
{
    const cJSON *item = sdg_json_get(json, key);
    if (!item)
        *out = fallback;
    else if (!whole_number(item, lo, hi, out))
        return wrong_int(json, key, item, lo, hi);
    return SDG_OK;
}

enum sdg_result sdg_json_float(const struct sdg_json *json, const char *key, double lo, double hi, float fallback,
                               float *out)
{
    const cJSON *item = sdg_json_get(json, key);
    if (!item) {
        *out = fallback;
        return SDG_OK;
    }
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= lo && item->valuedouble <= hi)) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "a number from %g to %g", lo, hi);
        return wrong(json, key, item, wanted);
    }
    *out = (float)item->valuedouble;
    return SDG_OK;
}

enum sdg_result sdg_json_bool(const struct sdg_json *json, const char *key, bool fallback, bool *out)
{
    const cJSON *item = sdg_json_get(json, key);
    if (item && !cJSON_IsBool(item))
        return wrong(json, key, item, "true or false");
    *out = item ? cJSON_IsTrue(item) : fallback;
    return SDG_OK;
}

enum sdg_result sdg_json_string(const struct sdg_json *json, const char *key, const char *fallback, const char **out)
{
    const cJSON *item = sdg_json_get(json, key);
    if (item && !cJSON_IsString(item))
        return wrong(json, key, item, "a string");
    *out = item ? item->valuestring : fallback;
    return SDG_OK;
}

enum sdg_result sdg_json_enum(const struct sdg_json *json, const char *key, const char *const *names, int count,
                              int fallback, int *out)
{
    const char *value = names[fallback];
    SDG_TRY(sdg_json_string(json, key, value, &value));
    for (int i = 0; i < count; i++)
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return SDG_OK;
        }
    char list[160] = "";
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED, "%s: %s is \"%.48s\", supported: %s", json->path, key, value,
                    list);
}

enum sdg_result sdg_json_ints(const struct sdg_json *json, const char *key, int lo, int hi, int room, int *out,
                              int *count)
{
    const cJSON *array = sdg_json_get(json, key), *item;
    int values[64], n = 0;
    if (!array)
        return SDG_OK;
    if (room > 64)
        room = 64;
    int size = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    if (size < 1 || size > room) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "an array of 1 to %d whole numbers", room);
        return wrong(json, key, array, wanted);
    }
    cJSON_ArrayForEach(item, array)
    {
        if (!whole_number(item, lo, hi, &values[n++]))
            return wrong_int(json, key, item, lo, hi);
    }
    memcpy(out, values, (size_t)n * sizeof *values);
    *count = n;
    return SDG_OK;
}

enum sdg_result sdg_json_each(const struct sdg_json *json, const char *key, int lo, int hi, int fallback, int count,
                              int *out)
{
    int value = fallback, n = 0;
    if (cJSON_IsArray(sdg_json_get(json, key))) {
        int values[64];
        SDG_TRY(sdg_json_ints(json, key, lo, hi, 64, values, &n));
        if (n != count)
            return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s has %d entries, should have %d", json->path, key, n,
                            count);
        memcpy(out, values, (size_t)n * sizeof *out);
        return SDG_OK;
    }
    SDG_TRY(sdg_json_int(json, key, lo, hi, fallback, &value));
    for (int i = 0; i < count; i++)
        out[i] = value;
    return SDG_OK;
}
