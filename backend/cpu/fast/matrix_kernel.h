// The matrix products of attention, conv2d and linear for one instruction set; included by kernels_*.c.
//
// c[rows][TILE_WIDTH] (+)= a b, with a(r, k) = a[r * row_stride + k * step]. A block of TILE_ROWS rows is kept in
// registers.

// b[depth][TILE_WIDTH]; all elements have 4 bytes, in a and b f32 or (`pairs`) two bf16.
INLINE void product_rows(const int rows, const bool pairs, const float *a, int64_t row_stride, int64_t step,
                         const float *b, int64_t depth, float *c, bool accumulate)
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

INLINE void product(const bool pairs, int64_t rows, const float *a, int64_t row_stride, int64_t step, const float *b,
                    int64_t depth, float *c, bool accumulate)
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

// The same in integers (in vectors of integers: casts between vectors cost registers), added to s32 sums: a holds pairs
// of 16 bits, b[depth][TILE_WIDTH] pairs of bytes.
INLINE void integer_product_rows(const int rows, const int32_t *a, int64_t row_stride, const int8_t *b, int64_t depth,
                                 int32_t *c)
{
    vi sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            memcpy(&sum[r][v], c + r * TILE_WIDTH + v * LANES, sizeof(vi));
    for (int64_t k = 0; k < depth; k++, a++, b += 2 * TILE_WIDTH) {
        vi x[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            x[v] = v_widen(b + v * 2 * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vi w = a[r * row_stride] - (vi){0};
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; v++)
                sum[r][v] = v_dot_integers(w, x[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            memcpy(c + r * TILE_WIDTH + v * LANES, &sum[r][v], sizeof(vi));
}

INLINE void integer_product(int64_t rows, const int32_t *a, int64_t row_stride, const int8_t *b, int64_t depth,
                            int32_t *c)
{
    for (; rows >= TILE_ROWS; rows -= TILE_ROWS, a += TILE_ROWS * row_stride, c += TILE_ROWS * TILE_WIDTH)
        integer_product_rows(TILE_ROWS, a, row_stride, b, depth, c);
    for (; rows > 0; rows--, a += row_stride, c += TILE_WIDTH)
        integer_product_rows(1, a, row_stride, b, depth, c);
}
