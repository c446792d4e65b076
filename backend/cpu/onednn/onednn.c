// The library as a whole: its engine, its instruction sets, its threads.
#include "backend/cpu/onednn/onednn.h"

#include "backend/cpu/fast/sets.h"
#include "backend/cpu/onednn/layer.h"
#include "base/memory.h"

#include <omp.h>
#include <stdio.h>

enum sdg_result sdg_onednn_open(const struct sdg_log *log, struct sdg_onednn **out)
{
    *out = NULL;
    struct sdg_onednn *onednn = sdg_alloc(log, 1, sizeof *onednn, "the oneDNN engine");
    if (!onednn)
        return SDG_ERROR_MEMORY;
    dnnl_status_t status = dnnl_engine_create(&onednn->engine, dnnl_cpu, 0);
    if (status != dnnl_success) {
        sdg_onednn_close(&onednn);
        return sdg_fail(log, SDG_ERROR_DEVICE, "oneDNN does not start on this machine (status %d)", (int)status);
    }
    *out = onednn;
    return SDG_OK;
}

void sdg_onednn_close(struct sdg_onednn **onednn)
{
    if (!*onednn)
        return;
    dnnl_engine_destroy((*onednn)->engine);
    sdg_free(*onednn);
    *onednn = NULL;
}

// Must not ask for the effective set before it is limited: the library's answer is final.
bool sdg_onednn_limit(unsigned features)
{
#if defined(__x86_64__)
#define BIT(feature) SDG_CPU_##feature
    enum { VNNI = SDG_FAST_NEEDS_AVX512(BIT, |) | SDG_CPU_avx512vnni };
    static const struct {
        dnnl_cpu_isa_t isa;
        unsigned needs;
    } sets[] = {
        {dnnl_cpu_isa_avx512_core_bf16, VNNI | SDG_CPU_avx512bf16},
        {dnnl_cpu_isa_avx512_core_vnni, VNNI},
        {dnnl_cpu_isa_avx512_core, SDG_FAST_NEEDS_AVX512(BIT, |)},
        {dnnl_cpu_isa_avx2, SDG_FAST_NEEDS_AVX2(BIT, |)},
    };
#undef BIT
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!(sets[i].needs & ~features)) {
            dnnl_set_max_cpu_isa(sets[i].isa); // an error if it is too late, which the next line finds out
            return ((unsigned)dnnl_get_effective_cpu_isa() & ~(unsigned)sets[i].isa) == 0;
        }
#else
    (void)features;
#endif
    return false;
}

static const char *isa_name(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx2_vnni_2: return "avx2_vnni_2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    case dnnl_cpu_isa_avx512_core_amx_fp16: return "avx512_core_amx_fp16";
    default: return "any processor";
    }
}

void sdg_onednn_describe(char *text, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch, isa_name());
}

bool sdg_onednn_has_bf16(void)
{
    const int bf16 = dnnl_cpu_isa_avx512_core_bf16; // the instruction sets' values are sets of bits
    return ((int)dnnl_get_effective_cpu_isa() & bf16) == bf16;
}

// Without VNNI products of bytes saturate in 16 bits.
bool sdg_onednn_has_integers(void)
{
    const int isa = (int)dnnl_get_effective_cpu_isa(), avx512 = dnnl_cpu_isa_avx512_core_vnni,
              avx2 = dnnl_cpu_isa_avx2_vnni;
    return (isa & avx512) == avx512 || (isa & avx2) == avx2;
}

int sdg_onednn_enter(void)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
}

void sdg_onednn_leave(int before)
{
    omp_set_num_threads(before);
}
