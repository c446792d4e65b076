#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#ifdef DOT
#extension GL_EXT_spirv_intrinsics : require
#endif

// Nothing but multiply-adds in registers, of floats or with DOT of packed bytes: what a device reaches at most. Sums are independent, as
// many as an invocation of a product has (matmul.glsl). C twin: struct push in backend/vulkan/vk_peaks.c.
layout(push_constant) uniform Push { uint rounds; } p;
const uint SUMS = 32, STEPS = 8; // STEPS multiply-adds of each sum in a round; of words each is four

#ifdef DOT
#define NUMBER int
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450) // OpSDotKHR
int packed_dot(int a, int b, spirv_literal int format);
#define ADD(sum, a, b) sum += packed_dot(a, b, 0) // 0: PackedVectorFormat4x8Bit
#else
#define NUMBER float
#define ADD(sum, a, b) sum += a * b
#endif

layout(binding = 0) readonly buffer X { NUMBER x[]; };
layout(binding = 1) writeonly buffer Out { NUMBER result[]; };

void main()
{
    NUMBER sum[SUMS], a[4], b = x[gl_LocalInvocationID.x];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] = NUMBER(i);
    [[unroll]] for (uint i = 0; i < 4; i++)
        a[i] = x[i];
    [[dont_unroll]] for (uint round = 0; round < p.rounds; round++)
        [[unroll]] for (uint s = 0; s < STEPS; s++)
            [[unroll]] for (uint i = 0; i < SUMS; i++)
                ADD(sum[i], a[(i + s) % 4], b);
    NUMBER total = NUMBER(0);
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        total += sum[i];
    result[folded_invocation()] = total;
}
