// The instruction sets that kernels are built for: rows of a name, the features a processor must have, and the kernels
// that are better than those of the rows before. A processor uses, kernel by kernel, the last row it has all features
// of.
#ifndef SDG_BACKEND_CPU_FAST_SETS_H
#define SDG_BACKEND_CPU_FAST_SETS_H

#include "backend/cpu/fast/kernels.h"
#include "backend/cpu/features.h"
#include "base/log.h"

// What each needs: F(feature) joined by AND. Here the compiler is told what it may use (simd.h), and from here comes
// the check before it runs.
#define SDG_FAST_NEEDS_SSE2(F, AND) F(sse2)
#define SDG_FAST_NEEDS_AVX2(F, AND) F(avx2) AND F(fma)
#define SDG_FAST_NEEDS_AVX512(F, AND)          \
    SDG_FAST_NEEDS_AVX2(F, AND) AND F(avx512f) \
    AND F(avx512bw)                            \
    AND F(avx512dq)                            \
    AND F(avx512vl)
#define SDG_FAST_NEEDS_AVX512BF16(F, AND)           \
    SDG_FAST_NEEDS_AVX512(F, AND) AND F(avx512bf16) \
    AND F(avx512vbmi)                               \
    AND F(avx512vnni)
#define SDG_FAST_NEEDS_NEON(F, AND) F(neon)
#define SDG_FAST_NEEDS_NEON_DOTPROD(F, AND) F(neon) AND F(dotprod)
#define SDG_FAST_NEEDS_NEON_I8MM(F, AND) F(neon) AND F(i8mm)
#define SDG_FAST_NEEDS_NEON_BF16(F, AND) F(neon) AND F(bf16)
#define SDG_FAST_NEEDS_NEON_FP16(F, AND) F(neon) AND F(fp16)

struct sdg_fast_set {
    const char *name;
    unsigned needs; // enum sdg_cpu_feature
    // NULL entries and a tile of 0 are inherited from the rows before. The first row has them all; a row with a tile
    // of its own has all kernels that depend on it: weighted_sums, epilogue and attention's three.
    const struct sdg_fast_kernels *kernels;
};

// The tables of kernels_*.c.
extern const struct sdg_fast_kernels sdg_fast_kernels_generic, sdg_fast_kernels_sse2, sdg_fast_kernels_avx2,
    sdg_fast_kernels_avx512, sdg_fast_kernels_avx512bf16, sdg_fast_kernels_neon, sdg_fast_kernels_neon_dotprod,
    sdg_fast_kernels_neon_i8mm, sdg_fast_kernels_neon_bf16, sdg_fast_kernels_neon_fp16;

// The rows of this build, the plainest first: "generic", which needs nothing.
const struct sdg_fast_set *sdg_fast_sets(size_t *count);

// What a processor with these features uses of the rows; `out` has the name of the last row that gave something. `f16`:
// for activations of f16, from which SDG_FAST_HALVES of `out` says whether there is a row, else for those of f32 and
// bf16.
void sdg_fast_select(const struct sdg_fast_set *sets, size_t count, unsigned features, bool f16,
                     struct sdg_fast_kernels *out);

// A mask by name: names joined by commas, each of a row (then: all that it needs) or of one feature. "avx2" leaves at
// most that, "generic" nothing; NULL masks nothing. SDG_ERROR_USAGE, with the names there are on this architecture, for
// any other.
enum sdg_result sdg_fast_mask(const struct sdg_log *log, const char *names, unsigned *mask);

#endif
