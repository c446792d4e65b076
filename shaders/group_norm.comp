#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"

// Third pass: normalise, scale, shift and activate, one element per invocation.
#include "group_norm.glsl"
layout(constant_id = 0) const uint ACTIVATION = 0;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer X2 { SCALAR x2[]; };
layout(binding = 2) readonly buffer Scales { vec2 scales[]; }; // [N][C]: mean, gamma / deviation
layout(binding = 3) readonly buffer Beta { float beta[]; };
layout(binding = 4) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    uint pixel = i / p.c, c = i % p.c;
    float value = c < p.c1 ? float(x[pixel * p.c1 + c]) : float(x2[pixel * (p.c - p.c1) + c - p.c1]);
    vec2 scale = scales[pixel / p.pixels * p.c + c];
    result[i] = SCALAR(apply_unary(ACTIVATION, (value - scale.x) * scale.y + beta[c], 1.0, 0.0));
}
