// The end of main() in matmul.glsl without loops: outputs from sums in groups of four, up to 8 rows of up to 8.
vec2 shared_coder = coder_of_rows();
#define SUM_AT(i, j) sum[((i) * TN + (j)) % (TM * TN)] // in range also where a smaller tile leaves it out
#define FOUR(i, j)                                                                                                                       \
    if (i < TM && j < TN)                                                                                                                \
        four_outputs(line_##i, n0 + column(first_n, j), SUM_AT(i, j), SUM_AT(i, j + 1), SUM_AT(i, j + 2), SUM_AT(i, j + 3));
#define LINE_OF_OUTPUTS(i)                                                                                                               \
    OutputLine line_##i = output_line(m0 + first_m + i * (BM / TM), shared_coder);                                                       \
    FOUR(i, 0)                                                                                                                           \
    FOUR(i, 4)
LINE_OF_OUTPUTS(0)
LINE_OF_OUTPUTS(1)
LINE_OF_OUTPUTS(2)
LINE_OF_OUTPUTS(3)
LINE_OF_OUTPUTS(4)
LINE_OF_OUTPUTS(5)
LINE_OF_OUTPUTS(6)
LINE_OF_OUTPUTS(7)
