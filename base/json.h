// Checked access to small JSON files, on top of cJSON. Every message names the file and the key.
#ifndef SDG_BASE_JSON_H
#define SDG_BASE_JSON_H

#include "base/log.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

enum { SDG_JSON_FILE_LIMIT = 16 << 20 }; // bytes; real configuration files have a few thousand

// An object and where it came from; `object` belongs to the tree that sdg_json_parse made.
struct sdg_json {
    const struct sdg_log *log;
    const char *path;
    const cJSON *object;
};

// `text` must be one JSON object. json->object is owned by the caller: sdg_json_free. `path` must outlive *json.
// Nesting deeper than a thousand levels is refused, and so is \u0000, which would end a string early. Infinity and
// -Infinity, as Python writes them, are numbers, which only readers without bounds take; NaN is a string.
enum sdg_result sdg_json_parse(const struct sdg_log *log, const char *path, const char *text, struct sdg_json *json);
void sdg_json_free(struct sdg_json *json);

// NULL when the key is absent or null.
const cJSON *sdg_json_get(const struct sdg_json *json, const char *key);

// The readers take `fallback` for absent and null keys, write *out only on success, and fail with SDG_ERROR_INPUT for
// values of another type or outside lo..hi.
enum sdg_result sdg_json_int(const struct sdg_json *json, const char *key, int lo, int hi, int fallback, int *out);
enum sdg_result sdg_json_float(const struct sdg_json *json, const char *key, double lo, double hi, float fallback,
                               float *out);
enum sdg_result sdg_json_bool(const struct sdg_json *json, const char *key, bool fallback, bool *out);
// Points into the tree.
enum sdg_result sdg_json_string(const struct sdg_json *json, const char *key, const char *fallback, const char **out);
// The index of the string in names[count]; others are SDG_ERROR_UNSUPPORTED with the list of what is supported.
enum sdg_result sdg_json_enum(const struct sdg_json *json, const char *key, const char *const *names, int count,
                              int fallback, int *out);
// An array of 1..room whole numbers. *count is untouched, and nothing is written, when the key is absent or null.
enum sdg_result sdg_json_ints(const struct sdg_json *json, const char *key, int lo, int hi, int room, int *out,
                              int *count);
// Exactly `count` numbers: an array of them, or one for all.
enum sdg_result sdg_json_each(const struct sdg_json *json, const char *key, int lo, int hi, int fallback, int count,
                              int *out);

// A short form of a value for messages.
const char *sdg_json_show(const cJSON *item, char text[static 64]);

#endif
