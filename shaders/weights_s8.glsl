// Weights and sums of products of integers:
//     out[m][n] = epilogue(scale * weight_scale[n] * sum over k of (code[m][k] - zero) * w[n][k]), the sum exact.
// A unit of k is a word of four codes or weights along the input channels, which are filled up with weights of 0. Unsigned codes become
// signed ones by flipping their highest bit, which takes 128 from the code and from the zero point, so that one product, of signed bytes,
// does for all. What lies outside a picture reads as the zero point, whose part in the sum is
//     zero * sum over k of w[n][k]
// with sums made on upload.
//
// Weights are laid out (backend/vulkan/vk_weights.c) as words [n / 4][k][n % 4], or with 4 bits as words of two k, the first in the
// lower half of each byte, a row of weights.glsl for four n; the sums [n] follow. Those of a gated layer are laid out in the order of the
// columns (gate.glsl), all but the sums.
layout(constant_id = SDG_SPEC_IN_PAIRS) const uint IN_PAIRS = 0; // as OUT_PAIRS in codes.glsl, of the codes that are read
layout(constant_id = SDG_SPEC_WEIGHT_BITS) const uint WEIGHT_BITS = 8;

#define WEIGHT_ROWS ((p.n + 3) / 4)
#define ROW_LENGTH stored_words()
// Words of a row of n as stored.
uint stored_words()
{
    return WEIGHT_BITS == 4 ? (p.k + 1) / 2 : p.k;
}
#include "weights.glsl"

#define SUM int
#define SUM_FOUR ivec4
#define COLUMN Column
#define LINE Line

layout(binding = 1) readonly buffer Weights { uvec4 weights[]; };
layout(binding = 1) readonly buffer Sums { int sums[]; };
layout(binding = 8) readonly buffer InInterval { vec2 in_intervals[]; };
layout(binding = 9) readonly buffer WeightScale { float weight_scale[]; };

// Of row m. Where tokens have intervals of their own, rows are tokens and nothing lies outside; what does has the only interval.
vec2 row_interval(uint m)
{
    return in_intervals[IN_PAIRS > 1 ? row * IN_PAIRS + m % IN_PAIRS : row * IN_PAIRS];
}

// Four signed bytes as a zero point enters the product.
int repeated(float zero)
{
    return int((uint(int(zero)) & 0xffu) * 0x01010101u ^ FLIP);
}

void operands_start()
{
    vec2 interval = row_interval(0);
    outside = repeated(interval.y);
#ifdef ROUNDS
    if (IN_HIGHEST != 0)
        in_coder = vec2(divide(1.0, interval.x), interval.y);
#endif
}

ivec4 b_load(uint four, uint k)
{
    uvec4 stored = weights[place_of_weight(four, WEIGHT_BITS == 4 ? k / 2 : k)];
    if (WEIGHT_BITS == 8)
        return ivec4(stored);
    uvec4 half_bytes = stored >> (k % 2 * 4) & 0x0f0f0f0fu;
    // sign extension of four numbers at once: the highest bit of each byte keeps the subtraction from borrowing
    return ivec4(((half_bytes ^ 0x08080808u | 0x80808080u) - 0x08080808u) ^ 0x80808080u);
}

struct Column {
    float scale;
    int weights_sum;
};

Column column_of(uint n)
{
    return Column(weight_scale[n], sums[end_of_weights() * 4 + n]);
}

struct Line {
    float scale;
    int zero;
};

Line line_of(uint m)
{
    vec2 interval = row_interval(m);
    return Line(interval.x, bitfieldExtract(repeated(interval.y), 0, 8));
}

float output_of(int sum, Line line, Column column)
{
    return line.scale * column.scale * float(sum - line.zero * column.weights_sum);
}
