#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Source index floor(i * in / out). C twin: struct sdg_push_upsample_nearest in backend/vulkan/ops/upsample_nearest.c.
layout(push_constant) uniform Push {
    uint total, c;
    uint in_h, in_w, out_h, out_w;
} p;

layout(binding = 0) readonly buffer X { MOVED x[]; };
layout(binding = 1) writeonly buffer Out { MOVED result[]; };

uint source(uint i)
{
    uint pixel = i / p.c, column = pixel % p.out_w, line = pixel / p.out_w % p.out_h, n = pixel / (p.out_w * p.out_h);
    return ((n * p.in_h + line * p.in_h / p.out_h) * p.in_w + column * p.in_w / p.out_w) * p.c + i % p.c;
}

#include "move.glsl"
