#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "types.glsl"
#include "group_norm.glsl"

// First of two passes: the moments of each chunk. What is known of channels goes to the same buffer, since devices are supported that
// bind eight: the second pass has no binding left for it.
layout(constant_id = SDG_SPEC_SMOOTHED) const uint SMOOTHED = 0;

layout(binding = 2) writeonly buffer Parts { vec2 parts[]; }; // see group_norm_apply.comp
layout(binding = 3) readonly buffer Gamma { float gamma[]; };
layout(binding = 4) readonly buffer Beta { float beta[]; };
layout(binding = 5) readonly buffer Smoothing { float smoothing[]; };

void main()
{
    divide_work();
    if (n == 0 && gl_WorkGroupID.y == 0)
        for (uint c = first_c + lane; c < first_c + width; c += length) {
            parts[2 * c] = vec2(gamma[c], beta[c]);
            parts[2 * c + 1] = vec2(SMOOTHED != 0 ? smoothing[c] : 1.0, 0.0);
        }
    MOMENTS moments = moments_of_chunk();
    if (has_group())
        parts[2 * p.c + (n * p.chunks + gl_WorkGroupID.y) * p.groups + first_group + lane] = moments.yz;
}
