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
#include "conv2d.glsl"

CODES_READ a_load(Window window)
{
    uint pixel;
    return find_pixel(window, pixel) ? load_codes(pixel * p.in_c + 4 * unit, p.in_c - 4 * unit) : CODES_READ(outside);
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
