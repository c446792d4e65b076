// sdbench's tables and its JSON file.
#include "sdbench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/output.h"
#include "common/report.h"

// -------------------------------------------------------------------------------------------------- numbers

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct sdbench_kernel *)a)->seconds, y = ((const struct sdbench_kernel *)b)->seconds;
    return (x < y) - (x > y);
}

// Of sorted values, between two of them in proportion.
static double quantile(const double *sorted, int64_t count, double share)
{
    double place = share * (double)(count - 1);
    int64_t below = (int64_t)place;
    return below + 1 < count ? sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below])
                             : sorted[below];
}

// Sorts the values.
static struct sdbench_spread spread(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return (struct sdbench_spread){values[0], quantile(values, count, 0.25), quantile(values, count, 0.5),
                                   quantile(values, count, 0.75), values[count - 1]};
}

static enum sdg_result summarize(struct app_ui *ui, struct sdbench_report *report)
{
    double *sorted = calloc((size_t)report->repeat, sizeof *sorted);
    if (!sorted)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %lld measurements", (long long)report->repeat);
    for (size_t m = 0; m < report->count; m++) {
        struct sdbench_model *model = &report->models[m];
        memcpy(sorted, model->seconds, (size_t)report->repeat * sizeof *sorted);
        model->time = spread(sorted, report->repeat);
        for (int64_t i = 0; i < report->repeat; i++)
            sorted[i] = model->seconds[i] / report->models[0].seconds[i];
        model->ratio = spread(sorted, report->repeat);
        if (model->kernel_count)
            qsort(model->kernels, model->kernel_count, sizeof *model->kernels, by_time);
    }
    free(sorted);
    return SDG_OK;
}

// One multiply-add is two operations.
static double gops(double macs, double seconds)
{
    return seconds > 0 ? 2e-9 * macs / seconds : 0;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

// -------------------------------------------------------------------------------------------------- tables

// The arithmetic that a kernel is made of, as its name says.
static const char *peak_of(const char *kernel)
{
    static const struct {
        const char *part, *other, *peak;
    } rules[] = {
        {"_coopmat", "_s8", "s8 matrix multiply-add"}, {"_coopmat", "", "f16 matrix multiply-add"},
        {"_dot", "", "s8 packed dot product"},         {"conv2d_s8", "", "none: bytes one by one"},
        {"linear_s8", "", "none: bytes one by one"},   {"", "", "f32 multiply-add"},
    };
    size_t i = 0;
    while (!strstr(kernel, rules[i].part) || !strstr(kernel, rules[i].other))
        i++;
    return rules[i].peak;
}

// Of a kind of work; 0 where it was not measured.
static double rate_of(const struct sdbench_peaks *peaks, const char *name)
{
    for (size_t i = 0; i < peaks->count; i++)
        if (!strcmp(peaks->list[i].name, name))
            return peaks->list[i].rate;
    return 0;
}

// `amount` per second as a number, and as a share of a peak where that is known; empty where there is none.
static void print_speed(double amount, double seconds, double peak)
{
    char speed[32] = "", share[32] = "";
    if (amount > 0 && seconds > 0)
        snprintf(speed, sizeof speed, amount < 1e10 * seconds ? "%.2f" : "%.1f", 1e-9 * amount / seconds);
    if (amount > 0 && seconds > 0 && peak > 0)
        snprintf(share, sizeof share, "%.1f", 100 * amount / seconds / peak);
    printf(" %9s", speed);
    if (peak > 0)
        printf(" %6s", share);
}

static void print_row(const struct sdbench_kernel *k, const char *title, double total,
                      const struct sdbench_peaks *peaks)
{
    printf("%-62s %6lld %10.5f %6.1f", title, (long long)k->calls, k->seconds,
           total > 0 ? 100 * k->seconds / total : 0);
    print_speed(2 * k->macs, k->seconds, rate_of(peaks, peak_of(k->name)));
    print_speed(k->bytes, k->seconds, rate_of(peaks, "memory read"));
    printf("\n");
}

// Two tables: time by kernel, and the slowest operations. The operations of a kernel are gathered in `sums`, which has
// room for all.
static void print_kernels(const struct sdbench_model *model, const struct sdbench_peaks *peaks,
                          struct sdbench_kernel *sums)
{
    enum { SLOWEST = 12 };
    size_t count = 0;
    double total = 0;
    for (size_t i = 0; i < model->kernel_count; i++) {
        const struct sdbench_kernel *k = &model->kernels[i];
        size_t at = 0;
        while (at < count && strcmp(sums[at].name, k->name))
            at++;
        if (at == count)
            sums[count++] = *k;
        else {
            sums[at].calls += k->calls;
            sums[at].seconds += k->seconds;
            sums[at].macs += k->macs;
            sums[at].bytes += k->bytes;
        }
        total += k->seconds;
    }
    qsort(sums, count, sizeof *sums, by_time);
    const char *share = peaks->count ? " % peak" : "";
    printf("\n%-62s %6s %10s %6s %9s%s %9s%s\n", "kernel", "calls", "seconds", "%", "Gop/s", share, "GB/s", share);
    for (size_t i = 0; i < count; i++)
        print_row(&sums[i], sums[i].name, total, peaks);
    printf("\nslowest operations\n");
    for (size_t i = 0; i < model->kernel_count && i < SLOWEST; i++)
        print_row(&model->kernels[i], model->kernels[i].op, total, peaks);
}

static enum sdg_result print_all_kernels(struct app_ui *ui, const struct sdbench_report *report)
{
    for (size_t i = 0; i < report->peaks.count; i++)
        printf("%s%-32s %10.1f G%s\n", i ? "" : "\nat most\n", report->peaks.list[i].name,
               1e-9 * report->peaks.list[i].rate, report->peaks.list[i].unit);
    for (size_t m = 0; m < report->count; m++) {
        const struct sdbench_model *model = &report->models[m];
        if (!model->kernel_count)
            continue;
        struct sdbench_kernel *sums = calloc(model->kernel_count, sizeof *sums);
        if (!sums)
            return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the table of kernels");
        if (report->count > 1)
            printf("\n%s\n", model->name);
        print_kernels(model, &report->peaks, sums);
        free(sums);
    }
    return SDG_OK;
}

static void print_one(const struct sdbench_report *report)
{
    const struct sdbench_model *model = report->models;
    printf("%-6s %10s %10s %10s", report->what, "min s", "median s", "max s");
    printf("%s\n", model->macs > 0 ? "       Gop    Gop/s" : "");
    printf("%6lld %10.4f %10.4f %10.4f", (long long)report->repeat, model->time.min, model->time.median,
           model->time.max);
    if (model->macs > 0)
        printf(" %9.2f %8.1f", 2e-9 * model->macs, gops(model->macs, model->time.median));
    printf("\npeak memory: ");
    if (model->planned)
        printf("%.1f MiB planned, ", mib(model->planned));
    printf("%.1f MiB resident\n", mib(model->resident));
}

// A row for each model. Whole pictures are drawn by processes of their own, so that each has its peak; networks share
// this one's.
static void print_versus(const struct sdbench_report *report)
{
    bool shared = report->models[0].planned > 0;
    char title[64];
    int width = snprintf(title, sizeof title, "%s, %lld rounds", report->what, (long long)report->repeat);
    for (size_t m = 0; m < report->count; m++)
        width = (int)strlen(report->models[m].name) > width ? (int)strlen(report->models[m].name) : width;
    printf("%-*s %10s %10s %10s%s %13s %8s %18s\n", width, title, "min s", "median s", "max s",
           shared ? "     Gop/s" : "", shared ? "planned MiB" : "resident MiB", "ratio", "quartiles");
    for (size_t m = 0; m < report->count; m++) {
        const struct sdbench_model *model = &report->models[m];
        printf("%-*s %10.5f %10.5f %10.5f", width, model->name, model->time.min, model->time.median, model->time.max);
        if (shared)
            printf(" %9.1f", gops(model->macs, model->time.median));
        printf(" %13.1f", mib(shared ? model->planned : model->resident));
        printf(" %8.3f", model->ratio.median);
        if (m)
            printf(" %9.3f ..%6.3f", model->ratio.low, model->ratio.high);
        printf("\n");
    }
    printf("ratio: of the times in the same round, median over the rounds\n");
    if (shared)
        printf("peak memory: %.1f MiB resident, with all models\n", mib(report->models[0].resident));
}

// -------------------------------------------------------------------------------------------------- JSON

static void print_measurements(FILE *to, const struct sdbench_model *model, int64_t repeat)
{
    fprintf(to, "\"min\": %.6f, \"median\": %.6f, \"max\": %.6f,\n  \"seconds\": ", model->time.min, model->time.median,
            model->time.max);
    report_json_numbers(to, model->seconds, (size_t)repeat);
    fprintf(to, ",\n  \"macs\": %.0f, \"gops\": %.3f, \"planned\": %zu, \"resident\": %zu,\n  \"kernels\": [",
            model->macs, gops(model->macs, model->time.median), model->planned, model->resident);
    for (size_t i = 0; i < model->kernel_count; i++) {
        const struct sdbench_kernel *k = &model->kernels[i];
        fprintf(to, "%s\n    {\"op\": ", i ? "," : "");
        report_json_text(to, k->op);
        fputs(", \"kernel\": ", to);
        report_json_text(to, k->name);
        fprintf(to, ", \"calls\": %lld, \"seconds\": %.6f, \"macs\": %.0f, \"bytes\": %.0f}", (long long)k->calls,
                k->seconds, k->macs, k->bytes);
    }
    fprintf(to, "%s]", model->kernel_count ? "\n  " : "");
}

static void print_json_peaks(FILE *to, const struct sdbench_peaks *peaks)
{
    fputs(",\n  \"peaks\": {", to);
    for (size_t i = 0; i < peaks->count; i++) {
        fputs(i ? ", " : "", to);
        report_json_text(to, peaks->list[i].name);
        fprintf(to, ": %.4g", peaks->list[i].rate);
    }
    fputc('}', to);
}

static void print_json_versus(FILE *to, const struct sdbench_report *report)
{
    fputs(",\n  \"versus\": [", to);
    for (size_t m = 1; m < report->count; m++) {
        const struct sdbench_model *model = &report->models[m];
        fprintf(to, "%s\n  {\"model\": ", m > 1 ? "," : "");
        report_json_text(to, model->name);
        fputs(", \"ratio\": ", to);
        report_json_number(to, model->ratio.median);
        fputs(", \"ratio_low\": ", to);
        report_json_number(to, model->ratio.low);
        fputs(", \"ratio_high\": ", to);
        report_json_number(to, model->ratio.high);
        fputs(",\n  ", to);
        print_measurements(to, model, report->repeat);
        fputc('}', to);
    }
    fputs("\n  ]", to);
}

static void print_json(FILE *to, const struct sdbench_report *report)
{
    const struct sdbench_values *values = report->values;
    fprintf(to, "{\n  \"what\": \"%s\", \"version\": \"%s\", \"build\": ", report->what, sdg_version());
    report_json_text(to, sdg_build_info());
    fputs(",\n  \"model\": ", to);
    report_json_text(to, report->models[0].name ? report->models[0].name : "");
    fputs(", \"backend\": ", to);
    report_json_text(to, values->backend);
    fputs(", \"type\": ", to);
    report_json_text(to, values->type ? values->type : "");
    fprintf(to, ",\n  \"width\": %lld, \"height\": %lld, \"batch\": %lld, \"threads\": %lld,\n  ",
            (long long)values->width, (long long)values->height, (long long)values->batch, (long long)values->threads);
    print_measurements(to, &report->models[0], report->repeat);
    if (report->peaks.count)
        print_json_peaks(to, &report->peaks);
    if (report->count > 1)
        print_json_versus(to, report);
    fputs("\n}\n", to);
}

enum sdg_result sdbench_write(struct app_ui *ui, struct sdbench_report *report)
{
    const char *json = report->values->json;
    enum sdg_result result = summarize(ui, report);
    if (result == SDG_OK && (!json || strcmp(json, "-"))) {
        if (report->count > 1)
            print_versus(report);
        else
            print_one(report);
        result = print_all_kernels(ui, report);
    }
    if (result != SDG_OK)
        return result;
    if (json) {
        struct sdg_output *output;
        result = app_output_open(ui, json, &output);
        if (result != SDG_OK)
            return result;
        print_json(sdg_output_file(output), report);
        return sdg_output_commit(&output);
    }
    if (fflush(stdout) || ferror(stdout))
        return app_fail(ui, SDG_ERROR_OUTPUT, "standard output: cannot be written: %s", strerror(errno));
    return SDG_OK;
}
