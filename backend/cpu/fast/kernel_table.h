// The table of one instruction set's kernels; included last by kernels_*.c, which define TABLE and TABLE_NAME.
const struct sdg_fast_kernels TABLE = {
    .name = TABLE_NAME,
    .pairs = HAS_PAIRS,
    .tile = TILE_WIDTH,
    .convert = convert,
    .unary = unary,
    .binary = binary,
    .quantize = quantize,
    .extremes = extremes,
    .geglu = geglu,
    .layer_norm = layer_norm,
    .group_norm_stats = group_norm_stats,
    .group_norm_apply = group_norm_apply,
    .unpack4 = unpack4,
    .widen = widen,
    .weighted_sums = weighted_sums,
    .epilogue = epilogue,
    .attention_sizes = attention_sizes,
    .attention_pack = attention_pack,
    .attention_tile = attention_tile,
};
#if SDG_SIMD_TARGET != SDG_SIMD_GENERIC && defined(__clang__)
#pragma clang attribute pop // what simd.h began
#endif
