#include "sdgen_options.h"

#include "sdgen_from.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"
#include "common/output.h"
#include "common/prompts.h"
#include "common/frame.h"
#include "sdgen/array.h"

#define LIST(name, ...)                                        \
    static const char *const *name(void)                       \
    {                                                          \
        static const char *const list[] = {__VA_ARGS__, NULL}; \
        return list;                                           \
    }

LIST(mode_names, "img_gen", "metadata")
LIST(syntax_names, "a1111", "plain")
LIST(metadata_format_names, "text", "json")

// Names of stable-diffusion.cpp's, and what it has besides.
static const char *const sampler_aliases[] = {"ddim_leading", "ddim", "plms", "pndm", NULL};
static const char *const samplers_later[] = {
    "ipndm",          "ipndm_v",  "res_multistep",  "res_2s",      "er_sde", "euler_cfg_pp",
    "euler_a_cfg_pp", "euler_ge", "dpm++2m_sde_bt", "dpm++3m_sde", NULL};
static const char *const schedule_aliases[] = {"normal", "discrete", NULL};
static const char *const schedules_later[] = {"gits", "smoothstep", "kl_optimal", "lcm", "bong_tangent", NULL};
static const char *const modes_later[] = {"vid_gen", "upscale", "convert", "adetailer", NULL};
static const char *const previews_later[] = {"tae", NULL};
static const char *const predictions_later[] = {"edm_v", "sd3_flow", "flux_flow", "flux2_flow", "sefi_flow", NULL};

// What people try first.
static const char *const synonyms[] = {"sampler",
                                       "sampling-method",
                                       "method",
                                       "sampling-method",
                                       "schedule",
                                       "scheduler",
                                       "neg",
                                       "negative-prompt",
                                       "cfg",
                                       "cfg-scale",
                                       "guidance-scale",
                                       "cfg-scale",
                                       "size",
                                       "width",
                                       "out",
                                       "output",
                                       "outfile",
                                       "output",
                                       "num-steps",
                                       "steps",
                                       "init-image",
                                       "init-img",
                                       "denoise",
                                       "strength",
                                       "denoising-strength",
                                       "strength",
                                       "ckpt",
                                       "model",
                                       "batch",
                                       "batch-count",
                                       "n",
                                       "batch-count",
                                       "device",
                                       "backend",
                                       "devices",
                                       "list-devices",
                                       "dtype",
                                       "type",
                                       "precision",
                                       "type",
                                       "random-seed",
                                       "seed",
                                       "info",
                                       "plan",
                                       NULL};

#define APP_VALUES struct sdgen_values
#define APP_FIELDS
#include "common/fields.h"

static const struct app_option table[] = {
#define GROUP .group = "Text"
    {'p', "prompt", TEXT(prompt, "TEXT"), GROUP, .flags = APP_COMMON,
     .help = "what to draw; the same as PROMPT without a flag"},
    {0, "prompt-file", FILE_NAME(prompt_file, "FILE"), GROUP,
     .help = "the prompt is the content of a file; - reads standard input"},
    {'n', "negative-prompt", TEXT(negative, "TEXT"), GROUP, .flags = APP_COMMON, .help = "what to stay away from"},
    {0, "negative-prompt-file", FILE_NAME(negative_file, "FILE"), GROUP,
     .help = "the negative prompt is the content of a file; - reads standard input"},
    {0, "prompt-syntax", NAME(syntax, syntax_names), GROUP, .initial = "a1111",
     .help = "a1111 understands (word:1.2), [word], \\(, BREAK, AND, [from:to:when] and [a|b] (docs/prompts.md); "
             "plain takes the text literally"},
#undef GROUP
#define GROUP .group = "Model"
    {'m', "model", FILE_NAME(model, "FILE"), GROUP, .flags = APP_COMMON,
     .otherwise = "$SDGEN_MODEL, else the default model",
     .help = "diffusers folder or single-file .safetensors checkpoint"},
    {0, "vae", FILE_NAME(vae, "FILE"), GROUP, .otherwise = "the model's",
     .help = "another autoencoder than the model's: folder or .safetensors, diffusers' or original names"},
    {0, "taesd", FILE_NAME(vae, "FILE"), GROUP, .otherwise = "the model's",
     .help = "a tiny autoencoder (TAESD), whole or its decoder; the same as --vae"},
    {0, "tae", FILE_NAME(vae, "FILE"), GROUP, .otherwise = "the model's", .help = "the same as --taesd"},
    {0, "prediction", NAME(prediction, app_prediction_names), GROUP, .later = predictions_later,
     .otherwise = "from the model", .help = "what the network predicts"},
    {0, "clip-skip", INTEGER(clip_skip, -1, 64), GROUP, .initial = "-1",
     .help = "layer of the text encoder to take, from its end; -1 is the model's own"},
#undef GROUP
#define GROUP .group = "Picture"
    {'o', "output", FILE_NAME(output, "FILE"), GROUP, .flags = APP_COMMON, .initial = "output.png",
     .help = "where to: .png, .ppm or .jpg; %d is the number in a batch; - is standard output"},
    {0, "output-begin-idx", INTEGER(begin_index, 0, 1000000000), GROUP, .initial = "1",
     .help = "number of the first picture of a batch"},
    {0, "no-clobber", FLAG(no_clobber), GROUP,
     .help = "refuse to replace an existing file, before anything is computed"},
    {'W', "width", INTEGER(width, 1, SDG_PICTURE_SIDE), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's, or the init image's",
     .help = "pixels; what is no multiple of what the model needs (mostly 8) is drawn larger and cut"},
    {'H', "height", INTEGER(height, 1, SDG_PICTURE_SIDE), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's, or the init image's",
     .help = "pixels; what is no multiple of what the model needs (mostly 8) is drawn larger and cut"},
    {'b', "batch-count", INTEGER(batch, 1, 100000), GROUP, .flags = APP_COMMON, .initial = "1",
     .help = "how many pictures, with seeds s, s+1, ..."},
    {0, "from", FILE_NAME(from, "FILE"), GROUP, .flags = APP_COMMON, .otherwise = "none",
     .help = "draw a picture again by the parameters stored in it (PNG, JPEG, WebP); other options come first"},
    {0, "disable-image-metadata", FLAG(no_metadata), GROUP, .help = "store no parameters in the PNG or JPEG"},
#undef GROUP
#define GROUP .group = "Sampling"
    {0, "steps", INTEGER(steps, 1, 1000), GROUP, .flags = APP_COMMON, .otherwise = "the model's, else 20, of an LCM 4",
     .help = "denoising steps"},
    {0, "cfg-scale", NUMBER(cfg_scale, 0, 1000), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's, else 7, of an LCM 8.5",
     .help = "how strongly to follow the prompt; at most 1 runs one branch"},
    {0, "sampling-method", NAME(sampler, app_sampler_names), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's, else euler_a, or what the model needs", .aliases = sampler_aliases,
     .later = samplers_later, .help = "sampler"},
    {0, "scheduler", NAME(schedule, app_schedule_names), GROUP, .flags = APP_COMMON, .aliases = schedule_aliases,
     .later = schedules_later, .otherwise = "the model's, else discrete, or what the model needs",
     .help = "noise levels; model takes sampler, spacing and options from the model's scheduler_config.json"},
    {0, "eta", NUMBER(eta, 0, 1), GROUP, .otherwise = "the model's, else the sampler's own",
     .help = "amount of fresh noise per step"},
    {0, "sigmas", TEXT(sigmas, "LIST"), GROUP, .otherwise = "none",
     .help = "noise levels of your own, falling, separated by commas; replaces --steps and --scheduler"},
    {'s', "seed", SEED(seed), GROUP, .flags = APP_COMMON, .initial = "42",
     .help = "start of the random numbers, up to 2^64 - 1; negative = random, printed"},
    {0, "rng", NAME(rng, app_rng_names), GROUP, .initial = "cuda",
     .help = "random numbers: torch's on a GPU (Philox), on a CPU, C++'s"},
    {0, "sampler-rng", NAME(sampler_rng, app_rng_names), GROUP, .otherwise = "--rng",
     .help = "random numbers of the sampler's steps"},
#undef GROUP
#define GROUP .group = "Starting from a picture"
    {'i', "init-img", FILE_NAME(init_image, "FILE"), GROUP, .flags = APP_COMMON, .otherwise = "none",
     .help = "PNG, JPEG, WebP, BMP or PNM to start from; scaled and cut to the size; - reads standard input; without a "
             "prompt its own is taken, if it has one"},
    {0, "init-alpha-color", TEXT(init_alpha_color, "COLOR"), GROUP, .initial = "white",
     .help = "what transparent parts of it are put on: white, black, grey, or #RRGGBB"},
    {0, "strength", .kind = APP_REAL, .word = "X", .min = 0, .max = 1, FIELD(strength), GROUP,
     .flags = APP_COMMON | APP_ABOVE, .initial = "0.75", .help = "how much of it is redrawn, 1 = all"},
    {0, "mask", FILE_NAME(mask, "FILE"), GROUP, .flags = APP_COMMON, .otherwise = "none",
     .help = "inpainting: white is painted anew, or what is erased, or brushed on nothing, in a transparent picture; "
             "scaled and cut like the init image"},
    {0, "keep-unmasked", FLAG(keep_unmasked), GROUP, .otherwise = "on, but with --rng cpu",
     .help = "pixels outside of the mask are the init image's own"},
    {0, "no-keep-unmasked", FLAG(no_keep_unmasked), GROUP,
     .help = "leave them as they come out of the autoencoder, as diffusers does"},
#undef GROUP
#define GROUP .group = "Where and how"
    {0, "backend", .kind = APP_FILE, .word = "NAME", FIELD(backend), GROUP, .flags = APP_COMMON, .initial = "auto",
     .help = "auto, cpu, vulkan, vulkan:N, reference, or per stage te=cpu,unet=vulkan,vae=cpu"},
    {0, "type", .kind = APP_FILE, .word = "NAME", FIELD(type), GROUP,
     .otherwise = "the file's where the device is fast in it", .help = "arithmetic: f32, f16, bf16"},
    {'t', "threads", INTEGER(threads, -1, 1024), GROUP, .initial = "-1",
     .help = "CPU threads; -1 or 0 = one a core, of those that affinity and a container's quota leave"},
    {0, "mmap", FLAG(mmap), GROUP, .otherwise = "on", .help = "map the weights instead of reading them"},
    {0, "no-mmap", FLAG(no_mmap), GROUP, .help = "read the weights instead of mapping them"},
    {0, "no-correction", FLAG(no_correction), GROUP,
     .help = "do not correct a quantized model's outputs (for comparison)"},
    {0, "intervals", NAME(intervals, app_interval_names), GROUP, .initial = "calibrated",
     .help =
         "of quantized models with intervals by token, at another size than their calibration's: calibrated refuses "
         "it, resample interpolates them"},
    {0, "max-vram", .kind = APP_TEXT, .word = "GIB", FIELD(max_memory), GROUP, .initial = "0",
     .help = "memory the plan may use; 0 or negative = what is free"},
    {0, "vae-tiling", FLAG(tiling), GROUP, .otherwise = "where memory asks for it", .help = "decode in tiles"},
    {0, "no-vae-tiling", FLAG(no_tiling), GROUP, .help = "never decode in tiles"},
    {0, "vae-tile-size", .kind = APP_TEXT, .word = "NxN", FIELD(tile_size), GROUP, .initial = "32x32",
     .help = "side of a tile in latent pixels, 8 to 1024"},
    {0, "vae-tile-overlap", REAL(tile_overlap, 0, 0.75), GROUP, .initial = "0.5",
     .help = "part of a tile that overlaps the next"},
    {0, "list-devices", FLAG(list_devices), GROUP, .flags = APP_COMMON,
     .help = "print the devices and what they can do"},
    {0, "plan", FLAG(plan), GROUP, .flags = APP_COMMON,
     .help = "print stages, memory and kernels (with -v each one), draw nothing"},
#undef GROUP
#define GROUP .group = "Watching and comparing"
    {0, "preview", NAME(preview, app_preview_names), GROUP, .later = previews_later, .initial = "none",
     .help =
         "show the unfinished picture: proj is a quick approximation for latents of 4 channels, as SD 1.x has them, "
         "vae takes as long as decoding each time"},
    {0, "preview-path", FILE_NAME(preview_path, "FILE"), GROUP, .initial = "preview.png", .help = "where to"},
    {0, "preview-interval", INTEGER(preview_interval, 1, 1000), GROUP, .initial = "1", .help = "every how many steps"},
    {0, "load-noise", FILE_NAME(load_noise, "FILE"), GROUP, .otherwise = "drawn",
     .help = "first noise from a file: .safetensors with 'noise', or .npy, of the latents' shape "
             "[1,channels,height,width]; gives the picture its size"},
    {0, "dump-latents", FILE_NAME(dump_latents, "FILE"), GROUP, .otherwise = "none",
     .help = "store the last latent: .safetensors ('latents') or .npy, [1,channels,height,width]"},
    {0, "dump-steps", FILE_NAME(dump_steps, "FILE"), GROUP, .otherwise = "none",
     .help = "store the latent after every step: .safetensors ('latents_step0', ...) or .npy "
             "[steps,channels,height,width]"},
    {'M', "mode", NAME(mode, mode_names), GROUP, .later = modes_later, .initial = "img_gen",
     .help = "metadata prints the parameters stored in the picture --image"},
    {0, "image", FILE_NAME(image, "FILE"), GROUP, .help = "PNG, JPEG or WebP for -M metadata; - reads standard input"},
    {0, "metadata-format", NAME(metadata_format, metadata_format_names), GROUP, .initial = "text",
     .help = "how -M metadata prints them"},
#undef GROUP
#define GROUP .group = "Program"
    {0, "vulkan-validation", FLAG(validation), GROUP,
     .help = "run with the Vulkan validation layers, any message is an error"},
    {0, "disable-features", NAMES(disable, app_feature_names), GROUP, .otherwise = "none",
     .help = "features of the device not to use, for tests, separated by commas"},
    {0, "device-limits", TEXT(limits, "NAME=N,..."), GROUP, .otherwise = "the device's own",
     .help = "Vulkan: take the device for one that can do no more, for tests: storage-range, allocation, memory and "
             "shared-memory in bytes (also 128M, 2G), invocations, workgroups, buffers"},
    {0, "cores", TEXT(cores, "LIST"), GROUP, .otherwise = "any",
     .help = "processors to compute on, 4-7 or 0,2 by the system's numbers"},
    {0, "submit-time", NUMBER(submit_time, 0, 3600), GROUP, .otherwise = "1 on graphics cards, 0.1 on other devices",
     .help =
         "Vulkan: about how many seconds a device works before it can draw the screen or be found hanging; 0 does a "
         "step at once"},
    {0, "cpu-mask", TEXT(cpu_mask, "NAME"), GROUP, .otherwise = "all there are",
     .help =
         "the CPU's kernels use at most this instruction set, for tests: generic, sse2, avx2, avx512, avx512bf16, or "
         "neon, neon_dotprod, neon_i8mm, neon_bf16, or single features joined by commas"},
    {0, "cache-dir", .kind = APP_FILE, .word = "DIR", FIELD(cache_folder), GROUP,
     .otherwise = "the user's cache folder",
     .help = "where compiled Vulkan pipelines are kept, and what sdbench tune found"},
    {'v', "verbose", FLAG(verbose), GROUP, .flags = APP_COMMON, .help = "say more"},
    {'q', "quiet", FLAG(quiet), GROUP, .flags = APP_COMMON, .help = "say nothing but errors"},
    {0, "color", FLAG(color), GROUP, .help = "colour the words error and warning"},
    {0, "version", FLAG(version), GROUP, .flags = APP_COMMON, .help = "print version, build and devices"},
    {'h', "help", HELP, GROUP, .help = "print the common options"},
    {0, "help-all", HELP_ALL, GROUP, .help = "print everything"},
    {0, "help-as", HELP_AS, GROUP, .help = "print this as a manual page, or as what a shell completes it by"},
};

const struct app_command sdgen_command = {
    .usage = "sdgen [PROMPT] [options]",
    .about = "Draws the picture a text describes.",
    .more =
        "\nFiles:\n"
        "  An output appears under its name when it is complete; existing files are replaced, but for write-protected "
        "ones.\n"
        "  A batch is named NAME_1.png, NAME_2.png, ..., or by the %d (or %03d) in its name; %% is a percent sign "
        "there.\n"
        "  An output that cannot be written is found before anything is computed.\n"
        "\nDefaults:\n"
        "  \"The model's\" is what its folder says (\"_sdgen\" in model_index.json), else what it was made for;\n"
        "  --plan prints what a model is drawn with.\n"
        "\nExamples:\n"
        "  sdgen \"a red apple, 3d\" -o apple.png\n"
        "  sdgen \"a red apple, flat\" -i apple.png --strength 0.6 -s -1 -b 4 -o apple_%02d.png\n"
        "  sdgen -M metadata --image apple.png\n"
        "  sdgen --from apple.png -s 43 -o another.png\n",
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = 1,
    .synonyms = synonyms,
    .others = sdgen_others,
    .other_count = SDGEN_OTHERS,
    .other_program = "stable-diffusion.cpp",
};

_Static_assert(sizeof table / sizeof *table <= APP_OPTIONS_MAX, "APP_OPTIONS_MAX is too small");

bool sdgen_given(const struct sdgen_options *options, const char *name)
{
    return app_given(&sdgen_command, &options->arguments, name);
}

// -------------------------------------------------------------------------------------------------- checks

// Pairs of options that contradict each other; the second may be an option the first one needs.
static enum sdg_result check_pairs(struct app_ui *ui, const struct sdgen_options *options)
{
    static const char *const apart[][2] = {
        {"prompt", "prompt-file"}, {"negative-prompt", "negative-prompt-file"},
        {"mmap", "no-mmap"},       {"vae-tiling", "no-vae-tiling"},
        {"verbose", "quiet"},      {"keep-unmasked", "no-keep-unmasked"},
        {"vae", "taesd"},          {"vae", "tae"},
        {"taesd", "tae"},          {"plan", "list-devices"},
    };
    static const char *const needs[][2] = {
        {"mask", "init-img"}, {"init-alpha-color", "init-img"}, {"keep-unmasked", "mask"}, {"no-keep-unmasked", "mask"},
        {"image", "mode"},    {"metadata-format", "mode"},
    };
    // Accepted, as programs that write command lines give them always: {without effect, because of, given}.
    static const struct {
        const char *option, *other;
        bool given;
    } idle[] = {
        {"strength", "init-img", false}, {"preview-path", "preview", false}, {"preview-interval", "preview", false},
        {"steps", "sigmas", true},       {"scheduler", "sigmas", true},
    };
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (sdgen_given(options, apart[i][0]) && sdgen_given(options, apart[i][1]))
            return app_fail(ui, SDG_ERROR_USAGE, "--%s and --%s contradict each other: give one of them", apart[i][0],
                            apart[i][1]);
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (sdgen_given(options, needs[i][0]) && !sdgen_given(options, needs[i][1]))
            return app_fail(ui, SDG_ERROR_USAGE, "--%s has no meaning without --%s", needs[i][0], needs[i][1]);
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        if (sdgen_given(options, idle[i].option) && sdgen_given(options, idle[i].other) == idle[i].given)
            app_say(ui, SDG_LOG_INFO, "--%s has no effect %s --%s", idle[i].option,
                    idle[i].given ? "beside" : "without", idle[i].other);
    if (options->arguments.positionals && (sdgen_given(options, "prompt") || sdgen_given(options, "prompt-file")))
        return app_fail(ui, SDG_ERROR_USAGE, "the prompt is given twice: as '%.60s' and by --%s",
                        options->arguments.positional[0], sdgen_given(options, "prompt") ? "prompt" : "prompt-file");
    return SDG_OK;
}

// Standard input has one reader.
static enum sdg_result check_stdin(struct app_ui *ui, const struct sdgen_values *values)
{
    const char *const files[] = {values->prompt_file, values->negative_file, values->init_image, values->mask,
                                 values->from};
    int readers = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        readers += files[i] && !strcmp(files[i], "-");
    if (readers > 1)
        return app_fail(
            ui, SDG_ERROR_USAGE,
            "two of --prompt-file, --negative-prompt-file, --init-img, --mask and --from read standard input (-): only "
            "one can");
    return SDG_OK;
}

static enum sdg_result check_type(struct app_ui *ui, const char *type)
{
    const char *const *names = sdg_names(SDG_NAMES_TYPE);
    if (!type)
        return SDG_OK;
    for (size_t i = 0; names[i]; i++)
        if (!strcmp(names[i], type))
            return SDG_OK;
    // Weight types of stable-diffusion.cpp: a quantized model is made by sdquant and carries its own.
    static const char *const weights[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
                                          "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (!strcasecmp(type, weights[i]))
            return app_fail(ui, SDG_ERROR_UNSUPPORTED,
                            "--type: '%.60s' is not in this version of sdgen (legal: f32, f16, bf16; sdquant writes "
                            "8-bit and 4-bit weights)",
                            type);
    const char *nearest = app_nearest(type, names);
    return app_fail(ui, SDG_ERROR_USAGE, "--type: '%.60s' is unknown%s%s%s (legal: f32, f16, bf16)", type,
                    nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

// "32x32" or "32".
static enum sdg_result read_tile(struct app_ui *ui, const char *text, int *tile)
{
    char first[24];
    size_t length = strcspn(text, "x");
    int64_t side = 0, other = 0;
    snprintf(first, sizeof first, "%.*s", (int)(length < sizeof first ? length : sizeof first - 1), text);
    bool good = length < sizeof first && app_read_integer(first, &side) &&
        (!text[length] || app_read_integer(text + length + 1, &other));
    if (!good || side < 8 || side > 1024 || (text[length] && (other < 8 || other > 1024)))
        return app_fail(ui, SDG_ERROR_USAGE, "--vae-tile-size: '%.60s' should be N or NxN with N from 8 to 1024", text);
    if (text[length] && other != side)
        return app_fail(ui, SDG_ERROR_UNSUPPORTED,
                        "--vae-tile-size: '%.60s': tiles are square in this version of sdgen", text);
    *tile = (int)side;
    return SDG_OK;
}

// "6", or by device as in stable-diffusion.cpp, "vulkan0=6,cpu=8": the smallest counts, as the plan is one for all.
static enum sdg_result read_memory(struct app_ui *ui, const char *text, double *gib)
{
    *gib = 0;
    while (text) {
        char number[40];
        const size_t length = strcspn(text, ",");
        const char *equals = memchr(text, '=', length), *from = equals ? equals + 1 : text;
        const size_t digits = length - (size_t)(from - text);
        double value = 0;
        snprintf(number, sizeof number, "%.*s", (int)(digits < sizeof number ? digits : sizeof number - 1), from);
        if (digits >= sizeof number || !app_read_real(number, &value) || value > 65536)
            return app_fail(ui, SDG_ERROR_USAGE,
                            "--max-vram: '%.60s' should be a number of GiB up to 65536, or DEVICE=GIB,...", text);
        if (value > 0 && (*gib == 0 || value < *gib))
            *gib = value;
        text = text[length] ? text + length + 1 : NULL;
    }
    return SDG_OK;
}

// "128M" -> bytes.
static bool read_bytes(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "KMG";
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr(suffixes, *end) : NULL;
    const int shift = suffix ? 10 * (int)(suffix - suffixes + 1) : 0;
    *bytes = (uint64_t)number << shift;
    return *text >= '0' && *text <= '9' && !errno && !end[suffix != NULL] && number <= UINT64_MAX >> shift;
}

static bool set_limit(struct sdg_device_limits *limits, const char *name, uint64_t value)
{
    const struct {
        const char *name;
        uint64_t *bytes;
        uint32_t *number;
    } rows[] = {
        {"storage-range", &limits->storage_range, NULL},
        {"allocation", &limits->allocation, NULL},
        {"memory", &limits->memory, NULL},
        {"invocations", NULL, &limits->invocations},
        {"shared-memory", NULL, &limits->shared_memory},
        {"workgroups", NULL, &limits->workgroups},
        {"buffers", NULL, &limits->buffers},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name))
            continue;
        if (rows[i].bytes)
            *rows[i].bytes = value;
        else
            *rows[i].number = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
        return true;
    }
    return false;
}

static enum sdg_result read_limits(struct app_ui *ui, const char *text, struct sdg_device_limits *limits)
{
    while (text) {
        char item[64];
        uint64_t value = 0;
        const size_t length = strcspn(text, ",");
        snprintf(item, sizeof item, "%.*s", (int)(length < sizeof item ? length : sizeof item - 1), text);
        char *equals = strchr(item, '=');
        if (equals)
            *equals = 0;
        if (!equals || !read_bytes(equals + 1, &value) || !set_limit(limits, item, value))
            return app_fail(ui, SDG_ERROR_USAGE,
                            "--device-limits: '%.60s' should be NAME=NUMBER,... of storage-range, allocation, memory, "
                            "invocations, shared-memory, workgroups and buffers",
                            text);
        text = text[length] ? text + length + 1 : NULL;
    }
    return SDG_OK;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

// A name, "#RRGGBB" or "#RGB", with or without the "#" (which begins a comment in a shell).
static enum sdg_result read_color(struct app_ui *ui, const char *text, uint8_t color[3])
{
    static const struct {
        const char *name;
        uint8_t color[3];
    } names[] = {{"white", {255, 255, 255}}, {"black", {0, 0, 0}},      {"grey", {128, 128, 128}},
                 {"gray", {128, 128, 128}},  {"red", {255, 0, 0}},      {"green", {0, 128, 0}},
                 {"blue", {0, 0, 255}},      {"yellow", {255, 255, 0}}, {"cyan", {0, 255, 255}},
                 {"magenta", {255, 0, 255}}, {"orange", {255, 165, 0}}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i].name)) {
            memcpy(color, names[i].color, 3);
            return SDG_OK;
        }
    const char *digits = text + (*text == '#');
    size_t length = strlen(digits), each = length / 3;
    bool good = length == 3 || length == 6;
    for (size_t i = 0; i < 3 && good; i++) {
        int high = hex_digit(digits[each * i]), low = hex_digit(digits[each * i + each - 1]);
        good = high >= 0 && low >= 0;
        color[i] = (uint8_t)(16 * high + low);
    }
    if (good)
        return SDG_OK;
    return app_fail(ui, SDG_ERROR_USAGE,
                    "--init-alpha-color: '%.60s' should be a name (white, black, grey, ...) or #RRGGBB", text);
}

static enum sdg_result read_sigmas(struct app_ui *ui, struct sdgen_options *options)
{
    const char *text = options->values.sigmas, *end = text ? text + strlen(text) : NULL;
    const int room = (int)(sizeof options->sigmas / sizeof *options->sigmas);
    int count = 0;
    if (text && *text == '[' && end[-1] == ']') { // as lists are written elsewhere
        text++;
        end--;
    }
    while (text) {
        char number[40];
        text += strspn(text, " ");
        size_t length = strcspn(text, ", ");
        if (text + length > end)
            length = (size_t)(end - text);
        snprintf(number, sizeof number, "%.*s", (int)(length < sizeof number ? length : sizeof number - 1), text);
        double value = 0;
        if (length >= sizeof number || !app_read_real(number, &value) || value < 0 || value > 1e6)
            return app_fail(ui, SDG_ERROR_USAGE, "--sigmas: '%.40s' should be a number from 0 to 1000000", number);
        if (count && value >= options->sigmas[count - 1])
            return app_fail(ui, SDG_ERROR_USAGE, "--sigmas: %g follows %g, they should fall", value,
                            options->sigmas[count - 1]);
        if (count == room)
            return app_fail(ui, SDG_ERROR_USAGE, "--sigmas: more than %d numbers", room);
        options->sigmas[count++] = value;
        text += length;
        text += strspn(text, " ");
        text = text < end ? text + (*text == ',') : NULL;
    }
    if (count == 1)
        return app_fail(ui, SDG_ERROR_USAGE, "--sigmas: one number is no list, give at least two");
    options->sigma_count = count;
    return SDG_OK;
}

static enum sdg_result check_mode(struct app_ui *ui, const struct sdgen_options *options)
{
    if (strcmp(options->values.mode, "metadata")) {
        if (options->values.image)
            return app_fail(ui, SDG_ERROR_USAGE,
                            "--image has a meaning only with -M metadata (a picture to start from is -i)");
        return SDG_OK;
    }
    if (!options->values.image)
        return app_fail(ui, SDG_ERROR_USAGE, "-M metadata needs --image FILE");
    for (size_t i = 0; i < sdgen_command.count; i++) {
        const char *name = sdgen_command.options[i].name;
        if (options->arguments.given[i] && strcmp(name, "mode") && strcmp(name, "image") &&
            strcmp(name, "metadata-format") && strcmp(name, "color") && strcmp(name, "quiet") &&
            strcmp(name, "verbose"))
            return app_fail(ui, SDG_ERROR_USAGE, "--%s has no meaning with -M metadata", name);
    }
    if (options->arguments.positionals)
        return app_fail(ui, SDG_ERROR_USAGE, "a prompt has no meaning with -M metadata");
    return SDG_OK;
}

// A folder has no extension that could say the format, and is a common slip.
static enum sdg_result check_no_folder(struct app_ui *ui, const char *option, const char *path)
{
    size_t length = strlen(path);
    if (sdg_path_kind(path) != SDG_PATH_FOLDER && path[length - 1] != '/')
        return SDG_OK;
    return app_fail(ui, SDG_ERROR_USAGE, "--%s: '%.200s' is a folder, name a file in it: '%.200s%soutput.png'", option,
                    path, path, path[length - 1] == '/' ? "" : "/");
}

// Standard output gets a PNG.
static enum sdg_result picture_format(struct app_ui *ui, const char *path, enum sdg_picture_format *format)
{
    *format = SDG_PICTURE_PNG;
    return strcmp(path, "-") ? sdg_picture_format_of(app_log_of(ui), path, format) : SDG_OK;
}

static enum sdg_result check_files(struct app_ui *ui, struct sdgen_options *options)
{
    const struct sdgen_values *values = &options->values;
    enum sdg_result result = check_no_folder(ui, "output", values->output);
    if (result == SDG_OK)
        result = picture_format(ui, values->output, &options->format);
    char *name = NULL;
    if (result == SDG_OK)
        result = app_output_name(ui, values->output, 0, 1, &name); // for the '%'
    free(name);
    if (result == SDG_OK && !strcmp(values->output, "-") && values->batch > 1)
        result = app_fail(ui, SDG_ERROR_USAGE, "--output: standard output takes one picture, not --batch-count %lld",
                          (long long)values->batch);
    if (result == SDG_OK)
        result = picture_format(ui, values->preview_path, &options->preview_format);
    if (result == SDG_OK && !strcmp(values->preview_path, "-"))
        result = app_fail(ui, SDG_ERROR_USAGE, "--preview-path: the preview cannot go to standard output");
    const char *const arrays[] = {values->load_noise, values->dump_latents, values->dump_steps};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && result == SDG_OK; i++)
        if (arrays[i])
            result = sdg_array_check_name(app_log_of(ui), arrays[i]);
    if (result == SDG_OK && values->batch > 1 && (values->load_noise || values->dump_latents || values->dump_steps))
        result =
            app_fail(ui, SDG_ERROR_USAGE,
                     "--load-noise, --dump-latents and --dump-steps are for one picture, not for --batch-count %lld",
                     (long long)values->batch);
    return result;
}

static enum sdg_result check_values(struct app_ui *ui, struct sdgen_options *options)
{
    struct sdgen_values *values = &options->values;
    enum sdg_result result = check_pairs(ui, options);
    if (result == SDG_OK)
        result = check_mode(ui, options);
    if (result == SDG_OK)
        result = check_type(ui, values->type);
    if (result == SDG_OK)
        result = read_tile(ui, values->tile_size, &options->tile);
    if (result == SDG_OK)
        result = read_memory(ui, values->max_memory, &options->max_memory);
    if (result == SDG_OK)
        result = read_limits(ui, values->limits, &options->limits);
    if (result == SDG_OK)
        result = read_sigmas(ui, options);
    if (result == SDG_OK)
        result = check_files(ui, options);
    if (result == SDG_OK)
        result = read_color(ui, values->init_alpha_color, options->background);
    if (result == SDG_OK && !values->seed.random && values->seed.value > UINT64_MAX - (uint64_t)(values->batch - 1))
        result = app_fail(ui, SDG_ERROR_USAGE, "--seed: %llu is too large for %lld pictures",
                          (unsigned long long)values->seed.value, (long long)values->batch);
    // Who takes torch's numbers compares with diffusers, which does not put them back.
    options->keep_unmasked = values->keep_unmasked || (!values->no_keep_unmasked && strcmp(values->rng, "cpu"));
    if (values->threads > 0)
        options->threads = (int)values->threads;
    return result;
}

// -------------------------------------------------------------------------------------------------- prompts

enum sdg_result sdgen_read_file(struct app_ui *ui, const char *path, const char **name, char **data, size_t *size)
{
    static const size_t most_bytes = (size_t)256 << 20;
    *name = strcmp(path, "-") ? path : "standard input";
    return sdg_input_read(app_log_of(ui), path, most_bytes, data, size);
}

// Nothing was said to draw. What was meant may be to see how the program is used.
static enum sdg_result no_prompt(struct app_ui *ui, const struct sdgen_options *options, bool bare)
{
    const char *init = options->values.init_image;
    if (bare)
        app_help(&sdgen_command, false);
    return app_fail(ui, SDG_ERROR_USAGE,
                    "there is no prompt%s%.200s%s: say what to draw (sdgen \"a red apple, 3d\"; an empty "
                    "prompt is -p \"\")",
                    init ? ", and " : "", init ? init : "", init ? " has none of its own" : "");
}

static enum sdg_result read_prompts(struct app_ui *ui, struct sdgen_options *options, bool bare)
{
    const struct sdgen_values *values = &options->values;
    const char *prompt = options->arguments.positionals ? options->arguments.positional[0] : values->prompt;
    const bool plain = !strcmp(values->syntax, "plain");
    enum sdg_result result = app_prompt_read(ui, "the prompt", prompt, values->prompt_file, plain, &options->prompt);
    if (result == SDG_OK)
        result = app_prompt_read(ui, "the negative prompt", values->negative, values->negative_file, plain,
                                 &options->negative);
    if (result == SDG_OK && !options->prompt && !values->plan)
        result = no_prompt(ui, options, bare);
    return result;
}

enum sdg_result sdgen_options_read(struct app_ui *ui, int argc, char **argv, struct sdgen_options *options)
{
    *options = (struct sdgen_options){0};
    struct sdgen_values *values = &options->values;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) // before the first mistake is found
        ui->color |= !strcmp(argv[i], "--color");
    enum sdg_result result = app_parse(&sdgen_command, ui, argc, argv, values, &options->arguments);
    if (result != SDG_OK || options->arguments.helped || values->version)
        return result;
    ui->level = values->quiet ? SDG_LOG_ERROR : values->verbose ? SDG_LOG_DEBUG : SDG_LOG_INFO;
    ui->color = values->color;
    app_note_others(&sdgen_command, ui, &options->arguments);
    result = check_stdin(ui, values);
    const bool draws = strcmp(values->mode, "metadata") != 0;
    if (result == SDG_OK && values->from && draws)
        result = sdgen_from_picture(ui, options);
    if (result == SDG_OK)
        result = check_values(ui, options);
    if (result == SDG_OK && values->init_image && !values->from && draws)
        result = sdgen_from_init(ui, options);
    if (result != SDG_OK || values->image || values->list_devices)
        return result;
    return read_prompts(ui, options, argc == 1);
}

void sdgen_options_free(struct sdgen_options *options)
{
    sdgen_from_free(&options->from);
    sdg_free(options->prompt);
    sdg_free(options->negative);
    options->prompt = options->negative = NULL;
}
