#include "sdgen_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "common/output.h"
#include "common/frame.h"
#include "sdgen/array.h"

enum { PROMPT_BYTES = 1 << 20 };

#define LIST(name, ...)                                        \
    static const char *const *name(void)                       \
    {                                                          \
        static const char *const list[] = {__VA_ARGS__, NULL}; \
        return list;                                           \
    }

LIST(mode_names, "img_gen", "metadata")
LIST(syntax_names, "a1111", "plain")
LIST(preview_names, "none", "proj", "tae", "vae")

static const char *const sampler_aliases[] = {"ddim_leading", "ddim", "plms", "pndm", NULL};

#define LATER .kind = APP_TEXT, .flags = APP_LATER, .field = 0

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
     .help = "a1111 understands (word:1.2), [word] and \\(; plain takes the text literally"},
#undef GROUP
#define GROUP .group = "Model"
    {'m', "model", FILE_NAME(model, "FILE"), GROUP, .flags = APP_COMMON,
     .otherwise = "$SDGEN_MODEL, else the default model",
     .help = "diffusers folder or single-file .safetensors checkpoint"},
    {0, "vae", FILE_NAME(vae, "FILE"), GROUP, .otherwise = "the model's",
     .help = "replacement autoencoder: folder or .safetensors"},
    {0, "taesd", FILE_NAME(vae, "FILE"), GROUP, .otherwise = "the model's",
     .help = "replacement tiny autoencoder; the same as --vae"},
    {0, "tae", FILE_NAME(vae, "FILE"), GROUP, .otherwise = "the model's", .help = "the same as --taesd"},
    {0, "prediction", NAME(prediction, app_prediction_names), GROUP, .otherwise = "from the model",
     .help = "what the network predicts"},
    {0, "clip-skip", INTEGER(clip_skip, -1, 64), GROUP, .initial = "-1",
     .help = "layer of the text encoder to take, from its end; -1 is the model's own"},
    {0, "lora-model-dir", LATER, .word = "DIR", GROUP, .help = "folder of <lora:name:weight>"},
    {0, "tensor-type-rules", LATER, .word = "RULES", GROUP, .help = "types of single weights"},
#undef GROUP
#define GROUP .group = "Picture"
    {'o', "output", FILE_NAME(output, "FILE"), GROUP, .flags = APP_COMMON, .initial = "output.png",
     .help = "where to: .png, .ppm or .jpg; %d is the number in a batch; - is standard output"},
    {'W', "width", INTEGER(width, 1, SDG_PICTURE_SIDE), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's, or the init image's", .help = APP_SIDE_HELP},
    {'H', "height", INTEGER(height, 1, SDG_PICTURE_SIDE), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's, or the init image's", .help = APP_SIDE_HELP},
    {'b', "batch-count", INTEGER(batch, 1, 100000), GROUP, .flags = APP_COMMON, .initial = "1",
     .help = "how many pictures, with seeds s, s+1, ..."},
    {0, "disable-image-metadata", FLAG(no_metadata), GROUP, .help = "store no parameters in the PNG"},
#undef GROUP
#define GROUP .group = "Sampling"
    {0, "steps", INTEGER(steps, 1, 1000), GROUP, .flags = APP_COMMON, .initial = "20", .help = "denoising steps"},
    {0, "cfg-scale", NUMBER(cfg_scale, 0, 1000), GROUP, .flags = APP_COMMON,
     .otherwise = "the model's: 7, of an LCM 8.5",
     .help = "how strongly to follow the prompt; at most 1 runs one branch"},
    {0, "sampling-method", NAME(sampler, app_sampler_names), GROUP, .flags = APP_COMMON, .initial = "euler_a",
     .aliases = sampler_aliases, .help = "sampler"},
    {0, "scheduler", NAME(schedule, app_schedule_names), GROUP, .flags = APP_COMMON, .initial = "discrete",
     .help = "noise levels; model takes sampler and spacing from the model's scheduler_config.json"},
    {0, "eta", NUMBER(eta, 0, 1), GROUP, .otherwise = "the sampler's own", .help = "amount of fresh noise per step"},
    {0, "sigmas", TEXT(sigmas, "LIST"), GROUP, .otherwise = "none",
     .help = "noise levels of your own, falling, separated by commas; replaces --steps and --scheduler"},
    {'s', "seed", INTEGER(seed, 0, 0), GROUP, .flags = APP_COMMON, .initial = "42",
     .help = "start of the random numbers; negative = random, printed"},
    {0, "rng", NAME(rng, app_rng_names), GROUP, .initial = "cuda",
     .help = "random numbers: torch's on a GPU (Philox), on a CPU, C++'s"},
    {0, "sampler-rng", NAME(sampler_rng, app_rng_names), GROUP, .otherwise = "--rng",
     .help = "random numbers of the sampler's steps"},
#undef GROUP
#define GROUP .group = "Starting from a picture"
    {'i', "init-img", FILE_NAME(init_image, "FILE"), GROUP, .flags = APP_COMMON, .otherwise = "none",
     .help = "PNG, JPEG, BMP or PPM to start from; scaled and cut to the size; - reads standard input"},
    {0, "strength", REAL(strength, 0, 1), GROUP, .flags = APP_COMMON, .initial = "0.75",
     .help = "how much of it is redrawn, 1 = all"},
    {0, "mask", FILE_NAME(mask, "FILE"), GROUP, .otherwise = "none",
     .help = "inpainting: white is painted anew; scaled and cut like the init image"},
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
    {0, "max-vram", .kind = APP_REAL, .word = "GIB", .min = 0, .max = 65536, FIELD(max_memory), GROUP, .initial = "0",
     .help = "memory the plan may use; 0 = what is free"},
    {0, "vae-tiling", FLAG(tiling), GROUP, .otherwise = "where memory asks for it", .help = "decode in tiles"},
    {0, "no-vae-tiling", FLAG(no_tiling), GROUP, .help = "never decode in tiles"},
    {0, "vae-tile-size", .kind = APP_TEXT, .word = "NxN", FIELD(tile_size), GROUP, .initial = "32x32",
     .help = "side of a tile in latent pixels, 8 to 1024"},
    {0, "vae-tile-overlap", REAL(tile_overlap, 0, 0.75), GROUP, .initial = "0.5",
     .help = "part of a tile that overlaps the next"},
    {0, "list-devices", FLAG(list_devices), GROUP, .flags = APP_COMMON,
     .help = "print the devices and what they can do"},
    {0, "plan", FLAG(plan), GROUP, .flags = APP_COMMON, .help = "print stages, memory and kernels, draw nothing"},
#undef GROUP
#define GROUP .group = "Watching and comparing"
    {0, "preview", NAME(preview, preview_names), GROUP, .initial = "none",
     .help = "show the unfinished picture; this version has proj, a quick approximation for latents of 4 channels, as "
             "SD 1.x "
             "has them"},
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
    {'M', "mode", NAME(mode, mode_names), GROUP, .initial = "img_gen",
     .help = "metadata prints the parameters stored in the PNG --image"},
    {0, "image", FILE_NAME(image, "FILE"), GROUP, .help = "PNG for -M metadata; - reads standard input"},
    {0, "control-net", LATER, .word = "FILE", GROUP, .help = "ControlNet"},
    {0, "control-image", LATER, .word = "FILE", GROUP, .help = "picture for ControlNet"},
    {0, "control-strength", LATER, .word = "X", GROUP, .help = "strength of ControlNet"},
    {0, "upscale-model", LATER, .word = "FILE", GROUP, .help = "model that enlarges the result"},
#undef GROUP
#define GROUP .group = "Program"
    {0, "vulkan-validation", FLAG(validation), GROUP,
     .help = "run with the Vulkan validation layers, any message is an error"},
    {0, "disable-features", NAMES(disable, app_feature_names), GROUP, .otherwise = "none",
     .help = "features of the device not to use, for tests, separated by commas"},
    {0, "cpu-mask", TEXT(cpu_mask, "NAME"), GROUP, .otherwise = "all there are",
     .help =
         "the CPU's kernels use at most this instruction set, for tests: generic, sse2, avx2, avx512, avx512bf16 or "
         "neon, or single features joined by commas"},
    {0, "cache-dir", .kind = APP_FILE, .word = "DIR", FIELD(cache_folder), GROUP,
     .otherwise = "the user's cache folder", .help = "where compiled Vulkan pipelines are kept"},
    {'v', "verbose", FLAG(verbose), GROUP, .flags = APP_COMMON, .help = "say more"},
    {'q', "quiet", FLAG(quiet), GROUP, .flags = APP_COMMON, .help = "say nothing but errors"},
    {0, "color", FLAG(color), GROUP, .help = "colour the words error and warning"},
    {0, "version", FLAG(version), GROUP, .flags = APP_COMMON, .help = "print version, build and devices"},
    {'h', "help", HELP, GROUP, .help = "print the common options"},
    {0, "help-all", HELP_ALL, GROUP, .help = "print everything"},
};

const struct app_command sdgen_command = {
    .usage = "sdgen [PROMPT] [options]",
    .about = "Draws the picture a text describes.",
    .more = "\nFiles:\n"
            "  An output appears under its name when it is complete; existing files are replaced. A batch is named "
            "NAME_1.png,\n"
            "  NAME_2.png, ... unless -o has a %d (or %03d), which counts from 0. An output that cannot be written is "
            "found\n"
            "  before anything is computed.\n"
            "\nExamples:\n"
            "  sdgen \"a red apple, 3d\" -o apple.png\n"
            "  sdgen \"a red apple, flat\" -i apple.png --strength 0.6 -s -1 -b 4 -o apple_%02d.png\n"
            "  sdgen -M metadata --image apple.png\n",
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = 1,
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
        {"prompt", "prompt-file"},
        {"negative-prompt", "negative-prompt-file"},
        {"mmap", "no-mmap"},
        {"vae-tiling", "no-vae-tiling"},
        {"verbose", "quiet"},
        {"sigmas", "scheduler"},
        {"sigmas", "steps"},
        {"vae", "taesd"},
        {"vae", "tae"},
        {"taesd", "tae"},
        {"plan", "list-devices"},
    };
    static const char *const needs[][2] = {
        {"mask", "init-img"}, {"strength", "init-img"}, {"preview-path", "preview"}, {"preview-interval", "preview"},
        {"image", "mode"},
    };
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (sdgen_given(options, apart[i][0]) && sdgen_given(options, apart[i][1]))
            return app_fail(ui, SDG_ERROR_USAGE, "--%s and --%s contradict each other: give one of them", apart[i][0],
                            apart[i][1]);
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (sdgen_given(options, needs[i][0]) && !sdgen_given(options, needs[i][1]))
            return app_fail(ui, SDG_ERROR_USAGE, "--%s has no meaning without --%s", needs[i][0], needs[i][1]);
    if (options->arguments.positionals && (sdgen_given(options, "prompt") || sdgen_given(options, "prompt-file")))
        return app_fail(ui, SDG_ERROR_USAGE, "the prompt is given twice: as '%.60s' and by --%s",
                        options->arguments.positional[0], sdgen_given(options, "prompt") ? "prompt" : "prompt-file");
    return SDG_OK;
}

// Standard input has one reader.
static enum sdg_result check_stdin(struct app_ui *ui, const struct sdgen_values *values)
{
    const char *const files[] = {values->prompt_file, values->negative_file, values->init_image};
    int readers = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        readers += files[i] && !strcmp(files[i], "-");
    if (readers > 1)
        return app_fail(
            ui, SDG_ERROR_USAGE,
            "two of --prompt-file, --negative-prompt-file and --init-img read standard input (-): only one can");
    return SDG_OK;
}

static enum sdg_result check_later(struct app_ui *ui, const struct sdgen_values *values)
{
    // Weight types of stable-diffusion.cpp that are not for this version.
    static const char *const types[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
    for (size_t i = 0; values->type && i < sizeof types / sizeof *types; i++)
        if (!strcmp(values->type, types[i]))
            return app_fail(ui, SDG_ERROR_UNSUPPORTED,
                            "--type: '%s' is not in this version of sdgen (legal: f32, f16, bf16)", values->type);
    if (!strcmp(values->preview, "tae") || !strcmp(values->preview, "vae"))
        return app_fail(ui, SDG_ERROR_UNSUPPORTED,
                        "--preview: '%s' is not in this version of sdgen (legal: none, proj)", values->preview);
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

static enum sdg_result read_sigmas(struct app_ui *ui, struct sdgen_options *options)
{
    const char *text = options->values.sigmas;
    const int room = (int)(sizeof options->sigmas / sizeof *options->sigmas);
    int count = 0;
    while (text) {
        char number[40];
        size_t length = strcspn(text, ",");
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
        text = text[length] ? text + length + 1 : NULL;
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
        if (options->arguments.given[i] && strcmp(name, "mode") && strcmp(name, "image") && strcmp(name, "color") &&
            strcmp(name, "quiet") && strcmp(name, "verbose"))
            return app_fail(ui, SDG_ERROR_USAGE, "--%s has no meaning with -M metadata", name);
    }
    if (options->arguments.positionals)
        return app_fail(ui, SDG_ERROR_USAGE, "a prompt has no meaning with -M metadata");
    return SDG_OK;
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
    enum sdg_result result = picture_format(ui, values->output, &options->format);
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
        result = check_stdin(ui, values);
    if (result == SDG_OK)
        result = check_later(ui, values);
    if (result == SDG_OK)
        result = check_type(ui, values->type);
    if (result == SDG_OK)
        result = read_tile(ui, values->tile_size, &options->tile);
    if (result == SDG_OK)
        result = read_sigmas(ui, options);
    if (result == SDG_OK)
        result = check_files(ui, options);
    if (result == SDG_OK && values->seed > INT64_MAX - (values->batch - 1))
        result = app_fail(ui, SDG_ERROR_USAGE, "--seed: %lld is too large for %lld pictures", (long long)values->seed,
                          (long long)values->batch);
    if (values->threads > 0)
        options->threads = (int)values->threads;
    return result;
}

// -------------------------------------------------------------------------------------------------- prompts

// The text of one prompt: from the command line or a file (without its last line end). NULL if neither is given.
static enum sdg_result read_prompt(struct app_ui *ui, const struct sdgen_options *options, const char *what,
                                   const char *text, const char *path, char **prompt)
{
    size_t size = 0;
    *prompt = NULL;
    if (path) {
        enum sdg_result result = sdg_input_read(app_log_of(ui), path, PROMPT_BYTES, prompt, &size);
        if (result != SDG_OK)
            return result;
        if (strlen(*prompt) != size)
            return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is not a text, it has a zero byte", path);
        while (size && ((*prompt)[size - 1] == '\n' || (*prompt)[size - 1] == '\r'))
            (*prompt)[--size] = 0;
    } else if (text) {
        *prompt = sdg_strdup(app_log_of(ui), text);
        if (!*prompt)
            return SDG_ERROR_MEMORY;
    } else {
        return SDG_OK;
    }
    if (!sdg_utf8_valid(*prompt, strlen(*prompt)))
        return app_fail(ui, path ? SDG_ERROR_INPUT : SDG_ERROR_USAGE, "%s: the %s is not UTF-8",
                        path ? path : "command line", what);
    if (!strcmp(options->values.syntax, "a1111") && strstr(*prompt, "<lora:"))
        return app_fail(
            ui, SDG_ERROR_UNSUPPORTED,
            "the %s has <lora:...>, which is not in this version of sdgen (--prompt-syntax plain takes it as text)",
            what);
    return SDG_OK;
}

enum sdg_result sdgen_options_read(struct app_ui *ui, int argc, char **argv, struct sdgen_options *options)
{
    *options = (struct sdgen_options){0};
    struct sdgen_values *values = &options->values;
    enum sdg_result result = app_parse(&sdgen_command, ui, argc, argv, values, &options->arguments);
    if (result != SDG_OK || options->arguments.helped || values->version)
        return result;
    result = check_values(ui, options);
    if (result != SDG_OK || values->image || values->list_devices)
        return result;
    const char *prompt = options->arguments.positionals ? options->arguments.positional[0] : values->prompt;
    result = read_prompt(ui, options, "prompt", prompt, values->prompt_file, &options->prompt);
    if (result == SDG_OK)
        result =
            read_prompt(ui, options, "negative prompt", values->negative, values->negative_file, &options->negative);
    return result;
}

void sdgen_options_free(struct sdgen_options *options)
{
    sdg_free(options->prompt);
    sdg_free(options->negative);
    options->prompt = options->negative = NULL;
}
