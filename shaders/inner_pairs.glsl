// Step s of a slice, in the inner loop of matmul.glsl: products of halves, of two neighbours along n at a time.
f16vec2 a[TM], b[TN / 2];
[[unroll]] for (uint i = 0; i < TM; i++)
    a[i] = unpackFloat2x16(tile_a[s * PITCH_A + first_m + i * (BM / TM)]);
[[unroll]] for (uint j = 0; j < TN / 2; j++)
    b[j] = unpackFloat2x16(tile_b[s * PITCH_B + column(first_n, 2 * j) / 2]);
[[unroll]] for (uint i = 0; i < TM; i++)
    [[unroll]] for (uint j = 0; j < TN / 2; j++)
        pairs[i * TN / 2 + j] += a[i] * b[j];
