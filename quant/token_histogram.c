#include "quant/token_histogram.h"

#include <math.h>
#include <string.h>

enum { FINE_PER_BIN = 8, FINE_BELOW = 6 * 16 };         // bins of quant/histogram.h from 2^-20 to 2^-14
static const int64_t LARGEST_WEIGHT = (int64_t)1 << 32; // of 2^31 values: they add up to an int64_t

int sdg_token_bin(int bin)
{
    const int side = bin >= SDG_HISTOGRAM_HALF, m = bin - side * SDG_HISTOGRAM_HALF;
    int coarse = m <= FINE_BELOW ? 0 : 1 + (m - 1 - FINE_BELOW) / FINE_PER_BIN;
    coarse = coarse > SDG_TOKEN_HALF - 1 ? SDG_TOKEN_HALF - 1 : coarse;
    return side * SDG_TOKEN_HALF + coarse;
}

void sdg_token_histogram_clear(struct sdg_token_histogram *h)
{
    *h = (struct sdg_token_histogram){.min = INFINITY, .max = -INFINITY};
}

int64_t sdg_token_histogram_total(const struct sdg_token_histogram *h)
{
    int64_t total = 0;
    for (int b = 0; b < SDG_TOKEN_BINS; b++)
        total += h->counts[b];
    return total;
}

// -0 sorts below +0, so that extremes do not depend on the order of values.
static bool is_below(float a, float b)
{
    return a < b || (a == b && signbit(a) && !signbit(b));
}

static void widen(struct sdg_token_histogram *h, float min, float max)
{
    if (is_below(min, h->min))
        h->min = min;
    if (is_below(h->max, max))
        h->max = max;
}

bool sdg_token_histogram_add(struct sdg_token_histogram *h, const float *x, size_t n)
{
    if (n > INT32_MAX || sdg_token_histogram_total(h) > INT32_MAX - (int64_t)n)
        return false;
    for (size_t i = 0; i < n; i++) {
        h->counts[sdg_token_bin(sdg_histogram_bin(x[i]))]++;
        widen(h, x[i], x[i]);
    }
    return true;
}

bool sdg_token_histogram_merge(struct sdg_token_histogram *into, const struct sdg_token_histogram *from)
{
    if (sdg_token_histogram_total(into) + sdg_token_histogram_total(from) > INT32_MAX)
        return false;
    for (int b = 0; b < SDG_TOKEN_BINS; b++)
        into->counts[b] += from->counts[b];
    widen(into, from->min, from->max);
    return true;
}

int64_t sdg_token_weight(const float *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return (int64_t)fmax(rint(fmin(0x1p16 * (double)n / squares, (double)LARGEST_WEIGHT)), 1);
}

void sdg_token_weights_add(int64_t weights[static SDG_TOKEN_BINS], const float *x, size_t n)
{
    const int64_t weight = sdg_token_weight(x, n);
    for (size_t i = 0; i < n; i++)
        weights[sdg_token_bin(sdg_histogram_bin(x[i]))] += weight;
}

const char *sdg_token_weights_contradiction(const int64_t weights[static SDG_TOKEN_BINS],
                                            const struct sdg_token_histogram *h)
{
    for (int b = 0; b < SDG_TOKEN_BINS; b++)
        if (weights[b] < h->counts[b] || weights[b] > LARGEST_WEIGHT * h->counts[b])
            return "the weights are not those of the counted values";
    return NULL;
}

// The smallest magnitude of magnitude bin m; m = SDG_TOKEN_HALF gives the end of the last one.
static double lower_edge(int m)
{
    return m == 0 ? 0 : ldexp((m - 1) % 2 ? 1.5 : 1, (m - 1) / 2 - 14);
}

const char *sdg_token_histogram_contradiction(const struct sdg_token_histogram *h)
{
    int lowest = -1, highest = -1;
    int64_t total = 0;
    // from the largest value's bin to the smallest's
    for (int m = SDG_TOKEN_HALF - 1; m >= -SDG_TOKEN_HALF; m--) {
        const int bin = m >= 0 ? m : SDG_TOKEN_HALF - 1 - m;
        if (h->counts[bin] < 0)
            return "a count is negative";
        if (h->counts[bin] > 0 && highest < 0)
            highest = bin;
        if (h->counts[bin] > 0)
            lowest = bin;
        total += h->counts[bin];
    }
    if (total > INT32_MAX)
        return "the counts are too large";
    if (total == 0)
        return h->min == INFINITY && h->max == -INFINITY ? NULL : "there are extremes without values";
    if (!(h->min <= h->max) || isinf(h->min) || isinf(h->max))
        return "minimum and maximum are not finite or in the wrong order";
    if (sdg_token_bin(sdg_histogram_bin(h->min)) != lowest || sdg_token_bin(sdg_histogram_bin(h->max)) != highest)
        return "minimum and maximum lie outside of the counted bins";
    return NULL;
}

// Several tokens together: as many values as there may be.
struct sum {
    double counts[SDG_TOKEN_BINS], total;
    float min, max;
};

static void add_up(const struct sdg_token_histogram *tokens, const int64_t (*weights)[SDG_TOKEN_BINS], size_t count,
                   struct sum *out)
{
    *out = (struct sum){.min = INFINITY, .max = -INFINITY};
    for (size_t t = 0; t < count; t++) {
        for (int b = 0; b < SDG_TOKEN_BINS; b++)
            out->counts[b] += weights ? (double)weights[t][b] : tokens[t].counts[b];
        out->min = fminf(out->min, tokens[t].min);
        out->max = fmaxf(out->max, tokens[t].max);
    }
    for (int b = 0; b < SDG_TOKEN_BINS; b++)
        out->total += out->counts[b];
}

// One side's bins, cut at the extremes.
static void fill_side(const struct sum *h, bool negative, struct sdg_bins *bins)
{
    const double extreme = negative ? -(double)h->min : (double)h->max, // < 0: no value of this sign
        inner = negative ? -(double)h->max : (double)h->min;
    bins->count = SDG_TOKEN_HALF;
    bins->extreme = extreme > 0 ? extreme : -1;
    for (int m = 0; m < SDG_TOKEN_HALF; m++) {
        const double count = h->counts[(negative ? SDG_TOKEN_HALF : 0) + m];
        double near = lower_edge(m), far = lower_edge(m + 1);
        if (count > 0 && m == SDG_TOKEN_HALF - 1)
            far = extreme;
        near = inner > near && inner < far ? inner : near;
        far = extreme >= near && extreme < far ? extreme : far;
        bins->near[m] = near;
        bins->far[m] = far < near ? near : far;
        bins->values[m] = count;
    }
}

void sdg_token_cells_make(const struct sdg_token_histogram *tokens, const int64_t (*weights)[SDG_TOKEN_BINS],
                          size_t count, double power, struct sdg_cells *out)
{
    struct sum sum;
    struct sdg_bins bins;
    add_up(tokens, weights, count, &sum);
    out->power = power;
    out->total = sum.total;
    for (int s = 0; s < 2; s++) {
        fill_side(&sum, s, &bins);
        sdg_cells_make_side(&bins, power, &out->sides[s]);
    }
}
