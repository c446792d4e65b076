// Counting runs on every activation of a network, so it is done in two passes over blocks that stay in the first-level
// cache: bins, minimum and maximum from the bits of the values (no branch, no table: the compiler vectorises it), then
// increments.
#include "quant/histogram.h"

#include <math.h>
#include <string.h>

enum {
    MANTISSA_BITS = 4,
    LOWEST_EXPONENT = -20,
    PER_OCTAVE = 1 << MANTISSA_BITS,
    SHIFT = 23 - MANTISSA_BITS,
    FIRST_KEY = (127 + LOWEST_EXPONENT) << MANTISSA_BITS, // of 2^-20: sign-less bits >> SHIFT
    BLOCK = 2048,
    LANES = 4, // tables counted into in turn: equal values in a row would otherwise wait for each other's store
};
static const uint32_t infinity_bits = 0x7f800000;
// A table's counters have 32 bits.
static const size_t flush_after = (size_t)1 << 31;

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

// A number that sorts as the float does (-0 below +0). Its own inverse.
static int32_t ordered(int32_t bits)
{
    return bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
}

static uint16_t bin_of_bits(uint32_t u)
{
    int32_t key = (int32_t)((u & 0x7fffffff) >> SHIFT) - (FIRST_KEY - 1);
    key = key < 0 ? 0 : key;
    key = key > SDG_HISTOGRAM_HALF - 1 ? SDG_HISTOGRAM_HALF - 1 : key;
    return (uint16_t)(key + (int32_t)(u >> 31) * SDG_HISTOGRAM_HALF);
}

int sdg_histogram_bin(float x)
{
    return bin_of_bits(bits_of(x));
}

void sdg_histogram_clear(struct sdg_histogram *h)
{
    memset(h->counts, 0, sizeof h->counts);
    h->min = INFINITY;
    h->max = -INFINITY;
    h->nonfinite = 0;
}

struct extremes {
    int32_t min, max; // ordered
    uint32_t nonfinite;
};

static void look(const float *x, size_t n, uint16_t *bins, struct extremes *e)
{
    int32_t min = INT32_MAX, max = INT32_MIN;
    uint32_t nonfinite = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = bits_of(x[i]);
        int32_t order = ordered((int32_t)u);
        bins[i] = bin_of_bits(u);
        min = order < min ? order : min;
        max = order > max ? order : max;
        nonfinite += (u & 0x7fffffff) >= infinity_bits;
    }
    e->min = min < e->min ? min : e->min;
    e->max = max > e->max ? max : e->max;
    e->nonfinite += nonfinite;
}

static void count(uint32_t tables[LANES][SDG_HISTOGRAM_BINS], const uint16_t *bins, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            tables[lane][bins[i + (size_t)lane]]++;
    for (; i < n; i++)
        tables[0][bins[i]]++;
}

static void add_part(struct sdg_histogram *h, const float *x, size_t n)
{
    uint32_t tables[LANES][SDG_HISTOGRAM_BINS] = {0};
    uint16_t bins[BLOCK];
    struct extremes e = {INT32_MAX, INT32_MIN, 0};
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t some = n - at < BLOCK ? n - at : BLOCK;
        look(x + at, some, bins, &e);
        count(tables, bins, some);
    }
    for (int lane = 0; lane < LANES; lane++)
        for (int b = 0; b < SDG_HISTOGRAM_BINS; b++)
            h->counts[b] += tables[lane][b];
    struct sdg_histogram seen = {.min = from_bits((uint32_t)ordered(e.min)),
                                 .max = from_bits((uint32_t)ordered(e.max)),
                                 .nonfinite = e.nonfinite};
    sdg_histogram_merge(h, &seen);
}

void sdg_histogram_add(struct sdg_histogram *h, const float *x, size_t n)
{
    for (size_t at = 0; at < n; at += flush_after)
        add_part(h, x + at, n - at < flush_after ? n - at : flush_after);
}

void sdg_histogram_merge(struct sdg_histogram *into, const struct sdg_histogram *from)
{
    for (int b = 0; b < SDG_HISTOGRAM_BINS; b++)
        into->counts[b] += from->counts[b];
    if (ordered((int32_t)bits_of(from->min)) < ordered((int32_t)bits_of(into->min)))
        into->min = from->min;
    if (ordered((int32_t)bits_of(from->max)) > ordered((int32_t)bits_of(into->max)))
        into->max = from->max;
    into->nonfinite += from->nonfinite;
}

uint64_t sdg_histogram_total(const struct sdg_histogram *h)
{
    uint64_t total = 0;
    for (int b = 0; b < SDG_HISTOGRAM_BINS; b++)
        total += h->counts[b];
    return total;
}

// The smallest magnitude of magnitude bin m; m = HALF gives the end of the last one.
static double lower_edge(int m)
{
    if (m == 0)
        return 0;
    int exponent = LOWEST_EXPONENT + (m - 1) / PER_OCTAVE, k = (m - 1) % PER_OCTAVE;
    if (m == SDG_HISTOGRAM_HALF)
        exponent++, k = 0;
    return ldexp(1 + k / (double)PER_OCTAVE, exponent);
}

void sdg_histogram_edges(int bin, double *lo, double *hi)
{
    bool negative = bin >= SDG_HISTOGRAM_HALF;
    int m = negative ? bin - SDG_HISTOGRAM_HALF : bin;
    double near_zero = lower_edge(m), far = lower_edge(m + 1);
    *lo = negative ? -far : near_zero;
    *hi = negative ? -near_zero : far;
}

void sdg_histogram_span(const struct sdg_histogram *h, int bin, double *lo, double *hi)
{
    sdg_histogram_edges(bin, lo, hi);
    bool last = bin % SDG_HISTOGRAM_HALF == SDG_HISTOGRAM_HALF - 1;
    if (bin == sdg_histogram_bin(h->min) || (last && bin >= SDG_HISTOGRAM_HALF))
        *lo = h->min;
    if (bin == sdg_histogram_bin(h->max) || (last && bin < SDG_HISTOGRAM_HALF))
        *hi = h->max;
    if (*hi < *lo)
        *hi = *lo;
}

void sdg_channel_largest(float *largest, const float *x, size_t n, size_t channels)
{
    // Without the sign, floats sort as their bits do.
    for (size_t i = 0; i < n; i++, x += channels) {
        for (size_t c = 0; c < channels; c++) {
            int32_t u = (int32_t)(bits_of(x[c]) & 0x7fffffff), old = (int32_t)bits_of(largest[c]);
            largest[c] = from_bits((uint32_t)(u > old ? u : old));
        }
    }
}
