// What each model's intervals cost, site by site: the reference runs with every site an output, and each site's values
// are compared with what a model's codes would make of them. Errors that come from earlier sites or from the weights
// are not in it.
#include "measure/evaluate_sites.h"

#include "base/decibel.h"
#include "base/memory.h"
#include "pipeline/networks.h"
#include "pipeline/sample.h"
#include "quant/tdq.h"
#include "text/tokenizer.h"

#include <math.h>
#include <string.h>

// ---- the reference's sites ----

static enum sdg_result copy_sites(struct sdg_evaluator *e, const struct sdg_graph *graph, const struct sdg_sites *sites)
{
    size_t calls = e->shown->calls;
    struct sdg_evaluation_site *shown = sdg_evaluation_take(e->store, sites->count, sizeof *shown);
    e->low = sdg_evaluation_take(e->store, sites->count * calls, sizeof *e->low);
    e->high = sdg_evaluation_take(e->store, sites->count * calls, sizeof *e->high);
    e->sites = sdg_alloc(&e->log, sites->count, sizeof *e->sites, "the reference's sites");
    if (!shown || !e->low || !e->high || !e->sites)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < sites->count; i++) {
        const struct sdg_site *site = &sites->sites[i];
        const struct sdg_value_info *v = &graph->values[site->value];
        char *name = sdg_evaluation_text(e->store, "%s", site->name);
        if (!name)
            return SDG_ERROR_MEMORY;
        e->sites[i].kind = site->kind;
        e->sites[i].elements = (size_t)sdg_value_elements(v);
        e->sites[i].height = (size_t)v->dims[1];
        e->sites[i].width = (size_t)v->dims[2];
        e->sites[i].channels = (size_t)v->dims[3];
        sdg_observed_name(e->sites[i].observed, site->name);
        shown[i] = (struct sdg_evaluation_site){.name = name,
                                                .kind = sdg_site_kind_name(site->kind),
                                                .channels = (size_t)v->dims[3],
                                                .min = e->low + i * calls,
                                                .max = e->high + i * calls};
    }
    for (size_t i = 0; i < sites->count * calls; i++) {
        e->low[i] = INFINITY;
        e->high[i] = -INFINITY;
    }
    e->shown->site = shown;
    e->shown->sites = sites->count;
    return SDG_OK;
}

enum sdg_result sdg_evaluate_list_sites(struct sdg_evaluator *e, struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_network_shape shape =
        sdg_network_shape(p, job, SDG_NETWORK_UNET_STEP, sdg_tokenizer_length(p->tokenizer[0]));
    struct sdg_graph *graph;
    struct sdg_sites sites;
    enum sdg_result result = sdg_network_build(p, SDG_NETWORK_UNET_STEP, &shape, &graph);
    if (result == SDG_OK)
        result = sdg_sites_find(graph, &sites);
    if (result == SDG_OK) {
        result = copy_sites(e, graph, &sites);
        sdg_sites_clear(&sites);
    }
    sdg_graph_destroy(&graph);
    return result;
}

// ---- what a model does to them ----

static float low_of(const struct sdg_interval *i)
{
    return i->scale * (float)(i->lo - i->zero_point);
}
static float high_of(const struct sdg_interval *i)
{
    return i->scale * (float)(i->hi - i->zero_point);
}

// The size of a site's codes by themselves.
static int bits_of(const struct sdg_interval *interval)
{
    int bits = 0;
    while ((1 << bits) < interval->hi - interval->lo + 1)
        bits++;
    return bits;
}

static double same_timestep(const void *user, int64_t row)
{
    (void)row;
    return *(const double *)user;
}

// The intervals of a site's tokens [tokens] at a timestep, on the grid of the pictures evaluated.
static void find_intervals(const struct sdg_quantized *q, size_t index, const struct sdg_site_values *values, double t,
                           size_t tokens, float *table, struct sdg_interval *out)
{
    const struct sdg_interval codes = sdg_quantized_interval(q, index, 0, t);
    sdg_quantized_table(q, index, values->height, values->width, 1, same_timestep, &t, table);
    for (size_t i = 0; i < tokens; i++)
        out[i] = (struct sdg_interval){
            .scale = table[2 * i], .zero_point = (int)table[2 * i + 1], .lo = codes.lo, .hi = codes.hi};
}

// The values that the intervals of all tokens reach.
static void find_bounds(const struct sdg_interval *intervals, size_t tokens, float *low, float *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < tokens; i++) {
        *low = fminf(*low, low_of(&intervals[i]));
        *high = fmaxf(*high, high_of(&intervals[i]));
    }
}

// What each token's interval reaches, the mean over the calls.
static enum sdg_result note_tokens(struct sdg_evaluator *e, const struct sdg_site_values *values,
                                   const struct sdg_site_record *record, struct sdg_evaluation_interval *shown)
{
    const size_t tokens = record->tokens, calls = e->shown->calls;
    float *low = sdg_evaluation_take(e->store, 2 * tokens, sizeof *low), *high = low ? low + tokens : NULL;
    if (!low)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < calls * tokens; i++) {
        low[i % tokens] += low_of(&record->intervals[i]) / (float)calls;
        high[i % tokens] += high_of(&record->intervals[i]) / (float)calls;
    }
    shown->token_low = low;
    shown->token_high = high;
    shown->height = values->height;
    shown->width = values->width;
    return SDG_OK;
}

static enum sdg_result note_intervals(struct sdg_evaluator *e, const struct sdg_quantized *q, size_t index,
                                      const struct sdg_site_values *values, struct sdg_site_record *record,
                                      struct sdg_evaluation_interval *shown)
{
    const size_t calls = e->shown->calls;
    const bool by_token = q->sites[index].zero_points;
    record->tokens = by_token ? values->height * values->width : 1;
    record->intervals = sdg_evaluation_take(e->store, (calls + 1) * record->tokens, sizeof *record->intervals);
    float *bounds = sdg_evaluation_take(e->store, 2 * SDG_EVALUATION_TIMES + 2 * record->tokens, sizeof *bounds);
    if (!record->intervals || !bounds)
        return SDG_ERROR_MEMORY;
    float *table = bounds + 2 * SDG_EVALUATION_TIMES;
    struct sdg_interval *some = record->intervals + calls * record->tokens;
    for (size_t c = 0; c < calls; c++) {
        float low, high;
        find_intervals(q, index, values, e->shown->timesteps[c], record->tokens, table,
                       record->intervals + c * record->tokens);
        find_bounds(record->intervals + c * record->tokens, record->tokens, &low, &high);
        record->low[c] = (double)low;
        record->high[c] = (double)high;
    }
    for (int i = 0; i < SDG_EVALUATION_TIMES; i++) {
        find_intervals(q, index, values, (SDG_TDQ_TIMES - 1.0) * i / (SDG_EVALUATION_TIMES - 1), record->tokens, table,
                       some);
        find_bounds(some, record->tokens, &bounds[i], &bounds[SDG_EVALUATION_TIMES + i]);
    }
    shown->low = bounds;
    shown->high = bounds + SDG_EVALUATION_TIMES;
    return by_token ? note_tokens(e, values, record, shown) : SDG_OK;
}

static enum sdg_result note_site(struct sdg_evaluator *e, const struct sdg_quantized *q, size_t index,
                                 const struct sdg_site_values *values, struct sdg_site_record *record,
                                 struct sdg_evaluation_interval *shown)
{
    size_t calls = e->shown->calls;
    const struct sdg_interval codes = sdg_quantized_interval(q, index, 0, 0);
    record->quantized = true;
    record->dynamic = q->sites[index].times == 0;
    record->tokens = 1;
    record->bits = shown->bits = bits_of(&codes);
    record->powers = sdg_evaluation_take(e->store, calls, sizeof *record->powers);
    record->low = sdg_evaluation_take(e->store, calls, 2 * sizeof *record->low);
    if (!record->powers || !record->low)
        return SDG_ERROR_MEMORY;
    record->high = record->low + calls;
    if (q->sites[index].smoothing) {
        const size_t channels = values->channels;
        record->smoothing = sdg_evaluation_take(e->store, channels, sizeof *record->smoothing);
        if (!record->smoothing)
            return SDG_ERROR_MEMORY;
        memcpy(record->smoothing, q->sites[index].smoothing, channels * sizeof *record->smoothing);
    }
    return record->dynamic ? SDG_OK : note_intervals(e, q, index, values, record, shown);
}

enum sdg_result sdg_evaluate_note_sites(struct sdg_evaluator *e, size_t model, const struct sdg_quantized *quantized)
{
    struct sdg_model_record *record = &e->models[model];
    if (!quantized || !quantized->site_count)
        return SDG_OK;
    struct sdg_evaluation_interval *shown = sdg_evaluation_take(e->store, e->shown->sites, sizeof *shown);
    record->sites = sdg_evaluation_take(e->store, e->shown->sites, sizeof *record->sites);
    if (!shown || !record->sites)
        return SDG_ERROR_MEMORY;
    record->shown->sites = record->shown_sites = shown;
    for (size_t i = 0; i < e->shown->sites; i++)
        for (size_t k = 0; k < quantized->site_count; k++)
            if (!strcmp(quantized->sites[k].name, e->shown->site[i].name))
                SDG_TRY(note_site(e, quantized, k, &e->sites[i], &record->sites[i], &shown[i]));
    return SDG_OK;
}

// ---- running and comparing ----

struct comparer {
    struct sdg_evaluator *e;
    struct sdg_pipeline *p;
    float *values, *codes; // of the largest site: as they are, and after quantization
};

static void find_extremes(const float *x, size_t n, float *low, float *high)
{
    float a = INFINITY, b = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        a = x[i] < a ? x[i] : a;
        b = x[i] > b ? x[i] : b;
    }
    *low = a;
    *high = b;
}

static bool same_interval(const struct sdg_interval *a, const struct sdg_interval *b)
{
    return a->scale == b->scale && a->zero_point == b->zero_point && a->lo == b->lo && a->hi == b->hi;
}

// What a site's codes are made of: values times the smoothing that its weights undo. values and out may be the same.
static void smooth(const float *smoothing, const float *values, float *out, size_t elements, size_t channels)
{
    for (size_t i = 0; i < elements; i++)
        out[i] = values[i] * smoothing[i % channels];
}

static void undo_smoothing(const float *smoothing, float *values, size_t elements, size_t channels)
{
    for (size_t i = 0; i < elements; i++)
        values[i] /= smoothing[i % channels];
}

// Measured at run time: of all values of the call.
static struct sdg_interval measure_interval(const struct sdg_site_values *s, struct sdg_site_record *r, size_t call,
                                            float low, float high)
{
    const struct sdg_interval interval =
        sdg_interval_make(s->kind, r->bits, sdg_interval_reach(s->kind, r->bits, low, high));
    r->low[call] += (double)low_of(&interval);
    r->high[call] += (double)high_of(&interval);
    return interval;
}

// The values of a site's codes, each with its token's interval and without smoothing.
static void simulate_site(struct comparer *c, const struct sdg_site_values *s, struct sdg_site_record *r, size_t call,
                          size_t channels)
{
    const float *from = r->smoothing ? c->codes : c->values;
    if (r->smoothing)
        smooth(r->smoothing, c->values, c->codes, s->elements, channels);
    struct sdg_interval measured;
    if (r->dynamic) {
        float low, high;
        find_extremes(from, s->elements, &low, &high);
        measured = measure_interval(s, r, call, low, high);
    }
    for (size_t i = 0; i < s->elements; i += channels)
        sdg_interval_simulate(r->dynamic ? &measured : &r->intervals[call * r->tokens + i / channels % r->tokens],
                              from + i, c->codes + i, channels);
    if (r->smoothing)
        undo_smoothing(r->smoothing, c->codes, s->elements, channels);
}

// One site at one call: what every model makes of the values. Models that differ in their weights only have equal
// intervals.
static void compare_site(struct comparer *c, size_t site, size_t call, float low, float high)
{
    struct sdg_evaluator *e = c->e;
    const struct sdg_site_values *s = &e->sites[site];
    struct sdg_interval last = {0};
    struct sdg_power power = {0};
    for (size_t m = 1; m <= e->shown->models; m++) {
        struct sdg_site_record *r = e->models[m].sites ? &e->models[m].sites[site] : NULL;
        if (!r || !r->quantized)
            continue;
        if (r->tokens > 1 || r->smoothing) {
            simulate_site(c, s, r, call, e->shown->site[site].channels);
            power = sdg_power_of_difference(c->values, c->codes, s->elements);
            last = (struct sdg_interval){0};
        } else {
            const struct sdg_interval interval =
                r->dynamic ? measure_interval(s, r, call, low, high) : r->intervals[call];
            if (!same_interval(&interval, &last)) {
                sdg_interval_simulate(&interval, c->values, c->codes, s->elements);
                power = sdg_power_of_difference(c->values, c->codes, s->elements);
            }
            last = interval;
        }
        r->powers[call].signal += power.signal;
        r->powers[call].noise += power.noise;
    }
}

static enum sdg_result rewrite(void *user, struct sdg_graph *graph)
{
    (void)user;
    return sdg_graph_observe(graph, false);
}

static enum sdg_result compare(void *user, struct sdg_program *program, int call)
{
    struct comparer *c = user;
    struct sdg_evaluator *e = c->e;
    size_t calls = e->shown->calls;
    for (size_t i = 0; i < e->shown->sites; i++) {
        float low, high, *least = &e->low[i * calls + (size_t)call], *most = &e->high[i * calls + (size_t)call];
        SDG_TRY(sdg_program_read(program, e->sites[i].observed, c->values, e->sites[i].elements));
        find_extremes(c->values, e->sites[i].elements, &low, &high);
        *least = low < *least ? low : *least;
        *most = high > *most ? high : *most;
        compare_site(c, i, (size_t)call, low, high);
    }
    return SDG_OK;
}

static bool see_progress(void *user, const struct sdg_progress *progress)
{
    return sdg_evaluate_report(user, !strcmp(progress->stage, "sample") ? progress->step : 0);
}

// The latents only, whose last state nobody needs.
static enum sdg_result run_once(struct comparer *c)
{
    struct sdg_generate_params generate = sdg_evaluate_run(c->e, c->e->run);
    generate.progress = see_progress;
    generate.progress_user = c->e;
    return sdg_sample_latents(c->p, &generate);
}

static void conclude_model(struct sdg_evaluator *e, struct sdg_evaluation_interval *shown,
                           struct sdg_site_record *record, double *sqnr)
{
    size_t calls = e->shown->calls;
    float *low = (float *)(sqnr + calls), *high = low + calls;
    struct sdg_power total = {0};
    double runs = record->dynamic ? (double)e->shown->site_runs : 1;
    for (size_t c = 0; c < calls; c++) {
        sqnr[c] = sdg_decibel(record->powers[c].signal, record->powers[c].noise);
        total.signal += record->powers[c].signal;
        total.noise += record->powers[c].noise;
        low[c] = (float)(record->low[c] / runs);
        high[c] = (float)(record->high[c] / runs);
    }
    shown->sqnr = sqnr;
    shown->call_low = low;
    shown->call_high = high;
    shown->total = sdg_decibel(total.signal, total.noise);
}

static enum sdg_result conclude(struct sdg_evaluator *e)
{
    for (size_t m = 1; m <= e->shown->models; m++)
        for (size_t i = 0; e->models[m].sites && i < e->shown->sites; i++) {
            if (!e->models[m].sites[i].quantized)
                continue;
            double *room = sdg_evaluation_take(e->store, e->shown->calls, sizeof(double) + 2 * sizeof(float));
            if (!room)
                return SDG_ERROR_MEMORY;
            conclude_model(e, &e->models[m].shown_sites[i], &e->models[m].sites[i], room);
        }
    return SDG_OK;
}

static enum sdg_result run_all(struct comparer *c, int runs)
{
    struct sdg_evaluator *e = c->e;
    for (int i = 0; i < runs; i++) {
        e->run = sdg_evaluate_spread(e, i, runs);
        SDG_TRY(run_once(c));
        e->done += e->shown->steps;
    }
    return SDG_OK;
}

enum sdg_result sdg_evaluate_compare_sites(struct sdg_evaluator *e)
{
    struct comparer c = {.e = e};
    size_t largest = 0;
    int runs = sdg_evaluate_site_runs(e);
    for (size_t i = 0; i < e->shown->sites; i++)
        largest = e->sites[i].elements > largest ? e->sites[i].elements : largest;
    e->stage = "sites";
    e->model = 0;
    SDG_TRY(sdg_evaluate_open(e, 0, true, &c.p));
    c.values = sdg_alloc_raw(&e->log, largest, 2 * sizeof *c.values, "a site's values");
    c.codes = c.values + largest;
    c.p->hooks = (struct sdg_hooks){.rewrite = rewrite, .after_run = compare, .user = &c};
    enum sdg_result result = c.values ? run_all(&c, runs) : SDG_ERROR_MEMORY;
    sdg_pipeline_destroy(&c.p);
    sdg_free(c.values);
    e->shown->site_runs = (size_t)runs;
    return result == SDG_OK ? conclude(e) : result;
}
