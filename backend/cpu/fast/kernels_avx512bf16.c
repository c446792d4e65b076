// The kernels for x86-64 with AVX-512, its bf16 dot product, VBMI and VNNI.
#if defined(__x86_64__)
#define SDG_SIMD_NEEDS SDG_FAST_NEEDS_AVX512BF16
#define SDG_SIMD_BITS 512
#define SDG_SIMD_REGISTERS 32
#define SDG_SIMD_HAS_BF16_PAIRS 1
#define SDG_SIMD_HAS_VNNI 1
#define SDG_SIMD_HAS_VBMI 1
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/scan_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"
#define CODE_UNIT 4
#define CODES_SIGNED 0
#include "backend/cpu/fast/code_kernel.h"

#define SCANS 1
#define TABLE sdg_fast_kernels_avx512bf16
#include "backend/cpu/fast/kernel_table_half.h"
#endif
