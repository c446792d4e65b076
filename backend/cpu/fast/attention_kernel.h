// Attention for one instruction set; included by kernels_*.c. See struct sdg_fast_attention.
//
// Queries lie across vector lanes. A tile of TILE_WIDTH queries is packed as [d][TILE_WIDTH]; scores of a block of keys
// are then [key][TILE_WIDTH], so maximum and sum over keys need no sum across lanes, the exponentials are already the
// right operand of the product with the values, and the result is [dv][TILE_WIDTH]. Both products broadcast the packed
// keys and values.

enum { KEY_BLOCK = 64 };

INLINE int64_t depth_of(int64_t n, bool pairs)
{
    return pairs ? (n + 1) / 2 : n;
}

// Two halves as the 4 bytes of a float.
INLINE float pair(uint16_t low, uint16_t high)
{
    uint32_t bits = (uint32_t)high << 16 | low;
    float both;
    memcpy(&both, &bits, sizeof both);
    return both;
}

// Packed pairs come in fours of keys, the last ones 0, and have a column of ones behind the values.
INLINE int64_t key_rows(const struct sdg_fast_attention *op)
{
    return op->pairs ? (op->keys + 3) / 4 * 4 : op->keys;
}
INLINE int64_t value_rows(const struct sdg_fast_attention *op)
{
    return depth_of(key_rows(op), op->pairs);
}
INLINE int64_t value_width(const struct sdg_fast_attention *op)
{
    return op->dv + op->pairs;
}

#if SDG_SIMD_HAS_BF16_PAIRS && SDG_SIMD_HAS_VBMI
static size_t bf16_tile_floats(int64_t depth, int64_t dv);
#else
static size_t bf16_tile_floats(int64_t depth, int64_t dv)
{
    (void)depth;
    (void)dv;
    return 0;
}
#endif

static void attention_sizes(const struct sdg_fast_attention *op, size_t *k, size_t *v, size_t *work)
{
    const int64_t depth = depth_of(op->d, op->pairs);
    *k = (size_t)(key_rows(op) * depth);
    *v = (size_t)(value_rows(op) * value_width(op));
    *work = (size_t)(depth + KEY_BLOCK + op->dv + 2) * TILE_WIDTH;
    if (op->pairs && bf16_tile_floats(depth, op->dv) > *work)
        *work = bf16_tile_floats(depth, op->dv);
}

// k -> [key_rows][depth of d], v -> [value_rows][value_width]; a missing neighbour is 0.
static void attention_pack(const struct sdg_fast_attention *op, int64_t sample, int64_t head)
{
    size_t size_k, size_v, work;
    attention_sizes(op, &size_k, &size_v, &work);
    size_t at = (size_t)(sample * op->heads + head);
    float *k = op->packed_k + at * size_k, *v = op->packed_v + at * size_v;
    for (int64_t i = 0; i < op->keys; i++) {
        int64_t from = ((sample * op->keys + i) * op->heads + head) * op->d;
        if (op->pairs) {
            memcpy(k, (const uint16_t *)op->k + from, (size_t)op->d * 2);
            if (op->d % 2)
                ((uint16_t *)k)[op->d] = 0;
        } else if (is_half(op->half)) {
            for (int64_t c = 0; c < op->d; c++)
                k[c] = f32_from_half(((const uint16_t *)op->k)[from + c]);
        } else {
            memcpy(k, (const float *)op->k + from, (size_t)op->d * 4);
        }
        k += depth_of(op->d, op->pairs);
    }
    memset(k, 0, (size_t)((key_rows(op) - op->keys) * depth_of(op->d, op->pairs)) * sizeof *k);
    int64_t next = op->heads * op->dv;
    for (int64_t i = 0; i < op->keys; i += 1 + op->pairs, v += value_width(op)) {
        int64_t from = ((sample * op->keys + i) * op->heads + head) * op->dv;
        if (op->pairs) {
            const uint16_t *low = (const uint16_t *)op->v + from;
            const bool last = i + 1 == op->keys;
            const uint16_t one = 0x3f80;
            for (int64_t c = 0; c < op->dv; c++)
                v[c] = pair(low[c], last ? 0 : low[next + c]);
            v[op->dv] = pair(one, last ? 0 : one);
        } else if (is_half(op->half)) {
            for (int64_t c = 0; c < op->dv; c++)
                v[c] = f32_from_half(((const uint16_t *)op->v)[from + c]);
        } else {
            memcpy(v, (const float *)op->v + from, (size_t)op->dv * 4);
        }
    }
    memset(v, 0, (size_t)((value_rows(op) - depth_of(op->keys, op->pairs)) * value_width(op)) * sizeof *v);
}

// `count` queries -> [depth][TILE_WIDTH]; lanes without a query are 0. The rows lie far apart: all are asked for before
// the first is read.
INLINE void pack_queries(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first,
                         int64_t count, float *tile)
{
    const int64_t d = op->d, depth = depth_of(d, op->pairs), stride = op->heads * d;
    const bool half = is_half(op->half), pairs = op->pairs;
    const size_t size = element_size(half);
    const char *q = (const char *)op->q + (size_t)((sample * op->queries + first) * stride + head * d) * size;
    for (int64_t i = 0; i < count; i++)
        for (size_t at = 0; at < (size_t)d * size; at += 64)
            __builtin_prefetch(q + (size_t)(i * stride) * size + at);
    if (count < TILE_WIDTH)
        memset(tile, 0, (size_t)(depth * TILE_WIDTH) * sizeof *tile);
    for (int64_t i = 0; i < count; i++, q += (size_t)stride * size) {
        float *to = tile + i;
        if (pairs) {
            for (int64_t c = 0; c < d / 2; c++, to += TILE_WIDTH)
                memcpy(to, q + 4 * c, 4);
            if (d % 2)
                *to = pair(((const uint16_t *)q)[d - 1], 0);
        } else {
            for (int64_t c = 0; c < d; c++, to += TILE_WIDTH)
                *to = load_one(q, c, half);
        }
    }
}

// Scores of keys [first_key, ...) that a query of this tile may not see become -infinity.
INLINE void mask_future(float *scores, int64_t rows, int64_t first_key, int64_t first_query)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t q = 0; q < TILE_WIDTH && first_query + q < first_key + r; q++)
            scores[r * TILE_WIDTH + q] = -INFINITY;
}

// scores -> exp2((score - new maximum) * factor), packed in place where `pairs`; updates maximum and sum, and rescales
// `result` if the maximum has grown.
INLINE void softmax_block(const bool pairs, float *scores, int64_t rows, float factor, float *maximum, float *sum,
                          float *result, int64_t dv, bool first)
{
    vi grown = {0};
    vf top[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++)
        top[v] = v_load(maximum + v * LANES);
    for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            top[v] = v_max(top[v], v_load(scores + r * TILE_WIDTH + v * LANES));
    for (int v = 0; v < TILE_VECTORS; v++)
        grown |= top[v] > v_load(maximum + v * LANES);
    if (v_any(grown)) {
        for (int v = 0; v < TILE_VECTORS && !first; v++) {
            vf shrink = v_exp2((v_load(maximum + v * LANES) - top[v]) * factor, 5);
            v_store(sum + v * LANES, v_load(sum + v * LANES) * shrink);
            for (int64_t c = 0; c < dv; c++)
                v_store(result + c * TILE_WIDTH + v * LANES, v_load(result + c * TILE_WIDTH + v * LANES) * shrink);
        }
        for (int v = 0; v < TILE_VECTORS; v++)
            v_store(maximum + v * LANES, top[v]);
    }
    for (int v = 0; v < TILE_VECTORS; v++) {
        const vf offset = top[v] * -factor;
        vf total = v_load(sum + v * LANES);
        float *from = scores + v * LANES, *to = from;
        int64_t r = 0;
        if (pairs)
            for (; r + 2 <= rows; r += 2, from += 2 * TILE_WIDTH, to += TILE_WIDTH) {
                vf low = v_exp2(v_fma(v_load(from), v_set(factor), offset), 3),
                   high = v_exp2(v_fma(v_load(from + TILE_WIDTH), v_set(factor), offset), 3);
                total += low + high;
                v_store(to, v_pair_half(low, high));
            }
        for (; r < rows; r++, from += TILE_WIDTH, to += TILE_WIDTH) {
            vf p = v_exp2(v_fma(v_load(from), v_set(factor), offset), pairs ? 3 : 5);
            total += p;
            v_store(to, pairs ? v_pair_half(p, v_set(0)) : p);
        }
        v_store(sum + v * LANES, total);
    }
}

// result[dv][TILE_WIDTH] / sum -> element `to` of the output and on, for `count` queries: of every query 4 bytes at a
// time, as its neighbours in `result` go to places far apart, then the channels left over. Codes of `by_token` have a
// coder for each vector of queries, else the first is for all.
INLINE void write_result_as(const bool half, const bool by_token, const struct coder *coders,
                            const struct sdg_fast_attention *op, const float *result, const float *sum, int64_t to,
                            int64_t count)
{
    const float *smoothing = coders ? coders->smoothing : NULL;
    const bool codes = coders != NULL;
    const int64_t dv = op->dv, stride = op->heads * dv,
                  size = codes ? 1
        : half                 ? 2
                               : 4,
                  some = 4 / size,
                  first = to % stride; // channel
    char *out = (char *)op->out + to * size;
    vf one_over[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++)
        one_over[v] = 1 / v_load(sum + v * LANES);
    int64_t c = 0;
    for (; c + some <= dv; c += some) {
        float words[TILE_WIDTH];
        for (int v = 0; v < TILE_VECTORS; v++) {
            vf y[4];
            for (int64_t k = 0; k < some; k++)
                y[k] = v_load(result + (c + k) * TILE_WIDTH + v * LANES) * one_over[v] *
                    (smoothing ? smoothing[first + c + k] : 1);
            const struct coder *coder = coders + (by_token ? v : 0);
            if (codes)
                y[0] = (vf)(v_code_bits(y[0], coder) | v_code_bits(y[1], coder) << 8 | v_code_bits(y[2], coder) << 16 |
                            v_code_bits(y[3], coder) << 24);
            else if (half)
                y[0] = v_pair_half(y[0], y[1]);
            v_store(words + v * LANES, y[0]);
        }
        for (int64_t i = 0; i < count; i++)
            memcpy(out + (i * stride + c) * size, words + i, 4);
    }
    for (; c < dv; c++) {
        float words[TILE_WIDTH];
        for (int v = 0; v < TILE_VECTORS; v++)
            put(words, v * LANES, half, codes ? coders + (by_token ? v : 0) : NULL,
                v_load(result + c * TILE_WIDTH + v * LANES) * one_over[v] * (smoothing ? smoothing[first + c] : 1));
        for (int64_t i = 0; i < count; i++)
            memcpy(out + (i * stride + c) * size, (char *)words + i * size, (size_t)size);
    }
}

INLINE void write_result(const struct sdg_fast_attention *op, const float *result, const float *sum, int64_t to,
                         int64_t count, const struct sdg_fast_codes *codes)
{
    const int64_t token = to / (op->heads * op->dv);
    struct coder coders[TILE_VECTORS];
    if (codes && codes->intervals.stride) {
        for (int v = 0; v < TILE_VECTORS; v++)
            coders[v] = coder_of_lanes(codes, token + v * LANES);
        write_result_as(false, true, coders, op, result, sum, to, count);
    } else if (codes) {
        coders[0] = coder_of(codes, token);
        write_result_as(false, false, coders, op, result, sum, to, count);
    } else if (is_half(op->half)) {
        write_result_as(true, false, NULL, op, result, sum, to, count);
    } else {
        write_result_as(false, false, NULL, op, result, sum, to, count);
    }
}

INLINE void attention_tile_as(const struct sdg_fast_attention *op, const bool pairs, int64_t sample, int64_t head,
                              int64_t first_query, const struct sdg_fast_codes *codes, float *work)
{
    const int64_t depth = depth_of(op->d, pairs), dv = op->dv;
    const int64_t count = op->queries - first_query < TILE_WIDTH ? op->queries - first_query : TILE_WIDTH;
    float *tile = work, *scores = tile + depth * TILE_WIDTH, *result = scores + KEY_BLOCK * TILE_WIDTH;
    float *maximum = result + dv * TILE_WIDTH, *sum = maximum + TILE_WIDTH;
    const int64_t width = value_width(op);
    const float *k = op->packed_k + (sample * op->heads + head) * key_rows(op) * depth;
    const float *v = op->packed_v + (sample * op->heads + head) * value_rows(op) * width;
    const float factor = op->scale * 1.442695041f; // exp(x) = 2^(x log2 e)
    int64_t end = op->keys;
    if (op->causal && first_query + count < end)
        end = first_query + count;

    pack_queries(op, sample, head, first_query, count, tile);
    for (int i = 0; i < TILE_WIDTH; i++)
        maximum[i] = -INFINITY, sum[i] = 0;
    for (int64_t key = 0; key < end; key += KEY_BLOCK) {
        const int64_t rows = end - key < KEY_BLOCK ? end - key : KEY_BLOCK;
        product(pairs, rows, k + key * depth, depth, 1, tile, depth, scores, false);
        if (op->causal && key + rows > first_query)
            mask_future(scores, rows, key, first_query);
        softmax_block(pairs, scores, rows, factor, maximum, sum, result, dv, key == 0);
        product(pairs, dv, v + depth_of(key, pairs) * width, 1, width, scores, depth_of(rows, pairs), result, key != 0);
    }
    write_result(op, result, sum, ((sample * op->queries + first_query) * op->heads + head) * dv, count, codes);
}

#if SDG_SIMD_HAS_BF16_PAIRS && SDG_SIMD_HAS_VBMI
#include "backend/cpu/fast/attention_bf16_kernel.h"
#else
static bool attention_tile_bf16(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first_query,
                                const struct sdg_fast_codes *codes, float *work)
{
    (void)op;
    (void)sample;
    (void)head;
    (void)first_query;
    (void)codes;
    (void)work;
    return false;
}
#endif

static void attention_tile(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first_query,
                           const struct sdg_fast_codes *codes, float *work)
{
    if (SDG_SIMD_HAS_BF16_PAIRS && op->pairs && !op->causal && op->keys >= 4 &&
        attention_tile_bf16(op, sample, head, first_query, codes, work))
        return;
    if (SDG_SIMD_HAS_BF16_PAIRS && op->pairs)
        attention_tile_as(op, SDG_SIMD_HAS_BF16_PAIRS, sample, head, first_query, codes, work);
    else
        attention_tile_as(op, false, sample, head, first_query, codes, work);
}
