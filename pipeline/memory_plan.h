// What a picture will need, stage by stage, before anything is loaded.
#ifndef SDG_PIPELINE_MEMORY_PLAN_H
#define SDG_PIPELINE_MEMORY_PLAN_H

#include "pipeline/job.h"

struct sdg_stage_memory {
    const char *name;
    struct sdg_memory memory; // of the stage's programs
    size_t host;              // buffers of the pipeline itself
    size_t total;             // all that is alive during the stage
    double macs;
};
struct sdg_memory_plan {
    struct sdg_stage_memory stages[8];
    int count;
    size_t base; // the process itself
    size_t peak; // base + largest total
};
// Decides job->split_guidance and job->tile_vae; SDG_ERROR_MEMORY when the budget does not suffice.
enum sdg_result sdg_memory_plan(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_memory_plan *plan);

#endif
