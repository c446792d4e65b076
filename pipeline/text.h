// The text stage: prompt -> embeddings.
#ifndef SDG_PIPELINE_TEXT_H
#define SDG_PIPELINE_TEXT_H

#include "pipeline/job.h"

// Fills p->context for the job, or keeps it where it is the same prompt's. The encoder is gone when this returns.
enum sdg_result sdg_stage_text(struct sdg_pipeline *p, struct sdg_job *job);
void sdg_context_clear(struct sdg_pipeline *p);

#endif
