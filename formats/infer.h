// Inside formats/: configurations of the networks in an original checkpoint, which has none, from the shapes of its
// tensors.
#ifndef SDG_FORMATS_INFER_H
#define SDG_FORMATS_INFER_H

#include "formats/config.h"
#include "formats/names.h"
#include "formats/safetensors.h"

// What shapes do not tell is Stable Diffusion's: 8 heads (64 channels per head with linear projections), 32 groups,
// CLIP's activation. `prefix` stands before the part's names. Fails when the tensors that decide are missing or make no
// sense.
enum sdg_result sdg_infer_unet(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               struct sdg_unet_config *config, struct sdg_ldm_layout *layout);
enum sdg_result sdg_infer_text(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               struct sdg_text_config *config);

// A text encoder under OpenCLIP's names. `skip_last`: Stable Diffusion 2.x was trained on the last layer but one and
// its diffusers folders leave the last one out; XL keeps it and takes the second output.
enum sdg_result sdg_infer_openclip(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                                   bool skip_last, struct sdg_text_config *config);

#endif
