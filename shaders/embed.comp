#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// tokens[id] + positions[t], for ids in [first, first + count): a table longer than a buffer's range is bound in parts, each
// dispatch writing the tokens of its part. C twin: struct sdg_push_embed in backend/vulkan/ops/embed.c.
layout(push_constant) uniform Push {
    uint total, c, per_sample; // per_sample: tokens
    uint first, count;
} p;

layout(binding = 0) readonly buffer Ids { int ids[]; };
layout(binding = 1) readonly buffer Tokens { SCALAR tokens[]; };
layout(binding = 2) readonly buffer Positions { SCALAR positions[]; };
layout(binding = 3) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    uint token = i / p.c, c = i % p.c, id = uint(ids[token]);
    if (id >= p.first && id - p.first < p.count)
        result[i] = SCALAR(float(tokens[(id - p.first) * p.c + c]) + float(positions[token % p.per_sample * p.c + c]));
}
