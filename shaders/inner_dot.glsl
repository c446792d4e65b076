// Step s of a slice, in the inner loop of matmul.glsl: packed dot products.
#include "inner_words.glsl"
[[unroll]] for (uint i = 0; i < TM; i++)
    [[unroll]] for (uint j = 0; j < TN; j++)
        sum[i * TN + j] += packed_dot(a[i], b[j / 4][j % 4], 0); // 0: PackedVectorFormat4x8Bit
