// Integer codes as results. The including file defines, before this one, OUT_BINDING of its result and ROW_BINDING of the row's number,
// which the interval follows and, where results can be smoothed (SMOOTHED_CODES is defined), the factors; or, instead of ROW_BINDING, the
// function interval_of(). C twin: sdg_vk_add_codes in
// backend/vulkan/vk_lower.c.
//
// Codes are bytes in words of four, and no storage of 8 bits is needed: an invocation makes four neighbours and stores a word, or, where
// rows are no multiple of four long and words belong to several invocations, sets its bytes atomically.
#include "divide.glsl"
layout(constant_id = SDG_SPEC_LOWEST) const int LOWEST = 0;
layout(constant_id = SDG_SPEC_HIGHEST) const int HIGHEST = 0;   // 0: the result is no codes
layout(constant_id = SDG_SPEC_OUT_PAIRS) const uint OUT_PAIRS = 0; // intervals of a row: 1, or one for each token; 0: one for all rows
const bool CODES = HIGHEST != 0;

layout(binding = OUT_BINDING) restrict buffer Words { uint words[]; };
#ifdef STORAGE_F16
layout(binding = OUT_BINDING) restrict writeonly buffer Halfwords { uint16_t halfwords[]; };
#endif

// Scale and zero point of a token, counted through all samples.
vec2 interval_of(uint token);
#ifdef ROW_BINDING
layout(binding = ROW_BINDING) restrict readonly buffer Row { uint row; };
layout(binding = ROW_BINDING + 1) restrict readonly buffer Interval { vec2 intervals[]; };

vec2 interval_of(uint token)
{
    return intervals[OUT_PAIRS > 1 ? row * OUT_PAIRS + token % OUT_PAIRS : row * OUT_PAIRS];
}
#endif

// What code_of() wants to know.
vec2 coder(uint token)
{
    vec2 interval = interval_of(token);
    return vec2(divide(1.0, interval.x), interval.y);
}

float code_of(float y, vec2 coder)
{
    float code = roundEven(y * coder.x) + coder.y;
    return code >= float(LOWEST) ? min(code, float(HIGHEST)) : float(LOWEST); // NaN is the lowest
}

#ifdef SMOOTHED_CODES
layout(constant_id = SDG_SPEC_SMOOTHED) const uint SMOOTHED = 0;
layout(binding = ROW_BINDING + 2) restrict readonly buffer Smoothing { float smoothing[]; };
#endif

// Up to 4 results of one token, of `channel` and those behind it, before they become codes.
vec4 smoothed(vec4 y, uint channel, uint count)
{
#ifdef SMOOTHED_CODES
    if (SMOOTHED != 0)
        for (uint i = 0; i < count; i++)
            y[i] *= smoothing[channel + i];
#endif
    return y;
}

uint pack_codes(vec4 y, vec2 coder)
{
    uint word = 0;
    [[unroll]] for (uint i = 0; i < 4; i++)
        word |= (uint(int(code_of(y[i], coder))) & 0xffu) << (8 * i);
    return word;
}

// The same of four elements from `first` on, smoothed, which may be of several tokens, of c channels each.
uint pack_elements(vec4 y, uint first, uint c)
{
#ifdef SMOOTHED_CODES
    if (SMOOTHED != 0)
        [[unroll]] for (uint i = 0; i < 4; i++)
            y[i] *= smoothing[(first + i) % c];
#endif
    if (OUT_PAIRS <= 1)
        return pack_codes(y, coder(0));
    uint word = 0;
    [[unroll]] for (uint i = 0; i < 4; i++)
        word |= (uint(int(code_of(y[i], coder((first + i) / c)))) & 0xffu) << (8 * i);
    return word;
}

// The codes of `count` (up to 4) results of one token that begin at element `at`.
void store_codes(uint at, vec4 y, uint count, vec2 coder)
{
    uint word = pack_codes(y, coder);
    if (at % 4 == 0 && count == 4) {
        words[at / 4] = word;
        return;
    }
    for (uint i = 0; i < count; i++) {
        uint shift = (at + i) % 4 * 8, code = word >> (8 * i) & 0xffu;
        atomicAnd(words[(at + i) / 4], ~(0xffu << shift));
        atomicOr(words[(at + i) / 4], code << shift);
    }
}

// The codes of two neighbours, elements 2 * pair and the one behind it, where the other two of the word are another invocation's.
void store_two_codes(uint pair, vec2 y, vec2 coder)
{
    uint codes = pack_codes(vec4(y, 0.0, 0.0), coder) & 0xffffu;
#ifdef STORAGE_F16
    halfwords[pair] = uint16_t(codes);
#else
    uint shift = pair % 2 * 16;
    atomicAnd(words[pair / 2], ~(0xffffu << shift));
    atomicOr(words[pair / 2], codes << shift);
#endif
}
