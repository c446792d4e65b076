// Storage types of a variant: STORAGE_F16 (needs 16-bit storage) or f32; WIDTH elements a load: 1, 4, or what 16 bytes hold (8 of f16, 16
// codes), which stay bits. Arithmetic is always f32, but for the products of cooperative matrices and of pairs.
// MOVED: elements of that size whose bits are copied as they are.
#extension GL_EXT_control_flow_attributes : require
#include "spec.h"
#ifdef STORAGE_F16
#extension GL_EXT_shader_16bit_storage : require
#define SCALAR float16_t
#define VECTOR f16vec4
#define VECTOR_2 f16vec2
#define MOVED float16_t
#else
#define SCALAR float
#define VECTOR vec4
#define VECTOR_2 vec2
#define MOVED uint
#endif

#ifdef COOPMAT
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#endif

#ifdef PAIRS
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif

// PACK is what a wide load gets from a buffer, VALUE what it becomes in registers.
#ifndef WIDTH
#define WIDTH 1
#endif
#if WIDTH >= 8
#define PACK uvec4
#define VALUE uvec4
#elif WIDTH == 4
#define PACK VECTOR
#ifdef PAIRS
#define VALUE VECTOR
#else
#define VALUE vec4
#endif
#else
#define PACK SCALAR
#define VALUE float
#endif

// Every variant takes its workgroup's length from this id, so that the host fits it to the device.
layout(local_size_x_id = SDG_SPEC_LOCAL_SIZE, local_size_y = 1, local_size_z = 1) in;

// Work items are counted over a grid that is folded into y where one dimension of it would be too long for the device.
uint folded_group()
{
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

uint folded_invocation()
{
    return folded_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
}
