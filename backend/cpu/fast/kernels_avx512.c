// The kernels for x86-64 with AVX-512 F, BW, DQ and VL.
#include "backend/cpu/fast/kernels.h"
#if defined(__x86_64__)
#define SDG_SIMD_TARGET SDG_SIMD_AVX512
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

extern const struct sdg_fast_kernels sdg_fast_kernels_avx512;
#define TABLE sdg_fast_kernels_avx512
#define TABLE_NAME "avx512"
#include "backend/cpu/fast/kernel_table.h"
#endif
