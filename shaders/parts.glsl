// A product with few outputs and a long k has work for few workgroups. SPLIT cuts k into as many parts as the grid is deep: the workgroups of
// a part leave their sums [part][m][n] in scratch memory, rows padded to a multiple of four, in place of outputs, and sum_parts.glsl makes
// outputs of them, adding part by part, so that the order of sums is the same in every run.
layout(constant_id = SDG_SPEC_SPLIT) const uint SPLIT = 0;
layout(binding = 2) restrict writeonly buffer Parts { SUM parts[]; };
layout(binding = 2) restrict writeonly buffer PartFours { SUM_FOUR part_fours[]; };

// The units of k, from .x to .y, of this workgroup: all, or whole slices.
uvec2 part_of_k()
{
    if (SPLIT == 0)
        return uvec2(0, p.k);
    uint slices = (p.k + BK - 1) / BK, length = (slices + gl_NumWorkGroups.z - 1) / gl_NumWorkGroups.z * BK;
    return min(gl_WorkGroupID.z * length + uvec2(0, length), uvec2(p.k));
}

// Where the sum of output n of row m lies.
uint place_in_part(uint m, uint n)
{
    return (gl_WorkGroupID.z * p.m + m) * ((p.n + 3) / 4 * 4) + n;
}
