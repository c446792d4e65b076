// out[m][n] = epilogue(sum over k of a[m][k] * w[n][k]): the body of linear and conv2d, of floats and of integers, on the tile of
// tile.glsl. Slices are stored k-major, so that in the inner loop neighbouring invocations read neighbouring words of w and the same word
// of a. An invocation's outputs are BM / TM rows apart; its columns are those of column().
//
// The including file defines, before this one, the push constants p (with m, n, k, table_samples) and
//     A_ROW a_row(uint m)                            what has to be known of row m, once
//     UNITS a_load(A_ROW row)                        units of a row from the cursor on, as operands_*.glsl takes them
//     void cursor_start(uint k), cursor_advance()    the k of this invocation's loads, advanced by BK
//     uint sample_of(uint m)                         the batch index of row m
// and includes operands_float.glsl, or with INTEGERS defined operands_s8.glsl: what a slice holds, how it is loaded, what sums become.
// LINE and COLUMN are what that takes of a row and of a column of the outputs.
// What a rung of the ladder does differently is the arithmetic in the middle of the loop, a file each.

const uint LOADS_A = (BM + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint LOADS_B = (BN / B_ROW + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;

layout(binding = 2) restrict writeonly buffer Out { SCALAR result[]; };
layout(binding = 2) restrict writeonly buffer OutFours { VECTOR result_fours[]; };

// The neighbours [n, n + GROUP) of row m.
void store(uint m, uint n, vec4 y, vec2 coder)
{
    uint at = m * p.n + n, count = min(GROUP, p.n - n);
    if (CODES) {
        store_codes(at, y, count, coder);
    } else if (GROUP == 1) {
        result[at] = SCALAR(y.x);
    } else if (p.n % 4 == 0) {
        result_fours[at / 4] = VECTOR(y);
    } else {
        for (uint c = 0; c < count; c++)
            result[at + c] = SCALAR(y[c]);
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint m0 = gl_WorkGroupID.x * BM, n0 = gl_WorkGroupID.y * BN;
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

    vec2 shared_coder = CODES && OUT_PAIRS <= 1 ? coder(0) : vec2(0.0), coders[TM];
    uint entries[TM];
    LINE lines[TM];
    [[unroll]] for (uint i = 0; i < TM; i++) {
        uint m = m0 + first_m + i * (BM / TM);
        coders[i] = CODES && OUT_PAIRS > 1 ? coder(m) : shared_coder;
        entries[i] = table_entry(m);
        lines[i] = line_of(m);
    }
    [[unroll]] for (uint j = 0; j < TN; j += GROUP) {
        uint n = n0 + column(first_n, j);
        if (n >= p.n)
            continue;
        COLUMN columns[GROUP];
        [[unroll]] for (uint c = 0; c < GROUP; c++)
            columns[c] = column_of(min(n + c, p.n - 1));
        [[unroll]] for (uint i = 0; i < TM; i++) {
            uint m = m0 + first_m + i * (BM / TM);
            if (m >= p.m)
                continue;
            vec4 y = vec4(0.0);
            [[unroll]] for (uint c = 0; c < GROUP; c++)
                y[c] = epilogue(output_of(sum[i * TN + j + c], lines[i], columns[c]), m, min(n + c, p.n - 1), entries[i]);
            store(m, n, y, coders[i]);
        }
    }
}
