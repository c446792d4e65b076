// Temporal dynamic quantization (So, Lee, Ahn, Kim, Park: NeurIPS 2023): the scale of a site as a function of the
// timestep alone,
//     enc(t) = [cos(t f_0) .. cos(t f_{d/2-1}), sin(t f_0) .. ],   f_k = exp(-ln(10000) k / (d/2))
//     s(t) = softplus(W4 relu(W3 relu(W2 relu(W1 enc(t) + b1) + b2) + b3) + b4),   layers 64 wide
// with d the UNet's first channel count: its own time encoding. The generator is fitted here, once and offline, to the
// error curves of a site (quant/search.h); what is kept is the table s(0) .. s(999).
//
// Where this differs from the paper: s(t) counts in units of 16 static scales, so b4 starts at softplus^-1(1/16) for
// every site and sites of large and of small values are fitted alike; fast frequencies start with small weights and
// learn slowly, so that the function stays smooth between the calibrated steps.
#ifndef SDG_QUANT_TDQ_H
#define SDG_QUANT_TDQ_H

#include "quant/search.h"

enum { SDG_TDQ_WIDTH = 64, SDG_TDQ_TIMES = 1000, SDG_TDQ_MAX_ENCODING = 16384 };

// Writes d numbers; an odd d ends with a 0. t may be fractional.
void sdg_tdq_encode(double t, int d, float *out);

// Parameters of one generator, a single array: for each layer the weights [inputs][outputs], then the biases.
size_t sdg_tdq_parameter_count(int d);
// scales[i] = s(t) for encodings [n, d]. Nothing is allocated.
void sdg_tdq_evaluate(const float *parameters, int d, const float *encodings, size_t n, float *scales);

// The encodings of t = 0 .. 999, shared by the fits of all sites. Read-only after creation.
struct sdg_tdq_times;
// d: 2 .. SDG_TDQ_MAX_ENCODING
enum sdg_result sdg_tdq_times_create(const struct sdg_log *log, int d, struct sdg_tdq_times **out);
void sdg_tdq_times_destroy(struct sdg_tdq_times **times);

struct sdg_tdq_options {
    uint64_t seed;  // of initial weights and batches: sdg_tdq_seed()
    int iterations; // 0 = default (600)
    float rate;     // Adam's, at the start; 0 = default (0.002). Falls to 0 as a cosine
    // below this relative gain of the free table over the static scale, or without any gain of the fit, a site stays
    // static; < 0: never, unless it is silent; NaN is refused
    double static_gain;
};
static const double sdg_tdq_default_gain = 0.05;
// A seed of its own for each site, so that a site's fit does not depend on which others there are.
uint64_t sdg_tdq_seed(uint64_t seed, const char *site);

struct sdg_tdq_fit {
    float table[SDG_TDQ_TIMES]; // scales > 0 at t = 0 .. 999; constant where the site stays static
    float unit;                 // table[t] = unit * generator(t): 16 static scales; 0 where the site stays static
    bool is_static;
    float static_scale;
    double static_error, free_error, error; // sums over all rows: static scale, free table, this fit
    double correlation; // Pearson's r between t and the row's range (maximum - minimum), for the report
};

// Fits one site. timesteps[r] is the timestep of row r of the curves and histograms, 0..999, fractions allowed;
// histograms are those the curves were made of. Same inputs, same bytes. Different sites may be fitted by different
// threads at once. `parameters`, sdg_tdq_parameter_count(d) floats, receives the generator unless NULL (zeros for a
// static site).
enum sdg_result sdg_tdq_fit(const struct sdg_log *log, const char *site, const struct sdg_curves *curves,
                            const struct sdg_histogram *histograms, const double *timesteps,
                            const struct sdg_tdq_times *times, const struct sdg_tdq_options *options,
                            struct sdg_tdq_fit *out, float *parameters);

// A table over t = 0..999 read at a fractional t: linear between entries, constant outside.
float sdg_tdq_table_at(const float table[static SDG_TDQ_TIMES], double t);

#endif
