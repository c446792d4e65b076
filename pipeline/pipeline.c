// The public functions: open a model, make a picture.
#include "pipeline/pipeline.h"

#include "base/clock.h"
#include "base/memory.h"
#include "pipeline/backends.h"
#include "pipeline/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- images ----

enum { MAX_SIDE = 16384 };

enum sdg_result sdg_image_create(int width, int height, struct sdg_image **out)
{
    *out = NULL;
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE)
        return SDG_ERROR_USAGE;
    struct sdg_image *image = sdg_alloc(NULL, 1, sizeof *image, "an image");
    uint8_t *pixels = sdg_alloc(NULL, (size_t)width * (size_t)height, 3, "an image");
    if (!image || !pixels) {
        sdg_free(image);
        sdg_free(pixels);
        return SDG_ERROR_MEMORY;
    }
    *image = (struct sdg_image){width, height, pixels};
    *out = image;
    return SDG_OK;
}

void sdg_image_destroy(struct sdg_image **image)
{
    if (!image || !*image)
        return;
    sdg_free((*image)->pixels);
    sdg_free(*image);
    *image = NULL;
}

// ---- devices, default model ----

struct lister {
    void (*fn)(void *user, const struct sdg_device *device);
    void *user;
};

static void list_one(void *user, const struct sdg_device_info *info)
{
    struct lister *lister = user;
    const struct sdg_device device = {.name = info->name,
                                      .backend = info->backend,
                                      .type = info->type,
                                      .driver = info->driver,
                                      .note = info->note,
                                      .memory = info->memory};
    lister->fn(lister->user, &device);
}

void sdg_list_devices(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device *device), void *user)
{
    sdg_backend_list(log, list_one, &(struct lister){fn, user});
}

static bool is_model(const char *folder)
{
    char path[4096];
    struct stat info;
    return snprintf(path, sizeof path, "%s/model_index.json", folder) < (int)sizeof path && stat(path, &info) == 0;
}

const char *sdg_default_model(void)
{
    const char *chosen = getenv("SDGEN_MODEL");
    if (chosen && *chosen)
        return chosen;
    static const char *const places[] = {
#ifdef SDG_INSTALL_MODEL_DIR
        SDG_INSTALL_MODEL_DIR "/emoji-128",
#endif
#ifdef SDG_SOURCE_MODEL_DIR
        SDG_SOURCE_MODEL_DIR "/emoji-128",
#endif
        NULL,
    };
    for (const char *const *place = places; *place; place++)
        if (is_model(*place))
            return *place;
    return NULL;
}

// ---- create ----

static enum sdg_result check_params(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    int index;
    if (params->threads < 0 || params->threads > 1024)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "threads is %d, should be 1..1024, or 0 for the number of physical cores", params->threads);
    if (!(params->max_memory >= 0))
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "the memory limit is %g, should be positive, or 0 for what is free",
                        params->max_memory);
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
    p->params.model = p->params.vae = p->params.backend = p->params.type = p->params.cache_dir = NULL;
    p->params.disable = NULL; // its meaning is in p->disable
    p->params.vae_tiling = !params->vae_tiling   ? "auto"
        : strcmp(params->vae_tiling, "on") == 0  ? "on"
        : strcmp(params->vae_tiling, "off") == 0 ? "off"
                                                 : "auto";
    if (params->prediction)
        p->params.prediction = strcmp(params->prediction, "v") == 0 ? "v" : "eps";
}

static enum sdg_result find_cache_dir(struct sdg_pipeline *p, const char *given)
{
    char path[4096];
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (given)
        n = snprintf(path, sizeof path, "%s", given);
    else if (xdg && *xdg)
        n = snprintf(path, sizeof path, "%s/sdgen", xdg);
    else if (home && *home)
        n = snprintf(path, sizeof path, "%s/.cache/sdgen", home);
    else
        return SDG_OK; // no cache
    if (n >= (int)sizeof path)
        return SDG_OK;
    p->cache_dir = sdg_strdup(&p->log, path);
    return p->cache_dir ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result open_model(struct sdg_pipeline *p, const struct sdg_pipeline_params *params)
{
    const char *path = params->model ? params->model : sdg_default_model();
    if (!path)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "no model given, and no default model is installed: name one with -m, or set SDGEN_MODEL");
    struct sdg_model_params model_params = {.no_mmap = params->no_mmap};
    SDG_TRY(sdg_model_open_params(&p->log, path, &model_params, &p->model));
    if (params->vae)
        SDG_TRY(sdg_model_replace_vae(&p->log, p->model, params->vae));
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

static enum sdg_result make_tokenizers(struct sdg_pipeline *p)
{
    const struct sdg_model *m = p->model;
    for (int i = 0; i < m->text_encoders; i++) {
        if (m->text_config[i].positions < SDG_TEXT_TOKENS)
            return sdg_fail(&p->log, SDG_ERROR_UNSUPPORTED, "%s: the text encoder has %d positions, %d are needed",
                            m->path, m->text_config[i].positions, SDG_TEXT_TOKENS);
        if (m->vocab_json[i] && m->merges_txt[i])
            SDG_TRY(sdg_tokenizer_create(&p->log, m->path, m->vocab_json[i], m->merges_txt[i], m->pad_token[i],
                                         &p->tokenizer[i]));
    }
    return SDG_OK;
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
    SDG_TRY(sdg_features_parse(&p->log, params->disable, &p->disable));
    SDG_TRY(sdg_backends_parse(p, params->backend));
    SDG_TRY(find_cache_dir(p, params->cache_dir));
    SDG_TRY(open_model(p, params));
    SDG_TRY(sdg_quantized_open(p));
    SDG_TRY(open_correction(p));
    SDG_TRY(make_tokenizers(p));
    return sdg_backends_choose_types(p, params->type);
}

enum sdg_result sdg_pipeline_create(const struct sdg_pipeline_params *params, struct sdg_pipeline **out)
{
    *out = NULL;
    struct sdg_pipeline *p = sdg_alloc(&params->log, 1, sizeof *p, "the pipeline");
    if (!p)
        return SDG_ERROR_MEMORY;
    p->log = params->log;
    p->unet_context = -1;
    enum sdg_result result = create(p, params);
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
    sdg_network_clear(&p->unet);
    sdg_network_clear(&p->decoder);
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
    sdg_free(p->cache_dir);
    sdg_free(p->model_name);
    sdg_free(p);
    *pipeline = NULL;
}

// ---- generate ----

static void fill_info(const struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_generate_info *info)
{
    info->seed = job->seed;
    info->width = job->width;
    info->height = job->height;
    info->steps = job->steps;
    info->clip_skip = job->clip_skip;
    info->cfg_scale = job->cfg_scale;
    info->eta = sdg_sampler_eta(job->sampler);
    info->sampler = sdg_method_name(job->method);
    info->schedule = sdg_schedule_name(job->schedule);
    info->rng = sdg_rng_name(job->rng.kind);
    info->model_name = p->model_name;
    info->seconds_total = sdg_clock() - job->start;
    info->peak_planned = (size_t)job->planned;
    info->peak_resident = sdg_resident_peak();
}

static enum sdg_result generate(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *start,
                                struct sdg_image **out, struct sdg_generate_info *info)
{
    struct sdg_memory_plan plan;
    double clock = sdg_clock();
    SDG_TRY(sdg_memory_plan(p, job, &plan));
    SDG_TRY(sdg_estimate_decode_share(p, job, &job->decode_share));
    info->seconds_load = sdg_clock() - clock;
    clock = sdg_clock();
    SDG_TRY(sdg_progress_report(p, job, "text", 0, 1, 0, -1));
    SDG_TRY(sdg_stage_text(p, job));
    info->seconds_text = sdg_clock() - clock;
    clock = sdg_clock();
    SDG_TRY(sdg_start_create(p, job, start));
    SDG_TRY(sdg_progress_report(p, job, "sample", 0, sdg_sampler_steps(job->sampler), 0, -1));
    SDG_TRY(sdg_stage_sample(p, job, start));
    info->seconds_sample = sdg_clock() - clock;
    clock = sdg_clock();
    SDG_TRY(sdg_stage_decode(p, job, start->latent, out));
    info->seconds_decode = sdg_clock() - clock;
    fill_info(p, job, info);
    return SDG_OK;
}

enum sdg_result sdg_generate(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                             struct sdg_image **out, struct sdg_generate_info *info)
{
    *out = NULL;
    struct sdg_job job;
    struct sdg_generate_info used = {0};
    enum sdg_result result = sdg_job_create(pipeline, params, &job);
    struct sdg_start start = {0};
    if (result == SDG_OK)
        result = generate(pipeline, &job, &start, out, &used);
    if (result == SDG_OK && info)
        *info = used;
    sdg_start_clear(&start);
    sdg_job_clear(&job);
    return result;
}
