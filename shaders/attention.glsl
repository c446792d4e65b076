// What the bodies of attention have in common: shapes, results, and how those become the tensor or codes. C twin: struct sdg_push_attention
// in backend/vulkan/ops/attention.c.
#define OUT_BINDING 3
#define ROW_BINDING 4
#define SMOOTHED_CODES
#include "codes.glsl"

layout(push_constant) uniform Push {
    uint queries, keys;          // tokens per sample
    uint pitch_qk, pitch_v;      // channels of all heads
    float scale;
    uint depth, depth_v;         // channels of a head in q and k, and in v and the result
    uint causal;                 // 1: a query sees the keys up to its own number
} p;

// Keys that a query sees.
uint keys_of(uint query)
{
    return p.causal != 0 ? min(p.keys, query + 1) : p.keys;
}

#ifdef LANES // which has nothing in registers whose number depends on them, so that heads of all sizes share a pipeline
#define DEPTH p.depth
#define DEPTH_V p.depth_v
#else
layout(constant_id = SDG_SPEC_DEPTH) const uint DEPTH = 64;
layout(constant_id = SDG_SPEC_DEPTH_V) const uint DEPTH_V = 64;
#endif

const float MINUS_INFINITY = -3.0e38; // nearly, so that it can be subtracted from itself

layout(binding = 3) restrict writeonly buffer Out { SCALAR result[]; };
#if WIDTH >= 4
layout(binding = 3) restrict writeonly buffer OutFours { VECTOR result_fours[]; };
#endif

// Stores channels [c, c + length) of a head, up to 4, as far as there are so many, of a query counted through all samples. Where operands
// are loaded by four or more, c is a multiple of 4 and length is 4, and so are the channels of a head.
void store(uint query, uint head, uint c, vec4 y, uint length)
{
    if (c >= DEPTH_V)
        return;
    uint at = query * p.pitch_v + head * DEPTH_V + c;
#if WIDTH >= 4
    if (CODES)
        words[at / 4] = pack_codes(smoothed(y, head * DEPTH_V + c, 4), coder(query));
    else
        result_fours[at / 4] = VECTOR(y);
#else
    uint count = min(length, DEPTH_V - c);
    if (CODES)
        store_codes(at, smoothed(y, head * DEPTH_V + c, count), count, coder(query));
    else
        for (uint j = 0; j < count; j++)
            result[at + j] = SCALAR(y[j]);
#endif
}
