// The kernels for 64-bit Arm with arithmetic in f16 (FMLA of eight): for activations of f16 and nothing else, so that
// the compiler leaves out what f32 would need.
#if defined(__aarch64__)
#define SDG_SIMD_NEEDS SDG_FAST_NEEDS_NEON_FP16
#define SDG_SIMD_BITS 128
#define SDG_SIMD_REGISTERS 32
#define SDG_SIMD_HAS_F16 1
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/scan_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

#define SCANS 1
#define TABLE sdg_fast_kernels_neon_fp16
#include "backend/cpu/fast/kernel_table_half.h"
#endif
