// Products with weights for one instruction set, used by conv2d and linear where there is no oneDNN; included by
// kernels_*.c after matrix_kernel.h, whose product() does the work: here pixels are the rows and output channels lie
// across lanes.

typedef uint8_t packed_codes __attribute__((vector_size(SDG_FAST_NIBBLES / 2)));

// Past the caches: codes that one core has just written into its own are slow to read for the others.
static void unpack4(const uint8_t *packed, int8_t *codes, int64_t count, bool far)
{
    for (int64_t i = 0; i < count; i += SDG_FAST_NIBBLES, packed += SDG_FAST_NIBBLES / 2) {
        packed_codes both;
        memcpy(&both, packed, sizeof both);
        v64 low = (v64)((both & 15) ^ 8) - 8, high = (v64)((both >> 4) ^ 8) - 8;
        if (far) {
            v_store_far(codes + i, &low);
            v_store_far(codes + i + SDG_FAST_NIBBLES / 2, &high);
            continue;
        }
        memcpy(codes + i, &low, sizeof low);
        memcpy(codes + i + SDG_FAST_NIBBLES / 2, &high, sizeof high);
    }
    if (far)
        v_fence_far();
}

INLINE void widen_as(const bool sign, const uint8_t *codes, const struct sdg_fast_intervals *intervals,
                     int64_t channels, int16_t *out, int64_t begin, int64_t end)
{
    const int64_t padded = (channels + 1) / 2 * 2;
    const bool by_token = intervals->stride != 0;
    int zero = (int)pair_of(intervals, begin)[1];
    for (int64_t p = begin; p < end; p++) {
        if (by_token)
            zero = (int)pair_of(intervals, p)[1];
        const uint8_t *from = codes + p * channels;
        int16_t *to = out + p * padded;
        for (int64_t c = 0; c < channels; c++)
            to[c] = (int16_t)((sign ? (int8_t)from[c] : from[c]) - zero);
        if (channels < padded)
            to[channels] = 0;
    }
}

static void widen(const uint8_t *codes, bool sign, const struct sdg_fast_intervals *intervals, int64_t channels,
                  int16_t *out, int64_t begin, int64_t end)
{
    if (sign)
        widen_as(true, codes, intervals, channels, out, begin, end);
    else
        widen_as(false, codes, intervals, channels, out, begin, end);
}

static void weighted_sums(const void *x, int64_t stride, int64_t rows, const void *weights, int64_t depth,
                          enum sdg_fast_numbers numbers, void *sums)
{
    if (numbers == SDG_FAST_INTEGERS)
        integer_product(rows, x, stride, weights, depth, sums);
#if SDG_SIMD_HAS_F16
    else
        half_product(rows, x, stride, weights, depth, sums);
#else
    else if (SDG_SIMD_HAS_BF16_PAIRS && numbers == SDG_FAST_PAIRS)
        product(SDG_SIMD_HAS_BF16_PAIRS, rows, x, stride, 1, weights, depth, sums, true);
    else
        product(false, rows, x, stride, 1, weights, depth, sums, true);
#endif
}

static void strided_sums(const float *x, int64_t stride, int64_t step, int64_t rows, const float *weights,
                         int64_t depth, float *sums)
{
    product(false, rows, x, stride, step, weights, depth, sums, true);
}

INLINE vf load_vector(const float *from, int64_t c, int64_t some)
{
    return some == LANES ? v_load(from + c) : load_some(from, c, false, some);
}

INLINE vi load_sums(const int32_t *from, int64_t c, int64_t some)
{
    return (vi)load_vector((const float *)from, c, some);
}

INLINE void epilogue_as(const bool half, const struct sdg_fast_epilogue *e, const float *sums, void *out, int64_t count)
{
    const struct coder coder = e->codes ? coder_of(e->codes, e->token) : (struct coder){0},
                       *own = e->codes ? &coder : NULL;
    for (int64_t c = 0; c < count; c += LANES) {
        const int64_t some = count - c < LANES ? count - c : LANES;
        vf y = v_load(sums + c);
        if (e->integers)
            y = __builtin_convertvector(e->weight_sums ? (vi)y - e->zero * load_sums(e->weight_sums, c, some) : (vi)y,
                                        vf);
        if (e->scales)
            y *= load_vector(e->scales, c, some) * e->scale;
        if (e->bias)
            y += load_vector(e->bias, c, some);
        if (e->table)
            y += load_vector(e->table, c, some);
        if (e->residual)
            y += some == LANES ? load(e->residual, c, half) : load_some(e->residual, c, half, some);
        y = v_unary(e->activation, 1, 0, y);
        if (some == LANES)
            put(out, c, half, own, y);
        else
            put_some(out, c, half, own, some, y);
    }
}

static void epilogue(const struct sdg_fast_epilogue *e, const float *sums, void *out, int64_t count)
{
    if (is_half(e->half))
        epilogue_as(true, e, sums, out, count);
    else
        epilogue_as(false, e, sums, out, count);
}
