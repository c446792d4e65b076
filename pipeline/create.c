// A pipeline's beginning and end: parameters checked, the model and its backends opened.
#include "sdgen/sdgen.h"

#include "base/memory.h"
#include "pipeline/backends.h"
#include "pipeline/call.h"
#include "pipeline/intervals.h"
#include "pipeline/method.h"
#include "pipeline/networks.h"
#include "pipeline/parameter_names.h"
#include "pipeline/pipeline.h"
#include "pipeline/prediction.h"
#include "pipeline/text.h"
#include "pipeline/unused.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum sdg_result check_params(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    int index;
    if (params->vae_tile_size && (params->vae_tile_size < 8 || params->vae_tile_size > 1024))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "VAE tile size is %d, should be 8..1024 latent pixels",
                        params->vae_tile_size);
    const struct sdg_number overlap = params->vae_tile_overlap;
    if (overlap.given && !(overlap.value >= 0 && overlap.value <= 0.75))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "VAE tile overlap is %g, should be 0..0.75", overlap.value);
    if (params->keep != SDG_KEEP_NOTHING && params->keep != SDG_KEEP_NETWORKS)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "what to keep is %d, no value of enum sdg_keep", (int)params->keep);
    if (params->vae_tiling && strcmp(params->vae_tiling, "auto") && strcmp(params->vae_tiling, "on") &&
        strcmp(params->vae_tiling, "off"))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "VAE tiling is '%s', should be auto, on or off", params->vae_tiling);
    if (params->prediction)
        SDG_TRY(sdg_name_find(&p->log, SDG_NAMES_PREDICTION, "prediction", params->prediction, &index));
    return SDG_OK;
}

// Strings of the caller only live during the call: keep static ones instead.
static void keep_params(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    p->params = *params;
    p->params.model = p->params.vae = p->params.tokenizer = p->params.backend = p->params.type = p->params.cache_dir =
        p->params.cpu_mask = NULL;
    p->params.files = NULL;
    p->params.file_count = 0;
    p->params.disable = NULL;
    p->params.engine = NULL;
    p->params.error = NULL;
    p->params.vae_tiling = !params->vae_tiling   ? "auto"
        : strcmp(params->vae_tiling, "on") == 0  ? "on"
        : strcmp(params->vae_tiling, "off") == 0 ? "off"
                                                 : "auto";
    if (params->prediction)
        p->params.prediction = strcmp(params->prediction, "v") == 0 ? "v" : "eps";
}

static enum sdg_result refuse_engine_fields(const struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    const struct {
        const char *name;
        bool set;
    } fields[] = {
        {"threads", params->threads != 0},
        {"max_memory", params->max_memory != 0},
        {"validation", params->validation},
        {"disable", params->disable},
        {"cpu_mask", params->cpu_mask},
        {"cache_dir", params->cache_dir},
        {"submit_time", params->submit_time.given},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].set)
            return sdg_fail(&p->log, SDG_ERROR_USAGE, "%s is set for a pipeline, but its engine has one for all",
                            fields[i].name);
    return SDG_OK;
}

static enum sdg_result find_engine(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    if (params->engine) {
        SDG_TRY(refuse_engine_fields(p, params));
        p->engine = sdg_engine_hold(params->engine);
        return SDG_OK;
    }
    return sdg_engine_create(&(struct sdg_engine_params){.threads = params->threads,
                                                         .cpu_mask = params->cpu_mask,
                                                         .disable = params->disable,
                                                         .validation = params->validation,
                                                         .cache_dir = params->cache_dir,
                                                         .submit_time = params->submit_time,
                                                         .max_memory = params->max_memory,
                                                         .log = p->log},
                             &p->engine);
}

static enum sdg_result open_model(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    const bool listed = params->files || params->file_count;
    const char *path = params->model || listed ? params->model : sdg_default_model_from(!p->engine->no_environment);
    if (!path && listed)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "there are files, but no model is named: say which of their names it has");
    if (!path)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "no model given, and no default model is installed: name one with -m, or set SDGEN_MODEL");
    struct sdg_model_params model_params = {
        .no_mmap = params->no_mmap,
        .tokenizer = params->tokenizer,
        .no_environment = p->engine->no_environment,
        .vae = params->vae,
        .files = params->files,
        .file_count = params->file_count,
    };
    SDG_TRY(sdg_model_open_params(&p->log, path, &model_params, &p->model));
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    p->model_name = sdg_alloc(&p->log, end - begin + 1, 1, "the model's name");
    if (!p->model_name)
        return SDG_ERROR_MEMORY;
    memcpy(p->model_name, path + begin, end - begin);
    return SDG_OK;
}

// The two of SDXL make one context side by side.
static enum sdg_result check_lengths(struct sdg_pipeline *p)
{
    if (p->model->text_encoders < 2)
        return SDG_OK;
    int first = sdg_tokenizer_length(p->tokenizer[0]), second = sdg_tokenizer_length(p->tokenizer[1]);
    if (first == second)
        return SDG_OK;
    return sdg_fail(&p->log, SDG_ERROR_INPUT,
                    "%s: the first tokenizer makes texts of %d tokens, the second of %d (model_max_length)",
                    p->model->path, first, second);
}

// What was opened, for who asks for more; where it runs is in the plan of a picture.
static void say_model(const struct sdg_pipeline *p)
{
    const struct sdg_model *m = p->model;
    static const char *const kinds[] = {[SDG_MODEL_SD] = "Stable Diffusion 1.x or 2.x",
                                        [SDG_MODEL_SDXL] = "Stable Diffusion XL",
                                        [SDG_MODEL_LCM] = "latent consistency model",
                                        [SDG_MODEL_INPAINT] = "inpainting model"};
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p, &info);
    sdg_say(&p->log, SDG_LOG_DEBUG, "model: %s, %s, %s, made for %dx%d, predicts %s", m->path, kinds[m->kind],
            m->single_file ? "a single file" : "a folder", info.width, info.height, info.prediction);
    for (int i = 0; i < m->base_count; i++)
        sdg_say(&p->log, SDG_LOG_DEBUG, "base: %s", m->bases[i]);
    if (m->vae_path)
        sdg_say(&p->log, SDG_LOG_DEBUG, "autoencoder: %s", m->vae_path);
    sdg_say(&p->log, SDG_LOG_DEBUG, "cache: %s", p->engine->cache_dir ? p->engine->cache_dir : "none");
}

static enum sdg_result make_tokenizers(struct sdg_pipeline *p)
{
    struct sdg_model *m = p->model;
    SDG_TRY(sdg_model_check_tokenizers(&p->log, m));
    for (int i = 0; i < m->text_encoders; i++) {
        const struct sdg_text_config *c = &m->text_config[i];
        SDG_TRY(sdg_tokenizer_create(&p->log, &m->tokenizer[i], c->positions, &p->tokenizer[i]));
        size_t tokens = sdg_tokenizer_vocabulary(p->tokenizer[i]);
        sdg_say(&p->log, SDG_LOG_DEBUG, "tokenizer: %s, %zu tokens, texts of %d", m->tokenizer[i].folder, tokens,
                sdg_tokenizer_length(p->tokenizer[i]));
        if (tokens > (size_t)c->vocab_size)
            return sdg_fail(&p->log, SDG_ERROR_INPUT,
                            "%s: the tokenizer in %s has ids up to %zu, the text encoder only %d embeddings", m->path,
                            m->tokenizer[i].folder, tokens - 1, c->vocab_size);
    }
    sdg_model_drop_tokenizers(m); // megabytes that nothing needs any more
    return check_lengths(p);
}

static enum sdg_result open_correction(struct sdg_pipeline *p)
{
    const struct sdg_unet_config *c = &p->model->unet_config;
    if (!c->quantization.corrected || p->params.no_correction)
        return SDG_OK;
    return sdg_correction_read(&p->log, p->model->unet, (size_t)c->out_channels, &p->correction);
}

static enum sdg_result create(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    SDG_TRY(check_params(p, params));
    keep_params(p, params);
    SDG_TRY(find_engine(p, params));
    SDG_TRY(sdg_backends_parse(p, params->backend));
    SDG_TRY(open_model(p, params));
    SDG_TRY(sdg_check_preferences(p));
    SDG_TRY(make_tokenizers(p));
    SDG_TRY(sdg_quantized_open(p));
    SDG_TRY(open_correction(p));
    SDG_TRY(sdg_unused_check(p));
    SDG_TRY(sdg_backends_choose_types(p, params->type));
    SDG_TRY(sdg_prediction_settle(p));
    say_model(p);
    return SDG_OK;
}

static void tell_error(const struct sdg_pipeline_params *params, const char *text)
{
    if (params->error && params->error_size)
        snprintf(params->error, params->error_size, "%s", text);
}

enum sdg_result sdg_pipeline_create(const struct sdg_pipeline_params *params, struct sdg_pipeline **out)
{
    SDG_REQUIRE(params ? &params->log : NULL, out, "out");
    *out = NULL;
    SDG_REQUIRE(NULL, params, "params");
    struct sdg_pipeline *p = sdg_alloc(&params->log, 1, sizeof *p, "the pipeline");
    if (!p) {
        tell_error(params, "not enough memory for the pipeline");
        return SDG_ERROR_MEMORY;
    }
    sdg_call_listen(p, &params->log);
    p->unet_context = -1;
    enum sdg_result result = create(p, params);
    tell_error(params, result == SDG_OK ? "" : sdg_pipeline_error(p));
    if (result != SDG_OK)
        sdg_pipeline_destroy(&p);
    *out = p;
    return result;
}

void sdg_pipeline_destroy(struct sdg_pipeline **pipeline)
{
    struct sdg_pipeline *p = pipeline ? *pipeline : NULL;
    if (!p)
        return;
    sdg_networks_clear(p);
    sdg_context_clear(p);
    for (int i = 0; i < SDG_STAGE_COUNT; i++)
        if (p->stage[i].backend)
            sdg_backend_destroy(&p->stage[i].backend);
    for (int i = 0; i < 2; i++)
        if (p->tokenizer[i])
            sdg_tokenizer_destroy(&p->tokenizer[i]);
    if (p->model)
        sdg_model_close(&p->model);
    sdg_quantized_destroy(&p->quantized);
    sdg_correction_destroy(&p->correction);
    sdg_free(p->model_name);
    if (p->engine)
        (void)sdg_engine_reserve(p->engine, &p->share, 0, SIZE_MAX);
    sdg_engine_destroy(&p->engine);
    sdg_call_deafen(p);
    sdg_free(p);
    *pipeline = NULL;
}
