// Products of codes as they are stored, for instruction sets that multiply bytes; included by kernels_*.c after
// matrix_kernel.h, with
//   CODE_UNIT     neighbouring codes that one instruction sums: 4 (v_dot_codes), or 8 (tiles of two rows and two
//                 columns, v_tile_codes)
//   CODES_SIGNED  what the instruction takes codes as: 1 signed, 0 unsigned, -1 either
//
// Codes of the other kind are flipped: 128 more or less, and so is their zero point. What a zero point adds follows
// from the sums of the weights: sum (x - z) w = sum x w - z sum w, of the positions that are inside the image.

enum {
    CODE_CHUNK = SDG_FAST_NIBBLES / 2, // codes that lie in low or in high halves of bytes
    CODE_UNITS = CODE_UNIT * TILE_WIDTH < SDG_FAST_NIBBLES ? SDG_FAST_NIBBLES / (CODE_UNIT * TILE_WIDTH) : 1
};

INLINE int32_t zero_of(const struct sdg_fast_code_product *p, int64_t row, bool flip)
{
    const int32_t zero = (int32_t)pair_of(p->intervals, p->token + row * p->token_step)[1];
    return !flip ? zero : p->is_signed ? zero + 128 : zero - 128;
}

// Vector `i` of codes of weights, from bytes, or from halves of them.
INLINE vi codes_of_weights(const bool nibbles, const int8_t *weights, int64_t i)
{
    vi x;
    const int64_t at = i * (int64_t)sizeof x;
    if (!nibbles) {
        memcpy(&x, weights + at, sizeof x);
        return x;
    }
    typedef int8_t bytes __attribute__((vector_size(sizeof(vi))));
    const int64_t chunk = at / CODE_CHUNK;
    memcpy(&x, weights + chunk / 2 * CODE_CHUNK + at % CODE_CHUNK, sizeof x);
    return (vi)((chunk % 2 ? (bytes)x : (bytes)(x << 4)) >> 4);
}

#if CODE_UNIT == 4
INLINE int32_t load_unit(const uint8_t *x, bool flip)
{
    int32_t unit;
    memcpy(&unit, x, sizeof unit);
    return flip ? unit ^ (int32_t)0x80808080 : unit;
}

INLINE void code_rows(const int rows, const bool nibbles, const bool flip, const struct sdg_fast_code_product *p,
                      int64_t first)
{
    const uint8_t *x = p->x + first * p->stride;
    int32_t *c = p->sums + first * TILE_WIDTH;
    vi sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const int32_t zero = zero_of(p, first + r, flip);
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = (vi)v_load(c + r * TILE_WIDTH + v * LANES) - zero * (vi)v_load(p->weight_sums + v * LANES);
    }
    for (int64_t k = 0; k < p->depth; k += CODE_UNITS)
#pragma GCC unroll 8
        for (int u = 0; u < CODE_UNITS; u++) {
            if (CODE_UNITS > 1 && !nibbles && k + u >= p->depth)
                break;
            vi w[TILE_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; v++)
                w[v] = codes_of_weights(nibbles, p->weights, (k + u) * TILE_VECTORS + v);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const vi a = load_unit(x + r * p->stride + (k + u) * CODE_UNIT, flip) - (vi){0};
#pragma GCC unroll 8
                for (int v = 0; v < TILE_VECTORS; v++)
                    sum[r][v] = v_dot_codes(a, w[v], sum[r][v]);
            }
        }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            v_store(c + r * TILE_WIDTH + v * LANES, (vf)sum[r][v]);
}
#else
// Rows r and r + 1, eight codes of each; the last of an odd number stands for both.
INLINE vi load_two(const uint8_t *x, int64_t stride, bool two)
{
    uint8_t both[sizeof(vi)];
    memcpy(both, x, CODE_UNIT);
    memcpy(both + CODE_UNIT, x + (two ? stride : 0), CODE_UNIT);
    vi pair;
    memcpy(&pair, both, sizeof pair);
    return pair;
}

// Sums of columns c, c + 1 of two rows side by side, as the instruction leaves them, and the rows' own four columns.
INLINE void split_tiles(vi left, vi right, vi *upper, vi *lower)
{
    *upper = (vi){left[0], left[1], right[0], right[1]};
    *lower = (vi){left[2], left[3], right[2], right[3]};
}

INLINE void code_rows(const int rows, const bool nibbles, const bool sign, const struct sdg_fast_code_product *p,
                      int64_t first)
{
    enum { TILES = TILE_WIDTH / 2 }; // of two columns
    const int pairs = (rows + 1) / 2;
    const uint8_t *x = p->x + first * p->stride;
    vi sum[(TILE_ROWS + 1) / 2][TILES];
#pragma GCC unroll 8
    for (int r = 0; r < pairs; r++)
#pragma GCC unroll 8
        for (int t = 0; t < TILES; t++)
            sum[r][t] = (vi){0};
    for (int64_t k = 0; k < p->depth; k++) {
        vi a[(TILE_ROWS + 1) / 2];
#pragma GCC unroll 8
        for (int r = 0; r < pairs; r++)
            a[r] = load_two(x + 2 * r * p->stride + k * CODE_UNIT, p->stride, 2 * r + 1 < rows);
#pragma GCC unroll 8
        for (int t = 0; t < TILES; t++) {
            const vi w = codes_of_weights(nibbles, p->weights, k * TILES + t);
#pragma GCC unroll 8
            for (int r = 0; r < pairs; r++)
                sum[r][t] = v_tile_codes(sign, a[r], w, sum[r][t]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const int32_t zero = zero_of(p, first + r, false);
        int32_t *c = p->sums + (first + r) * TILE_WIDTH;
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++) {
            vi rows_of[2];
            split_tiles(sum[r / 2][2 * v], sum[r / 2][2 * v + 1], &rows_of[0], &rows_of[1]);
            v_store(c + v * LANES,
                    (vf)((vi)v_load(c + v * LANES) - zero * (vi)v_load(p->weight_sums + v * LANES) + rows_of[r % 2]));
        }
    }
}
#endif

// `how`: for the dot product, whether codes are flipped; for tiles, whether they are signed.
INLINE void code_sums_as(const bool nibbles, const bool how, const struct sdg_fast_code_product *p)
{
    int64_t first = 0;
    for (; p->rows - first >= TILE_ROWS; first += TILE_ROWS)
        code_rows(TILE_ROWS, nibbles, how, p, first);
    switch (p->rows - first) {
    case 5: code_rows(5, nibbles, how, p, first); break;
    case 4: code_rows(4, nibbles, how, p, first); break;
    case 3: code_rows(3, nibbles, how, p, first); break;
    case 2: code_rows(2, nibbles, how, p, first); break;
    case 1: code_rows(1, nibbles, how, p, first); break;
    }
}

static void code_sums(const struct sdg_fast_code_product *p)
{
    const bool how = CODES_SIGNED < 0 ? p->is_signed : p->is_signed != (CODES_SIGNED != 0);
    if (p->nibbles && how)
        code_sums_as(true, true, p);
    else if (p->nibbles)
        code_sums_as(true, false, p);
    else if (how)
        code_sums_as(false, true, p);
    else
        code_sums_as(false, false, p);
}
