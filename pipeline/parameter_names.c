// Names of samplers, schedules and the like for help texts, and the library's version.
#include "pipeline/parameter_names.h"

#include "sdgen/sdgen.h"

#include <stdio.h>
#include <string.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

const char *sdg_version(void)
{
    return STRINGIFY(SDGEN_VERSION_MAJOR) "." STRINGIFY(SDGEN_VERSION_MINOR) "." STRINGIFY(SDGEN_VERSION_PATCH);
}

const char *sdg_build_info(void)
{
    return SDG_BUILD_INFO; // from CMake, which knows versions and the shaders that were compiled
}

static const char *const samplers[] = {
#define SDG_METHOD(upper, name, label) name,
#include "scheduler/names.def"
    NULL};
static const char *const schedules[] = {
#define SDG_SCHEDULE(upper, name, label) name,
#include "scheduler/names.def"
    NULL};
static const char *const rngs[] = {
#define SDG_RNG(upper, name) name,
#include "scheduler/names.def"
    NULL};
static const char *const types[] = {"f32", "f16", "bf16", NULL};
static const char *const backends[] = {"auto", "cpu", "vulkan", "vulkan:N", "reference", NULL};
static const char *const predictions[] = {"eps", "v", NULL};
static const char *const features[] = {// the index is the bit of enum sdg_feature
#define SDG_FEATURE(upper, name) #name,
#include "backend/features.def"
                                       NULL};

const char *const *sdg_names(enum sdg_names which)
{
    switch (which) {
    case SDG_NAMES_SAMPLER: return samplers;
    case SDG_NAMES_SCHEDULE: return schedules;
    case SDG_NAMES_RNG: return rngs;
    case SDG_NAMES_TYPE: return types;
    case SDG_NAMES_BACKEND: return backends;
    case SDG_NAMES_PREDICTION: return predictions;
    case SDG_NAMES_FEATURE: return features;
    }
    return NULL;
}

void sdg_names_join(enum sdg_names which, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (const char *const *name = sdg_names(which); *name && used < size; name++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", *name);
}

enum sdg_result sdg_name_find(const struct sdg_log *log, enum sdg_names which, const char *what, const char *name,
                              int *index)
{
    const char *const *list = sdg_names(which);
    for (int i = 0; list[i]; i++)
        if (strcmp(list[i], name) == 0) {
            *index = i;
            return SDG_OK;
        }
    char legal[400];
    sdg_names_join(which, legal, sizeof legal);
    return sdg_fail(log, SDG_ERROR_USAGE, "%s is '%s', should be one of: %s", what, name, legal);
}

enum sdg_result sdg_features_parse(const struct sdg_log *log, const char *text, unsigned *mask)
{
    *mask = 0;
    while (text) {
        char name[32];
        size_t length = strcspn(text, ",");
        int index = 0;
        snprintf(name, sizeof name, "%.*s", length < sizeof name ? (int)length : (int)sizeof name - 1, text);
        SDG_TRY(sdg_name_find(log, SDG_NAMES_FEATURE, "a feature to do without", name, &index));
        *mask |= 1u << index;
        text = text[length] ? text + length + 1 : NULL;
    }
    return SDG_OK;
}
