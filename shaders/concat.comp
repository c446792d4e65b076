#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Channels of x, then those of y. C twin: struct sdg_push_concat in backend/vulkan/ops/concat.c.
layout(push_constant) uniform Push {
    uint total, c, c1; // channels of the result and of x
} p;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer Y { SCALAR y[]; };
layout(binding = 2) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    uint pixel = i / p.c, c = i % p.c;
    if (c < p.c1)
        result[i] = x[pixel * p.c1 + c];
    else
        result[i] = y[pixel * (p.c - p.c1) + c - p.c1];
}
