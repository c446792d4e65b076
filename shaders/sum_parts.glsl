// out[m][n] = epilogue(sum of the parts[part][m][n] that parts.glsl has left): the second pass of a product whose k is split. An invocation
// makes four neighbours. The including file defines `part_fours` and includes epilogue.glsl and weights_*.glsl before this one.
const uint GROUP = 4;
#include "outputs.glsl"

void main()
{
    uint i = folded_invocation(), fours = (p.n + 3) / 4;
    if (i >= p.m * fours)
        return;
    SUM_FOUR sum = part_fours[i];
    for (uint part = 1; part < p.parts; part++)
        sum += part_fours[part * p.m * fours + i];
    four_outputs(output_line(i / fours, coder_of_rows()), i % fours * 4, sum.x, sum.y, sum.z, sum.w);
}
