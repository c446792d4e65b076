// Signed bytes as the operands of matmul_lanes.glsl. A unit of k is a word of four, and so is a load.
#define A_LOAD int
#define A_OUTSIDE outside
const uint LOAD_UNITS = 1;
const uint GROUP = 4;

#include "epilogue.glsl"
#include "weights_s8.glsl"
#include "lanes.glsl"

int a_read(uint at)
{
    return int(x[at / 4] ^ FLIP);
}

// Adds the products of what was read of x, word k of each row, and the weights; row by row as in lanes_float.glsl.
void multiply(uint n0, uint lane, uint k)
{
    ivec4 b[TN / 4];
    [[unroll]] for (uint j = 0; j < TN / 4; j++)
        b[j] = b_load(min(n0 + column(lane, 4 * j), p.n - 1) / 4, k);
    int w[4 * TN];
    [[unroll]] for (uint c = 0; c < 4; c++)
        [[unroll]] for (uint j = 0; j < TN; j++)
            w[c * TN + j] = bitfieldExtract(b[j / 4][j % 4], int(8 * c), 8);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint c = 0; c < 4; c++) {
            int code = subgroupShuffle(bitfieldExtract(a[i / LANE_COUNT], int(8 * c), 8), i % LANE_COUNT);
            [[unroll]] for (uint j = 0; j < TN; j++)
                sum[i * TN + j] += code * w[c * TN + j];
        }
}
