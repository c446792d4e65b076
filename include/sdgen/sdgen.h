// sdgen: Stable Diffusion on phones and desktops, as a C library.
//
//     struct sdg_pipeline *pipeline = NULL;
//     struct sdg_image *image = NULL;
//     if (sdg_pipeline_create(&(struct sdg_pipeline_params){.model = "models/emoji-128"}, &pipeline) == SDG_OK &&
//         sdg_generate(pipeline, &(struct sdg_generate_params){.prompt = "a red apple, 3d"}, &image, NULL) == SDG_OK)
//         use(image->pixels, image->width, image->height);       // RGB, 8 bit, rows from the top
//     sdg_image_destroy(&image);
//     sdg_pipeline_destroy(&pipeline);
//
// Rules that hold everywhere in sdgen/*.h:
//
// - A zero field of a parameter struct means "default": zero the struct, then set what you want. Where zero is itself
//   a value that can be wanted, the field is a struct sdg_number. The one exception is `seed`, which is used as it is,
//   0 included, so that equal parameters make equal pictures.
// - Where a function takes a larger struct than it needs, the fields it has no use for must be zero: SDG_ERROR_USAGE
//   names the one that is not.
// - A parameter struct and all it points to need only live until the function returns; a log callback and its `user`
//   as long as the handle they were given to.
// - On any result but SDG_OK outputs are NULL or untouched, nothing leaks, and one line with the reason went to the
//   log callback. A `const struct sdg_log *` may be NULL: silence. _destroy takes the address, sets it to NULL and
//   accepts NULL.
// - A pointer that must be given and is NULL is SDG_ERROR_USAGE.
// - Threads: a function without a handle may be called from any thread at any time. A handle belongs to no thread but
//   takes one call at a time, callbacks included: they must not use the handle that they are called from. A pipeline
//   answers a second call with SDG_ERROR_USAGE. Different pipelines may run at the same time. What differs is said
//   beside the handle.
// - Strings are UTF-8. A pointer to several values has its count beside it or its shape in the comment.
// - Structs, strings and arrays that a callback gets are valid during the call.
#ifndef SDGEN_SDGEN_H
#define SDGEN_SDGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdgen/files.h"
#include "sdgen/result.h"

#ifdef __cplusplus
extern "C" {
#endif

// SDG_BUILDING: the library itself is being compiled; SDG_STATIC: the program is linked with the static library.
#if defined(_WIN32) && defined(SDG_BUILDING)
#define SDG_API __declspec(dllexport)
#elif defined(_WIN32) && !defined(SDG_STATIC)
#define SDG_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define SDG_API __attribute__((visibility("default")))
#else
#define SDG_API
#endif

#define SDGEN_VERSION_MAJOR 0
#define SDGEN_VERSION_MINOR 1
#define SDGEN_VERSION_PATCH 0
// The version the library was built as, "0.1.0"; the header's is in the macros above. Static storage.
SDG_API const char *sdg_version(void);
// One line: what the build contains, separated by commas: "oneDNN 3.2.0, Vulkan shaders f32 f16 subgroup dot,
// GNU 12.2.0"; "oneDNN off" where it was left out. Static storage.
SDG_API const char *sdg_build_info(void);

// Raised whenever a struct, an enumeration or the meaning of a call changes; docs/api.md lists what. It is part of the
// link names of the functions that take or fill structs without a handle (sdg_pipeline_create is exported as
// sdg_pipeline_create_6), so that a program built against another header is refused by the linker instead of reading
// structs it does not know. Functions with a handle and _destroy need none: what they get came from one that has.
#define SDG_API_VERSION 6
#define SDG_LINK_NAME_(name, version) name##version
#define SDG_LINK_NAME(name, version) SDG_LINK_NAME_(name, version)
#define sdg_check_prompt SDG_LINK_NAME(sdg_check_prompt_, SDG_API_VERSION)
#define sdg_image_create SDG_LINK_NAME(sdg_image_create_, SDG_API_VERSION)
#define sdg_list_devices SDG_LINK_NAME(sdg_list_devices_, SDG_API_VERSION)
#define sdg_pipeline_create SDG_LINK_NAME(sdg_pipeline_create_, SDG_API_VERSION)

// A number that may be left out: {false} = default, {true, x} or sdg_number(x) = x.
struct sdg_number {
    bool given;
    double value;
};
static inline struct sdg_number sdg_number(double value)
{
    struct sdg_number number;
    number.given = true;
    number.value = value;
    return number;
}

// 8-bit RGB, row-major from the top, no padding. Created by the library or by sdg_image_create, freed by
// sdg_image_destroy. Plain memory: any number of threads may read it.
struct sdg_image {
    int width, height; // 1..16384
    uint8_t *pixels;   // [height][width][3]
};
// Zeroed pixels. SDG_ERROR_USAGE or SDG_ERROR_MEMORY, without a message: there is no log.
SDG_API enum sdg_result sdg_image_create(int width, int height, struct sdg_image **out);
SDG_API void sdg_image_destroy(struct sdg_image **image);

// How a pixel lies in memory, its bytes in their order.
enum sdg_pixel_format {
    SDG_PIXELS_RGB8,   // R G B, as in struct sdg_image
    SDG_PIXELS_RGBA8,  // R G B A; what Android's Bitmap calls ARGB_8888
    SDG_PIXELS_BGRA8,  // B G R A; on little-endian processors an int 0xAARRGGBB, a colour of Java and Android
    SDG_PIXELS_RGB_F32 // three floats, 0..1
};
// Pixels in memory of the caller's: where a picture goes, or what one is read from. The library writes what belongs to
// pixels, not what may lie between rows; A is written as 255 and not read.
struct sdg_pixels {
    enum sdg_pixel_format format;
    int width, height; // 1..16384
    void *data;        // aligned as its format needs: 4 bytes for floats
    size_t stride;     // bytes from a row to the next, of floats a multiple of 4; 0 = rows without gaps
    size_t size;       // bytes at `data`: at least stride * (height - 1) + one row
};
// Bytes of a pixel: 3, 4, 4, 12; 0 if there is no such format.
SDG_API size_t sdg_pixel_bytes(enum sdg_pixel_format format);

// Parameters with names are given as text and checked by the library, and values of enumerations have names for files,
// options and bindings. The names of a list, in the order of the values where they are an enumeration's:
enum sdg_names {
    SDG_NAMES_SAMPLER,
    SDG_NAMES_SCHEDULE,
    SDG_NAMES_RNG,
    SDG_NAMES_TYPE,
    SDG_NAMES_BACKEND,
    SDG_NAMES_PREDICTION,
    SDG_NAMES_FEATURE,      // what a backend can do without, see sdg_pipeline_params.disable
    SDG_NAMES_VAE_TILING,   // "auto", "on", "off"
    SDG_NAMES_INTERVALS,    // "calibrated", "resample"
    SDG_NAMES_STAGE,        // of struct sdg_progress
    SDG_NAMES_RESULT,       // enum sdg_result
    SDG_NAMES_LOG_LEVEL,    // enum sdg_log_level
    SDG_NAMES_KEEP,         // enum sdg_keep
    SDG_NAMES_PIXEL_FORMAT, // enum sdg_pixel_format
    SDG_NAMES_PREVIEW,      // enum sdg_preview_kind
    SDG_NAMES_PLAN_KERNELS  // enum sdg_plan_kernels
};
// NULL-terminated array of static strings; NULL if there is no such list.
SDG_API const char *const *sdg_names(enum sdg_names which);
// The name at `index`, static; NULL if there is none. sdg_name_at(SDG_NAMES_RESULT, result) is a result's name.
SDG_API const char *sdg_name_at(enum sdg_names which, int index);
// Where in the list a name is, which for an enumeration is its value; -1 if it is not there, or NULL.
SDG_API int sdg_name_index(enum sdg_names which, const char *name);
// For "did you mean": the name that differs from `name` in the fewest letters, and in at most half of them; NULL if
// none is near. Static.
SDG_API const char *sdg_name_nearest(enum sdg_names which, const char *name);
// "ok", "usage", "input", ...; "unknown" for a number that is no result. Static.
SDG_API const char *sdg_result_name(enum sdg_result result);

struct sdg_device {
    const char *name, *backend, *type, *driver, *note;
    uint64_t memory; // bytes
};
// Calls `fn` for every device there is; the log gets warnings about drivers that do not work.
SDG_API void sdg_list_devices(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device *device),
                              void *user);

struct sdg_progress {
    const char *stage;   // "text", "encode", "sample", "decode": SDG_NAMES_STAGE
    int step, steps;     // of the stage, 1-based when a step is done
    int image, images;   // as in the parameters; images is at least 1
    double seconds_step; // of the last step
    double seconds_left; // estimate for this image, all stages; negative if unknown
};
// Called when a stage begins and after each of its steps; in between, about ten times a second, with the same step
// again and seconds_left running down. Return false to cancel: the call ends with SDG_ERROR_CANCELLED when the
// operation that runs now is done, which on a GPU is a step of sampling. Called from the thread that called the
// library.
typedef bool (*sdg_progress_fn)(void *user, const struct sdg_progress *progress);

// What stays in memory between the pictures of one pipeline. Pictures are the same either way.
enum sdg_keep {
    SDG_KEEP_NOTHING, // networks are compiled for each picture and released as soon as it does not need them any more:
                      // a fifth of the time of small models' pictures
    SDG_KEEP_NETWORKS // UNet and decoder stay, for the next picture of the same size and steps, where the plan has room
};

struct sdg_engine; // sdgen/engine.h

struct sdg_pipeline_params {
    const char *model; // diffusers folder or single-file checkpoint; NULL = sdg_default_model()
    // Another autoencoder (AutoencoderKL, AutoencoderTiny or TAESD, a folder or file); NULL = the model's own, which is
    // not opened otherwise. One that has only a decoder takes no init image.
    const char *vae;
    // Folder with a tokenizer's files (tokenizer.json, or vocab.json and merges.txt), or with folders tokenizer and
    // tokenizer_2 of them, in place of the model's; NULL = the model's. A single file has none: then one beside it,
    // $SDGEN_TOKENIZER's, or CLIP's as tools/get-clip-tokenizer fetches it
    const char *tokenizer;
    // [file_count], what the three above name: files and folders of this list, see files.h, or paths that begin with a
    // /; then there is no default model. NULL and 0 = paths of the system
    const struct sdg_file *files;
    size_t file_count;
    // "auto", "cpu", "vulkan", "vulkan:1", "reference", or per stage "te=cpu,unet=vulkan,vae=cpu"; NULL = auto
    const char *backend;
    // "f32", "f16", "bf16"; NULL = the file's type where the device computes in it at full speed, else f32
    const char *type;
    // CPU threads, the caller's included, at most 1024; 0 = one a fast core, of those that the process may run on and
    // that its control groups' quotas pay for. If the system starts fewer, there are fewer, with a warning.
    int threads;
    double max_memory;  // bytes the plan may use in all; 0 = what the system has free
    enum sdg_keep keep; // between pictures
    bool no_mmap;       // read weights instead of mapping them
    bool validation;    // Vulkan validation layers; any message is an error
    // features of devices not to use, for tests and comparisons: names of SDG_NAMES_FEATURE, "subgroup,f16"; NULL =
    // none
    const char *disable;
    // The instruction sets the CPU's kernels may use at most, for tests and reports of faults: "generic", "avx2", ...
    // or features joined by commas; a wrong one is an error that lists them. NULL = all there are. oneDNN can only be
    // held to the first mask of a process and only before anything else used it; otherwise it is left out.
    const char *cpu_mask;
    const char *cache_dir; // Vulkan pipeline cache; "" = none, NULL = the user's cache folder
    // Vulkan: seconds that a device may be busy with one piece of work before others, like the screen, get their turn
    // and watchdogs see it alive; 0 = a step is one piece; default 1 on graphics cards, 0.1 on other devices
    struct sdg_number submit_time;
    const char *vae_tiling;             // "auto" (NULL), "on", "off"
    int vae_tile_size;                  // latent pixels, 8..1024; 0 = 32
    struct sdg_number vae_tile_overlap; // 0..0.75 of a tile; default 0.5
    const char *prediction;             // "eps", "v"; NULL = the model's
    bool no_correction; // of the sampler for a quantized model's mean error, where the model carries one
    // of a quantized model with an interval for each token, at another size than that of its calibration: "calibrated"
    // refuses it, "resample" interpolates the intervals over the picture; NULL = calibrated
    const char *intervals;
    // Threads, devices, caches and memory that are shared with other handles. What belongs to it must be zero here:
    // threads, max_memory, validation, disable, cpu_mask, cache_dir, submit_time. NULL = an engine of the pipeline's
    // own, made from these
    struct sdg_engine *engine;
    struct sdg_log log;
    // [error_size], the caller's: sdg_pipeline_create leaves there the line with the reason if it fails, else "", with
    // or without a log. It only has to live until that returns. NULL and 0 = not wanted
    char *error;
    size_t error_size;
};

// What a model is, for callers that prepare arrays, pictures or a user interface.
struct sdg_pipeline_info {
    const char *model; // name of its folder or file, without the path
    int width, height; // pixels of a picture when no size is asked for
    int factor;        // pixels of the picture per latent pixel, along a side: widths and heights are multiples of it
    int latent_channels;
    double cfg_scale; // when none is asked for
    // How the model's folder wants to be drawn where nothing is asked for; NULL, 0 and {false}: it does not say, and
    // the usual is taken, see sdg_generate_params
    const char *sampler, *schedule;
    int steps;
    struct sdg_number eta;  // of that sampler
    const char *prediction; // "eps", "v", "sample"
    const char *scheme;     // of a quantized model ("w8a8-tdq"); NULL = it is none
    bool inpainting;        // it needs an init image and a mask
    bool sdxl;              // two text encoders
    bool lcm;               // guidance is an input of the network: one branch, whatever the scale
    bool encodes;           // it takes pictures: its autoencoder is more than a decoder
    int prompt_tokens;      // of a chunk of a prompt, begin and end included: 77
    int embedding_dim;      // numbers per token of a struct sdg_embedding
    int pooled_dim;         // of SDXL, else 0
}; // strings are valid as long as the pipeline

// ---- pictures while they are drawn ----

enum sdg_preview_kind {
    SDG_PREVIEW_NONE,
    // The latent's channels mapped to RGB, see sdg_preview in sdgen/picture.h: costs nothing worth measuring. Nothing
    // is shown of models that have none (sdg_preview_has).
    SDG_PREVIEW_PROJECTION,
    // The model's autoencoder, whole or in tiles as for the picture itself: as long as the stage "decode" each time, so
    // for small ones (TAESD), and its memory beside the UNet's; where the plan has no room for it, by projection
    SDG_PREVIEW_DECODER
};
// One of them. What it points to is the library's and valid during the call.
struct sdg_preview_picture {
    int step, steps; // that were done, of the sampler; the last one shows the picture itself and has no preview
    int image;       // as in struct sdg_progress
    enum sdg_preview_kind kind; // what it was made with
    struct sdg_pixels pixels;   // of the picture's size, rows without gaps
};
struct sdg_preview_request {
    enum sdg_preview_kind kind; // zero: no previews, and the rest is of no meaning
    int interval;               // after every so many steps; 0 = 1
    enum sdg_pixel_format format;
    void (*fn)(void *user, const struct sdg_preview_picture *preview); // called from the thread that called the library
    void *user;
};

// A prompt as the UNet takes it: sdg_encode_prompt in sdgen/parts.h makes it, other programs may too.
struct sdg_embedding {
    int tokens;     // a multiple of sdg_pipeline_info.prompt_tokens
    int dim;        // sdg_pipeline_info.embedding_dim
    int pooled_dim; // sdg_pipeline_info.pooled_dim: of SDXL, else 0
    float *data;    // [tokens][dim], finite
    float *pooled;  // [pooled_dim], finite; NULL where pooled_dim is 0
};

struct sdg_generate_params {
    // UTF-8, in the syntax of docs/prompts.md: weights, BREAK, AND, [from:to:when], [a|b]. NULL = ""
    const char *prompt;
    const char *negative_prompt; // the same, but for AND; NULL = absent
    bool plain_prompt;           // both are taken literally
    int width, height;           // multiples of sdg_pipeline_info.factor, at most 16384; 0 = init image's, else model's
    // 1..1000; 0 = sdg_pipeline_info.steps, else 20 (of a latent consistency model 4), or what `sigmas` has, which must
    // not contradict
    int steps;
    // -1000..1000; default sdg_pipeline_info.cfg_scale (7, of an LCM 8.5). At most 1 runs one branch
    struct sdg_number cfg_scale;
    // NULL = sdg_pipeline_info.sampler and .schedule, else euler_a and discrete, but the model's own scheduler for
    // `schedule` "model" and where the model needs it: noise levels that are not of betas, zero terminal SNR, trailing
    // timesteps, distilled models
    const char *sampler, *schedule;
    struct sdg_number eta; // 0..1; default sdg_pipeline_info.eta where that sampler is taken, else the sampler's
    // [sigma_count] falling, in place of `schedule` (which must be NULL) and `steps`; a final 0 is no step. NULL = none
    const double *sigmas;
    int sigma_count;
    uint64_t seed;                      // used as it is, 0 included
    const char *rng, *sampler_rng;      // NULL = cuda; sampler_rng NULL = one generator for all
    int clip_skip;                      // layer of the text encoder from its end, 1 = the last; 0 = the model's own
    const struct sdg_image *init_image; // img2img: already of width x height; NULL = none
    struct sdg_number strength;         // of img2img, above 0, at most 1; default 0.75; only with init_image
    // inpainting, with init_image: [height][width], 128 and above is painted anew; NULL = none
    const uint8_t *mask;
    size_t mask_count; // of mask: width * height of the picture
    // [latent_channels][height / factor][width / factor], finite, in place of the first draw; NULL = drawn
    const float *noise;
    size_t noise_count; // of noise, must be the product of these
    // The same shape and scale as sdg_encode_picture makes and sdg_decode takes, in place of an init image: what it
    // would be encoded to. Not with a mask. NULL = none
    const float *init_latent;
    size_t init_latent_count; // of init_latent
    // In place of `prompt` and `negative_prompt`, which must be NULL, and of clip_skip: both where there is guidance,
    // of equally many tokens, else the first alone. NULL = none
    const struct sdg_embedding *embedding, *negative_embedding;
    // Of sdg_generate_into and sdg_generate_latents: how many pictures the UNet computes at once at most, 1..64; 0 = as
    // it suits. What memory has no room for is drawn one after the other
    int batch;
    int image, images; // handed to `progress`, without any other effect: number in a batch, 0-based, and its size
    sdg_progress_fn progress; // NULL = none
    void *progress_user;
    // After every step with the latent [c][h][w] f32; NULL = not wanted. Of several pictures, which are drawn one after
    // the other then, each in its turn.
    void (*latent)(void *user, int step, int steps, const float *latent, int c, int h, int w);
    void *latent_user;
    struct sdg_preview_request preview;
};

// What was really used, for the caller's records.
struct sdg_generate_info {
    uint64_t seed;
    int width, height, steps, clip_skip;
    double cfg_scale, eta;
    const char *sampler, *schedule, *rng, *model_name; // valid as long as the pipeline
    // Of all stages, or stage by stage, as sdg_pipeline_params.backend takes them: "cpu", "te=cpu,unet=vulkan,vae=cpu";
    // types likewise, "bf16", "te=f32,unet=bf16,vae=f32". Valid as long as the pipeline.
    const char *backend, *type;
    bool tiled; // the autoencoder ran in tiles
    double seconds_load, seconds_text, seconds_sample, seconds_decode, seconds_total;
    size_t peak_planned, peak_resident; // bytes; peak_resident is 0 where the system does not say
};

// An open model. Its memory is that of mapped files until the first picture; afterwards also what
// sdg_pipeline_params.keep says, and the embeddings of the last prompts.
struct sdg_pipeline;

// Opens and checks the model; weights are mapped, not read. The files must not change as long as the pipeline is open;
// descriptors of sdg_pipeline_params.files may be closed at once.
// *out is the caller's, see sdg_pipeline_destroy.
SDG_API enum sdg_result sdg_pipeline_create(const struct sdg_pipeline_params *params, struct sdg_pipeline **out);
// Not while another call uses the pipeline. Images and infos that it made stay valid, but for the infos' strings.
SDG_API void sdg_pipeline_destroy(struct sdg_pipeline **pipeline);
// Cheap, and allowed at any time, also during another call.
SDG_API void sdg_pipeline_info(const struct sdg_pipeline *pipeline, struct sdg_pipeline_info *out);
// The line with the reason why the last call on the pipeline failed, "" if it did not: what the log callback got, for
// callers without one. Valid until the next call on the pipeline; not while one runs. A call that was refused because
// another one ran leaves nothing here. "" for NULL. Of sdg_pipeline_create, see sdg_pipeline_params.error.
SDG_API const char *sdg_pipeline_error(const struct sdg_pipeline *pipeline);

// Prompt -> picture. Blocks until the pixels are in host memory. *out is the caller's (sdg_image_destroy), NULL on
// failure. `info` may be NULL; it is written on success only.
SDG_API enum sdg_result sdg_generate(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                     struct sdg_image **out, struct sdg_generate_info *info);
// Prompt -> `count` pictures, into the caller's memory: pixels[i] gets the one with the seed params->seed + i, which is
// the one that a call for it alone makes, to the rounding of the type that the UNet computes in (sdg_generate_params
// says how many it draws at once). All of the picture's size, sdg_pipeline_info's unless params say another: anything
// else, a stride that a row does not fit in, or a size that the rows do not, is SDG_ERROR_USAGE, before anything is
// computed. `infos` [count] may be NULL. On failure what `pixels` point to is undefined and infos are untouched.
// Progress counts from params->image on, of params->images or, where that is 0, `count`.
SDG_API enum sdg_result sdg_generate_into(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                          const struct sdg_pixels *pixels, size_t count,
                                          struct sdg_generate_info *infos);
// The same without the last stage: the latents when the sampler is done, to be kept or decoded later (sdg_decode in
// sdgen/parts.h). `latents` [count][latent_channels][height / factor][width / factor] are the caller's, `numbers` of
// them in all, which must be the product of these. On failure they are undefined.
SDG_API enum sdg_result sdg_generate_latents(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                             float *latents, size_t numbers, size_t count,
                                             struct sdg_generate_info *infos);
// What sdg_generate refuses in a prompt whatever the model is, for programs that want to say it before they open one.
// SDG_ERROR_USAGE: not UTF-8, or more than 16 MiB. SDG_ERROR_UNSUPPORTED, unless `plain`: <name:...>, which asks for a
// LoRA or another network beside the model; a < without a name and a colon is text. `what` begins the message: "the
// prompt".
SDG_API enum sdg_result sdg_check_prompt(const struct sdg_log *log, const char *what, const char *prompt, bool plain);
// Makes the call that uses the pipeline now end with SDG_ERROR_CANCELLED, as a progress callback can. Allowed from any
// thread at any time, and in a signal handler; nothing happens when no call runs, and the next one is not affected.
// Must not race with sdg_pipeline_destroy. NULL is fine.
SDG_API void sdg_cancel(struct sdg_pipeline *pipeline);
// What sdg_plan says of the kernels of each network.
enum sdg_plan_kernels {
    SDG_PLAN_NO_KERNELS,
    SDG_PLAN_COUNTED_KERNELS, // how many operations run on which one
    SDG_PLAN_EVERY_KERNEL,    // each operation by name, hundreds of lines
};
// The stages, their memory and the kernels that would be used, one line per call of `fn`, of at most 80 columns but for
// names; generates nothing. SDG_ERROR_USAGE where sdg_generate would refuse the parameters, SDG_ERROR_MEMORY where
// nothing fits.
SDG_API enum sdg_result sdg_plan(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                 enum sdg_plan_kernels kernels, void (*fn)(void *user, const char *line), void *user);
// $SDGEN_MODEL, else the installed default model, else models/emoji-128 of the source tree; NULL if none exists. Valid
// until the environment changes.
SDG_API const char *sdg_default_model(void);

// For signal handlers of programs; the library installs none. Both are async-signal-safe.
//
// The model file that is mapped at this address, by its path or its name in sdg_pipeline_params.files: a SIGBUS there
// means that the file was cut or replaced while it was in use (sdg_pipeline_params.no_mmap avoids that). NULL where
// none is. Valid as long as the pipeline.
SDG_API const char *sdg_file_at(const void *address);
// Removes from the disk what the library has begun to write and not completed. For processes that end right afterwards.
SDG_API void sdg_discard_outputs(void);

#ifdef __cplusplus
}
#endif
#endif
