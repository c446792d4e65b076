// sdbench: times single networks, whole pictures and operations.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/options.h"
#include "common/output.h"
#include "common/waiting.h"

struct values {
    const char *model, *vae, *backend, *type, *json;
    int64_t width, height, batch, repeat, threads, steps;
    bool kernels, check, no_mmap, verbose;
};

static const char *const *type_names(void) { return sdg_names(SDG_NAMES_TYPE); }

#define FIELD(f) .field = offsetof(struct values, f), .since = "0.1.0", .group = "Options", .flags = APP_COMMON
#define FILE_NAME(f, w) .kind = APP_FILE, .word = w, FIELD(f)
#define INTEGER(f, low, high) .kind = APP_INTEGER, .word = "N", .min = low, .max = high, FIELD(f)
#define FLAG(f) .kind = APP_FLAG, FIELD(f)

static const struct app_option table[] = {
    {'m', "model", FILE_NAME(model, "FILE"), .otherwise = "$SDGEN_MODEL, else the default model", .help = "diffusers folder or single-file checkpoint"},
    {0, "vae", FILE_NAME(vae, "FILE"), .otherwise = "the model's", .help = "replacement autoencoder"},
    {0, "backend", FILE_NAME(backend, "NAME"), .initial = "auto", .help = "auto, cpu, vulkan, vulkan:N, reference, or per stage te=cpu,unet=vulkan,vae=cpu"},
    {0, "type", .kind = APP_NAME, .word = "NAME", .names = type_names, FIELD(type), .otherwise = "the file's where the device is fast in it", .help = "arithmetic"},
    {'W', "width", INTEGER(width, 8, 16384), .otherwise = "the model's", .help = "pixels, a multiple of 8"},
    {'H', "height", INTEGER(height, 8, 16384), .otherwise = "the model's", .help = "pixels, a multiple of 8"},
    {'b', "batch", INTEGER(batch, 1, 64), .initial = "1", .help = "guidance pairs (unet) or pictures at once"},
    {0, "repeat", INTEGER(repeat, 1, 10000), .initial = "5", .help = "measured runs"},
    {0, "steps", INTEGER(steps, 1, 1000), .initial = "20", .help = "denoising steps of e2e"},
    {'t', "threads", INTEGER(threads, -1, 1024), .initial = "-1", .help = "CPU threads; -1 or 0 = one per physical core"},
    {0, "no-mmap", FLAG(no_mmap), .help = "read the weights instead of mapping them"},
    {0, "kernels", FLAG(kernels), .help = "a table of the kernels, the slowest first"},
    {0, "check", FLAG(check), .help = "ops: only check the results, no timing"},
    {0, "json", FILE_NAME(json, "FILE"), .otherwise = "none", .help = "the numbers as JSON"},
    {'v', "verbose", FLAG(verbose), .help = "say more"},
    {'h', "help", .kind = APP_HELP, .since = "0.1.0", .group = "Options", .flags = APP_COMMON, .help = "print this"},
    {0, "help-all", .kind = APP_HELP_ALL, .since = "0.1.0", .group = "Options", .flags = APP_COMMON, .help = "print this with ranges and exit codes"},
};

static const struct app_command command = {
    .usage = "sdbench text|unet|vae|e2e|ops [options]",
    .about = "Times a network with random inputs (text, unet, vae), a whole picture from the start of the process to the PNG (e2e),\nor every operation (ops; needs the test program test_ops beside it).",
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = 1,
};

// -------------------------------------------------------------------------------------------------- results

// One operation of the network, or all that one kernel ran. Seconds and multiply-adds of one run.
struct kernel {
    char op[96], name[64];
    int64_t calls;
    double seconds, macs;
};

struct report {
    const char *what;
    const struct values *values;
    double *seconds;       // [repeat], sorted
    int64_t repeat;
    double macs;           // of one run, 0 = unknown
    size_t planned, resident;
    struct kernel *kernels; // [kernel_count], the slowest first
    size_t kernel_count, kernel_room;
    bool out_of_memory;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct kernel *)a)->seconds, y = ((const struct kernel *)b)->seconds;
    return (x < y) - (x > y);
}

static double median(const struct report *report)
{
    const double *s = report->seconds;
    int64_t n = report->repeat;
    return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

static void add_kernel(void *user, const char *op, const char *name, double seconds, double macs)
{
    struct report *report = user;
    if (report->kernel_count == report->kernel_room) {
        size_t room = report->kernel_room ? 2 * report->kernel_room : 256;
        struct kernel *grown = realloc(report->kernels, room * sizeof *grown);
        if (!grown) {
            report->out_of_memory = true;
            return;
        }
        report->kernels = grown;
        report->kernel_room = room;
    }
    struct kernel *kernel = &report->kernels[report->kernel_count++];
    *kernel = (struct kernel){.calls = 1, .seconds = seconds, .macs = macs};
    snprintf(kernel->op, sizeof kernel->op, "%s", op);
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
}

// One multiply-add is two operations.
static double gops(double macs, double seconds)
{
    return seconds > 0 ? 2e-9 * macs / seconds : 0;
}

static void print_row(const struct kernel *k, const char *title, double total)
{
    char speed[32] = "";
    if (k->macs > 0)
        snprintf(speed, sizeof speed, "%.1f", gops(k->macs, k->seconds));
    printf("%-62s %6lld %10.5f %6.1f %9s\n", title, (long long)k->calls, k->seconds, total > 0 ? 100 * k->seconds / total : 0, speed);
}

// Two tables: time by kernel, and the slowest operations. The operations of a kernel are gathered in `sums`, which has room for all.
static void print_kernels(const struct report *report, struct kernel *sums)
{
    enum { SLOWEST = 12 };
    size_t count = 0;
    double total = 0;
    for (size_t i = 0; i < report->kernel_count; i++) {
        const struct kernel *k = &report->kernels[i];
        size_t at = 0;
        while (at < count && strcmp(sums[at].name, k->name))
            at++;
        if (at == count)
            sums[count++] = *k;
        else {
            sums[at].calls += k->calls;
            sums[at].seconds += k->seconds;
            sums[at].macs += k->macs;
        }
        total += k->seconds;
    }
    qsort(sums, count, sizeof *sums, by_time);
    printf("\n%-62s %6s %10s %6s %9s\n", "kernel", "calls", "seconds", "%", "Gop/s");
    for (size_t i = 0; i < count; i++)
        print_row(&sums[i], sums[i].name, total);
    printf("\nslowest operations\n");
    for (size_t i = 0; i < report->kernel_count && i < SLOWEST; i++)
        print_row(&report->kernels[i], report->kernels[i].op, total);
}

static enum sdg_result print_report(struct app_ui *ui, const struct report *report)
{
    double low = report->seconds[0], middle = median(report), high = report->seconds[report->repeat - 1];
    printf("%-6s %10s %10s %10s", report->what, "min s", "median s", "max s");
    printf("%s\n", report->macs > 0 ? "       Gop    Gop/s" : "");
    printf("%6lld %10.4f %10.4f %10.4f", (long long)report->repeat, low, middle, high);
    if (report->macs > 0)
        printf(" %9.2f %8.1f", 2e-9 * report->macs, gops(report->macs, middle));
    printf("\npeak memory: ");
    if (report->planned)
        printf("%.1f MiB planned, ", (double)report->planned / (1 << 20));
    printf("%.1f MiB resident\n", (double)report->resident / (1 << 20));
    if (report->kernel_count) {
        struct kernel *sums = calloc(report->kernel_count, sizeof *sums);
        if (!sums)
            return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the table of kernels");
        print_kernels(report, sums);
        free(sums);
    }
    return SDG_OK;
}

static void print_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        if ((unsigned char)*text < 0x20)
            fprintf(to, "\\u%04x", *text);
        else
            fputc(*text, to);
    }
    fputc('"', to);
}

static void print_json(FILE *to, const struct report *report)
{
    const struct values *values = report->values;
    fprintf(to, "{\n  \"what\": \"%s\", \"version\": \"%s\", \"build\": ", report->what, sdg_version());
    print_text(to, sdg_build_info());
    fputs(",\n  \"model\": ", to);
    print_text(to, values->model ? values->model : sdg_default_model() ? sdg_default_model() : "");
    fputs(", \"backend\": ", to);
    print_text(to, values->backend);
    fputs(", \"type\": ", to);
    print_text(to, values->type ? values->type : "");
    fprintf(to, ",\n  \"width\": %lld, \"height\": %lld, \"batch\": %lld, \"threads\": %lld,\n", (long long)values->width, (long long)values->height,
            (long long)values->batch, (long long)values->threads);
    fprintf(to, "  \"min\": %.6f, \"median\": %.6f, \"max\": %.6f,\n  \"seconds\": [", report->seconds[0], median(report), report->seconds[report->repeat - 1]);
    for (int64_t i = 0; i < report->repeat; i++)
        fprintf(to, "%s%.6f", i ? ", " : "", report->seconds[i]);
    fprintf(to, "],\n  \"macs\": %.0f, \"gops\": %.3f, \"planned\": %zu, \"resident\": %zu,\n  \"kernels\": [", report->macs,
            gops(report->macs, median(report)), report->planned, report->resident);
    for (size_t i = 0; i < report->kernel_count; i++) {
        const struct kernel *k = &report->kernels[i];
        fprintf(to, "%s\n    {\"op\": ", i ? "," : "");
        print_text(to, k->op);
        fputs(", \"kernel\": ", to);
        print_text(to, k->name);
        fprintf(to, ", \"calls\": %lld, \"seconds\": %.6f, \"macs\": %.0f}", (long long)k->calls, k->seconds, k->macs);
    }
    fprintf(to, "%s]\n}\n", report->kernel_count ? "\n  " : "");
}

static enum sdg_result write_report(struct app_ui *ui, struct report *report)
{
    qsort(report->seconds, (size_t)report->repeat, sizeof *report->seconds, by_value);
    if (report->kernel_count)
        qsort(report->kernels, report->kernel_count, sizeof *report->kernels, by_time);
    if (report->out_of_memory)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the table of kernels");
    enum sdg_result printed = SDG_OK;
    if (!report->values->json || strcmp(report->values->json, "-"))
        printed = print_report(ui, report);
    if (printed != SDG_OK)
        return printed;
    if (report->values->json) {
        struct app_output output;
        enum sdg_result result = app_output_open(ui, report->values->json, &output);
        if (result != SDG_OK)
            return result;
        print_json(output.file, report);
        return app_output_commit(ui, &output);
    }
    if (fflush(stdout) || ferror(stdout))
        return app_fail(ui, SDG_ERROR_OUTPUT, "standard output: cannot be written: %s", strerror(errno));
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- measuring

static enum sdg_result bench_network(struct app_ui *ui, struct report *report)
{
    const struct values *values = report->values;
    struct sdg_pipeline *pipeline = NULL;
    struct sdg_bench_info info = {0};
    struct sdg_pipeline_params params = {
        .model = values->model, .vae = values->vae, .backend = values->backend, .type = values->type, .threads = values->threads > 0 ? (int)values->threads : 0,
        .no_mmap = values->no_mmap, .log = app_log, .log_user = ui, .log_level = ui->level,
    };
    enum sdg_result result = sdg_pipeline_create(&params, &pipeline);
    if (result == SDG_OK)
        result = sdg_bench(pipeline, report->what, (int)values->width, (int)values->height, (int)values->batch, (int)report->repeat, report->seconds, &info,
                           values->kernels ? add_kernel : NULL, report);
    sdg_pipeline_destroy(&pipeline);
    report->macs = info.macs;
    report->planned = info.planned;
    report->resident = info.resident_peak;
    return result;
}

// The program beside this one.
static enum sdg_result find_beside(struct app_ui *ui, const char *name, char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length > 0) {
        path[length] = 0;
        char *slash = strrchr(path, '/');
        size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
        if (folder + strlen(name) < size) {
            strcpy(path + folder, name);
            if (access(path, X_OK) == 0)
                return SDG_OK;
        }
    }
    return app_fail(ui, SDG_ERROR_INPUT, "the program %s is not beside sdbench: build it (ninja -C build %s)", name, name);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
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
    return app_fail(ui, SDG_ERROR_COMPUTE, "%s ended with %s %d", arguments[0], WIFEXITED(status) ? "exit status" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static enum sdg_result bench_pictures(struct app_ui *ui, struct report *report)
{
    const struct values *values = report->values;
    char program[4096], picture[] = "/tmp/sdbench-XXXXXX.png", steps[24], batch[24], width[24], height[24], threads[24];
    enum sdg_result result = find_beside(ui, "sdgen", program, sizeof program);
    if (result != SDG_OK)
        return result;
    int fd = mkstemps(picture, 4);
    if (fd < 0)
        return app_fail(ui, SDG_ERROR_OUTPUT, "%s: cannot be written: %s", picture, strerror(errno));
    close(fd);
    snprintf(steps, sizeof steps, "%lld", (long long)values->steps);
    snprintf(batch, sizeof batch, "%lld", (long long)values->batch);
    snprintf(width, sizeof width, "%lld", (long long)values->width);
    snprintf(height, sizeof height, "%lld", (long long)values->height);
    snprintf(threads, sizeof threads, "%lld", (long long)values->threads);
    char *arguments[32] = {program, "a red apple, 3d", "-q", "-o", picture, "--backend", (char *)values->backend, "--steps", steps, "--threads", threads};
    size_t n = 11;
    const char *const more[][2] = {
        {"--model", values->model}, {"--vae", values->vae}, {"--type", values->type}, {"--width", values->width ? width : NULL}, {"--height", values->height ? height : NULL},
    };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (more[i][1]) {
            arguments[n++] = (char *)more[i][0];
            arguments[n++] = (char *)more[i][1];
        }
    if (values->no_mmap)
        arguments[n++] = "--no-mmap";
    if (values->batch > 1)
        result = app_fail(ui, SDG_ERROR_USAGE, "--batch: e2e draws one picture a process");
    for (int64_t i = 0; i < report->repeat && result == SDG_OK; i++) {
        struct rusage usage = {0};
        double start = now();
        result = run_program(ui, arguments, &usage);
        report->seconds[i] = now() - start;
        size_t resident = (size_t)usage.ru_maxrss * 1024;
        report->resident = resident > report->resident ? resident : report->resident;
    }
    unlink(picture);
    return result;
}

static enum sdg_result run_operations(struct app_ui *ui, const struct values *values)
{
    char program[4096];
    struct rusage usage;
    enum sdg_result result = find_beside(ui, "test_ops", program, sizeof program);
    char *arguments[] = {program, values->check ? NULL : "--bench", NULL};
    return result == SDG_OK ? run_program(ui, arguments, &usage) : result;
}

static enum sdg_result run(struct app_ui *ui, const char *what, const struct values *values)
{
    static const char *const known[] = {"text", "unet", "vae", "e2e", "ops", NULL};
    bool found = false;
    for (size_t i = 0; known[i]; i++)
        found |= !strcmp(known[i], what);
    if (!found) {
        const char *nearest = app_nearest(what, known);
        return app_fail(ui, SDG_ERROR_USAGE, "'%.60s' is unknown%s%s%s (legal: text, unet, vae, e2e, ops)", what, nearest ? ", did you mean '" : "", nearest ? nearest : "",
                        nearest ? "'?" : "");
    }
    if (values->width % 8 || values->height % 8)
        return app_fail(ui, SDG_ERROR_USAGE, "--%s: should be a multiple of 8", values->width % 8 ? "width" : "height");
    if (!strcmp(what, "ops"))
        return run_operations(ui, values);
    if (values->check)
        return app_fail(ui, SDG_ERROR_USAGE, "--check has a meaning only with ops");
    struct report report = {.what = what, .values = values, .repeat = values->repeat};
    report.seconds = calloc((size_t)values->repeat, sizeof *report.seconds);
    if (!report.seconds)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %lld measurements", (long long)values->repeat);
    enum sdg_result result = values->json ? app_output_check(ui, values->json) : SDG_OK;
    if (result == SDG_OK)
        result = strcmp(what, "e2e") ? bench_network(ui, &report) : bench_pictures(ui, &report);
    if (result == SDG_OK)
        result = write_report(ui, &report);
    free(report.seconds);
    free(report.kernels);
    return result;
}

// e2e and ops run another program, which would inherit the one core that this one's first thread is bound to.
static bool runs_another_program(char **argv)
{
    for (char **a = argv; *a; a++)
        if (!strcmp(*a, "e2e") || !strcmp(*a, "ops"))
            return true;
    return false;
}

int main(int argc, char **argv)
{
    if (!runs_another_program(argv))
        app_wait_politely(argv);
    struct app_ui ui = app_ui_create("sdbench");
    struct values values = {0};
    struct app_arguments arguments;
    enum sdg_result result = app_parse(&command, &ui, argc, argv, &values, &arguments);
    ui.level = values.verbose ? SDG_LOG_DEBUG : SDG_LOG_INFO;
    if (result == SDG_OK && !arguments.helped) {
        if (arguments.positionals)
            result = run(&ui, arguments.positional[0], &values);
        else
            result = app_fail(&ui, SDG_ERROR_USAGE, "what to measure is missing (legal: text, unet, vae, e2e, ops; -h for help)");
    }
    return app_exit_status(result);
}
