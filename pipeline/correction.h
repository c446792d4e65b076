// The sampler's correction of a quantized UNet (PTQD, He et al. 2023): what of its error can be foreseen is taken out
// of its outputs.
//
// The error of an output against the full-precision model's, eps_q = eps + error, is seen as  error = k eps +
// b[channel] + residual,  with slope k and bias b of the timestep. sdg_correct measures them; the outputs of both
// guidance branches become
//     (eps_q - b[channel]) / (1 + max(k, 0))
// before guidance, and samplers that add fresh noise add less of it, by the residual's variance. Between measured
// timesteps everything is linear in t, beyond them constant. Tensors of the UNet file:
//     correction.timesteps f64 [R] ascending    correction.bias       f32 [R, C], of max(k, 0)
//     correction.slope     f32 [R]              correction.covariance f32 [R, 3]  residual's: uncond uncond, uncond
//     cond, cond cond
#ifndef SDG_PIPELINE_CORRECTION_H
#define SDG_PIPELINE_CORRECTION_H

#include "formats/tensors.h"
#include "scheduler/sampler.h"

#include <stdbool.h>

struct sdg_correction { // owned; free with sdg_correction_destroy
    size_t rows, channels;
    double *timesteps; // [rows] ascending
    float *slope;      // [rows]
    float *bias;       // [rows][channels]
    float *covariance; // [rows][3]
};

// Zeroed tables.
enum sdg_result sdg_correction_create(const struct sdg_log *log, size_t rows, size_t channels,
                                      struct sdg_correction **out);
void sdg_correction_destroy(struct sdg_correction **correction);

// `channels`: of the UNet's output. SDG_ERROR_INPUT with file, tensor and reason where a table is missing, misshapen or
// makes no sense.
enum sdg_result sdg_correction_read(const struct sdg_log *log, const struct sdg_tensors *tensors, size_t channels,
                                    struct sdg_correction **out);
enum { SDG_CORRECTION_TENSORS = 4 };
// The tensors to be written; they point into `correction`.
void sdg_correction_tensors(const struct sdg_correction *correction, struct sdg_tensor out[SDG_CORRECTION_TENSORS]);
// True for the names of these tensors.
bool sdg_correction_is_tensor(const char *name);

// Corrects output[pixels][channels], any number of samples one after the other, in place.
void sdg_correction_apply(const struct sdg_correction *correction, double timestep, float *output, size_t pixels);
// Variance of what remains in the corrected and guided output, uncond + scale (cond - uncond); scale 1 without
// guidance.
double sdg_correction_variance(const struct sdg_correction *correction, double timestep, double scale);
// Takes that variance from the noise that each call of the sampler adds. Before the first step, once.
void sdg_correction_absorb(const struct sdg_correction *correction, struct sdg_sampler *sampler, double scale);

#endif
