#include "classify/classifier.h"

#include "base/finite.h"
#include "base/memory.h"
#include "pipeline/backends.h"
#include "pipeline/intervals.h"
#include "pipeline/parameter_names.h"
#include "vim/vim.h"

#include <stdio.h>
#include <string.h>

enum { BATCH_MAX = 4096, BATCH = 64, THREADS_MAX = 1024 };

// ---- opening ----

static enum sdg_result open_backend(struct sdg_classifier *c, const struct sdg_classifier_params *params)
{
    struct sdg_stage_backend chosen = {0};
    struct sdg_backend_params backend = {.threads = params->threads,
                                         .validation = params->validation,
                                         .cpu_mask = params->cpu_mask,
                                         .cache_dir = params->cache_dir};
    SDG_TRY(sdg_features_parse(&c->log, params->disable, &backend.disable));
    SDG_TRY(sdg_backend_parse(&c->log, params->backend ? params->backend : "auto", "", &chosen));
    backend.device = chosen.device;
    memcpy(c->backend_name, chosen.name, sizeof c->backend_name);
    return sdg_backend_create(&c->log, chosen.name, &backend, &c->backend);
}

// f32 where nobody says: the network is small, and what is studied on it are errors.
static enum sdg_result choose_type(struct sdg_classifier *c, const char *type)
{
    static const enum sdg_dtype types[] = {SDG_F32, SDG_F16, SDG_BF16};
    int index = 0;
    if (type)
        SDG_TRY(sdg_name_find(&c->log, SDG_NAMES_TYPE, "type", type, &index));
    c->dtype = types[index];
    if (c->dtype == SDG_F32 || sdg_backend_has_type(c->backend, c->dtype))
        return SDG_OK;
    sdg_say(&c->log, SDG_LOG_INFO, "the network computes in f32: its device (%s) does not compute in %s",
            sdg_backend_info(c->backend)->name, sdg_dtype_name(c->dtype));
    c->dtype = SDG_F32;
    return SDG_OK;
}

enum sdg_result sdg_classifier_open_quantized(struct sdg_classifier *c)
{
    const struct sdg_quantization_config *config = &c->model->config.quantization;
    struct sdg_graph *graph;
    if (!config->present)
        return SDG_OK;
    SDG_TRY(sdg_vim_graph(&c->log, &c->model->config, 1, &graph));
    enum sdg_result result = sdg_quantized_create(&c->log, config->scheme, c->model->tensors, graph, &c->quantized);
    sdg_graph_destroy(&graph);
    if (result == SDG_OK)
        result = sdg_quantized_check_static(&c->log, c->quantized, c->model->path, config->static_sites);
    return result;
}

// ---- compiling ----

static double no_time(const void *user, int64_t row)
{
    (void)user;
    (void)row;
    return 0;
}

static enum sdg_result write_constants(const struct sdg_classifier *c, struct sdg_program *program)
{
    const struct sdg_vim_config *config = &c->model->config;
    const size_t count = (size_t)(sdg_vim_tokens(config) * config->hidden);
    float *positions = sdg_alloc_raw(&c->log, count, sizeof *positions, "positions");
    enum sdg_result result = positions ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_vim_positions(&c->log, config, c->model->tensors, positions);
    if (result == SDG_OK)
        result = sdg_program_write(program, "positions", positions, count);
    sdg_free(positions);
    return result;
}

enum sdg_result sdg_classifier_compile(const struct sdg_classifier *c,
                                       enum sdg_result (*rewrite)(void *user, struct sdg_graph *graph), void *user,
                                       struct sdg_program **out)
{
    const struct sdg_program_params params = {.weights = c->model->tensors};
    struct sdg_graph *graph;
    *out = NULL;
    SDG_TRY(sdg_vim_graph(&c->log, &c->model->config, c->batch, &graph));
    enum sdg_result result = rewrite ? rewrite(user, graph) : SDG_OK;
    if (result == SDG_OK)
        result = sdg_graph_set_type(graph, c->dtype);
    if (result == SDG_OK)
        result = sdg_program_create(c->backend, graph, &params, out);
    sdg_graph_destroy(&graph);
    if (result == SDG_OK)
        result = write_constants(c, *out);
    if (result == SDG_OK)
        result = sdg_quantized_write_tables(&c->log, c->quantized, *out, 1, no_time, NULL);
    if (result != SDG_OK)
        sdg_program_destroy(out);
    return result;
}

enum sdg_result sdg_classifier_quantize(const struct sdg_classifier *c, struct sdg_graph *graph)
{
    return c->quantized ? sdg_graph_quantize_model(graph, c->quantized) : SDG_OK;
}

static enum sdg_result quantize(void *user, struct sdg_graph *graph)
{
    return sdg_classifier_quantize(user, graph);
}

static enum sdg_result create(struct sdg_classifier *c, const struct sdg_classifier_params *params)
{
    SDG_REQUIRE(&c->log, params->model, "model");
    if (params->threads < 0 || params->threads > THREADS_MAX || params->batch < 0 || params->batch > BATCH_MAX)
        return sdg_fail(&c->log, SDG_ERROR_USAGE, "threads are %d and batch is %d: should be 0..%d and 0..%d",
                        params->threads, params->batch, THREADS_MAX, BATCH_MAX);
    c->batch = params->batch ? params->batch : BATCH;
    SDG_TRY(sdg_vim_model_open(&c->log, params->model, &c->model));
    SDG_TRY(sdg_classifier_open_quantized(c));
    SDG_TRY(open_backend(c, params));
    SDG_TRY(choose_type(c, params->type));
    const struct sdg_vim_config *config = &c->model->config;
    const size_t pixels = (size_t)(sdg_vim_tokens(config) * config->patch_size * config->patch_size * config->channels);
    c->patches = sdg_alloc(&c->log, (size_t)c->batch * pixels, sizeof *c->patches, "patches");
    if (!c->patches)
        return SDG_ERROR_MEMORY;
    return sdg_classifier_compile(c, quantize, c, &c->program);
}

enum sdg_result sdg_classifier_create(const struct sdg_classifier_params *params, struct sdg_classifier **out)
{
    SDG_REQUIRE(params ? &params->log : NULL, out, "out");
    *out = NULL;
    SDG_REQUIRE(NULL, params, "params");
    struct sdg_classifier *c = sdg_alloc(&params->log, 1, sizeof *c, "the classifier");
    if (!c)
        return SDG_ERROR_MEMORY;
    c->log = params->log;
    enum sdg_result result = create(c, params);
    if (result != SDG_OK)
        sdg_classifier_destroy(&c);
    *out = c;
    return result;
}

void sdg_classifier_destroy(struct sdg_classifier **handle)
{
    struct sdg_classifier *c = handle ? *handle : NULL;
    if (!c)
        return;
    *handle = NULL;
    sdg_program_destroy(&c->program);
    sdg_backend_destroy(&c->backend);
    sdg_quantized_destroy(&c->quantized);
    sdg_vim_model_close(&c->model);
    sdg_free(c->patches);
    sdg_free(c);
}

void sdg_classifier_info(const struct sdg_classifier *c, struct sdg_classifier_info *out)
{
    if (!out)
        return;
    *out = (struct sdg_classifier_info){0};
    if (!c)
        return;
    const struct sdg_vim_config *config = &c->model->config;
    *out = (struct sdg_classifier_info){
        .image_size = config->image_size,
        .channels = config->channels,
        .classes = config->classes,
        .tokens = (int)sdg_vim_tokens(config),
        .white = (double)config->white,
        .scheme = config->quantization.present ? config->quantization.scheme : NULL,
        .backend = c->backend_name,
        .type = sdg_dtype_name(c->dtype),
    };
}

// ---- running ----

enum sdg_result sdg_classifier_run(
    struct sdg_classifier *c, struct sdg_program *program, const float *pictures, size_t count,
    enum sdg_result (*read)(void *user, struct sdg_program *program, size_t first, size_t pictures), void *user)
{
    const struct sdg_vim_config *config = &c->model->config;
    const size_t batch = (size_t)c->batch,
                 pixels = (size_t)config->channels * (size_t)config->image_size * (size_t)config->image_size,
                 patches =
                     (size_t)(sdg_vim_tokens(config) * config->patch_size * config->patch_size * config->channels);
    const size_t bad = sdg_first_not_finite(pictures, count * pixels);
    if (bad < count * pixels)
        return sdg_fail(&c->log, SDG_ERROR_USAGE, "picture %zu has a pixel that is not finite", bad / pixels + 1);
    for (size_t first = 0; first < count; first += batch) {
        const size_t here = count - first < batch ? count - first : batch;
        for (size_t i = 0; i < here; i++)
            sdg_vim_patches(config, pictures + (first + i) * pixels, c->patches + i * patches);
        memset(c->patches + here * patches, 0, (batch - here) * patches * sizeof *c->patches);
        SDG_TRY(sdg_program_write(program, "patches", c->patches, batch * patches));
        SDG_TRY(sdg_program_run(program, 0));
        SDG_TRY(read(user, program, first, here));
    }
    return SDG_OK;
}

struct answers {
    const struct sdg_classifier *classifier;
    float *all;    // [batch][tokens][classes]
    float *logits; // the caller's
};

static enum sdg_result read_logits(void *user, struct sdg_program *program, size_t first, size_t pictures)
{
    const struct answers *a = user;
    const struct sdg_vim_config *config = &a->classifier->model->config;
    const size_t tokens = (size_t)sdg_vim_tokens(config), classes = (size_t)config->classes,
                 place = (size_t)sdg_vim_class_token(config);
    SDG_TRY(sdg_program_read(program, "logits", a->all, (size_t)a->classifier->batch * tokens * classes));
    for (size_t i = 0; i < pictures; i++)
        memcpy(a->logits + (first + i) * classes, a->all + (i * tokens + place) * classes, classes * sizeof *a->all);
    return sdg_program_check_finite(program, a->logits + first * classes, pictures * classes, "the logits");
}

enum sdg_result sdg_classify(struct sdg_classifier *c, const float *pictures, size_t count, float *logits)
{
    SDG_REQUIRE(NULL, c, "classifier");
    SDG_REQUIRE(&c->log, pictures, "pictures");
    SDG_REQUIRE(&c->log, logits, "logits");
    const struct sdg_vim_config *config = &c->model->config;
    const size_t size = (size_t)(sdg_vim_tokens(config) * config->classes);
    struct answers answers = {c, sdg_alloc_raw(&c->log, (size_t)c->batch * size, sizeof(float), "logits"), logits};
    if (!answers.all)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_classifier_run(c, c->program, pictures, count, read_logits, &answers);
    sdg_free(answers.all);
    return result;
}
