// Attention for one instruction set; included by kernels_*.c. See struct sdg_fast_attention.
//
// Queries lie across vector lanes. A tile of TILE_WIDTH queries is packed as [d][TILE_WIDTH]; scores of a block of keys are then
// [key][TILE_WIDTH], so maximum and sum over keys need no sum across lanes, the exponentials are already the right operand of the
// product with the values, and the result is [dv][TILE_WIDTH]. Both products broadcast the packed keys and values.

enum { KEY_BLOCK = 64 };

INLINE int64_t depth_of(int64_t n, bool pairs)
{
    return pairs ? (n + 1) / 2 : n;
}

// c[rows][TILE_WIDTH] (+)= a b, with a(r, k) = a[r * row_stride + k * step] and b[depth][TILE_WIDTH]; elements have 4 bytes.
INLINE void product_rows(const int rows, const bool pairs, const float *a, int64_t row_stride, int64_t step, const float *b, int64_t depth, float *c, bool accumulate)
{
    vf sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = accumulate ? v_load(c + r * TILE_WIDTH + v * LANES) : v_set(0);
    for (int64_t k = 0; k < depth; k++, a += step, b += TILE_WIDTH) {
        vf x[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            x[v] = v_load(b + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vf w = v_set(a[r * row_stride]);
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; v++)
                sum[r][v] = v_dot(pairs, w, x[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            v_store(c + r * TILE_WIDTH + v * LANES, sum[r][v]);
}

INLINE void product(const bool pairs, int64_t rows, const float *a, int64_t row_stride, int64_t step, const float *b, int64_t depth, float *c, bool accumulate)
{
    for (; rows >= TILE_ROWS; rows -= TILE_ROWS, a += TILE_ROWS * row_stride, c += TILE_ROWS * TILE_WIDTH)
        product_rows(TILE_ROWS, pairs, a, row_stride, step, b, depth, c, accumulate);
    switch (rows) {
    case 5: product_rows(5, pairs, a, row_stride, step, b, depth, c, accumulate); break;
    case 4: product_rows(4, pairs, a, row_stride, step, b, depth, c, accumulate); break;
    case 3: product_rows(3, pairs, a, row_stride, step, b, depth, c, accumulate); break;
    case 2: product_rows(2, pairs, a, row_stride, step, b, depth, c, accumulate); break;
    case 1: product_rows(1, pairs, a, row_stride, step, b, depth, c, accumulate); break;
    }
}

// Two bf16 as the 4 bytes of a float.
INLINE float pair(uint16_t low, uint16_t high)
{
    uint32_t bits = (uint32_t)high << 16 | low;
    float both;
    memcpy(&both, &bits, sizeof both);
    return both;
}

static void attention_sizes(const struct sdg_fast_attention *op, size_t *k, size_t *v, size_t *work)
{
    size_t depth = (size_t)depth_of(op->d, op->pairs);
    *k = (size_t)op->keys * depth;
    *v = (size_t)depth_of(op->keys, op->pairs) * (size_t)op->dv;
    *work = (depth + KEY_BLOCK + (size_t)op->dv + 2) * TILE_WIDTH;
}

// k -> [keys][depth of d], v -> [depth of keys][dv]; a missing neighbour is 0.
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
        } else if (op->half) {
            for (int64_t c = 0; c < op->d; c++)
                k[c] = sdg_f32_from_bf16(((const uint16_t *)op->k)[from + c]);
        } else {
            memcpy(k, (const float *)op->k + from, (size_t)op->d * 4);
        }
        k += depth_of(op->d, op->pairs);
    }
    int64_t next = op->heads * op->dv;
    for (int64_t i = 0; i < op->keys; i += 1 + op->pairs, v += op->dv) {
        int64_t from = ((sample * op->keys + i) * op->heads + head) * op->dv;
        if (op->pairs) {
            const uint16_t *low = (const uint16_t *)op->v + from;
            const bool last = i + 1 == op->keys;
            for (int64_t c = 0; c < op->dv; c++)
                v[c] = pair(low[c], last ? 0 : low[next + c]);
        } else if (op->half) {
            for (int64_t c = 0; c < op->dv; c++)
                v[c] = sdg_f32_from_bf16(((const uint16_t *)op->v)[from + c]);
        } else {
            memcpy(v, (const float *)op->v + from, (size_t)op->dv * 4);
        }
    }
}

// `count` queries -> [depth][TILE_WIDTH]; lanes without a query are 0. The rows lie far apart: all are asked for before the first is read.
INLINE void pack_queries(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first, int64_t count, float *tile)
{
    const int64_t d = op->d, depth = depth_of(d, op->pairs), stride = op->heads * d;
    const bool half = op->half, pairs = op->pairs;
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

// scores -> exp2((score - new maximum) * factor), packed in place where `pairs`; updates maximum and sum, and rescales `result` if the
// maximum has grown.
INLINE void softmax_block(const bool pairs, float *scores, int64_t rows, float factor, float *maximum, float *sum, float *result, int64_t dv, bool first)
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
                vf low = v_exp2(v_fma(v_load(from), v_set(factor), offset), 3), high = v_exp2(v_fma(v_load(from + TILE_WIDTH), v_set(factor), offset), 3);
                total += low + high;
                v_store(to, v_pair_bf16(low, high));
            }
        for (; r < rows; r++, from += TILE_WIDTH, to += TILE_WIDTH) {
            vf p = v_exp2(v_fma(v_load(from), v_set(factor), offset), pairs ? 3 : 5);
            total += p;
            v_store(to, pairs ? v_pair_bf16(p, v_set(0)) : p);
        }
        v_store(sum + v * LANES, total);
    }
}

// result[dv][TILE_WIDTH] / sum -> element `to` of the output and on, for `count` queries.
INLINE void write_result(const struct sdg_fast_attention *op, const float *result, const float *sum, int64_t to, int64_t count)
{
    const int64_t dv = op->dv, stride = op->heads * dv;
    const bool half = op->half;
    char *out = (char *)op->out + (size_t)to * element_size(half);
    vf one_over[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++)
        one_over[v] = 1 / v_load(sum + v * LANES);
    for (int64_t c = 0; c < dv; c++, result += TILE_WIDTH) {
        uint16_t halves[TILE_WIDTH];
        float floats[TILE_WIDTH];
        for (int v = 0; v < TILE_VECTORS; v++)
            store(half ? (void *)halves : (void *)floats, v * LANES, half, v_load(result + v * LANES) * one_over[v]);
        if (half)
            for (int64_t i = 0; i < count; i++)
                ((uint16_t *)out)[i * stride + c] = halves[i];
        else
            for (int64_t i = 0; i < count; i++)
                ((float *)out)[i * stride + c] = floats[i];
    }
}

INLINE void attention_tile_as(const struct sdg_fast_attention *op, const bool pairs, int64_t sample, int64_t head, int64_t first_query, float *work)
{
    const int64_t depth = depth_of(op->d, pairs), dv = op->dv;
    const int64_t count = op->queries - first_query < TILE_WIDTH ? op->queries - first_query : TILE_WIDTH;
    float *tile = work, *scores = tile + depth * TILE_WIDTH, *result = scores + KEY_BLOCK * TILE_WIDTH;
    float *maximum = result + dv * TILE_WIDTH, *sum = maximum + TILE_WIDTH;
    const float *k = op->packed_k + (sample * op->heads + head) * op->keys * depth;
    const float *v = op->packed_v + (sample * op->heads + head) * depth_of(op->keys, pairs) * dv;
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
        product(pairs, dv, v + depth_of(key, pairs) * dv, 1, dv, scores, depth_of(rows, pairs), result, key != 0);
    }
    write_result(op, result, sum, ((sample * op->queries + first_query) * op->heads + head) * dv, count);
}

static void attention_tile(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first_query, float *work)
{
    if (HAS_PAIRS && op->pairs)
        attention_tile_as(op, HAS_PAIRS, sample, head, first_query, work);
    else
        attention_tile_as(op, false, sample, head, first_query, work);
}
