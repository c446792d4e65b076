// The folder of a quantized model: integer weights with their scales, tables of intervals, a configuration that says
// how they were made, and copies of everything else.
#include "quantize/quant_write.h"

#include "base/file.h"
#include "base/directory.h"
#include "base/memory.h"
#include "formats/quantized_folder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const component_folders[] = {"scheduler",   "text_encoder", "text_encoder_2",   "tokenizer",
                                                "tokenizer_2", "vae",          "feature_extractor"};
static const char *const loose_files[] = {"model_index.json", "LICENSE", "LICENSE.md", "LICENSE.txt"};
// All that an older folder of this program can have at the top: with another base or none, parts of it are to be gone.
static const char *const own_names[] = {
    "unet",        "scheduler",   "text_encoder",      "text_encoder_2",    "tokenizer",
    "tokenizer_2", "vae",         "feature_extractor", "model_index.json",  "LICENSE",
    "LICENSE.md",  "LICENSE.txt", "config.json",       "model.safetensors", NULL};

// ---- the place of the output ----

// Whether the model lies in the folder that is to be replaced.
static bool contains_model(const struct sdg_quantize_params *params)
{
    char *way = NULL;
    bool inside = sdg_path_relative(NULL, params->output, params->model, &way) == SDG_OK && strncmp(way, "..", 2) != 0;
    sdg_free(way);
    return inside;
}

enum sdg_result sdg_quant_check_output(const struct sdg_log *log, const struct sdg_quantize_params *params)
{
    if (!*params->output)
        return sdg_fail(log, SDG_ERROR_USAGE, "the output folder has no name");
    if (sdg_path_kind(params->output) == SDG_PATH_MISSING)
        return SDG_OK;
    if (!params->force)
        return sdg_fail(log, SDG_ERROR_OUTPUT, "%s exists already: choose another name, or replace it with --force",
                        params->output);
    if (!sdg_quantized_folder_is(params->output) || contains_model(params))
        return sdg_fail(log, SDG_ERROR_OUTPUT,
                        "%s exists and is no quantized model, or the model itself: it is not replaced", params->output);
    return SDG_OK;
}

// ---- tensors ----

static enum sdg_result add_scales(struct sdg_quantized_writer *w, const struct sdg_quant_module *m)
{
    for (size_t p = 0; p < m->part_count; p++)
        SDG_TRY(sdg_quantized_add_scales(w, m->parts[p].op, (size_t)m->tensor->dims[0], m->parts[p].groups,
                                         m->parts[p].scales));
    return SDG_OK;
}

static enum sdg_result add_site(struct sdg_quantized_writer *w, const struct sdg_quant_site *site, int bits,
                                int32_t *zeros)
{
    const struct sdg_site_fit *fit = &site->fit;
    const struct sdg_token_intervals *tokens = &fit->tokens;
    const bool shifted = site->kind == SDG_SITE_SILU;
    if (site->smoothed)
        SDG_TRY(sdg_quantized_add_smoothing(w, site->name, site->folded, site->channels, site->statistics->smoothing));
    if (tokens->height)
        return sdg_quantized_add_token_intervals(w, site->name, tokens->times, tokens->height, tokens->width,
                                                 tokens->scales, tokens->zero_points, tokens->factors);
    if (!fit->length)
        return SDG_OK;
    for (size_t i = 0; shifted && i < fit->length; i++)
        zeros[i] = sdg_interval_make(site->kind, bits, fit->scales[i]).zero_point;
    return sdg_quantized_add_interval(w, site->name, fit->length, fit->scales, shifted ? zeros : NULL);
}

static bool is_smoothed(const struct sdg_quant_plan *plan, const struct sdg_quant_module *m)
{
    for (size_t p = 0; p < m->part_count; p++)
        if (plan->sites[m->parts[p].site].smoothed)
            return true;
    return m->row_smoothing != NULL;
}

// A folder with a base need not hold codes that are the base's weights rounded to the nearest: they are made again on
// loading, if these are codes of a whole width (those of 6 bits would be rounded to 8).
static bool leaves_codes(const struct sdg_quant_result *r, const struct sdg_quant_module *m)
{
    const struct sdg_scheme *scheme = &r->settings->scheme;
    return r->params->delta && !m->gptq && !is_smoothed(r->plan, m) && m->bits == scheme->weight_bits && m->bits != 6 &&
        scheme->activation_bits != SDG_FLOAT_BITS;
}

// A tensor that takes smoothing, as it is then. NULL: it takes none.
static const struct sdg_quant_folded *find_folded(const struct sdg_quant_plan *plan, const struct sdg_tensor *tensor)
{
    for (size_t i = 0; i < plan->folded_count; i++)
        if (plan->folded[i].tensor == tensor)
            return &plan->folded[i];
    return NULL;
}

static enum sdg_result add_folded(struct sdg_quantized_writer *w, const struct sdg_quant_folded *folded)
{
    struct sdg_tensor t = *folded->tensor;
    t.bytes = t.bytes / sdg_dtype_size(t.dtype) * sizeof *folded->data;
    t.dtype = SDG_F32;
    t.data = folded->data;
    t.added = NULL;
    return sdg_quantized_add_tensor(w, &t);
}

static bool is_quantized(const struct sdg_quant_plan *plan, const struct sdg_tensor *tensor)
{
    for (size_t i = 0; i < plan->module_count; i++)
        if (plan->modules[i].tensor == tensor)
            return true;
    return false;
}

// The timesteps of the tables that have some for each token, ascending. `times` is room for all.
static enum sdg_result add_timesteps(struct sdg_quantized_writer *w, const struct sdg_quant_result *r, float *times)
{
    size_t rows = 1;
    for (size_t i = 0; i < r->plan->site_count; i++)
        rows = r->plan->sites[i].fit.tokens.times > rows ? r->plan->sites[i].fit.tokens.times : rows;
    if (rows == 1)
        return SDG_OK;
    const double *from = r->calibration->timesteps;
    for (size_t i = 0; i < rows; i++)
        times[i] = (float)(from[0] > from[1] ? from[rows - 1 - i] : from[i]);
    return sdg_quantized_add_timesteps(w, times, rows);
}

static enum sdg_result add_tensors(struct sdg_quantized_writer *w, struct sdg_quant_result *r, int32_t *zeros,
                                   float *times)
{
    const struct sdg_quant_plan *plan = r->plan;
    r->bytes_before = r->bytes_after = 0;
    for (size_t i = 0; i < plan->module_count; i++) {
        const struct sdg_quant_module *m = &plan->modules[i];
        SDG_TRY(add_scales(w, m));
        if (leaves_codes(r, m))
            r->bytes_after += (double)m->code_bytes;
        else
            SDG_TRY(sdg_quantized_add_codes(w, m->name, m->tensor, m->bits, m->codes));
    }
    for (size_t i = 0; i < plan->site_count; i++)
        if (plan->sites[i].fit.length || plan->sites[i].smoothed)
            SDG_TRY(add_site(w, &plan->sites[i], r->settings->scheme.activation_bits, zeros + i * SDG_TDQ_TIMES));
    SDG_TRY(add_timesteps(w, r, times));
    for (size_t i = 0; i < sdg_tensors_count(r->subject->tensors); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(r->subject->tensors, i);
        r->bytes_before += (double)t->bytes;
        const struct sdg_quant_folded *folded = find_folded(plan, t);
        if (is_quantized(plan, t))
            continue;
        if (folded)
            SDG_TRY(add_folded(w, folded));
        else if (r->params->delta)
            r->bytes_after += (double)t->bytes;
        else
            SDG_TRY(sdg_quantized_add_tensor(w, t));
    }
    r->bytes_stored = (double)sdg_quantized_writer_bytes(w);
    r->bytes_after += r->bytes_stored;
    return SDG_OK;
}

// ---- configuration ----

static size_t count_static(const struct sdg_quant_plan *plan)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->site_count; i++)
        count += plan->sites[i].fit.length == 1;
    return count;
}

static bool has_tokens(const struct sdg_quant_plan *plan)
{
    for (size_t i = 0; i < plan->site_count; i++)
        if (plan->sites[i].fit.tokens.height)
            return true;
    return false;
}

static bool any_gptq(const struct sdg_quant_plan *plan)
{
    for (size_t i = 0; i < plan->module_count; i++)
        if (plan->modules[i].gptq)
            return true;
    return false;
}

static enum sdg_result describe(const struct sdg_log *log, const struct sdg_quant_result *r, const char *base_path,
                                struct sdg_quantization_config *q)
{
    const struct sdg_scheme *scheme = &r->settings->scheme;
    *q = (struct sdg_quantization_config){.weight_bits = scheme->weight_bits,
                                          .activation_bits = scheme->activation_bits,
                                          .group = (int)r->settings->group,
                                          .seed = (int64_t)r->params->seed,
                                          .static_sites = (int)count_static(r->plan),
                                          .scan_codes = r->settings->scan_codes};
    sdg_scheme_name(scheme, q->scheme);
    snprintf(q->rule, sizeof q->rule, "%s", sdg_interval_rule_name(scheme->rule));
    snprintf(q->weight_rounding, sizeof q->weight_rounding, "%s", any_gptq(r->plan) ? "gptq" : "mse");
    snprintf(q->statistics, sizeof q->statistics, "%s", r->statistics);
    if (has_tokens(r->plan))
        snprintf(q->scan_order, sizeof q->scan_order, "%s", SDG_SCAN_ROWS);
    sdg_tensors_fingerprint(r->subject->tensors, q->base);
    if (snprintf(q->base_path, sizeof q->base_path, "%s", base_path ? base_path : "") >= (int)sizeof q->base_path)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: the way from there to %s has more than %zu bytes", r->params->output,
                        r->params->model, sizeof q->base_path - 1);
    return SDG_OK;
}

static bool any_leaves_codes(const struct sdg_quant_result *r)
{
    for (size_t i = 0; i < r->plan->module_count; i++)
        if (leaves_codes(r, &r->plan->modules[i]))
            return true;
    return false;
}

static enum sdg_result write_network(const struct sdg_log *log, struct sdg_quant_result *r, const char *root,
                                     const char *base_path)
{
    struct sdg_quantization_config config;
    struct sdg_quantized_writer *writer = NULL;
    SDG_TRY(describe(log, r, base_path, &config));
    int32_t *zeros = sdg_alloc(log, r->plan->site_count, SDG_TDQ_TIMES * sizeof *zeros, "zero points");
    float *times = sdg_alloc(log, r->calibration ? r->calibration->rows : 1, sizeof *times, "timesteps");
    char *from = zeros && times ? sdg_path_join(log, r->subject->path, r->subject->files->config) : NULL;
    enum sdg_result result = from ? sdg_quantized_writer_create(log, &writer) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = add_tensors(writer, r, zeros, times);
    if (result == SDG_OK)
        result = sdg_quantized_write(writer, root, r->subject->files, from, &config, any_leaves_codes(r));
    sdg_quantized_writer_destroy(&writer);
    sdg_free(from);
    sdg_free(times);
    sdg_free(zeros);
    return result;
}

// ---- the other components ----

struct copying {
    const struct sdg_log *log;
    const char *from; // folders
    char *to;
    bool no_weights;
};

static enum sdg_result copy_named(const struct sdg_log *log, const char *from_folder, const char *to_folder,
                                  const char *name)
{
    char *from = sdg_path_join(log, from_folder, name), *to = sdg_path_join(log, to_folder, name);
    enum sdg_result result = from && to ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK && sdg_path_kind(from) == SDG_PATH_FILE)
        result = sdg_file_copy(log, from, to);
    sdg_free(from);
    sdg_free(to);
    return result;
}

static bool holds_weights(const char *name)
{
    return strstr(name, ".safetensors") != NULL; // and lists of shards
}

// Other programs' formats of the same weights (.bin, .msgpack, .onnx) are left behind.
static enum sdg_result copy_useful(void *user, const char *name)
{
    static const char *const endings[] = {".json", ".txt", ".safetensors", ".model"};
    const struct copying *c = user;
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcmp(dot, endings[i]) == 0 && !(c->no_weights && holds_weights(name)))
            return copy_named(c->log, c->from, c->to, name);
    return SDG_OK;
}

// What the model's own folder, or one of its bases, has of a component. A model of several folders has its weights
// written from its tensors, since none of the files need have all of them.
static enum sdg_result copy_folder(const struct sdg_log *log, const struct sdg_quant_result *r, const char *root,
                                   struct sdg_folder_output *output, const char *name)
{
    char *from = sdg_path_join(log, root, name);
    struct copying c = {log, from, sdg_path_join(log, sdg_folder_output_path(output), name),
                        r->subject->model->base_count > 0};
    enum sdg_result result = from && c.to ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK && sdg_path_kind(from) == SDG_PATH_FOLDER) {
        result = sdg_folder_output_add(output, name);
        if (result == SDG_OK)
            result = sdg_folder_list(log, from, copy_useful, &c);
    }
    sdg_free(from);
    sdg_free(c.to);
    return result;
}

static enum sdg_result write_weights(const struct sdg_log *log, const struct sdg_tensors *tensors, const char *folder,
                                     const char *name)
{
    size_t metadata_count;
    const struct sdg_metadata *metadata = sdg_tensors_all_metadata(tensors, &metadata_count);
    char *path = sdg_path_join(log, folder, name);
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result =
        sdg_tensors_write(log, path, sdg_tensors_at(tensors, 0), sdg_tensors_count(tensors), metadata, metadata_count);
    sdg_free(path);
    return result;
}

static enum sdg_result write_all_weights(const struct sdg_log *log, const struct sdg_model *model, const char *folder)
{
    static const char *const texts[] = {"text_encoder/model.safetensors", "text_encoder_2/model.safetensors"};
    SDG_TRY(write_weights(log, model->vae, folder, "vae/diffusion_pytorch_model.safetensors"));
    for (int i = 0; i < model->text_encoders; i++)
        SDG_TRY(write_weights(log, model->text[i], folder, texts[i]));
    return SDG_OK;
}

// From the last base to the model itself, whose files go before theirs.
static const char *layer_root(const struct sdg_model *model, int layer)
{
    return layer ? model->bases[layer - 1] : model->path;
}

static enum sdg_result copy_loose(const struct sdg_log *log, const char *from, const char *to)
{
    for (size_t i = 0; i < sizeof loose_files / sizeof *loose_files; i++)
        SDG_TRY(copy_named(log, from, to, loose_files[i]));
    return SDG_OK;
}

static enum sdg_result copy_rest(const struct sdg_log *log, const struct sdg_quant_result *r,
                                 struct sdg_folder_output *output)
{
    const struct sdg_model *model = r->subject->model; // NULL: the network is all there is
    const char *to = sdg_folder_output_path(output);
    if (r->params->delta || !model)
        return copy_loose(log, r->subject->path, to);
    for (int layer = model->base_count; layer >= 0; layer--) {
        const char *from = layer_root(model, layer);
        SDG_TRY(copy_loose(log, from, to));
        if (*model->preferences.known_words)
            SDG_TRY(copy_named(log, from, to, model->preferences.known_words));
        for (size_t i = 0; i < sizeof component_folders / sizeof *component_folders; i++)
            SDG_TRY(copy_folder(log, r, from, output, component_folders[i]));
    }
    return model->base_count ? write_all_weights(log, model, to) : SDG_OK;
}

// ---- all of it ----

static enum sdg_result fill_folder(const struct sdg_log *log, struct sdg_quant_result *r,
                                   struct sdg_folder_output *output)
{
    const char *root = sdg_folder_output_path(output);
    char *base_path = NULL;
    const char *folder = r->subject->files->folder;
    enum sdg_result result = *folder ? sdg_folder_output_add(output, folder) : SDG_OK;
    if (result == SDG_OK && r->params->delta)
        result = sdg_path_relative(log, root, r->subject->path, &base_path);
    if (result == SDG_OK)
        result = write_network(log, r, root, base_path);
    if (result == SDG_OK)
        result = copy_rest(log, r, output);
    sdg_free(base_path);
    return result;
}

enum sdg_result sdg_quant_write(const struct sdg_log *log, struct sdg_quant_result *r)
{
    struct sdg_folder_output *output;
    SDG_TRY(sdg_quant_check_output(log, r->params));
    SDG_TRY(sdg_folder_output_open(log, r->params->output, r->params->force, &output));
    sdg_folder_output_keep_others(output, own_names);
    enum sdg_result result = fill_folder(log, r, output);
    if (result == SDG_OK)
        return sdg_folder_output_commit(&output);
    sdg_folder_output_discard(&output);
    return result;
}
