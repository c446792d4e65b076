// Which smoothing vector (quant/smoothing.h) serves a site at given bits: the one with the least error of the outputs
// of the layers that read it, estimated from what statistics keep anyway. After AQAS (Lee et al., EMNLP 2023), which
// searches both exponents of
//     sigma_k = amax_k^alpha / wmax_k^beta,     alpha, beta = 0, 1/4, 1/2, 3/4, 1
// by the error of the product with weights and activations quantized; alpha = beta = 0 is no smoothing, so that the
// vector found is, by the estimate, never worse than none. SmoothQuant's choice knows nothing of bits: at four of the
// weights it moves into them what eight of the activations could hold.
//
// Weights are rounded, activations modelled: the values of channel k in row r are Laplacian, their scale that share of
// largest[r][k] which makes the variance of all channels and rows the one seen. One interval for all of them, +-T or
// 0 .. T, is chosen to lose least; a value then loses step^2 / 12, but no more than it has, and what lies beyond T.
// Channels count as uncorrelated.
#ifndef SDG_QUANT_SMOOTHING_SEARCH_H
#define SDG_QUANT_SMOOTHING_SEARCH_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct sdg_smoothing_case {
    size_t rows, channels, outputs;
    const float *largest; // [rows][channels] magnitudes of the input
    double mean_square;   // of all its values
    bool one_sided;       // they hardly go below 0: a SiLU's
    const float *weights; // [outputs][channels] of all layers that read it, one below the other
    int weight_bits, activation_bits;
};

// Sum over outputs of the mean squared error that quantization makes, with the input times multipliers [C] and the
// weights divided by them.
enum sdg_result sdg_smoothing_error(const struct sdg_log *log, const struct sdg_smoothing_case *c,
                                    const float *multipliers, double *error);
// multipliers [C]: 1 / sigma of given exponents (the bits do not count).
enum sdg_result sdg_smoothing_of(const struct sdg_log *log, const struct sdg_smoothing_case *c, double alpha,
                                 double beta, float *multipliers);
// multipliers [C]: 1 / sigma of the exponents with the least error; all 1 where nothing is better than that.
enum sdg_result sdg_smoothing_search(const struct sdg_log *log, const struct sdg_smoothing_case *c, float *multipliers);

#endif
