// sdgen: draws the picture a text describes. The command line is in sdgen_options.c, the work in the library.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "common/latents.h"
#include "common/output.h"
#include "common/preview_file.h"
#include "sdgen/picture.h"
#include "sdgen_from.h"
#include "sdgen_inputs.h"
#include "sdgen_options.h"

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

static enum sdg_result print_metadata(struct app_ui *ui, const struct sdgen_values *values)
{
    enum sdg_result result = sdgen_print_metadata(ui, values);
    return result == SDG_OK ? finish_stdout(ui) : result;
}

// -------------------------------------------------------------------------------------------------- files

// Which previews there will be: none, after a warning, where the model's latents have no projection.
static enum sdg_preview_kind find_preview(struct app_ui *ui, const struct sdgen_values *values,
                                          const struct sdg_pipeline_info *model)
{
    const enum sdg_preview_kind kind = (enum sdg_preview_kind)sdg_name_index(SDG_NAMES_PREVIEW, values->preview);
    if (kind != SDG_PREVIEW_PROJECTION || sdg_preview_has(model->latent_channels))
        return kind;
    app_say(ui, SDG_LOG_WARNING,
            "--preview: there is no proj for latents of %d channels, the picture is drawn without (or: --preview vae)",
            model->latent_channels);
    return SDG_PREVIEW_NONE;
}

struct named_file {
    const char *option, *path; // path NULL: not asked for
};

// That none of `files` is `path`.
static enum sdg_result check_apart(struct app_ui *ui, const char *option, const char *path,
                                   const struct named_file *files, size_t count)
{
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < count && result == SDG_OK; i++)
        result = app_output_check_apart(ui, files[i].option, files[i].path, option, path);
    return result;
}

static enum sdg_result check_file(struct app_ui *ui, const struct sdgen_values *values, const char *path)
{
    const enum sdg_result result = values->no_clobber ? app_output_check_absent(ui, path) : SDG_OK;
    return result == SDG_OK ? app_output_check(ui, path) : result;
}

// What is written beside pictures takes the place of nothing that is read or written.
static enum sdg_result check_others(struct app_ui *ui, const struct sdgen_values *values,
                                    const struct named_file *others, size_t count)
{
    const struct named_file inputs[] = {
        {"init-img", values->init_image}, {"mask", values->mask}, {"load-noise", values->load_noise}};
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < count && result == SDG_OK; i++) {
        const char *option = others[i].option, *path = others[i].path;
        if (!path)
            continue;
        result = check_apart(ui, option, path, others, i);
        if (result == SDG_OK)
            result = check_apart(ui, option, path, inputs, sizeof inputs / sizeof *inputs);
        if (result == SDG_OK)
            result = check_file(ui, values, path);
    }
    return result;
}

// Finds out before anything is computed whether all files can be written.
static enum sdg_result check_outputs(struct app_ui *ui, const struct sdgen_values *values)
{
    const struct named_file others[] = {
        {"dump-latents", values->dump_latents},
        {"dump-steps", values->dump_steps},
        {"preview-path", strcmp(values->preview, "none") ? values->preview_path : NULL},
    };
    const size_t count = sizeof others / sizeof *others;
    if (!strcmp(values->output, "-") && isatty(STDOUT_FILENO))
        return app_fail(ui, SDG_ERROR_USAGE,
                        "--output: standard output is a terminal, a picture is not for it: redirect it or name a file");
    enum sdg_result result = SDG_OK;
    for (int64_t i = 0; i < values->batch && result == SDG_OK; i++) {
        char *name = NULL;
        result = app_output_name(ui, values->output, values->begin_index + i, values->batch, &name);
        if (result == SDG_OK)
            result = check_file(ui, values, name);
        if (result == SDG_OK)
            result = check_apart(ui, "output", name, others, count);
        free(name);
    }
    return result == SDG_OK ? check_others(ui, values, others, count) : result;
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
    const struct sdg_log log = {app_log, ui, ui->level};
    struct sdg_engine *engine;
    enum sdg_result result = sdg_engine_create(
        &(struct sdg_engine_params){
            .threads = options->threads,
            .cores = values->cores,
            .cpu_mask = values->cpu_mask,
            .disable = values->disable,
            .validation = values->validation,
            .cache_dir = values->cache_folder,
            .submit_time = values->submit_time,
            .max_memory = options->max_memory * (double)(1 << 30),
            .limits = options->limits,
            .log = log,
        },
        &engine);
    if (result != SDG_OK)
        return result;
    result = sdg_pipeline_create(
        &(struct sdg_pipeline_params){
            .engine = engine,
            .model = values->model,
            .vae = values->vae,
            .backend = values->backend,
            .type = values->type,
            .keep = values->batch > 1 ? SDG_KEEP_NETWORKS : SDG_KEEP_NOTHING,
            .no_mmap = values->no_mmap,
            .vae_tiling = values->tiling ? "on"
                : values->no_tiling      ? "off"
                                         : NULL,
            .vae_tile_size = options->tile,
            .vae_tile_overlap = sdg_number(values->tile_overlap),
            .prediction = values->prediction,
            .no_correction = values->no_correction,
            .intervals = values->intervals,
            .log = log,
        },
        pipeline);
    sdg_engine_destroy(&engine); // the pipeline holds it
    return result;
}

static bool on_progress(void *user, const struct sdg_progress *progress)
{
    app_progress(user, progress);
    return !app_interrupted();
}

// Parameters of the picture with this number. They point into options and inputs.
static struct sdg_generate_params picture_params(struct app_ui *ui, const struct sdgen_options *options,
                                                 const struct sdgen_inputs *inputs, enum sdg_preview_kind preview,
                                                 int64_t number)
{
    const struct sdgen_values *values = &options->values;
    return (struct sdg_generate_params){
        .prompt = options->prompt,
        .negative_prompt = options->negative,
        .plain_prompt = !strcmp(values->syntax, "plain"),
        .width = inputs->drawn_width,
        .height = inputs->drawn_height,
        .steps = options->sigma_count ? 0 : (int)values->steps,
        .cfg_scale = values->cfg_scale,
        .sampler = values->sampler,
        .schedule = options->sigma_count ? NULL : values->schedule,
        .eta = values->eta,
        .sigmas = options->sigma_count ? options->sigmas : NULL,
        .sigma_count = options->sigma_count,
        .seed = inputs->seed + (uint64_t)number,
        .rng = values->rng,
        .sampler_rng = values->sampler_rng,
        .clip_skip = values->clip_skip > 0 ? (int)values->clip_skip : 0,
        .init_image = inputs->init,
        .mask = inputs->mask,
        .mask_count = inputs->mask ? (size_t)inputs->drawn_width * (size_t)inputs->drawn_height : 0,
        .strength = {inputs->init != NULL, values->strength},
        .image = (int)number,
        .images = (int)values->batch,
        .noise = inputs->noise ? inputs->noise->data : NULL,
        .noise_count = inputs->noise_count,
        .progress = on_progress,
        .progress_user = ui,
        .preview = {preview, (int)values->preview_interval, SDG_PIXELS_RGB8, app_preview_show, NULL},
    };
}

// The text that goes into the picture, so that it can be made again.
static enum sdg_result describe(struct app_ui *ui, const struct sdgen_options *options,
                                const struct sdgen_inputs *inputs, const struct sdg_pipeline_info *model,
                                const struct sdg_generate_params *params, const struct sdg_generate_info *info,
                                char **text)
{
    const struct sdgen_values *values = &options->values;
    char version[48], tile[32], color[8];
    snprintf(version, sizeof version, "sdgen %s", sdg_version());
    snprintf(tile, sizeof tile, "%dx%d", options->tile, options->tile);
    snprintf(color, sizeof color, "#%02x%02x%02x", options->background[0], options->background[1],
             options->background[2]);
    const struct sdg_picture_parameters parameters = {
        .prompt = options->prompt,
        .negative_prompt = options->negative,
        .plain_prompt = params->plain_prompt,
        .steps = info->steps,
        .width = inputs->width,
        .height = inputs->height,
        .clip_skip = params->clip_skip,
        .sampler = info->sampler,
        .schedule = info->schedule,
        .cfg_scale = sdg_number(info->cfg_scale),
        .strength = params->strength,
        .eta = params->eta.given || params->sampler ? params->eta : model->eta,
        .seed_given = true,
        .seed = info->seed,
        .model = info->model_name,
        .vae = values->vae,
        .sigmas = values->sigmas,
        .rng = info->rng,
        .sampler_rng = values->sampler_rng,
        .type = values->type ? values->type : info->type,
        .backend = info->backend,
        .prediction = values->prediction,
        .scheme = model->scheme,
        .no_correction = values->no_correction,
        .resampled_intervals = model->scheme && values->intervals && !strcmp(values->intervals, "resample"),
        .tile_size = info->tiled ? tile : NULL,
        .tile_overlap = {info->tiled, values->tile_overlap},
        .init_image = values->init_image,
        .init_image_hash = values->init_image ? inputs->init_hash : NULL,
        .init_alpha_color = inputs->transparent ? color : NULL,
        .mask = values->mask,
        .mask_hash = values->mask ? inputs->mask_hash : NULL,
        .unmasked_changed = values->mask && !options->keep_unmasked,
        .noise = values->load_noise,
        .noise_hash = values->load_noise ? inputs->noise_hash : NULL,
        .version = version,
    };
    return sdg_picture_parameters_write(app_log_of(ui), &parameters, text);
}

// Puts back what was not to be painted, and cuts what was drawn beyond the picture's size.
static enum sdg_result finish_picture(struct app_ui *ui, const struct sdgen_options *options,
                                      const struct sdgen_inputs *inputs, struct sdg_image **image)
{
    if (inputs->mask && options->keep_unmasked)
        sdg_picture_keep(*image, inputs->init, inputs->mask);
    if (inputs->width == inputs->drawn_width && inputs->height == inputs->drawn_height)
        return SDG_OK;
    struct sdg_image *cut = NULL;
    enum sdg_result result = sdg_picture_place(app_log_of(ui), *image, inputs->width, inputs->height, &cut);
    sdg_image_destroy(image);
    *image = cut;
    return result;
}

static enum sdg_result write_picture(struct app_ui *ui, const struct sdgen_options *options, const char *text,
                                     const struct sdg_generate_params *params, const struct sdg_generate_info *info,
                                     const struct sdg_image *image)
{
    const struct sdgen_values *values = &options->values;
    char *name = NULL;
    enum sdg_result result =
        app_output_name(ui, values->output, values->begin_index + params->image, params->images, &name);
    if (result == SDG_OK && values->no_clobber) // it may have come meanwhile
        result = app_output_check_absent(ui, name);
    if (result == SDG_OK)
        result = app_output_picture(ui, name, options->format, image, text);
    if (result == SDG_OK)
        app_say(ui, SDG_LOG_INFO,
                "%s: %d x %d, %.2f s (text %.2f, sampling %.2f, decoding %.2f), peak memory %.0f MiB, %.0f planned",
                strcmp(name, "-") ? name : "standard output", image->width, image->height, info->seconds_total,
                info->seconds_text, info->seconds_sample, info->seconds_decode, (double)info->peak_resident / (1 << 20),
                (double)info->peak_planned / (1 << 20));
    free(name);
    return result;
}

// What else a run gives. What fails here does not cost the picture; the first failure is returned.
static enum sdg_result write_others(struct app_latents *latents, struct app_preview *preview,
                                    const struct sdg_image *image)
{
    const enum sdg_result result = app_latents_write(latents);
    const enum sdg_result previewed = preview->path ? app_preview_end(preview, image) : SDG_OK;
    return result != SDG_OK ? result : previewed;
}

static enum sdg_result draw_picture(struct app_ui *ui, const struct sdgen_options *options,
                                    const struct sdgen_inputs *inputs, enum sdg_preview_kind kind,
                                    struct sdg_pipeline *pipeline, int64_t number)
{
    const struct sdgen_values *values = &options->values;
    struct app_latents latents = {.ui = ui, .last_path = values->dump_latents, .steps_path = values->dump_steps};
    struct app_preview preview = {
        .ui = ui, .path = kind != SDG_PREVIEW_NONE ? values->preview_path : NULL, .format = options->preview_format};
    struct sdg_generate_params params = picture_params(ui, options, inputs, kind, number);
    params.preview.user = &preview;
    struct sdg_pipeline_info model;
    sdg_pipeline_info(pipeline, &model);
    if (latents.last_path || latents.steps_path) {
        params.latent = app_latents_step;
        params.latent_user = &latents;
    }
    struct sdg_generate_info info = {0};
    struct sdg_image *image = NULL;
    char *text = NULL;
    app_say(ui, SDG_LOG_INFO, "seed %llu", (unsigned long long)params.seed);
    enum sdg_result result = sdg_generate(pipeline, &params, &image, &info);
    app_progress_end(ui);
    if (result == SDG_OK && app_interrupted())
        result = SDG_ERROR_CANCELLED;
    if (result == SDG_OK)
        result = finish_picture(ui, options, inputs, &image);
    if (result == SDG_OK && options->format != SDG_PICTURE_PPM && !values->no_metadata)
        result = describe(ui, options, inputs, &model, &params, &info, &text);
    if (result == SDG_OK)
        result = write_picture(ui, options, text, &params, &info, image);
    if (result == SDG_OK)
        result = write_others(&latents, &preview, image);
    sdg_picture_free(text);
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
    struct sdgen_inputs inputs = {0};
    struct sdg_pipeline *pipeline = NULL;
    enum sdg_result result = SDG_OK;
    if (!values->plan)
        result = check_outputs(ui, values);
    if (result == SDG_OK)
        result = open_pipeline(ui, options, &pipeline);
    enum sdg_preview_kind preview = SDG_PREVIEW_NONE;
    if (result == SDG_OK) {
        struct sdg_pipeline_info model;
        sdg_pipeline_info(pipeline, &model);
        preview = find_preview(ui, values, &model);
        result = sdgen_inputs_read(ui, options, &model, &inputs);
    }
    if (result == SDG_OK && values->plan) {
        struct sdg_generate_params params = picture_params(ui, options, &inputs, preview, 0);
        result = sdg_plan(pipeline, &params, values->verbose ? SDG_PLAN_EVERY_KERNEL : SDG_PLAN_COUNTED_KERNELS,
                          print_plan_line, NULL);
        if (result == SDG_OK)
            result = finish_stdout(ui);
    } else {
        int64_t done = 0;
        app_signals_cancellable(true);
        while (done < values->batch && result == SDG_OK) {
            result =
                app_interrupted() ? SDG_ERROR_CANCELLED : draw_picture(ui, options, &inputs, preview, pipeline, done);
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
    sdgen_inputs_free(&inputs);
    return result;
}

int main(int argc, char **argv)
{
    struct app_ui ui = app_ui_create("sdgen");
    struct sdgen_options options;
    app_signals_install(&ui);
    enum sdg_result result = sdgen_options_read(&ui, argc, argv, &options);
    const struct sdgen_values *values = &options.values;
    if (result != SDG_OK)
        ; // said already
    else if (options.arguments.helped)
        result = finish_stdout(&ui);
    else if (values->version)
        result = print_version(&ui);
    else if (values->image)
        result = print_metadata(&ui, values);
    else if (values->list_devices)
        result = list_devices(&ui);
    else
        result = run(&ui, &options);
    sdgen_options_free(&options);
    return app_exit_status(result);
}
