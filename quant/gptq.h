// GPTQ (Frantar, Ashkboos, Hoefler, Alistarh: ICLR 2023): rounds the weights of a layer one input at a time and lets
// the inputs not yet rounded make up for the error, as measured on the layer's true inputs x through the Hessian H =
// sum x^T x.
#ifndef SDG_QUANT_GPTQ_H
#define SDG_QUANT_GPTQ_H

#include "quant/hessian.h"
#include "quant/rounding.h"

#include <stdbool.h>

struct sdg_gptq_options {
    struct sdg_weight_options weight;
    double damping;      // of the mean of H's diagonal, added to it; 0 = default (0.01)
    bool by_importance;  // inputs in falling order of H's diagonal ("act-order") instead of their own
    const float *scales; // [outputs, groups], > 0 and finite: given instead of searched and fitted; may be NULL
    // [inputs] what inputs are multiplied with that the Hessian saw without it; NULL: 1
    const float *smoothing;
};
// Scales are searched as for rounding to the nearest; in the end those of an output are multiplied by <y, q> / <q, q>,
// y and q what it was and is on the inputs seen, which makes the error of these codes least. Inputs never seen (H's
// diagonal 0) get code 0, since nothing depends on them. Needs memory for inputs^2 + outputs * inputs doubles. A
// Hessian of another size, or not positive definite even with damping: SDG_ERROR_INPUT with `name`.
enum sdg_result sdg_weights_gptq(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                                 size_t inputs, const struct sdg_hessian *hessian,
                                 const struct sdg_gptq_options *options, struct sdg_codes *out);

// tr(D H D^T) / tr(W H W^T), D the weights' error: the relative squared error of the layer's output. 0 without signal.
double sdg_codes_output_error(const struct sdg_codes *codes, const float *weights, const struct sdg_hessian *hessian);

#endif
