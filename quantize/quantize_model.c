// Quantizing a model: the plan's modules are rounded and its sites fitted on all cores, each by itself, so that neither
// the number of threads nor their order shows in the result.
#include "sdgen/quantize.h"

#include "base/clock.h"
#include "base/decibel.h"
#include "base/memory.h"
#include "base/threads.h"
#include "formats/stored.h"
#include "quant/gptq.h"
#include "quant/layer_hessians.h"
#include "quantize/quant_plan.h"
#include "quantize/quant_settings.h"
#include "quantize/quant_smooth.h"
#include "quantize/quant_write.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024 };
static const uint64_t largest_seed = (uint64_t)1 << 53; // what a JSON number holds

struct quantizer {
    const struct sdg_quantize_params *params;
    struct sdg_log log;
    struct sdg_quant_settings settings;
    struct sdg_quant_plan plan;
    struct sdg_quant_subject subject;
    struct sdg_statistics *statistics; // NULL when none are given
    struct sdg_hessians *hessians;     // NULL: every weight to the nearest code
    struct sdg_tdq_times *times;       // NULL unless the rule is tdq
    struct sdg_pool *pool;
    double start;
};

// ---- work on all cores ----

// What the items of one stage share. The first failure is the one reported; items that have not begun then are left
// out.
struct stage {
    struct quantizer *q;
    const char *name;
    size_t count;
    enum sdg_result (*run)(const struct quantizer *q, const struct sdg_log *log, size_t item);
    double (*cost)(const struct quantizer *q, size_t item); // for the time left
    double start, total_cost;
    struct sdg_log log;
    atomic_bool reported;
    pthread_mutex_t lock; // of what follows
    double done_cost;
    size_t done;
    enum sdg_result result; // of the first failure
};

static void say_once(void *user, enum sdg_log_level level, const char *message)
{
    struct stage *s = user;
    if (level == SDG_LOG_ERROR && atomic_exchange(&s->reported, true))
        return;
    s->q->log.fn(s->q->log.user, level, message);
}

// Under the lock.
static enum sdg_result finish_item(struct stage *s, size_t item)
{
    const struct sdg_quantize_params *params = s->q->params;
    s->done++;
    s->done_cost += s->cost(s->q, item);
    double seconds = sdg_clock() - s->start;
    const struct sdg_progress progress = {
        .stage = s->name,
        .step = (int)s->done,
        .steps = (int)s->count,
        .images = 1,
        .seconds_step = seconds / (double)s->done,
        .seconds_left = seconds * (s->total_cost - s->done_cost) / s->done_cost,
    };
    if (!params->progress || params->progress(params->progress_user, &progress))
        return SDG_OK;
    return sdg_fail(&s->log, SDG_ERROR_CANCELLED, "cancelled in stage '%s', %zu of %zu", s->name, s->done, s->count);
}

static void run_item(void *context, int64_t index, int thread)
{
    struct stage *s = context;
    const size_t item = (size_t)index;
    (void)thread;
    pthread_mutex_lock(&s->lock);
    enum sdg_result result = s->result;
    pthread_mutex_unlock(&s->lock);
    if (result == SDG_OK)
        result = s->run(s->q, &s->log, item);
    pthread_mutex_lock(&s->lock);
    if (result == SDG_OK && s->result == SDG_OK)
        result = finish_item(s, item);
    if (s->result == SDG_OK)
        s->result = result;
    pthread_mutex_unlock(&s->lock);
}

static enum sdg_result run_stage(struct stage *s)
{
    s->log = (struct sdg_log){s->q->log.fn ? say_once : NULL, s, s->q->log.level};
    s->start = sdg_clock();
    for (size_t i = 0; i < s->count; i++)
        s->total_cost += s->cost(s->q, i);
    pthread_mutex_init(&s->lock, NULL);
    sdg_pool_run(s->q->pool, (int64_t)s->count, run_item, s);
    pthread_mutex_destroy(&s->lock);
    return s->result;
}

// ---- weights ----

// What smoothing makes of a part's weights: of a smoothed site they take the inverse, by columns; rows take what was
// folded into them.
static void smooth_part(const struct sdg_quant_module *m, const struct sdg_quant_part *part,
                        const struct sdg_quant_site *site, size_t outputs, float *matrix)
{
    const float *columns = sdg_quant_site_smoothing(site);
    for (size_t o = 0; columns && o < outputs; o++)
        for (size_t k = 0; k < part->channels; k++)
            matrix[o * part->channels + k] /= columns[k];
    for (size_t o = 0; o < m->row_count; o++)
        for (size_t k = 0; k < part->channels; k++)
            matrix[(m->row_start + o) * part->channels + k] *= m->row_smoothing[o];
}

// Columns [start, start + channels) of the module's weight, in f32.
static void gather_part(const struct sdg_quant_module *m, const struct sdg_quant_part *part, size_t taps, float *matrix)
{
    const struct sdg_stored stored = sdg_stored_numbers(m->tensor);
    const size_t columns = part->channels * taps;
    for (size_t o = 0; o < stored.outputs; o++)
        sdg_stored_expand(&stored, o * stored.inputs + part->start * taps, columns, SDG_F32, matrix + o * columns);
}

static void account(struct sdg_quant_module *m, const struct sdg_codes *codes, const float *matrix)
{
    double signal = 0;
    for (size_t i = 0; i < codes->outputs * codes->inputs; i++)
        signal += (double)matrix[i] * matrix[i];
    m->signal += signal;
    if (signal > 0)
        m->noise += signal * pow(10, -sdg_codes_sqnr(codes, matrix) / 10);
}

// The Hessian of what this part of a weight is multiplied with; NULL if there is none.
static const struct sdg_hessian *find_hessian(const struct quantizer *q, const struct sdg_quant_module *m,
                                              const struct sdg_quant_part *part)
{
    const struct sdg_layer_hessian *h =
        q->hessians ? sdg_hessians_find(q->hessians, q->plan.sites[part->site].name) : NULL;
    const int64_t kernel_h = m->tensor->rank > 2 ? m->tensor->dims[2] : 1,
                  kernel_w = m->tensor->rank > 3 ? m->tensor->dims[3] : 1;
    return h && h->channels == part->channels && h->kernel_h == (size_t)kernel_h && h->kernel_w == (size_t)kernel_w
        ? &h->hessian
        : NULL;
}

static enum sdg_result round_matrix(const struct quantizer *q, const struct sdg_log *log, struct sdg_quant_module *m,
                                    const struct sdg_quant_part *part, const float *matrix, size_t outputs,
                                    size_t columns, struct sdg_codes *codes)
{
    const struct sdg_hessian *hessian = find_hessian(q, m, part); // of the input as it was
    const struct sdg_gptq_options options = {.weight = {.bits = m->bits, .group = q->settings.group},
                                             .by_importance = true,
                                             .smoothing = sdg_quant_site_smoothing(&q->plan.sites[part->site])};
    if (!hessian)
        return sdg_weights_round(log, part->op, matrix, outputs, columns, &options.weight, codes);
    m->gptq = true;
    return sdg_weights_gptq(log, part->op, matrix, outputs, columns, hessian, &options, codes);
}

static enum sdg_result round_part(const struct quantizer *q, const struct sdg_log *log, struct sdg_quant_module *m,
                                  struct sdg_quant_part *part, size_t taps, int8_t *all)
{
    const size_t outputs = (size_t)m->tensor->dims[0], columns = part->channels * taps,
                 row = (size_t)m->tensor->dims[1] * taps;
    struct sdg_codes codes = {0};
    float *matrix = sdg_alloc_raw(log, outputs, columns * sizeof *matrix, m->name);
    if (!matrix)
        return SDG_ERROR_MEMORY;
    gather_part(m, part, taps, matrix);
    smooth_part(m, part, &q->plan.sites[part->site], outputs, matrix);
    enum sdg_result result = round_matrix(q, log, m, part, matrix, outputs, columns, &codes);
    if (result == SDG_OK) {
        for (size_t o = 0; o < outputs; o++)
            memcpy(all + o * row + part->start * taps, codes.codes + o * columns, columns);
        account(m, &codes, matrix);
        part->scales = codes.scales;
        part->groups = codes.groups;
        codes.scales = NULL;
    }
    sdg_codes_free(&codes);
    sdg_free(matrix);
    return result;
}

static enum sdg_result pack_module(const struct sdg_log *log, struct sdg_quant_module *m, int8_t *codes, size_t outputs,
                                   size_t inputs)
{
    m->code_bytes = outputs * (m->bits == 4 ? sdg_packed_row(inputs) : inputs);
    if (m->bits != 4) {
        m->codes = codes;
        return SDG_OK;
    }
    m->codes = sdg_alloc_raw(log, m->code_bytes, 1, m->name);
    if (m->codes)
        sdg_pack4(codes, outputs, inputs, m->codes);
    sdg_free(codes);
    return m->codes ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result round_module(const struct quantizer *q, const struct sdg_log *log, size_t item)
{
    struct sdg_quant_module *m = &q->plan.modules[item];
    const size_t outputs = (size_t)m->tensor->dims[0], channels = (size_t)m->tensor->dims[1];
    size_t taps = 1;
    for (int i = 2; i < m->tensor->rank; i++)
        taps *= (size_t)m->tensor->dims[i];
    int8_t *codes = sdg_alloc_raw(log, outputs, channels * taps, m->name);
    enum sdg_result result = codes ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t p = 0; p < m->part_count && result == SDG_OK; p++)
        result = round_part(q, log, m, &m->parts[p], taps, codes);
    sdg_tensors_release(q->subject.tensors, m->tensor);
    if (result == SDG_OK)
        return pack_module(log, m, codes, outputs, channels * taps);
    sdg_free(codes);
    return result;
}

static double module_cost(const struct quantizer *q, size_t item)
{
    return (double)q->plan.modules[item].tensor->bytes;
}

// ---- intervals ----

static enum sdg_result fit_site(const struct quantizer *q, const struct sdg_log *log, size_t item)
{
    struct sdg_quant_site *site = &q->plan.sites[item];
    const enum sdg_interval_rule rule = q->settings.scheme.rule;
    const struct sdg_fit_options options = {
        .rule = sdg_quant_settings_tokens(&q->settings, site->name) ? rule : sdg_interval_rule_over_time(rule),
        .bits = q->settings.scheme.activation_bits,
        .seed = q->params->seed,
        .power = q->params->error_power.given ? q->params->error_power.value : 0,
        .others = sdg_fit_default_others,
        .static_gain = sdg_tdq_default_gain,
        .times = q->times,
    };
    if (!site->wanted)
        return SDG_OK;
    return sdg_site_fit(log, site->statistics, q->statistics->info.timesteps, q->statistics->info.rows, &options,
                        &site->fit);
}

static double site_cost(const struct quantizer *q, size_t item)
{
    return q->plan.sites[item].wanted ? 1 : 1e-3;
}

// ---- report ----

static int by_site_sqnr(const void *a, const void *b)
{
    const struct sdg_quantize_site *x = a, *y = b;
    return x->sqnr != y->sqnr ? (x->sqnr < y->sqnr ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_module_sqnr(const void *a, const void *b)
{
    const struct sdg_quantize_module *x = a, *y = b;
    return x->sqnr != y->sqnr ? (x->sqnr < y->sqnr ? -1 : 1) : strcmp(x->name, y->name);
}

// What a site has of the scheme's rule: some have no tokens, some no reason to follow the timestep.
static enum sdg_interval_rule rule_of(const struct sdg_site_fit *fit, enum sdg_interval_rule rule)
{
    const struct sdg_token_intervals *tokens = &fit->tokens;
    if (tokens->height && sdg_interval_rule_has_tokens(rule))
        return tokens->times == 1 && !tokens->factors ? SDG_INTERVAL_TOKEN : rule;
    return fit->length == 1 ? SDG_INTERVAL_STATIC : sdg_interval_rule_over_time(rule);
}

static size_t list_sites(const struct quantizer *q, struct sdg_quantize_site *out)
{
    size_t count = 0;
    const enum sdg_interval_rule rule = q->settings.scheme.rule;
    for (size_t i = 0; i < q->plan.site_count && q->statistics && rule != SDG_INTERVAL_NONE; i++) {
        const struct sdg_quant_site *s = &q->plan.sites[i];
        if (!s->wanted)
            continue;
        out[count++] = (struct sdg_quantize_site){
            .name = s->name,
            .kind = sdg_site_kind_name(s->kind),
            .rule = sdg_interval_rule_name(rule_of(&s->fit, rule)),
            .channels = s->channels,
            .tokens = s->fit.tokens.height ? s->fit.tokens.height * s->fit.tokens.width : 1,
            .correlation = s->fit.correlation,
            .gain = s->fit.gain,
            .sqnr = s->fit.sqnr,
            .worst_sqnr = s->fit.worst_sqnr,
            .worst_at = s->fit.worst_at,
        };
    }
    qsort(out, count, sizeof *out, by_site_sqnr);
    return count;
}

// A rule by token where no site has any is a surprise: the statistics were collected without.
static void warn_of_no_tokens(const struct quantizer *q)
{
    const enum sdg_interval_rule rule = q->settings.scheme.rule;
    if (!q->statistics || !sdg_interval_rule_has_tokens(rule))
        return;
    for (size_t i = 0; i < q->plan.site_count; i++)
        if (q->plan.sites[i].fit.tokens.height)
            return;
    sdg_say(
        &q->log, SDG_LOG_WARNING,
        "no site that has intervals by token has statistics by token (sdcalib collect keeps those of Mamba blocks, or "
        "--tokens REGEX): all are %s",
        sdg_interval_rule_name(sdg_interval_rule_over_time(rule)));
}

static void list_modules(const struct quantizer *q, struct sdg_quantize_module *out)
{
    for (size_t i = 0; i < q->plan.module_count; i++) {
        const struct sdg_quant_module *m = &q->plan.modules[i];
        size_t weights = m->tensor->bytes / sdg_dtype_size(m->tensor->dtype);
        out[i] = (struct sdg_quantize_module){.name = m->name,
                                              .bits = m->bits,
                                              .weights = weights,
                                              .gptq = m->gptq,
                                              .sqnr = fmin(sdg_decibel(m->signal, m->noise), SDG_FIT_BEST_SQNR)};
    }
    qsort(out, q->plan.module_count, sizeof *out, by_module_sqnr);
}

static enum sdg_result report(const struct quantizer *q, const struct sdg_quant_result *r)
{
    warn_of_no_tokens(q);
    if (!q->params->report)
        return SDG_OK;
    char scheme[SDG_SCHEME_NAME_BYTES];
    struct sdg_quantize_site *sites = sdg_alloc(&q->log, q->plan.site_count, sizeof *sites, "a report");
    struct sdg_quantize_module *modules = sdg_alloc(&q->log, q->plan.module_count, sizeof *modules, "a report");
    if (sites && modules) {
        sdg_scheme_name(&q->settings.scheme, scheme);
        list_modules(q, modules);
        const struct sdg_quantize_report shown = {
            .network = q->subject.name,
            .scheme = scheme,
            .statistics = r->statistics,
            .sites = sites,
            .site_count = list_sites(q, sites),
            .modules = modules,
            .module_count = q->plan.module_count,
            .float_modules = q->plan.float_modules,
            .bytes_before = r->bytes_before,
            .bytes_after = r->bytes_after,
            .bytes_stored = r->bytes_stored,
            .seconds = sdg_clock() - q->start,
        };
        q->params->report(q->params->report_user, &shown);
    }
    enum sdg_result result = sites && modules ? SDG_OK : SDG_ERROR_MEMORY;
    sdg_free(sites);
    sdg_free(modules);
    return result;
}

// ---- all of it ----

static enum sdg_result open_statistics(struct quantizer *q)
{
    const enum sdg_interval_rule rule = q->settings.scheme.rule;
    const bool needed = rule != SDG_INTERVAL_NONE && rule != SDG_INTERVAL_DYNAMIC;
    if (!q->params->statistics) {
        if (!needed)
            return SDG_OK;
        return sdg_fail(&q->log, SDG_ERROR_USAGE, "%s intervals are made of statistics: collect some with sdcalib",
                        sdg_interval_rule_name(rule));
    }
    SDG_TRY(sdg_statistics_read(&q->log, q->params->statistics, &q->statistics));
    SDG_TRY(sdg_quant_plan_use(&q->log, &q->plan, &q->subject, q->statistics, q->params->statistics));
    if (rule != SDG_INTERVAL_NONE)
        SDG_TRY(sdg_quant_smooth(&q->log, &q->plan, &q->subject, rule, !q->params->keep_smoothing));
    if (sdg_interval_rule_over_time(rule) != SDG_INTERVAL_TDQ)
        return SDG_OK;
    if (!q->subject.time_channels)
        return sdg_fail(&q->log, SDG_ERROR_USAGE, "%s: its network knows no timestep that intervals could follow",
                        q->subject.path);
    return sdg_tdq_times_create(&q->log, q->subject.time_channels, &q->times);
}

static enum sdg_result open_hessians(struct quantizer *q)
{
    char fingerprint[17];
    if (!q->params->hessians)
        return SDG_OK;
    SDG_TRY(sdg_hessians_read(&q->log, q->params->hessians, &q->hessians));
    sdg_tensors_fingerprint(q->subject.tensors, fingerprint);
    if (strcmp(fingerprint, q->hessians->about->info.model) != 0)
        return sdg_fail(&q->log, SDG_ERROR_INPUT,
                        "%s: is of another model: its %s has fingerprint %.20s, that of %s has %s", q->params->hessians,
                        q->subject.name, q->hessians->about->info.model, q->subject.path, fingerprint);
    return sdg_statistics_done_count(q->hessians->about)
        ? SDG_OK
        : sdg_fail(&q->log, SDG_ERROR_INPUT, "%s: has seen no prompt yet", q->params->hessians);
}

static enum sdg_result quantize(struct quantizer *q)
{
    SDG_TRY(sdg_quant_settings_read(&q->log, q->params, &q->settings));
    SDG_TRY(sdg_quant_check_output(&q->log, q->params));
    SDG_TRY(sdg_quant_subject_open(&q->log, q->params->model, &q->subject));
    SDG_TRY(sdg_quant_plan_create(&q->log, &q->subject, &q->settings, &q->plan));
    SDG_TRY(sdg_pool_create(&q->log, q->params->threads, &q->pool));
    SDG_TRY(open_statistics(q));
    SDG_TRY(open_hessians(q));
    if (q->statistics && q->settings.scheme.rule != SDG_INTERVAL_NONE) {
        struct stage intervals = {
            .q = q, .name = "intervals", .count = q->plan.site_count, .run = fit_site, .cost = site_cost};
        SDG_TRY(run_stage(&intervals));
    }
    struct stage weights = {
        .q = q, .name = "weights", .count = q->plan.module_count, .run = round_module, .cost = module_cost};
    SDG_TRY(run_stage(&weights));
    struct sdg_quant_result r = {
        .params = q->params, .settings = &q->settings, .subject = &q->subject, .plan = &q->plan};
    if (q->statistics) {
        r.calibration = &q->statistics->info;
        snprintf(r.statistics, sizeof r.statistics, "%016" PRIx64, sdg_statistics_hash(q->statistics));
    }
    SDG_TRY(sdg_quant_write(&q->log, &r));
    return report(q, &r);
}

enum sdg_result sdg_quantize(const struct sdg_quantize_params *params)
{
    SDG_REQUIRE(NULL, params, "params");
    struct quantizer q = {.params = params, .log = params->log, .start = sdg_clock()};
    if (!params->model || !params->output)
        return sdg_fail(&q.log, SDG_ERROR_USAGE, "a model and an output folder are needed");
    if (params->error_power.given && !(params->error_power.value >= 1 && params->error_power.value <= 8))
        return sdg_fail(&q.log, SDG_ERROR_USAGE, "error_power is %g: should be 1 to 8", params->error_power.value);
    if (params->threads < 0 || params->threads > MAX_THREADS || params->seed >= largest_seed)
        return sdg_fail(&q.log, SDG_ERROR_USAGE,
                        "threads are %d and seed is %" PRIu64 ": should be 0..%d and below 2^53", params->threads,
                        params->seed, MAX_THREADS);
    enum sdg_result result = quantize(&q);
    sdg_pool_destroy(&q.pool);
    sdg_tdq_times_destroy(&q.times);
    sdg_statistics_destroy(&q.statistics);
    sdg_hessians_destroy(&q.hessians);
    sdg_quant_plan_clear(&q.plan);
    sdg_quant_subject_close(&q.subject);
    sdg_quant_settings_clear(&q.settings);
    return result;
}
