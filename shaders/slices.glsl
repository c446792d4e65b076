// The slices of both operands of matmul_coopmat.glsl in shared memory, as fragments_*.glsl have said: rows of DEPTH components of matrices
// and PADDING, in pieces of eight; those of a, then those of w, once or twice.
layout(constant_id = SDG_SPEC_FRAGMENT_M) const uint FM = 16; // a matrix, as the device has them
layout(constant_id = SDG_SPEC_FRAGMENT_N) const uint FN = 16;
layout(constant_id = SDG_SPEC_FRAGMENT_K) const uint FK = 16;
layout(constant_id = SDG_SPEC_BUFFERS) const uint BUFFERS = 2; // 1 or 2

const uint COMPONENTS = 8; // of a piece
const uint PITCH = DEPTH / COMPONENTS + PADDING;
const uint SLICE_W = BM * PITCH; // where those of w begin
const uint BUFFER = SLICE_W + BN * PITCH;
shared PIECE slices[BUFFERS * BUFFER];
