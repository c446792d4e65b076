// AutoencoderKL and AutoencoderTiny (TAESD) as graphs. Scaling factors are the pipeline's: a latent here is what
// diffusers' vae.decode() takes and vae.encode() gives. Pixels are in -1..1.
//
//   decoder  "latent" [N,h,w,L]  ->  "image"  [N,8h,8w,3]
//   encoder  "image"  [N,H,W,3]  ->  "moments" [N,H/8,W/8,2L] (mean, log-variance) or, tiny, "latent" [N,H/8,W/8,L]
#ifndef SDG_VAE_VAE_H
#define SDG_VAE_VAE_H

#include "formats/config.h"
#include "graph/graph.h"

enum sdg_result sdg_vae_decoder_graph(const struct sdg_log *log, const struct sdg_vae_config *config, int64_t batch,
                                      int64_t height, int64_t width, struct sdg_graph **out);
enum sdg_result sdg_vae_encoder_graph(const struct sdg_log *log, const struct sdg_vae_config *config, int64_t batch,
                                      int64_t height, int64_t width, struct sdg_graph **out);
// Pixels per latent pixel along a side (8 for all published models).
int sdg_vae_factor(const struct sdg_vae_config *config);

#endif
