// Scale search and rounding of weights, packing.
#include "quant/rounding.h"

#include "base/decibel.h"
#include "base/memory.h"
#include "quant/codes.h"
#include "quant/wide.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

void sdg_codes_free(struct sdg_codes *c)
{
    sdg_free(c->codes);
    sdg_free(c->scales);
    *c = (struct sdg_codes){0};
}

enum sdg_result sdg_codes_new(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                              size_t inputs, const struct sdg_weight_options *o, struct sdg_codes *out)
{
    size_t count;
    if (o->bits < 2 || o->bits > 8 || !(o->power == 0 || (o->power >= 1 && o->power <= 8)))
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "%s: weights of %d bits with error power %g: should be 2 to 8 bits, power 1 to 8", name,
                        o->bits, o->power);
    if (outputs == 0 || inputs == 0 || !sdg_mul_size(outputs, inputs, &count))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: cannot quantize a weight of %zu x %zu", name, outputs, inputs);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(weights[i]))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: weight [%zu, %zu] is not finite", name, i / inputs, i % inputs);
    struct sdg_codes c = {.bits = o->bits, .outputs = outputs, .inputs = inputs};
    c.group = o->group == 0 || o->group > inputs ? inputs : o->group;
    c.groups = (inputs - 1) / c.group + 1;
    c.codes = sdg_alloc(log, count, sizeof *c.codes, "integer weights");
    c.scales = sdg_alloc(log, outputs * c.groups, sizeof *c.scales, "weight scales"); // groups <= inputs: no overflow
    if (!c.codes || !c.scales) {
        sdg_codes_free(&c);
        return SDG_ERROR_MEMORY;
    }
    *out = c;
    return SDG_OK;
}

// ---- the scale of one group ----

// Choices are made on integers: those on floats keep GCC from making vector code of a loop.

static inline int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Rounds to nearest even for |y| < 2^22 (1.5 * 2^23 leaves no fraction bits), without the library call.
static inline float nearest_even(float y)
{
    const float magic = 12582912.0f;
    return (y + magic) - magic;
}

// x^p for x in 0 .. 2^14 and p in 1 .. 8 through base-2 logarithm and exponential with polynomials, relative error
// below 1e-5: pow() would be most of the time that quantizing a model takes.
static inline float fast_power(float x, float p)
{
    const int32_t tiny = 0x219392ef; // 1e-18
    int32_t bits = bits_of(x);
    bits = bits > tiny ? bits : tiny;
    int32_t exponent = (bits - 0x3f3504f3) >> 23; // mantissa in sqrt(1/2) .. sqrt(2)
    // log2 m = 2/ln2 (u + u^3/3 + ..)
    float m = float_of(bits - exponent * (1 << 23)), u = (m - 1) / (m + 1), v = u * u;
    float y = p * ((float)exponent + u * (2.885390082f + v * (0.961796694f + v * (0.577078016f + v * 0.412198583f))));
    float whole = nearest_even(y), f = (y - whole) * 0.693147181f; // e^f, |f| <= 0.35
    float e = 1 + f * (1 + f * (0.5f + f * (1 / 6.0f + f * (1 / 24.0f + f * (1 / 120.0f + f * (1 / 720.0f))))));
    int32_t shift = (int32_t)whole;
    shift = shift > -126 ? shift : -126;
    return e * float_of((shift + 127) * (1 << 23));
}

enum { LANES = 16, RUN = 1024 }; // partial sums, added in a fixed order; float sums stay short

struct grid {
    int32_t lo, hi;
    float power;
};

__attribute__((always_inline)) static inline void add_errors(const float *y, float inverse, const struct grid *g,
                                                             bool square, float *sums)
{
    const int32_t lo = g->lo, hi = g->hi;
    for (int l = 0; l < LANES; l++) {
        float x = y[l] * inverse;
        int32_t q = (int32_t)nearest_even(x);
        q = q < lo ? lo : q;
        q = q > hi ? hi : q;
        float r = fabsf(x - (float)q);
        sums[l] += square ? r * r : fast_power(r, g->power);
    }
}

// Error of up to RUN weights in units of scale^power; `square` is a constant where this is inlined.
__attribute__((always_inline)) static inline double run_error(const float *w, size_t n, float inverse,
                                                              const struct grid *g, bool square)
{
    float sums[LANES] = {0}, last[LANES] = {0}; // what is missing counts as 0, which has no error
    double total = 0;
    size_t whole = n / LANES * LANES;
    for (size_t at = 0; at < whole; at += LANES)
        add_errors(w + at, inverse, g, square, sums);
    for (size_t i = whole; i < n; i++)
        last[i - whole] = w[i];
    add_errors(last, inverse, g, square, sums);
    for (int l = 0; l < LANES; l++)
        total += sums[l];
    return total;
}

// Every `every`-th run of weights counts, in units of scale^power. Gives up where the sum is above `limit`. Nearly all
// the time that quantizing a model takes is spent here.
WIDE static double sum_errors(const float *w, size_t n, float inverse, const struct grid *g, size_t every, double limit)
{
    double total = 0;
    for (size_t at = 0; at < n && total <= limit; at += RUN * every) {
        size_t some = n - at < RUN ? n - at : RUN;
        total += g->power == 2 ? run_error(w + at, some, inverse, g, true) : run_error(w + at, some, inverse, g, false);
    }
    return total;
}

struct choice {
    double at, error; // scale as a multiple of the one that just reaches the extremes
};

static void try_scales(const float *w, size_t n, size_t every, const struct grid *g, double reach, double from,
                       double step, int count, struct choice *best)
{
    for (int i = 0; i < count; i++) {
        struct choice c = {from + i * step, 0};
        float scale = (float)(reach * c.at);
        double unit = pow(scale, g->power);
        c.error = unit * sum_errors(w, n, 1 / scale, g, every, best->error / unit);
        if (c.error < best->error)
            *best = c;
    }
}

// A grid over everything useful, then finer ones around the best. Few weights make a ragged error: they get a finer
// grid. Many make one so smooth that a part of them tells where its minimum is.
static float search_scale(const float *w, size_t n, double reach, const struct grid *g)
{
    const double from = 0.3, to = 1.05;
    int count = n < 1024 ? 151 : n < 4096 ? 76 : 38;
    double step = (to - from) / (count - 1);
    const bool many = n >= 8192;
    struct choice best = {1, INFINITY};
    try_scales(w, n, many ? 4 : 1, g, reach, from, step, count, &best);
    best.error = INFINITY;
    for (int finer = 0; finer < (many ? 1 : 2); finer++) {
        try_scales(w, n, 1, g, reach, best.at - step * 7 / 8, step / 8, 15, &best);
        step /= 8;
    }
    return (float)(reach * best.at);
}

float sdg_weights_scale(const float *w, size_t n, int bits, double power)
{
    struct grid g = {.lo = -(1 << (bits - 1)), .hi = (1 << (bits - 1)) - 1, .power = (float)power};
    float min = 0, max = 0;
    for (size_t i = 0; i < n; i++) {
        min = w[i] < min ? w[i] : min;
        max = w[i] > max ? w[i] : max;
    }
    double reach = fmax((double)max / g.hi, (double)min / g.lo);
    // Weights this small are zero for every purpose, and the reciprocal of their scale would overflow.
    return reach > 0x1p-100 ? search_scale(w, n, reach, &g) : 1.0f;
}

// ---- rounding ----

void sdg_codes_search_scales(struct sdg_codes *c, const float *weights, double power)
{
    for (size_t o = 0; o < c->outputs; o++)
        for (size_t g = 0; g < c->groups; g++) {
            size_t from = g * c->group, n = c->inputs - from < c->group ? c->inputs - from : c->group;
            c->scales[o * c->groups + g] =
                sdg_weights_scale(weights + o * c->inputs + from, n, c->bits, power > 0 ? power : 2.4);
        }
}

enum sdg_result sdg_weights_round(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                                  size_t inputs, const struct sdg_weight_options *options, struct sdg_codes *out)
{
    struct sdg_codes c;
    SDG_TRY(sdg_codes_new(log, name, weights, outputs, inputs, options, &c));
    sdg_codes_search_scales(&c, weights, options->power);
    for (size_t o = 0; o < outputs; o++)
        for (size_t i = 0; i < inputs; i++)
            c.codes[o * inputs + i] = sdg_nearest_code(weights[o * inputs + i], sdg_codes_scale(&c, o, i), c.bits);
    *out = c;
    return SDG_OK;
}

void sdg_codes_expand(const struct sdg_codes *c, float *weights)
{
    for (size_t o = 0; o < c->outputs; o++)
        for (size_t i = 0; i < c->inputs; i++)
            weights[o * c->inputs + i] = (float)c->codes[o * c->inputs + i] * sdg_codes_scale(c, o, i);
}

double sdg_codes_sqnr(const struct sdg_codes *c, const float *weights)
{
    double signal = 0, noise = 0;
    for (size_t o = 0; o < c->outputs; o++)
        for (size_t i = 0; i < c->inputs; i++) {
            double w = weights[o * c->inputs + i],
                   d = w - (double)c->codes[o * c->inputs + i] * sdg_codes_scale(c, o, i);
            signal += w * w;
            noise += d * d;
        }
    return sdg_decibel(signal, noise);
}
