// The autoencoder: latent -> picture and back, whole or in tiles.
#ifndef SDG_PIPELINE_DECODE_H
#define SDG_PIPELINE_DECODE_H

#include "pipeline/job.h"

// Makes the decoder, unless p has one of this size. Any thread, while no other uses the VAE's stage.
enum sdg_result sdg_decoder_prepare(struct sdg_pipeline *p, const struct sdg_job *job);
enum sdg_result sdg_stage_decode(struct sdg_pipeline *p, struct sdg_job *job, const float *latent,
                                 struct sdg_image **out);
// Image [height][width][3] in -1..1 -> latent sample (scaled), drawing the posterior's noise from the job's generator.
enum sdg_result sdg_stage_encode(struct sdg_pipeline *p, struct sdg_job *job, const float *image, float *latent);

// Work of decoding in units of one sampling step (multiply-accumulates), for the time left.
enum sdg_result sdg_estimate_decode_share(struct sdg_pipeline *p, const struct sdg_job *job, double *share);

#endif
