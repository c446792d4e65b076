// A picture's plan in words, for sdg_plan and for those who ask a call to say more.
#ifndef SDG_PIPELINE_PLAN_REPORT_H
#define SDG_PIPELINE_PLAN_REPORT_H

#include "pipeline/memory_plan.h"

struct sdg_plan_printer {
    void (*fn)(void *user, const char *line);
    void *user;
};

// Model, picture, devices and memory, without kernels.
enum sdg_result sdg_plan_print(const struct sdg_plan_printer *out, struct sdg_pipeline *p, const struct sdg_job *job,
                               const struct sdg_memory_plan *plan);

#endif
