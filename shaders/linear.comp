#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"

// x [m, k] times w [n, k] transposed. C twin: struct sdg_push_linear in backend/vulkan/ops/linear.c.
layout(push_constant) uniform Push {
    uint m, n, k;
    uint rows_per_sample; // H * W
    uint table_samples;
    uint in_c; // k
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };

#define A_ROW uint
uint cursor;

uint a_row(uint m)
{
    return m;
}

void cursor_start(uint k)
{
    cursor = k;
}

VALUE a_load(uint m)
{
    return m < p.m ? VALUE(x[(m * p.k + cursor) / WIDTH]) : VALUE(0.0);
}

void cursor_advance()
{
    cursor += 16; // BK
}

uint sample_of(uint m)
{
    return m / p.rows_per_sample;
}

#include "matmul.glsl"
