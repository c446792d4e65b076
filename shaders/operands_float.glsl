// Floats as the operands of matmul.glsl. A unit of k is a channel, and a load has WIDTH of them. Where results are codes, an invocation
// owns four neighbours along n, which make a word; else its columns are BN / TN apart, so that stores are contiguous across invocations.
#include "weights_float.glsl"

#define UNITS VALUE
#define B_UNITS VALUE
const uint A_UNITS = WIDTH, B_ROW = 1; // B_ROW: rows of w in a load
const uint UNROLLED = 4;
const uint SLOTS_K = BK / A_UNITS; // loads that cover one row of a slice
const uint ROWS_AT_ONCE = THREADS / SLOTS_K;
const uint PITCH_A = BM + 2; // the two words spread the transposing stores over the banks
const uint PITCH_B = BN + 2;

shared float tile_a[BK * PITCH_A];
shared float tile_b[BK * PITCH_B];

#include "epilogue.glsl"
const uint GROUP = CODES ? 4 : 1;

// Weights [k, k + WIDTH) of row n; both are multiples of WIDTH, so they lie in one word if they are codes.
VALUE b_load(uint n, uint k)
{
    uint at = n * p.k + k;
    if (WEIGHT_BITS == 0)
        return VALUE(weights[at / WIDTH]);
    const uint per_word = 32 / max(WEIGHT_BITS, 1);
    int word = int(codes[at / per_word] >> (at % per_word * WEIGHT_BITS));
#if WIDTH == 4
    const int bits = int(WEIGHT_BITS);
    return vec4(bitfieldExtract(word, 0, bits), bitfieldExtract(word, bits, bits), bitfieldExtract(word, 2 * bits, bits),
                bitfieldExtract(word, 3 * bits, bits));
#else
    return float(bitfieldExtract(word, 0, int(WEIGHT_BITS)));
#endif
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

// Where in the tile output j of an invocation is.
uint column(uint first_n, uint j)
{
    return CODES ? (j / 4 * THREADS_N + first_n) * 4 + j % 4 : first_n + j * THREADS_N;
}
