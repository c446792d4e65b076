// Inside quant/: what rounding (weights.c) and GPTQ (gptq.c) share.
#ifndef SDG_QUANT_CODES_H
#define SDG_QUANT_CODES_H

#include "base/nibbles.h"
#include "quant/rounding.h"

// Checks weights and options, allocates codes and scales.
enum sdg_result sdg_codes_new(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                              size_t inputs, const struct sdg_weight_options *options, struct sdg_codes *out);
void sdg_codes_search_scales(struct sdg_codes *codes, const float *weights, double power);

static inline float sdg_codes_scale(const struct sdg_codes *c, size_t output, size_t input)
{
    return c->scales[output * c->groups + input / c->group];
}

#endif
