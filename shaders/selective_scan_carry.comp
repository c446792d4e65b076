#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "decay.glsl"

// Second pass: along the chunks, each state and channel by itself. Of two neighbours, through which a state fades by exp(t) and to which
// they add h, together t = t1 + t2 and h = exp(t2) h1 + h2; the sums are exact enough for any number of chunks, and nothing is divided.
// A workgroup scans ROWS chunks of COLUMNS channels at a time in log2(ROWS) steps, and carries the last state to the next ROWS.
#include "selective_scan_push.glsl"

const uint INVOCATIONS = 128, COLUMNS = 8, ROWS = INVOCATIONS / COLUMNS;

layout(binding = 0) readonly buffer Constants { float constants[]; };
layout(binding = 1) buffer Summaries { float summaries[]; };

shared float fades[INVOCATIONS], states[INVOCATIONS];

void main()
{
    uint id = gl_LocalInvocationID.x, row = id / COLUMNS, c = gl_WorkGroupID.x * COLUMNS + id % COLUMNS, state = gl_WorkGroupID.y;
    float rate = c < p.c ? constants[state * p.c + c] : 0.0, before = 0.0;
    for (uint first = 0; first < p.chunks - 1; first += ROWS) {
        bool inside = c < p.c && first + row < p.chunks - 1;
        uint at = inside ? state_of_chunk(first + row, state, c) : 0;
        float t = inside ? rate * summaries[time_at(first + row, c)] : 0.0, h = inside ? summaries[at] : 0.0;
        if (row == 0)
            h = decayed(before, t, h);
        for (uint distance = 1; distance < ROWS; distance *= 2) {
            fades[id] = t;
            states[id] = h;
            barrier();
            if (row >= distance) {
                h = decayed(states[id - distance * COLUMNS], t, h);
                t += fades[id - distance * COLUMNS];
            }
            barrier();
        }
        if (inside)
            summaries[at] = h;
        states[id] = h;
        barrier();
        before = states[id % COLUMNS + (ROWS - 1) * COLUMNS];
        barrier(); // it may be written again
    }
}
