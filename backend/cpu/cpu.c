// The backend `cpu`: oneDNN where it is built in, then the kernels of fast/, then the reference kernels.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/sets.h"
#include "backend/cpu/fast/tools.h"
#include "backend/cpu/onednn/onednn.h"

#include "base/memory.h"

#include <stdio.h>

#if SDG_HAVE_ONEDNN
static const struct sdg_cpu_provider *const with_onednn[] = {&sdg_onednn_provider, &sdg_fast_provider,
                                                             &sdg_cpu_reference_provider, NULL};
#endif
static const struct sdg_cpu_provider *const without_onednn[] = {&sdg_fast_provider, &sdg_cpu_reference_provider, NULL};

static void destroy(struct sdg_backend *backend)
{
    struct sdg_cpu_backend *b = (struct sdg_cpu_backend *)backend;
#if SDG_HAVE_ONEDNN
    struct sdg_onednn *onednn = b->state;
    sdg_onednn_close(&onednn);
#endif
    sdg_free(b->kernels);
    sdg_cpu_backend_free(b);
}

// Pages of the kernel library and the kernels it generates while networks run. Measured on the default model (21 MiB)
// and on SD 1.5 (17 MiB); it does not depend on sizes.
enum { KERNEL_CODE = 20 * 1024 * 1024 };

static void describe(struct sdg_device_info *info, bool onednn, const struct sdg_fast_kernels *kernels)
{
    info->features = (onednn ? SDG_FEATURE_ONEDNN : 0) | (kernels->halves ? SDG_FEATURE_BF16 : 0) |
        (kernels[1].halves == SDG_FAST_HALVES ? SDG_FEATURE_F16 : 0);
    info->code_bytes = KERNEL_CODE;
    char library[96] = "no oneDNN";
#if SDG_HAVE_ONEDNN
    if (onednn)
        sdg_onednn_describe(library, sizeof library);
#endif
    const bool f16 = info->features & SDG_FEATURE_F16;
    snprintf(info->note, sizeof info->note, "%s; own kernels %s%s%s", library, kernels->name, f16 ? ", " : "",
             f16 ? kernels[1].name : "");
}

static enum sdg_result choose_features(const struct sdg_log *log, const struct sdg_backend_params *params,
                                       unsigned *features)
{
    unsigned mask;
    SDG_TRY(sdg_fast_mask(log, params->cpu_mask, &mask));
    if (params->disable & SDG_FEATURE_BF16)
        mask &= ~(unsigned)SDG_CPU_ANY_BF16;
    if (params->disable & SDG_FEATURE_F16)
        mask &= ~(unsigned)SDG_CPU_ANY_F16;
    *features = sdg_cpu_features() & mask;
    return SDG_OK;
}

// For f32 and bf16, and for f16.
static void select_kernels(unsigned features, struct sdg_fast_kernels out[2])
{
    size_t count;
    const struct sdg_fast_set *sets = sdg_fast_sets(&count);
    sdg_fast_select(sets, count, features, false, &out[0]);
    sdg_fast_select(sets, count, features, true, &out[1]);
}

static enum sdg_result create(const struct sdg_log *log, const struct sdg_backend_params *params,
                              struct sdg_backend **out)
{
    struct sdg_cpu_backend *backend;
    unsigned features;
    *out = NULL;
    SDG_TRY(choose_features(log, params, &features));
    SDG_TRY(sdg_cpu_backend_new(log, params, &sdg_backend_cpu, without_onednn, &backend));
    backend->read_weight = sdg_fast_read_weight;
    backend->kernels = sdg_alloc(log, 2, sizeof *backend->kernels, "tables of kernels");
    if (!backend->kernels) {
        destroy(&backend->base);
        return SDG_ERROR_MEMORY;
    }
    select_kernels(features, backend->kernels);
#if SDG_HAVE_ONEDNN
    if (!(params->disable & SDG_FEATURE_ONEDNN) && (!params->cpu_mask || sdg_onednn_limit(features))) {
        struct sdg_onednn *onednn;
        enum sdg_result result = sdg_onednn_open(log, &onednn);
        if (result != SDG_OK) {
            destroy(&backend->base);
            return result;
        }
        backend->state = onednn;
        backend->providers = with_onednn;
    }
#endif
    describe(&backend->base.info, backend->state != NULL, backend->kernels);
    *out = &backend->base;
    return SDG_OK;
}

// bf16 pays where attention's products and the layers' (oneDNN's or, without it, our own) have its instructions, and so
// does f16, on Arm: x86 would need avx512_fp16, on processors that compute bf16 at the same speed.
static bool has_type(const struct sdg_backend *backend, enum sdg_dtype dtype)
{
    const struct sdg_cpu_backend *b = (const struct sdg_cpu_backend *)backend;
    if (dtype == SDG_F16)
        return b->kernels[1].halves == SDG_FAST_HALVES;
    if (dtype != SDG_BF16)
        return dtype == SDG_F32;
#if SDG_HAVE_ONEDNN
    if (b->state && !sdg_onednn_has_bf16())
        return false;
#endif
    return b->kernels->halves == SDG_FAST_PAIRS;
}

static void list(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device_info *info), void *user)
{
    (void)log;
    struct sdg_device_info info = {.backend = "cpu"};
    sdg_cpu_host_info(&info);
    struct sdg_fast_kernels kernels[2];
    select_kernels(sdg_cpu_features(), kernels);
    describe(&info, SDG_HAVE_ONEDNN, kernels);
    fn(user, &info);
}

const struct sdg_backend_ops sdg_backend_cpu = {
    .name = "cpu",
    .create = create,
    .destroy = destroy,
    .has_type = has_type,
    .list = list,
    .peaks = sdg_fast_peaks,
    .program = &sdg_cpu_program_ops,
};
