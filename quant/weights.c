// Scale search and rounding of weights, packing.
#include "quant/weights.h"

#include "base/memory.h"
#include "quant/codes.h"

#include <math.h>
#include <string.h>

void sdg_codes_free(struct sdg_codes *c)
{
    sdg_free(c->codes);
    sdg_free(c->scales);
    *c = (struct sdg_codes){0};
}

enum sdg_result sdg_codes_new(const struct sdg_log *log, const char *name, const float *weights, size_t outputs, size_t inputs,
                              const struct sdg_weight_options *o, struct sdg_codes *out)
{
    size_t count;
    if (o->bits < 2 || o->bits > 8 || !(o->power == 0 || (o->power >= 1 && o->power <= 8)))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: weights of %d bits with error power %g: should be 2 to 8 bits, power 1 to 8", name, o->bits, o->power);
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

// |x|^p for x in 0 .. 2^60 through base-2 logarithm and exponential with polynomials, relative error below 1e-6: pow() would be most of
// the time that quantizing a model takes. Straight-line code, so that loops over it become vector code.
static inline float fast_power(float x, float p)
{
    int32_t bits, scale_bits;
    x = x < 1e-18f ? 1e-18f : x;
    memcpy(&bits, &x, sizeof bits);
    int32_t exponent = (bits - 0x3f3504f3) >> 23; // mantissa in sqrt(1/2) .. sqrt(2)
    int32_t mantissa_bits = bits - exponent * (1 << 23);
    float m;
    memcpy(&m, &mantissa_bits, sizeof m);
    float u = (m - 1) / (m + 1), v = u * u; // log2 m = 2/ln2 (u + u^3/3 + ..)
    float log2x = (float)exponent + u * (2.885390082f + v * (0.961796694f + v * (0.577078016f + v * 0.412198583f)));
    float y = p * log2x;
    y = y < -120 ? -120 : y > 120 ? 120 : y;
    int32_t whole = (int32_t)(y + (y < 0 ? -0.5f : 0.5f));
    float f = (y - (float)whole) * 0.693147181f; // e^f, |f| <= 0.35
    float e = 1 + f * (1 + f * (0.5f + f * (1 / 6.0f + f * (1 / 24.0f + f * (1 / 120.0f + f * (1 / 720.0f))))));
    scale_bits = (whole + 127) << 23;
    float scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    return e * scale;
}

// Rounds to nearest even for |y| < 2^22 (1.5 * 2^23 leaves no fraction bits), without the library call.
static inline float nearest_even(float y)
{
    const float magic = 12582912.0f;
    return (y + magic) - magic;
}

enum { LANES = 8 }; // partial sums, added in a fixed order

static double group_error(const float *w, size_t n, float scale, float lo, float hi, float power)
{
    float inverse = 1 / scale, sums[LANES];
    double total = 0;
    for (size_t at = 0; at < n; at += 1024) { // float sums stay short
        size_t end = n - at < 1024 ? n - at : 1024;
        memset(sums, 0, sizeof sums);
        for (size_t i = 0; i < end; i += LANES) {
            size_t some = end - i < LANES ? end - i : LANES;
            float d[LANES] = {0};
            for (size_t l = 0; l < some; l++) {
                float y = w[at + i + l] * inverse;
                y = y < 2 * lo - 1 ? 2 * lo - 1 + 0 * y : y; // only keeps nearest_even in range; the distance is taken below
                d[l] = y;
            }
            for (size_t l = 0; l < LANES; l++) {
                float q = nearest_even(d[l]);
                q = q < lo ? lo : q > hi ? hi : q;
                float r = fabsf(d[l] - q);
                sums[l] += power == 2 ? r * r : fast_power(r, power);
            }
        }
        for (int l = 0; l < LANES; l++)
            total += sums[l];
    }
    return total * pow(scale, power);
}
