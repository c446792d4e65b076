// What the denoising loop starts from.
#ifndef SDG_PIPELINE_START_H
#define SDG_PIPELINE_START_H

#include "pipeline/job.h"

// All planar, [c][h][w]. Owned; free with sdg_start_clear, also after a failure.
struct sdg_start {
    float *latent;
    float *noise;   // the first draw
    float *picture; // latent of the init image; NULL where it is not needed
    float *mask;    // [h][w], 1 = painted anew; NULL = no inpainting
    float *masked;  // inpainting models: latent of the init image with the masked part grey; else NULL
};
enum sdg_result sdg_start_create(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *out);
void sdg_start_clear(struct sdg_start *start);

#endif
