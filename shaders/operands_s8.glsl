// Integers as the operands of matmul.glsl. An invocation's outputs along n are in groups of four neighbours.
#define UNITS int
#define B_UNITS ivec4
const uint A_UNITS = 1, B_ROW = 4; // B_ROW: rows of w in a load
#ifdef DOT
const uint UNROLLED = 4;
#else
const uint UNROLLED = 1; // each step is four; more of them only lengthen compilation
#endif
const uint SLOTS_K = BK; // loads that cover one row of a slice
const uint ROWS_AT_ONCE = THREADS / SLOTS_K;
const uint PITCH_A = BM + 4; // the padding spreads the stores over the banks
const uint PITCH_B = BN / B_ROW + 1;
const uint GROUP = 4;

layout(constant_id = SDG_SPEC_BUFFERS) const uint BUFFERS = 1; // slices of each operand in shared memory: 1 or 2
shared int tile_a[BUFFERS * BK * PITCH_A];
shared ivec4 tile_b[BUFFERS * BK * PITCH_B];

#include "epilogue.glsl"
#include "weights_s8.glsl"

#ifdef DOT
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450) // OpSDotKHR
int packed_dot(int a, int b, spirv_literal int format);
#endif

void keep_a(uint k, uint m, int v)
{
    tile_a[k * PITCH_A + m] = v;
}

void keep_b(uint k, uint four, ivec4 v)
{
    tile_b[k * PITCH_B + four] = v;
}
