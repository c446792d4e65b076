// Inside formats/: configurations of autoencoders whose files have none, from the names and shapes of their tensors.
#ifndef SDG_FORMATS_INFER_VAE_H
#define SDG_FORMATS_INFER_VAE_H

#include "formats/config.h"
#include "formats/tensors.h"

// AutoencoderKL under diffusers' names. What shapes do not tell is Stable Diffusion's: 32 groups, the scaling factor of
// version 1.x. A file without an encoder is one of a decoder only; one without a decoder is refused.
enum sdg_result sdg_infer_vae(const struct sdg_log *log, const struct sdg_tensors *view, struct sdg_vae_config *config);
// AutoencoderTiny under diffusers' names, with any numbers of levels and blocks, whole or a decoder only.
enum sdg_result sdg_infer_tiny_vae(const struct sdg_log *log, const struct sdg_tensors *view,
                                   struct sdg_vae_config *config);

// Whether it has any tensor of this side, "encoder." or "decoder.".
bool sdg_vae_has_side(const struct sdg_tensors *view, const char *side);

#endif
