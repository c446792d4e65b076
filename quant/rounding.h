// Weights to integers: codes -2^(b-1) .. 2^(b-1)-1 of b bits times a scale per output channel, or per group of inputs
// of an output channel. A weight is a matrix [outputs, inputs]; a convolution's [O, I, KH, KW] is one with inputs = I
// KH KW in the file's order.
#ifndef SDG_QUANT_ROUNDING_H
#define SDG_QUANT_ROUNDING_H

#include "base/log.h"
#include "base/nibbles.h" // how files hold weights of 4 bits

#include <stddef.h>
#include <stdint.h>

struct sdg_weight_options {
    int bits;     // 2..8
    size_t group; // inputs per scale; 0: all. The last group may be shorter
    double power; // scales minimise sum |w - scale * code|^power; 2 or 2.4, any of 1..8. 0 = default (2.4)
};

// Owned; free with sdg_codes_free. All zero is an empty one.
struct sdg_codes {
    int bits;
    size_t outputs, inputs, groups; // groups of inputs per output
    size_t group;                   // inputs per group
    int8_t *codes;                  // [outputs, inputs]
    float *scales;                  // [outputs, groups], > 0, finite; 1 where all weights are 0
};
void sdg_codes_free(struct sdg_codes *codes);

// Each weight to the nearest code, ties to even, with the scale that makes the error of its group least.
// Weights that are not finite: SDG_ERROR_INPUT with `name` and place. *out is written on success only.
enum sdg_result sdg_weights_round(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                                  size_t inputs, const struct sdg_weight_options *options, struct sdg_codes *out);
// The scale search alone, on n finite weights.
float sdg_weights_scale(const float *weights, size_t n, int bits, double power);

// weights[outputs, inputs] = codes * scales
void sdg_codes_expand(const struct sdg_codes *codes, float *weights);
// sdg_decibel(sum w^2, sum (w - code * scale)^2): INFINITY without error, NAN for weights of 0.
double sdg_codes_sqnr(const struct sdg_codes *codes, const float *weights);

#endif
