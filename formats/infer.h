// Inside formats/: configurations of the networks in an original checkpoint, which has none, from the shapes of its
// tensors.
#ifndef SDG_FORMATS_INFER_H
#define SDG_FORMATS_INFER_H

#include "formats/config.h"
#include "formats/names.h"
#include "formats/safetensors.h"

// A network is concluded from the names of all its tensors: a block of which anything is there belongs to it, so that
// what the block lacks is missed when the network is loaded. What shapes do not tell is Stable Diffusion's: 8 heads (64
// channels per head with linear projections), 32 groups, CLIP's activation. `prefix` stands before the part's names.
// Fails when the tensors that decide are missing or make no sense.
enum sdg_result sdg_infer_unet(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               struct sdg_unet_config *config, struct sdg_ldm_layout *layout);

enum sdg_encoder { // which text encoder it is, whatever its tensors are called
    SDG_ENCODER_CLIP,
    SDG_ENCODER_CLIP_XL, // the same, of which XL takes the last layer but one
    // of Stable Diffusion 2.x, which was trained on the last layer but one; its diffusers folders leave the last one
    // out
    SDG_ENCODER_OPENCLIP,
    SDG_ENCODER_OPENCLIP_XL, // with a projection
};
// A text encoder under transformers' names.
enum sdg_result sdg_infer_text(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                               enum sdg_encoder encoder, struct sdg_text_config *config);
// One under OpenCLIP's. `skip_last`: Stable Diffusion 2.x's, see above.
enum sdg_result sdg_infer_openclip(const struct sdg_log *log, const struct sdg_source *source, const char *prefix,
                                   bool skip_last, struct sdg_text_config *config);

#endif
