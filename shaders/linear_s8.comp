#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef DOT
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "types.glsl"
#include "functions.glsl"
#include "read_codes.glsl"

// Codes [m, in_c] times integers [n, in_c] transposed. C twin: struct sdg_push_linear in backend/vulkan/ops/linear.c.
layout(push_constant) uniform Push {
    uint m, n, k;         // k: words
    uint rows_per_sample; // H * W
    uint table_samples;
    uint in_c;
} p;

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

void cursor_advance()
{
    cursor += 8; // BK
}

uint a_load(uint m, uint outside)
{
    return m < p.m ? read_codes(m * p.in_c + 4 * cursor, p.in_c - 4 * cursor) : outside;
}

uint sample_of(uint m)
{
    return m / p.rows_per_sample;
}

#include "matmul_s8.glsl"
