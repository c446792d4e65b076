// The table of a row that adds products of 16 bits and conversion to them to one of the same vectors, and with
// CODE_UNIT those of codes; included last by kernels_*.c, which define TABLE. Without what has no use for them: that
// would be the same code again. SCANS: with those of scan_kernel.h, which need not be there where all that they would
// have of their own is a shorter conversion of what they store.
const struct sdg_fast_kernels TABLE = {
    .halves = SDG_SIMD_HAS_F16 ? SDG_FAST_HALVES : SDG_FAST_PAIRS,
    .tile = TILE_WIDTH,
    .convert = convert,
    .unary = unary,
    .binary = binary,
    .geglu = geglu,
    .layer_norm = layer_norm,
    .group_norm_apply = group_norm_apply,
#if SDG_SIMD_HAS_F16 // what reads it
    .quantize = quantize,
    .extremes = extremes,
    .hadamard = hadamard,
    .group_norm_stats = group_norm_stats,
#endif
#ifdef SCANS
    .conv1d = conv1d,
    .scan = scan,
#endif
    .weighted_sums = weighted_sums,
    .epilogue = epilogue,
    .attention_sizes = attention_sizes,
    .attention_pack = attention_pack,
    .attention_tile = attention_tile,
#ifdef CODE_UNIT
    .unit = CODE_UNIT,
    .code_sums = code_sums,
#endif
};
#include "backend/cpu/fast/simd_end.h"
