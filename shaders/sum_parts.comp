#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#include "sum_parts_push.glsl"
#include "epilogue.glsl"
#include "weights_float.glsl"

layout(binding = 0) readonly buffer PartFours { vec4 part_fours[]; };

#include "sum_parts.glsl"
