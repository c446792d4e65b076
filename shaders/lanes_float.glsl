// Floats as the operands of matmul_lanes.glsl. A unit of k is a channel, and a load has WIDTH of them.
#include "weights_float.glsl"

#define A_LOAD VALUE
#define A_OUTSIDE VALUE(0.0)
const uint LOAD_UNITS = WIDTH;

#include "epilogue.glsl"
const uint GROUP = CODES || GATED != 0 ? 4 : 1;
#include "lanes.glsl"
#include "load_weights.glsl"

VALUE a_read(uint at)
{
    return VALUE(x[at / WIDTH]);
}

float channel(VALUE v, uint c)
{
#if WIDTH == 1
    return v;
#else
    return v[c];
#endif
}

// Adds the products of what was read of x, units [k, k + LOAD_UNITS) of each row, and the weights. Row by row, as sums are more than a
// processor has registers: each is fetched and put back once for all of a load's channels.
void multiply(uint n0, uint lane, uint k)
{
    VALUE b[TN];
    [[unroll]] for (uint j = 0; j < TN; j++)
        b[j] = weights_at(min(n0 + column(lane, j), p.n - 1), k);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint c = 0; c < LOAD_UNITS; c++) {
            float from_row = subgroupShuffle(channel(a[i / LANE_COUNT], c), i % LANE_COUNT);
            [[unroll]] for (uint j = 0; j < TN; j++)
                sum[i * TN + j] += from_row * channel(b[j], c);
        }
}
