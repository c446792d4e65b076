// Attention's tile on processors that multiply bf16 pairs (AVX-512 with VBMI as well); included by attention_kernel.h.
//
// Only products and additions of f32 use the units that multiply bf16, so everything else a softmax needs is done while
// they work: the scores of a group of keys are multiplied while those of the group before become weights. Two things
// make that possible:
//   - Weights are 2^(score - reference), where the reference is each query's largest score of the first group instead
//   of the largest so
//     far: nothing is ever scaled again. bf16 reaches 2^127; should a score lie more than that above the reference, the
//     tile is computed again with a running maximum (attention_kernel.h).
//   - A weight is made as integer: the exponent and 7 bits of the fraction are rounded from score - reference, then 7
//   bits of mantissa are
//     looked up. Its error is at most 2^-8 more than rounding to bf16 has. Sums are those of the rounded weights:
//     values have a column of ones.

enum {
    GROUP = 4,           // keys
    BLOCK_GROUPS = 64,   // whose weights are multiplied with the values together
    UNIT = 128,          // t = UNIT * (127 + score - reference), in units of log2
    LARGEST = 217 * UNIT // of t: 2^90, which leaves room for sums
};

static const uint8_t mantissa_of[UNIT] = {
    // round(128 * (2^(i / 128) - 1))
    0,   1,   1,   2,   3,   4,   4,   5,   6,   6,   7,   8,   9,   9,   10,  11,  12,  12,  13, 14,  15,  15,
    16,  17,  18,  19,  19,  20,  21,  22,  23,  23,  24,  25,  26,  27,  28,  28,  29,  30,  31, 32,  33,  34,
    34,  35,  36,  37,  38,  39,  40,  41,  42,  43,  43,  44,  45,  46,  47,  48,  49,  50,  51, 52,  53,  54,
    55,  56,  57,  58,  59,  60,  61,  62,  63,  64,  65,  66,  67,  68,  69,  70,  72,  73,  74, 75,  76,  77,
    78,  79,  80,  82,  83,  84,  85,  86,  87,  88,  90,  91,  92,  93,  94,  96,  97,  98,  99, 100, 102, 103,
    104, 105, 107, 108, 109, 111, 112, 113, 115, 116, 117, 118, 120, 121, 123, 124, 125, 127,
};

struct weights_step {
    const float *offset; // [TILE_WIDTH]: t = score * factor + offset
    float factor;
    vf top; // largest t so far
};

// Step `i` of GROUP / 2 * TILE_VECTORS: scores of two keys and LANES queries -> their weights side by side.
INLINE void make_weights(struct weights_step *s, int i, const float *scores, float *weights)
{
    const int at = i / TILE_VECTORS * 2 * TILE_WIDTH + i % TILE_VECTORS * LANES;
    const vf shift = v_load(s->offset + i % TILE_VECTORS * LANES), factor = v_set(s->factor),
             limit = v_set(LARGEST + UNIT);
    // NaN becomes the limit
    const vf a = v_min(v_fma(v_load(scores + at), factor, shift), limit),
             b = v_min(v_fma(v_load(scores + at + TILE_WIDTH), factor, shift), limit);
    s->top = v_max(s->top, v_max(a, b));
    const __m512i zero = _mm512_setzero_si512(), fraction = _mm512_set1_epi32(0x007f007f);
    const __m512i low = _mm512_max_epi32(_mm512_cvtps_epi32((__m512)a), zero),
                  high = _mm512_max_epi32(_mm512_cvtps_epi32((__m512)b), zero);
    const __m512i both = _mm512_or_si512(_mm512_slli_epi32(high, 16), low);
    const __m512i mantissas =
        _mm512_permutex2var_epi8(_mm512_loadu_si512(mantissa_of), both, _mm512_loadu_si512(mantissa_of + 64));
    v_store(weights + i / TILE_VECTORS * TILE_WIDTH + i % TILE_VECTORS * LANES,
            (vf)_mm512_ternarylogic_epi32(fraction, mantissas, both, 0xca));
}

enum { STEPS = GROUP / 2 * TILE_VECTORS }; // of one group

INLINE void multiply_channel(vf sum[GROUP][TILE_VECTORS], const float *k, int64_t depth, const float *tile)
{
    vf x[TILE_VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < TILE_VECTORS; v++)
        x[v] = v_load(tile + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = v_dot(true, v_set(k[r * depth]), x[v], sum[r][v]);
}

// Not inlined, so that the registers are shared out for this alone: scores[GROUP][TILE_WIDTH] = k q, while the scores
// `before` become weights.
static __attribute__((noinline)) void multiply_group(const float *k, const float *tile, int64_t depth, float *scores,
                                                     struct weights_step *step, const float *before, float *weights)
{
    vf sum[GROUP][TILE_VECTORS] = {{{0}}};
    struct weights_step s = *step;
    const float *end = k + depth;
    if (depth >= STEPS) {
#pragma GCC unroll 8
        for (int i = 0; i < STEPS; i++, k++, tile += TILE_WIDTH) {
            multiply_channel(sum, k, depth, tile);
            make_weights(&s, i, before, weights);
        }
    } else {
        for (int i = 0; i < STEPS; i++)
            make_weights(&s, i, before, weights);
    }
    for (; k < end; k++, tile += TILE_WIDTH)
        multiply_channel(sum, k, depth, tile);
#pragma GCC unroll 8
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            v_store(scores + r * TILE_WIDTH + v * LANES, sum[r][v]);
    step->top = s.top;
}

static __attribute__((noinline)) void multiply_values(const float *v, int64_t width, const float *weights,
                                                      int64_t pairs, float *result, bool accumulate)
{
    product(true, width, v, 1, width, weights, pairs, result, accumulate);
}

INLINE void choose_reference(const float *scores, float factor, float *offset)
{
    for (int v = 0; v < TILE_VECTORS; v++) {
        vf top = v_load(scores + v * LANES);
        for (int r = 1; r < GROUP; r++)
            top = v_max(top, v_load(scores + r * TILE_WIDTH + v * LANES));
        v_store(offset + v * LANES, v_fma(top, v_set(-factor), v_set(127 * UNIT)));
    }
}

static size_t bf16_tile_floats(int64_t depth, int64_t dv)
{
    return (size_t)(depth + 2 * GROUP + BLOCK_GROUPS * GROUP / 2 + dv + 1 + 1) * TILE_WIDTH;
}

// False if the scores' range is too wide, or something is not a number: then nothing was written.
static bool attention_tile_bf16(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first_query,
                                const struct sdg_fast_codes *codes, float *work)
{
    enum { PAIRS = GROUP / 2, BLOCK = BLOCK_GROUPS * PAIRS };
    const int64_t depth = depth_of(op->d, true), width = value_width(op), groups = (op->keys + GROUP - 1) / GROUP;
    const int64_t count = op->queries - first_query < TILE_WIDTH ? op->queries - first_query : TILE_WIDTH;
    float *tile = work, *scores = tile + depth * TILE_WIDTH, *weights = scores + 2 * GROUP * TILE_WIDTH;
    float *result = weights + BLOCK * TILE_WIDTH, *offset = result + width * TILE_WIDTH;
    const float *k = op->packed_k + (sample * op->heads + head) * key_rows(op) * depth,
                *v = op->packed_v + (sample * op->heads + head) * value_rows(op) * width;
    struct weights_step s = {.offset = offset, .factor = op->scale * 1.442695041f * UNIT, .top = v_set(0)};

    pack_queries(op, sample, head, first_query, count, tile);
    product(true, GROUP, k, depth, 1, tile, depth, scores, false);
    choose_reference(scores, s.factor, offset);
    for (int64_t group = 1; group <= groups; group++) {
        const int64_t before = group - 1;
        const float *old = scores + before % 2 * GROUP * TILE_WIDTH;
        float *to = weights + before % BLOCK_GROUPS * PAIRS * TILE_WIDTH;
        if (group < groups)
            multiply_group(k + group * GROUP * depth, tile, depth, scores + group % 2 * GROUP * TILE_WIDTH, &s, old,
                           to);
        else
            for (int i = 0; i < STEPS; i++)
                make_weights(&s, i, old, to);
        if (group % BLOCK_GROUPS == 0 || group == groups) {
            const int64_t first = before / BLOCK_GROUPS * BLOCK;
            multiply_values(v + first * width, width, weights, group * PAIRS - first, result, first != 0);
        }
    }
    if (v_any(s.top > (float)LARGEST))
        return false;
    write_result(op, result, result + op->dv * TILE_WIDTH,
                 ((sample * op->queries + first_query) * op->heads + head) * op->dv, count, codes);
    return true;
}
