// activation(sum + bias[n] + table[row][sample][n] + residual[m][n]); what is absent is compiled out. Bindings 2 and 6 on are those of
// codes.glsl: the result, the row's number and the interval of results that are codes.
//
// It is written out for each of an invocation's outputs, up to 64 of them, so it has to stay short (matmul.glsl says why): no control flow
// and no division in epilogue(). Where the table's entry begins is found once per row of outputs.
#define OUT_BINDING 2
#define ROW_BINDING 6
#include "codes.glsl"
layout(constant_id = SDG_SPEC_BIAS) const uint HAS_BIAS = 0;
layout(constant_id = SDG_SPEC_TABLE) const uint TABLE = SDG_TABLE_NONE;
layout(constant_id = SDG_SPEC_RESIDUAL) const uint HAS_RESIDUAL = 0;
layout(constant_id = SDG_SPEC_ACTIVATION) const uint ACTIVATION = 0;

layout(binding = 3) restrict readonly buffer Bias { float bias[]; };
layout(binding = 4) restrict readonly buffer Table { float table[]; };
layout(binding = 5) restrict readonly buffer Residual { SCALAR residual[]; };

// Where the entry of output row m begins, in a table of p.table_samples entries a row.
uint table_entry(uint m)
{
    if (TABLE == SDG_TABLE_SHARED)
        return row * p.pitch;
    if (TABLE == SDG_TABLE_PER_SAMPLE)
        return (row * p.table_samples + sample_of(m)) * p.pitch;
    return 0;
}

float epilogue(float x, uint m, uint n, uint entry)
{
    if (HAS_BIAS != 0)
        x += bias[n];
    if (TABLE != SDG_TABLE_NONE)
        x += table[entry + n];
    if (HAS_RESIDUAL != 0)
        x += float(residual[m * p.pitch + n]);
    return apply_unary(ACTIVATION, x, 1.0, 0.0);
}
