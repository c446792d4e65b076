#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#define ROW_BINDING 2
#define SMOOTHED_CODES
#include "codes.glsl"

// C twin: struct sdg_push_fake_quantize in backend/vulkan/ops/fake_quantize.c.
layout(push_constant) uniform Push {
    uint total, c;
} p;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    vec2 interval = interval_of(i / p.c);
    float code = clamp(roundEven(divide(smoothed(vec4(float(x[i])), i % p.c, 1).x, interval.x)) + interval.y, float(LOWEST), float(HIGHEST));
    result[i] = SCALAR((code - interval.y) * interval.x);
}
