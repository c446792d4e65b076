// What the files of an evaluation share.
#ifndef SDG_MEASURE_EVALUATE_H
#define SDG_MEASURE_EVALUATE_H

#include "measure/trajectory.h"
#include "sdgen/evaluate.h"

// ---- metrics.c ----
struct sdg_power { double signal, noise; };
struct sdg_power sdg_power_of_difference(const float *reference, const float *other, size_t count);
double sdg_image_mse(const struct sdg_image *a, const struct sdg_image *b); // of 8-bit values; NAN if the sizes differ

// ---- evaluate_result.c: the result and what belongs to it ----
struct sdg_evaluation_store {
    struct sdg_evaluation shown; // first: its address is what the caller holds
    const struct sdg_log *log;   // while the evaluation runs
    void **blocks;               // all memory of the result
    size_t count, capacity;
    struct sdg_image **images; // [1 + models][pictures]
    size_t image_count;
};
enum sdg_result sdg_evaluation_create(const struct sdg_log *log, struct sdg_evaluation_store **out);
// Zeroed memory that lives as long as the result; NULL after a report.
void *sdg_evaluation_take(struct sdg_evaluation_store *store, size_t count, size_t size);
char *sdg_evaluation_text(struct sdg_evaluation_store *store, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// ---- one evaluation ----
struct sdg_site_values {                    // a site of the reference's step graph
    char observed[SDG_OBSERVED_NAME_BYTES]; // its output under the observe rewrite
    enum sdg_site_kind kind;
    size_t elements; // of the whole batch
};

// What a model does to one site, and what came of it.
struct sdg_site_record {
    bool quantized, dynamic;
    int bits;
    struct sdg_interval *intervals; // [calls], unless dynamic
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

// Parameters of one run: prompt, seed, place in the batch.
struct sdg_generate_params sdg_evaluate_run(const struct sdg_evaluator *e, size_t run);
// Reports `step` of the current run; false if the caller wants to stop.
bool sdg_evaluate_report(struct sdg_evaluator *e, int step);
// Models are opened more than once; only errors are told where `quiet`.
enum sdg_result sdg_evaluate_open(const struct sdg_evaluator *e, size_t model, bool quiet, struct sdg_pipeline **out);

// Run number i of `count` that stand for all, evenly spread.
size_t sdg_evaluate_spread(const struct sdg_evaluator *e, int i, int count);

// ---- evaluate_outputs.c ----
// Keeps the reference's trajectories, or compares another model's outputs with them: of the model that is being drawn,
// whose pipeline is p.
enum sdg_result sdg_evaluate_outputs(struct sdg_evaluator *e, struct sdg_pipeline *p);
int sdg_evaluate_output_runs(const struct sdg_evaluator *e);

// ---- evaluate_sites.c ----
// Lists the reference's sites; `p` is its pipeline.
enum sdg_result sdg_evaluate_list_sites(struct sdg_evaluator *e, struct sdg_pipeline *p, const struct sdg_job *job);
// Notes what a model does to them.
enum sdg_result sdg_evaluate_note_sites(struct sdg_evaluator *e, size_t model, const struct sdg_quantized *quantized);
// Runs the reference with its sites observed and compares.
enum sdg_result sdg_evaluate_compare_sites(struct sdg_evaluator *e);
int sdg_evaluate_site_runs(const struct sdg_evaluator *e);

#endif
