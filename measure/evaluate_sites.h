// What each model's intervals cost, site by site.
#ifndef SDG_MEASURE_EVALUATE_SITES_H
#define SDG_MEASURE_EVALUATE_SITES_H

#include "measure/evaluator.h"
#include "pipeline/job.h"

// Lists the reference's sites; `p` is its pipeline.
enum sdg_result sdg_evaluate_list_sites(struct sdg_evaluator *e, struct sdg_pipeline *p, const struct sdg_job *job);
// Notes what a model does to them.
enum sdg_result sdg_evaluate_note_sites(struct sdg_evaluator *e, size_t model, const struct sdg_quantized *quantized);
// Runs the reference with its sites observed and compares.
enum sdg_result sdg_evaluate_compare_sites(struct sdg_evaluator *e);

#endif
