#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// A row's intervals of one operand of a scan, to where selective_scan_prepare.comp left room for them: more buffers than that shader may
// bind. C twin: struct sdg_push_selective_scan_intervals in backend/vulkan/ops/selective_scan.c.
layout(push_constant) uniform Push {
    uint begin, count; // numbers
} p;
layout(constant_id = SDG_SPEC_IN_PAIRS) const uint IN_PAIRS = 0; // of a row; 0: the same in all

layout(binding = 0) readonly buffer Row { uint row; };
layout(binding = 1) readonly buffer Interval { float intervals[]; };
layout(binding = 2) writeonly buffer Constants { float constants[]; };

void main()
{
    uint i = folded_invocation();
    if (i < p.count)
        constants[p.begin + i] = intervals[2 * row * IN_PAIRS + i];
}
