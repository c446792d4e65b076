// Learning a classifier's blocks: what sdg_learn does for models that draw, with pictures in place of prompts.
#include "base/hash.h"
#include "base/memory.h"
#include "classify/classifier.h"
#include "measure/learning.h"
#include "vim/vim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 16, SETTINGS_BYTES = 300 };

struct pupils { // what stands behind struct sdg_learning_networks here
    struct sdg_classifier *full, *quantized;
    const float *pictures;
    size_t count;
};

// ---- both networks ----

static enum sdg_result open_one(const struct sdg_learning *t, const char *model, struct sdg_classifier **out)
{
    const struct sdg_classifier_params params = {.model = model,
                                                 .backend = "cpu",
                                                 .type = "f32",
                                                 .threads = t->params->pipeline.threads,
                                                 .batch = BATCH,
                                                 .cpu_mask = t->params->pipeline.cpu_mask,
                                                 .log = t->log};
    return sdg_classifier_create(&params, out);
}

static enum sdg_result check_models(const struct sdg_learning *t, const struct pupils *p)
{
    const struct sdg_quantization_config *q = &p->quantized->model->config.quantization;
    char found[17];
    if (!q->present || q->learned)
        return sdg_fail(&t->log, SDG_ERROR_INPUT, "%s: %s: quantize the model, then learn", t->params->quantized,
                        q->present ? "has been learned already" : "is no quantized model");
    if (p->full->quantized)
        return sdg_fail(&t->log, SDG_ERROR_INPUT, "%s: is quantized: learning needs the full-precision model",
                        t->params->model);
    sdg_tensors_fingerprint(p->full->model->tensors, found);
    if (strcmp(found, q->base) == 0)
        return SDG_OK;
    return sdg_fail(&t->log, SDG_ERROR_INPUT,
                    "%s: is not the model that %s was made from: the fingerprint is %s, not %s", t->params->model,
                    t->params->quantized, found, q->base);
}

struct recording {
    const struct sdg_classifier *classifier;
    struct sdg_block_recorder recorder;
};

static enum sdg_result mark_and_quantize(void *user, struct sdg_graph *graph)
{
    struct recording *r = user;
    SDG_TRY(sdg_block_recorder_mark(&r->recorder, graph));
    return sdg_classifier_quantize(r->classifier, graph);
}

static enum sdg_result read_inputs(void *user, struct sdg_program *program, size_t first, size_t pictures)
{
    struct recording *r = user;
    (void)first;
    return sdg_block_recorder_read(&r->recorder, program, 0, pictures);
}

static enum sdg_result record(struct sdg_learning *t, bool quantized, const char *block,
                              struct sdg_block_stream *stream)
{
    const struct pupils *p = t->networks.user;
    struct sdg_classifier *c = quantized ? p->quantized : p->full;
    struct recording r = {.classifier = c, .recorder = {.log = &t->log, .block = block, .stream = stream}};
    struct sdg_program *program;
    SDG_TRY(sdg_classifier_compile(c, mark_and_quantize, &r, &program));
    enum sdg_result result = sdg_classifier_run(c, program, p->pictures, p->count, read_inputs, &r);
    sdg_program_destroy(&program);
    return result;
}

// The quantized network with what has been learned so far.
static enum sdg_result open_networks(struct sdg_learning *t)
{
    static const double no_time[] = {0};
    struct pupils *p = t->networks.user;
    sdg_classifier_destroy(&p->quantized);
    SDG_TRY(open_one(t, t->params->quantized, &p->quantized));
    sdg_quantized_destroy(&p->quantized->quantized);
    SDG_TRY(sdg_learn_state_overlay(t->state, &p->quantized->model->tensors));
    SDG_TRY(sdg_classifier_open_quantized(p->quantized));
    t->networks = (struct sdg_learning_networks){.weights = p->full->model->tensors,
                                                 .stored = p->quantized->model->tensors,
                                                 .quantized = p->quantized->quantized,
                                                 .timesteps = no_time,
                                                 .rows = 1,
                                                 .parts = p->count,
                                                 .record = record,
                                                 .user = p};
    return SDG_OK;
}

// ---- all of it ----

// What has to be the same for learning to go on, in a line.
static void describe_settings(const struct sdg_learning *t, const struct pupils *p, char text[SETTINGS_BYTES])
{
    const struct sdg_vim_config *c = &p->full->model->config;
    const size_t numbers = p->count * (size_t)c->channels * (size_t)c->image_size * (size_t)c->image_size;
    char full[17], quantized[17];
    sdg_tensors_fingerprint(p->full->model->tensors, full);
    sdg_tensors_fingerprint(p->quantized->model->tensors, quantized);
    snprintf(text, SETTINGS_BYTES,
             "%s, model %s as %s, %d updates, rates %.9g %.9g %.9g, pictures %016" PRIx64 ", seed %" PRIu64,
             t->params->module, full, quantized, t->options.updates, t->options.weight_rate, t->options.activation_rate,
             t->options.smoothing_rate, sdg_hash_bytes(SDG_HASH_START, p->pictures, numbers * sizeof *p->pictures),
             t->options.seed);
}

static enum sdg_result prepare(struct sdg_learning *t, struct pupils *p)
{
    const struct sdg_backend_params backend = {
        .threads = t->params->pipeline.threads, .device = -1, .cpu_mask = t->params->pipeline.cpu_mask};
    char settings[SETTINGS_BYTES];
    SDG_TRY(sdg_learning_options(t));
    SDG_TRY(open_one(t, t->params->model, &p->full));
    SDG_TRY(open_one(t, t->params->quantized, &p->quantized));
    SDG_TRY(check_models(t, p));
    SDG_TRY(sdg_learning_state_path(t));
    SDG_TRY(sdg_backend_create(&t->log, "cpu", &backend, &t->backend));
    describe_settings(t, p, settings);
    return sdg_learn_state_create(&t->log, t->params->state ? t->params->state : t->state_path, settings,
                                  t->params->resume, p->quantized->model->tensors, &t->state);
}

static enum sdg_result learn_all(struct sdg_learning *t, struct pupils *p)
{
    struct sdg_graph *network;
    sdg_learning_start(t);
    SDG_TRY(prepare(t, p));
    SDG_TRY(sdg_vim_graph(&t->log, &p->full->model->config, BATCH, &network));
    enum sdg_result result = sdg_learning_list(t, network);
    if (result == SDG_OK)
        result = sdg_learning_blocks(t, network, open_networks);
    sdg_graph_destroy(&network);
    sdg_classifier_destroy(&p->quantized); // which has the folder's file mapped
    if (result == SDG_OK)
        result = sdg_learning_finish(t, &sdg_quantized_network_files);
    return result;
}

enum sdg_result sdg_classifier_learn(const struct sdg_learn_params *given, const float *pictures, size_t count)
{
    SDG_REQUIRE(NULL, given, "params");
    struct sdg_learn_params params = *given;
    struct pupils pupils = {.pictures = pictures, .count = count};
    struct sdg_learning t = {.params = &params, .log = params.pipeline.log, .networks = {.user = &pupils}};
    SDG_REQUIRE(&t.log, params.quantized, "quantized");
    SDG_REQUIRE(&t.log, params.model, "model");
    SDG_REQUIRE(&t.log, pictures, "pictures");
    if (!count)
        return sdg_fail(&t.log, SDG_ERROR_INPUT, "there is no picture to learn from");
    params.module = params.module ? params.module : "mixer";
    enum sdg_result result = learn_all(&t, &pupils);
    sdg_learning_clear(&t);
    sdg_classifier_destroy(&pupils.quantized);
    sdg_classifier_destroy(&pupils.full);
    return result;
}
