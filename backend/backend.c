// The list of backends and the calls that go to one of them; programs are in program.c.
#include "backend/backend.h"

#include "backend/cpu/fast/sets.h"

#include <string.h>

static const struct sdg_backend_ops *const backends[] = {
    &sdg_backend_reference,
    &sdg_backend_cpu,
#if SDG_HAVE_VULKAN
    &sdg_backend_vulkan,
#endif
};
enum { BACKEND_COUNT = sizeof backends / sizeof *backends };

enum sdg_result sdg_backend_check_params(const struct sdg_log *log, const struct sdg_backend_params *params)
{
    unsigned mask;
    return sdg_fast_mask(log, params->cpu_mask, &mask);
}

enum sdg_result sdg_backend_create(const struct sdg_log *log, const char *name, const struct sdg_backend_params *params,
                                   struct sdg_backend **out)
{
    static const struct sdg_backend_params defaults = {.device = -1};
    *out = NULL;
    for (int i = 0; i < BACKEND_COUNT; i++) {
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i]->create(log, params ? params : &defaults, out);
    }
    if (strcmp(name, "vulkan") == 0)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "backend vulkan is not in this build: it needs -DSDG_VULKAN=on");
    return sdg_fail(log, SDG_ERROR_USAGE, "there is no backend %s, only reference, cpu and vulkan", name);
}

void sdg_backend_init(struct sdg_backend *backend, const struct sdg_backend_ops *ops, const struct sdg_log *log)
{
    // The pointer to the log is const from here on, so the struct is copied, not assigned.
    memcpy(backend, &(const struct sdg_backend){.ops = ops, .log = log}, sizeof *backend);
}

void sdg_backend_watch(struct sdg_backend *backend, bool (*goes_on)(void *user), void *user)
{
    backend->goes_on = goes_on;
    backend->watcher = user;
}

void sdg_backend_destroy(struct sdg_backend **backend)
{
    if (*backend)
        (*backend)->ops->destroy(*backend);
    *backend = NULL;
}

const struct sdg_device_info *sdg_backend_info(const struct sdg_backend *backend)
{
    return &backend->info;
}

bool sdg_backend_has_type(const struct sdg_backend *backend, enum sdg_dtype dtype)
{
    return backend->ops->has_type(backend, dtype);
}

void sdg_backend_list(const struct sdg_log *log, const char *name,
                      void (*fn)(void *user, const struct sdg_device_info *info), void *user)
{
    for (int i = 0; i < BACKEND_COUNT; i++)
        if (!name || strcmp(backends[i]->name, name) == 0)
            backends[i]->list(log, fn, user);
}

enum sdg_result sdg_backend_peaks(struct sdg_backend *backend, double seconds,
                                  void (*fn)(void *user, const struct sdg_peak *peak), void *user)
{
    if (!backend->ops->peaks)
        return sdg_fail(backend->log, SDG_ERROR_UNSUPPORTED, "backend %s does not measure what its device reaches",
                        backend->ops->name);
    return backend->ops->peaks(backend, seconds, fn, user);
}

enum sdg_result sdg_backend_tune(struct sdg_backend *backend, double seconds,
                                 void (*fn)(void *user, const struct sdg_tuning *tuning), void *user)
{
    if (!backend->ops->tune)
        return sdg_fail(backend->log, SDG_ERROR_UNSUPPORTED, "backend %s has no kernels to choose from",
                        backend->ops->name);
    return backend->ops->tune(backend, seconds, fn, user);
}
