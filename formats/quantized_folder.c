// What a quantized UNet file says about itself, and how it finds its base.
#include "formats/quantized_folder.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/quantized_parts.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum sdg_result sdg_quantized_group(const struct sdg_log *log, const struct sdg_tensors *tensors, int64_t *group)
{
    const char *text = sdg_tensors_metadata(tensors, SDG_GROUP_KEY);
    char *end = NULL;
    *group = 0;
    if (!text)
        return SDG_OK;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number < 1)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: metadata %s is '%.40s', should be a number from 1 to %lld",
                        sdg_tensors_path(tensors), SDG_GROUP_KEY, text, LLONG_MAX);
    *group = number;
    return SDG_OK;
}

bool sdg_quantized_is_tensor(const char *name)
{
    static const char *const suffixes[] = {SDG_WEIGHT_SCALE_SUFFIX,     SDG_INPUT_SCALE_SUFFIX,
                                           SDG_INPUT_ZERO_POINT_SUFFIX, SDG_INPUT_SCALE_TIME_SUFFIX,
                                           SDG_INPUT_SMOOTHING_SUFFIX,  SDG_FOLDED_SMOOTHING_SUFFIX};
    const size_t length = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (length > strlen(suffixes[i]) && strcmp(name + length - strlen(suffixes[i]), suffixes[i]) == 0)
            return true;
    return strcmp(name, SDG_INTERVAL_TIMESTEPS) == 0;
}

bool sdg_quantized_rounds_codes(const struct sdg_tensors *tensors)
{
    const char *codes = sdg_tensors_metadata(tensors, SDG_CODES_KEY);
    return codes && strcmp(codes, SDG_CODES_ROUNDED) == 0;
}

enum sdg_result sdg_quantized_check_layers(const struct sdg_log *log, const struct sdg_tensors *tensors, size_t found)
{
    const char *layers = sdg_tensors_metadata(tensors, SDG_LAYERS_KEY);
    if (layers && strtoull(layers, NULL, 10) != found)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s layers should have weight_scale tensors, but %zu have",
                        sdg_tensors_path(tensors), layers, found);
    return SDG_OK;
}

static bool is_ours(const char *folder, const char *config)
{
    struct sdg_json json;
    char *text, *file = sdg_path_join(NULL, folder, config);
    bool ours = false;
    if (file && sdg_path_kind(file) == SDG_PATH_FILE &&
        sdg_file_read_text(NULL, file, SDG_JSON_FILE_LIMIT, &text) == SDG_OK) {
        if (sdg_json_parse(NULL, file, text, &json) == SDG_OK) {
            ours = sdg_quantization_config_is_ours(&json);
            sdg_json_free(&json);
        }
        sdg_free(text);
    }
    sdg_free(file);
    return ours;
}

bool sdg_quantized_folder_is(const char *path)
{
    return is_ours(path, sdg_quantized_unet_files.config) || is_ours(path, sdg_quantized_network_files.config);
}

// ---- the base ----

static enum sdg_result check_fingerprint(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                         const char *config, const char *key, const char *wanted, const char *why)
{
    char found[17];
    sdg_tensors_fingerprint(tensors, found);
    if (strcmp(found, wanted) == 0)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: its tensors have the fingerprint %s, but %s of quantization_config in %s is %s: %s",
                    sdg_tensors_path(tensors), found, key, config, wanted, why);
}

static bool has_token_intervals(const struct sdg_tensors *tensors)
{
    const size_t suffix = strlen(SDG_INPUT_SCALE_SUFFIX);
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(tensors, i);
        const size_t length = strlen(t->name);
        if (t->rank == 3 && length > suffix && strcmp(t->name + length - suffix, SDG_INPUT_SCALE_SUFFIX) == 0)
            return true;
    }
    return false;
}

enum sdg_result sdg_quantized_finish(const struct sdg_log *log, const struct sdg_quantization_config *config,
                                     const char *path, struct sdg_tensors *unet, struct sdg_tensors **base)
{
    SDG_TRY(check_fingerprint(log, unet, path, "fingerprint", config->fingerprint,
                              "one of the two files was replaced or changed; quantize the model again"));
    if (!config->scan_order[0] && has_token_intervals(unet))
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: quantization_config: scan_order is missing, but there are intervals by token, which are "
                        "for one order (" SDG_SCAN_ROWS ")",
                        path);
    if (!*base)
        return SDG_OK;
    SDG_TRY(check_fingerprint(log, *base, path, "base", config->base, "this is not the model that was quantized"));
    return sdg_tensors_overlay(log, unet, base);
}
