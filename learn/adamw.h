// AdamW (Loshchilov, Hutter: Decoupled weight decay regularization, arXiv 1711.05101) with the gradient's norm clipped,
// as torch.optim.AdamW and torch.nn.utils.clip_grad_norm_ compute it:
//     g *= min(1, clip / (|g| + 1e-6)),  p *= 1 - rate * decay
//     m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//     p -= rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)        t = 1, 2, ..
#ifndef SDG_LEARN_ADAMW_H
#define SDG_LEARN_ADAMW_H

#include "base/log.h"

#include <stddef.h>

// Parameters that follow each other and have a rate in common.
struct sdg_adamw_range {
    size_t count;
    double rate;
};

struct sdg_adamw_options {
    double beta1, beta2, epsilon; // torch's defaults: 0.9, 0.999, 1e-8
    double decay;                 // of the weights, per rate
    double clip;                  // the most that the norm of all gradients together may be; 0: any
};

struct sdg_adamw {
    struct sdg_adamw_options options;
    const struct sdg_adamw_range *ranges; // the caller's
    size_t range_count, count;            // count: of all parameters
    double *mean, *square;                // [count] m and v
    long long steps;                      // t
};

// `ranges` must outlive the optimiser. Free with sdg_adamw_clear.
enum sdg_result sdg_adamw_create(const struct sdg_log *log, const struct sdg_adamw_range *ranges, size_t range_count,
                                 const struct sdg_adamw_options *options, struct sdg_adamw *out);
void sdg_adamw_clear(struct sdg_adamw *adamw);
// One update of parameters[count] at `share` of the ranges' rates; gradients[count] are finite. Returns the gradients'
// norm before it was clipped.
double sdg_adamw_step(struct sdg_adamw *adamw, double share, double *parameters, const double *gradients);

#endif
