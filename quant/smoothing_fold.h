// Where the smoothing of a site can go so that nothing is left to do at run time: into what makes the site's values.
//
// - a layer_norm that only quantized layers read: its gamma and beta, times the multipliers
// - a slice of what a quantized linear layer without an epilogue makes, of channels that nothing else reads: these rows
//   of its weight, which is a factor of their scales
#ifndef SDG_QUANT_SMOOTHING_FOLD_H
#define SDG_QUANT_SMOOTHING_FOLD_H

#include "graph/graph.h"

// Whether an operation's weight is quantized.
typedef bool (*sdg_is_quantized_fn)(const void *user, const struct sdg_op *op);

struct sdg_smoothing_fold {
    sdg_value gamma, beta;   // of the norm; 0: it is none
    const struct sdg_op *op; // the layer; NULL: there is none
    size_t first;            // of its rows, as many as the site has channels
};

// Of a fused graph. False if there is no such place.
bool sdg_smoothing_fold_find(const struct sdg_graph *graph, sdg_value site, sdg_is_quantized_fn is_quantized,
                             const void *user, struct sdg_smoothing_fold *out);

#endif
