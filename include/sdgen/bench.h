// Timing of single networks with random inputs, for sdbench. Several can be open at once, also of several pipelines,
// and be run in turns: on a machine whose clock drifts only times that were taken beside each other can be compared.
#ifndef SDGEN_BENCH_H
#define SDGEN_BENCH_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_bench_peaks SDG_LINK_NAME(sdg_bench_peaks_, SDG_API_VERSION)
#define sdg_bench_tune SDG_LINK_NAME(sdg_bench_tune_, SDG_API_VERSION)
#define sdg_bench_write_model SDG_LINK_NAME(sdg_bench_write_model_, SDG_API_VERSION)

struct sdg_bench_params {
    const char *network; // "text", "unet", "vae" (the decoder)
    // pixels, multiples of sdg_pipeline_info.factor, up to 16384; 0 = the model's. Without meaning for "text"
    int width, height;
    int batch;    // text: prompts; unet: guidance pairs; 1..64, 0 = 1. The decoder always takes one picture
    bool kernels; // measure each operation, too, which takes a little time itself
};

struct sdg_bench_info {
    int width, height;    // pixels
    size_t planned;       // bytes of the network: weights, activations, scratch
    size_t resident_peak; // bytes of the process so far, whatever else is in it
    double macs;          // multiply-adds of one run
};

// One operation. Seconds and amounts of one run.
struct sdg_bench_kernel {
    const char *op, *kernel; // what the network and what the backend call it
    double seconds;          // the mean over the runs so far
    double macs;             // multiply-adds, 0 = it has none
    double bytes;            // the least it moves: operands read once, the result written once
};

// One network, compiled. It uses its pipeline: a call on it counts as a call on the pipeline, so that two networks of
// one pipeline may be open but not run at the same time.
struct sdg_bench;

// Compiles the network, fills its inputs and runs it once to warm up. The pipeline must outlive *out, which is the
// caller's. SDG_ERROR_USAGE when a field is out of range.
SDG_API enum sdg_result sdg_bench_create(struct sdg_pipeline *pipeline, const struct sdg_bench_params *params,
                                         struct sdg_bench **out);
SDG_API void sdg_bench_destroy(struct sdg_bench **bench);
// One run; *seconds gets its time.
SDG_API enum sdg_result sdg_bench_run(struct sdg_bench *bench, double *seconds);
// All operations in their order. No call of `fn` without sdg_bench_params.kernels or before the first run.
SDG_API void sdg_bench_kernels(const struct sdg_bench *bench,
                               void (*fn)(void *user, const struct sdg_bench_kernel *kernel), void *user);
SDG_API void sdg_bench_info(const struct sdg_bench *bench, struct sdg_bench_info *out);

// What a device reaches at most, measured by shaders, or on processors loops, that do nothing else.
struct sdg_bench_peak {
    const char *name; // "f32 multiply-add", "memory read", on processors "f32 exponential" (of all threads); static
    const char *unit; // "op/s", a multiply-add being two, or "B/s"; static
    double rate;
};
// Measures a device in about so many `seconds`: one call of `fn` for each kind of work that it can do. `backend` as in
// sdg_pipeline_params, without stages. SDG_ERROR_UNSUPPORTED for the backend reference.
SDG_API enum sdg_result sdg_bench_peaks(const struct sdg_log *log, const char *backend, double seconds,
                                        void (*fn)(void *user, const struct sdg_bench_peak *peak), void *user);

// What a device takes for one product of layers. Strings live during the call.
struct sdg_bench_tuning {
    const char *product;          // "conv2d f16, 8192 x 320 outputs"
    const char *kernel, *rule;    // the fastest, and what is taken where nothing was measured
    double seconds, rule_seconds; // of these; 0 = not measured
    int candidates;               // kernels that were measured
    bool differs;                 // the fastest is taken from now on; else the rule's, which is as good
};
// Measures, in about so many `seconds`, which kernels are fastest on a device, and keeps it in the cache folder
// (`cache_dir` as in sdg_pipeline_params) for pipelines opened from now on on this device, with this driver and build.
// `backend` as above.
SDG_API enum sdg_result sdg_bench_tune(const struct sdg_log *log, const char *backend, const char *cache_dir,
                                       double seconds, void (*fn)(void *user, const struct sdg_bench_tuning *tuning),
                                       void *user);

// Writes a model of random weights (f16, uniform, such that values keep their size from layer to layer) as a new folder
// in diffusers' layout, to be timed where no real one is. `shape`: "sd15", as large as Stable Diffusion 1.5 (2 GB), or
// "small", the same made narrow (20 MB). The tokenizer is the default model's, and the text encoder knows as many
// tokens. SDG_ERROR_USAGE for other shapes, SDG_ERROR_OUTPUT if the folder exists.
SDG_API enum sdg_result sdg_bench_write_model(const struct sdg_log *log, const char *shape, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
