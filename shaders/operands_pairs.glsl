// Halves as the operands of matmul.glsl, for devices that multiply two of them in the time that a float takes. A unit of k is a channel, a
// load has four. Both operands lie in shared memory as words of two halves: of a row of x one half twice, of w those of two neighbours along
// n. So a step multiplies words as they are loaded, and an invocation's outputs along n are in groups of four neighbours.
//
// A slice of k is summed up in halves and then added to sums in f32: what is lost is that of BK additions, whatever k is. Weights that are
// codes are made less than 1, as most weights are, so that a slice's sum is a half wherever it was one of floats.
#include "weights_float.glsl"

#define UNITS VALUE
#define B_UNITS uvec4
const uint A_UNITS = 4, B_ROW = 2; // B_ROW: rows of w in a load
const uint UNROLLED = 4;
const uint SLOTS_K = BK / A_UNITS; // loads that cover one row of a slice
const uint ROWS_AT_ONCE = THREADS / SLOTS_K;
const uint PITCH_A = BM + 2; // as in operands_float.glsl
const uint PITCH_B = BN / B_ROW + 1;
const uint GROUP = 4;

layout(constant_id = SDG_SPEC_BUFFERS) const uint BUFFERS = 1; // slices of each operand in shared memory: 1 or 2
shared uint tile_a[BUFFERS * BK * PITCH_A];
shared uint tile_b[BUFFERS * BK * PITCH_B];

#include "epilogue.glsl"

#define CODE_UNIT (WEIGHT_BITS == 4 ? 8.0 : 128.0)
#include "load_weights.glsl"

uvec4 b_load(uint two, uint k)
{
    VALUE first = weights_at(two * B_ROW, k), second = weights_at(min(two * B_ROW + 1, p.n - 1), k);
    uvec4 words;
    [[unroll]] for (uint c = 0; c < 4; c++)
        words[c] = packFloat2x16(f16vec2(first[c], second[c]));
    return words;
}

void keep_a(uint k, uint m, VALUE v)
{
    [[unroll]] for (uint c = 0; c < 4; c++)
        tile_a[(k + c) * PITCH_A + m] = packFloat2x16(f16vec2(v[c]));
}

void keep_b(uint k, uint two, uvec4 words)
{
    [[unroll]] for (uint c = 0; c < 4; c++)
        tile_b[(k + c) * PITCH_B + two] = words[c];
}
