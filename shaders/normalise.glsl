// The end of a group norm: the workgroup's part of the result. The including file has included group_norm.glsl and codes.glsl, and defines
//     vec3 affine_of(uint c)    gamma, beta and the factor of smoothing of a channel
layout(constant_id = SDG_SPEC_FUNCTION) const uint ACTIVATION = 0;

layout(binding = OUT_BINDING) writeonly buffer Out { PACK result[]; };

shared vec2 norms[MAX_INVOCATIONS]; // of each group: mean, 1 / deviation

VALUE of_channels(vec4 v)
{
#if WIDTH == 1
    return v.x;
#else
    return v;
#endif
}

void store(uint pixel, uint c, VALUE y, VALUE factor)
{
    uint at = pixel * p.c + c;
#if WIDTH == 1
    if (CODES)
        store_codes(at, vec4(y * factor, 0.0, 0.0, 0.0), 1, coder(pixel));
    else
        result[at] = SCALAR(y);
#else
    if (CODES)
        words[at / 4] = pack_codes(y * factor, coder(pixel));
    else
        result[at / 4] = VECTOR(y);
#endif
}

void normalise_channels(uint c)
{
    vec4 means = vec4(0.0), scales = vec4(0.0), shifts = vec4(0.0), factors = vec4(0.0);
    [[unroll]] for (uint i = 0; i < WIDTH; i++) {
        vec2 norm = norms[(c + i) / p.group - first_group];
        vec3 affine = affine_of(c + i);
        means[i] = norm.x;
        scales[i] = affine.x * norm.y;
        shifts[i] = affine.y;
        factors[i] = affine.z;
    }
    VALUE mean = of_channels(means), scale = of_channels(scales), shift = of_channels(shifts), factor = of_channels(factors);
    for (uint pixel = first_pixel + my_row; pixel < end_pixel; pixel += rows) {
        VALUE y = (load(pixel, c) - mean) * scale + shift;
#if WIDTH == 1
        y = apply_unary(ACTIVATION, y, 1.0, 0.0);
#else
        [[unroll]] for (uint i = 0; i < WIDTH; i++)
            y[i] = apply_unary(ACTIVATION, y[i], 1.0, 0.0);
#endif
        store(pixel, c, y, factor);
    }
}

// moments: of group `lane` of the workgroup's
void normalise(MOMENTS moments)
{
    if (has_group())
        norms[lane] = vec2(moments.y, 1.0 / sqrt(moments.z / moments.x + p.eps));
    barrier();
    if (my_row < rows)
        for (uint unit = my_unit; unit < width / WIDTH; unit += units)
            normalise_channels(first_c + unit * WIDTH);
}
