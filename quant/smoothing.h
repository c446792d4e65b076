// Smoothing vectors (SmoothQuant, arXiv 2211.10438; PTQ4VM, arXiv 2412.20386): channels k of a linear layer's input are
// divided by sigma_k, the columns of its weight multiplied with it, so that outliers are shared between both:
//     sigma_k = max(amax_k^alpha / wmax_k^(1 - alpha), 1e-5),   amax_k >= 1e-3, wmax_k >= 1e-5
// with amax_k the largest magnitude of the channel, wmax_k that of the weight's column. Layers that read the same input
// share one vector: wmax_k is then over all of them.
#ifndef SDG_QUANT_SMOOTHING_H
#define SDG_QUANT_SMOOTHING_H

#include "formats/tensors.h"
#include "quant/sites.h"

// multipliers[k] = 1 / sigma_k: what the input is multiplied with.
void sdg_smoothing_make(const float *amax, const float *wmax, size_t channels, double alpha, float *multipliers);
// wmax [C] of the C channels of a site that only products of single tokens read: over every quantizable layer that
// reads it. SDG_ERROR_INPUT if a weight is missing, no float, or has another shape.
enum sdg_result sdg_smoothing_weights(const struct sdg_log *log, const struct sdg_graph *graph, sdg_value site,
                                      const struct sdg_tensors *tensors, float *wmax);

#endif
