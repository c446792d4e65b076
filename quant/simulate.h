// The simulate rewrite: sites are quantized and dequantized in float, at any bits, so that what a scheme would lose can
// be measured on every backend before there is an integer kernel for it.
#ifndef SDG_QUANT_SIMULATE_H
#define SDG_QUANT_SIMULATE_H

#include "quant/sites.h"

// Of a fused graph. Each quantizable convolution and linear layer reads its site through a fake_quantize operation of
// `bits` bits (2..8); other readers of the site (residuals, norms) see it as it was. The intervals are row tables
// [T,1,1,2] of scale and zero point named sdg_interval_name(), which the caller writes.
enum sdg_result sdg_graph_simulate(struct sdg_graph *graph, int bits);

#endif
