// The operands of step s of a slice, in the inner loop of matmul.glsl: words of four signed bytes.
int a[TM];
ivec4 b[TN / 4];
[[unroll]] for (uint i = 0; i < TM; i++)
    a[i] = tile_a[s * PITCH_A + first_m + i * (BM / TM)];
[[unroll]] for (uint j = 0; j < TN / 4; j++)
    b[j] = tile_b[s * PITCH_B + first_n + j * THREADS_N];
