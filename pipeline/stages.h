// The stages of a picture: what they are called, and the backend of each.
#ifndef SDG_PIPELINE_STAGES_H
#define SDG_PIPELINE_STAGES_H

#include "pipeline/pipeline.h"

struct sdg_stage_row {
    const char *key;     // in the backend's parameter: "te=cpu"
    const char *name;    // in the plan: "text on cpu"
    const char *network; // in messages: "text encoder computes in bf16"
};
const struct sdg_stage_row *sdg_stage_row(enum sdg_stage stage);

// Opens the stage's backend on first use. The memory plan opens all stages before anything is done by two threads.
enum sdg_result sdg_stage_open(struct sdg_pipeline *p, enum sdg_stage stage);

#endif
