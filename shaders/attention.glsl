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
} p;

layout(constant_id = SDG_SPEC_DEPTH) const uint DEPTH = 64;    // channels of a head in q and k
layout(constant_id = SDG_SPEC_DEPTH_V) const uint DEPTH_V = 64;  // ... in v and the result
layout(constant_id = SDG_SPEC_CAUSAL) const uint CAUSAL = 0;

const float MINUS_INFINITY = -3.0e38; // nearly, so that it can be subtracted from itself

layout(binding = 3) writeonly buffer Out { SCALAR result[]; };

// Stores channels [c, c + length) of a head, up to 4, as far as there are so many, of a query counted through all samples.
void store(uint query, uint head, uint c, vec4 y, uint length)
{
    if (c >= DEPTH_V)
        return;
    uint at = query * p.pitch_v + head * DEPTH_V + c, count = min(length, DEPTH_V - c);
    if (CODES)
        store_codes(at, smoothed(y, head * DEPTH_V + c, count), count, coder(query));
    else
        for (uint j = 0; j < count; j++)
            result[at + j] = SCALAR(y[j]);
}
