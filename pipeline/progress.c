#include "pipeline/progress.h"

enum sdg_result sdg_progress_report(const struct sdg_pipeline *p, const struct sdg_job *job, const char *stage,
                                    int step, int steps, double seconds_step, double seconds_left)
{
    if (!job->params->progress)
        return SDG_OK;
    struct sdg_progress progress = {
        .stage = stage,
        .step = step,
        .steps = steps,
        .image = job->params->image,
        .images = job->params->images > 0 ? job->params->images : 1,
        .seconds_step = seconds_step,
        .seconds_left = seconds_left,
    };
    if (job->params->progress(job->params->progress_user, &progress))
        return SDG_OK;
    return sdg_fail(&p->log, SDG_ERROR_CANCELLED, "cancelled in stage '%s', step %d of %d", stage, step, steps);
}
