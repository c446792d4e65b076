// The Hessian of a layer's rounding: what its inputs were, as GPTQ needs to know it.
#ifndef SDG_QUANT_HESSIAN_H
#define SDG_QUANT_HESSIAN_H

#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

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

#endif
