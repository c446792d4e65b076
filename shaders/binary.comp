#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// x (+ or *) y; a stride of y is 0 where y is broadcast. C twin: struct sdg_push_binary in backend/vulkan/ops/binary.c.
layout(push_constant) uniform Push {
    uint total, c, pixels;
    uint y_sample, y_pixel; // elements from one sample or pixel of y to the next
} p;
layout(constant_id = SDG_SPEC_FUNCTION) const uint FUNCTION = 0; // enum sdg_binary

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer Y { SCALAR y[]; };
layout(binding = 2) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    uint pixel = i / p.c;
    float a = float(x[i]), b = float(y[pixel / p.pixels * p.y_sample + pixel % p.pixels * p.y_pixel + i % p.c]);
    result[i] = SCALAR(FUNCTION == 0 ? a + b : a * b);
}
