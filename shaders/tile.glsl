// The tile of a product: a row of variants.txt, chosen by the host (backend/vulkan/ops/matmul.c).
//
// A workgroup makes BM x BN outputs, an invocation TM x TN of them. Both operands pass through shared memory in slices of BK units along
// k: channels, or words of four codes. BK is the set's, known when the shader is compiled: 7 % faster than a constant of the pipeline.
layout(constant_id = SDG_SPEC_BM) const uint BM = 32;
layout(constant_id = SDG_SPEC_BN) const uint BN = 32;
layout(constant_id = SDG_SPEC_TM) const uint TM = 4;
layout(constant_id = SDG_SPEC_TN) const uint TN = 4; // a multiple of 4
layout(constant_id = SDG_SPEC_BY_COLUMNS) const uint BY_COLUMNS = 0;

// The first row and column of this workgroup's tile. Workgroups that are started one after the other are beside each other along rows and
// share columns of w, or BY_COLUMNS the other way round: which of the operands then stays in caches.
uvec2 tile_start()
{
    return (BY_COLUMNS != 0 ? gl_WorkGroupID.yx : gl_WorkGroupID.xy) * uvec2(BM, BN);
}

const uint THREADS_N = BN / TN;
const uint THREADS = (BM / TM) * THREADS_N; // the length of a workgroup
