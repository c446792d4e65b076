// In vector arithmetic that every processor has: what the instruction set's own header has left; included by simd.h.

#ifndef v_fma
INLINE vf v_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
#endif

// b where a or b is NaN, as x86 does
#ifndef v_max
INLINE vf v_max(vf a, vf b)
{
    vi m = a > b;
    return (vf)((m & (vi)a) | (~m & (vi)b));
}
#endif
#ifndef v_min
INLINE vf v_min(vf a, vf b)
{
    vi m = a < b;
    return (vf)((m & (vi)a) | (~m & (vi)b));
}
#endif

// True if any bit of `mask` is set.
#ifndef v_any
INLINE bool v_any(vi mask)
{
    int32_t any = 0;
    for (int i = 0; i < LANES; i++)
        any |= mask[i];
    return any != 0;
}
#endif

// ---- halves ----
#ifndef v_zero_extend
INLINE vu v_zero_extend(vh x)
{
    return __builtin_convertvector(x, vu);
}
#endif
INLINE vf v_from_bf16(vh x)
{
    return (vf)(v_zero_extend(x) << 16);
}
// Exactly: shifted into place the bits are the value times 2^-112, subnormal ones included.
#ifndef v_from_f16
INLINE vf v_from_f16(vh x)
{
    vu bits = __builtin_convertvector(x, vu), magnitude = (bits & 0x7fff) << 13;
    vf value = (vf)magnitude * 0x1p112f;
    vu special = (vu)(magnitude >= 0x0f800000); // infinity or NaN
    return (vf)(((vu)value & ~special) | ((magnitude | 0x7f800000) & special) | (bits & 0x8000) << 16);
}
#endif
INLINE vf v_from_half(vh x)
{
    return SDG_SIMD_HAS_F16 ? v_from_f16(x) : v_from_bf16(x);
}
// To bf16, but for kernels of f16. Rounds to nearest even; NaN stays NaN.
#ifndef v_to_half
INLINE vh v_to_half(vf x)
{
    vu bits = (vu)x;
    vu rounded = bits + 0x7fff + ((bits >> 16) & 1);
    vi nan = x != x;
    bits = ((vu)nan & (bits | 0x400000)) | (~(vu)nan & rounded);
    return __builtin_convertvector(bits >> 16, vh);
}
#endif
// Halves of low in the even half-words, of high in the odd ones: what a dot product of pairs reads.
#ifndef v_pair_half
INLINE vf v_pair_half(vf low, vf high)
{
    return (vf)(__builtin_convertvector(v_to_half(low), vu) | __builtin_convertvector(v_to_half(high), vu) << 16);
}
#endif
// sum + a . b; `pairs`: every 4 bytes of a and b are two bf16. Only with SDG_SIMD_HAS_BF16_PAIRS.
#ifndef v_dot
INLINE vf v_dot(bool pairs, vf a, vf b, vf sum)
{
    (void)pairs;
    return v_fma(a, b, sum);
}
#endif

// ---- integers in pairs ----
// 2 * LANES signed bytes as 16 bits each, two in a lane.
#ifndef v_widen
INLINE vi v_widen(const void *from)
{
    typedef int8_t bytes __attribute__((vector_size(2 * LANES)));
    typedef int16_t words __attribute__((vector_size(4 * LANES)));
    bytes x;
    memcpy(&x, from, sizeof x);
    return (vi) __builtin_convertvector(x, words);
}
#endif
// sum + a . b, exactly; every lane of a and b is two integers of 16 bits.
#ifndef v_dot_integers
INLINE vi v_dot_integers(vi a, vi b, vi sum)
{
    return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}
#endif

// ---- codes ----
// The nearest integers, ties to even, of numbers below 2^22.
#ifndef v_nearest
INLINE vi v_nearest(vf x)
{
    return (vi)(x + 12582912.0f) - 0x4b400000; // added to 1.5 * 2^23 they are left in the low bits
}
#endif
#ifndef v_from_bytes
INLINE vf v_from_bytes(vb x, bool is_signed)
{
    typedef int8_t bytes __attribute__((vector_size(LANES)));
    return __builtin_convertvector(is_signed ? __builtin_convertvector((bytes)x, vi) : __builtin_convertvector(x, vi),
                                   vf);
}
#endif
#ifndef v_low_bytes
INLINE vb v_low_bytes(vi x)
{
    return __builtin_convertvector(x, vb);
}
#endif

// ---- 2^x ----
#ifndef v_split
INLINE struct v_parts v_split(vf x)
{
    x = v_min(v_set(127.9f), v_max(v_set(-126), x)); // within normal numbers; this order keeps NaN
    const vf magic = v_set(12582912);                // adding 1.5 * 2^23 leaves the nearest integer in the low bits
    vf shifted = x + magic;
    return (struct v_parts){shifted, x - (shifted - magic)};
}
#endif
// y * 2^whole
#ifndef v_scale
INLINE vf v_scale(vf y, vf whole)
{
    return (vf)((vu)y + ((vu)whole << 23)); // by adding to the exponent
}
#endif

// ---- stores past the caches ----
// 64 aligned bytes, past the caches where that is possible; v_fence_far() before others read them.
#ifndef v_store_far
INLINE void v_store_far(void *to, const v64 *x)
{
    memcpy(to, x, sizeof *x);
}
INLINE void v_fence_far(void)
{
}
#endif
