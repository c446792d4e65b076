// Integers as the operands of matmul.glsl:
//     out[m][n] = epilogue(scale * weight_scale[n] * sum over k of (code[m][k] - zero) * w[n][k]), the sum exact.
// A unit of k is a word of four codes or weights along the input channels, which are filled up with weights of 0. Unsigned codes become
// signed ones by flipping their highest bit, which takes 128 from the code and from the zero point, so that one product, of signed bytes,
// does for all. What lies outside a picture reads as the zero point, whose part in the sum is
//     zero * sum over k of w[n][k]
// with sums made on upload. An invocation's outputs along n are in groups of four neighbours.
//
// Weights are laid out (backend/vulkan/vk_weights.c) as words [n / 4][k][n % 4], or with 4 bits as words of two k, the first in the
// lower half of each byte; the sums [n] follow. So a tile's weights are contiguous runs of 16 * BK bytes.
layout(constant_id = SDG_SPEC_IN_PAIRS) const uint IN_PAIRS = 0; // as OUT_PAIRS in codes.glsl, of the codes that are read
layout(constant_id = SDG_SPEC_WEIGHT_BITS) const uint WEIGHT_BITS = 8;

#define UNITS int
#define B_UNITS ivec4
#define SUM int
#define COLUMN Column
#define LINE Line
const uint A_UNITS = 1, B_ROW = 4; // B_ROW: rows of w in a load
#ifdef DOT
const uint UNROLLED = 4;
#else
const uint UNROLLED = 1; // each step is four; more of them only lengthen compilation
#endif
const uint SLOTS_K = BK; // loads that cover one row of a slice
const uint ROWS_AT_ONCE = THREADS / SLOTS_K;
const uint PITCH_A = BM + 4; // the padding spreads the stores over the banks
const uint PITCH_B = BN / B_ROW + 1;
const uint GROUP = 4;

layout(binding = 1) readonly buffer Weights { uvec4 weights[]; };
layout(binding = 1) readonly buffer Sums { int sums[]; };
layout(binding = 8) readonly buffer InInterval { vec2 in_intervals[]; };
layout(binding = 9) readonly buffer WeightScale { float weight_scale[]; };
shared int tile_a[BK * PITCH_A];
shared ivec4 tile_b[BK * PITCH_B];

#include "epilogue.glsl"

#ifdef DOT
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450) // OpSDotKHR
int packed_dot(int a, int b, spirv_literal int format);
#endif

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
    outside = repeated(row_interval(0).y);
}

// Words of a row of n as stored.
uint stored_words()
{
    return WEIGHT_BITS == 4 ? (p.k + 1) / 2 : p.k;
}

ivec4 b_load(uint four, uint k)
{
    if (WEIGHT_BITS == 8)
        return ivec4(weights[four * p.k + k]);
    uvec4 half_bytes = weights[four * stored_words() + k / 2] >> (k % 2 * 4) & 0x0f0f0f0fu;
    // sign extension of four numbers at once: the highest bit of each byte keeps the subtraction from borrowing
    return ivec4(((half_bytes ^ 0x08080808u | 0x80808080u) - 0x08080808u) ^ 0x80808080u);
}

void keep_a(uint k, uint m, int v)
{
    tile_a[k * PITCH_A + m] = v;
}

void keep_b(uint k, uint four, ivec4 v)
{
    tile_b[k * PITCH_B + four] = v;
}

// Where in the tile output j of an invocation is.
uint column(uint first_n, uint j)
{
    return (first_n + j / 4 * THREADS_N) * 4 + j % 4;
}

struct Column {
    float scale;
    int weights_sum;
};

Column column_of(uint n)
{
    return Column(weight_scale[n], sums[(p.n + 3) / 4 * 4 * stored_words() + n]);
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
