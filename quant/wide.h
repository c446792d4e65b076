// Inside quant/: functions compiled for wide vectors too, chosen at load time. They are those whose result does not
// depend on it: every lane is a sum of its own, and nothing is contracted to fused multiply-adds (the build turns that
// off).
#ifndef SDG_QUANT_WIDE_H
#define SDG_QUANT_WIDE_H

#include <stdlib.h> // says whether this is glibc, whose loader can choose

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define WIDE
#endif

#endif
