// What x goes through between memory and a product of floats. Where NORMALISES is defined, by a file whose rows have `moments`, and the
// host says so, the product has taken the place of a layer norm's second half: layer_norm.comp has left its statistics, and what is loaded
// is normalised as it would have stored it. That is done as a slice is stored, when the load has had the slice before to arrive.
#ifdef NORMALISES
layout(constant_id = SDG_SPEC_NORMALISED) const uint NORMALISED = 0;
// gamma and beta of each channel, then mean and 1 / deviation of each row of x; in the table's place, which such a product has not
layout(binding = 4) restrict readonly buffer Norm { vec2 norm[]; };
layout(binding = 4) restrict readonly buffer NormTwos { vec4 norm_twos[]; };
vec4 affine[WIDTH / 2]; // gamma and beta of the channels on the way, two by two

// Channels [k, k + WIDTH) are on the way; behind the last one all becomes 0.
void prepare_load(uint k, bool inside)
{
    if (NORMALISED != 0)
        [[unroll]] for (uint i = 0; i < WIDTH / 2; i++)
            affine[i] = inside ? norm_twos[k / 2 + i] : vec4(0.0);
}

VALUE loaded(VALUE v, A_ROW row)
{
    if (NORMALISED != 0)
#if WIDTH == 4
        v = VALUE(VECTOR((vec4(v) - row.moments.x) * row.moments.y * vec4(affine[0].xz, affine[1].xz) + vec4(affine[0].yw, affine[1].yw)));
#else
        [[unroll]] for (uint i = 0; i < WIDTH / 2; i++)
            v[i] = packFloat2x16(f16vec2((unpackHalf2x16(v[i]) - row.moments.x) * row.moments.y * affine[i].xz + affine[i].yw));
#endif
    return v;
}
#else
#define prepare_load(k, inside)
#define loaded(v, row) v
#endif
