// sdg_learn: trajectories of the full-precision model, then block by block the inputs of both networks, the updates,
// and what comes of them in the state file; at the end all of it in the quantized folder.
#include "sdgen/learn.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/nibbles.h"
#include "base/platform.h"
#include "formats/quantized_folder.h"
#include "graph/weights.h"
#include "learn/block_learner.h"
#include "measure/block_stream.h"
#include "measure/learn_state.h"
#include "pipeline/intervals.h"
#include "pipeline/networks.h"
#include "pipeline/stages.h"
#include "pipeline/template.h"
#include "scheduler/sampler.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 16, MOST_UPDATES = 100000, NAME_BYTES = 320, SETTINGS_BYTES = 400 };
static const char state_suffix[] = ".learning";

struct teacher {
    const struct sdg_learn_params *params;
    struct sdg_log log;
    struct sdg_learn_options options;
    struct sdg_pipeline_params opening; // of both models, without their paths
    char *full_path, *state_path;
    struct sdg_pipeline *full, *quantized;
    struct sdg_backend *backend;         // that blocks are learned on
    struct sdg_trajectory *trajectories; // [prompt_count]
    struct sdg_learn_state *state;
    char **blocks; // [block_count] their names, in order of execution
    size_t block_count, block_capacity;
    size_t samples;
    // progress
    double began;        // clock when the first update was about to begin
    int64_t done, total; // updates of blocks that were not learned before
    int image;           // prompt that is being drawn or replayed
};

// ---- settings ----

static struct sdg_generate_params prompt_params(const struct teacher *t, size_t prompt)
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

static const char *module_of(const struct teacher *t)
{
    return t->params->module ? t->params->module : "mamba";
}

static double rate(struct sdg_number number, double otherwise)
{
    return number.given ? number.value : otherwise;
}

static enum sdg_result read_options(struct teacher *t)
{
    const struct sdg_learn_params *p = t->params;
    struct sdg_learn_options *o = &t->options;
    *o = sdg_learn_defaults();
    o->updates = p->updates ? p->updates : o->updates;
    o->weight_rate = rate(p->weight_rate, o->weight_rate);
    o->activation_rate = rate(p->activation_rate, o->activation_rate);
    o->smoothing_rate = rate(p->smoothing_rate, o->smoothing_rate);
    o->seed = p->generate.seed;
    const double largest = fmax(o->weight_rate, fmax(o->activation_rate, o->smoothing_rate)),
                 smallest = fmin(o->weight_rate, fmin(o->activation_rate, o->smoothing_rate));
    if (o->updates < 1 || o->updates > MOST_UPDATES)
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "%d updates of a block, should be 1 to %d", o->updates, MOST_UPDATES);
    if (!(smallest >= 0 && largest <= 1))
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "learning rates are %g, %g and %g, should be 0 to 1", o->weight_rate,
                        o->activation_rate, o->smoothing_rate);
    if (!p->prompt_count || !p->prompts)
        return sdg_fail(&t->log, SDG_ERROR_INPUT, "there is no prompt to learn from");
    if (p->pipeline.type)
        return sdg_fail(&t->log, SDG_ERROR_USAGE, "type is %s: learning computes in f32", p->pipeline.type);
    return SDG_OK;
}

// What has to be the same for learning to go on, in a line.
static void describe_settings(const struct teacher *t, char text[SETTINGS_BYTES])
{
    const struct sdg_generate_params g = prompt_params(t, 0);
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
             "%s, model %s as %s, %d updates, rates %.9g %.9g %.9g, prompts %016" PRIx64
             ", %s/%s %d steps, %dx%d, guidance %.9g, seed %" PRIu64,
             module_of(t), full, quantized, o->updates, o->weight_rate, o->activation_rate, o->smoothing_rate, prompts,
             g.sampler, g.schedule, g.steps, g.width, g.height, g.cfg_scale.given ? g.cfg_scale.value : -1, g.seed);
}

// ---- models ----

static enum sdg_result check_folder(struct teacher *t, const struct sdg_model *m)
{
    const struct sdg_quantization_config *q = &m->unet_config.quantization;
    const char *path = t->params->model ? t->params->model : m->base_path;
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

static enum sdg_result find_models(struct teacher *t)
{
    struct sdg_model *quantized;
    const size_t bytes = strlen(t->params->quantized) + sizeof state_suffix;
    SDG_TRY(sdg_model_open(&t->log, t->params->quantized, &quantized));
    enum sdg_result result = check_folder(t, quantized);
    sdg_model_close(&quantized);
    SDG_TRY(result);
    t->state_path = sdg_alloc(&t->log, bytes, 1, "a path");
    if (!t->state_path)
        return SDG_ERROR_MEMORY;
    size_t length = strlen(t->params->quantized);
    while (length > 1 && t->params->quantized[length - 1] == '/')
        length--;
    snprintf(t->state_path, bytes, "%.*s%s", (int)length, t->params->quantized, state_suffix);
    return SDG_OK;
}

static const char *state_path(const struct teacher *t)
{
    return t->params->state ? t->params->state : t->state_path;
}

static enum sdg_result open_full(struct teacher *t)
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
static enum sdg_result open_quantized(struct teacher *t)
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

static enum sdg_result open_backend(struct teacher *t)
{
    struct sdg_backend_params params = {.device = -1, .cpu_mask = t->params->pipeline.cpu_mask};
    SDG_TRY(sdg_pipeline_pool(t->full, &params.pool));
    return sdg_backend_create(&t->log, "cpu", &params, &t->backend);
}

// ---- progress ----

// Drawing and replaying: the caller hears of it with the stage's own name.
static bool on_stage(void *user, const struct sdg_progress *progress)
{
    const struct teacher *t = user;
    const struct sdg_generate_params *g = &t->params->generate;
    return !g->progress || g->progress(g->progress_user, progress);
}

static bool on_update(void *user, int update, int updates, double loss)
{
    struct teacher *t = user;
    const struct sdg_generate_params *g = &t->params->generate;
    (void)update, (void)updates, (void)loss;
    const double spent = sdg_clock() - t->began;
    t->done++;
    const struct sdg_progress progress = {
        .stage = "learn",
        .step = (int)t->done,
        .steps = (int)t->total,
        .images = 1,
        .seconds_step = spent / (double)t->done,
        .seconds_left = spent * (double)(t->total - t->done) / (double)t->done,
    };
    return !g->progress || g->progress(g->progress_user, &progress);
}

// ---- blocks ----

static enum sdg_result add_block(struct teacher *t, const char *op, size_t length)
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
    for (const char *at = op; at; at = strchr(at, '.')) {
        at += at > op;
        const size_t length = strcspn(at, ".");
        if (length == wanted && strncmp(at, module, wanted) == 0)
            return (size_t)(at - op) + length;
        at = at == op && *at ? at + 0 : at;
        if (!at[length])
            return 0;
        at += length;
    }
    return 0;
}

static enum sdg_result list_blocks(struct teacher *t, const struct sdg_graph *graph)
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
static enum sdg_result build_network(const struct teacher *t, struct sdg_graph **out)
{
    const struct sdg_generate_params generate = prompt_params(t, 0);
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

// ---- one block ----

// Everything about the block that is being learned.
struct lesson {
    struct teacher *teacher;
    const char *name;
    struct sdg_block block;
    struct sdg_learnable what;
    struct sdg_block_stream stream; // of the quantized network
    float *targets;                 // [stream.count][elements of a result]
    // the start, as sdg_learn_problem wants it
    size_t rows;
    float **scales, **zeros, **smoothing; // [sites]
    float **steps;                        // [layers]
};

static const struct sdg_tensor *find_tensor(const struct lesson *l, const char *owner, const char *suffix)
{
    char name[NAME_BYTES];
    return snprintf(name, sizeof name, "%s%s", owner, suffix) < NAME_BYTES
        ? sdg_tensors_find(l->teacher->quantized->model->unet, name)
        : NULL;
}

// A copy of a tensor of floats, which was checked when the model was opened.
static float *copy_floats(const struct lesson *l, const char *owner, const char *suffix)
{
    const struct sdg_tensor *tensor = find_tensor(l, owner, suffix);
    float *copy = tensor ? sdg_alloc(&l->teacher->log, tensor->bytes, 1, "scales") : NULL;
    if (copy)
        memcpy(copy, tensor->data, tensor->bytes);
    return copy;
}

static enum sdg_result start_site(struct lesson *l, size_t i)
{
    const struct sdg_learnable_site *site = &l->what.sites[i];
    const struct sdg_quantized *q = l->teacher->quantized->quantized;
    const double *timesteps = l->teacher->trajectories[0].timesteps;
    const size_t count = l->rows * site->tokens;
    l->scales[i] = sdg_alloc(&l->teacher->log, count, sizeof **l->scales, "scales");
    l->zeros[i] = sdg_alloc(&l->teacher->log, count, sizeof **l->zeros, "zero points");
    if (!l->scales[i] || !l->zeros[i])
        return SDG_ERROR_MEMORY;
    for (size_t k = 0; k < count; k++) {
        const struct sdg_interval interval =
            sdg_quantized_interval(q, site->quantized, k % site->tokens, timesteps[k / site->tokens]);
        l->scales[i][k] = interval.scale;
        l->zeros[i][k] = (float)interval.zero_point;
    }
    if (!find_tensor(l, site->name, SDG_INPUT_SMOOTHING_SUFFIX))
        return SDG_OK;
    l->smoothing[i] = copy_floats(l, site->name, SDG_INPUT_SMOOTHING_SUFFIX);
    return l->smoothing[i] ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result start(struct lesson *l)
{
    const struct sdg_log *log = &l->teacher->log;
    l->rows = l->teacher->trajectories[0].calls;
    l->scales = sdg_alloc(log, l->what.site_count, sizeof *l->scales, "scales");
    l->zeros = sdg_alloc(log, l->what.site_count, sizeof *l->zeros, "scales");
    l->smoothing = sdg_alloc(log, l->what.site_count, sizeof *l->smoothing, "scales");
    l->steps = sdg_alloc(log, l->what.layer_count, sizeof *l->steps, "scales");
    if (!l->scales || !l->zeros || !l->smoothing || !l->steps)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < l->what.site_count; i++)
        SDG_TRY(start_site(l, i));
    for (size_t i = 0; i < l->what.layer_count; i++)
        if (!(l->steps[i] = copy_floats(l, l->what.layers[i].name, SDG_WEIGHT_SCALE_SUFFIX)))
            return SDG_ERROR_MEMORY;
    return SDG_OK;
}

static void clear_lesson(struct lesson *l)
{
    for (size_t i = 0; i < l->what.site_count && l->scales && l->zeros && l->smoothing; i++) {
        sdg_free(l->scales[i]);
        sdg_free(l->zeros[i]);
        sdg_free(l->smoothing[i]);
    }
    for (size_t i = 0; i < l->what.layer_count && l->steps; i++)
        sdg_free(l->steps[i]);
    sdg_free(l->scales);
    sdg_free(l->zeros);
    sdg_free(l->smoothing);
    sdg_free(l->steps);
    sdg_free(l->targets);
    sdg_block_stream_clear(&l->stream);
    sdg_learnable_clear(&l->what);
    sdg_block_clear(&l->block);
}

static enum sdg_result record_stream(struct teacher *t, struct sdg_pipeline *p, const char *block,
                                     struct sdg_block_stream *stream)
{
    for (size_t i = 0; i < t->params->prompt_count; i++) {
        struct sdg_generate_params generate = prompt_params(t, i);
        generate.progress = on_stage;
        generate.progress_user = t;
        SDG_TRY(sdg_block_stream_record(p, &generate, &t->trajectories[i], block, stream));
    }
    return SDG_OK;
}

static size_t result_elements(const struct sdg_block *block)
{
    const struct sdg_value_info *v = &block->graph->values[sdg_graph_find(block->graph, "result")];
    return (size_t)sdg_value_elements(v) / (size_t)v->dims[0];
}

// What the float block answers to what it sees in the float network.
static enum sdg_result make_targets(struct lesson *l)
{
    struct teacher *t = l->teacher;
    struct sdg_block_stream stream = {0};
    enum sdg_result result = record_stream(t, t->full, l->name, &stream);
    if (result == SDG_OK) {
        l->targets = sdg_alloc_raw(&t->log, stream.count, result_elements(&l->block) * sizeof *l->targets, "targets");
        result = l->targets ? sdg_learn_targets(t->backend, l->block.graph, t->full->model->unet,
                                                (const float *const *)stream.inputs, stream.count, l->targets)
                            : SDG_ERROR_MEMORY;
    }
    sdg_block_stream_clear(&stream);
    return result;
}

// Samples of the last eighth of the prompts are held back, none if there is one prompt.
static struct sdg_learn_samples samples_of(const struct lesson *l, bool held)
{
    const size_t prompts = l->teacher->params->prompt_count, each = l->stream.count / prompts,
                 back = prompts > 1 ? (prompts + 7) / 8 : 0, first = held ? (prompts - back) * each : 0,
                 count = held ? back * each : (prompts - back) * each;
    struct sdg_learn_samples s = {
        .count = count, .rows = l->stream.rows + first, .targets = l->targets + first * result_elements(&l->block)};
    for (size_t k = 0; k < l->stream.input_count; k++)
        s.inputs[k] = l->stream.inputs[k] + first * l->stream.elements[k];
    return s;
}

static enum sdg_result prepare_lesson(struct lesson *l, const struct sdg_graph *network)
{
    struct teacher *t = l->teacher;
    SDG_TRY(open_quantized(t));
    SDG_TRY(sdg_block_extract(&t->log, network, l->name, &l->block));
    SDG_TRY(sdg_learnable_find(l->block.graph, t->quantized->quantized, &l->what));
    SDG_TRY(start(l));
    SDG_TRY(make_targets(l));
    SDG_TRY(record_stream(t, t->quantized, l->name, &l->stream));
    t->samples = l->stream.count;
    return SDG_OK;
}

// ---- what is stored ----

// The site's scales in the shape that they have in the file; zero points follow where the kind of the site says so.
static enum sdg_result store_scales(const struct lesson *l, size_t i, const float *factors)
{
    const struct sdg_learnable_site *site = &l->what.sites[i];
    const struct sdg_quantized *q = l->teacher->quantized->quantized;
    struct sdg_tensor scales = *find_tensor(l, site->name, SDG_INPUT_SCALE_SUFFIX);
    const struct sdg_tensor *zeros = find_tensor(l, site->name, SDG_INPUT_ZERO_POINT_SUFFIX);
    const size_t count = scales.bytes / sizeof(float);
    float *data = copy_floats(l, site->name, SDG_INPUT_SCALE_SUFFIX);
    int32_t *points = sdg_alloc(&l->teacher->log, count, sizeof *points, "zero points");
    enum sdg_result result = data && points ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t k = 0; result == SDG_OK && k < count; k++) {
        data[k] *= factors[k % site->tokens];
        points[k] = sdg_interval_make(q->sites[site->quantized].kind, q->scheme.activation_bits, data[k]).zero_point;
    }
    scales.data = data;
    if (result == SDG_OK)
        result = sdg_learn_state_add(l->teacher->state, &scales);
    if (result == SDG_OK && zeros && site->tokens == 1) {
        struct sdg_tensor copy = *zeros;
        copy.data = points;
        result = sdg_learn_state_add(l->teacher->state, &copy);
    }
    sdg_free(points);
    sdg_free(data);
    return result;
}

static enum sdg_result store_vector(const struct lesson *l, const char *owner, const char *suffix, const float *data,
                                    size_t count)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", owner, suffix);
    const struct sdg_tensor tensor = {.name = name,
                                      .dtype = SDG_F32,
                                      .rank = 1,
                                      .dims = {(int64_t)count},
                                      .data = data,
                                      .bytes = count * sizeof *data};
    return sdg_learn_state_add(l->teacher->state, &tensor);
}

// As the learned graph rounds them (fake_quantize).
static void round_weights(const float *weights, const struct sdg_learnable_layer *layer, const float *smoothing,
                          const float *steps, int8_t *codes)
{
    for (size_t n = 0; n < layer->outputs; n++)
        for (size_t k = 0; k < layer->inputs; k++) {
            const float w = weights[n * layer->inputs + k] * (smoothing ? 1 / smoothing[k] : 1),
                        code = rintf(w / steps[n]);
            codes[n * layer->inputs + k] = (int8_t)fmaxf((float)layer->lowest, fminf((float)layer->highest, code));
        }
}

static enum sdg_result store_codes(const struct lesson *l, const struct sdg_learnable_layer *layer, int8_t *codes,
                                   uint8_t *packed)
{
    const struct sdg_value_info *weight = &l->block.graph->values[layer->weight];
    struct sdg_tensor tensor = {.name = weight->name,
                                .dtype = SDG_S8,
                                .rank = 2,
                                .dims = {(int64_t)layer->outputs, (int64_t)layer->inputs},
                                .data = codes,
                                .bytes = layer->outputs * layer->inputs};
    if (layer->highest < 8) {
        sdg_pack4(codes, layer->outputs, layer->inputs, packed);
        tensor.dtype = SDG_U8;
        tensor.dims[1] = (int64_t)sdg_packed_row(layer->inputs);
        tensor.data = packed;
        tensor.bytes = layer->outputs * sdg_packed_row(layer->inputs);
    }
    return sdg_learn_state_add(l->teacher->state, &tensor);
}

static enum sdg_result store_layer(const struct lesson *l, size_t i, const struct sdg_learned *learned)
{
    const struct sdg_learnable_layer *layer = &l->what.layers[i];
    const struct sdg_log *log = &l->teacher->log;
    struct sdg_weight weight;
    SDG_TRY(sdg_weight_find(log, l->teacher->full->model->unet, &l->block.graph->values[layer->weight], &weight));
    const size_t count = layer->outputs * layer->inputs;
    float *floats = sdg_alloc_raw(log, count, sizeof *floats, layer->name);
    int8_t *codes = sdg_alloc_raw(log, count, 1, layer->name);
    uint8_t *packed = sdg_alloc_raw(log, layer->outputs, sdg_packed_row(layer->inputs), layer->name);
    enum sdg_result result = floats && codes && packed ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        sdg_weight_read(&weight, 0, layer->outputs, SDG_F32, floats);
        round_weights(floats, layer, learned->smoothing[layer->site], learned->steps[i], codes);
        result = store_codes(l, layer, codes, packed);
    }
    sdg_free(floats);
    sdg_free(codes);
    sdg_free(packed);
    return result == SDG_OK ? store_vector(l, layer->name, SDG_WEIGHT_SCALE_SUFFIX, learned->steps[i], layer->outputs)
                            : result;
}

static enum sdg_result store(const struct lesson *l, const struct sdg_learned *learned)
{
    const float marker[3] = {(float)learned->loss_before, (float)learned->loss_after, learned->better};
    for (size_t i = 0; i < l->what.site_count && learned->better; i++) {
        SDG_TRY(store_scales(l, i, learned->factors[i]));
        if (learned->smoothing[i])
            SDG_TRY(store_vector(l, l->what.sites[i].name, SDG_INPUT_SMOOTHING_SUFFIX, learned->smoothing[i],
                                 l->what.sites[i].channels));
    }
    for (size_t i = 0; i < l->what.layer_count && learned->better; i++)
        SDG_TRY(store_layer(l, i, learned));
    SDG_TRY(store_vector(l, l->name, SDG_LEARNED_SUFFIX, marker, 3));
    return sdg_learn_state_write(l->teacher->state);
}

// ---- all blocks ----

static void tell_block(const struct teacher *t, const char *name, const float *marker, size_t layers, double seconds)
{
    if (t->params->block)
        t->params->block(t->params->user,
                         &(struct sdg_learned_block){.name = name,
                                                     .loss_before = (double)marker[0],
                                                     .loss_after = (double)marker[1],
                                                     .kept = marker[2] > 0,
                                                     .resumed = seconds == 0,
                                                     .layers = layers,
                                                     .seconds = seconds});
}

static enum sdg_result learn_lesson(struct lesson *l, const struct sdg_graph *network)
{
    struct teacher *t = l->teacher;
    const double began = sdg_clock();
    struct sdg_learned learned = {0};
    SDG_TRY(prepare_lesson(l, network));
    const struct sdg_learn_problem problem = {.backend = t->backend,
                                              .log = &t->log,
                                              .block = l->block.graph,
                                              .weights = t->full->model->unet,
                                              .what = &l->what,
                                              .rows = l->rows,
                                              .scales = (const float *const *)l->scales,
                                              .zeros = (const float *const *)l->zeros,
                                              .smoothing = (const float *const *)l->smoothing,
                                              .steps = (const float *const *)l->steps,
                                              .learned = samples_of(l, false),
                                              .held = samples_of(l, true)};
    enum sdg_result result = sdg_learn_block(&problem, &t->options, on_update, t, &learned);
    if (result == SDG_OK)
        result = store(l, &learned);
    if (result == SDG_OK)
        tell_block(t, l->name, sdg_learn_state_block(t->state, l->name), l->what.layer_count,
                   fmax(sdg_clock() - began, 1e-9));
    sdg_learned_clear(&learned);
    return result;
}

static enum sdg_result learn_blocks(struct teacher *t, const struct sdg_graph *network)
{
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < t->block_count; i++)
        t->total += sdg_learn_state_block(t->state, t->blocks[i]) ? 0 : t->options.updates;
    t->began = sdg_clock();
    for (size_t i = 0; i < t->block_count && result == SDG_OK; i++) {
        const float *marker = sdg_learn_state_block(t->state, t->blocks[i]);
        struct lesson lesson = {.teacher = t, .name = t->blocks[i]};
        if (marker) {
            tell_block(t, t->blocks[i], marker, 0, 0);
            continue;
        }
        result = learn_lesson(&lesson, network);
        clear_lesson(&lesson);
        sdg_memory_trim();
    }
    return result;
}

static enum sdg_result record_trajectories(struct teacher *t)
{
    t->trajectories = sdg_alloc(&t->log, t->params->prompt_count, sizeof *t->trajectories, "trajectories");
    if (!t->trajectories)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < t->params->prompt_count; i++) {
        struct sdg_generate_params generate = prompt_params(t, i);
        generate.progress = on_stage;
        generate.progress_user = t;
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

static enum sdg_result amend_folder(const struct teacher *t)
{
    size_t all, count = 0;
    const struct sdg_tensor *tensors = sdg_learn_state_tensors(t->state, &all);
    struct sdg_tensor *learned = sdg_alloc(&t->log, all + 1, sizeof *learned, "a table of tensors");
    if (!learned)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < all; i++)
        if (!is_marker(&tensors[i]))
            learned[count++] = tensors[i];
    enum sdg_result result = sdg_quantized_amend(&t->log, t->params->quantized, "learned", NULL, learned, count);
    if (result == SDG_OK)
        remove(state_path(t));
    sdg_free(learned);
    return result;
}

static enum sdg_result prepare(struct teacher *t)
{
    char settings[SETTINGS_BYTES];
    SDG_TRY(read_options(t));
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

static enum sdg_result learn_all(struct teacher *t)
{
    struct sdg_graph *network;
    const double began = sdg_clock();
    sdg_resident_reset_peak();
    SDG_TRY(prepare(t));
    SDG_TRY(build_network(t, &network));
    enum sdg_result result = list_blocks(t, network);
    if (result == SDG_OK)
        result = record_trajectories(t);
    if (result == SDG_OK)
        result = learn_blocks(t, network);
    sdg_graph_destroy(&network);
    sdg_pipeline_destroy(&t->quantized); // which has the folder's file mapped
    if (result == SDG_OK)
        result = amend_folder(t);
    if (result == SDG_OK && t->params->report)
        t->params->report(t->params->user,
                          &(struct sdg_learn_report){.blocks = t->block_count,
                                                     .samples = t->samples,
                                                     .seconds = sdg_clock() - began,
                                                     .peak_bytes = (double)sdg_resident_peak()});
    return result;
}

enum sdg_result sdg_learn(const struct sdg_learn_params *params)
{
    SDG_REQUIRE(NULL, params, "params");
    struct teacher t = {.params = params, .log = params->pipeline.log};
    SDG_REQUIRE(&t.log, params->quantized, "quantized");
    SDG_TRY(sdg_template_check(&t.log, &params->generate, true));
    SDG_TRY(sdg_template_check_pipeline(&t.log, &params->pipeline));
    enum sdg_result result = learn_all(&t);
    for (size_t i = 0; t.trajectories && i < params->prompt_count; i++)
        sdg_trajectory_clear(&t.trajectories[i]);
    for (size_t i = 0; i < t.block_count; i++)
        sdg_free(t.blocks[i]);
    sdg_free(t.blocks);
    sdg_free(t.trajectories);
    sdg_free(t.full_path);
    sdg_free(t.state_path);
    sdg_learn_state_destroy(&t.state);
    sdg_backend_destroy(&t.backend);
    sdg_pipeline_destroy(&t.quantized);
    sdg_pipeline_destroy(&t.full);
    return result;
}
