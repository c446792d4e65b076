#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#include "decay.glsl"
#define OUT_BINDING 6
#include "codes.glsl"

// The results: of all tokens one after the other or, as the third pass, of each chunk from the states that the one before it left.
#include "selective_scan.glsl"
layout(constant_id = SDG_SPEC_CONTINUED) const uint CONTINUED = 0; // chunks begin where others end
layout(constant_id = SDG_SPEC_GATED) const uint GATED = 0;
layout(constant_id = SDG_SPEC_ADDED) const uint ADDED = 0;

layout(binding = 4) readonly buffer Gate { SCALAR gate[]; };
layout(binding = 4) readonly buffer GateWords { uint gate_words[]; };
layout(binding = 5) readonly buffer Add { SCALAR add[]; };
layout(binding = 6) writeonly buffer Out { SCALAR result[]; };
layout(binding = 7) readonly buffer Summaries { float summaries[]; };

shared float parts[TILE * INVOCATIONS]; // sums over an invocation's states

vec2 interval_of(uint token)
{
    uint at = KINDS * p.c + 2 * (X_PAIRS + DELTA_PAIRS + GATE_PAIRS) + (OUT_PAIRS > 1 ? 2 * (token % OUT_PAIRS) : 0);
    return vec2(constants[at], constants[at + 1]);
}

float gate_at(uint at, uint token)
{
    if (GATE_PAIRS == 0)
        return float(gate[at]);
    return value_of(code_in(gate_words[at / 4], at, (SIGNED & 2) != 0), KINDS * p.c + 2 * (X_PAIRS + DELTA_PAIRS), GATE_PAIRS, token);
}

void move_through(uint first, uint count, inout float h[PER_LANE], float rates[PER_LANE])
{
    uint id = gl_LocalInvocationID.x;
    for (uint j = 0; j < count; j++) {
        uint at = token_at(first + j) * p.bc_pitch + state_of(0);
        float dt = steps[j * CHANNELS + id % CHANNELS], u = inputs[j * CHANNELS + id % CHANNELS], sum = 0.0;
        [[unroll]] for (uint i = 0; i < PER_LANE; i++)
            if (is_state(i)) {
                h[i] = decayed(h[i], dt * rates[i], u * float(bc[at + p.b_start + i * LANES]));
                sum += float(bc[at + p.c_start + i * LANES]) * h[i];
            }
        parts[j * INVOCATIONS + id] = sum;
    }
}

// Of the i-th token and channel of a tile.
float finished(uint i, uint token)
{
    uint c = channel(i), at = token * p.c + c;
    float y = constants[STATES * p.c + c] * x_at(at, token);
    for (uint lane = 0; lane < LANES; lane++)
        y += parts[i / CHANNELS * INVOCATIONS + lane * CHANNELS + i % CHANNELS];
    if (ADDED != 0)
        y += float(add[at]);
    if (GATED != 0)
        y *= apply_unary(UNARY_SILU, gate_at(token * p.gate_pitch + p.gate_start + c, token), 0.0, 0.0);
    return y * p.scale;
}

void store_tile(uint first, uint count)
{
    uint width = CODES ? 4 : 1;
    for (uint i = width * gl_LocalInvocationID.x; i < count * CHANNELS; i += width * INVOCATIONS) {
        uint token = token_at(first + i / CHANNELS), c = channel(i);
        if (!is_channel(i))
            continue;
        if (CODES) {
            vec4 y = vec4(0.0);
            uint present = min(4, p.c - c);
            for (uint j = 0; j < present; j++)
                y[j] = finished(i + j, token) * (SMOOTHED != 0 ? constants[(STATES + 2) * p.c + c + j] : 1.0);
            store_codes(token * p.c + c, y, present, coder(token));
        } else {
            result[token * p.c + c] = SCALAR(finished(i, token));
        }
    }
}

void main()
{
    uint chunk = gl_WorkGroupID.y, end = min((chunk + 1) * p.chunk, p.tokens);
    float rates[PER_LANE], h[PER_LANE];
    load_rates(rates);
    [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
        h[i] = 0.0;
        if (CONTINUED != 0 && chunk > 0 && is_state(i))
            h[i] = summaries[state_at(chunk - 1, i)];
    }
    for (uint first = chunk * p.chunk; first < end; first += TILE) {
        uint count = min(TILE, end - first);
        load_tile(first, count);
        barrier();
        move_through(first, count, h, rates);
        barrier();
        store_tile(first, count);
    }
}
