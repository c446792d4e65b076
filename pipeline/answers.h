// The UNet's answers to one call of the sampler, of all branches. Everything that depends on the step or on the prompts
// alone is computed before the first call; a call is one run of the recorded program, or more where the branches are
// more than its samples, and allocates nothing.
#ifndef SDG_PIPELINE_ANSWERS_H
#define SDG_PIPELINE_ANSWERS_H

#include "pipeline/start.h"

struct sdg_snapshot;

struct sdg_answers { // zeroed = nothing; sdg_answers_end
    struct sdg_pipeline *p;
    const struct sdg_job *job;
    const struct sdg_start *start; // [pictures] mask and masked picture of inpainting models
    struct sdg_program *unet;
    struct sdg_branch_groups groups;
    struct sdg_snapshot **times;    // [groups.runs] time tables, where the runs of a call differ in them; else NULL
    struct sdg_snapshot **contexts; // [groups.count] keys and values, where there are several groups; else NULL
    int context;                    // of these, what the program has; -1 = none
    size_t elements;                // of one latent
    int channels;                   // of the UNet's input
    float *nhwc;                    // [pictures][batch][pixels][channels]
    float *extra;                   // [pictures][batch][elements] where answers lie otherwise than they are wanted
};

// Makes the step's program in p->kept and fills its tables. `start` [job->pictures] may be NULL for models that see the
// latent alone. What it points to and `job` outlive the answers. To be ended also after a failure.
enum sdg_result sdg_answers_begin(struct sdg_pipeline *p, const struct sdg_job *job, const struct sdg_start *start,
                                  struct sdg_answers *out);
// input: [pictures][elements] as the sampler scales it, planar. out: [pictures][branches][pixels][latent channels].
enum sdg_result sdg_answers_run(struct sdg_answers *answers, int call, const float *input, float *out);
void sdg_answers_end(struct sdg_answers *answers);

#endif
