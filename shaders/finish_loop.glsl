// The end of main() in matmul.glsl as loops: outputs from sums, rows outside and columns inside.
vec2 shared_coder = coder_of_rows();
[[unroll]] for (uint i = 0; i < TM; i++) {
    uint m = m0 + first_m + i * (BM / TM);
    if (m >= p.m)
        continue;
    uint entry = table_entry(m);
    LINE line = line_of(m);
    vec2 coding = CODES && OUT_PAIRS > 1 ? coder(m) : shared_coder;
    [[unroll]] for (uint j = 0; j < TN; j += GROUP) {
        uint n = n0 + column(first_n, j);
        if (n >= p.n)
            continue;
        vec4 y = vec4(0.0);
        [[unroll]] for (uint c = 0; c < GROUP; c++) {
            uint at = row_of_weights(min(n + c, p.n - 1));
            y[c] = epilogue(output_of(sum[i * TN + j + c], line, column_of(at)), m, at, entry);
        }
        store(m, n, y, coding);
    }
}
