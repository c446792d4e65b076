// Codes as the operand a of operands_s8.glsl: bytes in words of four. C twin: sdg_vk_emit_matmul in backend/vulkan/ops/matmul.c.
layout(constant_id = SDG_SPEC_FLIP) const uint FLIP = 0; // 0x80808080 for unsigned codes, which makes signed ones of them
layout(binding = 0) readonly buffer X { uint x[]; };
#if WIDTH == 16
layout(binding = 0) readonly buffer XPack { PACK x_pack[]; };
#define CODES_READ uvec4
#else
#define CODES_READ int
#endif
int outside; // a word of what lies outside the tensor

// Where x is floats they become codes when they are loaded, the same that quantize.comp makes. Factors of smoothing lie in the place of the
// table, which such a product has not.
layout(constant_id = SDG_SPEC_IN_LOWEST) const int IN_LOWEST = 0;
layout(constant_id = SDG_SPEC_IN_HIGHEST) const int IN_HIGHEST = 0; // 0: x is codes
layout(constant_id = SDG_SPEC_IN_SMOOTHED) const uint IN_SMOOTHED = 0;
layout(binding = 0) readonly buffer Floats { SCALAR floats[]; };
layout(binding = 0) readonly buffer FloatFours { VECTOR float_fours[]; };
layout(binding = 4) restrict readonly buffer Factors { float factors[]; };
vec2 in_coder; // of all tokens, where they have one interval

vec2 coder_of_token(uint token);                             // weights_s8.glsl
uint codes_of(vec4 y, vec2 coder, int lowest, int highest);  // codes.glsl

// The codes of elements [at, at + 4) as far as they are the token's, of `channels` channels.
uint round_floats(uint at, uint channels)
{
    vec4 y = vec4(0.0);
    if (channels % 4 == 0)
        y = vec4(float_fours[at / 4]);
    else
        for (uint i = 0; i < min(channels - at % channels, 4); i++)
            y[i] = float(floats[at + i]);
    if (IN_SMOOTHED != 0)
        [[unroll]] for (uint i = 0; i < 4; i++)
            y[i] *= factors[min(at % channels + i, channels - 1)];
    return codes_of(y, coder_of_token(at / channels), IN_LOWEST, IN_HIGHEST);
}

// Codes of `count` elements from `at` on as signed bytes, something behind them; at most 4 of them. Whole words where rows are a
// multiple of 4 long.
int read_codes(uint at, uint count, uint channels)
{
    if (IN_HIGHEST != 0)
        return int(round_floats(at, channels) ^ FLIP);
    if (at % 4 == 0 && count >= 4)
        return int(x[at / 4] ^ FLIP);
    uint word = 0;
    for (uint i = 0; i < min(count, 4); i++)
        word |= (x[(at + i) / 4] >> ((at + i) % 4 * 8) & 0xffu) << (8 * i);
    return int(word ^ FLIP);
}

// The codes of a load, from element `at` of a token of `channels` channels on, whose end is `count` elements away.
CODES_READ load_codes(uint at, uint count, uint channels)
{
#if WIDTH == 16
    if (IN_HIGHEST == 0)
        return x_pack[at / 16] ^ FLIP;
    uvec4 words;
    [[unroll]] for (uint i = 0; i < 4; i++)
        words[i] = uint(read_codes(at + 4 * i, count - 4 * i, channels));
    return words;
#else
    return read_codes(at, count, channels);
#endif
}
