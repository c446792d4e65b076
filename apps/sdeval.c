// sdeval: compares models with a reference on equal prompts and equal noise.
#include "sdeval.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/output.h"
#include "common/frame.h"
#include "common/prompts.h"
#include "sdgen/calibrate.h"

struct values {
    const char *model, *other, *prompts, *negative, *sampler, *schedule, *rng, *backend, *type, *intervals, *statistics,
        *report, *json;
    int64_t limit, seeds, seed, steps, width, height, threads, pictures, site_runs;
    struct sdg_number cfg_scale, eta;
    bool no_mmap, verbose, quiet;
};

#define APP_VALUES struct values
#define APP_FIELDS , .flags = APP_COMMON
#include "common/fields.h"

static const struct app_option table[] = {
#define GROUP .group = "Models"
    {'m', "model", FILE_NAME(model, "MODEL"), GROUP, .otherwise = "$SDGEN_MODEL, else the default model",
     .help = "the reference"},
    {'M', "models", FILE_NAME(other, "MODEL .."), GROUP, .help = "what is compared with it; one or more"},
#undef GROUP
#define GROUP .group = "Pictures"
    {0, "prompts", FILE_NAME(prompts, "FILE"), GROUP, .help = "a prompt per line"},
    {'n', "negative-prompt", TEXT(negative, "TEXT"), GROUP, .otherwise = "none",
     .help = "what the unguided branch is told"},
    {0, "limit", INTEGER(limit, 0, 1000000), GROUP, .initial = "0", .help = "only the first N prompts; 0 = all"},
    {0, "seeds", INTEGER(seeds, 1, 100000), GROUP, .initial = "1", .help = "pictures of each prompt"},
    {'s', "seed", INTEGER(seed, 0, 4294967295.0), GROUP, .initial = "1000",
     .help = "of the first picture, the next ones count on; calibration counts from 0"},
    {0, "steps", INTEGER(steps, 1, 1000), GROUP, .initial = "20", .help = "denoising steps"},
    {0, "sampling-method", NAME(sampler, app_sampler_names), GROUP, .initial = "ddim", .help = "sampler"},
    {0, "scheduler", NAME(schedule, app_schedule_names), GROUP, .initial = "model", .help = "noise levels"},
    {0, "eta", NUMBER(eta, 0, 1), GROUP, .otherwise = "the sampler's", .help = "noise added by each step"},
    {0, "cfg-scale", NUMBER(cfg_scale, 0, 1000), GROUP, .otherwise = "the reference's, else 7, of an LCM 8.5",
     .help = "how strongly to follow the prompt"},
    {0, "rng", NAME(rng, app_rng_names), GROUP, .initial = "cuda", .help = "random numbers"},
    {'W', "width", INTEGER(width, 1, 16384), GROUP, .otherwise = "the reference's", .help = APP_SIDE_HELP},
    {'H', "height", INTEGER(height, 1, 16384), GROUP, .otherwise = "the reference's", .help = APP_SIDE_HELP},
#undef GROUP
#define GROUP .group = "Computing"
    {0, "backend", FILE_NAME(backend, "NAME"), GROUP, .initial = "auto",
     .help = "auto, cpu, vulkan, vulkan:N, reference"},
    {0, "intervals", NAME(intervals, app_interval_names), GROUP, .initial = "calibrated",
     .help =
         "of quantized models with intervals by token, at another size than their calibration's: calibrated refuses "
         "it, resample interpolates them"},
    {0, "type", NAME(type, app_type_names), GROUP, .initial = "f32",
     .help = "arithmetic of all models, as far as they are not quantized"},
    {'t', "threads", INTEGER(threads, -1, 1024), GROUP, .initial = "-1",
     .help = "CPU threads; -1 or 0 = one a core, of those that affinity and a container's quota leave"},
    {0, "no-mmap", FLAG(no_mmap), GROUP, .help = "read the weights instead of mapping them"},
#undef GROUP
#define GROUP .group = "Results"
    {0, "report", FILE_NAME(report, "FILE"), GROUP, .otherwise = "none",
     .help = "a page with tables, drawings and pictures (.html)"},
    {0, "json", FILE_NAME(json, "FILE"), GROUP, .otherwise = "none",
     .help = "all numbers; - = standard output instead of the tables"},
    {0, "stats", FILE_NAME(statistics, "FILE"), GROUP, .otherwise = "none",
     .help = "statistics of sdcalib: their ranges are drawn behind the intervals"},
    {0, "pictures", INTEGER(pictures, 0, 1000), GROUP, .initial = "8",
     .help = "pictures in the report, the first ones"},
    {0, "site-runs", INTEGER(site_runs, 0, 1000000), GROUP, .initial = "4",
     .help = "pictures at which the network's outputs on the reference's latents, and its sites, are compared; 0 = "
             "leave it out"},
#undef GROUP
#define GROUP .group = "General"
    {'q', "quiet", FLAG(quiet), GROUP, .help = "only errors"},
    {'v', "verbose", FLAG(verbose), GROUP, .help = "say more"},
    {'h', "help", HELP, GROUP, .help = "print this"},
    {0, "help-all", HELP_ALL, GROUP, .help = "print this with ranges and exit codes"},
    {0, "help-as", HELP_AS, GROUP, .help = "print this as a manual page, or as what a shell completes it by"},
#undef GROUP
};

static const char more[] =
    "\nThe JSON file\n"
    "settings   sampler, scheduler, rng, cfg_scale, steps, size, latent [channels, height, width], seed of run 0, "
    "seeds of each prompt, runs (pictures), site_runs,\n"
    "           output_runs (pictures at which sites and outputs were compared), prompts; timesteps and step_of_call "
    "by call, which is one run of the network\n"
    "models     the reference first: name, path, scheme, rule of the intervals, corrected; output_sqnr (dB, mean over "
    "the calls) and output_sqnr_by_call: of what the\n"
    "           network answers to the reference's own latents; after the last step latent_sqnr (dB, of summed "
    "powers), its mean over the pictures and latent_mse; psnr, psnr_pooled (dB), ssim,\n"
    "           seconds_step, seconds_picture (medians), peak_planned, peak_resident, weight_bytes, unet_bytes; "
    "latent_sqnr_by_step, latent_mse_by_step, latent_sqnr_by_run,\n"
    "           psnr_by_run, ssim_by_run; sites it quantizes: name, bits, sqnr (dB) of its codes over all calls, "
    "sqnr_by_call, low and high by call: what has a code\n"
    "sites      name, kind, channels, min and max of the reference's values by call\n"
    "statistics of --stats: sites, and how many have a correlation of range and timestep beyond 0.5 and 0.7\n"
    "null stands for infinite decibels (nothing differs) and for what cannot be measured.\n";

static const struct app_command command = {
    .usage = "sdeval -m REFERENCE -M MODEL [MODEL ..] --prompts FILE [options]",
    .about = "Draws the same pictures with all models and compares them with the reference's: latents after every "
             "step, pictures, time and memory,\n"
             "what the networks answer to the reference's own latents, and what quantization does to its activations, "
             "site by site and step by step.\n"
             "A MODEL may be followed by commas and changes: FOLDER,type=bf16  FOLDER,backend=vulkan  "
             "FOLDER,correction=off  FOLDER,name=TEXT",
    .more = more,
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = APP_POSITIONALS_MAX,
};

// -------------------------------------------------------------------------------------------------- models

enum { MODELS = 65 }; // with the reference

struct models {
    struct sdg_evaluate_model list[MODELS];
    char *texts[MODELS]; // what the names point into
    size_t count;
};

static void free_models(struct models *models)
{
    for (size_t i = 0; i < models->count; i++)
        free(models->texts[i]);
}

static enum sdg_result apply_change(struct app_ui *ui, struct sdg_evaluate_model *model, const char *change)
{
    if (!strncmp(change, "type=", 5))
        model->type = change + 5;
    else if (!strncmp(change, "name=", 5))
        model->name = change + 5;
    else if (!strncmp(change, "backend=", 8))
        model->backend = change + 8;
    else if (!strcmp(change, "correction=off"))
        model->no_correction = true;
    else
        return app_fail(ui, SDG_ERROR_USAGE,
                        "'%.60s' after a model is unknown (legal: type=NAME, backend=NAME, correction=off, name=TEXT)",
                        change);
    return SDG_OK;
}

// "FOLDER,type=bf16,correction=off". A file or folder that is called so is taken as it is.
static enum sdg_result add_model(struct app_ui *ui, struct models *models, const char *text)
{
    if (models->count == MODELS)
        return app_fail(ui, SDG_ERROR_USAGE, "there are more than %d models to compare", MODELS - 1);
    char *copy = strdup(text), *rest = NULL;
    if (!copy)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the name of a model");
    struct sdg_evaluate_model *model = &models->list[models->count];
    models->texts[models->count++] = copy;
    if (access(text, F_OK) == 0) {
        model->path = copy;
        return SDG_OK;
    }
    model->path = strtok_r(copy, ",", &rest);
    for (const char *change; (change = strtok_r(NULL, ",", &rest));) {
        enum sdg_result result = apply_change(ui, model, change);
        if (result != SDG_OK)
            return result;
    }
    return model->path ? SDG_OK : app_fail(ui, SDG_ERROR_USAGE, "the name of a model is empty");
}

static enum sdg_result read_models(struct app_ui *ui, const struct values *values,
                                   const struct app_arguments *arguments, struct models *models)
{
    if (!values->other)
        return app_fail(ui, SDG_ERROR_USAGE, "there is nothing to compare: name models with -M");
    enum sdg_result result = SDG_OK;
    if (values->model)
        result = add_model(ui, models, values->model);
    else
        models->count = 1; // the default model
    if (result == SDG_OK)
        result = add_model(ui, models, values->other);
    for (int i = 0; i < arguments->positionals && result == SDG_OK; i++)
        result = add_model(ui, models, arguments->positional[i]);
    return result;
}

// -------------------------------------------------------------------------------------------------- statistics

struct loading {
    struct sdeval_statistics *statistics;
    size_t room;
    bool failed;
};

static void note_info(void *user, const struct sdg_collected_info *info)
{
    struct loading *l = user;
    l->room = info->sites;
    l->statistics->ranges = calloc(info->sites ? info->sites : 1, sizeof *l->statistics->ranges);
    l->failed = !l->statistics->ranges;
}

static void note_site(void *user, const struct sdg_collected_site *site)
{
    struct loading *l = user;
    if (l->failed || l->statistics->count == l->room)
        return;
    struct sdeval_range *range = &l->statistics->ranges[l->statistics->count++];
    range->rows = site->rows;
    range->correlation = site->correlation;
    range->name = strdup(site->name);
    range->timesteps = calloc(4 * site->rows + 1, sizeof *range->timesteps);
    l->failed = !range->name || !range->timesteps;
    if (l->failed)
        return;
    range->min = range->timesteps + site->rows;
    range->max = range->min + site->rows;
    range->typical = range->max + site->rows;
    for (size_t i = 0; i < site->rows; i++) {
        range->timesteps[i] = site->timesteps[i];
        range->min[i] = (double)site->min[i];
        range->max[i] = (double)site->max[i];
        range->typical[i] = (double)site->typical[i];
    }
    l->statistics->related += fabs(site->correlation) > 0.5;
    l->statistics->strongly += fabs(site->correlation) > 0.7;
}

static void free_statistics(struct sdeval_statistics *statistics)
{
    for (size_t i = 0; i < statistics->count; i++) {
        free(statistics->ranges[i].name);
        free(statistics->ranges[i].timesteps);
    }
    free(statistics->ranges);
}

static enum sdg_result read_statistics(struct app_ui *ui, const char *path, struct sdeval_statistics *statistics)
{
    struct loading loading = {.statistics = statistics};
    enum sdg_result result = sdg_collect_show(app_log_of(ui), path, NULL, note_info, note_site, &loading);
    if (result == SDG_OK && loading.failed)
        result = app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %.200s", path);
    return result;
}

// -------------------------------------------------------------------------------------------------- table

static void print_number(double value, int width, const char *format)
{
    char text[40];
    if (isnan(value))
        snprintf(text, sizeof text, "-");
    else if (isinf(value))
        snprintf(text, sizeof text, "inf");
    else
        snprintf(text, sizeof text, format, value);
    printf(" %*s", width, text);
}

static int name_width(const struct sdg_evaluation *e)
{
    size_t width = 9;
    for (size_t i = 0; i <= e->models; i++)
        width = strlen(e->model[i].name) > width ? strlen(e->model[i].name) : width;
    return (int)(width < 48 ? width : 48);
}

static void print_models(const struct sdg_evaluation *e, int width)
{
    const double mib = 1024.0 * 1024.0;
    printf("%-*s %-13s %9s %9s %8s %10s %8s %8s %9s %9s %9s %9s\n", width, "model", "scheme", "output dB", "SQNR dB",
           "mean dB", "latent MSE", "PSNR dB", "SSIM", "step ms", "plan MiB", "peak MiB", "weights");
    for (size_t i = 0; i <= e->models; i++) {
        const struct sdg_evaluation_model *m = &e->model[i];
        printf("%-*.*s %-13s", width, width, m->name, m->scheme);
        print_number(m->output, 9, "%.2f");
        print_number(m->latent_sqnr[e->steps - 1], 9, "%.2f");
        print_number(m->sqnr, 8, "%.2f");
        print_number(m->latent_mse[e->steps - 1], 10, "%.3g");
        print_number(m->psnr, 8, "%.2f");
        print_number(m->ssim, 8, "%.4f");
        print_number(m->seconds_step * 1000, 9, "%.2f");
        print_number((double)m->peak_planned / mib, 9, "%.1f");
        print_number((double)m->peak_resident / mib, 9, "%.1f");
        print_number((double)m->weight_bytes / mib, 9, "%.1f");
        putchar('\n');
    }
}

// Some of the steps: at most eight, evenly spread, the last among them.
static int columns_of(int steps)
{
    return steps < 8 ? steps : 8;
}
static int column_at(int steps, int k)
{
    return steps * (k + 1) / columns_of(steps) - 1;
}

static void print_row(const char *name, const double *values, int steps, int width)
{
    printf("%-*.*s", width, width, name);
    for (int k = 0; k < columns_of(steps); k++)
        print_number(values[column_at(steps, k)], 7, "%.2f");
    putchar('\n');
}

// The network's outputs on the reference's latents.
static void print_outputs(const struct sdg_evaluation *e, int width)
{
    int calls = (int)e->calls;
    if (!e->output_runs)
        return;
    printf("\n%-*s", width, "output dB at t =");
    for (int k = 0; k < columns_of(calls); k++)
        printf(" %7.0f", e->timesteps[column_at(calls, k)]);
    putchar('\n');
    for (size_t i = 1; i <= e->models; i++)
        print_row(e->model[i].name, e->model[i].output_sqnr, calls, width);
}

static void print_steps(const struct sdg_evaluation *e, int width)
{
    printf("\n%-*s", width, "SQNR dB after step");
    for (int k = 0; k < columns_of(e->steps); k++)
        printf(" %7d", column_at(e->steps, k) + 1);
    putchar('\n');
    for (size_t i = 1; i <= e->models; i++)
        print_row(e->model[i].name, e->model[i].latent_sqnr, e->steps, width);
}

// The mean over the sites, in dB.
static double mean_of_sites(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < e->sites; i++)
        if (m->sites[i].bits && isfinite(m->sites[i].total)) {
            sum += m->sites[i].total;
            count++;
        }
    return count ? sum / (double)count : NAN;
}

// The sites that a model's codes hit hardest, over all steps.
static void print_worst(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m)
{
    enum { SHOWN = 3 };
    size_t worst[SHOWN], count = 0;
    for (size_t i = 0; i < e->sites; i++) {
        if (!m->sites[i].bits || isnan(m->sites[i].total))
            continue;
        size_t at = count;
        while (at > 0 && m->sites[i].total < m->sites[worst[at - 1]].total)
            at--;
        if (at >= SHOWN)
            continue;
        count += count < SHOWN;
        memmove(worst + at + 1, worst + at, (count - at - 1) * sizeof *worst);
        worst[at] = i;
    }
    for (size_t k = 0; k < count; k++) {
        printf("%s%s", k ? ", " : "", e->site[worst[k]].name);
        print_number(m->sites[worst[k]].total, 0, "%.1f");
    }
    putchar('\n');
}

static void print_sites(const struct sdg_evaluation *e, int width)
{
    bool any = false;
    for (size_t i = 1; i <= e->models; i++) {
        if (!e->model[i].sites)
            continue;
        if (!any)
            printf("\n%-*s %7s  worst\n", width, "sites, dB", "mean");
        any = true;
        printf("%-*.*s", width, width, e->model[i].name);
        print_number(mean_of_sites(e, &e->model[i]), 7, "%.2f");
        fputs("  ", stdout);
        print_worst(e, &e->model[i]);
    }
}

static enum sdg_result print_tables(struct app_ui *ui, const struct sdg_evaluation *e)
{
    int width = name_width(e);
    width = width < 18 ? 18 : width;
    printf("%zu pictures of %dx%d, %d steps of %s (%s), guidance %.6g, seeds from %llu; reference %s\n\n", e->runs,
           e->width, e->height, e->steps, e->sampler, e->schedule, e->cfg_scale, (unsigned long long)e->seed,
           e->model[0].path);
    print_models(e, width);
    print_outputs(e, width);
    print_steps(e, width);
    print_sites(e, width);
    if (fflush(stdout) || ferror(stdout))
        return app_fail(ui, SDG_ERROR_OUTPUT, "standard output: cannot be written: %s", strerror(errno));
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- run

struct talk {
    struct app_ui *ui;
    const char *stage; // last told
    int model;
};

// On a terminal a bar over all pictures of a model; in a log a line for each model.
static bool on_progress(void *user, const struct sdg_evaluate_progress *p)
{
    struct talk *talk = user;
    bool sites = !strcmp(p->stage, "sites");
    const struct sdg_progress shown = {
        .stage = sites ? "sites" : p->model,
        .step = p->run * p->steps + p->step,
        .steps = p->runs * p->steps,
        .image = sites ? 0 : p->model_index,
        .images = sites ? 1 : p->models,
        .seconds_left = p->seconds_left,
    };
    if (talk->ui->terminal)
        app_progress(talk->ui, &shown);
    else if (sites && talk->stage != p->stage)
        app_say(talk->ui, SDG_LOG_INFO, "comparing the sites");
    else if (!sites && talk->model != p->model_index)
        app_say(talk->ui, SDG_LOG_INFO, "model %d of %d: %s", p->model_index + 1, p->models, p->model);
    talk->stage = p->stage;
    talk->model = p->model_index;
    return !app_interrupted();
}

static enum sdg_result write_files(struct app_ui *ui, const struct values *values, const struct sdg_evaluation *e,
                                   const struct sdeval_statistics *statistics)
{
    struct sdg_output *output;
    enum sdg_result result = SDG_OK;
    if (values->json) {
        result = app_output_open(ui, values->json, &output);
        if (result != SDG_OK)
            return result;
        sdeval_write_json(sdg_output_file(output), e, statistics);
        result = sdg_output_commit(&output);
    }
    if (result != SDG_OK || !values->report)
        return result;
    result = app_output_open(ui, values->report, &output);
    if (result != SDG_OK)
        return result;
    result = sdeval_write_html(ui, sdg_output_file(output), e, statistics);
    if (result == SDG_OK)
        return sdg_output_commit(&output);
    sdg_output_discard(&output);
    return result;
}

static enum sdg_result evaluate(struct app_ui *ui, const struct values *values, const struct models *models,
                                const struct app_prompts *prompts, const struct sdeval_statistics *statistics)
{
    struct talk talk = {.ui = ui, .model = -1};
    struct sdg_evaluation *evaluation;
    const struct sdg_evaluate_params params = {
        .reference = models->list[0],
        .models = models->list + 1,
        .model_count = models->count - 1,
        .prompts = prompts->lines,
        .prompt_count = prompts->count,
        .seeds = (int)values->seeds,
        .site_runs = (int)values->site_runs,
        .pictures = values->report ? (int)values->pictures : 0,
        .generate = {.negative_prompt = values->negative,
                     .width = (int)values->width,
                     .height = (int)values->height,
                     .steps = (int)values->steps,
                     .cfg_scale = values->cfg_scale,
                     .sampler = values->sampler,
                     .schedule = values->schedule,
                     .eta = values->eta,
                     .seed = (uint64_t)values->seed,
                     .rng = values->rng},
        .pipeline = {.backend = values->backend,
                     .type = values->type,
                     .intervals = values->intervals,
                     .threads = values->threads > 0 ? (int)values->threads : 0,
                     .no_mmap = values->no_mmap,
                     .log = {app_log, ui, ui->level}},
        .progress = on_progress,
        .progress_user = &talk,
    };
    app_signals_cancellable(true);
    enum sdg_result result = sdg_evaluate(&params, &evaluation);
    app_progress_end(ui);
    if (result != SDG_OK)
        return result;
    if (!values->json || strcmp(values->json, "-"))
        result = print_tables(ui, evaluation);
    if (result == SDG_OK)
        result = write_files(ui, values, evaluation, statistics);
    sdg_evaluation_destroy(&evaluation);
    return result;
}

static enum sdg_result run(struct app_ui *ui, const void *given, const struct app_arguments *arguments)
{
    const struct values *values = given;
    struct models models = {0};
    struct app_prompts prompts = {0};
    struct sdeval_statistics statistics = {0};
    enum sdg_result result = read_models(ui, values, arguments, &models);
    if (result == SDG_OK && !values->prompts)
        result = app_fail(ui, SDG_ERROR_USAGE, "the prompts are missing: --prompts FILE");
    if (result == SDG_OK)
        result = app_prompts_read(ui, values->prompts, (size_t)values->limit, &prompts);
    if (result == SDG_OK && values->statistics)
        result = read_statistics(ui, values->statistics, &statistics);
    if (result == SDG_OK && values->json && strcmp(values->json, "-"))
        result = app_output_check(ui, values->json);
    if (result == SDG_OK && values->report)
        result = app_output_check(ui, values->report);
    if (result == SDG_OK)
        result = app_output_check_apart(ui, "json", values->json, "report", values->report);
    if (result == SDG_OK)
        result = evaluate(ui, values, &models, &prompts, &statistics);
    free_statistics(&statistics);
    app_prompts_free(&prompts);
    free_models(&models);
    return result;
}

int main(int argc, char **argv)
{
    struct values values = {0};
    const struct app_program program = {.name = "sdeval",
                                        .command = &command,
                                        .values = &values,
                                        .quiet = &values.quiet,
                                        .verbose = &values.verbose,
                                        .run = run};
    return app_main(&program, argc, argv);
}
