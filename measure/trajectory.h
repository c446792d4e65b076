// What a UNet saw and answered while it drew a picture, and what another UNet answers to the same: errors of single
// steps, which do not add up as those of two pictures do.
#ifndef SDG_MEASURE_TRAJECTORY_H
#define SDG_MEASURE_TRAJECTORY_H

#include "pipeline/pipeline.h"
#include "sdgen/sdgen.h"

struct sdg_trajectory { // owned; free with sdg_trajectory_clear. Zeroed = empty
    size_t calls, branches, channels, pixels;
    double *timesteps; // [calls]
    // [calls][1 + branches][channels * pixels]: the scaled latent, planar, then the answers of both guidance branches,
    // [pixels][channels]
    float *points;
};

size_t sdg_trajectory_elements(const struct sdg_trajectory *trajectory);               // of a latent
const float *sdg_trajectory_answer(const struct sdg_trajectory *trajectory, int call); // [branches][pixels][channels]

// Draws a picture's latents with p. p->hooks are replaced meanwhile. Models whose UNet sees more than the latent
// (inpainting) are SDG_ERROR_INPUT.
enum sdg_result sdg_trajectory_record(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                      struct sdg_trajectory *out);
// Runs p's UNet on every point of a trajectory of the same parameters, latent size and timesteps; `see` gets p's
// answer, as long and in the same order as the trajectory's own, which it may change. Progress has the stage "compare".
enum sdg_result sdg_trajectory_replay(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                      const struct sdg_trajectory *trajectory,
                                      void (*see)(void *user, int call, float *answer), void *user);
void sdg_trajectory_clear(struct sdg_trajectory *trajectory);

#endif
