#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Reads a buffer once a round, four floats at a time, each workgroup a stretch of its own and neighbours by neighbours; with COPIED it
// writes what it reads, else a sum of it.
// C twin: struct push in backend/vulkan/vk_peaks.c.
layout(push_constant) uniform Push {
    uint rounds;
    uint fours; // of the buffer, for each workgroup as many: a multiple of its invocations
} p;
layout(constant_id = SDG_SPEC_COPIED) const uint COPIED = 0;

layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Out { vec4 result[]; };

void main()
{
    uint stretch = p.fours / gl_NumWorkGroups.x, first = gl_WorkGroupID.x * stretch;
    vec4 sum = vec4(0.0);
    for (uint round = 0; round < p.rounds; round++)
        for (uint i = first + gl_LocalInvocationID.x; i < first + stretch; i += gl_WorkGroupSize.x) {
            if (COPIED != 0)
                result[i] = x[i];
            else
                sum += x[i];
        }
    if (COPIED == 0)
        result[first + gl_LocalInvocationID.x] = sum;
}
