#include "formats/preferences.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { MOST_STEPS = 1000, LARGEST_SIDE = 16384 };

static enum sdg_result check_keys(const struct sdg_json *json)
{
    static const char *const known[] = {"sampler", "schedule", "steps",  "cfg_scale",
                                        "eta",     "width",    "height", "known_words"};
    for (const cJSON *item = json->object->child; item; item = item->next) {
        bool found = false;
        for (size_t i = 0; !found && i < sizeof known / sizeof *known; i++)
            found = strcmp(item->string, known[i]) == 0;
        if (!found)
            return sdg_fail(json->log, SDG_ERROR_INPUT,
                            "%s: %.64s is no key of it, known: sampler, schedule, steps, cfg_scale, eta, width, "
                            "height, known_words",
                            json->path, item->string);
    }
    return SDG_OK;
}

static enum sdg_result read_number(const struct sdg_json *json, const char *key, double lo, double hi,
                                   struct sdg_number *out)
{
    const cJSON *item = sdg_json_get(json, key);
    char shown[64];
    if (!item)
        return SDG_OK;
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= lo && item->valuedouble <= hi))
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is %s, should be a number from %g to %g", json->path, key,
                        sdg_json_show(item, shown), lo, hi);
    *out = sdg_number(item->valuedouble);
    return SDG_OK;
}

static enum sdg_result read_name(const struct sdg_json *json, const char *key, char *out, size_t room)
{
    const char *name;
    SDG_TRY(sdg_json_string(json, key, NULL, &name));
    if (!name)
        return SDG_OK;
    if (!*name || strlen(name) >= room)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s is \"%.64s\", should be a name of 1 to %zu bytes",
                        json->path, key, name, room - 1);
    snprintf(out, room, "%s", name);
    return SDG_OK;
}

static enum sdg_result read_object(const struct sdg_json *json, struct sdg_preferences *p)
{
    SDG_TRY(check_keys(json));
    SDG_TRY(read_name(json, "sampler", p->sampler, sizeof p->sampler));
    SDG_TRY(read_name(json, "schedule", p->schedule, sizeof p->schedule));
    SDG_TRY(sdg_json_int(json, "steps", 1, MOST_STEPS, 0, &p->steps));
    SDG_TRY(sdg_json_int(json, "width", 1, LARGEST_SIDE, 0, &p->width));
    SDG_TRY(sdg_json_int(json, "height", 1, LARGEST_SIDE, 0, &p->height));
    SDG_TRY(read_number(json, "cfg_scale", -1000, 1000, &p->cfg_scale));
    SDG_TRY(read_number(json, "eta", 0, 1, &p->eta));
    SDG_TRY(read_name(json, "known_words", p->known_words, sizeof p->known_words));
    if (strpbrk(p->known_words, "/\\") || strcmp(p->known_words, "..") == 0)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: known_words is \"%s\", should be the name of a file beside it",
                        json->path, p->known_words);
    return SDG_OK;
}

enum sdg_result sdg_preferences_read(const struct sdg_json *index, struct sdg_preferences *out)
{
    const cJSON *object = sdg_json_get(index, SDG_PREFERENCES_KEY);
    struct sdg_preferences preferences = {.given = true};
    if (!object)
        return SDG_OK;
    const size_t room = strlen(index->path) + sizeof ": " SDG_PREFERENCES_KEY;
    char shown[64], *place = sdg_alloc_raw(index->log, room, 1, "a path");
    if (!place)
        return SDG_ERROR_MEMORY;
    snprintf(place, room, "%s: %s", index->path, SDG_PREFERENCES_KEY);
    enum sdg_result result = cJSON_IsObject(object)
        ? read_object(&(struct sdg_json){index->log, place, object}, &preferences)
        : sdg_fail(index->log, SDG_ERROR_INPUT, "%s is %s, should be an object", place, sdg_json_show(object, shown));
    sdg_free(place);
    if (result == SDG_OK)
        *out = preferences;
    return result;
}
