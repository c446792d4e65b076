// What any x86-64 does better than the generic kernels: products of integers.
#if defined(__x86_64__)
#define SDG_SIMD_NEEDS SDG_FAST_NEEDS_SSE2
#define SDG_SIMD_BITS 128
#define SDG_SIMD_REGISTERS 16
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

const struct sdg_fast_kernels sdg_fast_kernels_sse2 = {.weighted_sums = weighted_sums};
#include "backend/cpu/fast/simd_end.h"
#endif
