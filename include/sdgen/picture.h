// Pictures around the pipeline, for programs, apps and servers: files and their bytes, fitting to a size, the text that
// says how a picture was made, and a rough look at a latent while it is drawn. Nothing here needs a pipeline.
//
//     struct sdg_image *photo = NULL, *init = NULL;
//     if (sdg_picture_read(log, "photo.jpg", &photo) == SDG_OK &&
//         sdg_picture_fit(log, photo, 512, 512, &init) == SDG_OK)
//         ... sdg_generate with .init_image = init ...
#ifndef SDGEN_PICTURE_H
#define SDGEN_PICTURE_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_picture_format_of SDG_LINK_NAME(sdg_picture_format_of_, SDG_API_VERSION)
#define sdg_picture_read SDG_LINK_NAME(sdg_picture_read_, SDG_API_VERSION)
#define sdg_picture_decode SDG_LINK_NAME(sdg_picture_decode_, SDG_API_VERSION)
#define sdg_picture_write SDG_LINK_NAME(sdg_picture_write_, SDG_API_VERSION)
#define sdg_picture_encode SDG_LINK_NAME(sdg_picture_encode_, SDG_API_VERSION)
#define sdg_picture_text SDG_LINK_NAME(sdg_picture_text_, SDG_API_VERSION)
#define sdg_picture_decode_alpha SDG_LINK_NAME(sdg_picture_decode_alpha_, SDG_API_VERSION)
#define sdg_picture_composite SDG_LINK_NAME(sdg_picture_composite_, SDG_API_VERSION)
#define sdg_picture_keep SDG_LINK_NAME(sdg_picture_keep_, SDG_API_VERSION)
#define sdg_picture_mask SDG_LINK_NAME(sdg_picture_mask_, SDG_API_VERSION)
#define sdg_picture_place SDG_LINK_NAME(sdg_picture_place_, SDG_API_VERSION)
#define sdg_picture_fit SDG_LINK_NAME(sdg_picture_fit_, SDG_API_VERSION)
#define sdg_picture_brightness SDG_LINK_NAME(sdg_picture_brightness_, SDG_API_VERSION)
#define sdg_preview SDG_LINK_NAME(sdg_preview_, SDG_API_VERSION)
#define sdg_picture_parameters_write SDG_LINK_NAME(sdg_picture_parameters_write_, SDG_API_VERSION)
#define sdg_picture_parameters_read SDG_LINK_NAME(sdg_picture_parameters_read_, SDG_API_VERSION)

enum { SDG_PICTURE_SIDE = 16384 }; // pixels a side at most

// ---- files ----
// No file is trusted: sides are at most SDG_PICTURE_SIDE, files and buffers at most 256 MiB, and a broken one is
// SDG_ERROR_INPUT. A library that was built without picture files (SDG_PICTURES=off) knows PNM only, the rest is
// SDG_ERROR_UNSUPPORTED, as WebP is without libwebp.

enum sdg_picture_format { SDG_PICTURE_PNG, SDG_PICTURE_PPM, SDG_PICTURE_JPEG };

// The format that a file name asks for. SDG_ERROR_USAGE if its extension is none of .png .ppm .jpg .jpeg (in any case).
SDG_API enum sdg_result sdg_picture_format_of(const struct sdg_log *log, const char *path,
                                              enum sdg_picture_format *out);

// PNG, JPEG, BMP, WebP or PNM (PPM, PGM, PBM), whatever the name says, as RGB of 8 bits: upright (EXIF's or XMP's
// orientation is applied), and on white where it is transparent. *out is the caller's (sdg_image_destroy). From a file,
// and from `data` [size] in memory, which messages call `name`.
SDG_API enum sdg_result sdg_picture_read(const struct sdg_log *log, const char *path, struct sdg_image **out);
SDG_API enum sdg_result sdg_picture_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                           struct sdg_image **out);

// The same with what lies under the transparency: *alpha [height][width], 255 = opaque, is the caller's
// (sdg_picture_free), NULL where every pixel is opaque.
SDG_API enum sdg_result sdg_picture_decode_alpha(const struct sdg_log *log, const char *name, const void *data,
                                                 size_t size, struct sdg_image **out, uint8_t **alpha);

// `text` (UTF-8; NULL = none) goes into a PNG's text chunk "parameters", or a JPEG's EXIF comment (left out with a
// warning if it is too long for one, about 32000 characters); PPM carries no text. A file appears under its name
// complete or not at all; *data [*size] is the caller's (sdg_picture_free).
SDG_API enum sdg_result sdg_picture_write(const struct sdg_log *log, const char *path, enum sdg_picture_format format,
                                          const struct sdg_image *image, const char *text);
SDG_API enum sdg_result sdg_picture_encode(const struct sdg_log *log, enum sdg_picture_format format,
                                           const struct sdg_image *image, const char *text, uint8_t **data,
                                           size_t *size);

// The text "parameters" of a PNG, or the EXIF comment of a PNG, JPEG or WebP (which needs no libwebp), in memory,
// `data` [size], as UTF-8 without control characters except line ends and tabs. *text is the caller's
// (sdg_picture_free). SDG_ERROR_INPUT if it is none of these, is broken before the text, or has none; the message says
// whose texts it has instead, if they are known.
SDG_API enum sdg_result sdg_picture_text(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                         char **text);

// Frees bytes and texts that functions of this header returned; NULL is fine.
SDG_API void sdg_picture_free(void *memory);

// ---- pixels ----

// Scales a picture to cover width x height, keeping its proportions, and cuts the middle out of it. *out is the
// caller's. SDG_ERROR_USAGE unless both sides are 1..SDG_PICTURE_SIDE.
SDG_API enum sdg_result sdg_picture_fit(const struct sdg_log *log, const struct sdg_image *image, int width, int height,
                                        struct sdg_image **out);
// The middle of a picture of width x height, or the picture in the middle of a larger one, whose edges repeat the
// picture's; each side by itself. Placing on a larger size and back gives the same pixels. *out is the caller's.
// SDG_ERROR_USAGE unless both sides are 1..SDG_PICTURE_SIDE.
SDG_API enum sdg_result sdg_picture_place(const struct sdg_log *log, const struct sdg_image *image, int width,
                                          int height, struct sdg_image **out);
// Puts a picture on a background, in place. `alpha` [height][width], as sdg_picture_decode_alpha gives it.
SDG_API void sdg_picture_composite(struct sdg_image *image, const uint8_t *alpha, const uint8_t background[3]);
// Puts the pixels of `original` back where `mask` [height][width] is below 128: after inpainting they have been through
// the autoencoder, which changes them a little. All three are of one size.
SDG_API void sdg_picture_keep(struct sdg_image *image, const struct sdg_image *original, const uint8_t *mask);

// How a picture was taken for a mask.
enum sdg_mask_kind {
    SDG_MASK_BRIGHTNESS, // white is painted anew; where it is transparent it counts as black
    SDG_MASK_ERASED,     // what was erased from a picture, or from black, is painted anew
    SDG_MASK_BRUSH       // strokes of one colour, or of light ones, on nothing: what is opaque is painted anew
};
// A mask for sdg_generate_params.mask from a decoded picture: its brightness, unless some of it is transparent; then
// what is in it decides. `out` [height][width] is the caller's; `alpha` may be NULL.
SDG_API enum sdg_mask_kind sdg_picture_mask(const struct sdg_image *image, const uint8_t *alpha, uint8_t *out);
// The brightness of each pixel (ITU-R BT.601), for sdg_generate_params.mask. `out` [height][width] is the caller's.
SDG_API void sdg_picture_brightness(const struct sdg_image *image, uint8_t *out);

// ---- a rough look at a latent ----

struct sdg_preview_params {
    const float *latent;         // [channels][height][width], as sdg_generate_params.latent hands it out
    int channels, height, width; // of the latent
    int factor; // pixels of the preview per latent pixel, 1..64: the model's (sdg_pipeline_info) for full size; 0 = 1
};
// Whether latents of so many channels have a preview: those of Stable Diffusion 1.x, which have 4.
SDG_API bool sdg_preview_has(int channels);
// A linear map of the channels to RGB, each latent pixel a square of factor x factor; early latents, which are noise
// mostly, are dimmed to fit. *out is the caller's. SDG_ERROR_UNSUPPORTED where sdg_preview_has says no.
SDG_API enum sdg_result sdg_preview(const struct sdg_log *log, const struct sdg_preview_params *params,
                                    struct sdg_image **out);

// ---- how a picture was made ----
// As text for a PNG or JPEG, in the form that A1111's web interface writes and reads:
//     a red apple, 3d
//     Negative prompt: blurry
//     Steps: 20, Sampler: Euler a, Schedule type: Discrete, CFG scale: 7, Seed: 42, Size: 512x512, Model: sd15

struct sdg_picture_parameters { // NULL, 0 or not given = absent
    const char *prompt, *negative_prompt;
    bool plain_prompt; // no A1111 weights
    int steps, width, height, clip_skip;
    const char *sampler, *schedule; // as sdg_names has them; others stay as they are
    struct sdg_number cfg_scale, strength, eta;
    bool seed_given; // not a struct sdg_number, which holds 53 bits of the 64
    uint64_t seed;   // 0 unless seed_given
    const char *model, *vae;
    const char *sigmas;         // custom ones, as the user wrote them
    const char *rng;            // of sdgen
    const char *sampler_rng;    // if it is another
    const char *type, *backend; // as sdg_pipeline_params has them
    const char *prediction;     // if the model was told to predict something else
    const char *scheme;         // of a quantized model
    bool no_correction;         // of a quantized model
    bool resampled_intervals;   // of a quantized model
    const char *tile_size;      // latent pixels, "32x32"; NULL = the autoencoder ran in one piece
    struct sdg_number tile_overlap;
    // Files that it started from: names without a path, and a hash of what is in them, 16 hexadecimal digits.
    const char *init_image, *init_image_hash, *mask, *mask_hash, *noise, *noise_hash;
    const char *init_alpha_color; // background of the init image, unless white
    bool unmasked_changed;        // what is outside of the mask was not put back
    const char *version;          // "sdgen 0.1.0": the program that made it
    // Read only: names of entries of other programs, ", " between them, that may have changed the picture and that
    // nothing above stands for; NULL = none.
    const char *others;
};
// *text is the caller's (sdg_picture_free).
SDG_API enum sdg_result sdg_picture_parameters_write(const struct sdg_log *log,
                                                     const struct sdg_picture_parameters *parameters, char **text);
// The hash that stands there for a file: 64 bits of FNV-1a of its bytes `data` [size], as text.
SDG_API void sdg_picture_hash(const void *data, size_t size, char out[17]);
// Reads such a text, also of other programs; what it does not know is left out, and a text without a line of
// "Steps: ..." is all prompt. *out and everything in it is one object of the caller's (sdg_picture_parameters_destroy).
// SDG_ERROR_INPUT, naming the entry, where a number is none.
SDG_API enum sdg_result sdg_picture_parameters_read(const struct sdg_log *log, const char *text,
                                                    struct sdg_picture_parameters **out);
SDG_API void sdg_picture_parameters_destroy(struct sdg_picture_parameters **parameters);

#ifdef __cplusplus
}
#endif
#endif
