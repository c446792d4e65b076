#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#include "tile.glsl"

#define UNIT 1
#if WIDTH > 1 && defined STORAGE_F16 && !defined LANES
#define NORMALISES
#endif
#include "linear.glsl"

// x [m, k] times w [n, k] transposed.
layout(binding = 0) readonly buffer X { PACK x[]; };

VALUE a_load(A_ROW row)
{
    uint m = ROW_NUMBER(row);
    return m < p.m ? VALUE(x[(m * p.k + cursor) / WIDTH]) : VALUE(0.0);
}

#ifdef COOPMAT
#include "fragments_f16.glsl"
#include "matmul_coopmat.glsl"
#elif defined LANES
#include "lanes_float.glsl"
#include "matmul_lanes.glsl"
#else
#ifdef PAIRS
#include "operands_pairs.glsl"
#else
#include "operands_float.glsl"
#endif
#include "matmul.glsl"
#endif
