// Names of samplers, schedules and the like for help texts, and the library's version.
#include "pipeline/parameter_names.h"

#include "base/spelling.h"
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

static const char *const tilings[] = {"auto", "on", "off", NULL};
static const char *const intervals[] = {"calibrated", "resample", NULL};
static const char *const stages[] = {"text", "encode", "sample", "decode", NULL};
static const char *const results[] = {
    [SDG_OK] = "ok",
    [SDG_ERROR_USAGE] = "usage",
    [SDG_ERROR_INPUT] = "input",
    [SDG_ERROR_OUTPUT] = "output",
    [SDG_ERROR_MEMORY] = "memory",
    [SDG_ERROR_DEVICE] = "device",
    [SDG_ERROR_UNSUPPORTED] = "unsupported",
    [SDG_ERROR_COMPUTE] = "compute",
    [SDG_ERROR_CANCELLED] = "cancelled",
    NULL,
};
static const char *const log_levels[] = {
    [SDG_LOG_ERROR] = "error", [SDG_LOG_WARNING] = "warning", [SDG_LOG_INFO] = "info", [SDG_LOG_DEBUG] = "debug", NULL};
static const char *const keeps[] = {[SDG_KEEP_NOTHING] = "nothing", [SDG_KEEP_NETWORKS] = "networks", NULL};
static const char *const pixel_formats[] = {[SDG_PIXELS_RGB8] = "rgb8",
                                            [SDG_PIXELS_RGBA8] = "rgba8",
                                            [SDG_PIXELS_BGRA8] = "bgra8",
                                            [SDG_PIXELS_RGB_F32] = "rgb_f32",
                                            NULL};
static const char *const previews[] = {
    [SDG_PREVIEW_NONE] = "none", [SDG_PREVIEW_PROJECTION] = "proj", [SDG_PREVIEW_DECODER] = "vae", NULL};
static const char *const plan_kernels[] = {
    [SDG_PLAN_NO_KERNELS] = "none", [SDG_PLAN_COUNTED_KERNELS] = "counted", [SDG_PLAN_EVERY_KERNEL] = "every", NULL};

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
    case SDG_NAMES_VAE_TILING: return tilings;
    case SDG_NAMES_INTERVALS: return intervals;
    case SDG_NAMES_STAGE: return stages;
    case SDG_NAMES_RESULT: return results;
    case SDG_NAMES_LOG_LEVEL: return log_levels;
    case SDG_NAMES_KEEP: return keeps;
    case SDG_NAMES_PIXEL_FORMAT: return pixel_formats;
    case SDG_NAMES_PREVIEW: return previews;
    case SDG_NAMES_PLAN_KERNELS: return plan_kernels;
    }
    return NULL;
}

const char *sdg_name_at(enum sdg_names which, int index)
{
    const char *const *list = sdg_names(which);
    int i = 0;
    while (list && i < index && list[i])
        i++;
    return list && index >= 0 ? list[i] : NULL;
}

int sdg_name_index(enum sdg_names which, const char *name)
{
    const char *const *list = sdg_names(which);
    for (int i = 0; list && name && list[i]; i++)
        if (strcmp(list[i], name) == 0)
            return i;
    return -1;
}

const char *sdg_name_nearest(enum sdg_names which, const char *name)
{
    const char *const *list = sdg_names(which);
    return list && name ? sdg_spelling_nearest(name, list, strlen(name) / 2) : NULL;
}

const char *sdg_result_name(enum sdg_result result)
{
    const char *name = sdg_name_at(SDG_NAMES_RESULT, (int)result);
    return name ? name : "unknown";
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
    char legal[400];
    *index = sdg_name_index(which, name);
    if (*index >= 0)
        return SDG_OK;
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
