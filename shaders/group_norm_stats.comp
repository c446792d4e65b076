#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// First of three passes: per channel and chunk of pixels, mean and sum of squared distances from it. One invocation per channel, so
// that neighbours read neighbouring words. Differences to the chunk's first pixel are summed: no cancellation where the mean is
// large against the spread. C twin: struct sdg_push_group_norm in backend/vulkan/ops/group_norm.c.
#include "group_norm.glsl"

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer X2 { SCALAR x2[]; };
layout(binding = 2) writeonly buffer Parts { vec2 parts[]; }; // [N][chunks][C]

float load(uint pixel, uint c)
{
    return c < p.c1 ? float(x[pixel * p.c1 + c]) : float(x2[pixel * (p.c - p.c1) + c - p.c1]);
}

void main()
{
    uint c = gl_WorkGroupID.x * gl_WorkGroupSize.x + gl_LocalInvocationID.x, chunk = gl_WorkGroupID.y, n = gl_WorkGroupID.z;
    if (c >= p.c)
        return;
    uint first = chunk * p.chunk, end = min(first + p.chunk, p.pixels);
    float origin = load(n * p.pixels + first, c), sum = 0.0, squares = 0.0;
    for (uint pixel = first + 1; pixel < end; pixel++) {
        float d = load(n * p.pixels + pixel, c) - origin;
        sum += d;
        squares += d * d;
    }
    float count = float(end - first), shift = sum / count;
    parts[(n * p.chunks + chunk) * p.c + c] = vec2(origin + shift, max(squares - sum * shift, 0.0));
}
