#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef DOT
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "types.glsl"
#include "functions.glsl"
#include "tile.glsl"
#if defined STORAGE_F16 && !defined LANES
#define ROUNDS
#endif
#include "read_codes.glsl"

#define UNIT 4
#include "linear.glsl"

// Codes [m, in_c] times integers [n, in_c] transposed.
CODES_READ a_load(uint m)
{
    return m < p.m ? load_codes(m * p.in_c + 4 * cursor, p.in_c - 4 * cursor) : CODES_READ(outside);
}

#ifdef COOPMAT
#include "fragments_s8.glsl"
#include "matmul_coopmat.glsl"
#elif defined LANES
#include "lanes_s8.glsl"
#include "matmul_lanes.glsl"
#else
#define INTEGERS
#include "operands_s8.glsl"
#include "matmul.glsl"
#endif
