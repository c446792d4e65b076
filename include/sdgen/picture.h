// Pictures around the pipeline, for programs, apps and servers: files and their bytes, fitting to a size, the text that
// says how a picture was made, and a rough look at a latent while it is drawn. Nothing here needs a pipeline.
//
//     struct sdg_image *photo = NULL, *init = NULL;
//     if (sdg_picture_read(log, user, "photo.jpg", &photo) == SDG_OK &&
//         sdg_picture_fit(log, user, photo, 512, 512, &init) == SDG_OK)
//         ... sdg_generate with .init_image = init ...
//
// `log` (NULL = silence) gets the reason of a failure, one line. Thread-safety: every function may be called from any
// thread at any time; they share nothing.
#ifndef SDGEN_PICTURE_H
#define SDGEN_PICTURE_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SDG_PICTURE_SIDE = 16384 }; // pixels a side at most

// ---- files ----
// No file is trusted: sides are at most SDG_PICTURE_SIDE, files and buffers at most 256 MiB, and a broken one is
// SDG_ERROR_INPUT. A library that was built without picture files (SDG_PICTURES=off) knows PPM only, the rest is
// SDG_ERROR_UNSUPPORTED.

enum sdg_picture_format { SDG_PICTURE_PNG, SDG_PICTURE_PPM, SDG_PICTURE_JPEG };

// The format that a file name asks for. SDG_ERROR_USAGE if its extension is none of .png .ppm .jpg .jpeg (in any case).
SDG_API enum sdg_result sdg_picture_format(sdg_log_fn log, void *log_user, const char *path,
                                           enum sdg_picture_format *out);

// PNG, JPEG, BMP, PPM or PGM, whatever the name says, as RGB; transparency is dropped, 16 bits become 8. *out is the
// caller's (sdg_image_destroy). From a file, and from `size` bytes in memory, which messages call `name`.
SDG_API enum sdg_result sdg_picture_read(sdg_log_fn log, void *log_user, const char *path, struct sdg_image **out);
SDG_API enum sdg_result sdg_picture_decode(sdg_log_fn log, void *log_user, const char *name, const void *data,
                                           size_t size, struct sdg_image **out);

// `text` (UTF-8; NULL = none) goes into a PNG's text chunk "parameters"; other formats carry no text. A file appears
// under its name complete or not at all; bytes are the caller's (sdg_picture_free).
SDG_API enum sdg_result sdg_picture_write(sdg_log_fn log, void *log_user, const char *path,
                                          enum sdg_picture_format format, const struct sdg_image *image,
                                          const char *text);
SDG_API enum sdg_result sdg_picture_encode(sdg_log_fn log, void *log_user, enum sdg_picture_format format,
                                           const struct sdg_image *image, const char *text, uint8_t **data,
                                           size_t *size);

// The text "parameters" of a PNG in memory, as UTF-8 without control characters except line ends and tabs. *text is the
// caller's (sdg_picture_free). SDG_ERROR_INPUT if it is no PNG, is broken before the text, or has none.
SDG_API enum sdg_result sdg_picture_text(sdg_log_fn log, void *log_user, const char *name, const void *data,
                                         size_t size, char **text);

// Frees bytes and texts that functions of this header returned; NULL is fine.
SDG_API void sdg_picture_free(void *memory);

// ---- pixels ----

// Scales a picture to cover width x height, keeping its proportions, and cuts the middle out of it. *out is the
// caller's. SDG_ERROR_USAGE unless both sides are 1..SDG_PICTURE_SIDE.
SDG_API enum sdg_result sdg_picture_fit(sdg_log_fn log, void *log_user, const struct sdg_image *image, int width,
                                        int height, struct sdg_image **out);
// The brightness of each pixel (ITU-R BT.601), for sdg_generate_params.mask. `out`: [height][width], the caller's.
SDG_API void sdg_picture_brightness(const struct sdg_image *image, uint8_t *out);

// ---- a rough look at a latent ----

struct sdg_preview_params {
    const float *latent;         // [channels][height][width], as sdg_generate_params.latent hands it out
    int channels, height, width; // of the latent
    int factor;                  // pixels of the preview per latent pixel, 1..64: the autoencoder's, for its full size
};
// Whether latents of so many channels have a preview: those of Stable Diffusion 1.x, which have 4.
SDG_API bool sdg_preview_has(int channels);
// A linear map of the channels to RGB, each latent pixel a square of factor x factor; early latents, which are noise
// mostly, are dimmed to fit. *out is the caller's. SDG_ERROR_UNSUPPORTED where sdg_preview_has says no.
SDG_API enum sdg_result sdg_preview(sdg_log_fn log, void *log_user, const struct sdg_preview_params *params,
                                    struct sdg_image **out);

// ---- how a picture was made ----
// As text for a PNG, in the form that A1111's web interface writes and reads:
//     a red apple, 3d
//     Negative prompt: blurry
//     Steps: 20, Sampler: Euler a, Schedule type: Discrete, CFG scale: 7, Seed: 42, Size: 512x512, Model: sd15

struct sdg_picture_parameters { // NULL and, of whole numbers, 0 = absent
    const char *prompt, *negative_prompt;
    bool plain_prompt; // no A1111 weights
    int steps, width, height, clip_skip;
    const char *sampler, *schedule; // as sdg_names has them; others stay as they are
    const double *cfg_scale, *strength, *eta;
    const int64_t *seed;
    const char *model, *vae;
    const char *sigmas;  // custom ones, as the user wrote them
    const char *rng;     // of sdgen
    const char *version; // "sdgen 0.1.0": the program that made it
};
// *text is the caller's (sdg_picture_free).
SDG_API enum sdg_result sdg_picture_parameters_write(sdg_log_fn log, void *log_user,
                                                     const struct sdg_picture_parameters *parameters, char **text);
// Reads such a text, also of other programs; what it does not know is left out, and a text without a line of
// "Steps: ..." is all prompt. *out and everything in it is one object of the caller's (sdg_picture_parameters_destroy).
// SDG_ERROR_INPUT, naming the entry, where a number is none.
SDG_API enum sdg_result sdg_picture_parameters_read(sdg_log_fn log, void *log_user, const char *text,
                                                    struct sdg_picture_parameters **out);
SDG_API void sdg_picture_parameters_destroy(struct sdg_picture_parameters **parameters);

#ifdef __cplusplus
}
#endif
#endif
