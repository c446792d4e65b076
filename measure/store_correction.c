// sdg_correct: the correction measured, and put into the quantized folder.
#include "measure/store_correction.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/model.h"
#include "measure/fit_correction.h"
#include "pipeline/template.h"

#include <stdio.h>
#include <string.h>

// ---- the UNet file ----

// All of `old` but its correction, which is replaced.
static enum sdg_result write_tensors(const struct sdg_log *log, const char *path, const struct sdg_tensors *old,
                                     const struct sdg_correction *correction)
{
    struct sdg_tensor *tensors =
        sdg_alloc(log, sdg_tensors_count(old) + SDG_CORRECTION_TENSORS, sizeof *tensors, "a table of tensors");
    if (!tensors)
        return SDG_ERROR_MEMORY;
    size_t count = 0;
    for (size_t i = 0; i < sdg_tensors_count(old); i++)
        if (!sdg_correction_is_tensor(sdg_tensors_at(old, i)->name))
            tensors[count++] = *sdg_tensors_at(old, i);
    sdg_correction_tensors(correction, tensors + count);
    count += SDG_CORRECTION_TENSORS;
    size_t metadata_count;
    const struct sdg_metadata *metadata = sdg_tensors_all_metadata(old, &metadata_count);
    enum sdg_result result = sdg_tensors_write(log, path, tensors, count, metadata, metadata_count);
    sdg_free(tensors);
    return result;
}

static enum sdg_result rewrite_tensors(const struct sdg_log *log, const char *path,
                                       const struct sdg_correction *correction, char fingerprint[17])
{
    struct sdg_tensors *tensors = NULL;
    SDG_TRY(sdg_tensors_open(log, path, &tensors));
    enum sdg_result result = write_tensors(log, path, tensors, correction);
    sdg_tensors_destroy(&tensors);
    if (result == SDG_OK)
        result = sdg_tensors_open(log, path, &tensors);
    if (result == SDG_OK)
        sdg_tensors_fingerprint(tensors, fingerprint);
    sdg_tensors_destroy(&tensors);
    return result;
}

// ---- the configuration ----

static bool set_member(cJSON *object, const char *key, cJSON *value)
{
    if (!value)
        return false;
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    if (cJSON_AddItemToObject(object, key, value))
        return true;
    cJSON_Delete(value);
    return false;
}

static enum sdg_result rewrite_config(const struct sdg_log *log, const char *path, const char *fingerprint)
{
    char *text;
    struct sdg_json json;
    SDG_TRY(sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, path, text, &json);
    sdg_free(text);
    if (result != SDG_OK)
        return result;
    cJSON *config = cJSON_GetObjectItemCaseSensitive(json.object, "quantization_config");
    bool done = cJSON_IsObject(config) && set_member(config, "fingerprint", cJSON_CreateString(fingerprint)) &&
        set_member(config, "corrected", cJSON_CreateTrue());
    char *printed = done ? cJSON_Print(json.object) : NULL;
    sdg_json_free(&json);
    result = printed ? sdg_output_text(log, path, printed)
                     : sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for %s", path);
    cJSON_free(printed);
    return result;
}

enum sdg_result sdg_correction_store(const struct sdg_log *log, const char *folder,
                                     const struct sdg_correction *correction)
{
    char fingerprint[17];
    char *weights = sdg_path_join(log, folder, "unet/diffusion_pytorch_model.safetensors"),
         *config = sdg_path_join(log, folder, "unet/config.json");
    enum sdg_result result = weights && config ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = rewrite_tensors(log, weights, correction, fingerprint);
    if (result == SDG_OK) // last: until then the fingerprint does not fit, and the folder is refused
        result = rewrite_config(log, config, fingerprint);
    sdg_free(config);
    sdg_free(weights);
    return result;
}

// ---- the public function ----

static enum sdg_result check_full(const struct sdg_log *log, const char *path, const struct sdg_model *quantized)
{
    struct sdg_model *full;
    char found[17];
    SDG_TRY(sdg_model_open(log, path, &full));
    sdg_tensors_fingerprint(full->unet, found);
    enum sdg_result result = SDG_OK;
    if (strcmp(found, quantized->unet_config.quantization.base) != 0)
        result = sdg_fail(log, SDG_ERROR_INPUT,
                          "%s: is not the model that %s was made from: the UNet's fingerprint is %s, not %s", path,
                          quantized->path, found, quantized->unet_config.quantization.base);
    sdg_model_close(&full);
    return result;
}

// Finds the full-precision model and looks at both, before anything is run. *full is the caller's.
static enum sdg_result find_models(const struct sdg_log *log, const struct sdg_correct_params *params, char **full)
{
    struct sdg_model *quantized;
    SDG_TRY(sdg_model_open(log, params->quantized, &quantized));
    enum sdg_result result = SDG_OK;
    const char *path = params->model ? params->model : quantized->base_path;
    if (!quantized->unet_config.quantization.present)
        result =
            sdg_fail(log, SDG_ERROR_INPUT, "%s: is no quantized model: there is nothing to correct", params->quantized);
    else if (!path)
        result = sdg_fail(log, SDG_ERROR_USAGE, "%s: names no base: say which full-precision model it was made from",
                          params->quantized);
    else
        result = check_full(log, path, quantized);
    if (result == SDG_OK && !(*full = sdg_strdup(log, path)))
        result = SDG_ERROR_MEMORY;
    sdg_model_close(&quantized);
    return result;
}

enum sdg_result sdg_correct(const struct sdg_correct_params *params)
{
    const struct sdg_log log = params->pipeline.log;
    struct sdg_correction *correction = NULL;
    struct sdg_corrected_row *rows = NULL;
    char *full = NULL;
    SDG_TRY(sdg_template_check(&log, &params->generate, true));
    SDG_TRY(sdg_template_check_pipeline(&log, &params->pipeline));
    enum sdg_result result = find_models(&log, params, &full);
    if (result == SDG_OK)
        result = sdg_correction_measure(params, full, params->quantized, &correction, &rows);
    if (result == SDG_OK)
        result = sdg_correction_store(&log, params->quantized, correction);
    for (size_t i = 0; result == SDG_OK && params->row && i < correction->rows; i++)
        params->row(params->row_user, &rows[i]);
    sdg_correction_destroy(&correction);
    sdg_free(rows);
    sdg_free(full);
    return result;
}
