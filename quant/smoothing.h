// Smoothing vectors (SmoothQuant, arXiv 2211.10438; PTQ4VM, arXiv 2412.20386): channels k of a linear layer's input are
// divided by sigma_k, the columns of its weight multiplied with it, so that outliers are shared between both:
//     sigma_k = max(amax_k^alpha / wmax_k^(1 - alpha), 1e-5),   amax_k >= 1e-3, wmax_k >= 1e-5
// with amax_k the largest magnitude of the channel, wmax_k that of the weight's column. Layers that read the same input
// share one vector: wmax_k is then over all of them.
#ifndef SDG_QUANT_SMOOTHING_H
#define SDG_QUANT_SMOOTHING_H

#include "formats/scheme.h"
#include "formats/tensors.h"
#include "quant/sites.h"
#include "quant/statistics.h"
#include "sdgen/sdgen.h"

// multipliers[k] = 1 / sigma_k: what the input is multiplied with. beta is 1 - alpha above; quant/smoothing_search.h
// chooses both.
void sdg_smoothing_make(const float *amax, const float *wmax, size_t channels, double alpha, double beta,
                        float *multipliers);
// *weights [*outputs][C] of every quantizable layer that reads a site of C channels, which only products of single
// tokens read: one below the other, for sdg_free. SDG_ERROR_INPUT if a weight is missing, no float, or has another
// shape.
enum sdg_result sdg_smoothing_weights(const struct sdg_log *log, const struct sdg_graph *graph, sdg_value site,
                                      const struct sdg_tensors *tensors, float **weights, size_t *outputs);

// ---- while statistics are collected ----
struct sdg_smoothing_choice {
    const char *statistics;  // of the model that has these weights, not smoothed themselves. NULL: nothing is smoothed
    struct sdg_number alpha; // 0..1; default 0.5
    const char *scheme;      // for whose bits each site's exponents are searched; NULL: they are alpha and 1 - alpha
};
struct sdg_smoother { // owned; free with sdg_smoother_close. All zero: nothing is smoothed
    const struct sdg_tensors *tensors;
    struct sdg_statistics *statistics; // NULL: nothing is smoothed
    const char *path;
    double alpha;
    struct sdg_scheme scheme; // weight_bits 0: alpha it is
};
// Strings are kept, for messages. SDG_ERROR_USAGE for an alpha out of its range or beside a scheme, one of both without
// statistics, and a scheme without integers; SDG_ERROR_INPUT for statistics of another model.
enum sdg_result sdg_smoother_open(const struct sdg_log *log, const struct sdg_smoothing_choice *choice,
                                  const struct sdg_tensors *tensors, struct sdg_smoother *out);
void sdg_smoother_close(struct sdg_smoother *smoother);
// multipliers [C] of a site that only products of single tokens read. *smooths: false if it is best left as it is: what
// a Hadamard transform makes, or where the search finds nothing better.
enum sdg_result sdg_smoother_site(const struct sdg_log *log, const struct sdg_smoother *smoother,
                                  const struct sdg_graph *graph, const struct sdg_site *site, float *multipliers,
                                  bool *smooths);

#endif
