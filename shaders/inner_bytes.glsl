// Step s of a slice, in the inner loop of matmul.glsl: packed products, byte by byte.
#include "inner_words.glsl"
[[unroll]] for (int bit = 0; bit < 32; bit += 8) {
    int w[TN];
    [[unroll]] for (uint j = 0; j < TN; j++)
        w[j] = bitfieldExtract(b[j / 4][j % 4], bit, 8);
    [[unroll]] for (uint i = 0; i < TM; i++) {
        int code = bitfieldExtract(a[i], bit, 8);
        [[unroll]] for (uint j = 0; j < TN; j++)
            sum[i * TN + j] += code * w[j];
    }
}
