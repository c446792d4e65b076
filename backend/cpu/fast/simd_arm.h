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

INLINE vf v_from_f16(vh x)
{
    return (vf)vcvt_f32_f16((float16x4_t)x);
}
#define v_from_f16 v_from_f16

#if SDG_SIMD_HAS_BF16_PAIRS
INLINE vh v_to_half(vf x)
{
    return (vh)vcvt_bf16_f32((float32x4_t)x);
}
INLINE vf v_pair_half(vf low, vf high)
{
    const uint16x4_t a = (uint16x4_t)v_to_half(low), b = (uint16x4_t)v_to_half(high);
    return (vf)vcombine_u16(vzip1_u16(a, b), vzip2_u16(a, b));
}
INLINE vf v_dot(bool pairs, vf a, vf b, vf sum)
{
    return pairs ? (vf)vbfdotq_f32((float32x4_t)sum, (bfloat16x8_t)a, (bfloat16x8_t)b) : v_fma(a, b, sum);
}
#define v_to_half v_to_half
#define v_pair_half v_pair_half
#define v_dot v_dot
#endif

#if SDG_SIMD_HAS_F16
INLINE vh v_to_half(vf x)
{
    return (vh)vcvt_f16_f32((float32x4_t)x);
}
#define v_to_half v_to_half
INLINE float f32_from_half(uint16_t x)
{
    float16_t half;
    memcpy(&half, &x, sizeof half);
    return half;
}
#define f32_from_half f32_from_half
// Vectors of 2 * LANES f16.
typedef float16x8_t v_halves;
INLINE v_halves v_load_halves(const uint16_t *from)
{
    return (v_halves)vld1q_u16(from);
}
INLINE v_halves v_set_halves(const uint16_t *from)
{
    return (v_halves)vld1q_dup_u16(from);
}
// sum += a * b[lane], a literal number, in the order written. Of the intrinsic GCC makes two instructions where a lane
// is used twice; of what is not volatile it makes chains, each of which waits for itself.
#define V_ADD_LANE(sum, a, b, lane) __asm__ volatile("fmla %0.8h, %1.8h, %2.h[" #lane "]" : "+w"(sum) : "w"(a), "x"(b))
INLINE vf v_widen_halves(v_halves x, bool high)
{
    return (vf)(high ? vcvt_high_f32_f16(x) : vcvt_f32_f16(vget_low_f16(x)));
}
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
