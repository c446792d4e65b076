// The kernels for 64-bit Arm with the matrix products of bytes (SMMLA, USMMLA).
#if defined(__aarch64__)
#define SDG_SIMD_NEEDS SDG_FAST_NEEDS_NEON_I8MM
#define SDG_SIMD_BITS 128
#define SDG_SIMD_REGISTERS 32
#define SDG_SIMD_HAS_I8MM 1
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/matrix_kernel.h"
#define CODE_UNIT 8
#define CODES_SIGNED -1
#include "backend/cpu/fast/code_kernel.h"

const struct sdg_fast_kernels sdg_fast_kernels_neon_i8mm = {.unit = CODE_UNIT, .code_sums = code_sums};
#include "backend/cpu/fast/simd_end.h"
#endif
