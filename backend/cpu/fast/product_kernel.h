// Products with weights for one instruction set, used by conv2d and linear where there is no oneDNN; included by kernels_*.c after
// attention_kernel.h, whose product() does the work: here pixels are the rows and output channels lie across lanes.

static void weighted_sums(const void *x, int64_t stride, int64_t rows, const float *weights, int64_t depth, bool pairs, float *sums)
{
    if (HAS_PAIRS && pairs)
        product(HAS_PAIRS, rows, x, stride, 1, weights, depth, sums, true);
    else
        product(false, rows, x, stride, 1, weights, depth, sums, true);
}

INLINE void epilogue_as(const bool half, const float *sums, const float *bias, const float *table, const void *residual, enum sdg_unary activation, void *out, int64_t count)
{
    for (int64_t c = 0; c < count; c += LANES) {
        const int64_t some = count - c < LANES ? count - c : LANES;
        vf y = v_load(sums + c);
        if (bias)
            y += some == LANES ? v_load(bias + c) : load_some(bias, c, false, some);
        if (table)
            y += some == LANES ? v_load(table + c) : load_some(table, c, false, some);
        if (residual)
            y += some == LANES ? load(residual, c, half) : load_some(residual, c, half, some);
        y = v_unary(activation, 1, 0, y);
        if (some == LANES)
            store(out, c, half, y);
        else
            store_some(out, c, half, some, y);
    }
}

static void epilogue(const float *sums, const float *bias, const float *table, const void *residual, enum sdg_unary activation, void *out, bool half, int64_t count)
{
    if (half)
        epilogue_as(true, sums, bias, table, residual, activation, out, count);
    else
        epilogue_as(false, sums, bias, table, residual, activation, out, count);
}
