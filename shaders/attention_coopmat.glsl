// softmax(scale q k^T) v for BM queries of one head at a time on cooperative matrices, without a matrix of scores in memory. The tile is a
// row of variants.txt: a workgroup takes BM queries over the keys in blocks of BN; a group of subgroups owns TM of the queries, and its
// members SHARES of the block's keys, TN each, and of the result's channels. Matrices are FM x FK and FK x FN, as the device has them.
//
// q lies in shared memory from beginning to end. k and v pass through it in slices of BK channels of a block, fetched and kept as in
// matmul_coopmat.glsl: the next slice, of v after the last of k and of the next block's k after the last of v, is on its way while the
// matrices of this one are multiplied. Scores go through shared memory in f32, where each row is shared by neighbouring invocations, and
// come back as weights in f16, the left operand of the second product.
//
// Sums of the result stay in matrices, whose rows nobody can scale, as only the driver knows where they are. So the maximum that is taken
// from a row's scores runs behind: it is moved, and the sums are sent through shared memory to be scaled, only when a row outgrows it by
// LAG. Until then weights are up to e^LAG, which f16 holds as precisely as those up to 1; in all but the first blocks nothing moves.
#include "tile.glsl"
layout(constant_id = SDG_SPEC_FRAGMENT_M) const uint FM = 16;
layout(constant_id = SDG_SPEC_FRAGMENT_N) const uint FN = 16;
layout(constant_id = SDG_SPEC_FRAGMENT_K) const uint FK = 16;
layout(constant_id = SDG_SPEC_BUFFERS) const uint BUFFERS = 2;
layout(constant_id = SDG_SPEC_SUBGROUP) const uint SUBGROUP_SIZE = 32;

#define MATRIX(type, rows, columns, use) coopmat<type, gl_ScopeSubgroup, rows, columns, use>
#define MATRIX_A MATRIX(float16_t, FM, FK, gl_MatrixUseA)
#define MATRIX_B MATRIX(float16_t, FK, FN, gl_MatrixUseB)
#define MATRIX_SUM MATRIX(float, FM, FN, gl_MatrixUseAccumulator)

const float LAG = 8.0;
const uint INVOCATIONS = gl_WorkGroupSize.x;
const uint SHARES = BN / TN;
const uint FRAGMENTS_M = TM / FM, FRAGMENTS_KEYS = TN / FN;             // of scores, of a subgroup
const uint FRAGMENTS_V = BK / FN / SHARES;                              // of a slice of the result
const uint SLICES = (DEPTH + BK - 1) / BK, SLICES_V = (DEPTH_V + BK - 1) / BK;
const uint FRAGMENTS = FRAGMENTS_M * FRAGMENTS_V * SLICES_V;            // of the result, of a subgroup

// Shared memory in pieces of 8 halves, with 16 bytes of padding a row.
const uint PITCH = BK / 8 + 1, BUFFER = BN * PITCH;
const uint PITCH_Q = (DEPTH + FK - 1) / FK * FK / 8 + 1;
const uint PITCH_S = BN + 4, PITCH_W = BN / 2 + 4; // of scores in words, of weights in words of two
const uint LOADS = (BUFFER - BN + INVOCATIONS - 1) / INVOCATIONS;

// The softmax of a group's rows by all of its invocations: PARTS of them share a row, or each has several.
const uint LANES = SHARES * SUBGROUP_SIZE;
const uint PARTS = LANES > TM ? LANES / TM : 1, ROWS_EACH = TM > LANES ? TM / LANES : 1;
const uint KEYS_EACH = BN / PARTS; // even

layout(binding = 0) readonly buffer Q { uvec4 q[]; };
layout(binding = 1) readonly buffer K { uvec4 k[]; };
layout(binding = 2) readonly buffer V { uvec4 v[]; };

shared uvec4 queries[BM * PITCH_Q];
shared uvec4 slices[BUFFERS * BUFFER];
shared float scores[BM * PITCH_S];
shared uint weights[BM * PITCH_W];
shared float row_part[BM * PARTS], row_fix[BM];
shared uint outgrown[BM / TM];

uvec4 on_the_way[LOADS];
MATRIX_SUM score[FRAGMENTS_M * FRAGMENTS_KEYS];
MATRIX_SUM sum[FRAGMENTS];
float row_reference[ROWS_EACH], row_sum[ROWS_EACH]; // of this invocation's rows; the sum over its own keys
uint base_k, head;

void fetch_k(uint first_key, uint slice)
{
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint at = gl_LocalInvocationID.x + i * INVOCATIONS, key = first_key + at / (BK / 8), c = slice * BK + at % (BK / 8) * 8;
        bool inside = at < BN * (BK / 8) && key < p.keys && c < DEPTH;
        on_the_way[i] = inside ? k[((base_k + key) * p.pitch_qk + head * DEPTH + c) / 8] : uvec4(0);
    }
}

void fetch_v(uint first_key, uint slice)
{
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint at = gl_LocalInvocationID.x + i * INVOCATIONS, key = first_key + at / (BK / 8), c = slice * BK + at % (BK / 8) * 8;
        bool inside = at < BN * (BK / 8) && key < p.keys && c < DEPTH_V;
        on_the_way[i] = inside ? v[((base_k + key) * p.pitch_v + head * DEPTH_V + c) / 8] : uvec4(0);
    }
}

// Ends a step: what has come becomes the slice to work on. Returns where it begins.
uint keep(uint slice)
{
    if (BUFFERS == 1)
        barrier();
    else
        slice = BUFFER - slice;
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint at = gl_LocalInvocationID.x + i * INVOCATIONS;
        if (at < BN * (BK / 8))
            slices[slice + at / (BK / 8) * PITCH + at % (BK / 8)] = on_the_way[i];
    }
    barrier();
    return slice;
}

void load_queries(uint base_q, uint first_query)
{
    for (uint at = gl_LocalInvocationID.x; at < BM * (PITCH_Q - 1); at += INVOCATIONS) {
        uint row = at / (PITCH_Q - 1), c = at % (PITCH_Q - 1) * 8;
        bool inside = first_query + row < p.queries && c < DEPTH;
        queries[row * PITCH_Q + c / 8] = inside ? q[((base_q + first_query + row) * p.pitch_qk + head * DEPTH + c) / 8] : uvec4(0);
    }
}

// Waits for the other subgroups of the group, if there are any.
void group_barrier()
{
    if (SHARES == 1)
        subgroupBarrier();
    else
        barrier();
}

// The largest of x, of each row, over the invocations that share it.
#ifdef SUBGROUP
// They are neighbours in a subgroup, and their number is a power of two.
#extension GL_KHR_shader_subgroup_shuffle : require
void row_maxima(uint first_row, uint member, inout float x[ROWS_EACH])
{
    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++)
        [[unroll]] for (uint other = 1; other < PARTS; other *= 2)
            x[r] = max(x[r], subgroupShuffleXor(x[r], other));
}
#else
void row_maxima(uint first_row, uint member, inout float x[ROWS_EACH])
{
    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++)
        row_part[(first_row + member / PARTS + r * LANES) * PARTS + member % PARTS] = x[r];
    group_barrier();
    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++)
        [[unroll]] for (uint j = 0; j < PARTS; j++)
            x[r] = max(x[r], row_part[(first_row + member / PARTS + r * LANES) * PARTS + j]);
}
#endif

// This block's scores become weights. first_row is the group's in the tile, member this invocation in the group.
void soften(uint first_row, uint member, uint first_query, uint first_key)
{
    float s[ROWS_EACH * KEYS_EACH], row_max[ROWS_EACH];
    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++) {
        uint row = first_row + member / PARTS + r * LANES, first = member % PARTS * KEYS_EACH;
        uint seen = keys_of(first_query + row);
        float largest = MINUS_INFINITY;
        [[unroll]] for (uint j = 0; j < KEYS_EACH; j++) {
            float x = first_key + first + j < seen ? p.scale * scores[row * PITCH_S + first + j] : MINUS_INFINITY;
            s[r * KEYS_EACH + j] = x;
            largest = max(largest, x);
        }
        row_max[r] = largest;
    }
    row_maxima(first_row, member, row_max);
    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++) {
        uint row = first_row + member / PARTS + r * LANES, first = member % PARTS * KEYS_EACH;
        float largest = row_max[r], reference = row_reference[r], fix = 1.0;
        if (largest > reference + LAG) {
            fix = exp(reference - largest);
            reference = largest;
            outgrown[first_row / TM] = 1;
        }
        row_fix[row] = fix; // all parts write the same
        row_reference[r] = reference;
        row_sum[r] *= fix;
        [[unroll]] for (uint j = 0; j < KEYS_EACH; j += 2) {
            vec2 x = vec2(s[r * KEYS_EACH + j], s[r * KEYS_EACH + j + 1]);
            // NaN stays NaN; weights are summed as they will be multiplied
            uint pair = packHalf2x16(vec2(x.x == MINUS_INFINITY ? 0.0 : exp(x.x - reference), x.y == MINUS_INFINITY ? 0.0 : exp(x.y - reference)));
            vec2 rounded = unpackHalf2x16(pair);
            row_sum[r] += rounded.x + rounded.y;
            weights[row * PITCH_W + (first + j) / 2] = pair;
        }
    }
    group_barrier();
}

// Where a subgroup may put one of its fragments: among the scores, which are not needed any more, in its own columns.
uint patch_at(uint first_row, uint share, uint i)
{
    return (first_row + i * FM) * PITCH_S + share * TN;
}

void scale_sums(uint first_row, uint share)
{
    [[unroll]] for (uint fragment = 0; fragment < FRAGMENTS; fragment++) {
        uint i = fragment / (FRAGMENTS_V * SLICES_V), patch_start = patch_at(first_row, share, i);
        coopMatStore(sum[fragment], scores, patch_start, PITCH_S, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        for (uint at = gl_SubgroupInvocationID; at < FM * FN; at += SUBGROUP_SIZE)
            scores[patch_start + at / FN * PITCH_S + at % FN] *= row_fix[first_row + i * FM + at / FN];
        subgroupBarrier();
        coopMatLoad(sum[fragment], scores, patch_start, PITCH_S, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
    }
}

// The scores' products with one slice of k.
void multiply_k(uint slice, uint first_row, uint share, uint c0)
{
    for (uint c = 0; c < BK; c += FK) {
        if (c0 + c >= DEPTH)
            break;
        MATRIX_A a[FRAGMENTS_M];
        [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++)
            coopMatLoad(a[i], queries, (first_row + i * FM) * PITCH_Q + (c0 + c) / 8, PITCH_Q, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < FRAGMENTS_KEYS; j++) {
            MATRIX_B b;
            coopMatLoad(b, slices, slice + (share * TN + j * FN) * PITCH + c / 8, PITCH, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++)
                score[i * FRAGMENTS_KEYS + j] = coopMatMulAdd(a[i], b, score[i * FRAGMENTS_KEYS + j]);
        }
    }
}

// Which channel of its slice's a subgroup's fragment begins with.
uint channel_of(uint share, uint f)
{
    return (f * SHARES + share) * FN;
}

void main()
{
    uint group = gl_SubgroupID / SHARES, share = gl_SubgroupID % SHARES, first_row = group * TM;
    uint member = share * SUBGROUP_SIZE + gl_SubgroupInvocationID;
    uint first_query = gl_WorkGroupID.x * BM, base_q = gl_WorkGroupID.z * p.queries;
    head = gl_WorkGroupID.y;
    base_k = gl_WorkGroupID.z * p.keys;

    [[unroll]] for (uint i = 0; i < FRAGMENTS; i++)
        sum[i] = MATRIX_SUM(0);
    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++) {
        row_reference[r] = MINUS_INFINITY;
        row_sum[r] = 0.0;
    }
    if (member == 0)
        outgrown[group] = 0;
    load_queries(base_q, first_query);
    fetch_k(0, 0);
    uint slice = keep(BUFFERS == 1 ? 0 : BUFFER), end = keys_of(first_query + BM - 1);
    for (uint first_key = 0; first_key < end; first_key += BN) {
        [[unroll]] for (uint i = 0; i < FRAGMENTS_M * FRAGMENTS_KEYS; i++)
            score[i] = MATRIX_SUM(0);
        for (uint part = 0; part + 1 < SLICES; part++) {
            fetch_k(first_key, part + 1);
            multiply_k(slice, first_row, share, part * BK);
            slice = keep(slice);
        }
        fetch_v(first_key, 0);
        multiply_k(slice, first_row, share, (SLICES - 1) * BK);
        [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++)
            [[unroll]] for (uint j = 0; j < FRAGMENTS_KEYS; j++)
                coopMatStore(score[i * FRAGMENTS_KEYS + j], scores, patch_at(first_row, share, i) + j * FN, PITCH_S,
                             gl_CooperativeMatrixLayoutRowMajor);
        group_barrier();
        soften(first_row, member, first_query, first_key);
        if (first_key > 0 && outgrown[group] != 0) // there are no sums before
            scale_sums(first_row, share);
        slice = keep(slice);
        if (member == 0)
            outgrown[group] = 0;
        [[unroll]] for (uint part = 0; part < SLICES_V; part++) {
            if (part + 1 < SLICES_V)
                fetch_v(first_key, part + 1);
            else if (first_key + BN < end)
                fetch_k(first_key + BN, 0);
            for (uint key = 0; key < BN; key += FK) {
                MATRIX_A a[FRAGMENTS_M];
                [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++)
                    coopMatLoad(a[i], weights, (first_row + i * FM) * PITCH_W + key / 2, PITCH_W, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint f = 0; f < FRAGMENTS_V; f++) {
                    MATRIX_B b;
                    if (part * BK + channel_of(share, f) >= DEPTH_V)
                        break;
                    coopMatLoad(b, slices, slice + key * PITCH + channel_of(share, f) / 8, PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++) {
                        const uint at = (i * SLICES_V + part) * FRAGMENTS_V + f;
                        sum[at] = coopMatMulAdd(a[i], b, sum[at]);
                    }
                }
            }
            slice = keep(slice);
        }
    }

    [[unroll]] for (uint r = 0; r < ROWS_EACH; r++)
        row_part[(first_row + member / PARTS + r * LANES) * PARTS + member % PARTS] = row_sum[r];
    group_barrier();
    for (uint fragment = 0; fragment < FRAGMENTS; fragment++) {
        uint patch_start = patch_at(first_row, share, 0);
        [[unroll]] for (uint i = 0; i < FRAGMENTS; i++)
            if (i == fragment)
                coopMatStore(sum[i], scores, patch_start, PITCH_S, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        uint first = first_row + fragment / (FRAGMENTS_V * SLICES_V) * FM;
        uint c = fragment / FRAGMENTS_V % SLICES_V * BK + channel_of(share, fragment % FRAGMENTS_V);
        for (uint four = gl_SubgroupInvocationID; four < FM * FN / 4; four += SUBGROUP_SIZE) {
            uint y = four / (FN / 4), x = four % (FN / 4) * 4, at = patch_start + y * PITCH_S + x;
            if (first_query + first + y >= p.queries || c + x >= DEPTH_V)
                continue;
            float total = 0.0;
            [[unroll]] for (uint j = 0; j < PARTS; j++)
                total += row_part[(first + y) * PARTS + j];
            store(base_q + first_query + first + y, head, c + x,
                  vec4(scores[at], scores[at + 1], scores[at + 2], scores[at + 3]) / total, 4);
        }
        subgroupBarrier();
    }
}
