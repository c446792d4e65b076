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

#if SDG_SIMD_HAS_F16
// The same of f16, whose sums are f16 only over HALF_SLICE products, and of slices f32. With u = 2^-11, what f16
// rounds, a slice of n products is off by at most n u sum |a b|; where their signs are mixed, the mean square error is
// n u^2 / 6 of that of the result: 6.4e-7, half of what rounding both factors to bf16 does. Sums in registers ask for
// fewer rows.
enum { HALF_ROWS = 4, HALF_SLICE = 16, HALF_LANES = 2 * LANES, HALF_VECTORS = TILE_VECTORS / 2 };

// Of the slice being summed: rows of both factors, and the sums.
struct slice { v_halves x[HALF_ROWS], part[HALF_ROWS][HALF_VECTORS]; };

// Adds the products of a(r, k) = x[r][lane].
#define ADD_LANE(lane)                                                                                \
    {                                                                                                 \
        v_halves w[HALF_VECTORS];                                                                     \
        for (int v = 0; v < HALF_VECTORS; v++)                                                        \
            w[v] = v_load_halves(b + (lane) * TILE_WIDTH + v * HALF_LANES);                           \
        _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) for (int v = 0; v < HALF_VECTORS; v++) \
            V_ADD_LANE(s->part[r][v], w[v], s->x[r], lane);                                           \
    }

INLINE void add_lanes(const int rows, const uint16_t *a, int64_t row_stride, const uint16_t *b, struct slice *s)
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        s->x[r] = v_load_halves(a + r * row_stride);
    ADD_LANE(0)
    ADD_LANE(1)
    ADD_LANE(2)
    ADD_LANE(3)
    ADD_LANE(4)
    ADD_LANE(5)
    ADD_LANE(6)
    ADD_LANE(7)
}

INLINE void begin_slice(const int rows, struct slice *s)
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < HALF_VECTORS; v++)
            s->part[r][v] = (v_halves){0};
}

INLINE void end_slice(const int rows, const struct slice *s, vf sum[HALF_ROWS][TILE_VECTORS])
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < HALF_VECTORS; v++) {
            sum[r][2 * v] += v_widen_halves(s->part[r][v], false);
            sum[r][2 * v + 1] += v_widen_halves(s->part[r][v], true);
        }
}

INLINE void half_product_rows(const int rows, const uint16_t *a, int64_t row_stride, const uint16_t *b, int64_t depth,
                              float *c)
{
    vf sum[HALF_ROWS][TILE_VECTORS];
    struct slice slice, *s = &slice;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = v_load(c + r * TILE_WIDTH + v * LANES);
    for (; depth >= HALF_SLICE; depth -= HALF_SLICE, a += HALF_SLICE, b += HALF_SLICE * TILE_WIDTH) {
        begin_slice(rows, s);
        add_lanes(rows, a, row_stride, b, s);
        add_lanes(rows, a + HALF_LANES, row_stride, b + HALF_LANES * TILE_WIDTH, s);
        end_slice(rows, s, sum);
    }
    begin_slice(rows, s);
    for (; depth > 0; depth--, a++, b += TILE_WIDTH) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            s->x[r] = v_set_halves(a + r * row_stride);
        ADD_LANE(0)
    }
    end_slice(rows, s, sum);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; v++)
            v_store(c + r * TILE_WIDTH + v * LANES, sum[r][v]);
}

// One copy for all that call it, which adds to c.
static __attribute__((noinline)) void half_product(int64_t rows, const uint16_t *a, int64_t row_stride,
                                                   const uint16_t *b, int64_t depth, float *c)
{
    for (; rows >= HALF_ROWS; rows -= HALF_ROWS, a += HALF_ROWS * row_stride, c += HALF_ROWS * TILE_WIDTH)
        half_product_rows(HALF_ROWS, a, row_stride, b, depth, c);
    for (; rows > 0; rows--, a += row_stride, c += TILE_WIDTH)
        half_product_rows(1, a, row_stride, b, depth, c);
}
#endif

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
