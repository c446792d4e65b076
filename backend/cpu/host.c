// What the CPU backends have in common: the machine they run on, and how many threads they take.
#include "backend/cpu/cpu_program.h"

#include "base/memory.h"
#include "base/platform.h"

void sdg_cpu_host_info(struct sdg_device_info *info)
{
    sdg_platform_cpu(info->name, sizeof info->name);
    info->memory = sdg_platform_memory();
    info->type = "cpu";
}

enum sdg_result sdg_cpu_backend_new(const struct sdg_log *log, const struct sdg_backend_params *params,
                                    const struct sdg_backend_ops *ops, const struct sdg_cpu_provider *const *providers,
                                    struct sdg_cpu_backend **out)
{
    enum { MOST_THREADS = 1024 };
    *out = NULL;
    if (params->threads < 0 || params->threads > MOST_THREADS)
        return sdg_fail(log, SDG_ERROR_USAGE, "%d threads, should be 0 (one per core) to %d", params->threads,
                        MOST_THREADS);
    struct sdg_cpu_backend *backend = sdg_alloc(log, 1, sizeof *backend, "a backend");
    if (!backend)
        return SDG_ERROR_MEMORY;
    sdg_backend_init(&backend->base, ops, log);
    backend->base.info.backend = ops->name;
    sdg_cpu_host_info(&backend->base.info);
    backend->providers = providers;
    enum sdg_result result = params->pool ? SDG_OK : sdg_pool_create(log, params->threads, &backend->own_pool);
    if (result != SDG_OK) {
        sdg_free(backend);
        return result;
    }
    backend->pool = params->pool ? params->pool : backend->own_pool;
    backend->threads = sdg_pool_threads(backend->pool);
    *out = backend;
    return SDG_OK;
}

void sdg_cpu_backend_free(struct sdg_cpu_backend *backend)
{
    sdg_pool_destroy(&backend->own_pool);
    sdg_free(backend);
}
