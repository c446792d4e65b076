// Signed bytes as the operands of matmul_coopmat.glsl. A unit of k is a word of four, and a load is four of them: 16 codes of a row, or
// 16 weights of each of four rows, which come as words [k][n] and are stored as [n][k].
#define OPERAND int8_t
#define PIECE uvec2
#define A_LOAD uvec4
#define B_LOAD FourRows
const uint UNITS = 4, ROWS_B = 4; // of k in a load of either operand; rows of w in one
const uint PIECES = 2;            // of a row in a load
const uint DEPTH = 4 * BK;        // components of a row of a slice
const uint PADDING = 2;           // pieces

#include "slices.glsl"
#include "epilogue.glsl"
#include "weights_s8.glsl"

struct FourRows {
    uvec4 row[4];
};

// Words [k, k + 4) of the weights of rows four * 4 and the three behind it, zeros if they are not inside.
FourRows fetch_b(uint four, uint k, bool inside)
{
    ivec4 w[4];
    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = inside ? b_load(four, k + i) : ivec4(0);
    FourRows v;
    [[unroll]] for (uint c = 0; c < 4; c++)
        v.row[c] = uvec4(w[0][c], w[1][c], w[2][c], w[3][c]);
    return v;
}

void keep_a(uint at, uvec4 v)
{
    slices[at] = v.xy;
    slices[at + 1] = v.zw;
}

void keep_b(uint at, FourRows v)
{
    [[unroll]] for (uint c = 0; c < 4; c++)
        keep_a(at + c * PITCH, v.row[c]);
}
