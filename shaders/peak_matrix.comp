#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// Nothing but products of cooperative matrices in registers: of halves with sums in f32, or of signed bytes with sums in s32. What a device
// reaches at most of matmul_coopmat.glsl's arithmetic. C twin: struct push in backend/vulkan/vk_peaks.c.
layout(push_constant) uniform Push { uint rounds; } p;
layout(constant_id = SDG_SPEC_FRAGMENT_M) const uint FM = 16;
layout(constant_id = SDG_SPEC_FRAGMENT_N) const uint FN = 16;
layout(constant_id = SDG_SPEC_FRAGMENT_K) const uint FK = 16;
const uint SUMS = 8, STEPS = 4; // independent sums, and products of each in a round

#ifdef STORAGE_F16
#define OPERAND float16_t
#define SUM float
#define PIECE uvec4
#else
#define OPERAND int8_t
#define SUM int
#define PIECE uvec2
#endif
const uint COMPONENTS = 8; // of a piece
layout(binding = 0) readonly buffer X { PIECE x[]; };
layout(binding = 1) writeonly buffer Out { SUM result[]; };
shared PIECE slice[(FM + SUMS * FN) * FK / COMPONENTS];

void main()
{
    coopmat<SUM, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator> sum[SUMS];
    coopmat<OPERAND, gl_ScopeSubgroup, FM, FK, gl_MatrixUseA> a;
    coopmat<OPERAND, gl_ScopeSubgroup, FK, FN, gl_MatrixUseB> b[SUMS]; // one each: a compiler may not share their products
    for (uint i = gl_LocalInvocationID.x; i < (FM + SUMS * FN) * FK / COMPONENTS; i += gl_WorkGroupSize.x)
        slice[i] = x[i];
    barrier();
    coopMatLoad(a, slice, 0, FK / COMPONENTS, gl_CooperativeMatrixLayoutRowMajor);
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        coopMatLoad(b[i], slice, (FM + i * FN) * FK / COMPONENTS, FK / COMPONENTS, gl_CooperativeMatrixLayoutColumnMajor);
        sum[i] = coopmat<SUM, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator>(SUM(i));
    }
    [[dont_unroll]] for (uint round = 0; round < p.rounds; round++) {
        [[unroll]] for (uint s = 0; s < STEPS; s++)
            [[unroll]] for (uint i = 0; i < SUMS; i++)
                sum[i] = coopMatMulAdd(a, b[i], sum[i]);
        a = -a; // nor take them out of the loop
    }
    [[unroll]] for (uint i = 1; i < SUMS; i++)
        sum[0] += sum[i];
    result[folded_invocation()] = sum[0][0];
}
