// Floats as the operands of matmul.glsl. A unit of k is a channel, and a load has WIDTH of them. Where results are codes, an invocation
// owns four neighbours along n, which make a word, as it does where they are gated; else its columns are BN / TN apart, so that stores are contiguous across invocations.
#include "weights_float.glsl"

#define UNITS VALUE
#define B_UNITS VALUE
const uint A_UNITS = WIDTH, B_ROW = 1; // B_ROW: rows of w in a load
const uint UNROLLED = 4;
const uint SLOTS_K = BK / A_UNITS; // loads that cover one row of a slice
const uint ROWS_AT_ONCE = THREADS / SLOTS_K;
const uint PITCH_A = BM + 2; // the two words spread the transposing stores over the banks
const uint PITCH_B = BN + 2;

layout(constant_id = SDG_SPEC_BUFFERS) const uint BUFFERS = 1; // slices of each operand in shared memory: 1 or 2
shared float tile_a[BUFFERS * BK * PITCH_A];
shared float tile_b[BUFFERS * BK * PITCH_B];

#include "epilogue.glsl"
const uint GROUP = CODES || GATED != 0 ? 4 : 1;

#include "load_weights.glsl"

B_UNITS b_load(uint n, uint k)
{
    return weights_at(n, k);
}

void keep_a(uint k, uint m, VALUE v)
{
#if WIDTH == 4
    [[unroll]] for (uint c = 0; c < 4; c++)
        tile_a[(k + c) * PITCH_A + m] = v[c];
#else
    tile_a[k * PITCH_A + m] = v;
#endif
}

void keep_b(uint k, uint n, VALUE v)
{
#if WIDTH == 4
    [[unroll]] for (uint c = 0; c < 4; c++)
        tile_b[(k + c) * PITCH_B + n] = v[c];
#else
    tile_b[k * PITCH_B + n] = v;
#endif
}
