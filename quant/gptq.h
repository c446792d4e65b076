// GPTQ (Frantar, Ashkboos, Hoefler, Alistarh: ICLR 2023): rounds the weights of a layer one input at a time and lets
// the inputs not yet rounded make up for the error, as measured on the layer's true inputs x through the Hessian H =
// sum x^T x.
#ifndef SDG_QUANT_GPTQ_H
#define SDG_QUANT_GPTQ_H

#include "quant/rounding.h"

#include <stdbool.h>

// The sum of x^T x over observed inputs. A floating-point sum would depend on the order, so that merged shards would
// differ from one run; here each piece of up to 64 rows is summed in double, rounded to multiples of 2^-20 and added as
// an integer. The rounding is far below what GPTQ notices; the sum may grow to 2^43 = 8.8e12.
struct sdg_hessian {
    size_t inputs;
    uint64_t samples; // rows of x so far
    int64_t *sums;    // upper triangle by rows: (i, j >= i) at i * inputs - i (i - 1) / 2 + j - i
};
// inputs: 1 .. 65536
enum sdg_result sdg_hessian_create(const struct sdg_log *log, size_t inputs, struct sdg_hessian *out);
void sdg_hessian_free(struct sdg_hessian *h);
// Adds x [n, inputs]. Merging gives the same bits as one run if the calls are the same ones, in whatever order.
// Values that are not finite or a sum out of range: SDG_ERROR_COMPUTE naming `site`; the Hessian is then of no further
// use.
enum sdg_result sdg_hessian_add(const struct sdg_log *log, const char *site, struct sdg_hessian *h, const float *x,
                                size_t n);
enum sdg_result sdg_hessian_merge(const struct sdg_log *log, const char *site, struct sdg_hessian *into,
                                  const struct sdg_hessian *from);
double sdg_hessian_at(const struct sdg_hessian *h, size_t i, size_t j);

struct sdg_gptq_options {
    struct sdg_weight_options weight;
    double damping;      // of the mean of H's diagonal, added to it; 0 = default (0.01)
    bool by_importance;  // inputs in falling order of H's diagonal ("act-order") instead of their own
    const float *scales; // [outputs, groups], > 0 and finite: given instead of searched; may be NULL
};
// Inputs never seen (H's diagonal 0) get code 0, since nothing depends on them. Needs memory for inputs^2 + outputs *
// inputs doubles. A Hessian of another size, or not positive definite even with damping: SDG_ERROR_INPUT with `name`.
enum sdg_result sdg_weights_gptq(const struct sdg_log *log, const char *name, const float *weights, size_t outputs,
                                 size_t inputs, const struct sdg_hessian *hessian,
                                 const struct sdg_gptq_options *options, struct sdg_codes *out);

// tr(D H D^T) / tr(W H W^T), D the weights' error: the relative squared error of the layer's output. 0 without signal.
double sdg_codes_output_error(const struct sdg_codes *codes, const float *weights, const struct sdg_hessian *hessian);

#endif
