// What each model's network answers to the reference's own latents.
#ifndef SDG_MEASURE_EVALUATE_OUTPUTS_H
#define SDG_MEASURE_EVALUATE_OUTPUTS_H

#include "measure/evaluator.h"

// Keeps the reference's trajectories, or compares another model's outputs with them: of the model that is being drawn,
// whose pipeline is p.
enum sdg_result sdg_evaluate_outputs(struct sdg_evaluator *e, struct sdg_pipeline *p);

#endif
