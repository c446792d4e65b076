#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#include "read_codes.glsl"
#include "sum_parts_push.glsl"
#include "epilogue.glsl"
#include "weights_s8.glsl"

layout(binding = 0) readonly buffer PartFours { ivec4 part_fours[]; };

#include "sum_parts.glsl"
