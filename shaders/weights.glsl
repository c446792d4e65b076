// How the weights of a product lie, of floats and of integers: row by row, or cut into slices along k, one behind the other, each of which
// has its part of all rows, filled up with zeros. A slice is what a workgroup reads of k at once, so that its weights are one run of memory
// then, whatever its tile. Any body reads either. The including file defines WEIGHT_ROWS and ROW_LENGTH, how many rows there are and of how
// many elements. C twin: struct rows in backend/vulkan/vk_weights.c.
layout(constant_id = SDG_SPEC_WEIGHT_SLICE) const uint WEIGHT_SLICE = SDG_WEIGHT_ROWS; // log2 of the elements of a row in a slice

#include "gate.glsl"

const uint IN_SLICE = (1u << WEIGHT_SLICE) - 1u;
const bool SLICED = WEIGHT_SLICE != SDG_WEIGHT_ROWS;

// Where element k of row n is. No branch: whole rows are the first slice.
uint place_of_weight(const uint n, const uint k)
{
    return (k >> WEIGHT_SLICE) * (WEIGHT_ROWS << WEIGHT_SLICE) + n * (SLICED ? IN_SLICE + 1u : ROW_LENGTH) + (k & IN_SLICE);
}

// Elements of all rows: what follows begins there.
uint end_of_weights()
{
    return WEIGHT_ROWS * (SLICED ? (ROW_LENGTH + IN_SLICE) & ~IN_SLICE : ROW_LENGTH);
}
