#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#define ROW_BINDING 2
#define SMOOTHED_CODES
#include "codes.glsl"

// Four codes an invocation. C twin: struct sdg_push_quantize in backend/vulkan/ops/quantize.c.
layout(push_constant) uniform Push {
    uint total, c;
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };

void main()
{
    uint i = folded_invocation();
    if (4 * i >= p.total)
        return;
#if WIDTH == 4
    vec4 y = VALUE(x[i]);
#else
    vec4 y;
    [[unroll]] for (uint j = 0; j < 4; j++)
        y[j] = VALUE(x[min(4 * i + j, p.total - 1)]);
#endif
    words[i] = pack_elements(y, 4 * i, p.c);
}
