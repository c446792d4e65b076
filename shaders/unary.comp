#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"

// C twin: struct sdg_push_unary in backend/vulkan/ops/unary.c.
layout(push_constant) uniform Push {
    uint total;
    float a, b; // of the affine function
} p;
layout(constant_id = SDG_SPEC_FUNCTION) const uint FUNCTION = 0;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i < p.total)
        result[i] = SCALAR(apply_unary(FUNCTION, float(x[i]), p.a, p.b));
}
