// Weights of float products: floats, or codes of 8 or 4 bits, in the same order, with a scale per n behind them. Rows in slices are in the
// order of the columns (gate.glsl), all but the scales.
layout(constant_id = SDG_SPEC_WEIGHT_BITS) const uint WEIGHT_BITS = 0; // 0: floats

#include "weights.glsl"

layout(binding = 1) readonly buffer Weights { PACK weights[]; };
layout(binding = 1) readonly buffer Codes { uint codes[]; };
layout(binding = 1) readonly buffer Scales { float scales[]; };

#define SUM float
#define SUM_FOUR vec4
#define COLUMN float
#define LINE uint // nothing

// Weights [k, ..) of column n.
uint weights_of(uint n, uint k)
{
    return place_of_weight(WEIGHT_SLICE == 0 ? row_of_weights(n) : n, k, p.n, p.k);
}

void operands_start()
{
}

// What the sums of column n are to be multiplied with.
COLUMN column_of(uint n)
{
    return WEIGHT_BITS == 0 ? 1.0 : scales[(end_of_weights(p.n, p.k) * WEIGHT_BITS + 31) / 32 + n];
}

LINE line_of(uint m)
{
    return 0;
}

float output_of(float sum, LINE line, COLUMN scale)
{
    return sum * scale;
}
