// The backend `reference`: every operation in plain C, what all other backends are compared with.
#include "backend/cpu/cpu_program.h"

#include <stdio.h>

static const struct sdg_cpu_provider *const providers[] = {&sdg_cpu_reference_provider, NULL};

static enum sdg_result create(const struct sdg_log *log, const struct sdg_backend_params *params,
                              struct sdg_backend **out)
{
    struct sdg_cpu_backend *backend;
    *out = NULL;
    SDG_TRY(sdg_cpu_backend_new(log, params, &sdg_backend_reference, providers, &backend));
    snprintf(backend->base.info.note, sizeof backend->base.info.note, "plain C, sums in double precision");
    *out = &backend->base;
    return SDG_OK;
}

static void destroy(struct sdg_backend *backend)
{
    sdg_cpu_backend_free((struct sdg_cpu_backend *)backend);
}

// f16 and bf16 are stored, which tests need, but not computed with any faster.
static bool has_type(const struct sdg_backend *backend, enum sdg_dtype dtype)
{
    (void)backend;
    return dtype == SDG_F32;
}

static void list(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device_info *info), void *user)
{
    (void)log;
    struct sdg_device_info info = {.backend = "reference"};
    sdg_cpu_host_info(&info);
    fn(user, &info);
}

const struct sdg_backend_ops sdg_backend_reference = {
    .name = "reference",
    .create = create,
    .destroy = destroy,
    .has_type = has_type,
    .list = list,
    .program = &sdg_cpu_program_ops,
};
