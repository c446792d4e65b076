#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "attention.glsl"

#ifdef COOPMAT
#include "attention_coopmat.glsl"
#elif defined(LANES)
#include "attention_lanes.glsl"
#else
// softmax(scale q k^T) v for ROWS queries of one head at a time, walking over the keys in blocks with a running maximum and sum, so
// that a row of scores is never longer than a block. 64 invocations, as 8 x 8: invocation (r, c) owns queries r + 8 i, of the scores
// the keys c + 8 j, of the result the channels channel_of(j) of each slice. q, k and v pass through shared memory in slices of SLICE
// channels. Block and slice are as long as fits keys and channels of a head best: 77 keys are one block of 80, or two of 40 where
// shared memory is short.
layout(constant_id = SDG_SPEC_ROWS) const uint ROWS = 8;   // 8, 16 or 32
layout(constant_id = SDG_SPEC_KEYS) const uint BLOCK = 32; // a multiple of 8, as the next
layout(constant_id = SDG_SPEC_SLICE) const uint SLICE = 32;
layout(constant_id = SDG_SPEC_ONCE) const uint ONCE = 0; // all keys are one block: no maximum runs

const uint SIDE = 8;
const uint PER_ROW = ROWS / SIDE, PER_KEY = BLOCK / SIDE, PER_CHANNEL = SLICE / SIDE;
const uint NEIGHBOURS = PER_CHANNEL < 4 ? PER_CHANNEL : 4; // channels that are stored together
const uint SLICES_V = (DEPTH_V + SLICE - 1) / SLICE;

layout(binding = 0) readonly buffer Q { SCALAR q[]; };
layout(binding = 1) readonly buffer K { SCALAR k[]; };
layout(binding = 2) readonly buffer V { SCALAR v[]; };

shared float slice_q[ROWS * (SLICE + 1)];
shared float slice_kv[BLOCK * (SLICE + 1)];
shared float weights[ROWS * (BLOCK + 1)];

// The largest of x and its sum, of each row, over the 8 invocations that share it.
#ifdef SUBGROUP
// They are neighbours in a subgroup: the host sees to it that those are full, and of 8 invocations or more.
#extension GL_KHR_shader_subgroup_shuffle : require
uint my_lane()
{
    return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}

void row_maxima(inout float x[PER_ROW])
{
    [[unroll]] for (uint i = 0; i < PER_ROW; i++)
        [[unroll]] for (uint other = 1; other < SIDE; other *= 2)
            x[i] = max(x[i], subgroupShuffleXor(x[i], other));
}

void row_sums(inout float x[PER_ROW])
{
    [[unroll]] for (uint i = 0; i < PER_ROW; i++)
        [[unroll]] for (uint other = 1; other < SIDE; other *= 2)
            x[i] += subgroupShuffleXor(x[i], other);
}
#else
shared float parts[ROWS * SIDE];

uint my_lane()
{
    return gl_LocalInvocationID.x;
}

// Between two calls there has to be a barrier.
void share_parts(float x[PER_ROW])
{
    [[unroll]] for (uint i = 0; i < PER_ROW; i++)
        parts[my_lane() + i * SIDE * SIDE] = x[i];
    barrier();
}

float part_of(uint i, uint column)
{
    return parts[my_lane() / SIDE * SIDE + i * SIDE * SIDE + column];
}

void row_maxima(inout float x[PER_ROW])
{
    share_parts(x);
    [[unroll]] for (uint i = 0; i < PER_ROW; i++)
        [[unroll]] for (uint j = 0; j < SIDE; j++)
            x[i] = max(x[i], part_of(i, j));
}

void row_sums(inout float x[PER_ROW])
{
    share_parts(x);
    [[unroll]] for (uint i = 0; i < PER_ROW; i++) {
        x[i] = 0.0;
        [[unroll]] for (uint j = 0; j < SIDE; j++)
            x[i] += part_of(i, j);
    }
}
#endif

// Which channel of a slice is the invocation's `j`th: neighbours first, the others of a slice longer than 32 one by one behind them all.
uint channel_of(uint my_col, uint j)
{
    return j < NEIGHBOURS ? my_col * NEIGHBOURS + j : j * SIDE + my_col;
}

void main()
{
    uint lane = my_lane(), my_row = lane / SIDE, my_col = lane % SIDE;
    uint first_query = gl_WorkGroupID.x * ROWS, head = gl_WorkGroupID.y;
    uint base_q = gl_WorkGroupID.z * p.queries, base_k = gl_WorkGroupID.z * p.keys;

    float acc[PER_ROW * SLICES_V * PER_CHANNEL], largest[PER_ROW], sum[PER_ROW]; // the sum over its own keys
    [[unroll]] for (uint i = 0; i < PER_ROW * SLICES_V * PER_CHANNEL; i++)
        acc[i] = 0.0;
    [[unroll]] for (uint i = 0; i < PER_ROW; i++) {
        largest[i] = MINUS_INFINITY;
        sum[i] = 0.0;
    }

    uint end = keys_of(first_query + ROWS - 1);
    for (uint first_key = 0; first_key < end; first_key += BLOCK) {
        // scores of this block, in registers
        float s[PER_ROW * PER_KEY];
        [[unroll]] for (uint i = 0; i < PER_ROW * PER_KEY; i++)
            s[i] = 0.0;
        for (uint c0 = 0; c0 < DEPTH; c0 += SLICE) {
            barrier(); // the slices may still be in use
            for (uint i = lane; i < ROWS * SLICE; i += SIDE * SIDE) {
                uint row = first_query + i / SLICE, c = c0 + i % SLICE;
                bool inside = row < p.queries && c < DEPTH;
                uint at = (base_q + row) * p.pitch_qk + head * DEPTH + c;
                slice_q[i / SLICE * (SLICE + 1) + i % SLICE] = inside ? p.scale * float(q[at]) : 0.0;
            }
            for (uint i = lane; i < BLOCK * SLICE; i += SIDE * SIDE) {
                uint key = first_key + i / SLICE, c = c0 + i % SLICE;
                bool inside = key < p.keys && c < DEPTH;
                slice_kv[i / SLICE * (SLICE + 1) + i % SLICE] = inside ? float(k[(base_k + key) * p.pitch_qk + head * DEPTH + c]) : 0.0;
            }
            barrier();
            for (uint c = 0; c < SLICE; c++) {
                float a[PER_ROW], b[PER_KEY];
                [[unroll]] for (uint i = 0; i < PER_ROW; i++)
                    a[i] = slice_q[(my_row + i * SIDE) * (SLICE + 1) + c];
                [[unroll]] for (uint j = 0; j < PER_KEY; j++)
                    b[j] = slice_kv[(my_col + j * SIDE) * (SLICE + 1) + c];
                [[unroll]] for (uint i = 0; i < PER_ROW; i++)
                    [[unroll]] for (uint j = 0; j < PER_KEY; j++)
                        s[i * PER_KEY + j] += a[i] * b[j];
            }
        }
        float next[PER_ROW];
        [[unroll]] for (uint i = 0; i < PER_ROW; i++) {
            uint seen = keys_of(first_query + my_row + i * SIDE);
            next[i] = largest[i];
            [[unroll]] for (uint j = 0; j < PER_KEY; j++) {
                if (first_key + my_col + j * SIDE >= seen)
                    s[i * PER_KEY + j] = MINUS_INFINITY;
                next[i] = max(next[i], s[i * PER_KEY + j]);
            }
        }
        row_maxima(next);
        // scores become weights; what was summed so far is scaled to the new maximum
        [[unroll]] for (uint i = 0; i < PER_ROW; i++) {
            if (ONCE == 0) {
                float fix = exp(largest[i] - next[i]);
                sum[i] *= fix;
                [[unroll]] for (uint c = 0; c < SLICES_V * PER_CHANNEL; c++)
                    acc[i * SLICES_V * PER_CHANNEL + c] *= fix;
            }
            largest[i] = next[i];
            [[unroll]] for (uint j = 0; j < PER_KEY; j++) {
                float x = s[i * PER_KEY + j];
                float weight = x == MINUS_INFINITY ? 0.0 : exp(x - next[i]); // NaN stays NaN
                sum[i] += weight;
                weights[(my_row + i * SIDE) * (BLOCK + 1) + my_col + j * SIDE] = weight;
            }
        }
        [[unroll]] for (uint part = 0; part < SLICES_V; part++) {
            barrier();
            for (uint i = lane; i < BLOCK * SLICE; i += SIDE * SIDE) {
                uint key = first_key + i / SLICE, c = part * SLICE + i % SLICE;
                bool inside = key < p.keys && c < DEPTH_V;
                slice_kv[i / SLICE * (SLICE + 1) + i % SLICE] = inside ? float(v[(base_k + key) * p.pitch_v + head * DEPTH_V + c]) : 0.0;
            }
            barrier();
            for (uint key = 0; key < BLOCK; key++) {
                float a[PER_ROW], b[PER_CHANNEL];
                [[unroll]] for (uint i = 0; i < PER_ROW; i++)
                    a[i] = weights[(my_row + i * SIDE) * (BLOCK + 1) + key];
                [[unroll]] for (uint j = 0; j < PER_CHANNEL; j++)
                    b[j] = slice_kv[key * (SLICE + 1) + channel_of(my_col, j)];
                [[unroll]] for (uint i = 0; i < PER_ROW; i++)
                    [[unroll]] for (uint j = 0; j < PER_CHANNEL; j++)
                        acc[(i * SLICES_V + part) * PER_CHANNEL + j] += a[i] * b[j];
            }
        }
    }

    row_sums(sum);
    [[unroll]] for (uint i = 0; i < PER_ROW; i++) {
        uint row = my_row + i * SIDE;
        [[unroll]] for (uint part = 0; part < SLICES_V; part++) {
            if (first_query + row >= p.queries)
                continue;
            vec4 y = vec4(0.0);
            [[unroll]] for (uint j = 0; j < NEIGHBOURS; j++)
                y[j] = acc[(i * SLICES_V + part) * PER_CHANNEL + j] / sum[i];
            store(base_q + first_query + row, head, part * SLICE + channel_of(my_col, 0), y, NEIGHBOURS);
            [[unroll]] for (uint j = NEIGHBOURS; j < PER_CHANNEL; j++) {
                y.x = acc[(i * SLICES_V + part) * PER_CHANNEL + j] / sum[i];
                store(base_q + first_query + row, head, part * SLICE + channel_of(my_col, j), y, 1);
            }
        }
    }
}
#endif
