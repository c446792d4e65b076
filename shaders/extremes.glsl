// Smallest and largest number of a workgroup, the result in every invocation. Must be called by all of them; their number is a power of
// two up to 128.
shared vec2 extreme_slots[128];

vec2 merge_extremes(vec2 a, vec2 b)
{
    return vec2(min(a.x, b.x), max(a.y, b.y));
}

vec2 workgroup_extremes(vec2 mine)
{
    uint lane = gl_LocalInvocationID.x;
    extreme_slots[lane] = mine;
    barrier();
    for (uint half_length = gl_WorkGroupSize.x / 2; half_length > 0; half_length /= 2) {
        if (lane < half_length)
            extreme_slots[lane] = merge_extremes(extreme_slots[lane], extreme_slots[lane + half_length]);
        barrier();
    }
    return extreme_slots[0];
}
