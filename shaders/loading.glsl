// What x goes through between memory and a product of floats. Where NORMALISES is defined, by a file whose rows have `moments`, and the
// host says so, this product has taken the place of a layer norm's second half: layer_norm.comp has left its statistics, and what is
// loaded is normalised as it would have stored it, so that sums are the same. All bodies do that behind the last use of the slice before,
// while the load is under way.
#ifdef NORMALISES
layout(constant_id = SDG_SPEC_NORMALISED) const uint NORMALISED = 0;
// gamma and beta of each channel, then mean and 1 / deviation of each row of x; in the table's place, which such a product has not
layout(binding = 4) restrict readonly buffer Norm { vec2 norm[]; };
layout(binding = 4) restrict readonly buffer NormTwos { vec4 norm_twos[]; };

vec4 affine[(WIDTH + 1) / 2]; // gamma and beta of two channels, or of one, that are on the way

vec2 moments_of(uint m)
{
    return NORMALISED != 0 ? norm[p.in_c + min(m, p.m - 1)] : vec2(0.0);
}

// Channels [k, k + WIDTH) are on the way; behind the last one all becomes 0.
void prepare_load(uint k, bool inside)
{
    if (NORMALISED != 0)
        [[unroll]] for (uint i = 0; i < affine.length(); i++)
#if WIDTH == 1
            affine[i] = inside ? vec4(norm[k], 0.0, 0.0) : vec4(0.0);
#else
            affine[i] = inside ? norm_twos[k / 2 + i] : vec4(0.0);
#endif
}

vec2 normal_two(vec2 v, vec2 moments, vec4 of)
{
    return (v - moments.x) * moments.y * of.xz + of.yw;
}

VALUE loaded(VALUE v, A_ROW row)
{
    if (NORMALISED == 0)
        return v;
#if WIDTH == 1
    return VALUE(SCALAR(normal_two(vec2(v), row.moments, affine[0]).x));
#elif WIDTH == 4
    return VALUE(VECTOR(vec4(normal_two(vec2(v.xy), row.moments, affine[0]), normal_two(vec2(v.zw), row.moments, affine[1]))));
#else
    [[unroll]] for (uint i = 0; i < WIDTH / 2; i++)
        v[i] = packFloat2x16(f16vec2(normal_two(unpackHalf2x16(v[i]), row.moments, affine[i])));
    return v;
#endif
}
#else
#define prepare_load(k, inside)
#define loaded(v, row) v
#endif
