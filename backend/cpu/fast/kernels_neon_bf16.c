// The kernels for 64-bit Arm with bf16: its conversion and its dot product (BFDOT).
#if defined(__aarch64__)
#define SDG_SIMD_NEEDS SDG_FAST_NEEDS_NEON_BF16
#define SDG_SIMD_BITS 128
#define SDG_SIMD_REGISTERS 32
#define SDG_SIMD_HAS_BF16_PAIRS 1
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

#define TABLE sdg_fast_kernels_neon_bf16
#include "backend/cpu/fast/kernel_table_half.h"
#endif
