#include "quant/fit.h"

#include "base/memory.h"
#include "quant/search.h"

#include <math.h>
#include <string.h>

// Static intervals as in the literature. Where they follow the timestep, squared errors serve the network's output
// better: on the default model, on full precision's latents, its signal over noise rises by 0.2 to 0.4 dB
// (docs/tdq.md). Sites that keep tokens, those of Mamba blocks, have longer tails: there squares cost 0.2 to 1.8 dB
// (docs/ptq4vm.md).
static double default_power(enum sdg_interval_rule rule, const struct sdg_site_statistics *site)
{
    return site->tokens || rule == SDG_INTERVAL_STATIC || rule == SDG_INTERVAL_TOKEN ? 2.4 : 2;
}

// Between 4 and 32 it hardly matters: docs/ptq4vm.md.
const double sdg_fit_default_others = 8;

struct fitting {
    const struct sdg_log *log;
    const struct sdg_site_statistics *site;
    const double *timesteps;
    size_t rows;
    const struct sdg_fit_options *options;
};

static enum sdg_result keep(const struct fitting *f, const float *scales, size_t length, struct sdg_site_fit *out)
{
    out->scales = sdg_alloc_raw(f->log, length, sizeof *scales, "a table of scales");
    if (!out->scales)
        return SDG_ERROR_MEMORY;
    memcpy(out->scales, scales, length * sizeof *scales);
    out->length = length;
    return SDG_OK;
}

static enum sdg_result fit_static(const struct fitting *f, const struct sdg_curves *curves, struct sdg_site_fit *out)
{
    float scale = sdg_search_static(curves, NULL);
    return keep(f, &scale, 1, out);
}

static enum sdg_result fit_table(const struct fitting *f, const struct sdg_curves *curves, struct sdg_site_fit *out)
{
    float table[SDG_TDQ_TIMES];
    float *scales = sdg_alloc(f->log, f->rows, sizeof *scales, "scales");
    if (!scales)
        return SDG_ERROR_MEMORY;
    sdg_search_table(curves, scales, NULL);
    for (int t = 0; t < SDG_TDQ_TIMES; t++)
        table[t] = (float)sdg_interpolate(f->timesteps, scales, f->rows, t);
    sdg_free(scales);
    return keep(f, table, SDG_TDQ_TIMES, out);
}

static enum sdg_result fit_tdq(const struct fitting *f, const struct sdg_curves *curves, struct sdg_site_fit *out)
{
    struct sdg_tdq_fit fit;
    const struct sdg_tdq_options options = {.seed = sdg_tdq_seed(f->options->seed, f->site->name),
                                            .static_gain = f->options->static_gain};
    SDG_TRY(sdg_tdq_fit(f->log, f->site->name, curves, f->site->rows, f->timesteps, f->options->times, &options, &fit,
                        NULL));
    return keep(f, fit.table, fit.is_static ? 1 : SDG_TDQ_TIMES, out);
}

static struct sdg_interval interval_at(const struct fitting *f, const struct sdg_site_fit *fit, size_t row)
{
    const struct sdg_histogram *h = &f->site->rows[row];
    bool seen = h->min <= h->max;
    float scale = fit->length
        ? sdg_site_fit_at(fit, f->timesteps[row])
        : sdg_interval_reach(f->site->kind, f->options->bits, seen ? h->min : 0, seen ? h->max : 0);
    return sdg_interval_make(f->site->kind, f->options->bits, scale);
}

// ---- for the report ----

static void report_errors(const struct fitting *f, const struct sdg_curves *curves, struct sdg_site_fit *fit)
{
    double error = 0, static_error = 0;
    sdg_search_static(curves, &static_error);
    for (size_t r = 0; r < f->rows; r++)
        if (!curves->silent[r])
            error += sdg_curves_error(curves, r, interval_at(f, fit, r).scale);
    fit->gain = fit->length == 1 || !(static_error > 0) ? 0 : 1 - error / static_error;
}

static void report_sqnr(const struct fitting *f, struct sdg_site_fit *fit)
{
    size_t seen = 0;
    double sum = 0;
    fit->worst_sqnr = SDG_FIT_BEST_SQNR;
    for (size_t r = 0; r < f->rows; r++) {
        const struct sdg_interval interval = interval_at(f, fit, r);
        if (!(f->site->rows[r].min < f->site->rows[r].max))
            continue;
        double sqnr = fmin(sdg_histogram_sqnr(&f->site->rows[r], &interval), SDG_FIT_BEST_SQNR);
        sum += sqnr;
        seen++;
        if (sqnr < fit->worst_sqnr) {
            fit->worst_sqnr = sqnr;
            fit->worst_at = f->timesteps[r];
        }
    }
    fit->sqnr = seen ? sum / (double)seen : SDG_FIT_BEST_SQNR;
}

static enum sdg_result report_correlation(const struct fitting *f, struct sdg_site_fit *fit)
{
    size_t n = 0;
    double *series = sdg_alloc(f->log, f->rows, 2 * sizeof *series, "ranges");
    if (!series)
        return SDG_ERROR_MEMORY;
    for (size_t r = 0; r < f->rows; r++)
        if (f->site->rows[r].min <= f->site->rows[r].max) {
            series[n] = f->timesteps[r];
            series[f->rows + n++] = (double)f->site->rows[r].max - f->site->rows[r].min;
        }
    fit->correlation = sdg_pearson(series, series + f->rows, n);
    sdg_free(series);
    return SDG_OK;
}

// ---- tokens ----

// A fitted course over the timestep as factors: in units of its geometric mean over the calibrated steps.
static enum sdg_result make_factors(const struct fitting *f, const struct sdg_tdq_fit *course, double *at_rows,
                                    float **factors)
{
    double mean = 0;
    for (size_t r = 0; r < f->rows; r++)
        mean += log((double)sdg_tdq_table_at(course->table, f->timesteps[r])) / (double)f->rows;
    *factors = sdg_alloc_raw(f->log, SDG_TDQ_TIMES, sizeof **factors, "a table of factors");
    if (!*factors)
        return SDG_ERROR_MEMORY;
    for (int t = 0; t < SDG_TDQ_TIMES; t++)
        (*factors)[t] = (float)((double)course->table[t] / exp(mean));
    for (size_t r = 0; r < f->rows; r++)
        at_rows[r] = (double)sdg_tdq_table_at(*factors, f->timesteps[r]);
    return SDG_OK;
}

// Tables of steps are stored by ascending timesteps; samplers mostly go down.
static enum sdg_result order_rows(const struct fitting *f, struct sdg_token_intervals *t)
{
    const size_t count = t->height * t->width;
    const bool falls = f->rows > 1 && f->timesteps[0] > f->timesteps[1];
    for (size_t r = 1; r < f->rows; r++)
        if (!(falls ? f->timesteps[r] < f->timesteps[r - 1] : f->timesteps[r] > f->timesteps[r - 1]))
            return sdg_fail(f->log, SDG_ERROR_INPUT,
                            "%s: intervals for each token and step need steps in the order of time, but row %zu is "
                            "timestep %g and row %zu %g",
                            f->site->name, r - 1, f->timesteps[r - 1], r, f->timesteps[r]);
    for (size_t r = 0; falls && r < f->rows / 2; r++)
        for (size_t k = 0; k < count; k++) {
            const size_t a = r * count + k, b = (f->rows - 1 - r) * count + k;
            const float scale = t->scales[a];
            const int32_t zero = t->zero_points[a];
            t->scales[a] = t->scales[b];
            t->zero_points[a] = t->zero_points[b];
            t->scales[b] = scale;
            t->zero_points[b] = zero;
        }
    return SDG_OK;
}

// The course over time of intervals that are constant, and the intervals that go with it, in place of these if they
// lose less.
static enum sdg_result follow_time(const struct fitting *f, const struct sdg_token_fit_options *constant,
                                   const struct sdg_tdq_fit *course, double *at_rows, struct sdg_token_intervals *t)
{
    struct sdg_token_intervals product = {0};
    struct sdg_token_fit_options options = *constant;
    float *factors;
    SDG_TRY(make_factors(f, course, at_rows, &factors));
    options.factors = at_rows;
    const enum sdg_result result = sdg_token_fit(f->log, f->site, f->rows, &options, &product);
    if (result != SDG_OK || !(product.cost < t->cost)) {
        sdg_free(factors);
        sdg_token_intervals_clear(&product);
        return result;
    }
    product.factors = factors;
    sdg_token_intervals_clear(t);
    *t = product;
    return SDG_OK;
}

// s[l] r(t). r is fitted to what the tokens have in common once each is in units of its own interval: fitted to all
// values as they are it would follow the widest tokens, and what they lose is not what the search of s makes small.
static enum sdg_result fit_product(const struct fitting *f, const struct sdg_token_fit_options *constant,
                                   struct sdg_token_intervals *t)
{
    struct sdg_curves *curves;
    struct sdg_tdq_fit course;
    const struct sdg_tdq_options options = {.seed = sdg_tdq_seed(f->options->seed, f->site->name),
                                            .static_gain = f->options->static_gain};
    SDG_TRY(sdg_token_curves(f->log, f->site, f->rows, constant, t, &curves));
    enum sdg_result result = sdg_tdq_fit(f->log, f->site->name, curves, f->site->rows, f->timesteps, f->options->times,
                                         &options, &course, NULL);
    sdg_curves_destroy(&curves);
    if (result != SDG_OK || course.is_static)
        return result;
    double *at_rows = sdg_alloc(f->log, f->rows, sizeof *at_rows, "factors");
    if (!at_rows)
        return SDG_ERROR_MEMORY;
    result = follow_time(f, constant, &course, at_rows, t);
    sdg_free(at_rows);
    return result;
}

static enum sdg_result fit_tokens(const struct fitting *f, double power, struct sdg_site_fit *fit)
{
    const enum sdg_interval_rule over_time = sdg_interval_rule_over_time(f->options->rule);
    const struct sdg_token_fit_options options = {.bits = f->options->bits,
                                                  .power = power,
                                                  .each_row = over_time == SDG_INTERVAL_TABLE,
                                                  .others = f->options->others};
    SDG_TRY(sdg_token_fit(f->log, f->site, f->rows, &options, &fit->tokens));
    if (over_time == SDG_INTERVAL_TDQ)
        SDG_TRY(fit_product(f, &options, &fit->tokens));
    if (options.each_row)
        SDG_TRY(order_rows(f, &fit->tokens));
    fit->length = fit->tokens.factors || fit->tokens.times > 1 ? SDG_TDQ_TIMES : 1;
    return SDG_OK;
}

static void report_tokens(const struct fitting *f, const struct sdg_curves *curves, struct sdg_site_fit *fit)
{
    double static_error = 0;
    sdg_search_static(curves, &static_error);
    fit->gain = static_error > 0 ? 1 - fit->tokens.error / static_error : 0;
    fit->sqnr = fit->tokens.sqnr;
    fit->worst_sqnr = fit->tokens.worst_sqnr;
    fit->worst_at = f->timesteps[fit->tokens.worst_row];
}

// Smoothed values have no common least one as a SiLU's have: where tokens are not told apart, all of them together get
// an asymmetric interval, as one token would.
static enum sdg_result fit_together(const struct fitting *f, double power, struct sdg_site_fit *fit)
{
    const size_t tokens = f->site->height * f->site->width;
    struct sdg_site_statistics all = *f->site;
    const struct fitting whole = {f->log, &all, f->timesteps, f->rows, f->options};
    enum sdg_result result = SDG_OK;
    all.height = all.width = 1;
    all.weights = NULL;
    all.tokens = sdg_alloc_raw(f->log, f->rows, sizeof *all.tokens, "statistics of tokens");
    if (!all.tokens)
        return SDG_ERROR_MEMORY;
    for (size_t r = 0; r < f->rows; r++) {
        sdg_token_histogram_clear(&all.tokens[r]);
        for (size_t k = 0; k < tokens && result == SDG_OK; k++)
            if (!sdg_token_histogram_merge(&all.tokens[r], &f->site->tokens[r * tokens + k]))
                result = sdg_fail(f->log, SDG_ERROR_INPUT, "%s: more than 2^31 values of a step: use fewer prompts",
                                  f->site->name);
    }
    if (result == SDG_OK)
        result = fit_tokens(&whole, power, fit);
    sdg_free(all.tokens);
    return result;
}

// ---- all of it ----

static enum sdg_result fit_by_rule(const struct fitting *f, const struct sdg_curves *curves, struct sdg_site_fit *out)
{
    switch (sdg_interval_rule_over_time(f->options->rule)) {
    case SDG_INTERVAL_STATIC: return fit_static(f, curves, out);
    case SDG_INTERVAL_TABLE: return fit_table(f, curves, out);
    case SDG_INTERVAL_TDQ: return fit_tdq(f, curves, out);
    case SDG_INTERVAL_DYNAMIC: return SDG_OK;
    default: return sdg_fail(f->log, SDG_ERROR_USAGE, "%s: there is no rule for its intervals", f->site->name);
    }
}

enum sdg_result sdg_site_fit(const struct sdg_log *log, const struct sdg_site_statistics *site, const double *timesteps,
                             size_t rows, const struct sdg_fit_options *options, struct sdg_site_fit *out)
{
    const struct fitting f = {log, site, timesteps, rows, options};
    struct sdg_curves *curves;
    struct sdg_site_fit fit = {0};
    double power = options->power > 0 ? options->power : default_power(options->rule, site);
    const bool apart = sdg_interval_rule_has_tokens(options->rule),
               tokens = site->tokens && (apart || (site->smoothing && options->rule != SDG_INTERVAL_DYNAMIC));
    SDG_TRY(sdg_curves_create(log, site->name, site->kind, options->bits, power, site->rows, rows, &curves));
    enum sdg_result result = !tokens ? fit_by_rule(&f, curves, &fit)
        : apart                      ? fit_tokens(&f, power, &fit)
                                     : fit_together(&f, power, &fit);
    if (result == SDG_OK && tokens)
        report_tokens(&f, curves, &fit);
    if (result == SDG_OK && !tokens) {
        report_errors(&f, curves, &fit);
        report_sqnr(&f, &fit);
    }
    if (result == SDG_OK)
        result = report_correlation(&f, &fit);
    sdg_curves_destroy(&curves);
    if (result != SDG_OK) {
        sdg_site_fit_clear(&fit);
        return result;
    }
    *out = fit;
    return SDG_OK;
}

void sdg_site_fit_clear(struct sdg_site_fit *fit)
{
    sdg_free(fit->scales);
    sdg_token_intervals_clear(&fit->tokens);
    *fit = (struct sdg_site_fit){0};
}

float sdg_site_fit_at(const struct sdg_site_fit *fit, double t)
{
    return fit->length == SDG_TDQ_TIMES ? sdg_tdq_table_at(fit->scales, t) : fit->scales[0];
}
