#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "types.glsl"
#include "functions.glsl"
#define OUT_BINDING 4
#define ROW_BINDING 5
#define SMOOTHED_CODES
#include "codes.glsl"
#include "group_norm.glsl"

// Statistics and result in one pass: a chunk is a sample.
layout(binding = 2) readonly buffer Gamma { float gamma[]; };
layout(binding = 3) readonly buffer Beta { float beta[]; };

vec3 affine_of(uint c)
{
    return vec3(gamma[c], beta[c], SMOOTHED != 0 ? smoothing[c] : 1.0);
}

#include "normalise.glsl"

void main()
{
    divide_work();
    normalise(moments_of_chunk());
}
