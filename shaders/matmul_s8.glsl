// out[m][n] = epilogue(scale * weight_scale[n] * sum over k of (code[m][k] - zero) * w[n][k]): the body of linear_s8.comp and
// conv2d_s8.comp. The sum is exact.
//
// Tiles as in matmul.glsl, of words: four codes or weights along the input channels; p.k counts words, and channels are filled up with
// weights of 0. Unsigned codes become signed ones by flipping their highest bit, which takes 128 from the code and from the zero point,
// so that one product, of signed bytes, does for all. What lies outside a picture reads as the zero point, whose part in the sum is
//     zero * sum over k of w[n][k]
// with sums made on upload. Where tokens have their own intervals, nothing is outside and a row of m is a token. An invocation owns TM x TN outputs, along n in groups of four.
//
// Weights are laid out (backend/vulkan/vk_weights.c) as words [n / 4][k][n % 4], or with 4 bits as words of two k, the first in the
// lower half of each byte; the sums [n] follow. So a tile's weights are contiguous runs of 16 * BK bytes.
//
// The including file defines, before this one, the push constants p (with m, n, k) and
//     A_ROW a_row(uint m)                   what has to be known of row m, once
//     uint a_load(A_ROW row, uint outside)  word k of a row at the cursor, `outside` outside the picture
//     void cursor_start(uint k), cursor_advance()   the k of this invocation's loads, advanced by BK
//     uint sample_of(uint m)                the batch index of row m
const uint BK = 8;
#ifdef DOT
const uint UNROLLED = 4;
#else
const uint UNROLLED = 1; // each step is four; more of them only lengthen compilation
#endif
layout(constant_id = 0) const uint BM = 32;
layout(constant_id = 1) const uint BN = 32;
layout(constant_id = 2) const uint TM = 4;
layout(constant_id = 3) const uint TN = 4; // a multiple of 4
layout(constant_id = 11) const uint IN_PAIRS = 0; // as OUT_PAIRS in codes.glsl, of the codes that are read
layout(constant_id = 12) const uint FLIP = 0;    // 0x80808080 for unsigned codes
layout(constant_id = 13) const uint WEIGHT_BITS = 8;

const uint THREADS_N = BN / TN;
const uint THREADS = (BM / TM) * THREADS_N; // the host sets the workgroup's length to this
const uint ROWS_AT_ONCE = THREADS / BK;
const uint LOADS_A = (BM + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint LOADS_B = (BN / 4 + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
const uint PITCH_A = BM + 4; // the padding spreads the stores over the banks
const uint PITCH_B = BN / 4 + 1;

layout(binding = 1) readonly buffer Weights { uvec4 weights[]; };
layout(binding = 1) readonly buffer Sums { int sums[]; };
layout(binding = 2) writeonly buffer Out { SCALAR result[]; };
layout(binding = 2) writeonly buffer OutFours { VECTOR result_fours[]; };
layout(binding = 8) readonly buffer InInterval { vec2 in_intervals[]; };
layout(binding = 9) readonly buffer WeightScale { float weight_scale[]; };
shared int tile_a[BK * PITCH_A];
shared ivec4 tile_b[BK * PITCH_B];

#include "epilogue.glsl"

#ifdef DOT
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450) // OpSDotKHR
int packed_dot(int a, int b, spirv_literal int format);
#endif

// Words of a row of n as stored.
uint stored_words()
{
    return WEIGHT_BITS == 4 ? (p.k + 1) / 2 : p.k;
}

ivec4 load_weights(uint four, uint k)
{
    if (WEIGHT_BITS == 8)
        return ivec4(weights[four * p.k + k]);
    uvec4 half_bytes = weights[four * stored_words() + k / 2] >> (k % 2 * 4) & 0x0f0f0f0fu;
    // sign extension of four numbers at once: the highest bit of each byte keeps the subtraction from borrowing
    return ivec4(((half_bytes ^ 0x08080808u | 0x80808080u) - 0x08080808u) ^ 0x80808080u);
}

void store(uint m, uint n, vec4 y)
{
    uint at = m * p.n + n, count = min(4, p.n - n);
    if (CODES) {
        store_codes(at, y, count, coder(m));
    } else if (p.n % 4 == 0) {
        result_fours[at / 4] = VECTOR(y);
    } else {
        for (uint c = 0; c < count; c++)
            result[at + c] = SCALAR(y[c]);
    }
}

// Scale of row m, and its zero point as it enters the product. (What is read from outside a picture has the only one.)
vec2 row_interval(uint m)
{
    return in_intervals[IN_PAIRS > 1 ? row * IN_PAIRS + m % IN_PAIRS : row * IN_PAIRS];
}

uint repeated(float zero)
{
    return (uint(int(zero)) & 0xffu) * 0x01010101u;
}

void main()
{
    uint lane = gl_LocalInvocationID.x, fours = (p.n + 3) / 4;
    uint m0 = gl_WorkGroupID.x * BM, n0 = gl_WorkGroupID.y * BN;
    uint slot_k = lane % BK, slot_row = lane / BK;
    uint first_m = lane / THREADS_N, first_n = lane % THREADS_N;
    uint outside = repeated(row_interval(0).y);

    A_ROW rows[LOADS_A];
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        rows[i] = a_row(m0 + slot_row + i * ROWS_AT_ONCE);
    cursor_start(slot_k);

    int sum[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sum[i] = 0;

    for (uint k0 = 0; k0 < p.k; k0 += BK) {
        uint k = k0 + slot_k;
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
            uint m = slot_row + i * ROWS_AT_ONCE;
            if (m < BM)
                tile_a[slot_k * PITCH_A + m] = k < p.k ? int(a_load(rows[i], outside) ^ FLIP) : 0;
        }
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
            uint four = slot_row + i * ROWS_AT_ONCE;
            if (four < BN / 4)
                tile_b[slot_k * PITCH_B + four] = k < p.k && n0 / 4 + four < fours ? load_weights(n0 / 4 + four, k) : ivec4(0);
        }
        cursor_advance();
        barrier();
        [[dont_unroll]] for (uint first = 0; first < BK; first += UNROLLED)
            [[unroll]] for (uint s = first; s < first + UNROLLED; s++) {
                int a[TM];
                ivec4 b[TN / 4];
                [[unroll]] for (uint i = 0; i < TM; i++)
                    a[i] = tile_a[s * PITCH_A + first_m + i * (BM / TM)];
                [[unroll]] for (uint j = 0; j < TN / 4; j++)
                    b[j] = tile_b[s * PITCH_B + first_n + j * THREADS_N];
#ifdef DOT
                [[unroll]] for (uint i = 0; i < TM; i++)
                    [[unroll]] for (uint j = 0; j < TN; j++)
                        sum[i * TN + j] += packed_dot(a[i], b[j / 4][j % 4], 0); // 0: PackedVectorFormat4x8Bit
#else
                [[unroll]] for (int bit = 0; bit < 32; bit += 8) {
                    int w[TN];
                    [[unroll]] for (uint j = 0; j < TN; j++)
                        w[j] = bitfieldExtract(b[j / 4][j % 4], bit, 8);
                    [[unroll]] for (uint i = 0; i < TM; i++) {
                        int code = bitfieldExtract(a[i], bit, 8);
                        [[unroll]] for (uint j = 0; j < TN; j++)
                            sum[i * TN + j] += code * w[j];
                    }
                }
#endif
            }
        barrier();
    }

    [[unroll]] for (uint j = 0; j < TN; j += 4) {
        uint n = n0 + (first_n + j / 4 * THREADS_N) * 4;
        if (n >= p.n)
            continue;
        vec4 scale;
        ivec4 weights_sum;
        [[unroll]] for (uint c = 0; c < 4; c++) {
            uint at = min(n + c, p.n - 1);
            scale[c] = weight_scale[at];
            weights_sum[c] = sums[fours * 4 * stored_words() + at];
        }
        [[unroll]] for (uint i = 0; i < TM; i++) {
            uint m = m0 + first_m + i * (BM / TM);
            if (m >= p.m)
                continue;
            vec2 interval = row_interval(m);
            int zero = bitfieldExtract(int(repeated(interval.y) ^ FLIP), 0, 8);
            vec4 y;
            [[unroll]] for (uint c = 0; c < 4; c++)
                y[c] = epilogue(interval.x * scale[c] * float(sum[i * TN + j + c] - zero * weights_sum[c]), m, min(n + c, p.n - 1));
            store(m, n, y);
        }
    }
}
