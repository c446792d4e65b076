// Inside quant/: what rounding (weights.c) and GPTQ (gptq.c) share.
#ifndef SDG_QUANT_CODES_H
#define SDG_QUANT_CODES_H

#include "quant/weights.h"

#include <math.h>

// Checks weights and options, allocates codes and scales.
enum sdg_result sdg_codes_new(const struct sdg_log *log, const char *name, const float *weights, size_t outputs, size_t inputs,
                              const struct sdg_weight_options *options, struct sdg_codes *out);
void sdg_codes_search_scales(struct sdg_codes *codes, const float *weights, double power);

static inline float sdg_codes_scale(const struct sdg_codes *c, size_t output, size_t input)
{
    return c->scales[output * c->groups + input / c->group];
}

static inline int8_t sdg_nearest_code(double weight, float scale, int bits)
{
    double lo = -(1 << (bits - 1)), hi = -lo - 1, q = rint(weight / scale);
    return (int8_t)(q < lo ? lo : q > hi ? hi : q);
}

#endif
