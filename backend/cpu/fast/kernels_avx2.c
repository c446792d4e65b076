// The kernels for x86-64 with AVX2 and FMA.
#if defined(__x86_64__)
#define SDG_SIMD_NEEDS SDG_FAST_NEEDS_AVX2
#define SDG_SIMD_BITS 256
#define SDG_SIMD_REGISTERS 16
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/scan_kernel.h"
#include "backend/cpu/fast/gradient_kernel.h"
#include "backend/cpu/fast/peak_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

#define TABLE sdg_fast_kernels_avx2
#include "backend/cpu/fast/kernel_table.h"
#endif
