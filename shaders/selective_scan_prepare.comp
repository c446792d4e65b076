#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Gathers what is small, so that the scan binds no more buffers than every device has, and computes once what all tokens share:
//     [STATES][C] of -exp(A_log), [C] of D, [C] of the delta bias, and the row's intervals: scale and zero point each.
// C twin: struct sdg_push_selective_scan_prepare in backend/vulkan/ops/selective_scan.c.
layout(push_constant) uniform Push {
    uint c, pairs; // intervals to copy, of a row
} p;
layout(constant_id = SDG_SPEC_OUT_PAIRS) const uint OUT_PAIRS = 0; // as in codes.glsl
layout(constant_id = SDG_SPEC_STATES) const uint STATES = 16;
layout(constant_id = SDG_SPEC_DELTA_BIAS) const uint DELTA_BIAS = 0; // there is one

layout(binding = 0) readonly buffer ALog { float a_log[]; }; // [C][STATES]
layout(binding = 1) readonly buffer D { float d[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Constants { float constants[]; };
layout(binding = 4) readonly buffer Row { uint row; };
layout(binding = 5) readonly buffer Interval { float intervals[]; };

float number(uint kind, uint c)
{
    if (kind < STATES)
        return -exp(a_log[c * STATES + kind]);
    return kind == STATES ? d[c] : DELTA_BIAS != 0 ? bias[c] : 0.0;
}

void main()
{
    uint i = folded_invocation(), numbers = (STATES + 2) * p.c;
    if (i < numbers)
        constants[i] = number(i / p.c, i % p.c);
    else if (i < numbers + 2 * p.pairs)
        constants[i] = intervals[2 * row * OUT_PAIRS + i - numbers];
}
