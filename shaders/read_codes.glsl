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

// Where ROUNDS is defined and the host says so, x is floats, in rows of whole words, which become the codes that quantize.comp makes.
#ifdef ROUNDS
layout(constant_id = SDG_SPEC_IN_LOWEST) const int IN_LOWEST = 0;
layout(constant_id = SDG_SPEC_IN_HIGHEST) const int IN_HIGHEST = 0; // 0: x is codes
layout(binding = 0) readonly buffer Floats { VECTOR floats[]; };
vec2 in_coder; // as coder() in codes.glsl

int round_floats(uint at)
{
    vec4 y = roundEven(vec4(floats[at / 4]) * in_coder.x) + in_coder.y;
    uint word = 0;
    [[unroll]] for (uint i = 0; i < 4; i++) // NaN is the lowest
        word |= uint(int(y[i] >= float(IN_LOWEST) ? min(y[i], float(IN_HIGHEST)) : float(IN_LOWEST)) & 0xff) << (8 * i);
    return int(word ^ FLIP);
}
#endif

// Codes of `count` elements from `at` on as signed bytes, 0 behind them; at most 4 of them. Whole words where rows are a
// multiple of 4 long.
int read_codes(uint at, uint count)
{
#ifdef ROUNDS
    if (IN_HIGHEST != 0)
        return round_floats(at);
#endif
    if (at % 4 == 0 && count >= 4)
        return int(x[at / 4] ^ FLIP);
    uint word = 0;
    for (uint i = 0; i < min(count, 4); i++)
        word |= (x[(at + i) / 4] >> ((at + i) % 4 * 8) & 0xffu) << (8 * i);
    return int(word ^ FLIP);
}

// The codes of a load, from element `at` of a row on, whose end is `count` elements away.
CODES_READ load_codes(uint at, uint count)
{
#if WIDTH == 16
#ifdef ROUNDS
    if (IN_HIGHEST != 0)
        return uvec4(round_floats(at), round_floats(at + 4), round_floats(at + 8), round_floats(at + 12));
#endif
    return x_pack[at / 16] ^ FLIP;
#else
    return read_codes(at, count);
#endif
}
