// Halves as the operands of matmul_coopmat.glsl. A unit of k is a channel, and a load is eight of them, which is a piece of a slice.
#define OPERAND float16_t
#define PIECE uvec4
#define A_LOAD uvec4
#define B_LOAD uvec4
const uint UNITS = 8, ROWS_B = 1; // of k in a load of either operand; rows of w in one
const uint PIECES = 1;            // of a row in a load
const uint DEPTH = BK;            // components of a row of a slice
const uint PADDING = 1;           // pieces

#include "slices.glsl"
#include "epilogue.glsl"
#include "weights_float.glsl"

// Weights [k, k + 8) of column n, zeros if it is not inside.
uvec4 fetch_b(uint n, uint k, bool inside)
{
    uint at = place_of_weight(row_of_weights(n), k);
    if (!inside)
        return uvec4(0);
    if (WEIGHT_BITS == 0)
        return weights[at / 8];
    const int bits = int(WEIGHT_BITS), per_word = 32 / max(bits, 1);
    uint first = codes[at / per_word], second = per_word == 8 ? first : codes[at / per_word + 1];
    uvec4 halves;
    [[unroll]] for (int c = 0; c < 8; c += 2) { // exact: halves hold all integers up to 2048
        int word = int(c < per_word ? first : second), shift = c % per_word * bits;
        halves[c / 2] = packHalf2x16(vec2(bitfieldExtract(word, shift, bits), bitfieldExtract(word, shift + bits, bits)));
    }
    return halves;
}

void keep_a(uint at, uvec4 v)
{
    slices[at] = v;
}

void keep_b(uint at, uvec4 v)
{
    slices[at] = v;
}
