// Timing of single networks on random inputs, for sdbench.
#include "sdgen/bench.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/backends.h"
#include "pipeline/call.h"
#include "pipeline/intervals.h"
#include "pipeline/job.h"
#include "pipeline/networks.h"
#include "scheduler/rng.h"
#include "text/tokenizer.h"
#include "vae/vae.h"

#include <stdio.h>
#include <string.h>

struct request {
    enum sdg_network_kind kind;
    int64_t h, w, batch; // latent size
};

struct sdg_bench {
    struct sdg_pipeline *pipeline;
    struct sdg_program *program;
    int width, height; // pixels
    bool kernels;
    int64_t runs; // since the warm-up
};

// "a, b or c" of the networks that can be timed.
static void join_names(char *text, size_t size)
{
    const char *names[SDG_NETWORK_COUNT];
    size_t count = 0, at = 0;
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        if (sdg_network_row((enum sdg_network_kind)i)->timed.name)
            names[count++] = sdg_network_row((enum sdg_network_kind)i)->timed.name;
    for (size_t i = 0; i < count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " or ", names[i]);
}

static enum sdg_result find(const struct sdg_pipeline *p, const char *name, enum sdg_network_kind *kind)
{
    char legal[100];
    for (int i = 1; i < SDG_NETWORK_COUNT && name; i++) {
        const char *timed = sdg_network_row((enum sdg_network_kind)i)->timed.name;
        *kind = (enum sdg_network_kind)i;
        if (timed && strcmp(name, timed) == 0)
            return SDG_OK;
    }
    join_names(legal, sizeof legal);
    if (!name)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "no network is named, should be %s", legal);
    return sdg_fail(&p->log, SDG_ERROR_USAGE, "network is '%s', should be %s", name, legal);
}

static enum sdg_result write_random(struct sdg_pipeline *p, struct sdg_program *program)
{
    const struct sdg_graph *graph = sdg_program_graph(program);
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CPU, 1);
    for (size_t v = 1; v < graph->value_count; v++) {
        const struct sdg_value_info *info = &graph->values[v];
        if (info->kind != SDG_VALUE_INPUT && info->kind != SDG_VALUE_TABLE)
            continue;
        size_t count = (size_t)sdg_value_elements(info);
        float *data = sdg_alloc(&p->log, count, sizeof *data, "random inputs");
        if (!data)
            return SDG_ERROR_MEMORY;
        if (info->dtype != SDG_S32) // token ids stay 0
            sdg_rng_normal(&rng, data, count);
        enum sdg_result result = sdg_program_write(program, info->name, data, count);
        sdg_free(data);
        SDG_TRY(result);
    }
    return SDG_OK;
}

static double middle_timestep(const void *user, int64_t row)
{
    (void)user;
    (void)row;
    return 500;
}

// Pixels to latent pixels, a batch to samples.
static enum sdg_result check(const struct sdg_pipeline *p, const struct sdg_bench_params *params, struct request *out)
{
    int factor = sdg_vae_factor(&p->model->vae_config), width, height;
    sdg_default_size(p->model, &width, &height);
    width = params->width ? params->width : width;
    height = params->height ? params->height : height;
    if (width < factor || height < factor || width % factor || height % factor || width > 16384 || height > 16384)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "size is %dx%d, should be multiples of %d, at most 16384", width,
                        height, factor);
    if (params->batch < 0 || params->batch > 64)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "batch is %d, should be 1..64", params->batch);
    int samples = sdg_network_row(out->kind)->timed.samples;
    out->h = height / factor;
    out->w = width / factor;
    out->batch = samples * (params->batch ? params->batch : 1);
    return SDG_OK;
}

static enum sdg_result prepare(struct sdg_bench *b, const struct request *r)
{
    struct sdg_pipeline *p = b->pipeline;
    const struct sdg_network_shape shape = {
        .batch = r->batch, .height = r->h, .width = r->w, .tokens = SDG_TEXT_TOKENS, .rows = 1, .skip = 1};
    SDG_TRY(sdg_network_compile(p, r->kind, &shape, &b->program));
    SDG_TRY(write_random(p, b->program));
    if (sdg_network_row(r->kind)->rewritten)
        SDG_TRY(sdg_quantized_write_intervals(p, b->program, 1, middle_timestep, NULL));
    SDG_TRY(sdg_program_run(b->program, 0)); // warm-up
    sdg_program_profile(b->program, b->kernels);
    return SDG_OK;
}

enum sdg_result sdg_bench_create(struct sdg_pipeline *p, const struct sdg_bench_params *params, struct sdg_bench **out)
{
    struct request r = {0};
    SDG_REQUIRE(NULL, p, "pipeline");
    SDG_REQUIRE(&p->log, out, "out");
    *out = NULL;
    SDG_REQUIRE(&p->log, params, "params");
    SDG_REQUIRE(&p->log, params->network, "network");
    SDG_TRY(find(p, params->network, &r.kind));
    SDG_TRY(check(p, params, &r));
    struct sdg_bench *b = sdg_alloc(&p->log, 1, sizeof *b, "a network to time");
    if (!b)
        return SDG_ERROR_MEMORY;
    b->pipeline = p;
    b->width = (int)r.w * sdg_vae_factor(&p->model->vae_config);
    b->height = (int)r.h * sdg_vae_factor(&p->model->vae_config);
    b->kernels = params->kernels;
    enum sdg_result result = sdg_call_enter(p, "sdg_bench_create");
    if (result == SDG_OK)
        result = sdg_call_leave(p, prepare(b, &r));
    if (result == SDG_OK)
        *out = b;
    else
        sdg_bench_destroy(&b);
    return result;
}

void sdg_bench_destroy(struct sdg_bench **bench)
{
    struct sdg_bench *b = bench ? *bench : NULL;
    if (!b)
        return;
    sdg_program_destroy(&b->program);
    sdg_free(b);
    *bench = NULL;
}

enum sdg_result sdg_bench_run(struct sdg_bench *b, double *seconds)
{
    SDG_REQUIRE(NULL, b, "bench");
    SDG_REQUIRE(&b->pipeline->log, seconds, "seconds");
    SDG_TRY(sdg_call_enter(b->pipeline, "sdg_bench_run"));
    double start = sdg_clock();
    SDG_TRY(sdg_call_leave(b->pipeline, sdg_program_run(b->program, 0)));
    *seconds = sdg_clock() - start;
    b->runs++;
    return SDG_OK;
}

struct kernels {
    const struct sdg_bench *bench;
    void (*fn)(void *user, const struct sdg_bench_kernel *kernel);
    void *user;
};

static void report_kernel(void *user, size_t op_index, const char *op, const char *kernel, double seconds)
{
    const struct kernels *k = user;
    const struct sdg_graph *graph = sdg_program_graph(k->bench->program);
    k->fn(k->user,
          &(struct sdg_bench_kernel){.op = op,
                                     .kernel = kernel,
                                     .seconds = seconds / (double)k->bench->runs,
                                     .macs = (double)sdg_op_macs(graph, &graph->ops[op_index]),
                                     .bytes = sdg_op_bytes(graph, &graph->ops[op_index])});
}

void sdg_bench_kernels(const struct sdg_bench *b, void (*fn)(void *user, const struct sdg_bench_kernel *kernel),
                       void *user)
{
    if (b && fn && b->kernels && b->runs)
        sdg_program_times(b->program, report_kernel, &(struct kernels){b, fn, user});
}

struct peaks {
    void (*fn)(void *user, const struct sdg_bench_peak *peak);
    void *user;
};

static void report_peak(void *user, const struct sdg_peak *peak)
{
    const struct peaks *p = user;
    p->fn(p->user, &(struct sdg_bench_peak){peak->name, peak->unit, peak->rate});
}

static enum sdg_result open_device(const struct sdg_log *log, const char *name, const char *cache_dir, double seconds,
                                   struct sdg_backend **out)
{
    struct sdg_stage_backend stage;
    SDG_REQUIRE(log, name, "backend");
    if (!(seconds > 0 && seconds <= 3600))
        return sdg_fail(log, SDG_ERROR_USAGE, "seconds is %g, should be more than 0 and at most 3600", seconds);
    SDG_TRY(sdg_backend_parse(log, name, "", &stage));
    return sdg_backend_create(log, stage.name,
                              &(struct sdg_backend_params){.device = stage.device, .cache_dir = cache_dir}, out);
}

enum sdg_result sdg_bench_peaks(const struct sdg_log *log, const char *name, double seconds,
                                void (*fn)(void *user, const struct sdg_bench_peak *peak), void *user)
{
    struct sdg_backend *backend;
    SDG_REQUIRE(log, fn, "fn");
    SDG_TRY(open_device(log, name, NULL, seconds, &backend));
    const enum sdg_result result = sdg_backend_peaks(backend, seconds, report_peak, &(struct peaks){fn, user});
    sdg_backend_destroy(&backend);
    return result;
}

struct tunings {
    void (*fn)(void *user, const struct sdg_bench_tuning *tuning);
    void *user;
};

static void report_tuning(void *user, const struct sdg_tuning *t)
{
    const struct tunings *to = user;
    to->fn(to->user,
           &(struct sdg_bench_tuning){t->product, t->kernel, t->rule, t->seconds, t->rule_seconds, t->candidates,
                                      t->differs});
}

enum sdg_result sdg_bench_tune(const struct sdg_log *log, const char *name, const char *cache_dir, double seconds,
                               void (*fn)(void *user, const struct sdg_bench_tuning *tuning), void *user)
{
    struct sdg_backend *backend;
    char *folder;
    SDG_REQUIRE(log, fn, "fn");
    SDG_TRY(sdg_cache_dir_find(log, cache_dir, true, &folder));
    enum sdg_result result = open_device(log, name, folder, seconds, &backend);
    if (result == SDG_OK) {
        result = sdg_backend_tune(backend, seconds, report_tuning, &(struct tunings){fn, user});
        sdg_backend_destroy(&backend);
    }
    sdg_free(folder);
    return result;
}

void sdg_bench_info(const struct sdg_bench *b, struct sdg_bench_info *out)
{
    struct sdg_memory memory;
    if (!out)
        return;
    *out = (struct sdg_bench_info){0};
    if (!b)
        return;
    sdg_program_memory(b->program, &memory);
    *out = (struct sdg_bench_info){.width = b->width,
                                   .height = b->height,
                                   .planned = memory.total,
                                   .resident_peak = sdg_resident_peak(),
                                   .macs = sdg_graph_macs(sdg_program_graph(b->program))};
}
