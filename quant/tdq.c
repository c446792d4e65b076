// Fitting the generator of quant/tdq.h to the error curves of one site.
//
// The loss is the mean logarithm of the error: near the optimum the same as the sum of the errors in units of each
// row's least one, and far from it bounded, so no row drowns the others. Half of the encoding turns faster than the
// distance of two calibrated steps, so a fit at these alone would be free to do anything in between; batches therefore
// are drawn from all times, with the curves of the two neighbouring rows, moved so that their optima meet where the
// optimum should be, mixed by distance.
#include "quant/tdq.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "quant/tdq_net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sdg_tdq_times {
    int d;
    float *encodings; // [1000][d]
    float *damping;   // [d]
    float *damped;    // [1000][d], encodings * damping: what is trained on
};

// The generator's scales are in units of 16 static scales: softplus is close to an exponential down there, so that a
// step of Adam is a relative change of the scale, the same for sites of large and of small values.
static const float static_in_units = 1.0f / 16;
// Frequencies that turn within this many timesteps are damped.
static const double damped_times = 1000.0 / 64;

enum sdg_result sdg_tdq_times_create(const struct sdg_log *log, int d, struct sdg_tdq_times **out)
{
    if (d < 2 || d > SDG_TDQ_MAX_ENCODING)
        return sdg_fail(log, SDG_ERROR_USAGE, "a time encoding of %d numbers: should be 2 to %d", d,
                        SDG_TDQ_MAX_ENCODING);
    struct sdg_tdq_times *times = sdg_alloc(log, 1, sizeof *times, "time encodings");
    if (!times)
        return SDG_ERROR_MEMORY;
    times->d = d;
    size_t count = (size_t)SDG_TDQ_TIMES * (size_t)d;
    times->encodings = sdg_alloc(log, 2 * count + (size_t)d, sizeof *times->encodings, "time encodings");
    if (!times->encodings) {
        sdg_free(times);
        return SDG_ERROR_MEMORY;
    }
    times->damped = times->encodings + count;
    times->damping = times->damped + count;
    for (int k = 0; k < d; k++) {
        double turn = damped_times * sdg_tdq_frequency(k % (d / 2), d);
        times->damping[k] = (float)(1 / sqrt(1 + turn * turn));
    }
    for (int t = 0; t < SDG_TDQ_TIMES; t++) {
        float *row = times->encodings + (size_t)t * (size_t)d;
        sdg_tdq_encode(t, d, row);
        for (int k = 0; k < d; k++)
            row[count + (size_t)k] = row[k] * times->damping[k];
    }
    *out = times;
    return SDG_OK;
}

void sdg_tdq_times_destroy(struct sdg_tdq_times **handle)
{
    struct sdg_tdq_times *times = *handle;
    *handle = NULL;
    if (times) {
        sdg_free(times->encodings);
        sdg_free(times);
    }
}

float sdg_tdq_table_at(const float table[static SDG_TDQ_TIMES], double t)
{
    if (!(t > 0))
        return table[0];
    if (t >= SDG_TDQ_TIMES - 1)
        return table[SDG_TDQ_TIMES - 1];
    int i = (int)t;
    double share = t - i;
    return (float)(table[i] * (1 - share) + table[i + 1] * share);
}

uint64_t sdg_tdq_seed(uint64_t seed, const char *site)
{
    uint64_t state = seed ^ sdg_hash_bytes(SDG_HASH_START, site, strlen(site));
    return sdg_random_next(&state);
}

// ---- which error belongs to a time ----

struct knot {
    double t;
    size_t row;
    double log_scale; // the row's own optimum
};

// The rows in the order of time, silent ones left out, and the first and last again at t = 0 and 999.
struct knots {
    struct knot *at;
    size_t count;
};

static int by_time(const void *a, const void *b)
{
    const struct knot *x = a, *y = b;
    return x->t < y->t ? -1 : x->t > y->t ? 1 : x->row < y->row ? -1 : x->row > y->row;
}

static struct knot make_knot(double t, size_t row, float scale)
{
    return (struct knot){t, row, log(scale)};
}

static enum sdg_result make_knots(const struct sdg_log *log, const struct sdg_curves *c, const double *timesteps,
                                  const float *scales, struct knots *out)
{
    struct knot *at = sdg_alloc(log, c->rows + 2, sizeof *at, "timesteps");
    if (!at)
        return SDG_ERROR_MEMORY;
    size_t n = 0;
    for (size_t r = 0; r < c->rows; r++)
        if (!c->silent[r])
            at[1 + n++] = make_knot(timesteps[r], r, scales[r]);
    qsort(at + 1, n, sizeof *at, by_time); // never empty: such a site is static
    at[0] = at[1];
    at[0].t = 0;
    at[n + 1] = at[n];
    at[n + 1].t = SDG_TDQ_TIMES - 1;
    *out = (struct knots){at, n + 2};
    return SDG_OK;
}

// A time between knots `left` and left + 1, rounded to a whole timestep, as those are what the table holds.
static int draw_time(const struct knots *k, double position, size_t *left, double *share)
{
    size_t i = (size_t)position;
    i = i > k->count - 2 ? k->count - 2 : i;
    double a = k->at[i].t, b = k->at[i + 1].t;
    int t = (int)(a + (b - a) * (position - (double)i) + 0.5);
    *left = i;
    *share = b > a ? fmax(0, fmin(1, (t - a) / (b - a))) : 0;
    return t;
}

// Derivative of the mixed logarithmic error with respect to the logarithm of the scale.
static double error_slope(const struct sdg_curves *c, const struct knots *k, size_t left, double share,
                          double log_scale)
{
    const struct knot *l = &k->at[left], *r = &k->at[left + 1];
    double a = 0, b = 0, optimum = l->log_scale * (1 - share) + r->log_scale * share;
    sdg_curves_log_error(c, l->row, log_scale - optimum + l->log_scale, &a);
    if (share > 0)
        sdg_curves_log_error(c, r->row, log_scale - optimum + r->log_scale, &b);
    return a * (1 - share) + b * share;
}

// ---- Adam ----

struct fit {
    const struct sdg_curves *curves;
    const struct sdg_tdq_times *times;
    struct sdg_tdq_layout layout;
    struct knots knots;
    double unit;
    float *parameters, *gradient, *mean, *square; // one allocation
    uint64_t random;
};

static void initialise(struct fit *f)
{
    const struct sdg_tdq_layout *l = &f->layout;
    for (int i = 0; i < 4; i++) {
        size_t outputs = i < 3 ? SDG_TDQ_WIDTH : 1, count = ((size_t)l->inputs[i] + 1) * outputs;
        double bound = 1 / sqrt(l->inputs[i]); // torch's default for weights and biases
        for (size_t j = 0; j < count; j++)
            f->parameters[l->weights[i] + j] = (float)((2 * sdg_random_uniform(&f->random) - 1) * bound);
    }
    f->parameters[l->biases[3]] = (float)sdg_softplus_inverse(static_in_units);
}

static void batch_gradient(struct fit *f)
{
    struct sdg_tdq_activations a;
    const float *rows[SDG_TDQ_BATCH];
    float last_gradient[SDG_TDQ_BATCH];
    size_t left[SDG_TDQ_BATCH];
    double share[SDG_TDQ_BATCH];
    for (int i = 0; i < SDG_TDQ_BATCH; i++) { // one from each of 64 equal parts of the knots
        double position = (i + sdg_random_uniform(&f->random)) / SDG_TDQ_BATCH * (double)(f->knots.count - 1);
        int t = draw_time(&f->knots, position, &left[i], &share[i]);
        rows[i] = f->times->damped + (size_t)t * (size_t)f->times->d;
    }
    sdg_tdq_forward(f->parameters, &f->layout, rows, SDG_TDQ_BATCH, &a);
    for (int i = 0; i < SDG_TDQ_BATCH; i++) {
        double s = sdg_softplus(a.last[i]), sigmoid = 1 / (1 + exp(-(double)a.last[i]));
        double slope = error_slope(f->curves, &f->knots, left[i], share[i], log(s * f->unit));
        last_gradient[i] = (float)(slope / s * sigmoid / SDG_TDQ_BATCH);
    }
    sdg_tdq_backward(f->parameters, &f->layout, rows, SDG_TDQ_BATCH, &a, last_gradient, f->gradient);
}

static void adam_step(struct fit *f, int step, float rate)
{
    const float beta1 = 0.9f, beta2 = 0.99f, tiny = 1e-8f;
    float correct1 = (float)(1 / (1 - pow(beta1, step))), correct2 = (float)(1 / (1 - pow(beta2, step)));
    for (size_t i = 0; i < f->layout.count; i++) {
        float g = f->gradient[i];
        f->mean[i] = beta1 * f->mean[i] + (1 - beta1) * g;
        f->square[i] = beta2 * f->square[i] + (1 - beta2) * g * g;
        f->parameters[i] -= rate * (f->mean[i] * correct1) / (sqrtf(f->square[i] * correct2) + tiny);
    }
}

static void train(struct fit *f, int iterations, float rate)
{
    initialise(f);
    for (int i = 0; i < iterations; i++) {
        batch_gradient(f);
        adam_step(f, i + 1, rate * (float)(0.5 + 0.5 * cos(3.14159265358979 * i / iterations)));
    }
    for (int k = 0; k < f->times->d; k++) // from damped encodings to the plain ones
        for (int j = 0; j < SDG_TDQ_WIDTH; j++)
            f->parameters[k * SDG_TDQ_WIDTH + j] *= f->times->damping[k];
}

static enum sdg_result generate(const struct sdg_log *log, const char *site, const struct sdg_curves *curves,
                                const double *timesteps, const float *scales, const struct sdg_tdq_times *times,
                                const struct sdg_tdq_options *options, struct sdg_tdq_fit *out, float *parameters)
{
    struct fit f = {.curves = curves, .times = times, .layout = sdg_tdq_layout(times->d), .random = options->seed};
    f.unit = out->static_scale / static_in_units;
    SDG_TRY(make_knots(log, curves, timesteps, scales, &f.knots));
    f.parameters = sdg_alloc(log, 4 * f.layout.count, sizeof *f.parameters, "an interval generator");
    if (!f.parameters) {
        sdg_free(f.knots.at);
        return SDG_ERROR_MEMORY;
    }
    f.gradient = f.parameters + f.layout.count;
    f.mean = f.gradient + f.layout.count;
    f.square = f.mean + f.layout.count;
    train(&f, options->iterations > 0 ? options->iterations : 600, options->rate > 0 ? options->rate : 2e-3f);
    sdg_tdq_evaluate(f.parameters, times->d, times->encodings, SDG_TDQ_TIMES, out->table);
    out->unit = (float)f.unit;
    enum sdg_result result = SDG_OK;
    for (int t = 0; t < SDG_TDQ_TIMES && result == SDG_OK; t++) {
        out->table[t] *= out->unit;
        if (!(out->table[t] > 0 && out->table[t] < INFINITY))
            result = sdg_fail(log, SDG_ERROR_COMPUTE,
                              "%s: the fit of its interval ends with scale %g at t = %d: try another seed", site,
                              out->table[t], t);
    }
    if (result == SDG_OK && parameters)
        memcpy(parameters, f.parameters, f.layout.count * sizeof *parameters);
    sdg_free(f.parameters);
    sdg_free(f.knots.at);
    return result;
}

static enum sdg_result check(const struct sdg_log *log, const char *site, const struct sdg_curves *c,
                             const double *timesteps, const struct sdg_tdq_options *o)
{
    for (size_t r = 0; r < c->rows; r++)
        if (!(timesteps[r] >= 0 && timesteps[r] <= SDG_TDQ_TIMES - 1))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: row %zu has timestep %g: should be 0 to %d", site, r,
                            timesteps[r], SDG_TDQ_TIMES - 1);
    if (isnan(o->static_gain) || isnan(o->rate))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: an interval fit with static gain %g and rate %g: should be numbers",
                        site, o->static_gain, o->rate);
    return SDG_OK;
}

// What needs no fit: static scale, free table in scales[rows], correlation. `series` is room for 2 * rows numbers.
static void summarise(const struct sdg_curves *c, const struct sdg_histogram *histograms, const double *timesteps,
                      float *scales, double *series, struct sdg_tdq_fit *fit)
{
    size_t n = 0;
    for (size_t r = 0; r < c->rows; r++) {
        if (!(histograms[r].min <= histograms[r].max))
            continue;
        series[n] = timesteps[r];
        series[c->rows + n++] = (double)histograms[r].max - histograms[r].min;
    }
    fit->correlation = sdg_pearson(series, series + c->rows, n);
    fit->static_scale = sdg_search_static(c, &fit->static_error);
    sdg_search_table(c, scales, &fit->free_error);
}

static void stay_static(struct sdg_tdq_fit *fit, float *parameters, int d)
{
    fit->is_static = true;
    fit->unit = 0;
    fit->error = fit->static_error;
    for (int t = 0; t < SDG_TDQ_TIMES; t++)
        fit->table[t] = fit->static_scale;
    if (parameters)
        memset(parameters, 0, sdg_tdq_parameter_count(d) * sizeof *parameters);
}

enum sdg_result sdg_tdq_fit(const struct sdg_log *log, const char *site, const struct sdg_curves *c,
                            const struct sdg_histogram *histograms, const double *timesteps,
                            const struct sdg_tdq_times *times, const struct sdg_tdq_options *options,
                            struct sdg_tdq_fit *out, float *parameters)
{
    struct sdg_tdq_fit fit = {0};
    enum sdg_result result = SDG_OK;
    SDG_TRY(check(log, site, c, timesteps, options));
    double *series = sdg_alloc(log, c->rows, 2 * sizeof *series + sizeof(float), "scales");
    if (!series)
        return SDG_ERROR_MEMORY;
    float *scales = (float *)(series + 2 * c->rows);
    summarise(c, histograms, timesteps, scales, series, &fit);
    if (!(fit.static_error > 0) || 1 - fit.free_error / fit.static_error < options->static_gain) {
        stay_static(&fit, parameters, times->d);
    } else {
        result = generate(log, site, c, timesteps, scales, times, options, &fit, parameters);
        for (size_t r = 0; r < c->rows && result == SDG_OK; r++)
            if (!c->silent[r])
                fit.error += sdg_curves_error(c, r, sdg_tdq_table_at(fit.table, timesteps[r]));
        // A free table may owe its gain to jumps that no smooth function follows.
        if (result == SDG_OK && options->static_gain >= 0 && fit.error >= fit.static_error)
            stay_static(&fit, parameters, times->d);
    }
    sdg_free(series);
    if (result == SDG_OK)
        *out = fit;
    return result;
}
