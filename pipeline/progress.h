// What the caller hears of a job as it runs.
#ifndef SDG_PIPELINE_PROGRESS_H
#define SDG_PIPELINE_PROGRESS_H

#include "pipeline/job.h"

// SDG_ERROR_CANCELLED if the caller wants no more.
enum sdg_result sdg_progress_report(struct sdg_pipeline *p, const struct sdg_job *job, const char *stage, int step,
                                    int steps, double seconds_step, double seconds_left);

#endif
