// Collecting statistics: the sampling loop with every site of the step graph as an output.
#include "sdgen/calibrate.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "measure/moments.h"
#include "pipeline/call.h"
#include "pipeline/job.h"
#include "pipeline/networks.h"
#include "pipeline/sample.h"
#include "pipeline/stages.h"
#include "pipeline/template.h"
#include "quant/layer_hessians.h"
#include "quant/sites.h"
#include "quant/smoothing.h"
#include "quant/statistics.h"
#include "text/tokenizer.h"

#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

// Inputs of the linear layers in Mamba blocks: their scan has a fixed order, and what its layers see depends on the
// place in it (PTQ4VM, arXiv 2412.20386, section 3).
static const char mamba_sites[] = "\\.mamba\\.";

struct observed {
    size_t index; // in the statistics; they are sorted anew by every write
    enum sdg_site_kind kind;
    bool operand; // of scans: no layer reads it
    size_t channels;
    size_t elements;                    // of the whole batch
    size_t height, width;               // of its tokens, if they are kept apart; else 0
    float *smoothing;                   // [channels]; NULL: none
    char name[SDG_OBSERVED_NAME_BYTES]; // "site:NAME"
};

struct collector {
    struct sdg_pipeline *p;
    const struct sdg_collect_params *params;
    struct sdg_statistics *statistics;
    struct observed *sites;
    size_t count;
    float *buffer;               // of the largest site
    struct sdg_moments *moments; // NULL: no Hessians are wanted
    size_t prompt;
    bool for_statistics, for_moments; // which of both lacks this prompt
    regex_t tokens;                   // matches the sites whose tokens are kept apart
    bool tokens_wanted;
    struct sdg_smoother smoother;
};

// ---- the rewrite, and what is read after each run ----

static enum sdg_result rewrite(void *user, struct sdg_graph *graph)
{
    const struct collector *c = user;
    return sdg_graph_observe(graph, c->params->scan_operands);
}

static enum sdg_result observe(void *user, struct sdg_program *program, int call)
{
    struct collector *c = user;
    const bool moments = c->for_moments && sdg_moments_wants(c->moments, c->prompt, call);
    for (size_t i = 0; i < c->count && (c->for_statistics || moments); i++) {
        const struct observed *s = &c->sites[i];
        SDG_TRY(sdg_program_read(program, s->name, c->buffer, s->elements));
        if (c->for_statistics)
            SDG_TRY(sdg_statistics_observe(&c->p->log, c->statistics, s->index, (size_t)call, c->buffer,
                                           s->elements / s->channels));
        if (moments && !s->operand)
            sdg_moments_gather(c->moments, i, c->buffer, c->prompt, call);
    }
    if (!moments)
        return SDG_OK;
    struct sdg_pool *pool;
    SDG_TRY(sdg_engine_pool(c->p->engine, &c->p->log, &pool));
    return sdg_moments_add(&c->p->log, pool, c->moments);
}

static bool keeps_tokens(const struct collector *c, const struct sdg_graph *graph, const struct sdg_site *site)
{
    return c->tokens_wanted && regexec(&c->tokens, site->name, 0, NULL, 0) == 0 &&
        sdg_site_is_by_token(graph, site->value);
}

static enum sdg_result make_smoothing(const struct collector *c, const struct sdg_graph *graph,
                                      const struct sdg_site *site, struct observed *s)
{
    bool smooths;
    s->smoothing = sdg_alloc(&c->p->log, s->channels, sizeof *s->smoothing, "smoothing");
    if (!s->smoothing)
        return SDG_ERROR_MEMORY;
    SDG_TRY(sdg_smoother_site(&c->p->log, &c->smoother, graph, site, s->smoothing, &smooths));
    if (!smooths) {
        sdg_free(s->smoothing);
        s->smoothing = NULL;
    }
    return SDG_OK;
}

static enum sdg_result list_sites(struct collector *c, const struct sdg_graph *graph)
{
    struct sdg_sites sites;
    size_t largest = 0;
    SDG_TRY(sdg_sites_find(graph, &sites));
    enum sdg_result result = c->params->scan_operands ? sdg_sites_add_operands(graph, &sites) : SDG_OK;
    c->sites = sdg_alloc(&c->p->log, sites.count, sizeof *c->sites, "quantization sites");
    if (!c->sites)
        result = SDG_ERROR_MEMORY;
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++) {
        const struct sdg_value_info *v = &graph->values[sites.sites[i].value];
        struct observed *s = &c->sites[c->count++];
        s->kind = sites.sites[i].kind;
        s->operand = sites.sites[i].operand;
        s->channels = (size_t)v->dims[3];
        s->elements = (size_t)sdg_value_elements(v);
        if (keeps_tokens(c, graph, &sites.sites[i])) {
            s->height = (size_t)v->dims[1];
            s->width = (size_t)v->dims[2];
            if (c->smoother.statistics && !s->operand)
                result = make_smoothing(c, graph, &sites.sites[i], s);
        }
        sdg_observed_name(s->name, sites.sites[i].name);
        largest = s->elements > largest ? s->elements : largest;
    }
    sdg_sites_clear(&sites);
    if (result == SDG_OK) {
        c->buffer = sdg_alloc_raw(&c->p->log, largest, sizeof *c->buffer, "a site's values");
        result = c->buffer ? SDG_OK : SDG_ERROR_MEMORY;
    }
    return result;
}

static enum sdg_result find_indices(struct collector *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct observed *s = &c->sites[i];
        SDG_TRY(
            sdg_statistics_site(&c->p->log, c->statistics, s->name + strlen("site:"), s->kind, s->channels, &s->index));
        if (s->height)
            SDG_TRY(sdg_statistics_keep_tokens(&c->p->log, c->statistics, s->index, s->height, s->width));
        if (s->height && c->params->relative)
            SDG_TRY(sdg_statistics_weigh_tokens(&c->p->log, c->statistics, s->index));
        if (s->smoothing)
            SDG_TRY(sdg_statistics_smooth(&c->p->log, c->statistics, s->index, s->smoothing));
    }
    return SDG_OK;
}

// What was asked for and touches no site: an expression of the caller's own is a mistake, the others may be meant for
// several models.
static enum sdg_result check_effect(const struct collector *c)
{
    const struct sdg_log *log = &c->p->log;
    bool tokens = false, operands = false;
    for (size_t i = 0; i < c->count; i++) {
        tokens = tokens || c->sites[i].height;
        operands = operands || c->sites[i].operand;
    }
    if (!tokens && c->params->tokens && *c->params->tokens)
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "sites with tokens: '%s' matches none that only linear layers and 1x1 convolutions read",
                        c->params->tokens);
    if (!tokens && (c->params->relative || c->params->smooth))
        sdg_say(log, SDG_LOG_WARNING, "no site keeps its tokens apart, so none is %s",
                c->params->smooth ? "smoothed" : "weighed");
    if (!operands && c->params->scan_operands)
        sdg_say(log, SDG_LOG_WARNING, "this model has no scans whose operands could be observed");
    return SDG_OK;
}

// The graph that one picture of `job` runs, to learn its sites.
static enum sdg_result find_sites(struct collector *c, const struct sdg_job *job)
{
    const struct sdg_network_shape shape =
        sdg_network_shape(c->p, job, SDG_NETWORK_UNET_STEP, sdg_tokenizer_length(c->p->tokenizer[0]));
    struct sdg_graph *graph;
    enum sdg_result result = sdg_network_build(c->p, SDG_NETWORK_UNET_STEP, &shape, &graph);
    if (result == SDG_OK)
        result = list_sites(c, graph);
    if (result == SDG_OK)
        result = check_effect(c);
    if (result == SDG_OK && c->moments)
        result = sdg_moments_prepare(&c->p->log, c->moments, graph, sdg_sampler_calls(job->sampler));
    sdg_graph_destroy(&graph);
    return result;
}

// ---- one prompt ----

static enum sdg_result finish_prompt(struct collector *c)
{
    if (c->for_statistics) {
        sdg_statistics_mark_done(c->statistics, c->prompt);
        SDG_TRY(sdg_statistics_write(&c->p->log, c->statistics, c->params->output));
    }
    return c->for_moments ? sdg_moments_finish_prompt(&c->p->log, c->moments, c->prompt, c->params->hessians) : SDG_OK;
}

// Which of the files lacks prompt i.
static bool wants(struct collector *c, size_t i)
{
    c->prompt = i;
    c->for_statistics = sdg_statistics_wants(c->statistics, i);
    c->for_moments = c->moments && sdg_moments_wants_prompt(c->moments, i);
    return c->for_statistics || c->for_moments;
}

static enum sdg_result run_prompts(struct collector *c, struct sdg_generate_params generate)
{
    const struct sdg_collect_params *params = c->params;
    const uint64_t seed = generate.seed;
    generate.images = (int)params->prompt_count;
    for (size_t i = 0; i < params->prompt_count; i++) {
        if (!wants(c, i))
            continue;
        generate.prompt = params->prompts[i];
        generate.seed = seed + i;
        generate.image = (int)i;
        SDG_TRY(find_indices(c));
        SDG_TRY(sdg_sample_latents(c->p, &generate));
        SDG_TRY(finish_prompt(c));
    }
    // A shard without a prompt of its own still leaves files that merge.
    if (!sdg_statistics_done_count(c->statistics))
        SDG_TRY(sdg_statistics_write(&c->p->log, c->statistics, params->output));
    return c->moments ? sdg_moments_flush(&c->p->log, c->moments, params->hessians) : SDG_OK;
}

// ---- start and resume ----

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return sdg_hash_word(sdg_hash_bytes(hash, text, strlen(text)), 0xff);
}

// Everything that has to agree between shards besides model, sampler and steps.
static void describe_settings(const struct collector *c, const struct sdg_job *job, char *text, size_t size)
{
    uint64_t prompts = SDG_HASH_START;
    for (size_t i = 0; i < c->params->prompt_count; i++)
        prompts = hash_text(prompts, c->params->prompts[i]);
    snprintf(text, size, "%dx%d, guidance %.9g, seed %llu, rng %s, prompts %016llx, negative prompt %016llx",
             job->width, job->height, job->cfg_scale, (unsigned long long)job->seed, sdg_rng_name(job->rng.kind),
             (unsigned long long)prompts, (unsigned long long)hash_text(SDG_HASH_START, job->negative));
}

static enum sdg_result create_statistics(struct collector *c, const struct sdg_job *job)
{
    char settings[300], model[17], sampler[64];
    int calls = sdg_sampler_calls(job->sampler);
    double *timesteps = sdg_alloc(&c->p->log, (size_t)calls, sizeof *timesteps, "timesteps");
    if (!timesteps)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < calls; i++)
        timesteps[i] = sdg_sampler_timestep(job->sampler, i);
    describe_settings(c, job, settings, sizeof settings);
    sdg_tensors_fingerprint(c->p->model->unet, model);
    snprintf(sampler, sizeof sampler, "%s/%s", sdg_method_name(job->method), sdg_schedule_name(job->schedule));
    const struct sdg_statistics_info info = {
        .model = model,
        .sampler = sampler,
        .settings = settings,
        .steps = job->steps,
        .rows = (size_t)calls,
        .timesteps = timesteps,
        .prompts = c->params->prompt_count,
        .shard = c->params->shard ? c->params->shard : 1,
        .shards = c->params->shards ? c->params->shards : 1,
    };
    enum sdg_result result = sdg_statistics_create(&c->p->log, &info, &c->statistics);
    if (result == SDG_OK && c->params->hessians)
        result = sdg_moments_create(&c->p->log, &info, &c->moments);
    sdg_free(timesteps);
    return result;
}

// The sites of this run are known by now, so that those of a run with other options are refused and not mixed in.
static enum sdg_result resume_statistics(struct collector *c)
{
    struct sdg_statistics *old;
    if (sdg_path_kind(c->params->output) == SDG_PATH_MISSING)
        return SDG_OK;
    if (!c->params->resume)
        return sdg_fail(&c->p->log, SDG_ERROR_OUTPUT, "%s exists already: resume it, or choose another name",
                        c->params->output);
    SDG_TRY(sdg_statistics_read(&c->p->log, c->params->output, &old));
    enum sdg_result result = find_indices(c);
    if (result == SDG_OK)
        result = sdg_statistics_merge(&c->p->log, c->statistics, "this run", old, c->params->output);
    sdg_statistics_destroy(&old);
    return result;
}

static enum sdg_result resume_moments(struct collector *c)
{
    if (!c->moments || sdg_path_kind(c->params->hessians) == SDG_PATH_MISSING)
        return SDG_OK;
    if (!c->params->resume)
        return sdg_fail(&c->p->log, SDG_ERROR_OUTPUT, "%s exists already: resume it, or choose another name",
                        c->params->hessians);
    return sdg_moments_resume(&c->p->log, c->moments, c->params->hessians);
}

static enum sdg_result collect(struct collector *c)
{
    struct sdg_generate_params generate = c->params->generate;
    struct sdg_job job;
    generate.steps = generate.steps ? generate.steps : 50;
    generate.sampler = generate.sampler ? generate.sampler : "ddim";
    generate.schedule = generate.schedule ? generate.schedule : "model";
    enum sdg_result result = sdg_job_create(c->p, &generate, &job);
    if (result == SDG_OK)
        result = create_statistics(c, &job);
    if (result == SDG_OK)
        result = resume_moments(c);
    if (result == SDG_OK)
        result = find_sites(c, &job);
    if (result == SDG_OK)
        result = resume_statistics(c);
    sdg_job_clear(&job);
    if (result != SDG_OK)
        return result;
    sdg_network_clear(c->p, SDG_NETWORK_UNET_STEP);
    c->p->hooks = (struct sdg_hooks){.rewrite = rewrite, .after_run = observe, .user = c};
    result = run_prompts(c, generate);
    c->p->hooks = (struct sdg_hooks){0};
    sdg_network_clear(c->p, SDG_NETWORK_UNET_STEP);
    return result;
}

static enum sdg_result read_tokens(struct collector *c)
{
    const char *expression = c->params->tokens ? c->params->tokens : mamba_sites;
    char why[120];
    if (!*expression)
        return SDG_OK;
    const int failed = regcomp(&c->tokens, expression, REG_EXTENDED | REG_NOSUB);
    c->tokens_wanted = !failed;
    if (!failed)
        return SDG_OK;
    regerror(failed, &c->tokens, why, sizeof why);
    return sdg_fail(&c->p->log, SDG_ERROR_USAGE, "sites with tokens: '%s' is no regular expression: %s", expression,
                    why);
}

enum sdg_result sdg_collect(struct sdg_pipeline *pipeline, const struct sdg_collect_params *params)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_REQUIRE(&pipeline->log, params, "params");
    SDG_REQUIRE(&pipeline->log, params->output, "output");
    struct collector c = {.p = pipeline, .params = params};
    SDG_TRY(sdg_template_check(&pipeline->log, &params->generate, true));
    SDG_TRY(sdg_template_check_prompts(&pipeline->log, params->prompts, params->prompt_count, "to calibrate with"));
    if (params->shards < 0 || params->shard < 0 || params->shard > params->shards ||
        (params->shards > 0 && params->shard == 0))
        return sdg_fail(&pipeline->log, SDG_ERROR_USAGE, "shard is %d/%d, should be i/n with 1 <= i <= n",
                        params->shard, params->shards);
    SDG_TRY(sdg_call_enter(pipeline, "sdg_collect"));
    enum sdg_result result = read_tokens(&c);
    if (result == SDG_OK)
        result = sdg_smoother_open(
            &pipeline->log, &(struct sdg_smoothing_choice){params->smooth, params->smooth_alpha, params->smooth_scheme},
            pipeline->model->unet, &c.smoother);
    if (result == SDG_OK)
        result = collect(&c);
    sdg_smoother_close(&c.smoother);
    for (size_t i = 0; i < c.count; i++)
        sdg_free(c.sites[i].smoothing);
    sdg_statistics_destroy(&c.statistics);
    sdg_moments_destroy(&c.moments);
    sdg_free(c.sites);
    sdg_free(c.buffer);
    if (c.tokens_wanted)
        regfree(&c.tokens);
    return sdg_call_leave(pipeline, result);
}

// ---- merge and show ----

static enum sdg_result merge_hessians(const struct sdg_log *log, const char *const *inputs, size_t count,
                                      const char *output)
{
    struct sdg_hessians *sum = NULL, *next = NULL;
    enum sdg_result result = sdg_hessians_read(log, inputs[0], &sum);
    for (size_t i = 1; i < count && result == SDG_OK; i++) {
        result = sdg_hessians_read(log, inputs[i], &next);
        if (result == SDG_OK)
            result = sdg_hessians_merge(log, sum, inputs[0], next, inputs[i]);
        sdg_hessians_destroy(&next);
    }
    if (result == SDG_OK)
        result = sdg_hessians_write(log, sum, output);
    sdg_hessians_destroy(&sum);
    return result;
}

enum sdg_result sdg_collect_merge(const struct sdg_log *log, const char *const *inputs, size_t count,
                                  const char *output)
{
    struct sdg_statistics *sum = NULL, *next = NULL;
    SDG_REQUIRE(log, output, "output");
    SDG_REQUIRE(log, inputs || !count, "inputs");
    for (size_t i = 0; i < count; i++)
        SDG_REQUIRE(log, inputs[i], "inputs");
    if (!count)
        return sdg_fail(log, SDG_ERROR_USAGE, "there is nothing to merge");
    if (sdg_hessians_is_file(inputs[0]))
        return merge_hessians(log, inputs, count, output);
    enum sdg_result result = sdg_statistics_read(log, inputs[0], &sum);
    for (size_t i = 1; i < count && result == SDG_OK; i++) {
        result = sdg_statistics_read(log, inputs[i], &next);
        if (result == SDG_OK)
            result = sdg_statistics_merge(log, sum, inputs[0], next, inputs[i]);
        sdg_statistics_destroy(&next);
    }
    if (result == SDG_OK)
        result = sdg_statistics_write(log, sum, output);
    sdg_statistics_destroy(&sum);
    return result;
}

// The magnitude below which 99.9 % of a histogram's values lie.
static float typical_magnitude(const struct sdg_histogram *h)
{
    uint64_t total = sdg_histogram_total(h), seen = 0, wanted = total - total / 1000;
    for (int m = 0; m < SDG_HISTOGRAM_HALF; m++) {
        double lo, hi;
        seen += h->counts[m] + h->counts[SDG_HISTOGRAM_HALF + m];
        sdg_histogram_edges(m, &lo, &hi);
        if (seen >= wanted)
            return (float)hi;
    }
    return 0;
}

static enum sdg_result show_site(const struct sdg_log *log, const struct sdg_statistics *s,
                                 const struct sdg_site_statistics *site,
                                 void (*fn)(void *user, const struct sdg_collected_site *site), void *user)
{
    size_t rows = s->info.rows;
    float *values = sdg_alloc(log, rows, 3 * sizeof *values, "a site's ranges");
    double *range = sdg_alloc(log, rows, sizeof *range, "a site's ranges");
    enum sdg_result result = values && range ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t r = 0; r < rows && result == SDG_OK; r++) {
        const struct sdg_histogram *h = &site->rows[r];
        bool seen = h->min <= h->max;
        values[r] = seen ? h->min : 0;
        values[rows + r] = seen ? h->max : 0;
        values[2 * rows + r] = seen ? typical_magnitude(h) : 0;
        range[r] = (double)values[rows + r] - (double)values[r];
    }
    if (result == SDG_OK) {
        const struct sdg_collected_site shown = {
            .name = site->name,
            .kind = sdg_site_kind_name(site->kind),
            .channels = site->channels,
            .rows = rows,
            .timesteps = s->info.timesteps,
            .min = values,
            .max = values + rows,
            .typical = values + 2 * rows,
            .correlation = sdg_pearson(s->info.timesteps, range, rows),
            .height = site->height,
            .width = site->width,
        };
        fn(user, &shown);
    }
    sdg_free(range);
    sdg_free(values);
    return result;
}

enum sdg_result sdg_collect_show(const struct sdg_log *log, const char *path, const char *only,
                                 void (*info)(void *user, const struct sdg_collected_info *info),
                                 void (*site)(void *user, const struct sdg_collected_site *site), void *user)
{
    struct sdg_statistics *s;
    SDG_REQUIRE(log, path, "path");
    SDG_REQUIRE(log, info, "info");
    SDG_REQUIRE(log, site, "site");
    SDG_TRY(sdg_statistics_read(log, path, &s));
    const struct sdg_collected_info shown = {
        .model = s->info.model,
        .sampler = s->info.sampler,
        .settings = s->info.settings,
        .steps = s->info.steps,
        .shard = s->info.shard,
        .shards = s->info.shards,
        .rows = s->info.rows,
        .sites = s->site_count,
        .prompts = s->info.prompts,
        .prompts_done = sdg_statistics_done_count(s),
    };
    enum sdg_result result = SDG_OK;
    if (only && !sdg_statistics_find(s, only))
        result = sdg_fail(log, SDG_ERROR_USAGE, "%s has no site '%s'", path, only);
    if (result == SDG_OK)
        info(user, &shown);
    for (size_t i = 0; i < s->site_count && result == SDG_OK; i++)
        if (!only || strcmp(only, s->sites[i].name) == 0)
            result = show_site(log, s, &s->sites[i], site, user);
    sdg_statistics_destroy(&s);
    return result;
}
