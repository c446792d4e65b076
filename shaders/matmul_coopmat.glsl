// out[m][n] = epilogue(sum over k of a[m][k] * w[n][k]): the body of linear and conv2d, of halves and of integers, on cooperative matrices.
//
// The including file defines what matmul.glsl asks for, except that a_load() gives 16 bytes of a row as they are, and includes
// fragments_f16.glsl or fragments_s8.glsl. The tile is a row of variants.txt in which "threads" are subgroups: a workgroup makes BM x BN
// outputs, a subgroup TM x TN of them, in fragments of FM x FN, a size that the device has (backend/vulkan/ops/matmul.c).
//
// Slices of both operands lie in shared memory as they lie in the buffers, rows of k, so that 16 bytes move at a time and none of them is
// looked at; transposing is what the loads of matrices do. 16 bytes of padding put neighbouring rows on other banks, and keep rows aligned
// as those loads want it. While the matrices of a slice are multiplied, the next slice is on its way from memory into registers; where
// shared memory has room for two (BUFFERS), it is stored beside the first, at one barrier a slice instead of two.
//
// Sums are f32, or s32 and exact. Which elements of a matrix an invocation holds only the driver knows, so fragments pass through a patch
// of shared memory of their subgroup's, one by one, to the epilogue that all products share. That happens in a loop which stays one, so
// that the epilogue is there once; only the stores, whose index into sum[] has to be known, are written out.
#define MATRIX(type, rows, columns, use) coopmat<type, gl_ScopeSubgroup, rows, columns, use>
#define MATRIX_A MATRIX(OPERAND, FM, FK, gl_MatrixUseA)
#define MATRIX_B MATRIX(OPERAND, FK, FN, gl_MatrixUseB)
#define MATRIX_SUM MATRIX(SUM, FM, FN, gl_MatrixUseAccumulator)

const uint GROUP = 4; // neighbours along n that an invocation makes of sums
#include "outputs.glsl"
#include "parts.glsl"

const uint INVOCATIONS = gl_WorkGroupSize.x;
const uint SLOTS_K = BK / UNITS; // loads that cover one row of a slice
const uint ROWS_AT_ONCE = INVOCATIONS / SLOTS_K;
const uint LOADS_A = (BM + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint LOADS_B = (BN / ROWS_B + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint FRAGMENTS_M = TM / FM, FRAGMENTS_N = TN / FN; // of a subgroup
const uint PATCH_PITCH = FN + 4;                         // 16 bytes of padding, as above
shared SUM patches[THREADS * FM * PATCH_PITCH];          // THREADS: subgroups

A_ROW rows[LOADS_A];
A_LOAD on_the_way_a[LOADS_A];
B_LOAD on_the_way_b[LOADS_B];
MATRIX_SUM sum[FRAGMENTS_M * FRAGMENTS_N];

// Starts the loads of this invocation's part of the slice at k0, where the cursor is; zeros from `end` on.
void fetch(uint k0, uint end, uint n0, uint slot_k, uint slot_row)
{
    uint k = k0 + slot_k;
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        on_the_way_a[i] = k < end ? a_load(rows[i]) : A_LOAD(0);
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
        uint b = slot_row + i * ROWS_AT_ONCE;
        on_the_way_b[i] = fetch_b(n0 / ROWS_B + b, k, k < end && b < BN / ROWS_B && n0 + b * ROWS_B < p.n);
    }
    prepare_load(k, k < end);
    cursor_advance();
}

// Stores what has come as the slice that begins there.
void keep(uint slice, uint slot_k, uint slot_row)
{
    uint piece = slice + slot_k / UNITS * PIECES;
    [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
        uint m = slot_row + i * ROWS_AT_ONCE;
        if (m < BM)
            keep_a(piece + m * PITCH, loaded(on_the_way_a[i], rows[i]));
    }
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
        uint b = slot_row + i * ROWS_AT_ONCE;
        if (b < BN / ROWS_B)
            keep_b(piece + SLICE_W + b * ROWS_B * PITCH, on_the_way_b[i]);
    }
}

// Adds the products of a slice; m and n are this subgroup's first row and column of the tile.
void multiply(uint slice, uint m, uint n)
{
    uint first_a = slice + m * PITCH, first_b = slice + SLICE_W + n * PITCH;
    for (uint k = 0; k < DEPTH; k += FK) { // unrolled or not, as the driver thinks
        MATRIX_A a[FRAGMENTS_M];
        [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++)
            coopMatLoad(a[i], slices, first_a + i * FM * PITCH + k / COMPONENTS, PITCH, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < FRAGMENTS_N; j++) {
            MATRIX_B b;
            coopMatLoad(b, slices, first_b + j * FN * PITCH + k / COMPONENTS, PITCH, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < FRAGMENTS_M; i++)
                sum[i * FRAGMENTS_N + j] = coopMatMulAdd(a[i], b, sum[i * FRAGMENTS_N + j]);
        }
    }
}

// Outputs from this subgroup's sums; m and n are the first of them.
void finish(uint m, uint n)
{
    vec2 shared_coder = coder_of_rows();
    uint patch_start = gl_SubgroupID * FM * PATCH_PITCH;
    for (uint fragment = 0; fragment < FRAGMENTS_M * FRAGMENTS_N; fragment++) {
        [[unroll]] for (uint i = 0; i < FRAGMENTS_M * FRAGMENTS_N; i++)
            if (i == fragment)
                coopMatStore(sum[i], patches, patch_start, PATCH_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        uint first_m = m + fragment / FRAGMENTS_N * FM, first_n = n + fragment % FRAGMENTS_N * FN;
        for (uint four = gl_SubgroupInvocationID; four < FM * FN / 4; four += gl_SubgroupSize) {
            uint y = four / (FN / 4), x = four % (FN / 4) * 4, at = patch_start + y * PATCH_PITCH + x;
            if (SPLIT != 0) {
                if (first_m + y < p.m && first_n + x < p.n)
                    part_fours[place_in_part(first_m + y, first_n + x) / 4] =
                        SUM_FOUR(patches[at], patches[at + 1], patches[at + 2], patches[at + 3]);
            } else if (first_m + y < p.m)
                four_outputs(output_line(first_m + y, shared_coder), first_n + x, patches[at], patches[at + 1], patches[at + 2],
                             patches[at + 3]);
        }
        subgroupBarrier();
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint m0 = tile_start().x, n0 = tile_start().y;
    uint slot_k = lane % SLOTS_K * UNITS, slot_row = lane / SLOTS_K;
    uint my_m = gl_SubgroupID / THREADS_N * TM, my_n = gl_SubgroupID % THREADS_N * TN;
    operands_start();
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        rows[i] = a_row(m0 + slot_row + i * ROWS_AT_ONCE);
    uvec2 part = part_of_k();
    cursor_start(part.x + slot_k);
    [[unroll]] for (uint i = 0; i < FRAGMENTS_M * FRAGMENTS_N; i++)
        sum[i] = MATRIX_SUM(0);

    fetch(part.x, part.y, n0, slot_k, slot_row);
    keep(0, slot_k, slot_row);
    barrier();
    uint slice = 0;
    for (uint k0 = part.x; k0 < part.y; k0 += BK) {
        bool more = k0 + BK < part.y;
        if (more)
            fetch(k0 + BK, part.y, n0, slot_k, slot_row);
        multiply(slice, my_m, my_n);
        if (BUFFERS == 1)
            barrier();
        else
            slice = BUFFER - slice;
        if (more)
            keep(slice, slot_k, slot_row);
        barrier();
    }
    finish(m0 + my_m, n0 + my_n);
}
