// The command line of sdgen: the table of options and what a checked command line says.
#ifndef SDG_APPS_SDGEN_OPTIONS_H
#define SDG_APPS_SDGEN_OPTIONS_H

#include "common/options.h"
#include "sdgen/engine.h"
#include "sdgen/picture.h"

// The fields the table fills. Names end as given; NULL = not given and no default.
struct sdgen_values {
    const char *mode, *image, *metadata_format; // -M metadata --image F
    const char *from;
    const char *prompt, *prompt_file, *negative, *negative_file, *syntax;
    const char *model, *vae, *type, *backend, *prediction, *intervals;
    const char *output, *sampler, *schedule, *sigmas, *rng, *sampler_rng;
    const char *init_image, *init_alpha_color, *mask, *preview, *preview_path;
    const char *load_noise, *dump_latents, *dump_steps, *cache_folder, *tile_size, *disable, *cpu_mask, *max_memory;
    const char *cores, *limits;
    int64_t width, height, steps, batch, begin_index, clip_skip, threads, preview_interval;
    struct app_seed seed;
    struct sdg_number cfg_scale, eta, submit_time;
    double strength, tile_overlap;
    bool mmap, no_mmap, no_correction, tiling, no_tiling, list_devices, plan, version, verbose, quiet, color,
        no_metadata, validation, no_clobber, keep_unmasked, no_keep_unmasked;
};

struct sdgen_options {
    struct sdgen_values values;
    struct app_arguments arguments;
    char *prompt, *negative; // from the command line or a file, owned; negative NULL = absent
    double sigmas[1024];     // --sigmas
    int sigma_count;
    struct sdg_device_limits limits;                // --device-limits
    int tile;                                       // latent pixels, 0 = the library's
    double max_memory;                              // --max-vram in GiB, 0 = what is free
    int threads;                                    // 0 = the library's
    bool keep_unmasked;                             // pixels outside of the mask are the init image's
    uint8_t background[3];                          // --init-alpha-color
    struct sdgen_from *from;                        // --from: what `values` may point into; owned
    enum sdg_picture_format format, preview_format; // of the output, of the preview
};

extern const struct app_command sdgen_command;

// stable-diffusion.cpp's options that the table does not have.
enum { SDGEN_OTHERS = 117 };
extern const struct app_other sdgen_others[SDGEN_OTHERS];

// A picture file as bytes (sdg_free); "-" is standard input. *name is what messages call it.
enum sdg_result sdgen_read_file(struct app_ui *ui, const char *path, const char **name, char **data, size_t *size);

// Reads and checks a command line, without opening any file but prompts. Prints the help where asked
// (arguments.helped).
enum sdg_result sdgen_options_read(struct app_ui *ui, int argc, char **argv, struct sdgen_options *options);
void sdgen_options_free(struct sdgen_options *options);
bool sdgen_given(const struct sdgen_options *options, const char *name);

#endif
