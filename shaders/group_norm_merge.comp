#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "types.glsl"
#include "reduce.glsl"

// Second pass: one workgroup per sample and group merges what the first wrote, and leaves per channel the mean and
// gamma / sqrt(variance + eps).
#include "group_norm.glsl"

layout(binding = 0) readonly buffer Parts { vec2 parts[]; };      // [N][chunks][C]
layout(binding = 1) readonly buffer Gamma { float gamma[]; };
layout(binding = 2) writeonly buffer Scales { vec2 scales[]; };   // [N][C]

void main()
{
    uint n = gl_WorkGroupID.y, c0 = gl_WorkGroupID.x * p.group, lane = gl_LocalInvocationID.x, length = gl_WorkGroupSize.x;
    uint count = p.chunks * p.group;
    float last = float(p.pixels - (p.chunks - 1) * p.chunk), elements = float(p.pixels) * float(p.group);

    // Means are summed as distances from the first one: see the first pass.
    float origin = parts[n * p.chunks * p.c + c0].x, sum = 0.0;
    for (uint i = lane; i < count; i += length) {
        uint chunk = i / p.group;
        float weight = chunk + 1 == p.chunks ? last : float(p.chunk);
        sum += weight * (parts[(n * p.chunks + chunk) * p.c + c0 + i % p.group].x - origin);
    }
    float shift = workgroup_sum(sum) / elements, squares = 0.0;
    for (uint i = lane; i < count; i += length) {
        uint chunk = i / p.group;
        float weight = chunk + 1 == p.chunks ? last : float(p.chunk);
        vec2 part = parts[(n * p.chunks + chunk) * p.c + c0 + i % p.group];
        float d = part.x - origin - shift;
        squares += part.y + weight * d * d;
    }
    float scale = 1.0 / sqrt(workgroup_sum(squares) / elements + p.eps);
    for (uint c = c0 + lane; c < c0 + p.group; c += length)
        scales[n * p.c + c] = vec2(origin + shift, gamma[c] * scale);
}
