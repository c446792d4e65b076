// Names of tensors: diffusers' are used everywhere in the engine; this is the only place that knows any others.
#ifndef SDG_FORMATS_NAMES_H
#define SDG_FORMATS_NAMES_H

#include "formats/config.h"

#include <stddef.h>

// OPENCLIP: a text encoder as OpenCLIP stores it, in original checkpoints of Stable Diffusion 2.x and XL.
enum sdg_part { SDG_PART_UNET, SDG_PART_VAE, SDG_PART_TEXT, SDG_PART_OPENCLIP };

enum { SDG_NAME_ROOM = 512 }; // buffers for names; longer ones are no tensors of these networks

// The canonical form of a name found in a diffusers folder, which depends on the version that wrote it: text encoders
// with or without "text_model.", older attention names in autoencoders. Writes to `to` and returns true; false for
// tensors that are not weights (position_ids) and names that do not fit.
bool sdg_name_canonical(enum sdg_part part, const char *name, char to[static SDG_NAME_ROOM]);

// Removes what trainers and compilers put before or into all names ("module.", "_orig_mod.", "state_dict.", a doubled
// "model."), in place. Gives the place where the name now begins, inside of it; that itself where nothing was there.
char *sdg_name_unwrap(char *name);

// What the numbering of blocks in an original checkpoint depends on.
struct sdg_ldm_layout {
    int unet_layers; // per level
    int unet_levels;
    bool up_attention[SDG_MAX_LEVELS];
    int vae_levels;
    int text_layers; // later ones are not used; 0: there are none such
};

// Between diffusers' names and those of original (LDM) Stable Diffusion checkpoints, without the prefix of the part, by
// one table. False when the name has no counterpart.
bool sdg_name_to_ldm(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name,
                     char to[static SDG_NAME_ROOM]);
bool sdg_name_from_ldm(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name,
                       char to[static SDG_NAME_ROOM]);
// True if `name` of an original checkpoint stands inside a module of the table, whatever it is called there.
bool sdg_name_is_in_ldm_module(enum sdg_part part, const struct sdg_ldm_layout *layout, const char *name);

// The prefix of a part's tensors in an original checkpoint (of version 1.x or 2.x): "model.diffusion_model.", ...
const char *sdg_ldm_prefix(enum sdg_part part);

// True for the attention projections of autoencoders, which LDM stores as 1x1 convolutions [C, C, 1, 1] and diffusers
// as [C, C].
bool sdg_name_is_vae_projection(const char *canonical);

#endif
