// out[m][n] = epilogue(sum over k of a[m][k] * w[n][k]): the body of linear.comp and conv2d.comp.
//
// A workgroup makes a BM x BN tile of the output. Both operands pass through shared memory in slices of BK, stored k-major, so
// that in the inner loop neighbouring invocations read neighbouring words of w and the same word of a. An invocation owns TM x TN
// outputs, BM/TM and BN/TN apart: its stores along n are contiguous across invocations. Where results are codes, it owns four
// neighbours along n, which make a word.
//
// The including file defines, before this one, the push constants p (with m, n, k) and
//     A_ROW a_row(uint m)                   what has to be known of row m, once
//     VALUE a_load(A_ROW row)               elements [k, k + WIDTH) of a row, 0 outside, at the cursor
//     void cursor_start(uint k), cursor_advance()   the k of this invocation's loads, advanced by BK
//     uint sample_of(uint m)                the batch index of row m
const uint BK = 16;
layout(constant_id = 0) const uint BM = 32;
layout(constant_id = 1) const uint BN = 32;
layout(constant_id = 2) const uint TM = 4;
layout(constant_id = 3) const uint TN = 4;

const uint THREADS_N = BN / TN;
const uint THREADS = (BM / TM) * THREADS_N; // the host sets the workgroup's length to this
const uint SLOTS_K = BK / WIDTH;            // loads that cover one row of a slice
const uint ROWS_AT_ONCE = THREADS / SLOTS_K;
const uint LOADS_A = (BM + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint LOADS_B = (BN + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint PITCH_A = BM + 2; // the two words spread the transposing stores over the banks
const uint PITCH_B = BN + 2;

layout(constant_id = 11) const uint WEIGHT_BITS = 0; // of weights that are codes, 8 or 4, in the same order, with a scale per n behind them; 0: floats

layout(binding = 1) readonly buffer Weights { PACK weights[]; };
layout(binding = 1) readonly buffer Codes { uint codes[]; };
layout(binding = 1) readonly buffer Scales { float scales[]; };
layout(binding = 2) writeonly buffer Out { SCALAR result[]; };
shared float tile_a[BK * PITCH_A];
shared float tile_b[BK * PITCH_B];

#include "epilogue.glsl"

// Weights [at, at + WIDTH); at is a multiple of WIDTH, so they lie in one word if they are codes.
VALUE load_weights(uint at)
{
    if (WEIGHT_BITS == 0)
        return VALUE(weights[at / WIDTH]);
    const uint per_word = 32 / max(WEIGHT_BITS, 1);
    int word = int(codes[at / per_word] >> (at % per_word * WEIGHT_BITS));
#if WIDTH == 4
    const int bits = int(WEIGHT_BITS);
    return vec4(bitfieldExtract(word, 0, bits), bitfieldExtract(word, bits, bits), bitfieldExtract(word, 2 * bits, bits), bitfieldExtract(word, 3 * bits, bits));
#else
    return float(bitfieldExtract(word, 0, int(WEIGHT_BITS)));
#endif
}

// What the sums are to be multiplied with.
float weight_scale(uint n)
{
    return WEIGHT_BITS == 0 ? 1.0 : scales[(p.n * p.k * WEIGHT_BITS + 31) / 32 + n];
}

// Where in the tile output j of an invocation is.
uint column(uint first_n, uint j)
{
    return CODES ? (j / 4 * THREADS_N + first_n) * 4 + j % 4 : first_n + j * THREADS_N;
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

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint m0 = gl_WorkGroupID.x * BM, n0 = gl_WorkGroupID.y * BN;
    uint slot_k = (lane % SLOTS_K) * WIDTH, slot_row = lane / SLOTS_K;
    uint first_m = lane / THREADS_N, first_n = lane % THREADS_N;

    A_ROW rows[LOADS_A];
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        rows[i] = a_row(m0 + slot_row + i * ROWS_AT_ONCE);
    cursor_start(slot_k);

    float sum[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sum[i] = 0.0;

    for (uint k0 = 0; k0 < p.k; k0 += BK) {
        uint k = k0 + slot_k;
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
            uint m = slot_row + i * ROWS_AT_ONCE;
            if (m < BM)
                keep_a(slot_k, m, k < p.k ? a_load(rows[i]) : VALUE(0.0));
        }
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
            uint n = slot_row + i * ROWS_AT_ONCE;
            if (n < BN)
                keep_b(slot_k, n, k < p.k && n0 + n < p.n ? load_weights((n0 + n) * p.k + k) : VALUE(0.0));
        }
        cursor_advance();
        barrier();
        [[dont_unroll]] for (uint quarter = 0; quarter < BK; quarter += BK / 4) // all 16 at once only lengthen compilation
            [[unroll]] for (uint s = quarter; s < quarter + BK / 4; s++) {
                float a[TM], b[TN];
                [[unroll]] for (uint i = 0; i < TM; i++)
                    a[i] = tile_a[s * PITCH_A + first_m + i * (BM / TM)];
                [[unroll]] for (uint j = 0; j < TN; j++)
                    b[j] = tile_b[s * PITCH_B + column(first_n, j)];
                [[unroll]] for (uint i = 0; i < TM; i++)
                    [[unroll]] for (uint j = 0; j < TN; j++)
                        sum[i * TN + j] += a[i] * b[j];
            }
        barrier();
    }

    [[unroll]] for (uint i = 0; i < TM; i++) {
        uint m = m0 + first_m + i * (BM / TM);
        if (m >= p.m)
            continue;
        [[unroll]] for (uint j = 0; j < TN; j += CODES ? 4 : 1) {
            uint n = n0 + column(first_n, j);
            if (n >= p.n)
                continue;
            if (CODES) {
                vec4 y = vec4(0.0);
                uint count = min(4, p.n - n);
                [[unroll]] for (uint c = 0; c < 4; c++)
                    y[c] = epilogue(sum[i * TN + j + c] * weight_scale(min(n + c, p.n - 1)), m, min(n + c, p.n - 1));
                store_codes(m * p.n + n, y, count, coder(m));
            } else {
                result[m * p.n + n] = SCALAR(epilogue(sum[i * TN + j] * weight_scale(n), m, n));
            }
        }
    }
}
