// sdbench's commands about a device rather than a model: what it reaches at most, and a model to time on it.
#include "sdbench.h"

#include <stdio.h>

static struct sdg_log log_of(struct app_ui *ui)
{
    return (struct sdg_log){app_log, ui, ui->level};
}

static void add_peak(void *user, const struct sdg_bench_peak *peak)
{
    struct sdbench_peaks *peaks = user;
    if (peaks->count < SDBENCH_PEAKS_MAX)
        peaks->list[peaks->count++] = *peak;
}

static double seconds_of(const struct sdbench_values *values, double otherwise)
{
    return values->seconds.given ? values->seconds.value : otherwise;
}

enum sdg_result sdbench_measure_peaks(struct app_ui *ui, const struct sdbench_values *values,
                                      struct sdbench_peaks *peaks)
{
    const struct sdg_log log = log_of(ui);
    peaks->count = 0;
    return sdg_bench_peaks(&log, values->backend, seconds_of(values, 4), add_peak, peaks);
}

enum sdg_result sdbench_peaks(struct app_ui *ui, const struct sdbench_values *values)
{
    struct sdbench_peaks peaks;
    enum sdg_result result = sdbench_measure_peaks(ui, values, &peaks);
    for (size_t i = 0; i < peaks.count && result == SDG_OK; i++)
        printf("%-32s %10.1f G%s\n", peaks.list[i].name, 1e-9 * peaks.list[i].rate, peaks.list[i].unit);
    return result;
}

struct tunings { size_t count, changed; };

static void print_tuning(void *user, const struct sdg_bench_tuning *t)
{
    struct tunings *tunings = user;
    char against[32] = "";
    if (t->rule_seconds > 0)
        snprintf(against, sizeof against, "%.2f", t->rule_seconds / t->seconds);
    printf("%-40s %-34s %10.6f %3d  %-34s %6s\n", t->product, t->kernel, t->seconds, t->candidates, t->rule, against);
    fflush(stdout); // it takes minutes
    tunings->count++;
    tunings->changed += t->differs;
}

enum sdg_result sdbench_tune(struct app_ui *ui, const struct sdbench_values *values)
{
    const struct sdg_log log = log_of(ui);
    struct tunings tunings = {0};
    printf("%-40s %-34s %10s %3s  %-34s %6s\n", "product", "fastest", "seconds", "of", "by rule", "times");
    enum sdg_result result =
        sdg_bench_tune(&log, values->backend, values->cache_dir, seconds_of(values, 90), print_tuning, &tunings);
    if (result == SDG_OK)
        printf("%zu products measured and kept, %zu unlike the rule\n", tunings.count, tunings.changed);
    return result;
}

enum sdg_result sdbench_make(struct app_ui *ui, const struct sdbench_values *values, const char *shape)
{
    const struct sdg_log log = log_of(ui);
    if (!values->output)
        return app_fail(ui, SDG_ERROR_USAGE, "make needs a folder to write to (-o DIR)");
    return sdg_bench_write_model(&log, shape, values->output);
}
