// What all passes of the scan are told. C twin: struct sdg_push_selective_scan in backend/vulkan/ops/selective_scan.c.
layout(push_constant) uniform Push {
    uint tokens, c;              // of a sample; channels
    uint chunk, chunks;          // tokens of a chunk, chunks of a sample
    uint bc_pitch, b_start, c_start;
    uint gate_pitch, gate_start;
    float scale;
} p;
layout(constant_id = SDG_SPEC_STATES) const uint STATES = 16;

// Summaries: [N][chunks - 1][STATES][C] of states, then [N][chunks - 1][C] of times. A chunk's time is the sum of its dt; its state is
// first the one it leaves behind if it finds none, and in the end, when the scan over the chunks is done, the one it leaves in fact. The
// last chunk has no summary, as nothing follows.
uint summary_of(uint chunk)
{
    return gl_WorkGroupID.z * (p.chunks - 1) + chunk;
}

uint state_of_chunk(uint chunk, uint state, uint c)
{
    return (summary_of(chunk) * STATES + state) * p.c + c;
}

uint time_at(uint chunk, uint c)
{
    return (gl_NumWorkGroups.z * (p.chunks - 1) * STATES + summary_of(chunk)) * p.c + c;
}
