// activation(sum + bias[n] + table[row][sample][n] + residual[m][n]); what is absent is compiled out. Bindings 2 and 6 on are those of
// codes.glsl: the result, the row's number and the interval of results that are codes.
#define OUT_BINDING 2
#define ROW_BINDING 6
#include "codes.glsl"
layout(constant_id = 4) const uint HAS_BIAS = 0;
layout(constant_id = 5) const uint HAS_TABLE = 0;
layout(constant_id = 6) const uint HAS_RESIDUAL = 0;
layout(constant_id = 7) const uint ACTIVATION = 0;

layout(binding = 3) readonly buffer Bias { float bias[]; };
layout(binding = 4) readonly buffer Table { float table[]; };
layout(binding = 5) readonly buffer Residual { SCALAR residual[]; };

float epilogue(float x, uint m, uint n)
{
    if (HAS_BIAS != 0)
        x += bias[n];
    if (HAS_TABLE != 0) { // p.table_samples is 1 where all samples share a row's entry
        uint shared_entry = p.table_samples == 1 ? 0 : sample_of(m);
        x += table[(row * p.table_samples + shared_entry) * p.n + n];
    }
    if (HAS_RESIDUAL != 0)
        x += float(residual[m * p.n + n]);
    return apply_unary(ACTIVATION, x, 1.0, 0.0);
}
