// out[m][n] = epilogue(sum over k of a[m][k] * w[n][k]): the body of linear and conv2d, of floats and of integers, on the tile of
// tile.glsl, for devices without cooperative matrices (matmul_coopmat.glsl). Slices are stored k-major, so that in the inner loop neighbouring invocations read neighbouring words of w and the same word
// of a. An invocation's outputs are BM / TM rows apart; its columns are those of column().
//
// The including file defines, before this one, the push constants p (with m, n, k, pitch, table_samples) and
//     A_ROW a_row(uint m)                            what has to be known of row m, once
//     UNITS a_load(A_ROW row)                        units of a row from the cursor on, as operands_*.glsl takes them
//     void cursor_start(uint k), cursor_advance()    the k of this invocation's loads, advanced by BK
//     uint sample_of(uint m)                         the batch index of row m
// has included loading.glsl, and includes operands_float.glsl, operands_pairs.glsl or with INTEGERS defined operands_s8.glsl: what a slice holds, how it is loaded; weights_*.glsl, which those
// include, say how weights lie and what sums become.
// What a rung of the ladder does differently is the arithmetic in the middle of the loop, a file each.
//
// sum[] has to stay in registers, so every index of it must be known once loops are unrolled. A driver that finds the body of such a loop
// too long leaves it a loop and puts sum[] into memory, for the whole shader: products then run at a fifth or less of their speed, and
// nothing says so. So the end, where outputs are made of sums, is written in the two ways that were seen to stay in registers
// (docs/speed.md): rows outside and columns inside for floats, and straight lines without any loop for integers.

// With two BUFFERS the next slice is on its way from memory into registers while a slice is multiplied, and is stored beside it, at one
// barrier a slice instead of two.

const uint LOADS_A = (BM + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint LOADS_B = (BN / B_ROW + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;

#include "columns.glsl"
#include "outputs.glsl"
#include "parts.glsl"

A_ROW rows[LOADS_A];
UNITS on_the_way_a[LOADS_A];
B_UNITS on_the_way_b[LOADS_B];

// Loads this invocation's part of the slice at k0, where the cursor is; zeros from `end` on.
void fetch(uint k0, uint end, uint n0, uint slot_k, uint slot_row)
{
    uint k = k0 + slot_k;
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        on_the_way_a[i] = k < end && slot_row + i * ROWS_AT_ONCE < BM ? a_load(rows[i]) : UNITS(0);
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
        uint b = slot_row + i * ROWS_AT_ONCE;
        on_the_way_b[i] = k < end && b < BN / B_ROW && n0 + b * B_ROW < p.n ? b_load(n0 / B_ROW + b, k) : B_UNITS(0);
    }
    prepare_load(k, k < end);
    cursor_advance();
}

// Stores what was loaded as the slice that begins in row `slice` of the slices.
void keep(uint slice, uint slot_k, uint slot_row)
{
    [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
        uint m = slot_row + i * ROWS_AT_ONCE;
        if (m < BM)
            keep_a(slice + slot_k, m, loaded(on_the_way_a[i], rows[i]));
    }
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
        uint b = slot_row + i * ROWS_AT_ONCE;
        if (b < BN / B_ROW)
            keep_b(slice + slot_k, b, on_the_way_b[i]);
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint m0 = tile_start().x, n0 = tile_start().y;
    uint slot_k = lane % SLOTS_K * A_UNITS, slot_row = lane / SLOTS_K;
    uint first_m = lane / THREADS_N, first_n = lane % THREADS_N;
    operands_start();

    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        rows[i] = a_row(m0 + slot_row + i * ROWS_AT_ONCE);
    uvec2 part = part_of_k();
    cursor_start(part.x + slot_k);

    SUM sum[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sum[i] = SUM(0);

    uint slice = 0;
    if (BUFFERS == 2) {
        fetch(part.x, part.y, n0, slot_k, slot_row);
        keep(slice, slot_k, slot_row);
        barrier();
    }
    for (uint k0 = part.x; k0 < part.y; k0 += BK) {
        fetch(BUFFERS == 2 ? k0 + BK : k0, part.y, n0, slot_k, slot_row);
        if (BUFFERS != 2) {
            keep(slice, slot_k, slot_row);
            barrier();
        }
#ifdef PAIRS
        f16vec2 pairs[TM * TN / 2]; // sums of this slice
        [[unroll]] for (uint i = 0; i < TM * TN / 2; i++)
            pairs[i] = f16vec2(0);
#endif
        [[dont_unroll]] for (uint first = slice; first < slice + BK; first += UNROLLED) // all at once only lengthen compilation
            [[unroll]] for (uint step = 0; step < UNROLLED; step++) {
                uint s = first + step;
#ifdef PAIRS
#include "inner_pairs.glsl"
#elif !defined INTEGERS
#include "inner_float.glsl"
#elif defined DOT
#include "inner_dot.glsl"
#else
#include "inner_bytes.glsl"
#endif
            }
#ifdef PAIRS
        [[unroll]] for (uint i = 0; i < TM * TN; i++)
            sum[i] += float(pairs[i / 2][i % 2]);
#endif
        if (BUFFERS == 2) {
            slice = BK - slice;
            keep(slice, slot_k, slot_row);
        }
        barrier();
    }

#ifdef PAIRS
    if (WEIGHT_BITS != 0)
        [[unroll]] for (uint i = 0; i < TM * TN; i++)
            sum[i] *= CODE_UNIT;
#endif

    if (SPLIT != 0) {
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint j = 0; j < TN; j++) {
                uint m = m0 + first_m + i * (BM / TM), n = n0 + column(first_n, j);
                if (m < p.m && n < p.n)
                    parts[place_in_part(m, n)] = sum[i * TN + j];
            }
        return;
    }
#ifdef INTEGERS
#include "finish_straight.glsl"
#else
#include "finish_loop.glsl"
#endif
}
