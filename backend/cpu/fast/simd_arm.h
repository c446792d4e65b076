// What 64-bit Arm does better than simd_generic.h has it; included by simd.h, which says what the names mean.
#include <arm_neon.h>

INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
    int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b));
    return sum + (vi)vpaddq_s32(low, vmull_high_s16((int16x8_t)a, (int16x8_t)b));
}
#define v_fma v_fma
#define v_dot_integers v_dot_integers
