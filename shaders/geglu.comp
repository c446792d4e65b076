#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"

// Value first, gate second: [.., 2 C] -> [.., C]. C twin: struct sdg_push_geglu in backend/vulkan/ops/geglu.c.
layout(push_constant) uniform Push {
    uint total, c; // of the result
} p;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    uint at = i / p.c * 2 * p.c + i % p.c;
    result[i] = SCALAR(float(x[at]) * gelu_erf(float(x[at + p.c])));
}
