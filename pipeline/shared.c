#include "pipeline/shared.h"

#include "base/memory.h"
#include "pipeline/backends.h"
#include "pipeline/parameter_names.h"

#include <math.h>
#include <string.h>

// ---- parameters ----

static enum sdg_result check_limits(const struct sdg_log *log, const struct sdg_device_limits *limits)
{
    const struct {
        const char *name;
        uint64_t value, least;
    } rows[] = {
        {"storage_range", limits->storage_range, 1 << 16},
        {"allocation", limits->allocation, 1 << 23},
        {"memory", limits->memory, 1 << 26},
        {"invocations", limits->invocations, 128},
        {"shared_memory", limits->shared_memory, 1 << 14},
        {"workgroups", limits->workgroups, 65535},
        {"buffers", limits->buffers, 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].value && rows[i].value < rows[i].least)
            return sdg_fail(log, SDG_ERROR_USAGE, "limits.%s is %llu, should be at least %llu, or 0 for the device's",
                            rows[i].name, (unsigned long long)rows[i].value, (unsigned long long)rows[i].least);
    return SDG_OK;
}

static enum sdg_result check_numbers(const struct sdg_engine_params *params)
{
    const struct sdg_log *log = &params->log;
    if (params->threads < 0 || params->threads > 1024)
        return sdg_fail(log, SDG_ERROR_USAGE, "threads is %d, should be 1..1024, or 0 for one a core", params->threads);
    if (!(params->max_memory >= 0))
        return sdg_fail(log, SDG_ERROR_USAGE, "the memory limit is %g, should be positive, or 0 for what is free",
                        params->max_memory);
    const struct sdg_number submit = params->submit_time;
    if (submit.given && !(submit.value >= 0 && submit.value <= 3600))
        return sdg_fail(log, SDG_ERROR_USAGE, "submit time is %g, should be 0..3600 seconds", submit.value);
    return check_limits(log, &params->limits);
}

static enum sdg_result find_cpus(struct sdg_engine *engine, const char *text)
{
    if (!text && engine->threads)
        return SDG_OK;
    engine->cpus = sdg_alloc(&engine->log, 1, sizeof *engine->cpus, "the engine");
    if (!engine->cpus)
        return SDG_ERROR_MEMORY;
    if (!text && sdg_platform_fast_cpus(engine->cpus))
        return SDG_OK;
    if (!text) { // all are fast: nobody is held to anything
        sdg_free(engine->cpus);
        engine->cpus = NULL;
        return SDG_OK;
    }
    if (!sdg_cpus_parse(text, engine->cpus))
        return sdg_fail(&engine->log, SDG_ERROR_USAGE, "cores is '%s', should be numbers and ranges, like 4-7 or 0,2",
                        text);
    if (!sdg_platform_narrow_cpus(engine->cpus))
        return sdg_fail(&engine->log, SDG_ERROR_USAGE, "cores is '%s': this process may run on none of them", text);
    return SDG_OK;
}

static enum sdg_result fill(struct sdg_engine *engine, const struct sdg_engine_params *params)
{
    SDG_TRY(check_numbers(params));
    engine->threads = params->threads;
    engine->validation = params->validation;
    engine->no_environment = params->no_environment;
    engine->max_memory = params->max_memory;
    engine->limits = params->limits;
    engine->submit_seconds = !params->submit_time.given ? 0
        : params->submit_time.value > 0                 ? params->submit_time.value
                                                        : (double)INFINITY;
    SDG_TRY(find_cpus(engine, params->cores));
    SDG_TRY(sdg_features_parse(&engine->log, params->disable, &engine->disable));
    SDG_TRY(sdg_backend_check_params(&engine->log, &(struct sdg_backend_params){.cpu_mask = params->cpu_mask}));
    if (params->cpu_mask && !(engine->cpu_mask = sdg_strdup(&engine->log, params->cpu_mask)))
        return SDG_ERROR_MEMORY;
    return sdg_cache_dir_find(&engine->log, params->cache_dir, !params->no_environment, &engine->cache_dir);
}

// ---- life ----

enum sdg_result sdg_engine_create(const struct sdg_engine_params *params, struct sdg_engine **out)
{
    SDG_REQUIRE(params ? &params->log : NULL, out, "out");
    *out = NULL;
    SDG_REQUIRE(NULL, params, "params");
    struct sdg_engine *engine = sdg_alloc(&params->log, 1, sizeof *engine, "the engine");
    if (!engine)
        return SDG_ERROR_MEMORY;
    engine->log = params->log;
    atomic_init(&engine->holders, 1);
    pthread_mutex_init(&engine->lock, NULL);
    sdg_devices_init(&engine->devices);
    enum sdg_result result = fill(engine, params);
    if (result != SDG_OK)
        sdg_engine_destroy(&engine);
    *out = engine;
    return result;
}

struct sdg_engine *sdg_engine_hold(struct sdg_engine *engine)
{
    atomic_fetch_add(&engine->holders, 1);
    return engine;
}

void sdg_engine_destroy(struct sdg_engine **handle)
{
    struct sdg_engine *engine = handle ? *handle : NULL;
    if (!engine)
        return;
    *handle = NULL;
    if (atomic_fetch_sub(&engine->holders, 1) > 1)
        return;
    sdg_devices_close(&engine->devices, &engine->log);
    sdg_pool_destroy(&engine->pool);
    pthread_mutex_destroy(&engine->lock);
    sdg_free(engine->cpus);
    sdg_free(engine->cpu_mask);
    sdg_free(engine->cache_dir);
    sdg_free(engine);
}

void sdg_engine_info(struct sdg_engine *engine, struct sdg_engine_info *out)
{
    if (!out)
        return;
    *out = (struct sdg_engine_info){0};
    if (!engine)
        return;
    pthread_mutex_lock(&engine->lock);
    *out = (struct sdg_engine_info){
        .threads = engine->pool ? sdg_pool_threads(engine->pool)
            : engine->threads   ? engine->threads
            : engine->cpus      ? sdg_platform_threads_on(engine->cpus)
                                : sdg_platform_threads(),
        .planned = (double)engine->planned,
        .cache_dir = engine->cache_dir,
    };
    pthread_mutex_unlock(&engine->lock);
    out->devices = sdg_devices_opened(&engine->devices);
}

// ---- what is shared ----

enum sdg_result sdg_engine_pool(struct sdg_engine *engine, const struct sdg_log *log, struct sdg_pool **pool)
{
    enum sdg_result result = SDG_OK;
    pthread_mutex_lock(&engine->lock);
    if (!engine->pool)
        result = sdg_pool_create_on(log, engine->threads, engine->cpus, &engine->pool);
    *pool = engine->pool;
    pthread_mutex_unlock(&engine->lock);
    return result;
}

enum sdg_result sdg_engine_backend(struct sdg_engine *engine, const struct sdg_log *log, const char *name, int device,
                                   struct sdg_backend **out)
{
    struct sdg_backend_params params = {
        .threads = engine->threads,
        .devices = &engine->devices,
        .device = device,
        .validation = engine->validation,
        .disable = engine->disable,
        .cpu_mask = engine->cpu_mask,
        .cache_dir = engine->cache_dir,
        .submit_seconds = engine->submit_seconds,
        .limits = &engine->limits,
    };
    *out = NULL;
    SDG_TRY(sdg_engine_pool(engine, log, &params.pool));
    return sdg_backend_create(log, name, &params, out);
}

bool sdg_engine_bind(const struct sdg_engine *engine, struct sdg_cpus *before)
{
    return engine->cpus && sdg_platform_run_on(engine->cpus, before);
}

// ---- memory ----

size_t sdg_engine_bare(struct sdg_engine *engine, const size_t *share, size_t known, size_t resident, size_t code,
                       bool keeps)
{
    pthread_mutex_lock(&engine->lock);
    if (known && keeps) {
        engine->bare = engine->bare ? engine->bare : known;
    } else if (engine->planned == *share || !engine->bare) {
        // Kernels of an earlier picture are part of the process already.
        known = engine->bare = resident + (engine->planned_before ? 0 : code);
    } else {
        known = engine->bare;
    }
    engine->planned_before = true;
    pthread_mutex_unlock(&engine->lock);
    return known;
}

size_t sdg_engine_others(struct sdg_engine *engine, const size_t *share)
{
    pthread_mutex_lock(&engine->lock);
    const size_t others = engine->planned - *share;
    pthread_mutex_unlock(&engine->lock);
    return others;
}

bool sdg_engine_reserve(struct sdg_engine *engine, size_t *share, size_t bytes, size_t most)
{
    pthread_mutex_lock(&engine->lock);
    const size_t others = engine->planned - *share;
    const bool fits = others <= most && bytes <= most - others;
    if (fits) {
        engine->planned = others + bytes;
        *share = bytes;
    }
    pthread_mutex_unlock(&engine->lock);
    return fits;
}
