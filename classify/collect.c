// Statistics of a classifier's activations: the network with every site as an output, over a set of pictures.
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "classify/classifier.h"
#include "quant/smoothing.h"
#include "quant/statistics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct observed {
    size_t index;                       // in the statistics
    size_t channels, elements;          // of a batch
    char name[SDG_OBSERVED_NAME_BYTES]; // "site:NAME"
};

struct collector {
    struct sdg_classifier *classifier;
    struct sdg_statistics *statistics;
    struct sdg_smoother smoother;
    bool weigh;         // values of tokens
    bool scan_operands; // are observed
    struct observed *sites;
    size_t count;
    float *buffer; // of the largest site
};

// ---- the rewrite ----

static enum sdg_result smooth_site(const struct collector *c, const struct sdg_graph *graph,
                                   const struct sdg_site *site, const struct observed *s)
{
    const struct sdg_log *log = &c->classifier->log;
    float *multipliers = sdg_alloc(log, s->channels, sizeof *multipliers, "smoothing");
    if (!multipliers)
        return SDG_ERROR_MEMORY;
    bool smooths;
    enum sdg_result result = sdg_smoother_site(log, &c->smoother, graph, site, multipliers, &smooths);
    if (result == SDG_OK && smooths)
        result = sdg_statistics_smooth(log, c->statistics, s->index, multipliers);
    sdg_free(multipliers);
    return result;
}

static enum sdg_result list_site(struct collector *c, const struct sdg_graph *graph, const struct sdg_site *site)
{
    const struct sdg_value_info *v = &graph->values[site->value];
    struct observed *s = &c->sites[c->count++];
    s->channels = (size_t)v->dims[3];
    s->elements = (size_t)sdg_value_elements(v);
    sdg_observed_name(s->name, site->name);
    const struct sdg_log *log = &c->classifier->log;
    SDG_TRY(sdg_statistics_site(log, c->statistics, site->name, site->kind, s->channels, &s->index));
    if (!sdg_site_is_by_token(graph, site->value))
        return SDG_OK;
    SDG_TRY(sdg_statistics_keep_tokens(log, c->statistics, s->index, (size_t)v->dims[1], (size_t)v->dims[2]));
    if (c->weigh)
        SDG_TRY(sdg_statistics_weigh_tokens(log, c->statistics, s->index));
    return c->smoother.statistics && !site->operand ? smooth_site(c, graph, site, s) : SDG_OK;
}

static enum sdg_result observe(void *user, struct sdg_graph *graph)
{
    struct collector *c = user;
    struct sdg_sites sites;
    size_t largest = 0;
    SDG_TRY(sdg_sites_find(graph, &sites));
    enum sdg_result result = c->scan_operands ? sdg_sites_add_operands(graph, &sites) : SDG_OK;
    c->sites = sdg_alloc(&c->classifier->log, sites.count, sizeof *c->sites, "quantization sites");
    if (!c->sites)
        result = SDG_ERROR_MEMORY;
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++) {
        result = list_site(c, graph, &sites.sites[i]);
        largest = c->sites[i].elements > largest ? c->sites[i].elements : largest;
    }
    sdg_sites_clear(&sites);
    if (result != SDG_OK)
        return result;
    c->buffer = sdg_alloc_raw(&c->classifier->log, largest, sizeof *c->buffer, "a site's values");
    return c->buffer ? sdg_graph_observe(graph, c->scan_operands) : SDG_ERROR_MEMORY;
}

// ---- running ----

static enum sdg_result add(void *user, struct sdg_program *program, size_t first, size_t pictures)
{
    struct collector *c = user;
    const size_t batch = (size_t)c->classifier->batch;
    (void)first;
    for (size_t i = 0; i < c->count; i++) {
        const struct observed *s = &c->sites[i];
        SDG_TRY(sdg_program_read(program, s->name, c->buffer, s->elements));
        SDG_TRY(sdg_statistics_observe(&c->classifier->log, c->statistics, s->index, 0, c->buffer,
                                       s->elements / batch * pictures / s->channels));
    }
    return SDG_OK;
}

// The pictures of this shard, one after the other; the caller frees them.
static enum sdg_result gather(const struct collector *c, const struct sdg_classifier_collect_params *params,
                              float **pictures, size_t *count)
{
    const struct sdg_vim_config *config = &c->classifier->model->config;
    const size_t pixels = (size_t)config->channels * (size_t)config->image_size * (size_t)config->image_size;
    *pictures = sdg_alloc_raw(&c->classifier->log, params->count, pixels * sizeof **pictures, "pictures");
    *count = 0;
    if (!*pictures)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < params->count; i++)
        if (sdg_statistics_wants(c->statistics, i)) {
            memcpy(*pictures + (*count)++ * pixels, params->pictures + i * pixels, pixels * sizeof **pictures);
            sdg_statistics_mark_done(c->statistics, i);
        }
    return SDG_OK;
}

static enum sdg_result run(struct collector *c, const struct sdg_classifier_collect_params *params)
{
    struct sdg_program *program = NULL;
    float *pictures = NULL;
    size_t count;
    enum sdg_result result = sdg_classifier_compile(c->classifier, observe, c, &program);
    if (result == SDG_OK)
        result = gather(c, params, &pictures, &count);
    if (result == SDG_OK)
        result = sdg_classifier_run(c->classifier, program, pictures, count, add, c);
    if (result == SDG_OK)
        result = sdg_statistics_write(&c->classifier->log, c->statistics, params->output);
    sdg_program_destroy(&program);
    sdg_free(pictures);
    return result;
}

// ---- all of it ----

// Settings say what a picture is, too: other pictures are other statistics, whatever the caller calls them.
static enum sdg_result create(struct collector *c, const struct sdg_classifier_collect_params *params)
{
    const struct sdg_vim_config *config = &c->classifier->model->config;
    const size_t pixels = (size_t)config->channels * (size_t)config->image_size * (size_t)config->image_size;
    char fingerprint[17], settings[512];
    sdg_tensors_fingerprint(c->classifier->model->tensors, fingerprint);
    snprintf(settings, sizeof settings, "pictures %016" PRIx64 ", %.400s",
             sdg_hash_bytes(SDG_HASH_START, params->pictures, params->count * pixels * sizeof *params->pictures),
             params->settings ? params->settings : "");
    const struct sdg_statistics_info info = {.model = fingerprint,
                                             .sampler = "none",
                                             .settings = settings,
                                             .steps = 1,
                                             .rows = 1,
                                             .timesteps = (const double[]){0},
                                             .prompts = params->count,
                                             .shard = params->shards ? params->shard : 1,
                                             .shards = params->shards ? params->shards : 1};
    return sdg_statistics_create(&c->classifier->log, &info, &c->statistics);
}

enum sdg_result sdg_classifier_collect(struct sdg_classifier *classifier,
                                       const struct sdg_classifier_collect_params *params)
{
    SDG_REQUIRE(NULL, classifier, "classifier");
    SDG_REQUIRE(&classifier->log, params, "params");
    SDG_REQUIRE(&classifier->log, params->output, "output");
    SDG_REQUIRE(&classifier->log, params->pictures, "pictures");
    struct collector c = {.classifier = classifier, .weigh = params->relative, .scan_operands = params->scan_operands};
    if (classifier->quantized)
        return sdg_fail(&classifier->log, SDG_ERROR_INPUT,
                        "%s: is quantized (%s): statistics are those of the full-precision model",
                        classifier->model->path, classifier->model->config.quantization.scheme);
    if (sdg_path_kind(params->output) != SDG_PATH_MISSING)
        return sdg_fail(&classifier->log, SDG_ERROR_OUTPUT, "%s exists already: choose another name", params->output);
    enum sdg_result result = sdg_smoother_open(
        &classifier->log, &(struct sdg_smoothing_choice){params->smooth, params->smooth_alpha, params->smooth_scheme},
        classifier->model->tensors, &c.smoother);
    if (result == SDG_OK)
        result = create(&c, params);
    if (result == SDG_OK)
        result = run(&c, params);
    sdg_smoother_close(&c.smoother);
    sdg_statistics_destroy(&c.statistics);
    sdg_free(c.sites);
    sdg_free(c.buffer);
    return result;
}
