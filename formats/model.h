// A model on disk: a diffusers folder or a single-file Stable Diffusion checkpoint, opened and checked, weights mapped.
//
// Thread-safety: read-only once it is open, so from any number of threads; sdg_model_close from one, while no other
// uses it. All that it points to lives until sdg_model_close, also what sdg_tensors_find
// gives. Its files must not be changed in place as long as they are mapped (replacing them by rename is fine).
#ifndef SDG_FORMATS_MODEL_H
#define SDG_FORMATS_MODEL_H

#include "formats/config.h"
#include "formats/file_list.h"
#include "formats/preferences.h"
#include "formats/tensors.h"
#include "formats/tokenizer_files.h"

enum { SDG_BASES_MAX = 4 };

enum sdg_model_kind { SDG_MODEL_SD, SDG_MODEL_SDXL, SDG_MODEL_LCM, SDG_MODEL_INPAINT };

struct sdg_model {
    char *path;
    // Folders of full-precision models that what this one lacks comes from: its base, that one's base, and so on
    char *bases[SDG_BASES_MAX];
    int base_count;
    // the autoencoder that was named in place of the model's own; else NULL
    char *vae_path;
    bool single_file;
    const struct sdg_files *files; // while it is opened; NULL afterwards
    enum sdg_model_kind kind;
    struct sdg_unet_config unet_config;
    struct sdg_vae_config vae_config;
    struct sdg_text_config text_config[2]; // [1] for SDXL
    struct sdg_scheduler_config scheduler;
    struct sdg_preferences preferences;
    char *known_words;        // text of the file that these name, or NULL
    char scheduler_class[64]; // as model_index.json names it, "" when it does not
    // the pipeline is one of diffusers' that corrects clip_sample, steps_offset and skip_prk_steps of old
    // configurations
    bool corrects_scheduler;
    bool latent_consistency; // the pipeline is one of diffusers' for latent consistency models
    bool has_scheduler;      // false: single file, `scheduler` holds SD 1.x's defaults and what the file says
    // Of a single file: it says that it was trained with betas that leave no signal at the end; it does not say what
    // the network predicts, which has to be measured (sdg_prediction_settle).
    bool zero_terminal_snr, prediction_open;
    int text_encoders; // 1 or 2
    // SDXL without a negative prompt: an embedding of zeros, not that of the empty text (force_zeros_for_empty_prompt)
    bool zeros_for_no_prompt;
    struct sdg_tensors *unet, *vae, *text[2];
    // Its tokenizers; without a folder where none was found, of which sdg_model_check_tokenizers says what to do.
    struct sdg_tokenizer_files tokenizer[2];
    char *tokenizer_path; // folder that the caller named for them, or NULL
    bool no_environment;  // it is not asked where tokenizers are
};

// Opens everything. Tensor names, shapes and float types are checked when a program is built (the graph knows what it
// needs); here: files exist, headers and configs are sound. A folder that sdquant wrote (unet_config.quantization) has
// to have the UNet tensors of its fingerprint; what it does not store comes from its base, whose fingerprint has to fit
// as well. Quantized GGUF files, .ckpt pickles: SDG_ERROR_UNSUPPORTED with what to do.
enum sdg_result sdg_model_open(const struct sdg_log *log, const char *path, struct sdg_model **out);
struct sdg_model_params {
    // read the weights into memory: for files on slow or unreliable storage, or that may be replaced meanwhile
    bool no_mmap;
    // Folder with a tokenizer's files, or with folders tokenizer and tokenizer_2, in place of the model's; NULL = the
    // model's, or what is found
    const char *tokenizer;
    bool no_environment; // SDGEN_TOKENIZER, XDG_DATA_HOME and HOME do not say where there are tokenizers
    // What all paths here are looked up in (sdgen/files.h); NULL and 0: they are the system's
    const struct sdg_file *files;
    size_t file_count;
    // Another autoencoder; NULL: the model's own, which is not opened otherwise, and may then be absent or broken. A
    // folder of diffusers' (or a whole model, whose autoencoder it is), a file of AutoencoderKL under diffusers' names
    // or those of original checkpoints, a whole checkpoint, AutoencoderTiny, or TAESD under its author's names, where
    // the encoder is found beside the decoder. Files keep the scaling factor of the model unless a config.json of
    // theirs lies beside them.
    const char *vae;
};
// `params` is needed only during the call.
enum sdg_result sdg_model_open_params(const struct sdg_log *log, const char *path,
                                      const struct sdg_model_params *params, struct sdg_model **out);
// SDG_ERROR_INPUT, saying what to do, where a text encoder is without a tokenizer.
enum sdg_result sdg_model_check_tokenizers(const struct sdg_log *log, const struct sdg_model *model);
// Releases the files of the tokenizers, for callers that have made what they need of them.
void sdg_model_drop_tokenizers(struct sdg_model *model);
// What the network of a single file predicts, once it is known: by the file, the user or a measurement. The betas and
// the size that go with it follow.
void sdg_model_set_prediction(struct sdg_model *model, enum sdg_prediction prediction);
void sdg_model_close(struct sdg_model **model);

#endif
