// What a latent that is being drawn looks like, for callers that ask.
#ifndef SDG_PIPELINE_PREVIEW_PICTURES_H
#define SDG_PIPELINE_PREVIEW_PICTURES_H

#include "pipeline/job.h"

// Hands a preview to the job's function if one is due after step `done` of `steps`; else nothing happens.
enum sdg_result sdg_preview_show(struct sdg_pipeline *p, const struct sdg_job *job, int done, int steps,
                                 const float *latent);

#endif
