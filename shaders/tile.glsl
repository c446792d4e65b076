// The tile of a product: a row of variants.txt, chosen by the host (backend/vulkan/ops/matmul.c).
//
// A workgroup makes BM x BN outputs, an invocation TM x TN of them. Both operands pass through shared memory in slices of BK units along
// k: channels, or words of four codes. BK is the set's, known when the shader is compiled: 7 % faster than a constant of the pipeline.
layout(constant_id = SDG_SPEC_BM) const uint BM = 32;
layout(constant_id = SDG_SPEC_BN) const uint BN = 32;
layout(constant_id = SDG_SPEC_TM) const uint TM = 4;
layout(constant_id = SDG_SPEC_TN) const uint TN = 4; // a multiple of 4

const uint THREADS_N = BN / TN;
const uint THREADS = (BM / TM) * THREADS_N; // the length of a workgroup
