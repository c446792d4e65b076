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
