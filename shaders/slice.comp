#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Channels [start, start + c) of x. C twin: struct sdg_push_slice in backend/vulkan/ops/slice.c.
layout(push_constant) uniform Push {
    uint total, c, in_c, start;
} p;

layout(binding = 0) readonly buffer X { MOVED x[]; };
layout(binding = 1) writeonly buffer Out { MOVED result[]; };

uint source(uint i)
{
    return i / p.c * p.in_c + p.start + i % p.c;
}

#include "move.glsl"
