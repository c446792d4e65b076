// The table of a row that adds bf16's products and conversion to one of the same vectors, and with CODE_UNIT those of
// codes; included last by kernels_*.c, which define TABLE. Without what has no use for them: that would be the same
// code again.
const struct sdg_fast_kernels TABLE = {
    .pairs = true,
    .tile = TILE_WIDTH,
    .convert = convert,
    .unary = unary,
    .binary = binary,
    .geglu = geglu,
    .layer_norm = layer_norm,
    .group_norm_apply = group_norm_apply,
    .conv1d = conv1d,
    .scan = scan,
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
