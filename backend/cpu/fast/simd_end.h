// Ends what simd.h began; included last by kernels_*.c.
#if defined(SDG_SIMD_BEGIN) && defined(__clang__)
#pragma clang attribute pop
#endif
