#include "quant/learnable.h"

#include "base/memory.h"
#include "graph/reverse.h"

#include <stdio.h>
#include <string.h>

// ---- finding ----

static const struct sdg_quantized_layer *layer_named(const struct sdg_quantized *q, const char *name)
{
    for (size_t i = 0; i < q->layer_count; i++)
        if (strcmp(q->layers[i].name, name) == 0)
            return &q->layers[i];
    return NULL;
}

static size_t site_named(const struct sdg_quantized *q, const char *name)
{
    size_t i = 0;
    while (i < q->site_count && strcmp(q->sites[i].name, name) != 0)
        i++;
    return i;
}

static size_t site_of(const struct sdg_learnable *l, sdg_value value)
{
    size_t i = 0;
    while (i < l->site_count && l->sites[i].value != value)
        i++;
    return i;
}

// The site of a layer that is its first consumer. `learned`: false where it is measured at run time.
static enum sdg_result add_site(const struct sdg_graph *block, const struct sdg_quantized *q, const struct sdg_op *op,
                                struct sdg_learnable *l, bool *learned)
{
    const struct sdg_value_info *v = &block->values[op->in[0]];
    const size_t index = site_named(q, op->name), tokens = (size_t)(v->dims[1] * v->dims[2]);
    *learned = index < q->site_count && q->sites[index].times > 0;
    if (!*learned)
        return SDG_OK;
    const struct sdg_quantized_site *s = &q->sites[index];
    const struct sdg_interval codes = sdg_quantized_interval(q, index, 0, 0);
    if (s->tokens > 1 && s->tokens != tokens)
        return sdg_fail(block->log, SDG_ERROR_INPUT, "%s: has intervals for %zu tokens, but there are %zu", s->name,
                        s->tokens, tokens);
    l->sites[l->site_count++] = (struct sdg_learnable_site){.name = op->name,
                                                            .value = op->in[0],
                                                            .tokens = s->tokens,
                                                            .channels = (size_t)v->dims[3],
                                                            .lowest = codes.lo,
                                                            .highest = codes.hi,
                                                            .quantized = index};
    return SDG_OK;
}

// The bits that a layer's codes have: steps are chosen so that the outermost codes occur, of 6 bits none beyond.
static int code_bits(const struct sdg_quantized_layer *layer, const struct sdg_tensor *weight)
{
    if (layer->bits != 8 || !weight || weight->dtype != SDG_S8)
        return layer->bits;
    const int8_t *codes = weight->data;
    for (size_t i = 0; i < weight->bytes; i++)
        if (codes[i] < -32 || codes[i] > 31)
            return 8;
    return 6;
}

static enum sdg_result add_layer(const struct sdg_graph *block, const struct sdg_quantized *q,
                                 const struct sdg_tensors *stored, const struct sdg_op *op, struct sdg_learnable *l)
{
    const struct sdg_quantized_layer *layer = layer_named(q, op->name);
    if (op->kind != SDG_OP_LINEAR || !layer || block->values[op->in[1]].slice_of)
        return SDG_OK;
    size_t site = site_of(l, op->in[0]);
    bool learned = true;
    if (site == l->site_count)
        SDG_TRY(add_site(block, q, op, l, &learned));
    if (!learned)
        return SDG_OK;
    const struct sdg_value_info *w = &block->values[op->in[1]];
    const int half = 1 << (code_bits(layer, sdg_tensors_find(stored, w->name)) - 1);
    l->layers[l->layer_count++] = (struct sdg_learnable_layer){.name = op->name,
                                                               .site = site,
                                                               .outputs = (size_t)w->dims[0],
                                                               .inputs = (size_t)w->dims[1],
                                                               .lowest = -half,
                                                               .highest = half - 1,
                                                               .weight = op->in[1]};
    return SDG_OK;
}

enum sdg_result sdg_learnable_find(const struct sdg_graph *block, const struct sdg_quantized *quantized,
                                   const struct sdg_tensors *stored, struct sdg_learnable *out)
{
    struct sdg_learnable l = {
        .sites = sdg_alloc(block->log, block->op_count + 1, sizeof *l.sites, "a block's sites"),
        .layers = sdg_alloc(block->log, block->op_count + 1, sizeof *l.layers, "a block's layers"),
    };
    enum sdg_result result = l.sites && l.layers ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; i < block->op_count && result == SDG_OK; i++)
        result = add_layer(block, quantized, stored, &block->ops[i], &l);
    if (result == SDG_OK && !l.layer_count)
        result = sdg_fail(block->log, SDG_ERROR_INPUT,
                          "none of the block's linear layers is quantized with an interval that could be learned");
    if (result != SDG_OK)
        sdg_learnable_clear(&l);
    *out = l;
    return result;
}

void sdg_learnable_clear(struct sdg_learnable *l)
{
    sdg_free(l->sites);
    sdg_free(l->layers);
    *l = (struct sdg_learnable){0};
}

// ---- names ----

static const char *const part_names[] = {"smoothing", "inverse", "interval", "steps"};

static const char *make_name(char name[SDG_LEARNABLE_NAME_BYTES], const char *owner, enum sdg_learnable_part part,
                             const char *suffix)
{
    if (snprintf(name, SDG_LEARNABLE_NAME_BYTES, "%s:%s%s", owner, part_names[part], suffix) >=
        SDG_LEARNABLE_NAME_BYTES)
        name[0] = 0; // an empty name is refused by the graph
    return name;
}

const char *sdg_learnable_name(char name[SDG_LEARNABLE_NAME_BYTES], const char *owner, enum sdg_learnable_part part)
{
    return make_name(name, owner, part, "");
}

const char *sdg_learnable_gradient(char name[SDG_LEARNABLE_NAME_BYTES], const char *owner, enum sdg_learnable_part part)
{
    return make_name(name, owner, part, ".gradient");
}

// ---- the rewrite ----

struct rewrite {
    struct sdg_graph *graph;
    sdg_value *of; // what gradients are asked for
    size_t count;
};

static sdg_value add_input(struct rewrite *w, const char *owner, enum sdg_learnable_part part, size_t width, size_t c)
{
    char name[SDG_LEARNABLE_NAME_BYTES];
    return w->of[w->count++] =
               sdg_graph_input(w->graph, sdg_learnable_name(name, owner, part), 1, 1, (int64_t)width, (int64_t)c);
}

// Moves the operations that were appended since there were `before` in front of the one at `at`; returns its new index.
static size_t move_new(struct sdg_graph *graph, size_t before, size_t at)
{
    for (size_t i = before; i < graph->op_count; i++, at++)
        sdg_graph_move_op(graph, i, at);
    return at;
}

static size_t index_of(const struct sdg_graph *graph, const char *op)
{
    size_t i = 0;
    while (strcmp(graph->ops[i].name, op) != 0 || graph->ops[i].kind != SDG_OP_LINEAR)
        i++;
    return i;
}

// The site's quantized values, made before its first layer.
static sdg_value quantize_site(struct rewrite *w, const struct sdg_learnable_site *site, sdg_value *inverse)
{
    struct sdg_graph *g = w->graph;
    const size_t at = index_of(g, site->name), before = g->op_count;
    const sdg_value smoothing = add_input(w, site->name, SDG_LEARN_SMOOTHING, 1, site->channels);
    *inverse = add_input(w, site->name, SDG_LEARN_INVERSE, 1, site->channels);
    const sdg_value interval = add_input(w, site->name, SDG_LEARN_INTERVAL, site->tokens, 2),
                    smooth = sdg_graph_binary(g, site->name, SDG_BINARY_MUL, site->value, smoothing),
                    quantized = sdg_graph_fake_quantize(g, site->name, smooth, interval, site->lowest, site->highest);
    if (g->result == SDG_OK)
        move_new(g, before, at);
    return quantized;
}

static void quantize_layer(struct rewrite *w, const struct sdg_learnable_layer *layer, sdg_value site,
                           sdg_value inverse)
{
    struct sdg_graph *g = w->graph;
    const size_t before = g->op_count;
    const sdg_value steps = add_input(w, layer->name, SDG_LEARN_STEPS, layer->outputs, 2),
                    weight = sdg_graph_constant(g, layer->name, layer->weight),
                    smooth = sdg_graph_binary(g, layer->name, SDG_BINARY_MUL, weight, inverse),
                    quantized = sdg_graph_fake_quantize(g, layer->name, smooth, steps, layer->lowest, layer->highest);
    if (g->result != SDG_OK)
        return;
    const size_t at = move_new(g, before, index_of(g, layer->name));
    g->ops[at].in[0] = site;
    sdg_graph_use_matmul(g, at, quantized);
}

static void add_loss(struct rewrite *w, enum sdg_learn_loss kind)
{
    struct sdg_graph *g = w->graph;
    const sdg_value result = sdg_graph_find(g, "result");
    const int64_t *d = g->values[result].dims;
    const sdg_value target = sdg_graph_input(g, "target", d[0], d[1], d[2], d[3]),
                    loss = kind == SDG_LOSS_COSINE ? sdg_graph_cosine_loss(g, "loss", result, target)
                                                   : sdg_graph_relative_loss(g, "loss", result, target);
    sdg_graph_output(g, "loss", loss);
    if (g->result == SDG_OK)
        sdg_graph_reverse(g, loss, w->of, w->count, NULL);
}

enum sdg_result sdg_graph_learn(struct sdg_graph *block, const struct sdg_learnable *l, enum sdg_learn_loss loss)
{
    struct rewrite w = {.graph = block};
    w.of = sdg_alloc(block->log, 3 * l->site_count + l->layer_count, sizeof *w.of, "what is learned");
    sdg_value *quantized = sdg_alloc(block->log, 2 * l->site_count, sizeof *quantized, "what is learned");
    if (w.of && quantized) {
        for (size_t i = 0; i < l->site_count; i++)
            quantized[2 * i] = quantize_site(&w, &l->sites[i], &quantized[2 * i + 1]);
        for (size_t i = 0; i < l->layer_count; i++) {
            const size_t site = l->layers[i].site;
            quantize_layer(&w, &l->layers[i], quantized[2 * site], quantized[2 * site + 1]);
        }
        if (block->result == SDG_OK)
            add_loss(&w, loss);
    }
    const bool enough = w.of && quantized;
    sdg_free(w.of);
    sdg_free(quantized);
    return enough ? sdg_graph_check(block) : SDG_ERROR_MEMORY;
}
