// sdcalib: records what a model's activations look like at every denoising step, on one machine or on many.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "common/examples.h"
#include "common/frame.h"
#include "common/output.h"
#include "common/prompts.h"
#include "common/report.h"
#include "sdgen/calibrate.h"

struct values {
    const char *model, *prompts, *output, *sampler, *schedule, *backend, *type, *shard, *site, *html, *negative, *rng,
        *hessians, *pictures, *tokens, *smooth, *smooth_scheme;
    int64_t steps, seed, width, height, threads, limit;
    struct sdg_number cfg_scale, smooth_alpha;
    bool relative, resume, scan_operands, verbose, quiet;
};

#define APP_VALUES struct values
#define APP_FIELDS , .flags = APP_COMMON
#include "common/fields.h"

static const struct app_option table[] = {
#define GROUP .group = "collect"
    {'m', "model", FILE_NAME(model, "FILE"), GROUP, .otherwise = "$SDGEN_MODEL, else the default model",
     .help = "diffusers folder or single-file checkpoint"},
    {0, "prompts", FILE_NAME(prompts, "FILE"), GROUP, .help = "a prompt per line; the same file for all shards"},
    {0, "pictures", FILE_NAME(pictures, "FILE"), GROUP, .otherwise = "none",
     .help = "of a classifier, in place of prompts: pictures as sdvim takes them; the same file for all shards"},
    {'n', "negative-prompt", TEXT(negative, "TEXT"), GROUP, .otherwise = "none",
     .help = "what the unguided branch is told"},
    {0, "limit", INTEGER(limit, 0, 1000000), GROUP, .initial = "0",
     .help = "only the first N prompts, or N pictures drawn with --seed; 0 = all"},
    {0, "steps", INTEGER(steps, 1, 1000), GROUP, .initial = "50", .help = "denoising steps"},
    {0, "sampling-method", NAME(sampler, app_sampler_names), GROUP, .initial = "ddim", .help = "sampler"},
    {0, "scheduler", NAME(schedule, app_schedule_names), GROUP, .initial = "model", .help = "noise levels"},
    {0, "cfg-scale", NUMBER(cfg_scale, 0, 1000), GROUP, .otherwise = "the model's, else 7, of an LCM 8.5",
     .help = "how strongly to follow the prompt"},
    {'s', "seed", INTEGER(seed, 0, 4294967295.0), GROUP, .initial = "0",
     .help = "prompt i uses seed + i; of pictures, which ones --limit draws"},
    {0, "rng", NAME(rng, app_rng_names), GROUP, .initial = "cuda", .help = "random numbers"},
    {'W', "width", INTEGER(width, 1, 16384), GROUP, .otherwise = "the model's", .help = APP_SIDE_HELP},
    {'H', "height", INTEGER(height, 1, 16384), GROUP, .otherwise = "the model's", .help = APP_SIDE_HELP},
    {0, "shard", TEXT(shard, "I/N"), GROUP, .otherwise = "1/1", .help = "this machine's part of the prompts"},
    {0, "hessians", FILE_NAME(hessians, "FILE"), GROUP, .otherwise = "none",
     .help = "a second file for sdquant --gptq: moments of the inputs of all layers that have at most 5120 (of a 3x3 "
             "convolution, 9 times its channels); it merges like statistics"},
    {0, "tokens", TEXT(tokens, "REGEX"), GROUP, .otherwise = "\\.mamba\\.",
     .help =
         "sites that keep the positions of their tokens apart, for intervals by token, where only linear layers and "
         "1x1 convolutions read them; empty = none"},
    {0, "relative", FLAG(relative), GROUP,
     .help =
         "weigh their values, too, so that intervals by token make errors small beside the token that they are of in "
         "each picture: what a network that norms its tokens sees of them; its tokens take three times the room"},
    {0, "smooth", FILE_NAME(smooth, "STATS"), GROUP, .otherwise = "none",
     .help = "statistics of this model, not smoothed themselves: sites that keep tokens are smoothed by them, each "
             "channel divided by amax^A / wmax^(1-A)"},
    {0, "smooth-alpha", NUMBER(smooth_alpha, 0, 1), GROUP, .otherwise = "0.5", .help = "the A of it"},
    {0, "smooth-scheme", TEXT(smooth_scheme, "SCHEME"), GROUP, .otherwise = "none",
     .help = "in place of A: both exponents are searched for each site, those that lose least with this scheme's bits; "
             "where nothing is gained, a site is not smoothed"},
    {0, "scan-operands", FLAG(scan_operands), GROUP,
     .help = "also what Mamba's scans and their convolutions read: for \"scan_operands\" of sdquant"},
    {0, "resume", FLAG(resume), GROUP, .help = "go on where the output files end"},
    {0, "backend", FILE_NAME(backend, "NAME"), GROUP, .initial = "auto",
     .help = "auto, cpu, vulkan, vulkan:N, reference"},
    {0, "type", NAME(type, app_type_names), GROUP, .initial = "f32", .help = "arithmetic"},
    {'t', "threads", INTEGER(threads, -1, 1024), GROUP, .initial = "-1",
     .help = "CPU threads; -1 or 0 = one a core, of those that affinity and a container's quota leave"},
#undef GROUP
#define GROUP .group = "show"
    {0, "site", FILE_NAME(site, "NAME"), GROUP, .otherwise = "all", .help = "only this site, row by row"},
    {0, "html", FILE_NAME(html, "FILE"), GROUP, .otherwise = "none",
     .help = "a page with the range of every site over the timestep"},
#undef GROUP
#define GROUP .group = "General"
    {'o', "output", FILE_NAME(output, "FILE"), GROUP, .otherwise = "needed by collect and merge",
     .help = "statistics file (.safetensors)"},
    {'q', "quiet", FLAG(quiet), GROUP, .help = "only errors"},
    {'v', "verbose", FLAG(verbose), GROUP, .help = "say more"},
    {'h', "help", HELP, GROUP, .help = "print this"},
    {0, "help-all", HELP_ALL, GROUP, .help = "print this with ranges and exit codes"},
    {0, "help-as", HELP_AS, GROUP, .help = "print this as a manual page, or as what a shell completes it by"},
#undef GROUP
};

static const struct app_command command = {
    .usage =
        "sdcalib collect --prompts FILE -o STATS [options]\n       sdcalib collect -m DIR --pictures FILE -o STATS "
        "[options]\n       sdcalib merge STATS STATS ... -o STATS\n       "
        "sdcalib show STATS [--site NAME] [--html FILE]",
    .about = "Records, for every denoising step, histograms of the activations that quantized weights will "
             "meet.\nShards merge exactly: the sum of all equals the file of one run byte for byte.",
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = APP_POSITIONALS_MAX,
};

// -------------------------------------------------------------------------------------------------- collect

static enum sdg_result read_shard(struct app_ui *ui, const char *text, int *shard, int *shards)
{
    char copy[32];
    int64_t i = 1, n = 1;
    if (text) {
        char *slash = strlen(text) < sizeof copy ? strchr(strcpy(copy, text), '/') : NULL;
        if (slash)
            *slash = 0;
        if (!slash || !app_read_integer(copy, &i) || !app_read_integer(slash + 1, &n) || i < 1 || n < i || n > 65536)
            return app_fail(ui, SDG_ERROR_USAGE, "--shard: '%.40s' should be I/N with 1 <= I <= N <= 65536", text);
    }
    *shard = (int)i;
    *shards = (int)n;
    return SDG_OK;
}

struct talk {
    struct app_ui *ui;
    struct timespec begin; // of the first prompt seen, which with --resume is not the first one
    int first;             // its number; negative before it
    int told;              // the last one that was said to be done
};

// Seconds for the prompts to come, from those of the ones that were done; negative if none was.
static double seconds_left(const struct talk *talk, const struct sdg_progress *p)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double spent = (double)(now.tv_sec - talk->begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - talk->begin.tv_nsec),
                 done = p->image - talk->first + (double)p->step / p->steps;
    return done > 0 ? spent / done * (p->images - talk->first - done) : -1;
}

// On a terminal a bar over all prompts, else a line for each.
static bool on_progress(void *user, const struct sdg_progress *progress)
{
    struct talk *talk = user;
    if (strcmp(progress->stage, "sample") || progress->steps <= 0)
        return !app_interrupted();
    if (talk->first < 0) {
        talk->first = progress->image;
        clock_gettime(CLOCK_MONOTONIC, &talk->begin);
    }
    const double left = seconds_left(talk, progress);
    if (talk->ui->terminal)
        app_progress(talk->ui,
                     &(struct sdg_progress){.stage = "collect",
                                            .step = progress->image * progress->steps + progress->step,
                                            .steps = progress->images * progress->steps,
                                            .seconds_step = progress->seconds_step,
                                            .seconds_left = left});
    else if (progress->step == progress->steps && progress->image > talk->told) {
        talk->told = progress->image;
        app_say(talk->ui, SDG_LOG_INFO, "prompt %d of %d done, %.0f %s left", progress->image + 1, progress->images,
                left < 90 ? left : left / 60, left < 90 ? "s" : "min");
    }
    return !app_interrupted();
}

static enum sdg_result collect(struct app_ui *ui, const struct values *values, const struct app_prompts *prompts)
{
    struct sdg_pipeline *pipeline = NULL;
    struct talk talk = {.ui = ui, .first = -1, .told = -1};
    const struct sdg_pipeline_params params = {
        .model = values->model,
        .backend = values->backend,
        .type = values->type,
        .threads = values->threads > 0 ? (int)values->threads : 0,
        .log = {app_log, ui, ui->level},
    };
    struct sdg_collect_params collect_params = {
        .prompts = prompts->lines,
        .prompt_count = prompts->count,
        .output = values->output,
        .hessians = values->hessians,
        .tokens = values->tokens,
        .relative = values->relative,
        .smooth = values->smooth,
        .smooth_alpha = values->smooth_alpha,
        .smooth_scheme = values->smooth_scheme,
        .scan_operands = values->scan_operands,
        .resume = values->resume,
        .generate = {.negative_prompt = values->negative,
                     .width = (int)values->width,
                     .height = (int)values->height,
                     .steps = (int)values->steps,
                     .cfg_scale = values->cfg_scale,
                     .sampler = values->sampler,
                     .schedule = values->schedule,
                     .seed = (uint64_t)values->seed,
                     .rng = values->rng,
                     .progress = on_progress,
                     .progress_user = &talk},
    };
    enum sdg_result result = read_shard(ui, values->shard, &collect_params.shard, &collect_params.shards);
    if (result == SDG_OK)
        result = app_output_check(ui, values->output);
    if (result == SDG_OK && values->hessians)
        result = app_output_check(ui, values->hessians);
    if (result == SDG_OK)
        result = app_output_check_apart(ui, "hessians", values->hessians, "output", values->output);
    if (result == SDG_OK)
        result = sdg_pipeline_create(&params, &pipeline);
    app_signals_cancellable(true);
    if (result == SDG_OK)
        result = sdg_collect(pipeline, &collect_params);
    app_progress_end(ui);
    sdg_pipeline_destroy(&pipeline);
    if (result == SDG_ERROR_CANCELLED)
        app_say(ui, SDG_LOG_INFO, "interrupted; what is complete is in %s, go on with --resume", values->output);
    return result;
}

// ---- pictures ----

// Keeps `limit` of the pictures, drawn without putting back: a shuffle that stops there.
static void draw_pictures(struct app_examples *examples, size_t limit, size_t pixels, uint64_t seed)
{
    for (size_t i = 0; i < limit; i++) {
        const size_t other = i + sdg_random_next(&seed) % (examples->count - i);
        for (size_t k = 0; k < pixels; k++) {
            const float kept = examples->pictures[i * pixels + k];
            examples->pictures[i * pixels + k] = examples->pictures[other * pixels + k];
            examples->pictures[other * pixels + k] = kept;
        }
    }
    examples->count = limit;
}

static enum sdg_result collect_examples(struct app_ui *ui, const struct values *values,
                                        struct sdg_classifier *classifier, struct app_examples *examples)
{
    struct sdg_classifier_info info;
    struct sdg_classifier_collect_params params = {.pictures = examples->pictures,
                                                   .relative = values->relative,
                                                   .smooth = values->smooth,
                                                   .smooth_alpha = values->smooth_alpha,
                                                   .smooth_scheme = values->smooth_scheme,
                                                   .scan_operands = values->scan_operands,
                                                   .output = values->output};
    enum sdg_result result = read_shard(ui, values->shard, &params.shard, &params.shards);
    if (result != SDG_OK)
        return result;
    sdg_classifier_info(classifier, &info);
    if (values->limit && (size_t)values->limit < examples->count)
        draw_pictures(examples, (size_t)values->limit, (size_t)(info.channels * info.image_size * info.image_size),
                      (uint64_t)values->seed);
    params.count = examples->count;
    return sdg_classifier_collect(classifier, &params);
}

static enum sdg_result run_collect_pictures(struct app_ui *ui, const struct values *values)
{
    struct sdg_classifier *classifier = NULL;
    struct sdg_classifier_info info;
    struct app_examples examples = {0};
    const struct sdg_classifier_params params = {
        .model = values->model,
        .backend = values->backend,
        .type = values->type,
        .threads = values->threads > 0 ? (int)values->threads : 0,
        .log = {app_log, ui, ui->level},
    };
    if (values->prompts || values->hessians || values->resume || !values->model || !values->output)
        return app_fail(ui, SDG_ERROR_USAGE,
                        "collect --pictures FILE needs -m DIR and -o FILE, and takes no prompts, hessians or resume");
    enum sdg_result result = app_output_check(ui, values->output);
    if (result == SDG_OK)
        result = sdg_classifier_create(&params, &classifier);
    if (result == SDG_OK) {
        sdg_classifier_info(classifier, &info);
        result = app_examples_read(ui, values->pictures, &info, &examples);
    }
    if (result == SDG_OK)
        result = collect_examples(ui, values, classifier, &examples);
    app_examples_free(&examples);
    sdg_classifier_destroy(&classifier);
    return result;
}

static enum sdg_result run_collect(struct app_ui *ui, const struct values *values)
{
    struct app_prompts prompts;
    if (values->pictures)
        return run_collect_pictures(ui, values);
    if (!values->prompts || !values->output)
        return app_fail(ui, SDG_ERROR_USAGE, "collect needs --prompts FILE (or --pictures FILE) and -o FILE");
    enum sdg_result result = app_prompts_read(ui, values->prompts, (size_t)values->limit, &prompts);
    if (result == SDG_OK)
        result = collect(ui, values, &prompts);
    app_prompts_free(&prompts);
    return result;
}

// -------------------------------------------------------------------------------------------------- show

struct show {
    FILE *html; // NULL = none
    bool rows;  // print row by row
    size_t sites, related, strongly;
    bool out_of_memory;
};

static void show_info(void *user, const struct sdg_collected_info *info)
{
    struct show *s = user;
    printf("model %s, %s, %d steps, %zu rows\n%s\nshard %d/%d, %zu of %zu prompts, %zu sites\n", info->model,
           info->sampler, info->steps, info->rows, info->settings, info->shard, info->shards, info->prompts_done,
           info->prompts, info->sites);
    if (!s->html)
        return;
    fputs("<p class=\"quiet\">model ", s->html);
    report_text(s->html, info->model);
    fprintf(s->html, ", %s, %d steps, %zu of %zu prompts, %zu sites. ", info->sampler, info->steps, info->prompts_done,
            info->prompts, info->sites);
    report_text(s->html, info->settings);
    fputs("</p>\n", s->html);
}

// What the lines of a drawing are, and what the legend calls them.
static const char *const line_names[] = {"minimum", "maximum", "99.9 % of the magnitudes lie below"};
enum { LINES = sizeof line_names / sizeof *line_names };

static void begin_page(FILE *html)
{
    report_begin(html, "Activation ranges over the timestep");
    fputs(
        "<p>What each layer's input was while pictures were drawn, in the units of the activations themselves. Drawing "
        "begins on the left, at the largest timestep, and ends on the right. r: correlation of timestep and "
        "range.</p>\n",
        html);
    report_legend(html, line_names, LINES);
}

static bool draw_site(FILE *html, const struct sdg_collected_site *site)
{
    const float *const values[LINES] = {site->min, site->max, site->typical};
    struct report_line lines[LINES];
    double *y = calloc(LINES * site->rows + 1, sizeof *y), low = 0, high = 0, first = 1;
    if (!y)
        return false;
    for (size_t l = 0; l < LINES; l++) {
        for (size_t r = 0; r < site->rows; r++)
            y[l * site->rows + r] = (double)values[l][r];
        lines[l] = (struct report_line){site->timesteps, y + l * site->rows, site->rows,
                                        report_color(l), report_dash(l),     line_names[l]};
    }
    for (size_t r = 0; r < site->rows; r++) {
        low = fmin(low, (double)site->min[r]);
        high = fmax(high, (double)site->max[r]);
        first = fmax(first, site->timesteps[r]);
    }
    fputs("<figure style=\"width:284px\">", html);
    report_chart(html,
                 &(struct report_chart){.width = 284,
                                        .height = 160,
                                        .small = true,
                                        .x_label = "timestep t",
                                        .x_name = "t",
                                        .whole_x = true,
                                        .x_min = first,
                                        .x_max = 0,
                                        .lines = lines,
                                        .line_count = LINES});
    fputs("<figcaption>", html);
    report_text(html, site->name);
    fputs("<br/>", html);
    report_text(html, site->kind);
    fprintf(html, ", %zu channels, %.3g to %.3g, r = %.2f</figcaption></figure>\n", site->channels, low, high,
            site->correlation);
    free(y);
    return true;
}

static void show_site(void *user, const struct sdg_collected_site *site)
{
    struct show *s = user;
    float low = 0, high = 0;
    double r = site->correlation < 0 ? -site->correlation : site->correlation;
    for (size_t i = 0; i < site->rows; i++) {
        low = site->min[i] < low ? site->min[i] : low;
        high = site->max[i] > high ? site->max[i] : high;
        if (s->rows)
            printf("t %8.3f  %12.5g .. %-12.5g 99.9 %% below %.5g\n", site->timesteps[i], (double)site->min[i],
                   (double)site->max[i], (double)site->typical[i]);
    }
    s->sites++;
    s->related += r > 0.5;
    s->strongly += r > 0.7;
    char tokens[48] = "";
    if (site->height)
        snprintf(tokens, sizeof tokens, "  %zux%zu tokens", site->width, site->height);
    printf("%-74s %-9s %5zu channels %10.4g .. %-10.4g r %5.2f%s\n", site->name, site->kind, site->channels,
           (double)low, (double)high, site->correlation, tokens);
    if (s->html)
        s->out_of_memory |= !draw_site(s->html, site);
}

static enum sdg_result run_show(struct app_ui *ui, const struct values *values, const char *path)
{
    struct sdg_output *output = NULL;
    struct show show = {.rows = values->site != NULL};
    enum sdg_result result = values->html ? app_output_open(ui, values->html, &output) : SDG_OK;
    if (result != SDG_OK)
        return result;
    show.html = output ? sdg_output_file(output) : NULL;
    if (show.html)
        begin_page(show.html);
    result = sdg_collect_show(app_log_of(ui), path, values->site, show_info, show_site, &show);
    if (result == SDG_OK && show.sites)
        printf("%zu of %zu sites have |r| > 0.5 between timestep and range, %zu have |r| > 0.7\n", show.related,
               show.sites, show.strongly);
    if (result == SDG_OK && show.out_of_memory)
        result = app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the drawings");
    if (show.html)
        report_end(show.html);
    if (values->html && result == SDG_OK)
        return sdg_output_commit(&output);
    sdg_output_discard(&output);
    return result;
}

// -------------------------------------------------------------------------------------------------- main

static enum sdg_result run(struct app_ui *ui, const void *given, const struct app_arguments *arguments)
{
    const struct values *values = given;
    const char *what = arguments->positionals ? arguments->positional[0] : "";
    if (!strcmp(what, "collect") && arguments->positionals == 1)
        return run_collect(ui, values);
    if (!strcmp(what, "show") && arguments->positionals == 2)
        return run_show(ui, values, arguments->positional[1]);
    if (!strcmp(what, "merge") && arguments->positionals > 1) {
        if (!values->output)
            return app_fail(ui, SDG_ERROR_USAGE, "merge needs -o FILE");
        return sdg_collect_merge(app_log_of(ui), arguments->positional + 1, (size_t)arguments->positionals - 1,
                                 values->output);
    }
    return app_fail(
        ui, SDG_ERROR_USAGE,
        "should be: collect --prompts FILE -o STATS, merge STATS ... -o STATS, or show STATS (-h for help)");
}

int main(int argc, char **argv)
{
    struct values values = {0};
    const struct app_program program = {.name = "sdcalib",
                                        .command = &command,
                                        .values = &values,
                                        .quiet = &values.quiet,
                                        .verbose = &values.verbose,
                                        .run = run};
    return app_main(&program, argc, argv);
}
