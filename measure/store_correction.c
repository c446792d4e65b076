// sdg_correct: the correction measured, and put into the quantized folder.
#include "measure/store_correction.h"

#include "base/memory.h"
#include "formats/model.h"
#include "formats/quantized_folder.h"
#include "measure/fit_correction.h"
#include "pipeline/template.h"

#include <string.h>

enum sdg_result sdg_correction_store(const struct sdg_log *log, const char *folder,
                                     const struct sdg_correction *correction)
{
    struct sdg_tensor tensors[SDG_CORRECTION_TENSORS];
    sdg_correction_tensors(correction, tensors);
    return sdg_quantized_amend(log, folder, &sdg_quantized_unet_files, "corrected", sdg_correction_is_tensor, tensors,
                               SDG_CORRECTION_TENSORS);
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
    const char *path = params->model ? params->model : quantized->bases[0];
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
    SDG_REQUIRE(NULL, params, "params");
    const struct sdg_log log = params->pipeline.log;
    struct sdg_correction *correction = NULL;
    struct sdg_corrected_row *rows = NULL;
    char *full = NULL;
    SDG_TRY(sdg_template_check(&log, &params->generate, true));
    SDG_TRY(sdg_template_check_pipeline(&log, &params->pipeline));
    SDG_REQUIRE(&log, params->quantized, "quantized");
    SDG_TRY(sdg_template_check_prompts(&log, params->prompts, params->prompt_count, "to measure the correction with"));
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
