// From the statistics of a site to what a quantized model stores about it: the table of its scales, by the rule of the
// scheme.
#ifndef SDG_QUANT_FIT_H
#define SDG_QUANT_FIT_H

#include "formats/scheme.h"
#include "quant/token_fit.h"
#include "quant/tdq.h"

struct sdg_fit_options {
    enum sdg_interval_rule rule; // any but none; of tokens: for sites that keep them, others follow the time alone
    int bits;                    // of the activations, 2..8
    uint64_t seed;               // of the model: each site gets its own from it
    double power;       // of the error that is made small; 0 = default (static and sites that keep tokens: 2.4, else 2)
    double others;      // as in sdg_token_fit_options
    double static_gain; // as in sdg_tdq_options
    const struct sdg_tdq_times *times; // needed by the tdq rule
};

extern const double sdg_fit_default_others;

// dB; in place of infinity in means and reports, where there is no error at all.
enum { SDG_FIT_BEST_SQNR = 200 };

struct sdg_site_fit {
    float *scales; // [length], owned: free with sdg_site_fit_clear. Scales > 0, finite; NULL where there are `tokens`
    // 0: measured at run time (dynamic); 1: the same at all times; SDG_TDQ_TIMES: of t = 0 .. 999, or of tokens, that
    // follow the time
    size_t length;
    // in place of `scales`; height 0: the site has none. 1x1: of a smoothed site, for all tokens
    struct sdg_token_intervals tokens;
    double correlation; // Pearson's r between timestep and range
    // share of the static scale's error that these scales avoid; at most 1, 0 for static ones, negative if they are
    // worse
    double gain;
    double sqnr;       // of quantization, the mean over rows; dB, at most SDG_FIT_BEST_SQNR
    double worst_sqnr; // the worst row's
    double worst_at;   // ... and its timestep
};

// Fits one site; timesteps[rows] belong to site->rows. Intervals of tokens for each row are by ascending timesteps;
// where these neither rise nor fall, that is SDG_ERROR_INPUT. Same inputs, same bytes; from any thread. With the
// dynamic rule what is reported is the interval that reaches a row's extremes over all prompts, wider than any that one
// run would have.
enum sdg_result sdg_site_fit(const struct sdg_log *log, const struct sdg_site_statistics *site, const double *timesteps,
                             size_t rows, const struct sdg_fit_options *options, struct sdg_site_fit *out);
void sdg_site_fit_clear(struct sdg_site_fit *fit);
// The scale at time t: fit->scales read there. Not where there are none.
float sdg_site_fit_at(const struct sdg_site_fit *fit, double t);

#endif
