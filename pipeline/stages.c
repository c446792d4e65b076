#include "pipeline/stages.h"

#include "pipeline/call.h"

const struct sdg_stage_row *sdg_stage_row(enum sdg_stage stage)
{
    static const struct sdg_stage_row rows[SDG_STAGE_COUNT] = {
        [SDG_STAGE_TEXT] = {.key = "te", .name = "text", .network = "text encoder"},
        [SDG_STAGE_UNET] = {.key = "unet", .name = "UNet", .network = "UNet"},
        [SDG_STAGE_VAE] = {.key = "vae", .name = "VAE", .network = "VAE"},
    };
    return &rows[stage];
}

enum sdg_result sdg_stage_open(struct sdg_pipeline *p, enum sdg_stage stage)
{
    struct sdg_stage_backend *s = &p->stage[stage];
    if (s->backend)
        return SDG_OK;
    SDG_TRY(sdg_engine_backend(p->engine, &p->log, s->name, s->device, &s->backend));
    sdg_backend_watch(s->backend, sdg_call_goes_on, p);
    return SDG_OK;
}
