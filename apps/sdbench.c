// sdbench: times single networks, whole pictures and operations.
#include "sdbench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/platform.h"
#include "common/output.h"
#include "common/frame.h"
#include "sdgen/bench.h"

#define APP_VALUES struct sdbench_values
#define APP_FIELDS , .group = "Options", .flags = APP_COMMON
#include "common/fields.h"

static const struct app_option table[] = {
    {'m', "model", FILE_NAME(model, "FILE"), .otherwise = "$SDGEN_MODEL, else the default model",
     .help = "diffusers folder or single-file checkpoint; what further models are compared with"},
    {0, "vae", FILE_NAME(vae, "FILE"), .otherwise = "the model's", .help = "replacement autoencoder"},
    {0, "backend", FILE_NAME(backend, "NAME"), .initial = "auto",
     .help = "auto, cpu, vulkan, vulkan:N, reference, or per stage te=cpu,unet=vulkan,vae=cpu"},
    {0, "intervals", NAME(intervals, app_interval_names), .initial = "calibrated",
     .help =
         "of quantized models with intervals by token, at another size than their calibration's: calibrated refuses "
         "it, resample interpolates them"},
    {0, "type", NAME(type, app_type_names), .otherwise = "the file's where the device is fast in it",
     .help = "arithmetic"},
    {'W', "width", INTEGER(width, 1, 16384), .otherwise = "the first model's", .help = APP_SIDE_HELP},
    {'H', "height", INTEGER(height, 1, 16384), .otherwise = "the first model's", .help = APP_SIDE_HELP},
    {'b', "batch", INTEGER(batch, 1, 64), .initial = "1", .help = "guidance pairs (unet) or pictures at once"},
    {0, "repeat", INTEGER(repeat, 1, 10000), .initial = "5", .help = "measured runs; of several models: rounds"},
    {0, "steps", INTEGER(steps, 1, 1000), .initial = "20", .help = "denoising steps of e2e"},
    {'t', "threads", INTEGER(threads, -1, 1024), .initial = "-1",
     .help = "CPU threads; -1 or 0 = one a core, of those that affinity and a container's quota leave"},
    {0, "no-mmap", FLAG(no_mmap), .help = "read the weights instead of mapping them"},
    {0, "kernels", FLAG(kernels), .help = "a table of the kernels, the slowest first"},
    {0, "peaks", FLAG(peaks),
     .help = "with --kernels: also measure what the device reaches at most, and give its share of that"},
    {0, "seconds", NUMBER(seconds, 0.01, 3600), .otherwise = "4; of tune 90",
     .help = "how long peaks, --peaks or tune measure, about"},
    {0, "cache-dir", FILE_NAME(cache_dir, "DIR"), .otherwise = "$XDG_CACHE_HOME/sdgen, else ~/.cache/sdgen",
     .help = "where tune keeps what it found, and the networks that are timed look for it"},
    {'o', "output", FILE_NAME(output, "DIR"), .otherwise = "needed by make", .help = "the folder that make writes"},
    {0, "check", FLAG(check), .help = "ops: only check the results, no timing"},
    {0, "json", FILE_NAME(json, "FILE"), .otherwise = "none", .help = "the numbers as JSON"},
    {'v', "verbose", FLAG(verbose), .help = "say more"},
    {'h', "help", HELP, .group = "Options", .help = "print this"},
    {0, "help-all", HELP_ALL, .group = "Options", .help = "print this with ranges and exit codes"},
    {0, "help-as", HELP_AS, .group = "Options",
     .help = "print this as a manual page, or as what a shell completes it by"},
};

static const struct app_command command = {
    .usage = "sdbench text|unet|vae|e2e|ops|peaks|tune|make [MODEL ..] [options]",
    .about =
        "Times a network with random inputs (text, unet, vae), a whole picture from the start of the process to "
        "the PNG (e2e),\n"
        "or every operation (ops; needs the test program test_ops beside it). peaks: what a device reaches "
        "at most.\n"
        "make sd15|small: writes a model of random weights, as large as Stable Diffusion 1.5 or small, to be timed "
        "(-o DIR).\n"
        "Each further MODEL is compared with the one of -m: every round runs all of them, in turns, so that a "
        "clock that drifts\n"
        "drifts for all, and the ratios are those of times in the same round.",
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = APP_POSITIONALS_MAX,
};

// -------------------------------------------------------------------------------------------------- measuring

// One run of one model; *seconds gets its time.
typedef enum sdg_result measure_fn(struct app_ui *ui, void *context, size_t model, double *seconds);

// Every round begins with another model, so that none always follows the same one.
static enum sdg_result run_rounds(struct app_ui *ui, struct sdbench_report *report, measure_fn *measure, void *context)
{
    for (int64_t round = 0; round < report->repeat; round++)
        for (size_t i = 0; i < report->count; i++) {
            size_t model = ((size_t)round + i) % report->count;
            enum sdg_result result = measure(ui, context, model, &report->models[model].seconds[round]);
            if (result != SDG_OK)
                return result;
        }
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- networks

struct network {
    struct sdg_pipeline *pipeline;
    struct sdg_bench *bench;
};

static enum sdg_result open_model(struct app_ui *ui, const struct sdbench_values *values, const char *name,
                                  struct sdg_pipeline **out)
{
    return sdg_pipeline_create(
        &(struct sdg_pipeline_params){
            .model = name,
            .vae = values->vae,
            .backend = values->backend,
            .type = values->type,
            .intervals = values->intervals,
            .threads = values->threads > 0 ? (int)values->threads : 0,
            .no_mmap = values->no_mmap,
            .cache_dir = values->cache_dir,
            .log = {app_log, ui, ui->level},
        },
        out);
}

// All models are opened before the first one is compiled: a wrong name is told at once.
static enum sdg_result open_networks(struct app_ui *ui, const struct sdbench_report *report, struct network *networks)
{
    const struct sdbench_values *values = report->values;
    struct sdg_bench_params params = {
        .network = report->what,
        .width = (int)values->width,
        .height = (int)values->height,
        .batch = (int)values->batch,
        .kernels = values->kernels,
    };
    enum sdg_result result = SDG_OK;
    for (size_t m = 0; m < report->count && result == SDG_OK; m++)
        result = open_model(ui, values, report->models[m].name, &networks[m].pipeline);
    for (size_t m = 0; m < report->count && result == SDG_OK; m++) {
        struct sdg_bench_info info;
        result = sdg_bench_create(networks[m].pipeline, &params, &networks[m].bench);
        if (result != SDG_OK)
            break;
        sdg_bench_info(networks[m].bench, &info);
        params.width = info.width; // of the first, for all
        params.height = info.height;
    }
    return result;
}

static enum sdg_result run_network(struct app_ui *ui, void *context, size_t model, double *seconds)
{
    struct network *networks = context;
    (void)ui;
    return sdg_bench_run(networks[model].bench, seconds);
}

struct kernels {
    struct sdbench_model *model;
    bool out_of_memory;
};

static void add_kernel(void *user, const struct sdg_bench_kernel *from)
{
    struct kernels *kernels = user;
    struct sdbench_model *model = kernels->model;
    if (model->kernel_count == model->kernel_room) {
        size_t room = model->kernel_room ? 2 * model->kernel_room : 256;
        struct sdbench_kernel *grown = realloc(model->kernels, room * sizeof *grown);
        if (!grown) {
            kernels->out_of_memory = true;
            return;
        }
        model->kernels = grown;
        model->kernel_room = room;
    }
    struct sdbench_kernel *kernel = &model->kernels[model->kernel_count++];
    *kernel = (struct sdbench_kernel){.calls = 1, .seconds = from->seconds, .macs = from->macs, .bytes = from->bytes};
    snprintf(kernel->op, sizeof kernel->op, "%s", from->op);
    snprintf(kernel->name, sizeof kernel->name, "%s", from->kernel);
}

static enum sdg_result note_network(struct app_ui *ui, const struct sdg_bench *bench, struct sdbench_model *model)
{
    struct kernels kernels = {.model = model};
    struct sdg_bench_info info;
    sdg_bench_info(bench, &info);
    model->macs = info.macs;
    model->planned = info.planned;
    model->resident = info.resident_peak;
    sdg_bench_kernels(bench, add_kernel, &kernels);
    return kernels.out_of_memory ? app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the table of kernels")
                                 : SDG_OK;
}

static enum sdg_result bench_networks(struct app_ui *ui, struct sdbench_report *report)
{
    struct network *networks = calloc(report->count, sizeof *networks);
    if (!networks)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %zu models", report->count);
    enum sdg_result result = open_networks(ui, report, networks);
    if (result == SDG_OK)
        result = run_rounds(ui, report, run_network, networks);
    for (size_t m = 0; m < report->count && result == SDG_OK; m++)
        result = note_network(ui, networks[m].bench, &report->models[m]);
    for (size_t m = 0; m < report->count; m++) {
        sdg_bench_destroy(&networks[m].bench);
        sdg_pipeline_destroy(&networks[m].pipeline);
    }
    free(networks);
    return result;
}

// -------------------------------------------------------------------------------------------------- other programs

// The program beside this one.
static enum sdg_result find_beside(struct app_ui *ui, const char *name, char *path, size_t size)
{
    if (sdg_platform_program(path, size)) {
        char *slash = strrchr(path, '/');
        size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
        if (folder + strlen(name) < size) {
            strcpy(path + folder, name);
            if (access(path, X_OK) == 0)
                return SDG_OK;
        }
    }
    return app_fail(ui, SDG_ERROR_INPUT, "the program %s is not beside sdbench: build it (ninja -C build %s)", name,
                    name);
}

// Runs a program to its end; `usage` gets what it used.
static enum sdg_result run_program(struct app_ui *ui, char **arguments, struct rusage *usage)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, usage) != child)
        return app_fail(ui, SDG_ERROR_MEMORY, "%s cannot be started: %s", arguments[0], strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return SDG_OK;
    return app_fail(ui, SDG_ERROR_COMPUTE, "%s ended with %s %d", arguments[0],
                    WIFEXITED(status) ? "exit status" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

struct pictures {
    struct sdbench_report *report;
    char *program, *picture;
};

static enum sdg_result draw(struct app_ui *ui, void *context, size_t index, double *seconds)
{
    const struct pictures *pictures = context;
    const struct sdbench_values *values = pictures->report->values;
    struct sdbench_model *model = &pictures->report->models[index];
    char steps[24], width[24], height[24], threads[24];
    snprintf(steps, sizeof steps, "%lld", (long long)values->steps);
    snprintf(width, sizeof width, "%lld", (long long)values->width);
    snprintf(height, sizeof height, "%lld", (long long)values->height);
    snprintf(threads, sizeof threads, "%lld", (long long)values->threads);
    char *arguments[32] = {pictures->program,
                           "a red apple, 3d",
                           "-q",
                           "-o",
                           pictures->picture,
                           "--backend",
                           (char *)values->backend,
                           "--steps",
                           steps,
                           "--threads",
                           threads};
    size_t n = 11;
    const char *const more[][2] = {
        {"--model", model->name},
        {"--vae", values->vae},
        {"--type", values->type},
        {"--width", values->width ? width : NULL},
        {"--height", values->height ? height : NULL},
    };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (more[i][1]) {
            arguments[n++] = (char *)more[i][0];
            arguments[n++] = (char *)more[i][1];
        }
    if (values->no_mmap)
        arguments[n++] = "--no-mmap";
    struct rusage usage = {0};
    double start = sdg_clock();
    enum sdg_result result = run_program(ui, arguments, &usage);
    *seconds = sdg_clock() - start;
    size_t resident = (size_t)usage.ru_maxrss * 1024;
    model->resident = resident > model->resident ? resident : model->resident;
    return result;
}

static enum sdg_result bench_pictures(struct app_ui *ui, struct sdbench_report *report)
{
    char program[4096], picture[] = "/tmp/sdbench-XXXXXX.png";
    if (report->values->batch > 1)
        return app_fail(ui, SDG_ERROR_USAGE, "--batch: e2e draws one picture a process");
    enum sdg_result result = find_beside(ui, "sdgen", program, sizeof program);
    if (result != SDG_OK)
        return result;
    int fd = mkstemps(picture, 4);
    if (fd < 0)
        return app_fail(ui, SDG_ERROR_OUTPUT, "%s: cannot be written: %s", picture, strerror(errno));
    close(fd);
    result = run_rounds(ui, report, draw, &(struct pictures){report, program, picture});
    unlink(picture);
    return result;
}

static enum sdg_result run_operations(struct app_ui *ui, const struct sdbench_values *values)
{
    char program[4096];
    struct rusage usage;
    enum sdg_result result = find_beside(ui, "test_ops", program, sizeof program);
    char *arguments[] = {program, values->check ? NULL : "--bench", NULL};
    return result == SDG_OK ? run_program(ui, arguments, &usage) : result;
}

// -------------------------------------------------------------------------------------------------- the command

static enum sdg_result check(struct app_ui *ui, const char *what, const struct sdbench_values *values)
{
    static const char *const known[] = {"text", "unet", "vae", "e2e", "ops", "peaks", "tune", "make", NULL};
    bool found = false;
    for (size_t i = 0; known[i]; i++)
        found |= !strcmp(known[i], what);
    if (!found) {
        const char *nearest = app_nearest(what, known);
        return app_fail(ui, SDG_ERROR_USAGE,
                        "'%.60s' is unknown%s%s%s (legal: text, unet, vae, e2e, ops, peaks, tune, make)", what,
                        nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    }
    if (values->peaks && !values->kernels)
        return app_fail(ui, SDG_ERROR_USAGE, "--peaks has a meaning only with --kernels");
    if (values->check && strcmp(what, "ops"))
        return app_fail(ui, SDG_ERROR_USAGE, "--check has a meaning only with ops");
    return values->json ? app_output_check(ui, values->json) : SDG_OK;
}

// The model of -m and those that are compared with it.
static enum sdg_result name_models(struct app_ui *ui, struct sdbench_report *report, const char *const *others)
{
    const char *first = report->values->model;
    report->models = calloc(report->count, sizeof *report->models);
    bool complete = report->models != NULL;
    for (size_t m = 0; m < report->count && complete; m++) {
        struct sdbench_model *model = &report->models[m];
        model->name = m ? others[m - 1] : first ? first : sdg_default_model();
        model->seconds = calloc((size_t)report->repeat, sizeof *model->seconds);
        complete = model->seconds != NULL;
    }
    return complete ? SDG_OK
                    : app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %lld measurements of %zu models",
                               (long long)report->repeat, report->count);
}

static void free_models(struct sdbench_report *report)
{
    for (size_t m = 0; report->models && m < report->count; m++) {
        free(report->models[m].seconds);
        free(report->models[m].kernels);
    }
    free(report->models);
}

static enum sdg_result run(struct app_ui *ui, const void *given, const struct app_arguments *arguments)
{
    const struct sdbench_values *values = given;
    const char *what = arguments->positional[0], *const *others = arguments->positional + 1;
    if (!arguments->positionals)
        return app_fail(
            ui, SDG_ERROR_USAGE,
            "what to measure is missing (legal: text, unet, vae, e2e, ops, peaks, tune, make; -h for help)");
    enum sdg_result result = check(ui, what, values);
    if (result != SDG_OK)
        return result;
    if (!strcmp(what, "ops")) {
        if (arguments->positionals > 1)
            return app_fail(ui, SDG_ERROR_USAGE, "'%.60s': ops takes no models, operations are timed without one",
                            others[0]);
        return run_operations(ui, values);
    }
    if (!strcmp(what, "peaks"))
        return sdbench_peaks(ui, values);
    if (!strcmp(what, "tune"))
        return sdbench_tune(ui, values);
    if (!strcmp(what, "make")) {
        if (arguments->positionals != 2)
            return app_fail(ui, SDG_ERROR_USAGE, "make takes one shape (legal: sd15, small)");
        return sdbench_make(ui, values, others[0]);
    }
    struct sdbench_report report = {
        .what = what, .values = values, .count = (size_t)arguments->positionals, .repeat = values->repeat};
    result = name_models(ui, &report, others);
    if (result == SDG_OK && values->peaks)
        result = sdbench_measure_peaks(ui, values, &report.peaks);
    if (result == SDG_OK)
        result = strcmp(what, "e2e") ? bench_networks(ui, &report) : bench_pictures(ui, &report);
    if (result == SDG_OK)
        result = sdbench_write(ui, &report);
    free_models(&report);
    return result;
}

// e2e and ops run another program, which would inherit the one core that this one's first thread is bound to.
int main(int argc, char **argv)
{
    struct sdbench_values values = {0};
    const struct app_program program = {
        .name = "sdbench", .command = &command, .values = &values, .verbose = &values.verbose, .run = run};
    return app_main(&program, argc, argv);
}
