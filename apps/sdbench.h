// What the files of sdbench share.
#ifndef SDG_APPS_SDBENCH_H
#define SDG_APPS_SDBENCH_H

#include "common/ui.h"
#include "sdgen/bench.h"

struct sdbench_values { // of the options
    const char *model, *vae, *backend, *type, *intervals, *json;
    int64_t width, height, batch, repeat, threads, steps;
    const char *output, *cache_dir;
    struct sdg_number seconds;
    bool kernels, peaks, check, no_mmap, verbose;
};

// One operation of the network, or all that one kernel ran. Seconds, multiply-adds and bytes moved of one run.
struct sdbench_kernel {
    char op[96], name[64];
    int64_t calls;
    double seconds, macs, bytes;
};

enum { SDBENCH_PEAKS_MAX = 16 };
struct sdbench_peaks { // what the device reaches at most
    struct sdg_bench_peak list[SDBENCH_PEAKS_MAX];
    size_t count; // 0: it was not measured
};

struct sdbench_spread {
    double min, low, median, high, max; // low and high are the quartiles
};

struct sdbench_model {
    const char *name;               // as it was given; NULL = there is no default model
    double *seconds;                // [repeat], in the order of measurement
    struct sdbench_spread time;     // of the seconds
    struct sdbench_spread ratio;    // of this model's seconds to the first model's in the same round
    double macs;                    // of one run, 0 = unknown
    size_t planned, resident;       // bytes; resident: of the process it ran in, with whatever else that did
    struct sdbench_kernel *kernels; // [kernel_count], the slowest first
    size_t kernel_count, kernel_room;
};

struct sdbench_report {
    const char *what;
    const struct sdbench_values *values;
    struct sdbench_model *models; // [count], all are compared with the first
    size_t count;
    int64_t repeat;
    struct sdbench_peaks peaks;
};

// Computes the spreads, sorts the kernels, prints the tables and writes the JSON file.
enum sdg_result sdbench_write(struct app_ui *ui, struct sdbench_report *report);

// sdbench_device.c
enum sdg_result sdbench_measure_peaks(struct app_ui *ui, const struct sdbench_values *values,
                                      struct sdbench_peaks *peaks);
// The commands: prints what the device reaches; measures and keeps which kernels are fastest on it; writes a model of
// random weights of a `shape`.
enum sdg_result sdbench_peaks(struct app_ui *ui, const struct sdbench_values *values);
enum sdg_result sdbench_tune(struct app_ui *ui, const struct sdbench_values *values);
enum sdg_result sdbench_make(struct app_ui *ui, const struct sdbench_values *values, const char *shape);

#endif
