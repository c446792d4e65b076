#include "sdgen_from.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"
#include "common/report.h"

enum { PATHS = 8 };

struct sdgen_from {
    struct sdg_picture_parameters *parameters;
    char *paths[PATHS]; // of what was found; owned
    int count;
};

void sdgen_from_free(struct sdgen_from **from)
{
    if (!*from)
        return;
    sdg_picture_parameters_destroy(&(*from)->parameters);
    for (int i = 0; i < (*from)->count; i++)
        sdg_free((*from)->paths[i]);
    sdg_free(*from);
    *from = NULL;
}

// -------------------------------------------------------------------------------------------------- texts

static enum sdg_result read_text(struct app_ui *ui, const char *path, char **text)
{
    char *data;
    const char *name;
    size_t size;
    enum sdg_result result = sdgen_read_file(ui, path, &name, &data, &size);
    if (result != SDG_OK)
        return result;
    result = sdg_picture_text(app_log_of(ui), name, data, size, text);
    sdg_free(data);
    return result;
}

// Some programs store an object of JSON under the name that others use for lines.
static bool is_json(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '{';
}

static void json_entry(const char *name, const char *text)
{
    if (!text)
        return;
    printf(",\n  \"%s\": ", name);
    report_json_text(stdout, text);
}

static void json_number(const char *name, bool given, double value)
{
    if (given)
        printf(",\n  \"%s\": %.10g", name, value);
}

static void print_json(const struct sdg_picture_parameters *p)
{
    printf("{\n  \"prompt\": ");
    report_json_text(stdout, p->prompt);
    json_entry("negative_prompt", p->negative_prompt);
    json_number("steps", p->steps > 0, p->steps);
    json_entry("sampling_method", p->sampler);
    json_entry("scheduler", p->schedule);
    json_number("cfg_scale", p->cfg_scale.given, p->cfg_scale.value);
    if (p->seed_given)
        printf(",\n  \"seed\": %llu", (unsigned long long)p->seed);
    json_number("width", p->width > 0, p->width);
    json_number("height", p->height > 0, p->height);
    json_number("strength", p->strength.given, p->strength.value);
    json_number("clip_skip", p->clip_skip > 0, p->clip_skip);
    json_number("eta", p->eta.given, p->eta.value);
    json_entry("sigmas", p->sigmas);
    json_entry("prompt_syntax", p->plain_prompt ? "plain" : NULL);
    json_entry("model", p->model);
    json_entry("vae", p->vae);
    json_entry("quantization", p->scheme);
    json_entry("correction", p->no_correction ? "off" : NULL);
    json_entry("intervals", p->resampled_intervals ? "resample" : NULL);
    json_entry("prediction", p->prediction);
    json_entry("init_image", p->init_image);
    json_entry("init_image_hash", p->init_image_hash);
    json_entry("init_alpha_color", p->init_alpha_color);
    json_entry("mask", p->mask);
    json_entry("mask_hash", p->mask_hash);
    json_entry("unmasked", p->unmasked_changed ? "changed" : NULL);
    json_entry("noise", p->noise);
    json_entry("noise_hash", p->noise_hash);
    json_entry("vae_tile_size", p->tile_size);
    json_number("vae_tile_overlap", p->tile_overlap.given, p->tile_overlap.value);
    json_entry("type", p->type);
    json_entry("backend", p->backend);
    json_entry("rng", p->rng);
    json_entry("sampler_rng", p->sampler_rng);
    json_entry("version", p->version);
    json_entry("other_entries", p->others);
    printf("\n}\n");
}

enum sdg_result sdgen_print_metadata(struct app_ui *ui, const struct sdgen_values *values)
{
    char *text = NULL;
    struct sdg_picture_parameters *parameters = NULL;
    enum sdg_result result = read_text(ui, values->image, &text);
    if (result != SDG_OK)
        return result;
    if (strcmp(values->metadata_format, "json") || is_json(text)) {
        puts(text);
    } else {
        result = sdg_picture_parameters_read(app_log_of(ui), text, &parameters);
        if (result == SDG_OK)
            print_json(parameters);
        sdg_picture_parameters_destroy(&parameters);
    }
    sdg_picture_free(text);
    return result;
}

// -------------------------------------------------------------------------------------------------- files

static const char *keep_path(struct sdgen_from *from, char *path)
{
    if (path && from->count < PATHS)
        from->paths[from->count++] = path;
    return path;
}

// `name` in a folder, "" for the working directory, if there is something of that name; else NULL.
static char *find_in(struct app_ui *ui, const char *folder, const char *name, const char *extension)
{
    size_t size = strlen(folder) + strlen(name) + strlen(extension) + 2;
    char *path = sdg_alloc_raw(app_log_of(ui), size, 1, "a path");
    if (!path)
        return NULL;
    snprintf(path, size, "%s%s%s%s", folder, *folder ? "/" : "", name, extension);
    if (sdg_path_kind(path) != SDG_PATH_MISSING)
        return path;
    sdg_free(path);
    return NULL;
}

static bool same_name(const char *path, const char *name)
{
    size_t length = strlen(path), wanted = strlen(name);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length >= wanted && !strncmp(path + length - wanted, name, wanted) &&
        (length == wanted || path[length - wanted - 1] == '/');
}

// The default model, one beside it, in the working directory or in its folder models.
static enum sdg_result find_model(struct app_ui *ui, struct sdgen_options *options, const char *name)
{
    const char *standard = sdg_default_model();
    char *beside = standard ? sdg_path_folder(app_log_of(ui), standard) : NULL;
    const char *const folders[] = {beside ? beside : "", "", "models"}, *const extensions[] = {"", ".safetensors"};
    char *found = NULL;
    if (!standard || !same_name(standard, name)) {
        for (size_t i = 0; i < 6 && !found; i++)
            found = find_in(ui, folders[i / 2], name, extensions[i % 2]);
        if (!found) {
            sdg_free(beside);
            return app_fail(
                ui, SDG_ERROR_USAGE,
                "--from: %.200s was drawn with the model '%.100s', which is not beside the default model, here or "
                "in models/: name it with -m",
                options->values.from, name);
        }
    }
    sdg_free(beside);
    if (found)
        return app_set(&sdgen_command, ui, "model", keep_path(options->from, found), &options->values,
                       &options->arguments);
    return SDG_OK;
}

// Whether the content is what it was; a folder and a file without a hash are taken as they are.
static enum sdg_result same_content(struct app_ui *ui, const char *path, const char *hash, bool *same)
{
    const char *name;
    char *data, now[17];
    size_t size;
    *same = true;
    if (!hash || sdg_path_kind(path) == SDG_PATH_FOLDER)
        return SDG_OK;
    enum sdg_result result = sdgen_read_file(ui, path, &name, &data, &size);
    if (result != SDG_OK)
        return result;
    sdg_picture_hash(data, size, now);
    *same = strcmp(hash, now) == 0;
    sdg_free(data);
    return SDG_OK;
}

// A file that the picture started from becomes the value of `option`.
static enum sdg_result find_file(struct app_ui *ui, struct sdgen_options *options, const char *option, const char *name,
                                 const char *hash)
{
    if (!name || sdgen_given(options, option))
        return SDG_OK;
    const char *from = options->values.from;
    char *folder = sdg_path_folder(app_log_of(ui), from);
    bool same = true, once_other = false;
    enum sdg_result result = folder ? SDG_OK : SDG_ERROR_MEMORY;
    const char *const folders[] = {folder, ""};
    char *found = NULL;
    for (size_t i = 0; i < 2 && result == SDG_OK && !found; i++) {
        found = find_in(ui, folders[i], name, "");
        if (found)
            result = same_content(ui, found, hash, &same);
        if (found && (!same || result != SDG_OK)) {
            once_other = true;
            sdg_free(found);
            found = NULL;
        }
    }
    sdg_free(folder);
    if (result != SDG_OK)
        return result;
    if (!found)
        return app_fail(ui, SDG_ERROR_INPUT, "--from: %.200s was drawn with --%s '%.100s', which %s: name it with --%s",
                        from, option, name,
                        once_other ? "is another file now (its content has changed)"
                                   : "is neither beside it nor in the working directory",
                        option);
    return app_set(&sdgen_command, ui, option, keep_path(options->from, found), &options->values, &options->arguments);
}

// -------------------------------------------------------------------------------------------------- values

static enum sdg_result take(struct app_ui *ui, struct sdgen_options *options, const char *option, const char *text)
{
    if (!text || sdgen_given(options, option))
        return SDG_OK;
    return app_set(&sdgen_command, ui, option, text, &options->values, &options->arguments);
}

static enum sdg_result take_number(struct app_ui *ui, struct sdgen_options *options, const char *option,
                                   struct sdg_number number)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", number.value);
    return take(ui, options, option, number.given ? text : NULL);
}

static enum sdg_result take_whole(struct app_ui *ui, struct sdgen_options *options, const char *option, int value)
{
    return take_number(ui, options, option, (struct sdg_number){value > 0, value});
}

static bool is_listed(const char *text, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(text, *names))
            return true;
    return false;
}

// A name that other programs may have and sdgen not.
static enum sdg_result take_name(struct app_ui *ui, struct sdgen_options *options, const char *option, const char *text,
                                 enum sdg_names which)
{
    if (!text || sdgen_given(options, option) || is_listed(text, sdg_names(which)))
        return take(ui, options, option, text);
    return app_fail(ui, SDG_ERROR_UNSUPPORTED,
                    "--from: %.200s was drawn with the %s '%.60s', which sdgen has not: choose one with --%s",
                    options->values.from, which == SDG_NAMES_SAMPLER ? "sampler" : "schedule", text, option);
}

// What the web interface calls the choice that it makes itself.
static const char *schedule_of(const struct sdg_picture_parameters *p)
{
    if (!p->schedule || (strcasecmp(p->schedule, "automatic") && strcasecmp(p->schedule, "uniform")))
        return p->schedule;
    bool karras = !strcasecmp(p->schedule, "automatic") && p->sampler &&
        (!strncmp(p->sampler, "dpm++2", 6) || !strncmp(p->sampler, "dpm2", 4));
    return karras ? "karras" : "discrete";
}

static enum sdg_result take_sampling(struct app_ui *ui, struct sdgen_options *options,
                                     const struct sdg_picture_parameters *p)
{
    enum sdg_result result = take_name(ui, options, "sampling-method", p->sampler, SDG_NAMES_SAMPLER);
    bool replaced =
        sdgen_given(options, "sigmas") || sdgen_given(options, "steps") || sdgen_given(options, "scheduler");
    if (result == SDG_OK && p->sigmas && !replaced) {
        result = take(ui, options, "sigmas", p->sigmas);
    } else if (result == SDG_OK && !sdgen_given(options, "sigmas")) {
        result = take_whole(ui, options, "steps", p->steps);
        if (result == SDG_OK)
            result = take_name(ui, options, "scheduler", schedule_of(p), SDG_NAMES_SCHEDULE);
    }
    if (result == SDG_OK)
        result = take_number(ui, options, "cfg-scale", p->cfg_scale);
    if (result == SDG_OK)
        result = take_number(ui, options, "eta", p->eta);
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)p->seed);
    if (result == SDG_OK)
        result = take(ui, options, "seed", p->seed_given ? seed : NULL);
    if (result == SDG_OK)
        result = take(ui, options, "rng", p->rng);
    return result == SDG_OK ? take(ui, options, "sampler-rng", p->sampler_rng) : result;
}

static enum sdg_result take_prompts(struct app_ui *ui, struct sdgen_options *options,
                                    const struct sdg_picture_parameters *p)
{
    enum sdg_result result = SDG_OK;
    if (!options->arguments.positionals && !sdgen_given(options, "prompt-file"))
        result = take(ui, options, "prompt", p->prompt);
    if (result == SDG_OK && !sdgen_given(options, "negative-prompt-file"))
        result = take(ui, options, "negative-prompt", p->negative_prompt);
    return result == SDG_OK ? take(ui, options, "prompt-syntax", p->plain_prompt ? "plain" : NULL) : result;
}

static enum sdg_result take_files(struct app_ui *ui, struct sdgen_options *options,
                                  const struct sdg_picture_parameters *p)
{
    enum sdg_result result = SDG_OK;
    if (p->model && !sdgen_given(options, "model"))
        result = find_model(ui, options, p->model);
    if (result == SDG_OK && !sdgen_given(options, "taesd") && !sdgen_given(options, "tae"))
        result = find_file(ui, options, "vae", p->vae, NULL);
    if (result == SDG_OK)
        result = find_file(ui, options, "init-img", p->init_image, p->init_image_hash);
    if (result == SDG_OK)
        result = find_file(ui, options, "mask", p->mask, p->mask_hash);
    if (result == SDG_OK)
        result = find_file(ui, options, "load-noise", p->noise, p->noise_hash);
    return result;
}

// Flags are taken where the picture had them, and nothing was said to the contrary.
static enum sdg_result take_flag(struct app_ui *ui, struct sdgen_options *options, const char *option,
                                 const char *contrary, bool had)
{
    return take(ui, options, option, had && !(contrary && sdgen_given(options, contrary)) ? "" : NULL);
}

static enum sdg_result take_rest(struct app_ui *ui, struct sdgen_options *options,
                                 const struct sdg_picture_parameters *p)
{
    const bool init = options->values.init_image, mask = options->values.mask;
    enum sdg_result result = take_whole(ui, options, "width", p->width);
    if (result == SDG_OK)
        result = take_whole(ui, options, "height", p->height);
    if (result == SDG_OK)
        result = take_whole(ui, options, "clip-skip", p->clip_skip);
    if (result == SDG_OK && init)
        result = take_number(ui, options, "strength", p->strength);
    if (result == SDG_OK && init)
        result = take(ui, options, "init-alpha-color", p->init_alpha_color);
    if (result == SDG_OK && mask)
        result = take_flag(ui, options, "no-keep-unmasked", "keep-unmasked", p->unmasked_changed);
    if (result == SDG_OK && mask)
        result = take_flag(ui, options, "keep-unmasked", "no-keep-unmasked", !p->unmasked_changed);
    if (result == SDG_OK)
        result = take_flag(ui, options, "no-correction", NULL, p->no_correction);
    if (result == SDG_OK)
        result = take(ui, options, "intervals", p->resampled_intervals ? "resample" : NULL);
    if (result == SDG_OK)
        result = take(ui, options, "prediction", p->prediction);
    if (result == SDG_OK && p->type && is_listed(p->type, sdg_names(SDG_NAMES_TYPE)))
        result = take(ui, options, "type", p->type);
    if (result == SDG_OK)
        result = take(ui, options, "backend", p->backend);
    if (result == SDG_OK)
        result = take_flag(ui, options, "vae-tiling", "no-vae-tiling", p->tile_size != NULL);
    if (result == SDG_OK)
        result = take(ui, options, "vae-tile-size", p->tile_size);
    return result == SDG_OK ? take_number(ui, options, "vae-tile-overlap", p->tile_overlap) : result;
}

static enum sdg_result take_all(struct app_ui *ui, struct sdgen_options *options,
                                const struct sdg_picture_parameters *p)
{
    enum sdg_result result = take_prompts(ui, options, p);
    if (result == SDG_OK)
        result = take_sampling(ui, options, p);
    if (result == SDG_OK)
        result = take_files(ui, options, p);
    return result == SDG_OK ? take_rest(ui, options, p) : result;
}

static enum sdg_result parse(struct app_ui *ui, struct sdgen_options *options, const struct sdg_log *log,
                             const char *text)
{
    options->from = sdg_alloc(app_log_of(ui), 1, sizeof *options->from, "a picture's parameters");
    return options->from ? sdg_picture_parameters_read(log, text, &options->from->parameters) : SDG_ERROR_MEMORY;
}

enum sdg_result sdgen_from_picture(struct app_ui *ui, struct sdgen_options *options)
{
    const char *path = options->values.from;
    char *text = NULL;
    enum sdg_result result = read_text(ui, path, &text);
    if (result == SDG_OK && is_json(text))
        result =
            app_fail(ui, SDG_ERROR_UNSUPPORTED,
                     "--from: %.200s: its parameters are JSON of another program, as SwarmUI and Fooocus write it, "
                     "which sdgen does not read",
                     path);
    if (result == SDG_OK)
        result = parse(ui, options, app_log_of(ui), text);
    sdg_picture_free(text);
    if (result != SDG_OK)
        return result;
    const struct sdg_picture_parameters *p = options->from->parameters;
    if (!p->steps)
        return app_fail(ui, SDG_ERROR_INPUT,
                        "--from: %.200s: has a text, but no parameters in it (no line 'Steps: ...')", path);
    if (p->others)
        app_say(
            ui, SDG_LOG_WARNING,
            "%.200s: its parameters have entries that sdgen does not know, so the picture may become another: %.300s",
            path, p->others);
    return take_all(ui, options, p);
}

enum sdg_result sdgen_from_init(struct app_ui *ui, struct sdgen_options *options)
{
    const struct sdgen_values *values = &options->values;
    const char *name;
    char *data, *text = NULL;
    size_t size;
    if (options->arguments.positionals || sdgen_given(options, "prompt") || sdgen_given(options, "prompt-file") ||
        values->plan || !strcmp(values->init_image, "-"))
        return SDG_OK;
    enum sdg_result result = sdgen_read_file(ui, values->init_image, &name, &data, &size);
    if (result != SDG_OK)
        return result;
    // A photograph has none, and nothing needs to be said about that.
    bool has = sdg_picture_text(NULL, name, data, size, &text) == SDG_OK && !is_json(text) &&
        parse(ui, options, NULL, text) == SDG_OK;
    sdg_free(data);
    sdg_picture_free(text);
    if (!has || !*options->from->parameters->prompt)
        return SDG_OK;
    app_say(ui, SDG_LOG_INFO, "%.200s: no prompt was given, its own is taken: %.300s", name,
            options->from->parameters->prompt);
    return take_prompts(ui, options, options->from->parameters);
}
