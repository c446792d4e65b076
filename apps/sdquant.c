// sdquant: writes a quantized model from a model and the statistics of its activations.
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/examples.h"
#include "common/frame.h"
#include "common/prompts.h"
#include "common/ui.h"
#include "base/file.h"
#include "sdgen/correct.h"
#include "sdgen/learn.h"
#include "sdgen/quantize.h"

struct values {
    const char *model, *statistics, *scheme, *intervals, *skip, *hessians, *output, *correct, *learn, *learn_prompts,
        *learn_pictures, *learn_loss, *learn_module;
    int64_t group, seed, threads, correct_prompts, correct_steps, learn_limit, learn_steps, learn_updates;
    struct sdg_number cfg_scale, learn_rate_weights, learn_rate_activations, learn_rate_smoothing, error_power;
    bool gptq, hadamard, delta, force, resume, verbose, quiet;
};

static const char *const *rule_names(void)
{
    static const char *const names[] = {"static", "table", "tdq", "dynamic", "token", "table-token", "tdq-token", NULL};
    return names;
}

static const char *const *learn_names(void)
{
    static const char *const names[] = {"jlss", NULL};
    return names;
}

static const char *const *loss_names(void)
{
    static const char *const names[] = {"error", "cosine", NULL};
    return names;
}

#define APP_VALUES struct values
#define APP_FIELDS , .flags = APP_COMMON
#include "common/fields.h"

static const struct app_option table[] = {
#define GROUP .group = "What is quantized"
    {'m', "model", FILE_NAME(model, "DIR"), GROUP, .otherwise = "$SDGEN_MODEL, else the default model",
     .help = "diffusers folder"},
    {0, "stats", FILE_NAME(statistics, "FILE"), GROUP,
     .otherwise = "needed unless the scheme is w8a16, w4a16 or dynamic",
     .help = "statistics of this model (sdcalib collect)"},
    {0, "scheme", FILE_NAME(scheme, "NAME"), GROUP, .otherwise = "w8a8-tdq",
     .help =
         "w{8,6,4}a16, or w{8,6,4}a{2..8}-{static,table,tdq,dynamic,token,table-token,tdq-token}; or a file "
         "NAME.json: {\"scheme\", \"skip\": [REGEX], \"group\": N, \"overrides\": [{\"match\": REGEX, "
         "\"weight_bits\": 4, 6, 8 or 16}], \"tokens\": [REGEX of sites], \"scan_codes\": true for Mamba's scans "
         "that read codes in place of floats, \"scan_operands\": [REGEX] of what else they and their convolutions read "
         "that becomes codes: .scan is delta, .conv1d the convolutions' input and the gate}"},
    {0, "intervals", .kind = APP_NAME, .word = "RULE", .names = rule_names, FIELD(intervals), GROUP,
     .otherwise = "the scheme's", .help = "where intervals of activations come from"},
    {0, "skip", FILE_NAME(skip, "REGEX"), GROUP, .otherwise = "none",
     .help = "modules that stay floating point (POSIX extended, anywhere in the name)"},
    {0, "group", INTEGER(group, 0, 16384), GROUP, .initial = "0",
     .help = "inputs per weight scale, a multiple of 16, for w8a16 and w4a16; 0 = one scale per output channel"},
#undef GROUP
#define GROUP .group = "How"
    {0, "gptq", FLAG(gptq), GROUP,
     .help = "round weights one after the other, the later ones making up for the earlier (needs --hessians): at 4 "
             "bits 3 dB of the default model's pictures, a third of it from its linear layers, the rest from "
             "convolutions; layers of which the file has nothing get the nearest codes"},
    {0, "hessians", FILE_NAME(hessians, "FILE"), GROUP, .otherwise = "none",
     .help = "second moments of the layers' inputs (sdcalib collect --hessians)"},
    {0, "error-power", NUMBER(error_power, 1, 8), GROUP, .otherwise = "2.4; squares over time, but for tokens",
     .help =
         "p of the |error|^p that intervals make small: the less, the more of the tails they cut off for finer steps"},
    {'s', "seed", INTEGER(seed, 0, 4294967295.0), GROUP, .initial = "0",
     .help =
         "of the interval generators' fits, and of what is drawn for learning and correction and in which order it is "
         "learned"},
    {'t', "threads", INTEGER(threads, -1, 1024), GROUP, .initial = "-1",
     .help = "-1 or 0 = one a core, of those that affinity and a container's quota leave; the result does not "
             "depend on it"},
#undef GROUP
#define GROUP .group = "Learning"
    {0, "learn", NAME(learn, learn_names), GROUP, .otherwise = "none",
     .help = "after rounding and fitting make the model's blocks answer like full precision's, one after the other, by "
             "gradients. jlss: weight steps, activation scales and smoothing vectors of all linear layers of Mamba "
             "blocks together (PTQ4VM)"},
    {0, "learn-prompts", FILE_NAME(learn_prompts, "FILE"), GROUP, .otherwise = "needed by --learn",
     .help = "a prompt per line: blocks learn from the latents of their pictures"},
    {0, "learn-pictures", FILE_NAME(learn_pictures, "FILE"), GROUP, .otherwise = "needed by --learn of a classifier",
     .help = "in place of prompts: pictures as sdvim takes them, all of them"},
    {0, "learn-limit", INTEGER(learn_limit, 1, 100000), GROUP, .initial = "16",
     .help = "so many of the file, the first ones; on the last eighth of them blocks are judged, not learned"},
    {0, "learn-steps", INTEGER(learn_steps, 1, 1000), GROUP, .initial = "20",
     .help = "denoising steps (ddim) of these"},
    {0, "learn-loss", NAME(learn_loss, loss_names), GROUP, .otherwise = "error",
     .help = "what is made small. error: the squared error of a block's result as a share of its squares; cosine: of "
             "each token's direction alone, as in PTQ4VM's paper"},
    {0, "learn-updates", INTEGER(learn_updates, 1, 100000), GROUP, .initial = "50", .help = "of each block"},
    {0, "learn-rate-weights", NUMBER(learn_rate_weights, 0, 1), GROUP, .otherwise = "0.04",
     .help = "how far an update moves the outermost code of a weight, in codes"},
    {0, "learn-rate-activations", NUMBER(learn_rate_activations, 0, 1), GROUP, .otherwise = "0.01",
     .help = "the same of an activation"},
    {0, "learn-rate-smoothing", NUMBER(learn_rate_smoothing, 0, 1), GROUP, .otherwise = "0.005",
     .help = "by which share an update changes a channel's smoothing"},
    {0, "learn-module", TEXT(learn_module, "NAME"), GROUP, .otherwise = "mamba",
     .help = "what a block is: all operations in a module of this name (attn1, for one)"},
    {0, "resume", FLAG(resume), GROUP,
     .help = "go on learning where an interrupted run of the same command ended (DIR.learning)"},
#undef GROUP
#define GROUP .group = "Correction"
    {0, "correct", FILE_NAME(correct, "FILE"), GROUP, .otherwise = "none",
     .help = "also measure how the outputs differ from full precision, on prompts of this file: sdgen takes the "
             "foreseeable part out of them, at no cost"},
    {0, "correct-prompts", INTEGER(correct_prompts, 1, 1024), GROUP, .initial = "8",
     .help = "so many of the file, the first ones"},
    {0, "correct-steps", INTEGER(correct_steps, 1, 1000), GROUP, .initial = "20",
     .help = "denoising steps (ddim) to measure at; in between the correction is interpolated"},
    {0, "cfg-scale", NUMBER(cfg_scale, -1000, 1000), GROUP, .otherwise = "the model's, else 7, of an LCM 8.5",
     .help = "guidance of the pictures measured or learned from"},
#undef GROUP
#define GROUP .group = "Rotation"
    {0, "hadamard", FLAG(hadamard), GROUP,
     .help = "only write the model with a Hadamard transform before its Mamba blocks' out_proj, folded into these "
             "weights, so that codes lose less: it is calibrated and quantized like any other"},
#undef GROUP
#define GROUP .group = "Output"
    {'o', "output", FILE_NAME(output, "DIR"), GROUP, .otherwise = "needed",
     .help = "folder to write, which must not exist"},
    {0, "delta", FLAG(delta), GROUP,
     .help = "store only what differs from the model, and where the model is, relative to the output"},
    {0, "force", FLAG(force), GROUP, .help = "replace an output folder that sdquant wrote"},
#undef GROUP
#define GROUP .group = "General"
    {'q', "quiet", FLAG(quiet), GROUP, .help = "only errors"},
    {'v', "verbose", FLAG(verbose), GROUP, .help = "say more"},
    {'h', "help", HELP, GROUP, .help = "print this"},
    {0, "help-all", HELP_ALL, GROUP, .help = "print this with ranges and exit codes"},
    {0, "help-as", HELP_AS, GROUP, .help = "print this as a manual page, or as what a shell completes it by"},
#undef GROUP
};

static const struct app_command command = {
    .usage = "sdquant [-m MODEL] --stats FILE [--scheme NAME] -o DIR [options]",
    .about = "Writes a model with integer weights, and intervals for integer activations, that sdgen -m runs like any "
             "other.",
    .options = table,
    .count = sizeof table / sizeof *table,
};

// -------------------------------------------------------------------------------------------------- report

enum { WORST = 5 };
static const double MEGABYTE = 1e6;

static void print_sites(const struct sdg_quantize_report *r)
{
    size_t fixed = 0, by_token = 0, related = 0, strongly = 0;
    for (size_t i = 0; i < r->site_count; i++) {
        double magnitude = r->sites[i].correlation < 0 ? -r->sites[i].correlation : r->sites[i].correlation;
        fixed += !strcmp(r->sites[i].rule, "static") || !strcmp(r->sites[i].rule, "token");
        by_token += r->sites[i].tokens > 1;
        related += magnitude > 0.5;
        strongly += magnitude > 0.7;
    }
    double all = (double)r->site_count / 100;
    printf("sites      %zu: %zu static, %zu temporal", r->site_count, fixed, r->site_count - fixed);
    if (by_token)
        printf(", %zu of them by token", by_token);
    printf("; %.0f %% have |r| > 0.5 between timestep and range, %.0f %% have |r| > 0.7\n", (double)related / all,
           (double)strongly / all);
    printf("worst sites by signal over quantization noise, mean over the steps:\n");
    for (size_t i = 0; i < r->site_count && i < WORST; i++)
        printf("  %5.1f dB (%.1f at t = %.0f)  %s, %s, r %.2f\n", r->sites[i].sqnr, r->sites[i].worst_sqnr,
               r->sites[i].worst_at, r->sites[i].name, r->sites[i].rule, r->sites[i].correlation);
}

static void print_modules(const struct sdg_quantize_report *r)
{
    size_t gptq = 0;
    for (size_t i = 0; i < r->module_count; i++)
        gptq += r->modules[i].gptq;
    printf("modules    %zu quantized", r->module_count);
    if (gptq)
        printf(", %zu of them by GPTQ", gptq);
    printf(", %zu kept in floating point\nworst modules by signal over rounding noise of the weights:\n",
           r->float_modules);
    for (size_t i = 0; i < r->module_count && i < WORST; i++)
        printf("  %5.1f dB  %s, %d bits\n", r->modules[i].sqnr, r->modules[i].name, r->modules[i].bits);
}

static void print_report(void *user, const struct sdg_quantize_report *r)
{
    struct app_ui *ui = user;
    if (ui->level < SDG_LOG_INFO)
        return;
    app_progress_end(ui);
    printf("%-10s %.1f MB -> %.1f MB, %.3f of it", r->network, r->bytes_before / MEGABYTE, r->bytes_after / MEGABYTE,
           r->bytes_after / r->bytes_before);
    if (r->bytes_stored < r->bytes_after)
        printf("; %.1f MB of them are stored here, the rest in the base", r->bytes_stored / MEGABYTE);
    printf("\n");
    print_modules(r);
    if (r->site_count)
        print_sites(r);
    printf("%s in %.1f s\n", r->scheme, r->seconds);
}

// -------------------------------------------------------------------------------------------------- main

static bool on_progress(void *user, const struct sdg_progress *progress)
{
    struct app_ui *ui = user;
    app_progress(ui, progress);
    return !app_interrupted();
}

struct correction { // over all rows
    size_t rows;
    double before, after, worst_slope; // dB; of the largest magnitude
};

static void add_row(void *user, const struct sdg_corrected_row *row)
{
    struct correction *c = user;
    double magnitude = row->slope < 0 ? -row->slope : row->slope,
           worst = c->worst_slope < 0 ? -c->worst_slope : c->worst_slope;
    c->rows++;
    c->before += row->sqnr;
    c->after += row->sqnr_after;
    c->worst_slope = magnitude > worst ? row->slope : c->worst_slope;
}

// Of the folder that has just been written, in f32, which is what the model was calibrated in.
static enum sdg_result correct(struct app_ui *ui, const struct values *values, const char *model,
                               const struct app_prompts *prompts)
{
    struct correction sum = {0};
    const struct sdg_correct_params params = {
        .quantized = values->output,
        .model = model,
        .prompts = prompts->lines,
        .prompt_count = prompts->count,
        .generate = {.steps = (int)values->correct_steps,
                     .cfg_scale = values->cfg_scale,
                     .seed = (uint64_t)values->seed,
                     .progress = on_progress,
                     .progress_user = ui},
        .pipeline = {.type = "f32",
                     .threads = values->threads > 0 ? (int)values->threads : 0,
                     .log = {app_log, ui, ui->level}},
        .row = add_row,
        .row_user = &sum,
    };
    enum sdg_result result = sdg_correct(&params);
    app_progress_end(ui);
    if (result == SDG_OK && ui->level >= SDG_LOG_INFO)
        printf("correction measured at %zu timesteps: outputs at %.1f dB, corrected %.1f dB on the prompts measured; "
               "steepest slope %.4f\n",
               sum.rows, sum.before / (double)sum.rows, sum.after / (double)sum.rows, sum.worst_slope);
    else if (result != SDG_OK)
        app_say(ui, SDG_LOG_INFO, "%s was written, without a correction", values->output);
    return result;
}

static enum sdg_result rotate(struct app_ui *ui, const struct values *values)
{
    const struct sdg_rotate_params params = {
        .model = values->model ? values->model : sdg_default_model(),
        .output = values->output,
        .log = {app_log, ui, ui->level},
    };
    if (values->statistics || values->scheme || values->intervals || values->hessians || values->correct ||
        values->learn)
        return app_fail(ui, SDG_ERROR_USAGE, "--hadamard quantizes nothing: it goes with -m and -o alone");
    return params.model ? sdg_rotate(&params)
                        : app_fail(ui, SDG_ERROR_INPUT, "-m: no model is given and there is no default model");
}

static void print_block(void *user, const struct sdg_learned_block *b)
{
    const struct app_ui *ui = user;
    if (ui->level < SDG_LOG_INFO)
        return;
    app_progress_end(user);
    printf("%s: loss %.3e -> %.3e", b->name, b->loss_before, b->loss_after);
    if (b->resumed)
        printf(", learned before\n");
    else
        printf(" (%.2f), %zu layers in %.1f s%s\n", b->loss_after / b->loss_before, b->layers, b->seconds,
               b->kept ? "" : ": left as it was");
    fflush(stdout);
}

static void print_learned(void *user, const struct sdg_learn_report *r)
{
    const struct app_ui *ui = user;
    if (ui->level < SDG_LOG_INFO)
        return;
    app_progress_end(user);
    printf("learned %zu blocks from %zu samples each in %.1f s", r->blocks, r->samples, r->seconds);
    if (r->peak_bytes > 0)
        printf(", %.0f MB at most", r->peak_bytes / MEGABYTE);
    printf("\n");
}

// What is learned from: prompts, or of a classifier pictures.
struct lessons {
    struct app_prompts prompts;
    struct app_examples examples;
};

static enum sdg_result read_pictures(struct app_ui *ui, const char *model, const char *path,
                                     struct app_examples *examples)
{
    struct sdg_classifier *classifier = NULL;
    struct sdg_classifier_info info;
    const struct sdg_classifier_params params = {.model = model, .backend = "cpu", .log = {app_log, ui, ui->level}};
    enum sdg_result result = sdg_classifier_create(&params, &classifier);
    if (result != SDG_OK)
        return result;
    sdg_classifier_info(classifier, &info);
    result = app_examples_read(ui, path, &info, examples);
    sdg_classifier_destroy(&classifier);
    return result;
}

static enum sdg_result read_lessons(struct app_ui *ui, const struct values *values, const char *model,
                                    struct lessons *out)
{
    if (!values->learn)
        return SDG_OK;
    return values->learn_pictures
        ? read_pictures(ui, model, values->learn_pictures, &out->examples)
        : app_prompts_read(ui, values->learn_prompts, (size_t)values->learn_limit, &out->prompts);
}

static enum sdg_result learn(struct app_ui *ui, const struct values *values, const char *model,
                             const struct lessons *lessons)
{
    const struct sdg_learn_params params = {
        .quantized = values->output,
        .model = model,
        .module = values->learn_module,
        .loss = values->learn_loss,
        .prompts = lessons->prompts.lines,
        .prompt_count = lessons->prompts.count,
        .updates = (int)values->learn_updates,
        .weight_rate = values->learn_rate_weights,
        .activation_rate = values->learn_rate_activations,
        .smoothing_rate = values->learn_rate_smoothing,
        .order_seed = (uint64_t)values->seed,
        .resume = values->resume,
        .generate = {.steps = (int)values->learn_steps,
                     .cfg_scale = values->cfg_scale,
                     .seed = (uint64_t)values->seed,
                     .progress = on_progress,
                     .progress_user = ui},
        .pipeline = {.threads = values->threads > 0 ? (int)values->threads : 0, .log = {app_log, ui, ui->level}},
        .block = print_block,
        .report = print_learned,
        .user = ui,
    };
    enum sdg_result result = values->learn_pictures
        ? sdg_classifier_learn(&params, lessons->examples.pictures, lessons->examples.count)
        : sdg_learn(&params);
    app_progress_end(ui);
    if (result == SDG_ERROR_CANCELLED)
        app_say(ui, SDG_LOG_INFO, "interrupted; %s is as before learning, --resume goes on", values->output);
    return result;
}

static bool is_json(const char *name)
{
    size_t length = strlen(name);
    return length > 5 && !strcmp(name + length - 5, ".json");
}

// Whether DIR.learning lies beside the output, as an interrupted learning leaves it.
static bool is_interrupted(const char *output)
{
    char path[4096];
    size_t length = strlen(output);
    while (length > 1 && output[length - 1] == '/')
        length--;
    const int bytes = snprintf(path, sizeof path, "%.*s.learning", (int)length, output);
    return bytes < (int)sizeof path && sdg_path_kind(output) == SDG_PATH_FOLDER && sdg_path_kind(path) == SDG_PATH_FILE;
}

// The steps of which a model is made. A folder whose learning was interrupted is not quantized again.
static enum sdg_result make(struct app_ui *ui, const struct values *values, const struct sdg_quantize_params *params,
                            const struct lessons *lessons, const struct app_prompts *correction)
{
    const bool goes_on = values->resume && sdg_path_kind(values->output) == SDG_PATH_FOLDER;
    app_signals_cancellable(true);
    enum sdg_result result = goes_on ? SDG_OK : sdg_quantize(params);
    app_progress_end(ui);
    if (result == SDG_ERROR_CANCELLED)
        app_say(ui, SDG_LOG_INFO, "interrupted; nothing was written");
    if (result == SDG_OK && values->learn)
        result = learn(ui, values, params->model, lessons);
    if (result == SDG_OK && values->correct)
        result = correct(ui, values, params->model, correction);
    return result;
}

static enum sdg_result run(struct app_ui *ui, const void *given, const struct app_arguments *arguments)
{
    (void)arguments; // the command takes none
    const struct values *values = given;
    const char *scheme = values->scheme ? values->scheme : "w8a8-tdq";
    if (!values->output)
        return app_fail(ui, SDG_ERROR_USAGE, "-o DIR is needed: the folder to write");
    if (values->hadamard)
        return rotate(ui, values);
    if (values->gptq != (values->hessians != NULL))
        return app_fail(ui, SDG_ERROR_USAGE, "--gptq and --hessians FILE belong together");
    if ((values->learn != NULL) != ((values->learn_prompts != NULL) != (values->learn_pictures != NULL)))
        return app_fail(ui, SDG_ERROR_USAGE,
                        "--learn and --learn-prompts FILE (of a classifier --learn-pictures FILE) belong together");
    if (values->resume && !values->learn)
        return app_fail(ui, SDG_ERROR_USAGE, "--resume goes on learning: --learn is missing");
    if (values->learn && !values->resume && is_interrupted(values->output))
        return app_fail(ui, SDG_ERROR_OUTPUT,
                        "%s: an interrupted learning of it is there (DIR.learning): --resume goes on with it; to begin "
                        "anew, remove that file and give --force",
                        values->output);
    struct sdg_quantize_params params = {
        .model = values->model ? values->model : sdg_default_model(),
        .statistics = values->statistics,
        .output = values->output,
        .scheme = is_json(scheme) ? NULL : scheme,
        .scheme_file = is_json(scheme) ? scheme : NULL,
        .intervals = values->intervals,
        .skip = &values->skip,
        .skip_count = values->skip != NULL,
        .hessians = values->hessians,
        .group = (int)values->group,
        .seed = (uint64_t)values->seed,
        .error_power = values->error_power,
        .keep_smoothing = values->learn != NULL,
        .delta = values->delta,
        .force = values->force,
        .threads = values->threads > 0 ? (int)values->threads : 0,
        .progress = on_progress,
        .progress_user = ui,
        .report = print_report,
        .report_user = ui,
        .log = {app_log, ui, ui->level},
    };
    if (!params.model)
        return app_fail(ui, SDG_ERROR_INPUT, "-m: no model is given and there is no default model");
    struct app_prompts correction = {0};
    struct lessons lessons = {0};
    enum sdg_result result =
        values->correct ? app_prompts_read(ui, values->correct, (size_t)values->correct_prompts, &correction) : SDG_OK;
    if (result == SDG_OK)
        result = read_lessons(ui, values, params.model, &lessons);
    if (result == SDG_OK)
        result = make(ui, values, &params, &lessons, &correction);
    app_prompts_free(&correction);
    app_prompts_free(&lessons.prompts);
    app_examples_free(&lessons.examples);
    return result;
}

int main(int argc, char **argv)
{
    struct values values = {0};
    const struct app_program program = {.name = "sdquant",
                                        .command = &command,
                                        .values = &values,
                                        .quiet = &values.quiet,
                                        .verbose = &values.verbose,
                                        .run = run};
    return app_main(&program, argc, argv);
}
