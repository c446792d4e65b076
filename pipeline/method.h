// Which sampling method, which schedule and how many steps: the one place that decides it, from what the caller says,
// what the model says, and what is usual.
#ifndef SDG_PIPELINE_METHOD_H
#define SDG_PIPELINE_METHOD_H

#include "pipeline/job.h"

// Sets method, schedule, steps and scheduler of a job that has its parameters. In this order:
// 1. What the caller names, and where he names nothing, what the model's folder prefers (formats/preferences.h).
// Another sampler than the model's own takes nothing but the noise levels from the model.
// 2. The model's own scheduler, for the schedule "model" and where the model says what the usual sampler contradicts:
//    noise levels that are not of betas (EDM), zero terminal SNR, trailing timesteps, distillation (LCM, TCD).
// 3. Euler ancestral on even timesteps, 20 steps (4 for latent consistency models).
// SDG_ERROR_USAGE for names, SDG_ERROR_UNSUPPORTED for what the model's scheduler does that is not implemented.
enum sdg_result sdg_job_choose_method(struct sdg_pipeline *p, struct sdg_job *job);
// SDG_ERROR_INPUT where what the model's folder prefers is nothing that can be drawn: unknown names, a side that is no
// multiple of the autoencoder's factor. To be called once, when the model has been opened.
enum sdg_result sdg_check_preferences(const struct sdg_pipeline *p);

#endif
