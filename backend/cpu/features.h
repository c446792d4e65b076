// What a processor can do beyond its architecture's minimum, as a set of bits with names. The names are the compiler's,
// so that a list of them makes both the target of a kernel's code and the check before it runs.
#ifndef SDG_BACKEND_CPU_FEATURES_H
#define SDG_BACKEND_CPU_FEATURES_H

#include <stddef.h>

// F(name, bit) for each feature that kernels of this architecture may need.
#if defined(__x86_64__)
#define SDG_CPU_FEATURES(F) \
    F(sse2, 0)              \
    F(avx2, 1)              \
    F(fma, 2)               \
    F(avx512f, 3)           \
    F(avx512bw, 4)          \
    F(avx512dq, 5)          \
    F(avx512vl, 6)          \
    F(avx512vnni, 7)        \
    F(avx512vbmi, 8)        \
    F(avx512bf16, 9)
#elif defined(__aarch64__)
#define SDG_CPU_FEATURES(F) \
    F(neon, 0)              \
    F(dotprod, 1)           \
    F(i8mm, 2)              \
    F(bf16, 3)              \
    F(fp16, 4)
#else
#define SDG_CPU_FEATURES(F)
#endif

enum sdg_cpu_feature { // SDG_CPU_avx2, ...
#define SDG_CPU_FEATURE_BIT(name, bit) SDG_CPU_##name = 1 << bit,
    SDG_CPU_FEATURES(SDG_CPU_FEATURE_BIT)
#undef SDG_CPU_FEATURE_BIT
#if defined(__x86_64__)
        SDG_CPU_ANY_BF16 = SDG_CPU_avx512bf16, // what computes in bf16
    SDG_CPU_ANY_F16 = 0,
#elif defined(__aarch64__)
        SDG_CPU_ANY_BF16 = SDG_CPU_bf16,
    SDG_CPU_ANY_F16 = SDG_CPU_fp16,
#else
        SDG_CPU_ANY_BF16 = 0,
    SDG_CPU_ANY_F16 = 0,
#endif
};

// Those of this processor that the system lets programs use.
unsigned sdg_cpu_features(void);
// The feature whose name has these `length` bytes; 0 if this architecture has none of that name.
unsigned sdg_cpu_feature_named(const char *name, size_t length);

#endif
