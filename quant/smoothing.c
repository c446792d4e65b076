#include "quant/smoothing.h"

#include "base/memory.h"
#include "graph/weights.h"
#include "quant/smoothing_search.h"

#include <math.h>
#include <string.h>

void sdg_smoothing_make(const float *amax, const float *wmax, size_t channels, double alpha, double beta,
                        float *multipliers)
{
    for (size_t k = 0; k < channels; k++) {
        const double a = fmax((double)amax[k], 1e-3), w = fmax((double)wmax[k], 1e-5);
        multipliers[k] = (float)(1 / fmax(pow(a, alpha) / pow(w, beta), 1e-5));
    }
}

// ---- weights ----

static bool reads(const struct sdg_graph *graph, const struct sdg_op *op, sdg_value site)
{
    return op->in[0] == site && sdg_op_is_quantizable(graph, op);
}

static size_t count_outputs(const struct sdg_graph *graph, sdg_value site)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->op_count; i++)
        if (reads(graph, &graph->ops[i], site))
            count += (size_t)graph->values[graph->ops[i].in[1]].dims[0];
    return count;
}

static enum sdg_result fill(const struct sdg_log *log, const struct sdg_graph *graph, sdg_value site,
                            const struct sdg_tensors *tensors, float *weights)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        struct sdg_weight weight;
        if (!reads(graph, &graph->ops[i], site))
            continue;
        SDG_TRY(sdg_weight_find(log, tensors, &graph->values[graph->ops[i].in[1]], &weight));
        sdg_weight_read(&weight, 0, weight.outputs, SDG_F32, weights);
        weights += weight.outputs * weight.inputs;
    }
    return SDG_OK;
}

enum sdg_result sdg_smoothing_weights(const struct sdg_log *log, const struct sdg_graph *graph, sdg_value site,
                                      const struct sdg_tensors *tensors, float **weights, size_t *outputs)
{
    const size_t count = count_outputs(graph, site);
    float *data = sdg_alloc_raw(log, count, (size_t)graph->values[site].dims[3] * sizeof *data, "weights to smooth");
    if (!data)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = fill(log, graph, site, tensors, data);
    if (result != SDG_OK) {
        sdg_free(data);
        return result;
    }
    *weights = data;
    *outputs = count;
    return SDG_OK;
}

// ---- a site ----

static enum sdg_result check_exponents(const struct sdg_log *log, const struct sdg_smoothing_choice *choice,
                                       struct sdg_smoother *s)
{
    s->alpha = choice->alpha.given ? choice->alpha.value : 0.5;
    if (!(s->alpha >= 0 && s->alpha <= 1))
        return sdg_fail(log, SDG_ERROR_USAGE, "alpha of smoothing is %g, should be 0 to 1", s->alpha);
    if (!choice->scheme)
        return SDG_OK;
    if (choice->alpha.given)
        return sdg_fail(log, SDG_ERROR_USAGE, "alpha of smoothing is either given or searched for a scheme");
    SDG_TRY(sdg_scheme_parse(log, choice->scheme, &s->scheme));
    if (s->scheme.activation_bits == SDG_FLOAT_BITS || s->scheme.weight_bits == SDG_FLOAT_BITS)
        return sdg_fail(log, SDG_ERROR_USAGE, "smoothing for scheme %s: it shares errors between integers of both",
                        choice->scheme);
    return SDG_OK;
}

enum sdg_result sdg_smoother_open(const struct sdg_log *log, const struct sdg_smoothing_choice *choice,
                                  const struct sdg_tensors *tensors, struct sdg_smoother *out)
{
    struct sdg_smoother s = {.tensors = tensors, .path = choice->statistics};
    char model[17];
    *out = (struct sdg_smoother){0};
    if (!s.path)
        return choice->scheme || choice->alpha.given
            ? sdg_fail(log, SDG_ERROR_USAGE, "smoothing %s needs statistics to smooth by",
                       choice->scheme ? "for a scheme" : "with an exponent")
            : SDG_OK;
    SDG_TRY(check_exponents(log, choice, &s));
    SDG_TRY(sdg_statistics_read(log, s.path, &s.statistics));
    sdg_tensors_fingerprint(tensors, model);
    if (strcmp(model, s.statistics->info.model) != 0) {
        enum sdg_result result = sdg_fail(log, SDG_ERROR_INPUT,
                                          "%s: is of another model: its weights have fingerprint %.20s, those of %s %s",
                                          s.path, s.statistics->info.model, sdg_tensors_path(tensors), model);
        sdg_smoother_close(&s);
        return result;
    }
    *out = s;
    return SDG_OK;
}

void sdg_smoother_close(struct sdg_smoother *smoother)
{
    sdg_statistics_destroy(&smoother->statistics);
    *smoother = (struct sdg_smoother){0};
}

static double mean_square(const struct sdg_site_statistics *site, size_t rows)
{
    double sum = 0, count = 0;
    for (size_t r = 0; r < rows; r++)
        for (int bin = 0; bin < SDG_HISTOGRAM_BINS; bin++) {
            double low, high;
            if (!site->rows[r].counts[bin])
                continue;
            sdg_histogram_span(&site->rows[r], bin, &low, &high);
            sum += (double)site->rows[r].counts[bin] * (low * low + low * high + high * high) / 3;
            count += (double)site->rows[r].counts[bin];
        }
    return count > 0 ? sum / count : 0;
}

// What a Hadamard transform makes has no outliers left, and no place for a multiplier but one of its own.
static bool is_rotated(const struct sdg_graph *graph, sdg_value site)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].out == site)
            return graph->ops[i].kind == SDG_OP_HADAMARD;
    return false;
}

static bool all_one(const float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] != 1)
            return false;
    return true;
}

enum sdg_result sdg_smoother_site(const struct sdg_log *log, const struct sdg_smoother *s,
                                  const struct sdg_graph *graph, const struct sdg_site *site, float *multipliers,
                                  bool *smooths)
{
    const struct sdg_site_statistics *seen = sdg_statistics_find(s->statistics, site->name);
    const size_t channels = (size_t)graph->values[site->value].dims[3];
    *smooths = false;
    if (!seen || seen->channels != channels || seen->smoothing)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no statistics of %s, with %zu channels and not smoothed",
                        s->path, site->name, channels);
    if (is_rotated(graph, site->value))
        return SDG_OK;
    struct sdg_smoothing_case c = {.rows = s->statistics->info.rows,
                                   .channels = channels,
                                   .largest = seen->largest,
                                   .mean_square = mean_square(seen, s->statistics->info.rows),
                                   .one_sided = site->kind == SDG_SITE_SILU,
                                   .weight_bits = s->scheme.weight_bits,
                                   .activation_bits = s->scheme.activation_bits};
    float *weights;
    SDG_TRY(sdg_smoothing_weights(log, graph, site->value, s->tensors, &weights, &c.outputs));
    c.weights = weights;
    enum sdg_result result = s->scheme.weight_bits ? sdg_smoothing_search(log, &c, multipliers)
                                                   : sdg_smoothing_of(log, &c, s->alpha, 1 - s->alpha, multipliers);
    sdg_free(weights);
    *smooths = result == SDG_OK && !all_one(multipliers, channels);
    return result;
}
