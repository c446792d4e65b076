// C twin: struct sdg_push_group_norm in backend/vulkan/ops/group_norm.c.
layout(push_constant) uniform Push {
    uint pixels, c, c1;     // per sample; channels in all, channels of the first input
    uint group;             // channels of a group
    uint chunk, chunks;     // pixels of a chunk, the last may be shorter; chunks of a sample
    uint total;             // elements of the result
    float eps;
} p;
