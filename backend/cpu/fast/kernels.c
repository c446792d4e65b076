// Picks the kernels for the processor at hand.
#include "backend/cpu/fast/kernels.h"

extern const struct sdg_fast_kernels sdg_fast_kernels_generic;
#if defined(__x86_64__)
extern const struct sdg_fast_kernels sdg_fast_kernels_avx2, sdg_fast_kernels_avx512, sdg_fast_kernels_avx512bf16;

static bool runs(int level)
{
    __builtin_cpu_init();
    if (level >= 1 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
        return false;
    if (level >= 2 &&
        !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
        return false;
    return level < 3 ||
        (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni"));
}

const struct sdg_fast_kernels *sdg_fast_kernels_get(int level)
{
    static const struct sdg_fast_kernels *const table[] = {
        &sdg_fast_kernels_generic,
        &sdg_fast_kernels_avx2,
        &sdg_fast_kernels_avx512,
        &sdg_fast_kernels_avx512bf16,
    };
    if (level >= 0)
        return level <= 3 && runs(level) ? table[level] : NULL;
    for (level = 3; !runs(level); level--) {
    }
    return table[level];
}
#else
const struct sdg_fast_kernels *sdg_fast_kernels_get(int level)
{
    return level <= 0 ? &sdg_fast_kernels_generic : NULL;
}
#endif
