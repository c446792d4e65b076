#include "quant/smoothing_search.h"

#include "base/memory.h"
#include "quant/rounding.h"
#include "quant/smoothing.h"

#include <math.h>
#include <string.h>

enum { REACHES = 24, EXPONENTS = 5 };

// ---- the activations' part ----

struct model {
    const struct sdg_smoothing_case *c;
    const float *multipliers;
    double share;         // of a channel's largest magnitude that its scale is
    const double *wanted; // [C] sums over outputs of squared weights; NULL: 1
};

static double largest_of_all(const struct sdg_smoothing_case *c, const float *multipliers)
{
    double most = 0;
    for (size_t i = 0; i < c->rows * c->channels; i++)
        most = fmax(most, (double)c->largest[i] * (multipliers ? (double)multipliers[i % c->channels] : 1));
    return most;
}

// A Laplacian's variance is twice the square of its scale.
static double share_of(const struct sdg_smoothing_case *c)
{
    double squares = 0;
    for (size_t i = 0; i < c->rows * c->channels; i++)
        squares += (double)c->largest[i] * c->largest[i];
    return squares > 0 ? sqrt(c->mean_square * (double)(c->rows * c->channels) / squares / 2) : 0;
}

// Mean over rows, sum over channels, of what is lost with codes that reach to `reach`.
static double loss_at(const struct model *m, double reach)
{
    const struct sdg_smoothing_case *c = m->c;
    const double step = reach * (c->one_sided ? 1 : 2) / ((1 << c->activation_bits) - 1), rounding = step * step / 12;
    double sum = 0;
    for (size_t i = 0; i < c->rows * c->channels; i++) {
        const size_t k = i % c->channels;
        const double scale = (double)c->largest[i] * m->multipliers[k] * m->share, power = 2 * scale * scale,
                     beyond = scale > 0 ? power * exp(-reach / scale) : 0;
        sum += (fmin(rounding, power) + beyond) * (m->wanted ? m->wanted[k] : 1);
    }
    return sum / (double)c->rows;
}

// The reach is chosen as intervals are, by the values alone, and judged by what the weights make of them.
static double activation_error(const struct sdg_smoothing_case *c, const float *multipliers, const double *wanted)
{
    struct model m = {c, multipliers, share_of(c), NULL};
    const double most = largest_of_all(c, multipliers);
    double best = most, least = INFINITY;
    for (int i = 0; i < REACHES; i++) {
        const double reach = most * exp2(-i / 4.0), loss = loss_at(&m, reach);
        if (loss < least) {
            least = loss;
            best = reach;
        }
    }
    m.wanted = wanted;
    return loss_at(&m, best);
}

// ---- the weights' part ----

// squares [C]: sums over outputs of the squares of weights, or of their errors.
static void add_squares(const float *matrix, const struct sdg_codes *codes, size_t outputs, size_t channels,
                        double *squares)
{
    memset(squares, 0, channels * sizeof *squares);
    for (size_t o = 0; o < outputs; o++)
        for (size_t k = 0; k < channels; k++) {
            const size_t at = o * channels + k;
            const double w = (double)matrix[at] - (codes ? (double)codes->scales[o] * codes->codes[at] : 0);
            squares[k] += w * w;
        }
}

// Mean over rows of the channel's squared values, times its squared errors of weights.
static double weight_error(const struct sdg_smoothing_case *c, const float *multipliers, const double *squares)
{
    const double share = share_of(c);
    double sum = 0;
    for (size_t i = 0; i < c->rows * c->channels; i++) {
        const double scale = (double)c->largest[i] * multipliers[i % c->channels] * share;
        sum += 2 * scale * scale * squares[i % c->channels];
    }
    return sum / (double)c->rows;
}

static enum sdg_result judge(const struct sdg_log *log, const struct sdg_smoothing_case *c, const float *multipliers,
                             float *matrix, double *squares, double *error)
{
    const struct sdg_weight_options options = {.bits = c->weight_bits, .power = 2};
    struct sdg_codes codes;
    for (size_t i = 0; i < c->outputs * c->channels; i++)
        matrix[i] = c->weights[i] / multipliers[i % c->channels];
    SDG_TRY(sdg_weights_round(log, "smoothing", matrix, c->outputs, c->channels, &options, &codes));
    add_squares(matrix, NULL, c->outputs, c->channels, squares);
    *error = activation_error(c, multipliers, squares);
    add_squares(matrix, &codes, c->outputs, c->channels, squares);
    *error += weight_error(c, multipliers, squares);
    sdg_codes_free(&codes);
    return SDG_OK;
}

enum sdg_result sdg_smoothing_error(const struct sdg_log *log, const struct sdg_smoothing_case *c,
                                    const float *multipliers, double *error)
{
    float *matrix = sdg_alloc_raw(log, c->outputs, c->channels * sizeof *matrix, "smoothed weights");
    double *squares = sdg_alloc_raw(log, c->channels, sizeof *squares, "smoothed weights");
    enum sdg_result result = matrix && squares ? judge(log, c, multipliers, matrix, squares, error) : SDG_ERROR_MEMORY;
    sdg_free(matrix);
    sdg_free(squares);
    return result;
}

// ---- the search ----

// amax [C], then wmax [C].
static void find_maxima(const struct sdg_smoothing_case *c, float *maxima)
{
    memset(maxima, 0, 2 * c->channels * sizeof *maxima);
    for (size_t i = 0; i < c->rows * c->channels; i++)
        maxima[i % c->channels] = fmaxf(maxima[i % c->channels], c->largest[i]);
    for (size_t i = 0; i < c->outputs * c->channels; i++) {
        float *most = &maxima[c->channels + i % c->channels];
        *most = fmaxf(*most, fabsf(c->weights[i]));
    }
}

static enum sdg_result try_all(const struct sdg_log *log, const struct sdg_smoothing_case *c, const float *maxima,
                               float *candidate, float *best)
{
    double least = INFINITY;
    for (int i = 0; i < EXPONENTS * EXPONENTS; i++) {
        double error;
        sdg_smoothing_make(maxima, maxima + c->channels, c->channels, 0.25 * (i / EXPONENTS), 0.25 * (i % EXPONENTS),
                           candidate);
        SDG_TRY(sdg_smoothing_error(log, c, candidate, &error));
        if (!(error < least))
            continue;
        least = error;
        memcpy(best, candidate, c->channels * sizeof *best);
    }
    return SDG_OK;
}

enum sdg_result sdg_smoothing_of(const struct sdg_log *log, const struct sdg_smoothing_case *c, double alpha,
                                 double beta, float *multipliers)
{
    float *maxima = sdg_alloc_raw(log, 2 * c->channels, sizeof *maxima, "smoothing");
    if (!maxima)
        return SDG_ERROR_MEMORY;
    find_maxima(c, maxima);
    sdg_smoothing_make(maxima, maxima + c->channels, c->channels, alpha, beta, multipliers);
    sdg_free(maxima);
    return SDG_OK;
}

enum sdg_result sdg_smoothing_search(const struct sdg_log *log, const struct sdg_smoothing_case *c, float *multipliers)
{
    float *maxima = sdg_alloc_raw(log, 3 * c->channels, sizeof *maxima, "smoothing");
    if (!maxima)
        return SDG_ERROR_MEMORY;
    find_maxima(c, maxima);
    enum sdg_result result = try_all(log, c, maxima, maxima + 2 * c->channels, multipliers);
    sdg_free(maxima);
    return result;
}
