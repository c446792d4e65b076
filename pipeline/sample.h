// The denoising loop.
#ifndef SDG_PIPELINE_SAMPLE_H
#define SDG_PIPELINE_SAMPLE_H

#include "pipeline/start.h"

// Of the job->pictures jobs and starts that stand one after the other: start->latent of each is denoised in place.
enum sdg_result sdg_stage_sample(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *start);
// Text and sampling stages of one picture for the sake of p->hooks and callbacks; the last latent is dropped, the
// networks stay.
enum sdg_result sdg_sample_latents(struct sdg_pipeline *p, const struct sdg_generate_params *generate);

#endif
