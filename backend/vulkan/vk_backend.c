// The Vulkan backend as backend.h sees it.
#include "backend/vulkan/vk_device.h"
#include "backend/vulkan/vk_memory.h"
#include "backend/vulkan/vk_peaks.h"
#include "backend/vulkan/vk_pipeline.h"
#include "backend/vulkan/vk_program.h"
#include "backend/vulkan/vk_tiles.h"
#include "backend/vulkan/vk_tune.h"
#include "base/threads.h"

#include <stdio.h>

// ---- the device, which contexts may share ----

static void close_device(struct sdg_open_device *device, const struct sdg_log *log)
{
    struct sdg_vk_shared *shared = (struct sdg_vk_shared *)device;
    struct sdg_vk vk = {.shared = shared};
    sdg_backend_init(&vk.base, &sdg_backend_vulkan, log);
    sdg_vk_adopt(&vk, shared);
    if (vk.device)
        sdg_vk_wait_idle(&vk);
    sdg_vk_pipelines_destroy(&vk);
    sdg_vk_device_close(&vk);
    sdg_free(shared);
}

struct opening {
    struct sdg_vk *vk;
    const struct sdg_backend_params *params;
};

static enum sdg_result open_device(void *user, struct sdg_open_device **out)
{
    const struct opening *opening = user;
    struct sdg_vk *vk = opening->vk;
    struct sdg_open_device *known;
    vk->shared = sdg_alloc(vk->base.log, 1, sizeof *vk->shared, "the Vulkan device");
    if (!vk->shared)
        return SDG_ERROR_MEMORY;
    vk->shared->base.close = close_device;
    enum sdg_result result = sdg_vk_device_open(vk, opening->params, &known);
    if (result == SDG_OK && !known)
        result = sdg_vk_pipelines_create(vk, opening->params->cache_dir);
    result = sdg_vk_validated(vk, vk->base.log, result);
    *out = known ? known : &vk->shared->base;
    if (result != SDG_OK || known)
        close_device(&vk->shared->base, vk->base.log);
    vk->shared = NULL; // sdg_vk_adopt follows
    return result;
}

static enum sdg_result hold_device(struct sdg_vk *vk, const struct sdg_backend_params *params)
{
    struct sdg_open_device *device;
    SDG_TRY(sdg_devices_hold(params->devices, params->device, open_device, &(struct opening){vk, params}, &device));
    sdg_vk_adopt(vk, (struct sdg_vk_shared *)device);
    vk->devices = params->devices;
    if (params->submit_seconds > 0)
        vk->caps.submit_seconds = params->submit_seconds;
    return SDG_OK;
}

// ---- a context ----

static void destroy(struct sdg_backend *backend)
{
    struct sdg_vk *vk = sdg_vk_of(backend);
    sdg_vk_tiles_destroy(vk);
    sdg_vk_uploader_destroy(vk);
    if (vk->shared)
        sdg_devices_release(vk->devices, &vk->shared->base, vk->base.log);
    sdg_pool_destroy(&vk->own_pool);
    sdg_free(vk);
}

// How products are cut up, for who looks at a plan.
static void note_tiles(struct sdg_vk *vk)
{
    char *note = vk->base.info.note;
    const size_t size = sizeof vk->base.info.note, used = strlen(note);
    if (vk->tiles->tuned)
        snprintf(note + used, size - used, ", tiles as measured here (%zu)", vk->tiles->count);
    else
        snprintf(note + used, size - used, ", tiles as for %s", vk->caps.class_name);
}

static enum sdg_result open_all(struct sdg_vk *vk, const struct sdg_backend_params *params)
{
    SDG_TRY(hold_device(vk, params));
    if (!params->pool)
        SDG_TRY(sdg_pool_create(vk->base.log, params->threads, &vk->own_pool));
    vk->pool = params->pool ? params->pool : vk->own_pool;
    SDG_TRY(sdg_vk_uploader_create(vk));
    SDG_TRY(sdg_vk_tiles_create(vk, params->cache_dir));
    note_tiles(vk);
    return SDG_OK;
}

static enum sdg_result create(const struct sdg_log *log, const struct sdg_backend_params *params,
                              struct sdg_backend **out)
{
    *out = NULL;
    struct sdg_vk *vk = sdg_alloc(log, 1, sizeof *vk, "the Vulkan backend");
    if (!vk)
        return SDG_ERROR_MEMORY;
    sdg_backend_init(&vk->base, &sdg_backend_vulkan, log);
    enum sdg_result result = open_all(vk, params);
    if (vk->shared)
        result = sdg_vk_validated(vk, log, result);
    if (result == SDG_OK)
        *out = &vk->base;
    else
        destroy(&vk->base);
    return result;
}

static bool has_type(const struct sdg_backend *backend, enum sdg_dtype dtype)
{
    return dtype == SDG_F32 || (dtype == SDG_F16 && (backend->info.features & SDG_FEATURE_F16));
}

const struct sdg_backend_ops sdg_backend_vulkan = {
    .name = "vulkan",
    .create = create,
    .destroy = destroy,
    .has_type = has_type,
    .list = sdg_vk_device_list,
    .peaks = sdg_vk_peaks,
    .tune = sdg_vk_tune,
    .program = &sdg_vk_program_ops,
};
