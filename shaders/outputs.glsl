// From sums to the tensor of results, for every body of a product: the epilogue and the store. The including file has included its operands
// before, which say what sums are (SUM), what they take of a row and of a column of the outputs (LINE, COLUMN, line_of(), column_of(),
// output_of()), and how many neighbours along n an invocation owns (GROUP: 1, or 4, which make a word where results are codes).
//
// A dispatch makes p.n of the p.pitch columns of the product: all, or a band of them whose weights a binding can hold. What has an
// entry per column is bound from the band's first on, so that its columns are counted from 0 here, and rows are p.pitch long.
layout(binding = 2) restrict writeonly buffer Out { SCALAR result[]; };
layout(binding = 2) restrict writeonly buffer OutFours { VECTOR result_fours[]; };
layout(binding = 2) restrict writeonly buffer OutTwos { VECTOR_2 result_twos[]; };

// Two values and their gates, which are columns [n, n + 4) of row m.
void store_gated(uint m, uint n, vec4 y, vec2 coder)
{
    uint at = (m * p.pitch + n) / 4;
    vec2 gated = vec2(y.x * gelu_erf(y.z), y.y * gelu_erf(y.w));
    if (CODES)
        store_two_codes(at, gated, coder);
    else
        result_twos[at] = VECTOR_2(gated);
}

// The neighbours [n, n + GROUP) of row m.
void store(uint m, uint n, vec4 y, vec2 coder)
{
    uint at = m * p.pitch + n, count = min(GROUP, p.n - n);
    if (GATED != 0) {
        store_gated(m, n, y, coder);
    } else if (CODES) {
        store_codes(at, y, count, coder);
    } else if (GROUP == 1) {
        result[at] = SCALAR(y.x);
    } else if (p.pitch % 4 == 0) {
        result_fours[at / 4] = VECTOR(y);
    } else {
        for (uint c = 0; c < count; c++)
            result[at + c] = SCALAR(y[c]);
    }
}

// What is known of row m of the outputs.
struct OutputLine {
    uint m, entry;
    LINE line;
    vec2 coder;
};

float output_at(OutputLine r, uint n, SUM of)
{
    uint at = row_of_weights(min(n, p.n - 1));
    return epilogue(output_of(of, r.line, column_of(at)), r.m, at, r.entry);
}

void four_outputs(OutputLine r, uint n, SUM s0, SUM s1, SUM s2, SUM s3)
{
    if (r.m < p.m && n < p.n)
        store(r.m, n, vec4(output_at(r, n, s0), output_at(r, n + 1, s1), output_at(r, n + 2, s2), output_at(r, n + 3, s3)), r.coder);
}

OutputLine output_line(uint m, vec2 shared_coder)
{
    return OutputLine(m, table_entry(m), line_of(m), CODES && OUT_PAIRS > 1 ? coder(m) : shared_coder);
}

// What all rows share, if they do.
vec2 coder_of_rows()
{
    return CODES && OUT_PAIRS <= 1 ? coder(0) : vec2(0.0);
}
