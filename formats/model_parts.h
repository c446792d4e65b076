// Inside formats/: the two layouts of a model on disk, and what they have in common.
#ifndef SDG_FORMATS_MODEL_PARTS_H
#define SDG_FORMATS_MODEL_PARTS_H

#include "formats/kinds.h"
#include "formats/model.h"
#include "formats/names.h"
#include "formats/view.h"

// Fill a model whose path and files are set. On failure the caller closes it.
enum sdg_result sdg_folder_open(const struct sdg_log *log, struct sdg_model *model);
enum sdg_result sdg_single_file_open(const struct sdg_log *log, struct sdg_model *model);

// One component of a folder: config.json's text, and its weights under canonical names.
enum sdg_result sdg_folder_config(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                  char **path, char **text);
enum sdg_result sdg_folder_weights(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                   enum sdg_part part, struct sdg_tensors **out);
// The same of a folder of differences: whichever safetensors file is the only one may have any name; *out is NULL where
// there are no weights at all.
enum sdg_result sdg_folder_differences(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                       enum sdg_part part, struct sdg_tensors **out);
// Where `name`, a file or folder of a model folder whose bases are known, lies: in the first of these folders that has
// it, or else would in the last. *out is a new string.
enum sdg_result sdg_folder_locate(const struct sdg_log *log, const struct sdg_model *model, const char *name,
                                  char **out);
// The folder of a component whose configuration counts, likewise.
enum sdg_result sdg_folder_component(const struct sdg_log *log, const struct sdg_model *model, const char *name,
                                     char **out);
// Reads unet/config.json and opens the UNet: finds the model's bases, compares fingerprints.
enum sdg_result sdg_folder_unet(const struct sdg_log *log, struct sdg_model *model);
// Finds only the bases of the folder model->path; none where there is no UNet, or none that can be read.
enum sdg_result sdg_folder_bases(const struct sdg_log *log, struct sdg_model *model);
// The weights of component `name`: those of the model's own folder over those of its bases, which are known.
enum sdg_result sdg_folder_part(const struct sdg_log *log, const struct sdg_model *model, const char *name,
                                enum sdg_part part, struct sdg_tensors **out);
// One part of an original checkpoint as a view under diffusers' names; `prefix` stands before the part's own.
enum sdg_result sdg_ldm_open(const struct sdg_log *log, struct sdg_source *source, enum sdg_part part,
                             const char *prefix, const struct sdg_ldm_layout *layout, struct sdg_tensors **out);
// The autoencoder of a whole checkpoint; *out is NULL, and nothing is said, if it has none.
enum sdg_result sdg_autoencoder_of_checkpoint(const struct sdg_log *log, struct sdg_source *source,
                                              struct sdg_vae_config *config, struct sdg_tensors **out);
// What the user names in place of the model's (sdg_model_params.vae). Where no file says them, scaling factor and range
// of values are those of `own`, so that an autoencoder keeps the latent space of the one that it replaces.
enum sdg_result sdg_autoencoder_open(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                     const struct sdg_vae_config *own, struct sdg_vae_config *config,
                                     struct sdg_tensors **out);

// A folder of Hugging Face's cache, models--OWNER--NAME, is the snapshot in it; other paths are themselves. *out is a
// new string.
enum sdg_result sdg_hub_resolve(const struct sdg_log *log, const struct sdg_files *files, const char *path, char **out);
// Always fails, saying what the folder is that is no model.
enum sdg_result sdg_folder_refuse(const struct sdg_log *log, const struct sdg_files *files, const char *folder);

// A text encoder under OpenCLIP's names as a view under transformers'. `skip_last`: as for sdg_infer_openclip, the file
// has one layer more than config->layers, which is left out.
enum sdg_result sdg_openclip_open(const struct sdg_log *log, struct sdg_source *source, const char *prefix,
                                  const struct sdg_text_config *config, bool skip_last, struct sdg_tensors **out);

// Adds `tensor` as canonical name `name`, with an autoencoder's 1x1 projections as matrices.
enum sdg_result sdg_add_canonical(const struct sdg_log *log, struct sdg_tensors *view, enum sdg_part part,
                                  const struct sdg_tensor *tensor, const char *name);

// Tokenizer `i` of a folder: the one that the caller named, the model's own in `folder`, or $SDGEN_TOKENIZER's.
enum sdg_result sdg_find_folder_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i,
                                          const char *folder);
// Tokenizer `i` of a single file, which has none inside: the one that the caller named, one beside the file or in a
// folder tokenizer (or tokenizer_2) there, $SDGEN_TOKENIZER's, or CLIP's where tools/get-clip-tokenizer put it.
enum sdg_result sdg_find_file_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i);

// Ends the building of a view whose network was concluded from its tensors: *out = view, finished, unless `result` or
// finishing it is a failure, which destroys it.
enum sdg_result sdg_finish_inferred(const struct sdg_log *log, enum sdg_result result, struct sdg_tensors *view,
                                    struct sdg_tensors **out);

#endif
