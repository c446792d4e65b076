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

enum sdg_result sdbench_measure_peaks(struct app_ui *ui, const struct sdbench_values *values,
                                      struct sdbench_peaks *peaks)
{
    const struct sdg_log log = log_of(ui);
    peaks->count = 0;
    return sdg_bench_peaks(&log, values->backend, values->seconds, add_peak, peaks);
}

enum sdg_result sdbench_peaks(struct app_ui *ui, const struct sdbench_values *values)
{
    struct sdbench_peaks peaks;
    enum sdg_result result = sdbench_measure_peaks(ui, values, &peaks);
    for (size_t i = 0; i < peaks.count && result == SDG_OK; i++)
        printf("%-32s %10.1f G%s\n", peaks.list[i].name, 1e-9 * peaks.list[i].rate, peaks.list[i].unit);
    return result;
}

enum sdg_result sdbench_make(struct app_ui *ui, const struct sdbench_values *values, const char *shape)
{
    const struct sdg_log log = log_of(ui);
    if (!values->output)
        return app_fail(ui, SDG_ERROR_USAGE, "make needs a folder to write to (-o DIR)");
    return sdg_bench_write_model(&log, shape, values->output);
}
