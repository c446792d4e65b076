#include "formats/declared.h"

#include "formats/stored.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

// ---- metadata ----

// The values of the first key that says anything count: prediction_type is that of Stability's model specification,
// which trainers write, predict_key ComfyUI's, the others are those of kohya's trainers.
enum said { NOTHING, EPSILON, V, SAMPLE, OTHER };

static bool equal(const char *text, const char *word) // but for case, blanks and hyphens
{
    for (;; text++, word++) {
        const char c = *text == '-' || *text == ' ' ? '_' : (char)tolower((unsigned char)*text);
        if (c != *word)
            return false;
        if (!c)
            return true;
    }
}

static enum said meaning(const char *value)
{
    static const struct {
        const char *value;
        enum said said;
    } words[] = {
        {"", NOTHING},    {"none", NOTHING},  {"null", NOTHING},  {"unknown", NOTHING}, {"epsilon", EPSILON},
        {"eps", EPSILON}, {"noise", EPSILON}, {"v", V},           {"v_prediction", V},  {"v_pred", V},
        {"vpred", V},     {"velocity", V},    {"sample", SAMPLE}, {"x0", SAMPLE},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (equal(value, words[i].value))
            return words[i].said;
    return OTHER;
}

static const char *metadata(const struct sdg_source *source, const char *key)
{
    for (size_t i = 0; i < source->metadata_count; i++)
        if (strcmp(source->metadata[i].key, key) == 0)
            return source->metadata[i].value;
    return NULL;
}

static bool is_true(const struct sdg_source *source, const char *key)
{
    const char *value = metadata(source, key);
    return value && (equal(value, "true") || equal(value, "1"));
}

// The specification's names of architectures: "stable-diffusion-v2-768-v", "stable-diffusion-v2-512".
static enum said of_architecture(const struct sdg_source *source)
{
    const char *value = metadata(source, "modelspec.architecture");
    if (value && strstr(value, "v2-768-v"))
        return V;
    return value && strstr(value, "v2-512") ? EPSILON : NOTHING;
}

static enum sdg_result read_metadata(const struct sdg_log *log, const struct sdg_source *source, enum said *out)
{
    static const char *const keys[] = {"modelspec.prediction_type", "modelspec.predict_key"};
    *out = NOTHING;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && *out == NOTHING; i++) {
        const char *value = metadata(source, keys[i]);
        *out = value ? meaning(value) : NOTHING;
        if (*out == OTHER)
            return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                            "%s: the file's metadata say that %s is \"%.40s\", supported: epsilon, v, sample",
                            source->path, keys[i], value);
    }
    if (*out == NOTHING && is_true(source, "ss_v_parameterization"))
        *out = V;
    if (*out == NOTHING)
        *out = of_architecture(source);
    if (*out == NOTHING && metadata(source, "ss_v_parameterization"))
        *out = EPSILON;
    return SDG_OK;
}

// ---- keys ----

// One number, of any type of floats.
static enum sdg_result read_number(const struct sdg_log *log, const struct sdg_source *source, const char *name,
                                   float otherwise, float *out)
{
    const struct sdg_tensor *tensor = sdg_source_find(source, name);
    *out = otherwise;
    if (!tensor)
        return SDG_OK;
    SDG_TRY(sdg_tensor_check_readable(log, source->path, tensor));
    struct sdg_tensor row = *tensor; // also without axes
    const struct sdg_encoding *encoding = sdg_encoding_of(row.dtype);
    row.rank = 1;
    row.dims[0] = (int64_t)(row.bytes / sdg_dtype_size(row.dtype));
    if (row.dims[0] != 1 || !encoding || encoding->bits)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s should be one number", source->path, name);
    const struct sdg_stored stored = sdg_stored_numbers(&row);
    sdg_stored_expand(&stored, 0, 1, SDG_F32, out);
    return SDG_OK;
}

// Karras et al.'s levels instead of betas: CosXL's numbers stand in the file.
static enum sdg_result read_edm(const struct sdg_log *log, const struct sdg_source *source,
                                struct sdg_scheduler_config *c)
{
    static const char highest[] = "edm_vpred.sigma_max", lowest[] = "edm_vpred.sigma_min";
    c->edm = (struct sdg_edm){.used = true, .sigma_data = 1, .exponential = true};
    c->prediction = SDG_PREDICT_V;
    SDG_TRY(read_number(log, source, highest, 120, &c->edm.sigma_max));
    SDG_TRY(read_number(log, source, lowest, 0.002f, &c->edm.sigma_min));
    if (!(c->edm.sigma_min > 0 && c->edm.sigma_max > c->edm.sigma_min && c->edm.sigma_max < 1e6f))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is %g and %s is %g, no range of noise", source->path, highest,
                        (double)c->edm.sigma_max, lowest, (double)c->edm.sigma_min);
    return SDG_OK;
}

static bool has(const struct sdg_source *source, const char *name)
{
    return sdg_source_find(source, name) != NULL;
}

static enum sdg_result check_latents(const struct sdg_log *log, const struct sdg_source *source)
{
    const char *key = has(source, "edm_mean") ? "edm_mean" : has(source, "edm_std") ? "edm_std" : NULL;
    if (!key)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                    "%s: has %s: it was trained on latents shifted and scaled by channel, with EDM noise (Playground "
                    "v2.5), which is not supported",
                    source->path, key);
}

// Stable Diffusion 2.x was published both ways. No name tells them apart; inpainting models predict noise.
static bool is_open(const struct sdg_model *model)
{
    return model->text_encoders == 1 && model->text_config[0].activation == SDG_TEXT_GELU &&
        model->unet_config.in_channels == model->unet_config.out_channels;
}

enum sdg_result sdg_declared_read(const struct sdg_log *log, const struct sdg_source *source, struct sdg_model *model)
{
    enum said said;
    SDG_TRY(check_latents(log, source));
    model->zero_terminal_snr = has(source, "ztsnr") || is_true(source, "ss_zero_terminal_snr");
    if (has(source, "edm_vpred.sigma_max"))
        return read_edm(log, source, &model->scheduler);
    if (has(source, "v_pred"))
        said = V;
    else
        SDG_TRY(read_metadata(log, source, &said));
    model->prediction_open = said == NOTHING && is_open(model);
    sdg_model_set_prediction(model,
                             said == V            ? SDG_PREDICT_V
                                 : said == SAMPLE ? SDG_PREDICT_SAMPLE
                                                  : SDG_PREDICT_EPSILON);
    return SDG_OK;
}
