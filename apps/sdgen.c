// sdgen: draws the picture a text describes. The command line is in sdgen_options.c, the work in the library.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "common/latents.h"
#include "common/output.h"
#include "sdgen/array.h"
#include "sdgen/picture.h"
#include "sdgen_options.h"

static const size_t PICTURE_BYTES = (size_t)256 << 20;

// What is read or drawn once for all pictures of a batch.
struct inputs {
    struct sdg_image *init;  // of the size of the picture
    uint8_t *mask;           // likewise, one byte a pixel
    struct sdg_array *noise; // [latent channels][height / factor][width / factor]; NULL = drawn
    size_t noise_count;
    int width, height;        // 0 = the model's
    const char *preview_path; // NULL = no preview
    int64_t seed;             // of the first picture
};

// Everything printed to stdout arrives, or that is an error.
static enum sdg_result finish_stdout(struct app_ui *ui)
{
    if (fflush(stdout) || ferror(stdout))
        return app_fail(ui, SDG_ERROR_OUTPUT, "standard output: cannot be written: %s", strerror(errno));
    return SDG_OK;
}

static void print_device(void *user, const struct sdg_device *device)
{
    int *count = user;
    printf("%-10s %s", device->backend, device->name);
    if (device->type && *device->type)
        printf(", %s", device->type);
    if (device->driver && *device->driver)
        printf(", %s", device->driver);
    if (device->memory)
        printf(", %.1f GiB", (double)device->memory / (1 << 30));
    if (device->note && *device->note)
        printf(" [%s]", device->note);
    putchar('\n');
    ++*count;
}

static enum sdg_result list_devices(struct app_ui *ui)
{
    int count = 0;
    sdg_list_devices(&(struct sdg_log){app_log, ui, SDG_LOG_WARNING}, print_device, &count);
    if (!count)
        puts("no device");
    return finish_stdout(ui);
}

static enum sdg_result print_version(struct app_ui *ui)
{
    printf("sdgen %s\n%s\n", sdg_version(), sdg_build_info());
    return list_devices(ui);
}

// A picture file as bytes; "-" is standard input. `name` is what messages call it.
static enum sdg_result read_picture(struct app_ui *ui, const char *path, const char **name, char **data, size_t *size)
{
    *name = strcmp(path, "-") ? path : "standard input";
    return sdg_input_read(app_log_of(ui), path, PICTURE_BYTES, data, size);
}

static enum sdg_result print_metadata(struct app_ui *ui, const char *path)
{
    char *data, *text = NULL;
    const char *name;
    size_t size;
    enum sdg_result result = read_picture(ui, path, &name, &data, &size);
    if (result != SDG_OK)
        return result;
    result = sdg_picture_text(app_log_of(ui), name, data, size, &text);
    sdg_free(data);
    if (result != SDG_OK)
        return result;
    puts(text);
    sdg_picture_free(text);
    return finish_stdout(ui);
}

// -------------------------------------------------------------------------------------------------- inputs

static enum sdg_result read_seed(struct app_ui *ui, int64_t wanted, int64_t *seed)
{
    uint32_t number; // as other programs draw it: they take no more than 32 bits
    *seed = wanted;
    if (wanted >= 0)
        return SDG_OK;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return app_fail(ui, SDG_ERROR_INPUT, "the system has no random numbers for a seed (%s), give one with -s",
                        strerror(errno));
    *seed = number;
    return SDG_OK;
}

static enum sdg_result check_side(struct app_ui *ui, const char *name, int64_t pixels, int factor)
{
    long long below = pixels / factor * factor;
    if (pixels % factor)
        return app_fail(ui, SDG_ERROR_USAGE, "--%s: %lld is not a multiple of %d (%lld and %lld are)", name,
                        (long long)pixels, factor, below, below + factor);
    return SDG_OK;
}

static enum sdg_result check_noise(struct app_ui *ui, const char *path, const struct sdg_pipeline_info *model,
                                   struct inputs *inputs)
{
    const struct sdg_array *noise = inputs->noise;
    const int64_t *shape = noise->shape + (noise->dims == 4);
    bool good = (noise->dims == 3 || (noise->dims == 4 && noise->shape[0] == 1)) && shape[0] == model->latent_channels;
    for (int i = 1; good && i < 3; i++)
        good = shape[i] >= 1 && shape[i] <= SDG_PICTURE_SIDE / model->factor;
    if (!good)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: the noise should be of shape [1, %d, height / %d, width / %d]",
                        path, model->latent_channels, model->factor, model->factor);
    inputs->noise_count = (size_t)(shape[0] * shape[1] * shape[2]);
    for (size_t i = 0; i < inputs->noise_count; i++)
        if (!isfinite(noise->data[i]))
            return app_fail(ui, SDG_ERROR_INPUT, "%.200s: number %zu of the noise is not finite (%g)", path, i + 1,
                            (double)noise->data[i]);
    int width = (int)shape[2] * model->factor, height = (int)shape[1] * model->factor;
    if ((inputs->width && inputs->width != width) || (inputs->height && inputs->height != height))
        return app_fail(ui, SDG_ERROR_USAGE, "--load-noise: %.200s is for %d x %d pixels, not for %d x %d", path, width,
                        height, inputs->width ? inputs->width : width, inputs->height ? inputs->height : height);
    inputs->width = width;
    inputs->height = height;
    return SDG_OK;
}

static enum sdg_result read_noise(struct app_ui *ui, const char *path, const struct sdg_pipeline_info *model,
                                  struct inputs *inputs)
{
    enum sdg_result result = sdg_array_read(app_log_of(ui), path, "noise", &inputs->noise);
    return result == SDG_OK ? check_noise(ui, path, model, inputs) : result;
}

static enum sdg_result read_image(struct app_ui *ui, const char *path, struct sdg_image **image)
{
    char *data;
    const char *name;
    size_t size;
    enum sdg_result result = read_picture(ui, path, &name, &data, &size);
    if (result != SDG_OK)
        return result;
    result = sdg_picture_decode(app_log_of(ui), name, data, size, image);
    sdg_free(data);
    return result;
}

// The picture's size is what was asked for, else its own, cut to a multiple of what the model's sizes are multiples of.
static enum sdg_result read_init(struct app_ui *ui, const char *path, int factor, struct inputs *inputs)
{
    struct sdg_image *image = NULL;
    enum sdg_result result = read_image(ui, path, &image);
    if (result != SDG_OK)
        return result;
    int width = inputs->width ? inputs->width : image->width / factor * factor,
        height = inputs->height ? inputs->height : image->height / factor * factor;
    width = width ? width : factor;
    height = height ? height : factor;
    inputs->width = width;
    inputs->height = height;
    if (image->width == width && image->height == height) {
        inputs->init = image;
        return SDG_OK;
    }
    app_say(ui, SDG_LOG_INFO, "%.200s: %d x %d pixels, scaled to cover %d x %d, its middle is used", path, image->width,
            image->height, width, height);
    result = sdg_picture_fit(app_log_of(ui), image, width, height, &inputs->init);
    sdg_image_destroy(&image);
    return result;
}

// The mask's brightness (ITU-R BT.601), scaled and cut as the init image was.
static enum sdg_result read_mask(struct app_ui *ui, const char *path, struct inputs *inputs)
{
    struct sdg_image *image = NULL, *fitted = NULL;
    enum sdg_result result = read_image(ui, path, &image);
    if (result == SDG_OK && (image->width != inputs->width || image->height != inputs->height))
        result = sdg_picture_fit(app_log_of(ui), image, inputs->width, inputs->height, &fitted);
    if (result == SDG_OK) {
        inputs->mask = sdg_alloc_raw(app_log_of(ui), (size_t)inputs->width, (size_t)inputs->height, "the mask");
        if (inputs->mask)
            sdg_picture_brightness(fitted ? fitted : image, inputs->mask);
        else
            result = SDG_ERROR_MEMORY;
    }
    sdg_image_destroy(&fitted);
    sdg_image_destroy(&image);
    return result;
}

// Where previews go; NULL after a warning where the model's latents have none.
static const char *find_preview(struct app_ui *ui, const struct sdgen_values *values,
                                const struct sdg_pipeline_info *model)
{
    if (!strcmp(values->preview, "none"))
        return NULL;
    if (sdg_preview_has(model->latent_channels))
        return values->preview_path;
    app_say(ui, SDG_LOG_WARNING, "--preview: there is none for latents of %d channels, the picture is drawn without",
            model->latent_channels);
    return NULL;
}

static enum sdg_result read_inputs(struct app_ui *ui, const struct sdgen_values *values,
                                   const struct sdg_pipeline *pipeline, struct inputs *inputs)
{
    struct sdg_pipeline_info model;
    sdg_pipeline_info(pipeline, &model);
    *inputs = (struct inputs){.width = (int)values->width, .height = (int)values->height};
    inputs->preview_path = values->plan ? NULL : find_preview(ui, values, &model);
    enum sdg_result result = check_side(ui, "width", values->width, model.factor);
    if (result == SDG_OK)
        result = check_side(ui, "height", values->height, model.factor);
    if (result == SDG_OK)
        result = read_seed(ui, values->seed, &inputs->seed);
    if (result == SDG_OK && values->init_image)
        result = read_init(ui, values->init_image, model.factor, inputs);
    if (result == SDG_OK && values->mask)
        result = read_mask(ui, values->mask, inputs);
    if (result == SDG_OK && values->load_noise)
        result = read_noise(ui, values->load_noise, &model, inputs);
    return result;
}

static void free_inputs(struct inputs *inputs)
{
    sdg_image_destroy(&inputs->init);
    sdg_free(inputs->mask);
    sdg_array_destroy(&inputs->noise);
}

// Finds out before anything is computed whether all files can be written.
static enum sdg_result check_outputs(struct app_ui *ui, const struct sdgen_values *values)
{
    if (!strcmp(values->output, "-") && isatty(STDOUT_FILENO))
        return app_fail(ui, SDG_ERROR_USAGE,
                        "--output: standard output is a terminal, a picture is not for it: redirect it or name a file");
    enum sdg_result result = SDG_OK;
    for (int64_t i = 0; i < values->batch && result == SDG_OK; i++) {
        char *name = NULL;
        result = app_output_name(ui, values->output, i, values->batch, &name);
        if (result == SDG_OK)
            result = app_output_check(ui, name);
        free(name);
    }
    const char *const others[] = {values->dump_latents, values->dump_steps,
                                  strcmp(values->preview, "none") ? values->preview_path : NULL};
    for (size_t i = 0; i < sizeof others / sizeof *others && result == SDG_OK; i++)
        if (others[i])
            result = app_output_check(ui, others[i]);
    return result;
}

// -------------------------------------------------------------------------------------------------- drawing

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), e = strlen(end);
    return length >= e && !strcmp(text + length - e, end);
}

static enum sdg_result open_pipeline(struct app_ui *ui, const struct sdgen_options *options,
                                     struct sdg_pipeline **pipeline)
{
    const struct sdgen_values *values = &options->values;
    const char *const files[] = {values->model, values->vae};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i] && ends_in(files[i], ".gguf"))
            return app_fail(
                ui, SDG_ERROR_UNSUPPORTED,
                "%.200s: GGUF files are not in this version of sdgen (diffusers folders and .safetensors are)",
                files[i]);
    return sdg_pipeline_create(
        &(struct sdg_pipeline_params){
            .model = values->model,
            .vae = values->vae,
            .backend = values->backend,
            .type = values->type,
            .threads = options->threads,
            .max_memory = values->max_memory * (double)(1 << 30),
            .keep = values->batch > 1 ? SDG_KEEP_NETWORKS : SDG_KEEP_NOTHING,
            .no_mmap = values->no_mmap,
            .validation = values->validation,
            .disable = values->disable,
            .cpu_mask = values->cpu_mask,
            .cache_dir = values->cache_folder,
            .vae_tiling = values->tiling ? "on"
                : values->no_tiling      ? "off"
                                         : NULL,
            .vae_tile_size = options->tile,
            .vae_tile_overlap = sdg_number(values->tile_overlap),
            .prediction = values->prediction,
            .no_correction = values->no_correction,
            .log = {app_log, ui, ui->level},
        },
        pipeline);
}

static bool on_progress(void *user, const struct sdg_progress *progress)
{
    app_progress(user, progress);
    return !app_interrupted();
}

// Parameters of the picture with this number. They point into options and inputs.
static struct sdg_generate_params picture_params(struct app_ui *ui, const struct sdgen_options *options,
                                                 const struct inputs *inputs, int64_t number)
{
    const struct sdgen_values *values = &options->values;
    return (struct sdg_generate_params){
        .prompt = options->prompt,
        .negative_prompt = options->negative,
        .plain_prompt = !strcmp(values->syntax, "plain"),
        .width = inputs->width,
        .height = inputs->height,
        .steps = options->sigma_count ? 0 : (int)values->steps,
        .cfg_scale = values->cfg_scale,
        .sampler = sdgen_given(options, "sampling-method") ? values->sampler : NULL,
        .schedule = sdgen_given(options, "scheduler") ? values->schedule : NULL,
        .eta = values->eta,
        .sigmas = options->sigma_count ? options->sigmas : NULL,
        .sigma_count = options->sigma_count,
        .seed = inputs->seed + number,
        .rng = values->rng,
        .sampler_rng = values->sampler_rng,
        .clip_skip = values->clip_skip > 0 ? (int)values->clip_skip : 0,
        .init_image = inputs->init,
        .mask = inputs->mask,
        .mask_count = inputs->mask ? (size_t)inputs->width * (size_t)inputs->height : 0,
        .strength = {inputs->init != NULL, values->strength},
        .image = (int)number,
        .images = (int)values->batch,
        .noise = inputs->noise ? inputs->noise->data : NULL,
        .noise_count = inputs->noise_count,
        .progress = on_progress,
        .progress_user = ui,
    };
}

// The text that goes into the picture, so that it can be made again.
static enum sdg_result describe(struct app_ui *ui, const struct sdgen_options *options,
                                const struct sdg_generate_params *params, const struct sdg_generate_info *info,
                                char **text)
{
    const struct sdgen_values *values = &options->values;
    char version[48];
    snprintf(version, sizeof version, "sdgen %s", sdg_version());
    const struct sdg_picture_parameters parameters = {
        .prompt = options->prompt,
        .negative_prompt = options->negative,
        .plain_prompt = params->plain_prompt,
        .steps = info->steps,
        .width = info->width,
        .height = info->height,
        .clip_skip = params->clip_skip,
        .sampler = info->sampler,
        .schedule = info->schedule,
        .cfg_scale = sdg_number(info->cfg_scale),
        .strength = params->strength,
        .eta = params->eta,
        .seed_given = true,
        .seed = info->seed,
        .model = info->model_name,
        .vae = values->vae,
        .sigmas = values->sigmas,
        .rng = info->rng,
        .version = version,
    };
    return sdg_picture_parameters_write(app_log_of(ui), &parameters, text);
}

static enum sdg_result write_picture(struct app_ui *ui, const struct sdgen_options *options,
                                     const struct sdg_generate_params *params, const struct sdg_generate_info *info,
                                     const struct sdg_image *image)
{
    const struct sdgen_values *values = &options->values;
    char *name = NULL, *text = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    enum sdg_result result = app_output_name(ui, values->output, params->image, params->images, &name);
    if (result == SDG_OK && options->format == SDG_PICTURE_PNG && !values->no_metadata)
        result = describe(ui, options, params, info, &text);
    if (result == SDG_OK)
        result = sdg_picture_encode(app_log_of(ui), options->format, image, text, &data, &size);
    if (result == SDG_OK)
        result = app_output_bytes(ui, name, data, size);
    if (result == SDG_OK)
        app_say(ui, SDG_LOG_INFO,
                "%s: %d x %d, %.2f s (text %.2f, sampling %.2f, decoding %.2f), peak memory %.0f MiB, %.0f planned",
                strcmp(name, "-") ? name : "standard output", info->width, info->height, info->seconds_total,
                info->seconds_text, info->seconds_sample, info->seconds_decode, (double)info->peak_resident / (1 << 20),
                (double)info->peak_planned / (1 << 20));
    sdg_picture_free(text);
    sdg_picture_free(data);
    free(name);
    return result;
}

static enum sdg_result draw_picture(struct app_ui *ui, const struct sdgen_options *options, const struct inputs *inputs,
                                    struct sdg_pipeline *pipeline, int64_t number)
{
    const struct sdgen_values *values = &options->values;
    struct app_latents latents = {
        .ui = ui,
        .last_path = values->dump_latents,
        .steps_path = values->dump_steps,
        .preview_path = inputs->preview_path,
        .preview_interval = (int)values->preview_interval,
        .preview_format = options->preview_format,
    };
    struct sdg_generate_params params = picture_params(ui, options, inputs, number);
    struct sdg_pipeline_info model;
    sdg_pipeline_info(pipeline, &model);
    latents.factor = model.factor;
    if (latents.last_path || latents.steps_path || latents.preview_path) {
        params.latent = app_latents_step;
        params.latent_user = &latents;
    }
    struct sdg_generate_info info = {0};
    struct sdg_image *image = NULL;
    app_say(ui, SDG_LOG_INFO, "seed %lld", (long long)params.seed);
    enum sdg_result result = sdg_generate(pipeline, &params, &image, &info);
    app_progress_end(ui);
    if (result == SDG_OK && app_interrupted())
        result = SDG_ERROR_CANCELLED;
    if (result == SDG_OK)
        result = app_latents_write(&latents);
    if (result == SDG_OK)
        result = write_picture(ui, options, &params, &info, image);
    sdg_image_destroy(&image);
    app_latents_free(&latents);
    return result;
}

static void print_plan_line(void *user, const char *line)
{
    (void)user;
    puts(line);
}

static enum sdg_result run(struct app_ui *ui, const struct sdgen_options *options)
{
    const struct sdgen_values *values = &options->values;
    struct inputs inputs = {0};
    struct sdg_pipeline *pipeline = NULL;
    enum sdg_result result = SDG_OK;
    if (!values->plan)
        result = check_outputs(ui, values);
    if (result == SDG_OK)
        result = open_pipeline(ui, options, &pipeline);
    if (result == SDG_OK)
        result = read_inputs(ui, values, pipeline, &inputs);
    if (result == SDG_OK && values->plan) {
        struct sdg_generate_params params = picture_params(ui, options, &inputs, 0);
        result = sdg_plan(pipeline, &params, true, print_plan_line, NULL);
        if (result == SDG_OK)
            result = finish_stdout(ui);
    } else {
        int64_t done = 0;
        app_signals_cancellable(true);
        while (done < values->batch && result == SDG_OK) {
            result = app_interrupted() ? SDG_ERROR_CANCELLED : draw_picture(ui, options, &inputs, pipeline, done);
            done += result == SDG_OK;
        }
        app_signals_cancellable(false);
        if (result == SDG_ERROR_CANCELLED && done)
            app_say(ui, SDG_LOG_INFO, "interrupted; %lld of %lld pictures are written", (long long)done,
                    (long long)values->batch);
        else if (result == SDG_ERROR_CANCELLED)
            app_say(ui, SDG_LOG_INFO, "interrupted, the picture was not written");
    }
    sdg_pipeline_destroy(&pipeline);
    free_inputs(&inputs);
    return result;
}

int main(int argc, char **argv)
{
    struct app_ui ui = app_ui_create("sdgen");
    struct sdgen_options options;
    app_signals_install(&ui);
    enum sdg_result result = sdgen_options_read(&ui, argc, argv, &options);
    const struct sdgen_values *values = &options.values;
    ui.level = values->quiet ? SDG_LOG_ERROR : values->verbose ? SDG_LOG_DEBUG : SDG_LOG_INFO;
    ui.color = values->color;
    if (result != SDG_OK)
        ; // said already
    else if (options.arguments.helped)
        result = finish_stdout(&ui);
    else if (values->version)
        result = print_version(&ui);
    else if (values->image)
        result = print_metadata(&ui, values->image);
    else if (values->list_devices)
        result = list_devices(&ui);
    else
        result = run(&ui, &options);
    sdgen_options_free(&options);
    return app_exit_status(result);
}
