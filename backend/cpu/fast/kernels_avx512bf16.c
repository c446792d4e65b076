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

// Without what has no use for them: those would be the same code again.
const struct sdg_fast_kernels sdg_fast_kernels_avx512bf16 = {
    .pairs = true,
    .tile = TILE_WIDTH,
    .unit = CODE_UNIT,
    .convert = convert,
    .unary = unary,
    .binary = binary,
    .geglu = geglu,
    .layer_norm = layer_norm,
    .group_norm_apply = group_norm_apply,
    .conv1d = conv1d,
    .scan = scan,
    .weighted_sums = weighted_sums,
    .code_sums = code_sums,
    .epilogue = epilogue,
    .attention_sizes = attention_sizes,
    .attention_pack = attention_pack,
    .attention_tile = attention_tile,
};
#include "backend/cpu/fast/simd_end.h"
#endif
