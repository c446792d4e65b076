// One evaluation as it runs: what is kept of the reference and noted of each model, which runs there are, and how a
// model is opened.
#ifndef SDG_MEASURE_EVALUATOR_H
#define SDG_MEASURE_EVALUATOR_H

#include "measure/evaluate_result.h"
#include "measure/metrics.h"
#include "measure/trajectory.h"
#include "quant/sites.h"

struct sdg_site_values {                    // a site of the reference's step graph
    char observed[SDG_OBSERVED_NAME_BYTES]; // its output under the observe rewrite
    enum sdg_site_kind kind;
    size_t elements;                // of the whole batch
    size_t height, width, channels; // of its tokens
};

// What a model does to one site, and what came of it.
struct sdg_site_record {
    bool quantized, dynamic;
    int bits;
    size_t tokens;                  // that have an interval of their own, or 1
    float *smoothing;               // [channels] of values before they become codes; NULL: 1
    struct sdg_interval *intervals; // [calls][tokens], unless dynamic
    struct sdg_power *powers;       // [calls]
    double *low, *high;             // [calls] sums over `runs` runs (dynamic)
};

struct sdg_model_record {
    struct sdg_evaluation_model *shown;
    struct sdg_power *powers;  // [steps] of the latents
    struct sdg_power *outputs; // [calls] of the network's outputs on the reference's latents
    double *latent_sqnr, *latent_mse, *output_sqnr, *run_sqnr, *run_psnr, *run_ssim; // what `shown` shows
    double *seconds;                                                                 // [steps measured]
    size_t second_count;
    double *picture_seconds;                     // [runs]
    struct sdg_site_record *sites;               // [sites]; NULL if its activations stay float
    struct sdg_evaluation_interval *shown_sites; // [sites]
};

struct sdg_evaluator {
    const struct sdg_evaluate_params *params;
    struct sdg_log log;
    struct sdg_evaluation_store *store;
    struct sdg_evaluation *shown;        // store->shown
    size_t elements;                     // of a latent
    float *latents;                      // [runs][steps][elements] of the reference
    struct sdg_image **pictures;         // [runs] of the reference
    bool plain_latents;                  // the reference's network sees the latent and nothing else
    struct sdg_trajectory *trajectories; // [sdg_evaluate_output_runs] of the reference
    struct sdg_model_record *models;     // [1 + models]
    struct sdg_site_values *sites;       // [shown->sites]
    struct sdg_evaluation_site *shown_sites;
    float *low, *high; // [sites][calls] extremes of the reference's values
    // what is being done
    const char *stage;
    size_t model, run;
    double began;
    int64_t done, total; // steps
};

// Model 0 is the reference, then those that are compared with it.
const struct sdg_evaluate_model *sdg_evaluate_model_at(const struct sdg_evaluator *e, size_t model);
// Parameters of one run: prompt, seed, place in the batch.
struct sdg_generate_params sdg_evaluate_run(const struct sdg_evaluator *e, size_t run);
// Reports `step` of the current run; false if the caller wants to stop.
bool sdg_evaluate_report(struct sdg_evaluator *e, int step);
// Models are opened more than once; only errors are told where `quiet`.
enum sdg_result sdg_evaluate_open(const struct sdg_evaluator *e, size_t model, bool quiet, struct sdg_pipeline **out);

// Run number i of `count` that stand for all, evenly spread.
size_t sdg_evaluate_spread(const struct sdg_evaluator *e, int i, int count);

// Runs whose outputs, and whose sites, are looked at.
int sdg_evaluate_output_runs(const struct sdg_evaluator *e);
int sdg_evaluate_site_runs(const struct sdg_evaluator *e);

#endif
