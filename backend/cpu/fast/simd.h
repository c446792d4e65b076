// Vectors of f32 in the widest form an instruction set has, for the kernels_*.c files. Each of them says what it builds
// for, includes this file and then the kernels' sources, so that one build holds code for several instruction sets and
// picks at run time (sets.h):
//   SDG_SIMD_NEEDS             the features it may use, a list of sets.h; absent: what any processor has
//   SDG_SIMD_BITS              in a vector
//   SDG_SIMD_REGISTERS         for vectors
//   SDG_SIMD_HAS_BF16_PAIRS    sums of products of bf16 pairs, and conversion to bf16
//   SDG_SIMD_HAS_F16           sums of products of f16, which is what its kernels store, and nothing else
//   SDG_SIMD_HAS_VNNI          sums of products of integer pairs
//   SDG_SIMD_HAS_VBMI          permutations of bytes
//   SDG_SIMD_HAS_DOTPROD       sums of products of four codes of 8 bits with weights (x86 has them with VNNI)
//   SDG_SIMD_HAS_I8MM          the same of two rows and two columns of eight
// Everything here is static inline. What GCC's vector arithmetic cannot express, or not well, is in simd_x86.h and
// simd_arm.h: functions that are also macros of the same name, which simd_generic.h then leaves out.
#include "backend/cpu/fast/sets.h"
#include "base/dtype.h"

#include <math.h>

#ifndef SDG_SIMD_HAS_BF16_PAIRS
#define SDG_SIMD_HAS_BF16_PAIRS 0
#endif
#ifndef SDG_SIMD_HAS_F16
#define SDG_SIMD_HAS_F16 0
#endif
#ifndef SDG_SIMD_HAS_VNNI
#define SDG_SIMD_HAS_VNNI 0
#endif
#ifndef SDG_SIMD_HAS_DOTPROD
#define SDG_SIMD_HAS_DOTPROD 0
#endif
#ifndef SDG_SIMD_HAS_I8MM
#define SDG_SIMD_HAS_I8MM 0
#endif
#ifndef SDG_SIMD_HAS_VBMI
#define SDG_SIMD_HAS_VBMI 0
#endif

// A row of sets.c leaves out the kernels that it inherits.
#pragma GCC diagnostic ignored "-Wunused-function"

// The compiler's permission to use them. What an architecture always has needs none.
#if defined(SDG_SIMD_NEEDS) && defined(__x86_64__)
#include <immintrin.h>
#elif defined(SDG_SIMD_NEEDS) && defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(SDG_SIMD_NEEDS)
#if defined(__aarch64__) && !defined(__clang__)
#define SDG_SIMD_TEXT(feature) SDG_SIMD_TEXT_##feature // GCC's names
#define SDG_SIMD_TEXT_neon "+simd"
#define SDG_SIMD_TEXT_dotprod "arch=armv8.2-a+dotprod" // as its arm_neon.h has them
#define SDG_SIMD_TEXT_i8mm "arch=armv8.2-a+i8mm"
#define SDG_SIMD_TEXT_bf16 "arch=armv8.2-a+bf16"
#define SDG_SIMD_TEXT_fp16 "arch=armv8.2-a+fp16"
#elif defined(__aarch64__)
#define SDG_SIMD_TEXT(feature) SDG_SIMD_TEXT_##feature // LLVM's
#define SDG_SIMD_TEXT_neon "neon"
#define SDG_SIMD_TEXT_dotprod "dotprod"
#define SDG_SIMD_TEXT_i8mm "i8mm"
#define SDG_SIMD_TEXT_bf16 "bf16"
#define SDG_SIMD_TEXT_fp16 "fullfp16"
#else
#define SDG_SIMD_TEXT(feature) #feature
#endif
#define SDG_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define SDG_SIMD_BEGIN(flags) SDG_PRAGMA(clang attribute push(__attribute__((target(flags))), apply_to = function))
#elif defined(__aarch64__)
#define SDG_SIMD_BEGIN(flags) SDG_PRAGMA(GCC target flags)
#else
#define SDG_SIMD_BEGIN(flags) SDG_PRAGMA(GCC target(flags))
#endif
SDG_SIMD_BEGIN(SDG_SIMD_NEEDS(SDG_SIMD_TEXT, ","))
#endif

// LANES floats in a vector. A block of matrix product keeps TILE_ROWS x TILE_VECTORS accumulators in registers.
enum { LANES = SDG_SIMD_BITS / 32, TILE_ROWS = 6, TILE_VECTORS = SDG_SIMD_REGISTERS / 8 };
enum { TILE_WIDTH = TILE_VECTORS * LANES };

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef uint8_t vb __attribute__((vector_size(LANES)));
typedef int8_t v64 __attribute__((vector_size(64))); // of any instruction set

INLINE vf v_set(float x)
{
    return x - (vf){0};
}
INLINE vf v_load(const void *from)
{
    vf x;
    memcpy(&x, from, sizeof x);
    return x;
}
INLINE void v_store(void *to, vf x)
{
    memcpy(to, &x, sizeof x);
}

enum { DECAY_LOWEST = -125 }; // what v_decay takes at least, and its opposite at most

// x as a whole number and what is left of it, in [-0.5, 0.5]. Only v_scale knows how `whole` is kept.
struct v_parts { vf whole, fraction; };

#if defined(SDG_SIMD_NEEDS) && defined(__x86_64__)
#include "backend/cpu/fast/simd_x86.h"
#elif defined(SDG_SIMD_NEEDS) && defined(__aarch64__)
#include "backend/cpu/fast/simd_arm.h"
#endif
#include "backend/cpu/fast/simd_generic.h"

INLINE vf v_select(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
INLINE vf v_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}
INLINE float v_sum(vf x)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += x[i];
    return sum;
}

// ---- loads and stores by storage type: element `i` of an array of f32, or of HALF if `half` ----
#define HALF (SDG_SIMD_HAS_F16 ? SDG_F16 : SDG_BF16)
// What kernels ask in place of their parameter: those that store nothing but f16 leave f32 to the rows before.
INLINE bool is_half(bool half)
{
    return SDG_SIMD_HAS_F16 || half;
}
INLINE size_t element_size(bool half)
{
    return half ? 2 : 4;
}
INLINE vf load(const void *array, int64_t i, bool half)
{
    if (!half)
        return v_load((const float *)array + i);
    vh x;
    memcpy(&x, (const uint16_t *)array + i, sizeof x);
    return v_from_half(x);
}
INLINE void store(void *array, int64_t i, bool half, vf value)
{
    if (!half) {
        v_store((float *)array + i, value);
        return;
    }
    vh x = v_to_half(value);
    memcpy((uint16_t *)array + i, &x, sizeof x);
}
// The first `count` < LANES lanes; the others are 0.
INLINE vf load_some(const void *array, int64_t i, bool half, int64_t count)
{
    unsigned char part[LANES * 4] = {0};
    memcpy(part, (const char *)array + (size_t)i * element_size(half), (size_t)count * element_size(half));
    return load(part, 0, half);
}
INLINE void store_some(void *array, int64_t i, bool half, int64_t count, vf value)
{
    unsigned char part[LANES * 4];
    store(part, 0, half, value);
    memcpy((char *)array + (size_t)i * element_size(half), part, (size_t)count * element_size(half));
}
#ifndef f32_from_half
INLINE float f32_from_half(uint16_t x)
{
    return sdg_f32_from_bf16(x);
}
#endif
INLINE float load_one(const void *array, int64_t i, bool half)
{
    return half ? f32_from_half(((const uint16_t *)array)[i]) : ((const float *)array)[i];
}

// ---- codes ----
// How each lane's result becomes a code: low and high are the limits less the zero point.
struct coder {
    vf inverse, low, high;
    vi zero;
    const float *smoothing;
};
INLINE const float *pair_of(const struct sdg_fast_intervals *intervals, int64_t token)
{
    return intervals->stride ? intervals->pairs + token % intervals->tokens * intervals->stride : intervals->pairs;
}
// All lanes are of one token.
INLINE struct coder coder_of(const struct sdg_fast_codes *codes, int64_t token)
{
    const float *pair = pair_of(&codes->intervals, token), zero = pair[1];
    return (struct coder){v_set(codes->intervals.stride ? 1 / pair[0] : codes->inverse), v_set(codes->lowest - zero),
                          v_set(codes->highest - zero), (int32_t)zero - (vi){0}, codes->smoothing};
}
// For a walk over rows: the next one's, where it has its own.
INLINE void coder_step(struct coder *coder, const struct sdg_fast_codes *codes, int64_t token)
{
    if (codes && codes->intervals.stride)
        *coder = coder_of(codes, token);
}
// Lane i is of token + i.
INLINE struct coder coder_of_lanes(const struct sdg_fast_codes *codes, int64_t token)
{
    vf scale, zero;
    for (int i = 0; i < LANES; i++) {
        const float *pair = pair_of(&codes->intervals, token + i);
        scale[i] = pair[0];
        zero[i] = pair[1];
    }
    return (struct coder){1 / scale, codes->lowest - zero, codes->highest - zero, __builtin_convertvector(zero, vi),
                          codes->smoothing};
}
// Results of channels c and on, `some` of which count, before they become codes.
INLINE vf smoothed(const struct coder *coder, int64_t c, int64_t some, vf y)
{
    if (!coder || !coder->smoothing)
        return y;
    return y * (some >= LANES ? v_load(coder->smoothing + c) : load_some(coder->smoothing, c, false, some));
}
INLINE vi v_quantize(vf y, const struct coder *coder)
{
    y = v_min(v_max(y * coder->inverse, coder->low), coder->high); // NaN becomes the lowest
    return v_nearest(y) + coder->zero;
}
INLINE vi v_code_bits(vf y, const struct coder *coder)
{
    return v_quantize(y, coder) & 255;
}

// ---- results: f32, HALF or, if `coder` is not NULL, codes ----
INLINE void put(void *array, int64_t i, bool half, const struct coder *coder, vf value)
{
    if (!coder) {
        store(array, i, half, value);
        return;
    }
    vb q = v_low_bytes(v_quantize(value, coder));
    memcpy((uint8_t *)array + i, &q, sizeof q);
}
INLINE void put_some(void *array, int64_t i, bool half, const struct coder *coder, int64_t count, vf value)
{
    if (!coder) {
        store_some(array, i, half, count, value);
        return;
    }
    uint8_t part[LANES];
    put(part, 0, half, coder, value);
    memcpy((uint8_t *)array + i, part, (size_t)count);
}

// ---- functions; coefficients are minimax fits, the bound is the polynomial's own ----
INLINE vf v_exp2_polynomial(vf f)
{
    vf p = v_fma(v_set(1.326472725e-03f), f, v_set(9.671512688e-03f));
    p = v_fma(p, f, v_set(5.550733744e-02f));
    p = v_fma(p, f, v_set(2.402224208e-01f));
    p = v_fma(p, f, v_set(6.931469776e-01f));
    return v_fma(p, f, v_set(1));
}
// 2^x to `degree` 3 (relative error 7.5e-5: for results kept in 16 bits) or 5 (9.2e-8, and exact for 0: thousands of
// such numbers close to 1 may be multiplied). NaN stays NaN.
INLINE vf v_exp2(vf x, int degree)
{
    const struct v_parts parts = v_split(x);
    const vf f = parts.fraction;
    if (degree == 5)
        return v_scale(v_exp2_polynomial(f), parts.whole);
    vf p = v_fma(v_set(5.517166969e-02f), f, v_set(2.426111297e-01f));
    p = v_fma(p, f, v_set(6.932609860e-01f));
    return v_scale(v_fma(p, f, v_set(9.999280731e-01f)), parts.whole);
}
// 2^x for DECAY_LOWEST <= x <= -DECAY_LOWEST, as exact as that of degree 5, and exact for 0.
#ifndef v_decay
INLINE vf v_decay(vf x)
{
    const vf magic = v_set(12582912), shifted = x + magic; // as v_split does it
    return (vf)((vu)v_exp2_polynomial(x - (shifted - magic)) + ((vu)shifted << 23));
}
#endif
INLINE vf v_exp(vf x)
{
    return v_exp2(x * 1.442695041f, 5);
}
// e^-|x|, at least 2^DECAY_LOWEST. NaN stays NaN.
INLINE vf v_exp_below(vf x)
{
    return v_decay(v_max(v_set(DECAY_LOWEST), v_abs(x) * -1.442695041f));
}
INLINE vf v_sigmoid(vf x)
{
    return 1 / (1 + v_exp(-x));
}
// The same function of several vectors, `count` of them at most EACH_MOST, stage by stage: where one vector's results
// follow from each other, the processor's queues fill up with what has to wait, and others do not get in.
enum { EACH_MOST = 8 };
// Below -86.5 the result is 0 for all that f32 can tell, and e^-x stays in range.
INLINE void v_silu_each(const int count, vf *x)
{
    vf e[EACH_MOST];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
        x[i] = v_max(v_set(-86.5f), x[i]); // keeps NaN
        e[i] = v_decay(v_max(v_set(DECAY_LOWEST), x[i] * -1.442695041f));
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        x[i] /= 1 + e[i];
}
INLINE vf v_silu(vf x)
{
    v_silu_each(1, &x);
    return x;
}
// erfc(|x| / sqrt 2) / 2, by erfc(a) = exp(-a^2) * polynomial in 1 / (1 + 0.4 a): relative error 1e-7 before
// rounding.
INLINE vf v_half_erfc(vf x)
{
    vf a = v_min(v_abs(x) * 0.7071067812f, v_set(9.3f)); // erfc is below f32's range from there on
    vf t = 1 / v_fma(v_set(0.4f), a, v_set(1));
    vf p = v_fma(v_set(7.297561086e-02f), t, v_set(-3.918359874e-01f));
    p = v_fma(p, t, v_set(6.878244204e-01f));
    p = v_fma(p, t, v_set(-3.902632221e-01f));
    p = v_fma(p, t, v_set(4.303325449e-01f));
    p = v_fma(p, t, v_set(1.251612761e-01f));
    p = v_fma(p, t, v_set(2.418165298e-01f));
    p = v_fma(p, t, v_set(2.239056157e-01f));
    p = v_fma(p, t, v_set(8.311843823e-05f));
    return 0.5f * p * v_exp(-a * a);
}
// x * (1 + erf(x / sqrt 2)) / 2, also far below zero, where 1 + erf would cancel.
INLINE vf v_gelu_erf(vf x)
{
    vf tail = x * v_half_erfc(x);
    return v_select(x > 0, x - tail, tail);
}
INLINE vf v_tanh(vf x)
{
    // Around zero 1 - 2 / (1 + e^2x) cancels: an odd polynomial there.
    vf far = 1 - 2 / (1 + v_exp(2 * x));
    vf s = x * x;
    vf p = v_fma(v_set(-0.00886323554f), s, v_set(0.02186948854f));
    p = v_fma(p, s, v_set(-0.05396825397f));
    p = v_fma(p, s, v_set(0.13333333333f));
    p = v_fma(p, s, v_set(-0.33333333333f));
    return v_select(s < 0.0625f, v_fma(x * s, p, x), far);
}
// log(1 + u), 0 <= u <= 1, as 2 artanh(u / (2 + u)), an odd polynomial: no term cancels, so that the relative error
// stays below 3e-7 where u is small, too.
#ifndef v_log1p
INLINE vf v_log1p(vf u)
{
    vf s = u / (2 + u), t = s * s;
    vf p = v_fma(v_set(1.214477951e-01f), t, v_set(1.071537027e-01f));
    p = v_fma(p, t, v_set(1.430829838e-01f));
    p = v_fma(p, t, v_set(1.999944418e-01f));
    p = v_fma(p, t, v_set(3.333333775e-01f));
    s += s;
    return v_fma(s * t, p, s);
}
#endif
// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)
INLINE void v_softplus_each(const int count, vf *x)
{
    vf u[EACH_MOST];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        u[i] = v_exp_below(x[i]);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        x[i] = v_log1p(u[i]) + v_max(v_set(0), x[i]);
}
INLINE vf v_softplus(vf x)
{
    v_softplus_each(1, &x);
    return x;
}
INLINE vf v_sqrt(vf x)
{
    vf y;
    for (int i = 0; i < LANES; i++)
        y[i] = sqrtf(x[i]);
    return y;
}
INLINE vf v_unary(enum sdg_unary function, float a, float b, vf x)
{
    switch (function) {
    case SDG_UNARY_SILU: return v_silu(x);
    case SDG_UNARY_GELU_ERF: return v_gelu_erf(x);
    case SDG_UNARY_GELU_TANH: return 0.5f * x * (1 + v_tanh(0.7978845608f * v_fma(0.044715f * x * x, x, x)));
    case SDG_UNARY_QUICK_GELU: return x * v_sigmoid(1.702f * x);
    case SDG_UNARY_RELU: return v_max(x, v_set(0));
    case SDG_UNARY_TANH: return v_tanh(x);
    case SDG_UNARY_SIGMOID: return v_sigmoid(x);
    case SDG_UNARY_SOFTPLUS: return v_softplus(x);
    case SDG_UNARY_AFFINE: return v_fma(v_set(a), x, v_set(b));
    case SDG_UNARY_EXP: return v_exp(x);
    case SDG_UNARY_SQRT: return v_sqrt(x);
    case SDG_UNARY_RECIPROCAL: return 1 / x;
    case SDG_UNARY_NONE: break;
    }
    return x;
}
