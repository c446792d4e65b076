// sdgen: Stable Diffusion on phones and desktops, as a C library.
//
//     struct sdg_pipeline *pl = NULL;
//     struct sdg_image *image = NULL;
//     if (sdg_pipeline_create(&(struct sdg_pipeline_params){.model = "models/emoji-128"}, &pl) == SDG_OK &&
//         sdg_generate(pl, &(struct sdg_generate_params){.prompt = "a red apple, 3d"}, &image, NULL) == SDG_OK)
//         use(image->pixels, image->width, image->height);       // RGB, 8 bit, rows from the top
//     sdg_image_destroy(&image);
//     sdg_pipeline_destroy(&pl);
//
// Rules that hold everywhere: a zero field of a parameter struct means "default"; on any result but SDG_OK outputs are
// NULL or untouched, nothing leaks, and one line with the reason went to the log callback; _destroy takes the address,
// sets it to NULL and accepts NULL. Strings are UTF-8.
#ifndef SDGEN_SDGEN_H
#define SDGEN_SDGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdgen/result.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define SDG_API __declspec(dllexport)
#elif defined(__GNUC__)
#define SDG_API __attribute__((visibility("default")))
#else
#define SDG_API
#endif

#define SDGEN_VERSION_MAJOR 0
#define SDGEN_VERSION_MINOR 1
#define SDGEN_VERSION_PATCH 0
// The version the library was built as, "0.1.0"; programs compare it with the header's.
SDG_API const char *sdg_version(void);
// One line: what the build contains ("oneDNN 3.2.0, Vulkan (f16 dot coopmat), AVX-512 ...").
SDG_API const char *sdg_build_info(void);

// 8-bit RGB, row-major from the top, no padding. Created by the library or by sdg_image_create, freed by
// sdg_image_destroy.
struct sdg_image {
    int width, height;
    uint8_t *pixels; // [height][width][3]
};
SDG_API enum sdg_result sdg_image_create(int width, int height, struct sdg_image **out); // zeroed; 1..16384 a side
SDG_API void sdg_image_destroy(struct sdg_image **image);

// Parameters with names are given as text and checked by the library; lists of the legal names for help texts and
// errors:
enum sdg_names {
    SDG_NAMES_SAMPLER,
    SDG_NAMES_SCHEDULE,
    SDG_NAMES_RNG,
    SDG_NAMES_TYPE,
    SDG_NAMES_BACKEND,
    SDG_NAMES_PREDICTION
};
// NULL-terminated array of static strings.
SDG_API const char *const *sdg_names(enum sdg_names which);

struct sdg_device {
    const char *name, *backend, *type, *driver, *note;
    uint64_t memory; // bytes
};
SDG_API void sdg_list_devices(sdg_log_fn log, void *log_user, void (*fn)(void *user, const struct sdg_device *device),
                              void *user);

struct sdg_progress {
    const char *stage;   // "text", "encode", "sample", "decode"
    int step, steps;     // of the stage, 1-based when a step is done
    int image, images;   // batch, 0-based
    double seconds_step; // of the last step
    double seconds_left; // estimate for this image, all stages; negative if unknown
};
// Return false to cancel: the call ends within one step with SDG_ERROR_CANCELLED. Called from the thread that called
// the library.
typedef bool (*sdg_progress_fn)(void *user, const struct sdg_progress *progress);

struct sdg_pipeline_params {
    const char *model; // diffusers folder or single-file checkpoint; NULL = sdg_default_model()
    const char *vae;   // replacement autoencoder (AutoencoderKL or AutoencoderTiny); NULL = the model's
    // "auto", "cpu", "vulkan", "vulkan:1", "reference", or per stage "te=cpu,unet=vulkan,vae=cpu"; NULL = auto
    const char *backend;
    // "f32", "f16", "bf16"; NULL = the file's type where the device computes in it at full speed, else f32
    const char *type;
    int threads;       // CPU threads; 0 = physical cores
    double max_memory; // bytes the plan may use in all; 0 = what the system has free
    bool no_mmap;      // read weights instead of mapping them
    bool validation;   // Vulkan validation layers; any message is an error
    unsigned disable;  // rungs of the feature ladder turned off, for tests
    // The instruction sets the CPU's kernels may use at most, for tests and reports of faults: "generic", "avx2", ...
    // or features joined by commas; a wrong one is an error that lists them. NULL = all there are. oneDNN can only be
    // held to the first mask of a process and only before anything else used it; otherwise it is left out.
    const char *cpu_mask;
    const char *cache_dir;   // Vulkan pipeline cache; NULL = the user's cache folder
    const char *vae_tiling;  // "auto" (NULL), "on", "off"
    int vae_tile_size;       // latent pixels, 0 = 32
    double vae_tile_overlap; // 0..0.75 of a tile; 0 = 0.5, negative = none
    const char *prediction;  // "eps", "v"; NULL = the model's
    bool no_correction;      // of the sampler for a quantized model's mean error, where the model carries one
    sdg_log_fn log;          // NULL = silence
    void *log_user;
    enum sdg_log_level log_level; // messages above are not formatted; SDG_LOG_ERROR is 0
};

struct sdg_generate_params {
    const char *prompt;          // NULL = ""
    const char *negative_prompt; // NULL = absent
    bool plain_prompt;           // no A1111 weights
    int width, height;           // multiples of 8; 0 = the model's size or the init image's
    int steps;                   // 0 = 20
    const double *cfg_scale;     // NULL = 7.0; at most 1 runs one branch
    const char *sampler;         // NULL = euler_a (or what `schedule` "model" says)
    const char *schedule;        // NULL = discrete
    const double *eta;           // NULL = the sampler's default
    const double *sigmas;
    int sigma_count;                    // custom sigmas
    int64_t seed;                       // used as it is, 0 included
    const char *rng, *sampler_rng;      // NULL = cuda; sampler_rng NULL = one generator for all
    int clip_skip;                      // 0 = the model's own
    const struct sdg_image *init_image; // img2img: already of width x height
    const double *strength;             // NULL = 0.75
    // inpainting, with init_image: [height][width], 128 and above is painted anew; NULL = none
    const uint8_t *mask;
    int image, images;  // for progress only: number in a batch
    const float *noise; // [4][h][w] instead of the first draw; NULL = drawn
    sdg_progress_fn progress;
    void *progress_user;
    // After every step with the latent [c][h][w] f32 (valid during the call); NULL = not wanted.
    void (*latent)(void *user, int step, int steps, const float *latent, int c, int h, int w);
    void *latent_user;
};

// What was really used, for the caller's records.
struct sdg_generate_info {
    int64_t seed;
    int width, height, steps, clip_skip;
    double cfg_scale, eta;
    const char *sampler, *schedule, *rng, *model_name; // valid as long as the pipeline
    double seconds_load, seconds_text, seconds_sample, seconds_decode, seconds_total;
    size_t peak_planned, peak_resident; // bytes
};

struct sdg_pipeline;

// Opens and checks the model; weights are mapped, not read. Thread-safety: one call at a time per pipeline.
SDG_API enum sdg_result sdg_pipeline_create(const struct sdg_pipeline_params *params, struct sdg_pipeline **out);
SDG_API void sdg_pipeline_destroy(struct sdg_pipeline **pipeline);
// Prompt -> picture. Blocks until the pixels are in host memory; *out is owned by the caller. `info` may be NULL.
SDG_API enum sdg_result sdg_generate(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                                     struct sdg_image **out, struct sdg_generate_info *info);
// The stages, their memory and the kernels that would be used, one line per call of `fn`; generates nothing.
SDG_API enum sdg_result sdg_plan(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params, bool kernels,
                                 void (*fn)(void *user, const char *line), void *user);
// $SDGEN_MODEL, else the installed default model, else models/emoji-128 of the source tree; NULL if none exists. Static
// storage.
SDG_API const char *sdg_default_model(void);

#ifdef __cplusplus
}
#endif
#endif
