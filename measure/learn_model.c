// sdg_learn: models and settings, trajectories of the full-precision model, then block by block, with a state file
// after each; at the end all of it in the quantized folder.
#include "measure/learning.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/platform.h"
#include "formats/quantized_folder.h"
#include "pipeline/intervals.h"
#include "pipeline/networks.h"
#include "pipeline/stages.h"
#include "pipeline/template.h"
#include "scheduler/sampler.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, MOST_UPDATES = 100000, SETTINGS_BYTES = 400 };
static const char state_suffix[] = ".learning";

// ---- settings ----

struct sdg_generate_params sdg_learning_prompt(const struct sdg_learning *t, size_t prompt)
{
    struct sdg_generate_params g = t->params->generate;
    g.prompt = t->params->prompts[prompt];
    g.steps = g.steps ? g.steps : 20;
    g.sampler = g.sampler ? g.sampler : "ddim";
    g.schedule = g.schedule ? g.schedule : "model";
    g.seed += (uint64_t)prompt;
    g.image = (int)prompt;
    g.images = (int)t->params->prompt_count;
    return g;
}

static const char *module_of(const struct sdg_learning *t)
{
    return t->params->module ? t->params->module : "mamba";
}

static double rate(struct sdg_number number, double otherwise)
{
    return number.given ? number.value : otherwise;
}

static bool is_rate(double rate_given)
{
    return rate_given >= 0 && rate_given <= 1;
}

static const char *const loss_names[] = {[SDG_LOSS_ERROR] = "error", [SDG_LOSS_COSINE] = "cosine"};

static bool find_loss(const char *name, enum sdg_learn_loss *out)
{
    for (size_t i = 0; i < sizeof loss_names / sizeof *loss_names; i++)
        if (strcmp(name, loss_names[i]) == 0) {
            *out = (enum sdg_learn_loss)i;
            return true;
        }
    return false;
}

enum sdg_result sdg_learning_options(struct sdg_learning *t)
{
    const struct sdg_learn_params *p = t->params;
    struct sdg_learn_options *o = &t->options;
    *o = sdg_learn_defaults();
    o->updates = p->updates ? p->updates : o->updates;
    o->weight_rate = rate(p->weight_rate, o->weight_rate);
    o->activation_rate = rate(p->activation_rate, o->activation_rate);
    o->smoothing_rate = rate(p->smoothing_rate, o->smoothing_rate);
    o->seed = p->order_seed;
    if (p->loss && !find_loss(p->loss, &o->loss))
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "loss is '%.40s', should be error or cosine", p->loss);
    if (o->updates < 1 || o->updates > MOST_UPDATES)
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "%d updates of a block, should be 1 to %d", o->updates, MOST_UPDATES);
    if (!is_rate(o->weight_rate) || !is_rate(o->activation_rate) || !is_rate(o->smoothing_rate))
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "learning rates are %g, %g and %g, should be 0 to 1", o->weight_rate,
                        o->activation_rate, o->smoothing_rate);
    if (p->pipeline.type)
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "type is %s: learning computes in f32", p->pipeline.type);
    return SDG_OK;
}

// What has to be the same for learning to go on, in a line.
static void describe_settings(const struct sdg_learning *t, char text[SETTINGS_BYTES])
{
    const struct sdg_generate_params g = sdg_learning_prompt(t, 0);
    const struct sdg_learn_options *o = &t->options;
    char full[17], quantized[17];
    uint64_t prompts = SDG_HASH_START;
    for (size_t i = 0; i < t->params->prompt_count; i++)
        prompts = sdg_hash_word(sdg_hash_bytes(prompts, t->params->prompts[i], strlen(t->params->prompts[i])), 0xff);
    if (g.negative_prompt)
        prompts = sdg_hash_bytes(prompts, g.negative_prompt, strlen(g.negative_prompt));
    sdg_tensors_fingerprint(t->full->model->unet, full);
    sdg_tensors_fingerprint(t->quantized->model->unet, quantized);
    snprintf(text, SETTINGS_BYTES,
             "%s, %s, model %s as %s, %d updates, rates %.9g %.9g %.9g, prompts %016" PRIx64
             ", %s/%s %d steps, %dx%d, guidance %.9g, seeds %" PRIu64 " and %" PRIu64,
             module_of(t), loss_names[o->loss], full, quantized, o->updates, o->weight_rate, o->activation_rate,
             o->smoothing_rate, prompts, g.sampler, g.schedule, g.steps, g.width, g.height,
             g.cfg_scale.given ? g.cfg_scale.value : -1, g.seed, o->seed);
}

// ---- models ----

static enum sdg_result check_folder(struct sdg_learning *t, const struct sdg_model *m)
{
    const struct sdg_quantization_config *q = &m->unet_config.quantization;
    const char *path = t->params->model ? t->params->model : m->bases[0];
    if (!q->present)
        return sdg_fail(&t->log, SDG_ERROR_INPUT, "%s: is no quantized model: there is nothing to learn", m->path);
    if (q->learned || q->corrected)
        return sdg_fail(&t->log, SDG_ERROR_INPUT, "%s: %s: quantize the model again and learn before anything else",
                        m->path,
                        q->learned ? "has been learned already" : "has a correction, which learning would spoil");
    if (!path)
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "%s: names no base: say which full-precision model it was made from",
                        m->path);
    t->full_path = sdg_strdup(&t->log, path);
    return t->full_path ? SDG_OK : SDG_ERROR_MEMORY;
}

enum sdg_result sdg_learning_state_path(struct sdg_learning *t)
{
    const size_t bytes = strlen(t->params->quantized) + sizeof state_suffix;
    size_t length = strlen(t->params->quantized);
    t->state_path = sdg_alloc(&t->log, bytes, 1, "a path");
    if (!t->state_path)
        return SDG_ERROR_MEMORY;
    while (length > 1 && t->params->quantized[length - 1] == '/')
        length--;
    snprintf(t->state_path, bytes, "%.*s%s", (int)length, t->params->quantized, state_suffix);
    return SDG_OK;
}

static enum sdg_result find_models(struct sdg_learning *t)
{
    struct sdg_model *quantized;
    SDG_TRY(sdg_model_open(&t->log, t->params->quantized, &quantized));
    enum sdg_result result = check_folder(t, quantized);
    sdg_model_close(&quantized);
    SDG_TRY(result);
    return sdg_learning_state_path(t);
}

static const char *state_path(const struct sdg_learning *t)
{
    return t->params->state ? t->params->state : t->state_path;
}

static enum sdg_result open_full(struct sdg_learning *t)
{
    struct sdg_pipeline_params params = t->opening;
    char found[17];
    params.model = t->full_path;
    SDG_TRY(sdg_pipeline_create(&params, &t->full));
    if (t->full->model->unet_config.quantization.present)
        return sdg_fail(&t->log, SDG_ERROR_INPUT, "%s: is quantized: learning needs the full-precision model",
                        t->full_path);
    struct sdg_model *quantized;
    SDG_TRY(sdg_model_open(&t->log, t->params->quantized, &quantized));
    sdg_tensors_fingerprint(t->full->model->unet, found);
    enum sdg_result result = SDG_OK;
    if (strcmp(found, quantized->unet_config.quantization.base) != 0)
        result = sdg_fail(&t->log, SDG_ERROR_INPUT,
                          "%s: is not the model that %s was made from: the UNet's fingerprint is %s, not %s",
                          t->full_path, t->params->quantized, found, quantized->unet_config.quantization.base);
    sdg_model_close(&quantized);
    return result;
}

// The quantized model with what has been learned so far.
static enum sdg_result open_quantized(struct sdg_learning *t)
{
    struct sdg_pipeline_params params = t->opening;
    params.model = t->params->quantized;
    sdg_pipeline_destroy(&t->quantized);
    SDG_TRY(sdg_pipeline_create(&params, &t->quantized));
    if (!t->state)
        return SDG_OK;
    sdg_quantized_destroy(&t->quantized->quantized);
    SDG_TRY(sdg_learn_state_overlay(t->state, &t->quantized->model->unet));
    return sdg_quantized_open(t->quantized);
}

static enum sdg_result open_backend(struct sdg_learning *t)
{
    struct sdg_backend_params params = {.device = -1, .cpu_mask = t->params->pipeline.cpu_mask};
    SDG_TRY(sdg_engine_pool(t->full->engine, &t->log, &params.pool));
    return sdg_backend_create(&t->log, "cpu", &params, &t->backend);
}

static enum sdg_result record(struct sdg_learning *t, bool quantized, const char *block,
                              struct sdg_block_stream *stream)
{
    for (size_t i = 0; i < t->params->prompt_count; i++) {
        const struct sdg_generate_params generate = sdg_learning_prompt(t, i);
        SDG_TRY(
            sdg_block_stream_record(quantized ? t->quantized : t->full, &generate, &t->trajectories[i], block, stream));
    }
    return SDG_OK;
}

static enum sdg_result open_networks(struct sdg_learning *t)
{
    SDG_TRY(open_quantized(t));
    t->networks = (struct sdg_learning_networks){.weights = t->full->model->unet,
                                                 .stored = t->quantized->model->unet,
                                                 .quantized = t->quantized->quantized,
                                                 .timesteps = t->trajectories[0].timesteps,
                                                 .rows = t->trajectories[0].calls,
                                                 .parts = t->params->prompt_count,
                                                 .record = record};
    return SDG_OK;
}

// ---- blocks ----

static enum sdg_result add_block(struct sdg_learning *t, const char *op, size_t length)
{
    for (size_t i = 0; i < t->block_count; i++)
        if (strncmp(t->blocks[i], op, length) == 0 && t->blocks[i][length] == 0)
            return SDG_OK;
    if (!sdg_grow(&t->log, &t->blocks, &t->block_capacity, t->block_count + 1, sizeof *t->blocks, "blocks"))
        return SDG_ERROR_MEMORY;
    char *name = sdg_alloc(&t->log, length + 1, 1, "a block's name");
    if (!name)
        return SDG_ERROR_MEMORY;
    memcpy(name, op, length);
    t->blocks[t->block_count++] = name;
    return SDG_OK;
}

// Length of the path up to and including its first component `module`; 0 if there is none.
static size_t block_length(const char *op, const char *module)
{
    const size_t wanted = strlen(module);
    for (const char *at = op; *at;) {
        const size_t length = strcspn(at, ".");
        if (length == wanted && strncmp(at, module, wanted) == 0)
            return (size_t)(at - op) + length;
        at += length + (at[length] == '.');
    }
    return 0;
}

enum sdg_result sdg_learning_list(struct sdg_learning *t, const struct sdg_graph *graph)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const size_t length = block_length(graph->ops[i].name, module_of(t));
        if (length)
            SDG_TRY(add_block(t, graph->ops[i].name, length));
    }
    return t->block_count
        ? SDG_OK
        : sdg_fail(&t->log, SDG_ERROR_INPUT, "%s: has no module '%.80s' to learn", t->full_path, module_of(t));
}

// The step's graph for BATCH samples in the size of the pictures.
static enum sdg_result build_network(const struct sdg_learning *t, struct sdg_graph **out)
{
    const struct sdg_generate_params generate = sdg_learning_prompt(t, 0);
    struct sdg_job job;
    *out = NULL;
    enum sdg_result result = sdg_job_create(t->full, &generate, &job);
    if (result == SDG_OK) {
        struct sdg_network_shape shape =
            sdg_network_shape(t->full, &job, SDG_NETWORK_UNET_STEP, sdg_tokenizer_length(t->full->tokenizer[0]));
        shape.batch = BATCH;
        shape.rows = 1;
        result = sdg_network_build(t->full, SDG_NETWORK_UNET_STEP, &shape, out);
    }
    sdg_job_clear(&job);
    return result;
}

// ---- all blocks ----

enum sdg_result sdg_learning_blocks(struct sdg_learning *t, const struct sdg_graph *network,
                                    enum sdg_result (*open)(struct sdg_learning *learning))
{
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < t->block_count; i++)
        t->total += sdg_learn_state_block(t->state, t->blocks[i]) ? 0 : t->options.updates;
    t->began = sdg_clock();
    for (size_t i = 0; i < t->block_count && result == SDG_OK; i++) {
        const float *marker = sdg_learn_state_block(t->state, t->blocks[i]);
        if (marker) {
            sdg_learning_tell(t, t->blocks[i], marker, 0, 0);
            continue;
        }
        result = open(t);
        if (result == SDG_OK)
            result = sdg_learning_block(t, t->blocks[i], network);
        sdg_memory_trim();
    }
    if (result == SDG_OK && !t->params->keep_smoothing)
        result = open(t);
    return result == SDG_OK && !t->params->keep_smoothing ? sdg_learning_fold(t, network) : result;
}

static enum sdg_result record_trajectories(struct sdg_learning *t)
{
    t->trajectories = sdg_alloc(&t->log, t->params->prompt_count, sizeof *t->trajectories, "trajectories");
    if (!t->trajectories)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < t->params->prompt_count; i++) {
        const struct sdg_generate_params generate = sdg_learning_prompt(t, i);
        SDG_TRY(sdg_trajectory_record(t->full, &generate, &t->trajectories[i]));
    }
    return SDG_OK;
}

// ---- the folder ----

static bool is_marker(const struct sdg_tensor *t)
{
    const size_t length = strlen(t->name), suffix = strlen(SDG_LEARNED_SUFFIX);
    return length > suffix && strcmp(t->name + length - suffix, SDG_LEARNED_SUFFIX) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sdg_tensor *)a)->name, ((const struct sdg_tensor *)b)->name);
}

// Tensors of a file that learning went on from come in another order than learned ones: sorted, the bytes are the same.
static enum sdg_result amend(const struct sdg_learning *t, const struct sdg_quantized_files *files)
{
    size_t all, count = 0;
    const struct sdg_tensor *tensors = sdg_learn_state_tensors(t->state, &all);
    struct sdg_tensor *learned = sdg_alloc(&t->log, all + 1, sizeof *learned, "a table of tensors");
    if (!learned)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < all; i++)
        if (!is_marker(&tensors[i]) &&
            !(sdg_learning_is_multiplier(tensors[i].name) && sdg_learning_is_folded(t, &tensors[i])))
            learned[count++] = tensors[i];
    qsort(learned, count, sizeof *learned, by_name);
    enum sdg_result result =
        sdg_quantized_amend(&t->log, t->params->quantized, files, "learned",
                            t->params->keep_smoothing ? NULL : sdg_learning_is_multiplier, learned, count);
    if (result == SDG_OK)
        remove(state_path(t));
    sdg_free(learned);
    return result;
}

void sdg_learning_start(struct sdg_learning *t)
{
    t->started = sdg_clock();
    sdg_resident_reset_peak();
}

enum sdg_result sdg_learning_finish(const struct sdg_learning *t, const struct sdg_quantized_files *files)
{
    SDG_TRY(amend(t, files));
    if (t->params->report)
        t->params->report(t->params->user,
                          &(struct sdg_learn_report){.blocks = t->block_count,
                                                     .samples = t->samples,
                                                     .seconds = sdg_clock() - t->started,
                                                     .peak_bytes = (double)sdg_resident_peak()});
    return SDG_OK;
}

static enum sdg_result prepare(struct sdg_learning *t)
{
    char settings[SETTINGS_BYTES];
    SDG_TRY(sdg_learning_options(t));
    SDG_TRY(sdg_template_check_prompts(&t->log, t->params->prompts, t->params->prompt_count, "to learn from"));
    SDG_TRY(find_models(t));
    t->opening = t->params->pipeline;
    t->opening.type = "f32";
    t->opening.no_correction = true;
    t->opening.keep = SDG_KEEP_NETWORKS;
    SDG_TRY(open_full(t));
    SDG_TRY(open_quantized(t));
    SDG_TRY(open_backend(t));
    describe_settings(t, settings);
    return sdg_learn_state_create(&t->log, state_path(t), settings, t->params->resume, t->quantized->model->unet,
                                  &t->state);
}

static enum sdg_result learn_all(struct sdg_learning *t)
{
    struct sdg_graph *network;
    sdg_learning_start(t);
    SDG_TRY(prepare(t));
    SDG_TRY(build_network(t, &network));
    enum sdg_result result = sdg_learning_list(t, network);
    if (result == SDG_OK)
        result = record_trajectories(t);
    if (result == SDG_OK)
        result = sdg_learning_blocks(t, network, open_networks);
    sdg_graph_destroy(&network);
    sdg_pipeline_destroy(&t->quantized); // which has the folder's file mapped
    if (result == SDG_OK)
        result = sdg_learning_finish(t, &sdg_quantized_unet_files);
    return result;
}

void sdg_learning_clear(struct sdg_learning *t)
{
    for (size_t i = 0; i < t->block_count; i++)
        sdg_free(t->blocks[i]);
    sdg_free(t->blocks);
    sdg_free(t->full_path);
    sdg_free(t->state_path);
    sdg_learn_state_destroy(&t->state);
    sdg_backend_destroy(&t->backend);
}

enum sdg_result sdg_learn(const struct sdg_learn_params *params)
{
    SDG_REQUIRE(NULL, params, "params");
    struct sdg_learning t = {.params = params, .log = params->pipeline.log};
    SDG_REQUIRE(&t.log, params->quantized, "quantized");
    SDG_TRY(sdg_template_check(&t.log, &params->generate, true));
    SDG_TRY(sdg_template_check_pipeline(&t.log, &params->pipeline));
    enum sdg_result result = learn_all(&t);
    for (size_t i = 0; t.trajectories && i < params->prompt_count; i++)
        sdg_trajectory_clear(&t.trajectories[i]);
    sdg_free(t.trajectories);
    sdg_learning_clear(&t);
    sdg_pipeline_destroy(&t.quantized);
    sdg_pipeline_destroy(&t.full);
    return result;
}
