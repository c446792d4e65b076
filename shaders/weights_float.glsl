// Weights of float products: floats, or codes of 8 or 4 bits, in the same order, with a scale per n behind them.
layout(constant_id = SDG_SPEC_WEIGHT_BITS) const uint WEIGHT_BITS = 0; // 0: floats

#define WEIGHT_ROWS p.n
#define ROW_LENGTH p.k
#include "weights.glsl"

layout(binding = 1) readonly buffer Weights { PACK weights[]; };
layout(binding = 1) readonly buffer Codes { uint codes[]; };
layout(binding = 1) readonly buffer Scales { float scales[]; };

#define SUM float
#define SUM_FOUR vec4
#define COLUMN float
#define LINE uint // nothing

void operands_start()
{
}

// What the sums of column n are to be multiplied with.
COLUMN column_of(uint n)
{
    return WEIGHT_BITS == 0 ? 1.0 : scales[(end_of_weights() * WEIGHT_BITS + 31) / 32 + n];
}

LINE line_of(uint m)
{
    return 0;
}

float output_of(float sum, LINE line, COLUMN scale)
{
    return sum * scale;
}
