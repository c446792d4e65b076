#include "pipeline/stages.h"

#include "pipeline/call.h"

#include <math.h>

const struct sdg_stage_row *sdg_stage_row(enum sdg_stage stage)
{
    static const struct sdg_stage_row rows[SDG_STAGE_COUNT] = {
        [SDG_STAGE_TEXT] = {.key = "te", .name = "text", .network = "text encoder"},
        [SDG_STAGE_UNET] = {.key = "unet", .name = "UNet", .network = "UNet"},
        [SDG_STAGE_VAE] = {.key = "vae", .name = "VAE", .network = "VAE"},
    };
    return &rows[stage];
}

enum sdg_result sdg_pipeline_pool(struct sdg_pipeline *p, struct sdg_pool **pool)
{
    if (!p->pool)
        SDG_TRY(sdg_pool_create(&p->log, p->params.threads, &p->pool));
    *pool = p->pool;
    return SDG_OK;
}

enum sdg_result sdg_stage_open(struct sdg_pipeline *p, enum sdg_stage stage)
{
    struct sdg_stage_backend *s = &p->stage[stage];
    if (s->backend)
        return SDG_OK;
    struct sdg_backend_params params = {
        .threads = p->params.threads,
        .device = s->device,
        .validation = p->params.validation,
        .disable = p->disable,
        .cpu_mask = p->cpu_mask,
        .cache_dir = p->cache_dir,
        .submit_seconds = !p->params.submit_time.given ? 0
            : p->params.submit_time.value > 0          ? p->params.submit_time.value
                                                       : (double)INFINITY,
    };
    SDG_TRY(sdg_pipeline_pool(p, &params.pool));
    SDG_TRY(sdg_backend_create(&p->log, s->name, &params, &s->backend));
    sdg_backend_watch(s->backend, sdg_call_goes_on, p);
    return SDG_OK;
}
