// How the weights of a product lie, of floats and of integers: row by row, or cut into slices along k, one behind the other, each of which
// has its part of all rows, filled up with zeros. A slice is what a workgroup reads of k at once, so that its weights are one run of memory
// then, whatever its tile. Any body reads either. C twin: struct rows in backend/vulkan/vk_weights.c.
layout(constant_id = SDG_SPEC_WEIGHT_SLICE) const uint WEIGHT_SLICE = 0; // elements of a row in a slice; 0: row by row

#include "gate.glsl"

// Where element k of row n is, of `rows` rows that are `length` long.
uint place_of_weight(uint n, uint k, uint rows, uint length)
{
    const uint slice = max(WEIGHT_SLICE, 1);
    return WEIGHT_SLICE == 0 ? n * length + k : (k / slice * rows + n) * slice + k % slice;
}

// Elements of all rows: what follows begins there.
uint end_of_weights(uint rows, uint length)
{
    const uint slice = max(WEIGHT_SLICE, 1);
    return WEIGHT_SLICE == 0 ? rows * length : (length + slice - 1) / slice * slice * rows;
}
