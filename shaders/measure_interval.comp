#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "extremes.glsl"

// First of two passes: the extremes of what each workgroup reads, every gl_NumWorkGroups.x-th stretch of x. C twin: struct
// sdg_push_measure_interval in backend/vulkan/ops/measure_interval.c.
layout(push_constant) uniform Push {
    uint packs; // loads of WIDTH elements
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };
layout(binding = 1) writeonly buffer Parts { vec2 parts[]; };

void main()
{
    VALUE least = VALUE(x[0]), most = least;
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_WorkGroupID.x * gl_WorkGroupSize.x + gl_LocalInvocationID.x; i < p.packs; i += stride) {
        VALUE value = VALUE(x[i]);
        least = min(least, value);
        most = max(most, value);
    }
#if WIDTH == 4
    vec2 mine = vec2(min(min(least.x, least.y), min(least.z, least.w)), max(max(most.x, most.y), max(most.z, most.w)));
#else
    vec2 mine = vec2(least, most);
#endif
    vec2 all = workgroup_extremes(mine);
    if (gl_LocalInvocationID.x == 0)
        parts[gl_WorkGroupID.x] = all;
}
