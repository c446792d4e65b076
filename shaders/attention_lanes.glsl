// softmax(scale q k^T) v for BM queries of one head at a time, for devices whose shared memory is memory like any other: drivers that run on
// a processor (see matmul_lanes.glsl). A workgroup is one subgroup, and the tile a row of variants.txt.
//
// An invocation owns TM queries, their scores with all BN keys of a block, and their results. Keys and values are loaded four channels at
// a time, one key by each invocation, and handed to the others register by register; so a row of scores never leaves its invocation, which
// finds its maximum and sum alone, without shared memory, barriers or operations of subgroups. Both products go through four channels
// after the other, with all queries and keys of the block written out: loads are few and long for the work they feed, and heads of any
// size have the same code. Loads of single channels, four times as many, take this driver's compiler half a minute: heads whose size is no
// multiple of 4 have the other body.
//
// Results wait in shared memory, where nobody but their invocation looks at them, for the next block.
#extension GL_KHR_shader_subgroup_shuffle : require
#include "tile.glsl"
layout(constant_id = SDG_SPEC_WAITING) const uint WAITING = 16; // fours of channels that there is room for

const uint LANE_COUNT = THREADS;
const uint READS = BN / LANE_COUNT; // keys that an invocation loads

layout(binding = 0) restrict readonly buffer Q { PACK q[]; };
layout(binding = 1) restrict readonly buffer K { PACK k[]; };
layout(binding = 2) restrict readonly buffer V { PACK v[]; };

shared vec4 waiting[BM * WAITING];

float s[TM * BN];

void multiply_k(uint at_q[TM], uint at_k[READS])
{
    [[unroll]] for (uint i = 0; i < TM * BN; i++)
        s[i] = 0.0;
    for (uint c = 0; c < DEPTH; c += 4) {
        vec4 a[TM];
        [[unroll]] for (uint i = 0; i < TM; i++)
            a[i] = vec4(q[(at_q[i] + c) / 4]);
        [[unroll]] for (uint r = 0; r < READS; r++) {
            vec4 b = vec4(k[(at_k[r] + c) / 4]);
            [[unroll]] for (uint l = 0; l < LANE_COUNT; l++)
                [[unroll]] for (uint ch = 0; ch < 4; ch++) {
                    float from_key = subgroupShuffle(b[ch], l);
                    [[unroll]] for (uint i = 0; i < TM; i++)
                        s[i * BN + r * LANE_COUNT + l] += a[i][ch] * from_key;
                }
        }
    }
}

// Scores become weights. Returns what results so far have to be multiplied with.
float soften(uint i, uint query, uint first_key, inout float largest, inout float total)
{
    uint seen = keys_of(query);
    float next = largest;
    [[unroll]] for (uint j = 0; j < BN; j++) {
        float x = first_key + j < seen ? p.scale * s[i * BN + j] : MINUS_INFINITY;
        s[i * BN + j] = x;
        next = max(next, x);
    }
    float fix = exp(largest - next);
    largest = next;
    total *= fix;
    [[unroll]] for (uint j = 0; j < BN; j++) {
        float x = s[i * BN + j], weight = x == MINUS_INFINITY ? 0.0 : exp(x - next); // NaN stays NaN
        s[i * BN + j] = weight;
        total += weight;
    }
    return fix;
}

void main()
{
    uint lane = gl_SubgroupInvocationID, head = gl_WorkGroupID.y;
    uint first_query = gl_WorkGroupID.x * BM, base_q = gl_WorkGroupID.z * p.queries, base_k = gl_WorkGroupID.z * p.keys;
    uint query[TM], at_q[TM];
    float largest[TM], total[TM], fix[TM];
    [[unroll]] for (uint i = 0; i < TM; i++) {
        query[i] = first_query + i * LANE_COUNT + lane;
        at_q[i] = (base_q + min(query[i], p.queries - 1)) * p.pitch_qk + head * DEPTH;
        largest[i] = MINUS_INFINITY;
        total[i] = 0.0;
    }

    uint end = keys_of(first_query + BM - 1);
    for (uint first_key = 0; first_key < end; first_key += BN) {
        uint at_k[READS], at_v[READS];
        [[unroll]] for (uint r = 0; r < READS; r++) { // those past the end weigh nothing
            uint key = base_k + min(first_key + r * LANE_COUNT + lane, p.keys - 1);
            at_k[r] = key * p.pitch_qk + head * DEPTH;
            at_v[r] = key * p.pitch_v + head * DEPTH_V;
        }
        multiply_k(at_q, at_k);
        [[unroll]] for (uint i = 0; i < TM; i++)
            fix[i] = soften(i, query[i], first_key, largest[i], total[i]);
        bool first = first_key == 0, last = first_key + BN >= end;
        for (uint c = 0; c < DEPTH_V; c += 4) {
            vec4 y[TM];
            uint slot = c / 4 * BM + lane;
            [[unroll]] for (uint i = 0; i < TM; i++)
                y[i] = vec4(0.0);
            if (!first)
                [[unroll]] for (uint i = 0; i < TM; i++)
                    y[i] = waiting[slot + i * LANE_COUNT] * fix[i];
            [[unroll]] for (uint r = 0; r < READS; r++) {
                vec4 b = vec4(v[(at_v[r] + c) / 4]);
                [[unroll]] for (uint l = 0; l < LANE_COUNT; l++)
                    [[unroll]] for (uint ch = 0; ch < 4; ch++) {
                        float from_key = subgroupShuffle(b[ch], l);
                        [[unroll]] for (uint i = 0; i < TM; i++)
                            y[i][ch] += s[i * BN + r * LANE_COUNT + l] * from_key;
                    }
            }
            [[unroll]] for (uint i = 0; i < TM; i++)
                waiting[slot + i * LANE_COUNT] = last ? y[i] / total[i] : y[i];
            if (last) { // one store for all rows: drivers compile what is here for many minutes where it is written out (codes, 40 keys)
                [[dont_unroll]] for (uint i = 0; i < TM; i++) {
                    uint from = first_query + i * LANE_COUNT + lane;
                    if (from < p.queries)
                        store(base_q + from, head, c, waiting[slot + i * LANE_COUNT], 4);
                }
            }
        }
    }
}
