// GPTQ. With U upper triangular and H^-1 = U^T U, rounding input i of a row w to q gives the error e = (w_i - q) /
// U_ii, and the inputs after it become w_j - e U_ij. Inputs are taken in blocks: inside a block at once, for the rest
// of the row block by block.
//
// U comes from one factorisation: if J reverses the order and J H J = L L^T, then H^-1 = (J L^-1 J)^T (J L^-1 J), whose
// factor is upper triangular.
#include "quant/gptq.h"

#include "base/memory.h"
#include "quant/cholesky.h"
#include "quant/codes.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128 };

struct layer {
    const struct sdg_hessian *hessian;
    const float *smoothing; // [inputs]; NULL: 1
    struct sdg_codes *codes;
    size_t outputs, inputs;
    size_t *order;   // [inputs] position -> input
    double *factor;  // [inputs, inputs]: L^-1 of the reversed Hessian
    double *weights; // [outputs, inputs] by position, changing
    double *errors;  // [outputs, BLOCK]
};

// The sum of products of two inputs.
static double moment(const struct layer *l, size_t i, size_t j)
{
    const double seen = sdg_hessian_at(l->hessian, i, j);
    return l->smoothing ? seen * (double)l->smoothing[i] * (double)l->smoothing[j] : seen;
}

static const double *factor_row(const struct layer *l, size_t position)
{
    return l->factor + (l->inputs - 1 - position) * l->inputs;
}

// U[i][j] = L^-1 reversed in both indices: walking j upwards is walking the row downwards.
static double factor_at(const struct layer *l, size_t i, size_t j)
{
    return factor_row(l, i)[l->inputs - 1 - j];
}

struct ranked {
    double weight;
    size_t input;
};

static int by_weight(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->weight > y->weight ? -1 : x->weight < y->weight ? 1 : x->input < y->input ? -1 : x->input > y->input;
}

static enum sdg_result set_order(const struct sdg_log *log, struct layer *l, bool by_importance)
{
    struct ranked *ranked = sdg_alloc(log, l->inputs, sizeof *ranked, "an order of inputs");
    if (!ranked)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < l->inputs; i++)
        ranked[i] = (struct ranked){by_importance ? moment(l, i, i) : 0, i};
    qsort(ranked, l->inputs, sizeof *ranked, by_weight);
    for (size_t i = 0; i < l->inputs; i++)
        l->order[i] = ranked[i].input;
    sdg_free(ranked);
    return SDG_OK;
}

static enum sdg_result set_factor(const struct sdg_log *log, const char *name, struct layer *l, double damping)
{
    size_t n = l->inputs;
    double mean = 0, *room = sdg_alloc_raw(log, sdg_invert_room(n), sizeof *room, "GPTQ");
    if (!room)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++)
        mean += moment(l, i, i) / (double)n;
    for (size_t i = 0; i < n; i++) {
        size_t a = l->order[n - 1 - i];
        double *row = l->factor + i * n;
        for (size_t j = 0; j <= i; j++)
            row[j] = moment(l, a, l->order[n - 1 - j]);
        if (row[i] == 0) // never seen: independent of all others
            row[i] = 1;
        row[i] += damping * mean;
    }
    bool definite = sdg_cholesky(l->factor, n);
    if (definite)
        sdg_invert_lower(l->factor, n, room);
    sdg_free(room);
    if (!definite)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: its Hessian is not positive definite: calibrate on more prompts or raise the damping",
                        name);
    return SDG_OK;
}

static void set_weights(struct layer *l, const float *weights)
{
    for (size_t o = 0; o < l->outputs; o++)
        for (size_t i = 0; i < l->inputs; i++) {
            size_t input = l->order[i];
            bool seen = sdg_hessian_at(l->hessian, input, input) != 0;
            l->weights[o * l->inputs + i] = seen ? weights[o * l->inputs + input] : 0;
        }
}

// Rounds positions from .. to of one row.
static void round_block(const struct layer *l, size_t output, size_t from, size_t to)
{
    double *w = l->weights + output * l->inputs, *errors = l->errors + output * BLOCK;
    for (size_t i = from; i < to; i++) {
        size_t input = l->order[i];
        float scale = sdg_codes_scale(l->codes, output, input);
        int8_t code = sdg_nearest_code(w[i], scale, l->codes->bits);
        l->codes->codes[output * l->inputs + input] = code;
        double error = (w[i] - (double)code * scale) / factor_at(l, i, i);
        errors[i - from] = error;
        for (size_t j = i + 1; j < to; j++)
            w[j] -= error * factor_at(l, i, j);
    }
}

// What the errors of a block do to the inputs after it. `room` holds one row of U in the order of positions.
static void spread_block(const struct layer *l, size_t from, size_t to, double *room)
{
    for (size_t i = from; i < to; i++) {
        for (size_t j = to; j < l->inputs; j++)
            room[j] = factor_at(l, i, j);
        for (size_t o = 0; o < l->outputs; o++)
            sdg_add_scaled(l->weights + o * l->inputs + to, room + to, -l->errors[o * BLOCK + i - from],
                           l->inputs - to);
    }
}

// Adds what inputs from .. to are in <y, q> and <q, q> of each output, the first two of its `errors`. The moments take
// the place of the factor, what codes stand for that of the weights. `room` holds a row.
static void add_products(struct layer *l, const float *weights, size_t from, size_t to, double *room)
{
    const size_t n = l->inputs;
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < n; j++)
            l->factor[(i - from) * n + j] = moment(l, i, j);
    for (size_t o = 0; o < l->outputs; o++) {
        const double *q = l->weights + o * n;
        memset(room, 0, n * sizeof *room);
        for (size_t i = from; i < to; i++)
            sdg_add_scaled(room, l->factor + (i - from) * n, q[i], n);
        for (size_t j = 0; j < n; j++) {
            l->errors[o * BLOCK] += (double)weights[o * n + j] * room[j];
            l->errors[o * BLOCK + 1] += q[j] * room[j];
        }
    }
}

static void fit_scales(struct layer *l, const float *weights, double *room)
{
    const size_t n = l->inputs, groups = l->codes->groups;
    for (size_t o = 0; o < l->outputs; o++) {
        l->errors[o * BLOCK] = l->errors[o * BLOCK + 1] = 0;
        for (size_t i = 0; i < n; i++)
            l->weights[o * n + i] = (double)l->codes->codes[o * n + i] * sdg_codes_scale(l->codes, o, i);
    }
    for (size_t from = 0; from < n; from += BLOCK)
        add_products(l, weights, from, from + BLOCK < n ? from + BLOCK : n, room);
    for (size_t o = 0; o < l->outputs; o++) {
        const double yq = l->errors[o * BLOCK], qq = l->errors[o * BLOCK + 1];
        for (size_t g = 0; yq > 0 && qq > 0 && g < groups; g++)
            l->codes->scales[o * groups + g] *= (float)(yq / qq);
    }
}

static enum sdg_result run(const struct sdg_log *log, const char *name, struct layer *l, const float *weights,
                           const struct sdg_gptq_options *o)
{
    SDG_TRY(set_order(log, l, o->by_importance));
    SDG_TRY(set_factor(log, name, l, o->damping > 0 ? o->damping : 0.01));
    set_weights(l, weights);
    double *room = sdg_alloc_raw(log, l->inputs, sizeof *room, "GPTQ");
    if (!room)
        return SDG_ERROR_MEMORY;
    for (size_t from = 0; from < l->inputs; from += BLOCK) {
        size_t to = from + BLOCK < l->inputs ? from + BLOCK : l->inputs;
        for (size_t output = 0; output < l->outputs; output++)
            round_block(l, output, from, to);
        spread_block(l, from, to, room);
    }
    if (!o->scales)
        fit_scales(l, weights, room);
    sdg_free(room);
    return SDG_OK;
}

static enum sdg_result set_scales(const struct sdg_log *log, const char *name, const struct sdg_gptq_options *o,
                                  const float *weights, struct sdg_codes *c)
{
    if (!o->scales) {
        sdg_codes_search_scales(c, weights, o->weight.power);
        return SDG_OK;
    }
    for (size_t i = 0; i < c->outputs * c->groups; i++) {
        if (!(o->scales[i] > 0 && o->scales[i] < INFINITY))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: weight scale %zu is %g, should be positive and finite", name, i,
                            o->scales[i]);
        c->scales[i] = o->scales[i];
    }
    return SDG_OK;
}

enum sdg_result sdg_weights_gptq(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                                 size_t inputs, const struct sdg_hessian *hessian,
                                 const struct sdg_gptq_options *options, struct sdg_codes *out)
{
    struct sdg_codes codes;
    if (hessian->inputs != inputs)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has %zu inputs, its Hessian %zu", name, inputs, hessian->inputs);
    if (!(options->damping >= 0 && options->damping < INFINITY))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: GPTQ with damping %g: should not be negative", name,
                        options->damping);
    SDG_TRY(sdg_codes_new(log, name, weights, outputs, inputs, &options->weight, &codes));
    struct layer l = {
        .hessian = hessian, .smoothing = options->smoothing, .codes = &codes, .outputs = outputs, .inputs = inputs};
    l.order = sdg_alloc(log, inputs, sizeof *l.order, "GPTQ");
    l.factor = sdg_alloc(log, inputs * inputs, sizeof *l.factor, "GPTQ"); // inputs <= 65536
    l.weights = sdg_alloc_raw(log, outputs * inputs, sizeof *l.weights, "GPTQ");
    l.errors = sdg_alloc_raw(log, outputs, BLOCK * sizeof *l.errors, "GPTQ");
    enum sdg_result result = l.order && l.factor && l.weights && l.errors
        ? set_scales(log, name, options, weights, &codes)
        : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = run(log, name, &l, weights, options);
    sdg_free(l.order);
    sdg_free(l.factor);
    sdg_free(l.weights);
    sdg_free(l.errors);
    if (result != SDG_OK) {
        sdg_codes_free(&codes);
        return result;
    }
    *out = codes;
    return SDG_OK;
}

double sdg_codes_output_error(const struct sdg_codes *c, const float *weights, const struct sdg_hessian *h)
{
    double signal = 0, noise = 0;
    for (size_t o = 0; o < c->outputs; o++) {
        const float *w = weights + o * c->inputs;
        const int8_t *q = c->codes + o * c->inputs;
        for (size_t i = 0; i < c->inputs; i++) {
            double d = w[i] - (double)q[i] * sdg_codes_scale(c, o, i), along_w = 0, along_d = 0;
            for (size_t j = i; j < c->inputs; j++) { // off the diagonal both halves at once
                double value = sdg_hessian_at(h, i, j) * (j > i ? 2 : 1);
                along_w += value * w[j];
                along_d += value * (w[j] - (double)q[j] * sdg_codes_scale(c, o, j));
            }
            signal += w[i] * along_w;
            noise += d * along_d;
        }
    }
    return signal > 0 ? noise / signal : 0;
}
