// What 64-bit Arm does better than simd_generic.h has it; included by simd.h, which says what the names mean.

INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
INLINE vi v_widen(const void *from)
{
    return (vi)vmovl_s8(vld1_s8(from));
}
INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
    int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b));
    return sum + (vi)vpaddq_s32(low, vmull_high_s16((int16x8_t)a, (int16x8_t)b));
}

#if SDG_SIMD_HAS_BF16_PAIRS
INLINE vh v_to_bf16(vf x)
{
    return (vh)vcvt_bf16_f32((float32x4_t)x);
}
INLINE vf v_pair_bf16(vf low, vf high)
{
    const uint16x4_t a = (uint16x4_t)v_to_bf16(low), b = (uint16x4_t)v_to_bf16(high);
    return (vf)vcombine_u16(vzip1_u16(a, b), vzip2_u16(a, b));
}
INLINE vf v_dot(bool pairs, vf a, vf b, vf sum)
{
    return pairs ? (vf)vbfdotq_f32((float32x4_t)sum, (bfloat16x8_t)a, (bfloat16x8_t)b) : v_fma(a, b, sum);
}
#define v_to_bf16 v_to_bf16
#define v_pair_bf16 v_pair_bf16
#define v_dot v_dot
#endif

#if SDG_SIMD_HAS_DOTPROD
// sum + four signed codes times four weights, in each lane.
INLINE vi v_dot_codes(vi codes, vi weights, vi sum)
{
    return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)weights, (int8x16_t)codes);
}
#endif
#if SDG_SIMD_HAS_I8MM
// sum + two rows of eight codes times two columns of eight weights: (row 0, column 0), (0, 1), (1, 0), (1, 1).
INLINE vi v_tile_codes(bool sign, vi codes, vi weights, vi sum)
{
    return sign ? (vi)vmmlaq_s32((int32x4_t)sum, (int8x16_t)codes, (int8x16_t)weights)
                : (vi)vusmmlaq_s32((int32x4_t)sum, (uint8x16_t)codes, (int8x16_t)weights);
}
#endif
#define v_fma v_fma
#define v_dot_integers v_dot_integers
#define v_widen v_widen
