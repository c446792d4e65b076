// Step s of a slice, in the inner loop of matmul.glsl: products of floats.
float a[TM], b[TN];
[[unroll]] for (uint i = 0; i < TM; i++)
    a[i] = tile_a[s * PITCH_A + first_m + i * (BM / TM)];
[[unroll]] for (uint j = 0; j < TN; j++)
    b[j] = tile_b[s * PITCH_B + column(first_n, j)];
[[unroll]] for (uint i = 0; i < TM; i++)
    [[unroll]] for (uint j = 0; j < TN; j++)
        sum[i * TN + j] += a[i] * b[j];
