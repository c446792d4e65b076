#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#include "decay.glsl"

// First of three passes over chunks that are scanned at the same time: their summaries.
#include "selective_scan.glsl"

layout(binding = 4) writeonly buffer Summaries { float summaries[]; };

void main()
{
    uint id = gl_LocalInvocationID.x, first = gl_WorkGroupID.y * p.chunk, end = first + p.chunk;
    float rates[PER_LANE], h[PER_LANE], time = 0.0;
    load_rates(rates);
    [[unroll]] for (uint i = 0; i < PER_LANE; i++)
        h[i] = 0.0;
    for (; first < end; first += TILE) { // chunks are whole tiles, but for the last one, which is not here
        load_tile(first, TILE);
        barrier();
        for (uint j = 0; j < TILE; j++) {
            uint at = token_at(first + j) * p.bc_pitch + p.b_start + state_of(0);
            float dt = steps[j * CHANNELS + id % CHANNELS], u = inputs[j * CHANNELS + id % CHANNELS];
            time += dt;
            [[unroll]] for (uint i = 0; i < PER_LANE; i++)
                if (is_state(i))
                    h[i] = decayed(h[i], dt * rates[i], u * float(bc[at + i * LANES]));
        }
        barrier();
    }
    if (!is_channel(id))
        return;
    [[unroll]] for (uint i = 0; i < PER_LANE; i++)
        if (is_state(i))
            summaries[state_at(gl_WorkGroupID.y, i)] = h[i];
    if (id < CHANNELS)
        summaries[time_at(gl_WorkGroupID.y, channel(id))] = time;
}
