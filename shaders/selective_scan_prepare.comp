#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Gathers what is small, so that the scan binds no more buffers than every device has, and computes once what all tokens share:
//     [STATES][C] of -exp(A_log), [C] of D, [C] of the delta bias, [C] of factors that smooth if there are some, and the row's intervals,
//     scale and zero point each: those of x, room for those of delta and gate (selective_scan_intervals.comp), those of the result.
// C twin: struct sdg_push_selective_scan_prepare in backend/vulkan/ops/selective_scan.c.
layout(push_constant) uniform Push {
    uint c, x_pairs, room, pairs; // intervals of a row: to copy, to leave room for, to copy
} p;
layout(constant_id = SDG_SPEC_OUT_PAIRS) const uint OUT_PAIRS = 0; // as in codes.glsl
layout(constant_id = SDG_SPEC_IN_PAIRS) const uint IN_PAIRS = 0;
layout(constant_id = SDG_SPEC_SMOOTHED) const uint SMOOTHED = 0;
layout(constant_id = SDG_SPEC_STATES) const uint STATES = 16;
layout(constant_id = SDG_SPEC_DELTA_BIAS) const uint DELTA_BIAS = 0; // there is one

layout(binding = 0) readonly buffer ALog { float a_log[]; }; // [C][STATES]
layout(binding = 1) readonly buffer D { float d[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Constants { float constants[]; };
layout(binding = 4) readonly buffer Row { uint row; };
layout(binding = 5) readonly buffer Interval { float intervals[]; };
layout(binding = 6) readonly buffer Smoothing { float smoothing[]; };
layout(binding = 7) readonly buffer XInterval { float x_intervals[]; };

float number(uint kind, uint c)
{
    if (kind < STATES)
        return -exp(a_log[c * STATES + kind]);
    if (kind > STATES + 1)
        return smoothing[c];
    return kind == STATES ? d[c] : DELTA_BIAS != 0 ? bias[c] : 0.0;
}

void main()
{
    uint i = folded_invocation(), numbers = (STATES + 2 + SMOOTHED) * p.c, x_end = numbers + 2 * p.x_pairs, out_begin = x_end + 2 * p.room;
    if (i < numbers)
        constants[i] = number(i / p.c, i % p.c);
    else if (i < x_end)
        constants[i] = x_intervals[2 * row * IN_PAIRS + i - numbers];
    else if (i >= out_begin && i < out_begin + 2 * p.pairs)
        constants[i] = intervals[2 * row * OUT_PAIRS + i - out_begin];
}
