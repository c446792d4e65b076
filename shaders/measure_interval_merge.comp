#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "extremes.glsl"
#include "divide.glsl"

// Second pass, one workgroup: from the extremes of all to scale and zero point. C twin: struct sdg_push_measure_interval_merge in
// backend/vulkan/ops/measure_interval.c.
layout(push_constant) uniform Push {
    uint parts;
    float lowest, highest; // codes
} p;

const float SILU_DEPTH = 0.2785; // no SiLU is below minus this

layout(binding = 0) readonly buffer Parts { vec2 parts[]; };
layout(binding = 1) writeonly buffer Out { vec2 result[]; };

void main()
{
    uint lane = gl_LocalInvocationID.x;
    vec2 mine = parts[0];
    for (uint i = lane; i < p.parts; i += gl_WorkGroupSize.x)
        mine = merge_extremes(mine, parts[i]);
    vec2 extremes = workgroup_extremes(mine);
    if (lane != 0)
        return;
    const float least_scale = 7.888609052210118e-31; // 2^-100
    if (p.lowest < 0.0) {
        float scale = max(divide(extremes.y, p.highest), divide(extremes.x, p.lowest));
        result[0] = vec2(extremes.x == 0.0 && extremes.y == 0.0 ? 1.0 : max(scale, least_scale), 0.0);
    } else {
        float scale = divide(max(extremes.y, 0.0) + SILU_DEPTH, p.highest);
        result[0] = vec2(scale, clamp(roundEven(divide(SILU_DEPTH, scale)), 0.0, p.highest));
    }
}
