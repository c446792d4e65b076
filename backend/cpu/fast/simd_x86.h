// What x86-64 does better than simd_generic.h has it; included by simd.h, which says what the names mean.

#if SDG_SIMD_BITS == 512
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
INLINE vi v_widen(const void *from)
{
    return (vi)_mm512_cvtepi8_epi16(_mm256_loadu_si256(from));
}
INLINE vi v_nearest(vf x)
{
    return (vi)_mm512_cvtps_epi32((__m512)x);
}
INLINE vb v_low_bytes(vi x)
{
    return (vb)_mm512_cvtepi32_epi8((__m512i)x);
}
INLINE struct v_parts v_split(vf x)
{
    vf fraction = (vf)_mm512_reduce_ps((__m512)x, 8);
    return (struct v_parts){(vf)_mm512_sub_ps((__m512)x, (__m512)fraction), fraction};
}
INLINE vf v_scale(vf y, vf whole)
{
    return (vf)_mm512_scalef_ps((__m512)y, (__m512)whole);
}
// 2^(k/32) (1 + f(c1 + c2 f)), |f| <= 1/64: two products less than a polynomial without a table, and products are what
// is scarce beside additions. The powers come without the bits of k that the shift leaves in their exponents' place.
INLINE vf v_decay(vf x)
{
    static const uint32_t powers[2][LANES] = {
        {0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0, 0x3f7837f0,
         0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6},
        {0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e, 0x3f7744fd,
         0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3},
    };
    const vf magic = v_set(393216), shifted = x + magic, f = x - (shifted - magic); // 1.5 * 2^18: multiples of 1/32
    vi power =
        (vi)_mm512_permutex2var_epi32(_mm512_loadu_si512(powers[0]), (__m512i)shifted, _mm512_loadu_si512(powers[1]));
    power += (vi)((vu)shifted << 18);
    return v_fma(v_fma(v_set(2.402264923e-01f), f, v_set(6.931573153e-01f)) * f, (vf)power, (vf)power);
}
// log(1 + k/16) + r(1 + r(c1 + r(c2 + r c3))), r = (u - k/16) / (1 + k/16), |r| <= 1/32: no quotient. Where u is small
// r is u, so that the relative error stays below 1.3e-7 there, too.
INLINE vf v_log1p(vf u)
{
    static const float logarithms[2][LANES] = {
        {0, 0.0606246218f, 0.117783032f, 0.171850264f, 0.223143548f, 0.271933705f, 0.318453729f, 0.362905502f,
         0.405465096f, 0.446287096f, 0.485507816f, 0.523248136f, 0.559615791f, 0.594707131f, 0.628608644f, 0.66139847f},
        {0.693147182f},
    };
    static const float inverses[2][LANES] = {
        {1, 0.941176474f, 0.888888896f, 0.842105269f, 0.800000012f, 0.761904776f, 0.727272749f, 0.695652187f,
         0.666666687f, 0.639999986f, 0.615384638f, 0.592592597f, 0.571428597f, 0.551724136f, 0.533333361f,
         0.516129017f},
        {0.5f},
    };
    const vf magic = v_set(786432), shifted = u + magic; // 1.5 * 2^19: multiples of 1/16
    const __m512i k = (__m512i)shifted;
    const vf logarithm = (vf)_mm512_permutex2var_ps(_mm512_loadu_ps(logarithms[0]), k, _mm512_loadu_ps(logarithms[1])),
             inverse = (vf)_mm512_permutex2var_ps(_mm512_loadu_ps(inverses[0]), k, _mm512_loadu_ps(inverses[1])),
             r = (u - (shifted - magic)) * inverse;
    const vf p = v_fma(v_fma(v_set(-2.502303770e-01f), r, v_set(3.334952355e-01f)), r, v_set(-4.999999341e-01f));
    return v_fma(r * r, p, r) + logarithm;
}
INLINE vu v_zero_extend(vh x)
{
    return (vu)_mm512_cvtepu16_epi32((__m256i)x);
}
INLINE vf v_from_bytes(vb x, bool is_signed)
{
    return (vf)_mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32((__m128i)x) : _mm512_cvtepu8_epi32((__m128i)x));
}
INLINE void v_store_far(void *to, const v64 *x)
{
    _mm512_stream_si512(to, (__m512i)*x);
}
INLINE void v_fence_far(void)
{
    _mm_sfence();
}
#define v_fma v_fma
#define v_max v_max
#define v_min v_min
#define v_any v_any
#define v_widen v_widen
#define v_nearest v_nearest
#define v_low_bytes v_low_bytes
#define v_split v_split
#define v_scale v_scale
#define v_decay v_decay
#define v_log1p v_log1p
#define v_zero_extend v_zero_extend
#define v_from_bytes v_from_bytes
#define v_store_far v_store_far

INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
#if SDG_SIMD_HAS_VNNI
    return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#else
    return sum + (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#endif
}
#define v_dot_integers v_dot_integers
#if SDG_SIMD_HAS_VNNI
// sum + four unsigned codes times four weights, in each lane.
INLINE vi v_dot_codes(vi codes, vi weights, vi sum)
{
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)codes, (__m512i)weights);
}
#endif

#if SDG_SIMD_HAS_BF16_PAIRS
INLINE vh v_to_half(vf x)
{
    return (vh)_mm512_cvtneps_pbh((__m512)x);
}
INLINE vf v_pair_half(vf low, vf high)
{
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vf)_mm512_permutexvar_epi16(order, both);
}
INLINE vf v_dot(bool pairs, vf a, vf b, vf sum)
{
    if (pairs)
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    return v_fma(a, b, sum);
}
#define v_to_half v_to_half
#define v_pair_half v_pair_half
#define v_dot v_dot
#endif

#elif SDG_SIMD_BITS == 256
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
INLINE vi v_widen(const void *from)
{
    return (vi)_mm256_cvtepi8_epi16(_mm_loadu_si128(from));
}
INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
    return sum + (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}
INLINE vi v_nearest(vf x)
{
    return (vi)_mm256_cvtps_epi32((__m256)x);
}
INLINE vb v_low_bytes(vi x)
{
    const __m256i first = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                                           -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i bytes =
        _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8((__m256i)x, first), _mm256_setr_epi32(0, 4, 1, 1, 1, 1, 1, 1));
    int64_t low = _mm_cvtsi128_si64(_mm256_castsi256_si128(bytes));
    vb result;
    memcpy(&result, &low, sizeof result);
    return result;
}
#define v_fma v_fma
#define v_max v_max
#define v_min v_min
#define v_any v_any
#define v_widen v_widen
#define v_dot_integers v_dot_integers
#define v_nearest v_nearest
#define v_low_bytes v_low_bytes

#else
INLINE vi v_widen(const void *from)
{
    __m128i bytes = _mm_loadl_epi64(from);
    return (vi)_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}
INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
    return sum + (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
}
#define v_widen v_widen
#define v_dot_integers v_dot_integers
#endif
