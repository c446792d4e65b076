// out[m][n] = epilogue(sum over k of a[m][k] * w[n][k]): the body of linear and conv2d, of floats and of integers, on the tile of
// tile.glsl, for devices without cooperative matrices (matmul_coopmat.glsl). Slices are stored k-major, so that in the inner loop neighbouring invocations read neighbouring words of w and the same word
// of a. An invocation's outputs are BM / TM rows apart; its columns are those of column().
//
// The including file defines, before this one, the push constants p (with m, n, k, table_samples) and
//     A_ROW a_row(uint m)                            what has to be known of row m, once
//     UNITS a_load(A_ROW row)                        units of a row from the cursor on, as operands_*.glsl takes them
//     void cursor_start(uint k), cursor_advance()    the k of this invocation's loads, advanced by BK
//     uint sample_of(uint m)                         the batch index of row m
// and includes operands_float.glsl, or with INTEGERS defined operands_s8.glsl: what a slice holds, how it is loaded; weights_*.glsl, which those
// include, say how weights lie and what sums become.
// What a rung of the ladder does differently is the arithmetic in the middle of the loop, a file each.
//
// sum[] has to stay in registers, so every index of it must be known once loops are unrolled. A driver that finds the body of such a loop
// too long leaves it a loop and puts sum[] into memory, for the whole shader: products then run at a fifth or less of their speed, and
// nothing says so. So the end, where outputs are made of sums, is written in the two ways that were seen to stay in registers
// (docs/speed.md): rows outside and columns inside for floats, and straight lines without any loop for integers.

const uint LOADS_A = (BM + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint LOADS_B = (BN / B_ROW + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;

#include "columns.glsl"
#include "outputs.glsl"

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint m0 = tile_start().x, n0 = tile_start().y;
    uint slot_k = lane % SLOTS_K * A_UNITS, slot_row = lane / SLOTS_K;
    uint first_m = lane / THREADS_N, first_n = lane % THREADS_N;
    operands_start();

    A_ROW rows[LOADS_A];
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        rows[i] = a_row(m0 + slot_row + i * ROWS_AT_ONCE);
    cursor_start(slot_k);

    SUM sum[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sum[i] = SUM(0);

    for (uint k0 = 0; k0 < p.k; k0 += BK) {
        uint k = k0 + slot_k;
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
            uint m = slot_row + i * ROWS_AT_ONCE;
            if (m < BM)
                keep_a(slot_k, m, k < p.k ? a_load(rows[i]) : UNITS(0));
        }
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
            uint b = slot_row + i * ROWS_AT_ONCE;
            if (b < BN / B_ROW)
                keep_b(slot_k, b, k < p.k && n0 + b * B_ROW < p.n ? b_load(n0 / B_ROW + b, k) : B_UNITS(0));
        }
        cursor_advance();
        barrier();
        [[dont_unroll]] for (uint first = 0; first < BK; first += UNROLLED) // all at once only lengthen compilation
            [[unroll]] for (uint s = first; s < first + UNROLLED; s++) {
#if !defined INTEGERS
#include "inner_float.glsl"
#elif defined DOT
#include "inner_dot.glsl"
#else
#include "inner_bytes.glsl"
#endif
            }
        barrier();
    }

#ifdef INTEGERS
#include "finish_straight.glsl"
#else
#include "finish_loop.glsl"
#endif
}
