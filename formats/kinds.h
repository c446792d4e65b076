// Inside formats/: what a weights file is that is not the model, or the part of one, that was asked for.
#ifndef SDG_FORMATS_KINDS_H
#define SDG_FORMATS_KINDS_H

#include "formats/safetensors.h"

// Refuses files that are something else than a checkpoint that can be read, one line that says what. SDG_OK for the
// others: a UNet of Stable Diffusion under the names of original checkpoints is there.
enum sdg_result sdg_kinds_check_model(const struct sdg_log *log, const struct sdg_source *source);
// Always fails: a file in which no autoencoder was found.
enum sdg_result sdg_kinds_no_autoencoder(const struct sdg_log *log, const struct sdg_source *source);

// Networks of Stable Diffusion's build that are told by the channels they take, 0 for `latent` of them: "is a depth
// model ..."; NULL if unknown.
const char *sdg_kinds_of_channels(int in_channels, int latent);

// Fails, saying what the file is, unless it may be a safetensors file: by its first bytes.
enum sdg_result sdg_check_file_kind(const struct sdg_log *log, const struct sdg_files *files, const char *path);

#endif
