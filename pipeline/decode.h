// The autoencoder: latent -> picture and back, whole or in tiles.
#ifndef SDG_PIPELINE_DECODE_H
#define SDG_PIPELINE_DECODE_H

#include "pipeline/job.h"
#include "pipeline/pixels.h"

// Makes the decoder, unless p has one of this size. Any thread, while no other uses the VAE's stage.
enum sdg_result sdg_decoder_prepare(struct sdg_pipeline *p, const struct sdg_job *job);
// `out` is of the job's size. With progress, and the decoder is gone afterwards unless the job keeps networks.
enum sdg_result sdg_stage_decode(struct sdg_pipeline *p, struct sdg_job *job, const float *latent,
                                 const struct sdg_pixels *out);
// The same in between: neither of them.
enum sdg_result sdg_decode_quietly(struct sdg_pipeline *p, const struct sdg_job *job, const float *latent,
                                   const struct sdg_pixels *out);
// Image [height][width][3] in -1..1 -> latent (scaled): the posterior's mean, or with `sample` a draw from it with the
// job's generator.
enum sdg_result sdg_stage_encode(struct sdg_pipeline *p, struct sdg_job *job, const float *image, bool sample,
                                 float *latent);

// Work of decoding in units of one sampling step (multiply-accumulates), for the time left.
enum sdg_result sdg_estimate_decode_share(struct sdg_pipeline *p, const struct sdg_job *job, double *share);

#endif
