#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "types.glsl"
#include "reduce.glsl"
#define OUT_BINDING 3
#define ROW_BINDING 4
#define SMOOTHED_CODES
#include "codes.glsl"

// One workgroup per token: mean, then variance around it, then the result. C twin: struct sdg_push_layer_norm in
// backend/vulkan/ops/layer_norm.c.
layout(push_constant) uniform Push {
    uint tokens, c;
    float eps;
} p;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer Gamma { float gamma[]; };
layout(binding = 2) readonly buffer Beta { float beta[]; };
layout(binding = 3) writeonly buffer Out { SCALAR result[]; };

void main()
{
    uint token = folded_group(), lane = gl_LocalInvocationID.x, length = gl_WorkGroupSize.x;
    if (token >= p.tokens) // the whole workgroup leaves
        return;
    uint base = token * p.c;
    float origin = float(x[base]), sum = 0.0;
    for (uint c = lane; c < p.c; c += length)
        sum += float(x[base + c]) - origin;
    float mean = origin + workgroup_sum(sum) / float(p.c), squares = 0.0;
    for (uint c = lane; c < p.c; c += length) {
        float d = float(x[base + c]) - mean;
        squares += d * d;
    }
    float scale = 1.0 / sqrt(workgroup_sum(squares) / float(p.c) + p.eps);
    if (CODES) {
        for (uint c = 4 * lane; c < p.c; c += 4 * length) {
            vec4 y = vec4(0.0);
            uint count = min(4, p.c - c);
            for (uint j = 0; j < count; j++)
                y[j] = (float(x[base + c + j]) - mean) * scale * gamma[c + j] + beta[c + j];
            store_codes(base + c, smoothed(y, c, count), count, coder(token));
        }
    } else {
        for (uint c = lane; c < p.c; c += length)
            result[base + c] = SCALAR((float(x[base + c]) - mean) * scale * gamma[c] + beta[c]);
    }
}
