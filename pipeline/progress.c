#include "pipeline/progress.h"

#include "pipeline/call.h"

enum sdg_result sdg_progress_report(struct sdg_pipeline *p, const struct sdg_job *job, const char *stage, int step,
                                    int steps, double seconds_step, double seconds_left)
{
    const struct sdg_progress progress = {
        .stage = stage,
        .step = step,
        .steps = steps,
        .image = job->params->image,
        .images = job->params->images > 0 ? job->params->images : 1,
        .seconds_step = seconds_step,
        .seconds_left = seconds_left,
    };
    return sdg_call_progress(p, &progress, job->params->progress, job->params->progress_user);
}
