// Vectors of f32 in the widest form an instruction set has, for the kernels_*.c files: each of them defines
// SDG_SIMD_TARGET (a name below), includes this file and then the kernels' sources, so that one build holds code for
// several instruction sets and picks at run time. Everything here is static inline; only what GCC's vector arithmetic
// cannot express is written per instruction set.
#include "backend/cpu/fast/kernels.h"
#include "base/dtype.h"

#include <math.h>

#define SDG_SIMD_GENERIC 0    // 128 bits: SSE2 on x86-64, NEON on Arm, whatever the compiler makes of it elsewhere
#define SDG_SIMD_AVX2 1       // + FMA
#define SDG_SIMD_AVX512 2     // F, BW, DQ, VL
#define SDG_SIMD_AVX512BF16 3 // + dot products of bf16 pairs, permutations of bytes, VNNI

#if SDG_SIMD_TARGET == SDG_SIMD_AVX512BF16
#define SDG_SIMD_FLAGS "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,avx512vnni"
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX512
#define SDG_SIMD_FLAGS "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
#define SDG_SIMD_FLAGS "avx2,fma"
#endif
#if SDG_SIMD_TARGET != SDG_SIMD_GENERIC
#include <immintrin.h>
#define SDG_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define SDG_SIMD_BEGIN(flags) SDG_PRAGMA(clang attribute push(__attribute__((target(flags))), apply_to = function))
SDG_SIMD_BEGIN(SDG_SIMD_FLAGS)
#else
#define SDG_SIMD_BEGIN(flags) SDG_PRAGMA(GCC target(flags))
SDG_SIMD_BEGIN(SDG_SIMD_FLAGS)
#endif
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

// LANES floats in a vector. A block of matrix product keeps TILE_ROWS x TILE_VECTORS accumulators in registers.
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
enum { LANES = 16, TILE_ROWS = 6, TILE_VECTORS = 4 };
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
enum { LANES = 8, TILE_ROWS = 6, TILE_VECTORS = 2 };
#elif defined(__ARM_NEON)
enum { LANES = 4, TILE_ROWS = 6, TILE_VECTORS = 4 };
#else
enum { LANES = 4, TILE_ROWS = 6, TILE_VECTORS = 2 };
#endif
enum { TILE_WIDTH = TILE_VECTORS * LANES };

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef uint8_t vb __attribute__((vector_size(LANES)));

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

// ---- what differs ----
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vf v_max(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE vf v_min(vf a, vf b)
{
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
}
INLINE bool v_any(vi mask)
{
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
}
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vf v_max(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}
INLINE vf v_min(vf a, vf b)
{
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
}
INLINE bool v_any(vi mask)
{
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
}
#else
#if defined(__ARM_NEON) && defined(__aarch64__)
INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
INLINE vf v_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
#endif
// b where a or b is NaN, as x86 does
INLINE vf v_max(vf a, vf b)
{
    vi m = a > b;
    return (vf)((m & (vi)a) | (~m & (vi)b));
}
INLINE vf v_min(vf a, vf b)
{
    vi m = a < b;
    return (vf)((m & (vi)a) | (~m & (vi)b));
}
INLINE bool v_any(vi mask)
{
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
}
#endif

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

// ---- bf16 ----
INLINE vf v_from_bf16(vh x)
{
    return (vf)(__builtin_convertvector(x, vu) << 16);
}
// Rounds to nearest even; NaN stays NaN.
INLINE vh v_to_bf16(vf x)
{
#if SDG_SIMD_TARGET == SDG_SIMD_AVX512BF16
    return (vh)_mm512_cvtneps_pbh((__m512)x);
#else
    vu bits = (vu)x;
    vu rounded = bits + 0x7fff + ((bits >> 16) & 1);
    vi nan = x != x;
    bits = ((vu)nan & (bits | 0x400000)) | (~(vu)nan & rounded);
    return __builtin_convertvector(bits >> 16, vh);
#endif
}
// bf16 of low in the even half-words, of high in the odd ones: what a dot product of pairs reads.
INLINE vf v_pair_bf16(vf low, vf high)
{
#if SDG_SIMD_TARGET == SDG_SIMD_AVX512BF16
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vf)_mm512_permutexvar_epi16(order, both);
#else
    return (vf)(__builtin_convertvector(v_to_bf16(low), vu) | __builtin_convertvector(v_to_bf16(high), vu) << 16);
#endif
}
// sum + a . b; `pairs`: every 4 bytes of a and b are two bf16.
INLINE vf v_dot(bool pairs, vf a, vf b, vf sum)
{
#if SDG_SIMD_TARGET == SDG_SIMD_AVX512BF16
    if (pairs)
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
    (void)pairs;
    return v_fma(a, b, sum);
}
#if SDG_SIMD_TARGET == SDG_SIMD_AVX512BF16
enum { HAS_PAIRS = true };
#else
enum { HAS_PAIRS = false };
#endif

// ---- integers in pairs ----
// 2 * LANES signed bytes as 16 bits each, two in a lane.
INLINE vi v_widen(const void *from)
{
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
    return (vi)_mm512_cvtepi8_epi16(_mm256_loadu_si256(from));
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
    return (vi)_mm256_cvtepi8_epi16(_mm_loadu_si128(from));
#elif defined(__SSE2__)
    __m128i bytes = _mm_loadl_epi64(from);
    return (vi)_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
#else
    typedef int8_t bytes __attribute__((vector_size(2 * LANES)));
    typedef int16_t words __attribute__((vector_size(4 * LANES)));
    bytes x;
    memcpy(&x, from, sizeof x);
    return (vi) __builtin_convertvector(x, words);
#endif
}
// sum + a . b, exactly; every lane of a and b is two integers of 16 bits.
INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
#if SDG_SIMD_TARGET == SDG_SIMD_AVX512BF16
    return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX512
    return sum + (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
    return sum + (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sum + (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b));
    return sum + (vi)vpaddq_s32(low, vmull_high_s16((int16x8_t)a, (int16x8_t)b));
#else
    return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

// ---- loads and stores by storage type: element `i` of an array of f32, or of bf16 if `bf16` ----
INLINE size_t element_size(bool bf16)
{
    return bf16 ? 2 : 4;
}
INLINE vf load(const void *array, int64_t i, bool bf16)
{
    if (!bf16)
        return v_load((const float *)array + i);
    vh x;
    memcpy(&x, (const uint16_t *)array + i, sizeof x);
    return v_from_bf16(x);
}
INLINE void store(void *array, int64_t i, bool bf16, vf value)
{
    if (!bf16) {
        v_store((float *)array + i, value);
        return;
    }
    vh x = v_to_bf16(value);
    memcpy((uint16_t *)array + i, &x, sizeof x);
}
// The first `count` < LANES lanes; the others are 0.
INLINE vf load_some(const void *array, int64_t i, bool bf16, int64_t count)
{
    unsigned char part[LANES * 4] = {0};
    memcpy(part, (const char *)array + (size_t)i * element_size(bf16), (size_t)count * element_size(bf16));
    return load(part, 0, bf16);
}
INLINE void store_some(void *array, int64_t i, bool bf16, int64_t count, vf value)
{
    unsigned char part[LANES * 4];
    store(part, 0, bf16, value);
    memcpy((char *)array + (size_t)i * element_size(bf16), part, (size_t)count * element_size(bf16));
}
INLINE float load_one(const void *array, int64_t i, bool bf16)
{
    return bf16 ? sdg_f32_from_bf16(((const uint16_t *)array)[i]) : ((const float *)array)[i];
}

// ---- codes ----
// The nearest integers, ties to even, of numbers below 2^22.
INLINE vi v_nearest(vf x)
{
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
    return (vi)_mm512_cvtps_epi32((__m512)x);
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
    return (vi)_mm256_cvtps_epi32((__m256)x);
#else
    return (vi)(x + 12582912.0f) - 0x4b400000; // added to 1.5 * 2^23 they are left in the low bits
#endif
}
INLINE vb v_low_bytes(vi x)
{
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
    return (vb)_mm512_cvtepi32_epi8((__m512i)x);
#elif SDG_SIMD_TARGET == SDG_SIMD_AVX2
    const __m256i first = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                                           -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i bytes =
        _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8((__m256i)x, first), _mm256_setr_epi32(0, 4, 1, 1, 1, 1, 1, 1));
    int64_t low = _mm_cvtsi128_si64(_mm256_castsi256_si128(bytes));
    vb result;
    memcpy(&result, &low, sizeof result);
    return result;
#else
    return __builtin_convertvector(x, vb);
#endif
}
INLINE vi v_quantize(vf y, const struct sdg_fast_codes *codes)
{
    y = v_min(v_max(y * codes->inverse, v_set(codes->low)), v_set(codes->high)); // NaN becomes the lowest
    return v_nearest(y) + codes->zero;
}
INLINE vi v_code_bits(vf y, const struct sdg_fast_codes *codes)
{
    return v_quantize(y, codes) & 255;
}

// ---- results: f32, bf16 or, if `codes` is not NULL, codes ----
INLINE void put(void *array, int64_t i, bool bf16, const struct sdg_fast_codes *codes, vf value)
{
    if (!codes) {
        store(array, i, bf16, value);
        return;
    }
    vb q = v_low_bytes(v_quantize(value, codes));
    memcpy((uint8_t *)array + i, &q, sizeof q);
}
INLINE void put_some(void *array, int64_t i, bool bf16, const struct sdg_fast_codes *codes, int64_t count, vf value)
{
    if (!codes) {
        store_some(array, i, bf16, count, value);
        return;
    }
    uint8_t part[LANES];
    put(part, 0, bf16, codes, value);
    memcpy((uint8_t *)array + i, part, (size_t)count);
}

// ---- functions; coefficients are minimax fits, the bound is the polynomial's own ----
// 2^x to `degree` 3 (relative error 7.5e-5: for results kept in bf16) or 5 (7.5e-8). NaN stays NaN.
INLINE vf v_exp2(vf x, int degree)
{
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
    vf f = (vf)_mm512_reduce_ps((__m512)x, 8); // x - nearest integer, in [-0.5, 0.5]
#else
    x = v_min(v_set(127.9f), v_max(v_set(-126), x)); // within normal numbers; this order keeps NaN
    const vf magic = v_set(12582912);                // adding 1.5 * 2^23 leaves the nearest integer in the low bits
    vf shifted = x + magic;
    vf f = x - (shifted - magic);
#endif
    vf p;
    if (degree == 3) {
        p = v_fma(v_set(5.517166969e-02f), f, v_set(2.426111297e-01f));
        p = v_fma(p, f, v_set(6.932609860e-01f));
        p = v_fma(p, f, v_set(9.999280731e-01f));
    } else {
        p = v_fma(v_set(1.327647206e-03f), f, v_set(9.675541452e-03f));
        p = v_fma(p, f, v_set(5.550713274e-02f));
        p = v_fma(p, f, v_set(2.402211972e-01f));
        p = v_fma(p, f, v_set(6.931469671e-01f));
        p = v_fma(p, f, v_set(1.000000072e+00f));
    }
#if SDG_SIMD_TARGET >= SDG_SIMD_AVX512
    return (vf)_mm512_scalef_ps((__m512)p, _mm512_sub_ps((__m512)x, (__m512)f));
#else
    return (vf)((vu)p + ((vu)shifted << 23)); // times 2^n, by adding n to the exponent
#endif
}
INLINE vf v_exp(vf x)
{
    return v_exp2(x * 1.442695041f, 5);
}
INLINE vf v_sigmoid(vf x)
{
    return 1 / (1 + v_exp(-x));
}
// x * (1 + erf(x / sqrt 2)) / 2, by erfc(a) = exp(-a^2) * polynomial in 1 / (1 + 0.4 a): relative error 1e-7 before
// rounding, also far below zero, where 1 + erf would cancel.
INLINE vf v_gelu_erf(vf x)
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
    vf tail = x * 0.5f * p * v_exp(-a * a);
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
INLINE vf v_softplus(vf x)
{
    vf y;
    for (int i = 0; i < LANES; i++)
        y[i] = (x[i] > 0 ? x[i] : 0) + log1pf(expf(-fabsf(x[i])));
    return y;
}
INLINE vf v_unary(enum sdg_unary function, float a, float b, vf x)
{
    switch (function) {
    case SDG_UNARY_SILU: return x * v_sigmoid(x);
    case SDG_UNARY_GELU_ERF: return v_gelu_erf(x);
    case SDG_UNARY_GELU_TANH: return 0.5f * x * (1 + v_tanh(0.7978845608f * v_fma(0.044715f * x * x, x, x)));
    case SDG_UNARY_QUICK_GELU: return x * v_sigmoid(1.702f * x);
    case SDG_UNARY_RELU: return v_max(x, v_set(0));
    case SDG_UNARY_TANH: return v_tanh(x);
    case SDG_UNARY_SIGMOID: return v_sigmoid(x);
    case SDG_UNARY_SOFTPLUS: return v_softplus(x);
    case SDG_UNARY_AFFINE: return v_fma(v_set(a), x, v_set(b));
    case SDG_UNARY_NONE: break;
    }
    return x;
}
