// One block: the inputs that it has in both networks, what it begins with, the updates, and what comes of them.
#include "measure/learning.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/nibbles.h"
#include "formats/quantized_folder.h"
#include "graph/weights.h"
#include "measure/block_stream.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 320 };

// Everything about the block that is being learned.
struct lesson {
    struct sdg_learning *teacher;
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
        ? sdg_tensors_find(l->teacher->networks.stored, name)
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
    const struct sdg_quantized *q = l->teacher->networks.quantized;
    const double *timesteps = l->teacher->networks.timesteps;
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

// The float weight of a layer with the inverse of its site's smoothing (NULL: none) in it; free *out with sdg_free.
static enum sdg_result read_weights(const struct lesson *l, const struct sdg_learnable_layer *layer,
                                    const float *smoothing, float **out)
{
    const struct sdg_log *log = &l->teacher->log;
    struct sdg_weight weight;
    *out = NULL;
    SDG_TRY(sdg_weight_find(log, l->teacher->networks.weights, &l->block.graph->values[layer->weight], &weight));
    float *data = sdg_alloc_raw(log, layer->outputs, layer->inputs * sizeof *data, layer->name);
    if (!data)
        return SDG_ERROR_MEMORY;
    sdg_weight_read(&weight, 0, layer->outputs, SDG_F32, data);
    for (size_t i = 0; smoothing && i < layer->outputs * layer->inputs; i++)
        data[i] *= 1 / smoothing[i % layer->inputs];
    *out = data;
    return SDG_OK;
}

// Smoothing that is part of other layers' weights cannot be learned, as nothing says what it is: rounded weights are
// then far from what they were rounded from.
static enum sdg_result check_weights(const struct lesson *l, size_t i)
{
    const struct sdg_learnable_layer *layer = &l->what.layers[i];
    const struct sdg_log *log = &l->teacher->log;
    struct sdg_value_info info = l->block.graph->values[layer->weight];
    struct sdg_weight weight;
    float *wanted;
    info.dtype = SDG_F32;
    SDG_TRY(sdg_weight_find(log, l->teacher->networks.stored, &info, &weight));
    if (!sdg_weight_code_bits(&weight)) // rounded on loading
        return SDG_OK;
    SDG_TRY(read_weights(l, layer, l->smoothing[layer->site], &wanted));
    const size_t count = layer->outputs * layer->inputs;
    float *rounded = sdg_alloc_raw(log, count, sizeof *rounded, layer->name);
    double signal = 0, noise = 0;
    if (rounded)
        sdg_weight_read(&weight, 0, layer->outputs, SDG_F32, rounded);
    for (size_t k = 0; rounded && k < count; k++) {
        const double error = (double)rounded[k] - (double)wanted[k];
        signal += (double)wanted[k] * (double)wanted[k];
        noise += error * error;
    }
    enum sdg_result result = rounded ? SDG_OK : SDG_ERROR_MEMORY;
    if (noise > signal / 4)
        result =
            sdg_fail(log, SDG_ERROR_INPUT,
                     "%s: the weights of %s are not those of the full-precision model, rounded: smoothing that is to "
                     "be learned must not be part of other layers (keep_smoothing)",
                     l->teacher->params->quantized, layer->name);
    sdg_free(rounded);
    sdg_free(wanted);
    return result;
}

static enum sdg_result start(struct lesson *l)
{
    const struct sdg_log *log = &l->teacher->log;
    l->rows = l->teacher->networks.rows;
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
    for (size_t i = 0; i < l->what.layer_count; i++)
        SDG_TRY(check_weights(l, i));
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

static size_t result_elements(const struct sdg_block *block)
{
    const struct sdg_value_info *v = &block->graph->values[sdg_graph_find(block->graph, "result")];
    return (size_t)sdg_value_elements(v) / (size_t)v->dims[0];
}

// What the float block answers to what it sees in the float network.
static enum sdg_result make_targets(struct lesson *l)
{
    struct sdg_learning *t = l->teacher;
    struct sdg_block_stream stream = {0};
    enum sdg_result result = t->networks.record(t, false, l->name, &stream);
    if (result == SDG_OK) {
        l->targets = sdg_alloc_raw(&t->log, stream.count, result_elements(&l->block) * sizeof *l->targets, "targets");
        result = l->targets ? sdg_learn_targets(t->backend, l->block.graph, t->networks.weights,
                                                (const float *const *)stream.inputs, stream.count, l->targets)
                            : SDG_ERROR_MEMORY;
    }
    sdg_block_stream_clear(&stream);
    return result;
}

// Samples of the last eighth of the prompts (or pictures) are held back, none if there is one.
static struct sdg_learn_samples samples_of(const struct lesson *l, bool held)
{
    const size_t prompts = l->teacher->networks.parts, each = l->stream.count / prompts,
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
    struct sdg_learning *t = l->teacher;
    SDG_TRY(sdg_block_extract(&t->log, network, l->name, &l->block));
    SDG_TRY(sdg_learnable_find(l->block.graph, t->networks.quantized, t->networks.stored, &l->what));
    SDG_TRY(start(l));
    SDG_TRY(make_targets(l));
    SDG_TRY(t->networks.record(t, true, l->name, &l->stream));
    t->samples = l->stream.count;
    return SDG_OK;
}

// ---- what is stored ----

// The site's scales in the shape that they have in the file; zero points follow where they are the kind's ([times]),
// those of tokens stay.
static enum sdg_result store_scales(const struct lesson *l, size_t i, const float *factors)
{
    const struct sdg_learnable_site *site = &l->what.sites[i];
    const struct sdg_quantized *q = l->teacher->networks.quantized;
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
    if (result == SDG_OK && zeros && zeros->rank == 1) {
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
static void round_weights(const float *weights, const struct sdg_learnable_layer *layer, const float *steps,
                          int8_t *codes)
{
    for (size_t n = 0; n < layer->outputs; n++)
        for (size_t k = 0; k < layer->inputs; k++) {
            const float code = rintf(weights[n * layer->inputs + k] / steps[n]);
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
    float *weights;
    SDG_TRY(read_weights(l, layer, learned->smoothing[layer->site], &weights));
    int8_t *codes = sdg_alloc_raw(log, layer->outputs, layer->inputs, layer->name);
    uint8_t *packed = sdg_alloc_raw(log, layer->outputs, sdg_packed_row(layer->inputs), layer->name);
    enum sdg_result result = codes && packed ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        round_weights(weights, layer, learned->steps[i], codes);
        result = store_codes(l, layer, codes, packed);
    }
    sdg_free(weights);
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

void sdg_learning_tell(const struct sdg_learning *t, const char *name, const float *marker, size_t layers,
                       double seconds)
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

static bool on_update(void *user, int update, int updates, double loss)
{
    struct sdg_learning *t = user;
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

static enum sdg_result learn_lesson(struct lesson *l, const struct sdg_graph *network)
{
    struct sdg_learning *t = l->teacher;
    const double began = sdg_clock();
    struct sdg_learned learned = {0};
    SDG_TRY(prepare_lesson(l, network));
    const struct sdg_learn_problem problem = {.backend = t->backend,
                                              .log = &t->log,
                                              .block = l->block.graph,
                                              .weights = t->networks.weights,
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
        sdg_learning_tell(t, l->name, sdg_learn_state_block(t->state, l->name), l->what.layer_count,
                          fmax(sdg_clock() - began, 1e-9));
    sdg_learned_clear(&learned);
    return result;
}

enum sdg_result sdg_learning_block(struct sdg_learning *t, const char *name, const struct sdg_graph *network)
{
    struct lesson lesson = {.teacher = t, .name = name};
    enum sdg_result result = learn_lesson(&lesson, network);
    clear_lesson(&lesson);
    return result;
}
