// Asks the processor (x86) or the system (Arm, where programs may not ask) which features there are.
#include "backend/cpu/features.h"

#include <string.h>

#if defined(__x86_64__)
unsigned sdg_cpu_features(void)
{
    unsigned found = 0;
    __builtin_cpu_init();
#define ASK(name, bit) found |= __builtin_cpu_supports(#name) ? (unsigned)SDG_CPU_##name : 0;
    SDG_CPU_FEATURES(ASK)
#undef ASK
    return found;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

// Bits of the kernel's hardware capabilities (arch/arm64/include/uapi/asm/hwcap.h), which older headers lack.
enum { ASIMDHP = 1 << 10, DOTPROD = 1 << 20, I8MM = 1 << 13, BF16 = 1 << 14 };

unsigned sdg_cpu_features(void)
{
    const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
    return SDG_CPU_neon | (first & ASIMDHP ? SDG_CPU_fp16 : 0) | (first & DOTPROD ? SDG_CPU_dotprod : 0) |
        (second & I8MM ? SDG_CPU_i8mm : 0) | (second & BF16 ? SDG_CPU_bf16 : 0);
}
#elif defined(__aarch64__)
unsigned sdg_cpu_features(void)
{
    return SDG_CPU_neon;
}
#else
unsigned sdg_cpu_features(void)
{
    return 0;
}
#endif

unsigned sdg_cpu_feature_named(const char *name, size_t length)
{
#define COMPARE(feature, bit)                                                 \
    if (length == sizeof #feature - 1 && memcmp(name, #feature, length) == 0) \
        return SDG_CPU_##feature;
    SDG_CPU_FEATURES(COMPARE)
#undef COMPARE
    (void)name;
    (void)length;
    return 0;
}
