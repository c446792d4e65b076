#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "types.glsl"
#include "functions.glsl"
#define OUT_BINDING 3
#define ROW_BINDING 4
#include "codes.glsl"
#include "group_norm.glsl"

// Second of two passes: statistics of the sample from those of its chunks, then the result.
//
// [C][2]: gamma and beta, factor of smoothing; then [N][chunks][groups]: mean, sum of squared distances from it
layout(binding = 2) readonly buffer Parts { vec2 parts[]; };

vec3 affine_of(uint c)
{
    return vec3(parts[2 * c], parts[2 * c + 1].x);
}

#include "normalise.glsl"

MOMENTS moments_of_parts()
{
    uint at_once = min(length / p.span, p.chunks), group = lane / at_once, part = lane % at_once;
    if (group < p.span && group * p.group < width) {
        MOMENTS sum = MOMENTS(0.0);
        for (uint chunk = part; chunk < p.chunks; chunk += at_once) {
            float count = float(min(p.chunk, p.pixels - chunk * p.chunk) * p.group);
            sum = merged(sum, MOMENTS(count, parts[2 * p.c + (n * p.chunks + chunk) * p.groups + first_group + group]));
        }
        found[group * at_once + part] = sum;
    }
    return merged_entries(at_once);
}

void main()
{
    divide_work();
    normalise(moments_of_parts());
}
