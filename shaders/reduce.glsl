// Sum over a workgroup, the result in every invocation. MAX_INVOCATIONS bounds the workgroup. Must be called by all of them.
const uint MAX_INVOCATIONS = 128;
shared float reduce_slots[MAX_INVOCATIONS];

#ifdef SUBGROUP
float workgroup_sum(float x)
{
    x = subgroupAdd(x);
    if (subgroupElect())
        reduce_slots[gl_SubgroupID] = x;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < gl_NumSubgroups; i++)
        sum += reduce_slots[i];
    barrier(); // the slots may be written again
    return sum;
}
#else
float workgroup_sum(float x)
{
    uint lane = gl_LocalInvocationID.x;
    reduce_slots[lane] = x;
    barrier();
    for (uint half_length = gl_WorkGroupSize.x / 2; half_length > 0; half_length /= 2) { // its length is a power of two
        if (lane < half_length)
            reduce_slots[lane] += reduce_slots[lane + half_length];
        barrier();
    }
    float sum = reduce_slots[0];
    barrier();
    return sum;
}
#endif
