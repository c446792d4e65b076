// The table of a row that has all kernels of its own; included last by kernels_*.c, which define TABLE.
#define OWN(kernel) .kernel = kernel,
// clang-format off
const struct sdg_fast_kernels TABLE = {
    .tile = TILE_WIDTH,
    SDG_FAST_EACH_KERNEL(OWN)
};
// clang-format on
#include "backend/cpu/fast/simd_end.h"
