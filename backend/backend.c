// The list of backends and the calls that go to one of them.
#include "backend/backend.h"

#include <string.h>

static const struct sdg_backend_ops *const backends[] = {
    &sdg_backend_reference,
    &sdg_backend_cpu,
#if SDG_HAVE_VULKAN
    &sdg_backend_vulkan,
#endif
};
enum { BACKEND_COUNT = sizeof backends / sizeof *backends };

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

static bool has_weights(const struct sdg_graph *graph)
{
    for (size_t i = 1; i < graph->value_count; i++) {
        if (graph->values[i].kind == SDG_VALUE_WEIGHT)
            return true;
    }
    return false;
}

enum sdg_result sdg_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                   const struct sdg_program_params *params, struct sdg_program **out)
{
    static const struct sdg_program_params defaults = {.weights = NULL};
    *out = NULL;
    if (!params)
        params = &defaults;
    SDG_TRY(sdg_graph_check(graph));
    if (!params->weights && !params->plan_only && has_weights(graph))
        return sdg_fail(backend->log, SDG_ERROR_USAGE, "the network has weights, but none were given");
    return backend->ops->program_create(backend, graph, params, out);
}

void sdg_program_destroy(struct sdg_program **program)
{
    if (*program)
        (*program)->backend->ops->program_destroy(*program);
    *program = NULL;
}

enum sdg_result sdg_program_write(struct sdg_program *program, const char *name, const void *data, size_t count)
{
    return program->backend->ops->write(program, name, data, count);
}

enum sdg_result sdg_program_read(struct sdg_program *program, const char *name, float *data, size_t count)
{
    return program->backend->ops->read(program, name, data, count);
}

enum sdg_result sdg_program_run(struct sdg_program *program, int64_t row)
{
    return program->backend->ops->run(program, row);
}

void sdg_program_memory(const struct sdg_program *program, struct sdg_memory *out)
{
    program->backend->ops->memory(program, out);
}

void sdg_program_describe(const struct sdg_program *program, void (*fn)(void *user, const char *op, const char *kernel),
                          void *user)
{
    program->backend->ops->describe(program, fn, user);
}

void sdg_program_profile(struct sdg_program *program, bool on)
{
    program->backend->ops->profile(program, on);
}

void sdg_program_times(const struct sdg_program *program,
                       void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                       void *user)
{
    program->backend->ops->times(program, fn, user);
}
