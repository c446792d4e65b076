// out[m][n] = epilogue(sum over k of a[m][k] * w[n][k]): the body of linear and conv2d, of floats and of integers, for devices whose
// shared memory is memory like any other, and whose barriers cost more than they save: drivers that run on a processor.
//
// A workgroup is one subgroup: tiles are taken whose threads are as many as the device's subgroups have. Each invocation loads a row of x
// and its own columns of w, hands the row to the others register by register, and so makes all BM rows of its TN columns, without shared
// memory and without a barrier (TM is BM). Loads are few and long for the work they feed: there they are the expensive part, each a loop
// over the subgroup in some drivers, whatever they bring.
//
// The including file defines, before this one, the push constants p (with m, n, k, pitch, table_samples) and
//     A_ROW a_row(uint m)                                    what has to be known of row m, once
//     uint run_count(), run_length()                         k is so many runs of units that are neighbours in x
//     bool find_run(A_ROW row, uint run, out uint first)     the first element of a run; false outside
//     uint sample_of(uint m)                                 the batch index of row m
// and includes lanes_*.glsl, which says what a load is (A_LOAD, LOAD_UNITS of k, A_OUTSIDE where nothing is), how x is read and multiplied.
#include "outputs.glsl"

// As store() in outputs.glsl, where groups are whole: a loop in here would keep the driver from unrolling the one around it.
void store_group(uint m, uint n, vec4 y, vec2 coder)
{
    uint at = m * p.pitch + n;
    if (GATED != 0)
        store_gated(m, n, y, coder);
    else if (CODES)
        words[at / 4] = pack_codes(y, coder);
    else if (GROUP == 1)
        result[at] = SCALAR(y.x);
    else
        result_fours[at / 4] = VECTOR(y);
}

void main()
{
    uint lane = gl_SubgroupInvocationID;
    uint m0 = tile_start().x, n0 = tile_start().y;
    operands_start();
    A_ROW rows[READS];
    [[unroll]] for (uint i = 0; i < READS; i++)
        rows[i] = a_row(m0 + i * LANE_COUNT + lane);
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sum[i] = SUM(0);

    const uint length = run_length(), runs = run_count();
    for (uint run = 0; run < runs; run++) {
        uint first[READS];
        bool inside[READS];
        [[unroll]] for (uint i = 0; i < READS; i++)
            inside[i] = find_run(rows[i], run, first[i]);
        for (uint unit = 0; unit < length; unit += LOAD_UNITS) {
            // what is outside is read at the start of x and dropped: a branch around a load costs more than the load
            [[unroll]] for (uint i = 0; i < READS; i++) {
                A_LOAD v = a_read(inside[i] ? first[i] + unit * UNIT : 0);
                a[i] = inside[i] ? v : A_OUTSIDE;
            }
            multiply(n0, lane, run * length + unit);
        }
    }

    vec2 shared_coder = coder_of_rows();
    [[unroll]] for (uint i = 0; i < TM; i++) {
        OutputLine line = output_line(m0 + i, shared_coder);
        [[unroll]] for (uint j = 0; j < TN; j += GROUP) {
            uint n = n0 + column(lane, j);
            if (line.m < p.m && n < p.n) {
                vec4 y = vec4(0.0);
                [[unroll]] for (uint c = 0; c < GROUP; c++)
                    y[c] = output_at(line, n + c, sum[i * TN + j + c]);
                store_group(line.m, n, y, line.coder);
            }
        }
    }
}
