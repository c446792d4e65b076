// Element-wise kernels for one instruction set; included by kernels_*.c.

INLINE void unary_as(const bool half, enum sdg_unary function, float a, float b, const void *x, void *out,
                     int64_t begin, int64_t end)
{
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES)
        store(out, i, half, v_unary(function, a, b, load(x, i, half)));
    if (i < end)
        store_some(out, i, half, end - i, v_unary(function, a, b, load_some(x, i, half, end - i)));
}

static void unary(enum sdg_unary function, float a, float b, const void *x, void *out, bool half, int64_t begin,
                  int64_t end)
{
    if (is_half(half))
        unary_as(true, function, a, b, x, out, begin, end);
    else
        unary_as(false, function, a, b, x, out, begin, end);
}

INLINE void binary_as(const bool half, const bool multiply, const void *x, const void *y, void *out, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        vf p = load(x, i, half), q = load(y, i, half);
        store(out, i, half, multiply ? p * q : p + q);
    }
    if (i < count) {
        vf p = load_some(x, i, half, count - i), q = load_some(y, i, half, count - i);
        store_some(out, i, half, count - i, multiply ? p * q : p + q);
    }
}

static void binary(enum sdg_binary function, const void *x, const void *y, void *out, bool half, int64_t count)
{
    const bool multiply = function == SDG_BINARY_MUL;
    if (is_half(half))
        binary_as(true, multiply, x, y, out, count);
    else
        binary_as(false, multiply, x, y, out, count);
}

INLINE void quantize_run(const bool half, const void *x, uint8_t *out, const struct coder coder, int64_t begin,
                         int64_t end)
{
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES)
        put(out, i, half, &coder, load(x, i, half));
    if (i < end)
        put_some(out, i, half, &coder, end - i, load_some(x, i, half, end - i));
}

INLINE void quantize_smoothed(const bool half, const void *x, uint8_t *out, const struct coder coder, int64_t begin,
                              int64_t channels)
{
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES)
        put(out, begin + c, half, &coder, smoothed(&coder, c, LANES, load(x, begin + c, half)));
    if (c < channels)
        put_some(out, begin + c, half, &coder, channels - c,
                 smoothed(&coder, c, channels - c, load_some(x, begin + c, half, channels - c)));
}

// Rows that share an interval are one run.
INLINE void quantize_as(const bool half, const void *x, uint8_t *out, const struct sdg_fast_codes *codes,
                        int64_t channels, int64_t begin, int64_t end)
{
    if (codes->smoothing)
        for (int64_t row = begin; row < end; row++)
            quantize_smoothed(half, x, out, coder_of(codes, row), row * channels, channels);
    else if (codes->intervals.stride)
        for (int64_t row = begin; row < end; row++)
            quantize_run(half, x, out, coder_of(codes, row), row * channels, (row + 1) * channels);
    else
        quantize_run(half, x, out, coder_of(codes, 0), begin * channels, end * channels);
}

static void quantize(const void *x, uint8_t *out, bool half, const struct sdg_fast_codes *codes, int64_t channels,
                     int64_t begin, int64_t end)
{
    if (is_half(half))
        quantize_as(true, x, out, codes, channels, begin, end);
    else
        quantize_as(false, x, out, codes, channels, begin, end);
}

INLINE void extremes_as(const bool half, const void *x, int64_t begin, int64_t end, float *smallest, float *largest)
{
    vf low = {0}, high = {0};
    for (int64_t i = begin; i < end; i += LANES) {
        vf y = end - i < LANES ? load_some(x, i, half, end - i) : load(x, i, half);
        low = v_min(y, low); // where y is NaN both are what they were
        high = v_max(y, high);
    }
    *smallest = *largest = 0;
    for (int lane = 0; lane < LANES; lane++) {
        *smallest = low[lane] < *smallest ? low[lane] : *smallest;
        *largest = high[lane] > *largest ? high[lane] : *largest;
    }
}

static void extremes(const void *x, bool half, int64_t begin, int64_t end, float *smallest, float *largest)
{
    if (is_half(half))
        extremes_as(true, x, begin, end, smallest, largest);
    else
        extremes_as(false, x, begin, end, smallest, largest);
}

INLINE void geglu_as(const bool half, const void *x, void *out, const struct sdg_fast_codes *codes, int64_t channels,
                     int64_t begin, int64_t end)
{
    struct coder coder = codes ? coder_of(codes, begin) : (struct coder){0};
    const struct coder *own = codes ? &coder : NULL;
    for (int64_t row = begin; row < end; row++) {
        int64_t from = row * 2 * channels, to = row * channels, c = 0;
        coder_step(&coder, codes, row);
        for (; c + LANES <= channels; c += LANES)
            put(out, to + c, half, own,
                smoothed(own, c, LANES, load(x, from + c, half) * v_gelu_erf(load(x, from + channels + c, half))));
        if (c < channels) {
            vf gate = v_gelu_erf(load_some(x, from + channels + c, half, channels - c));
            put_some(out, to + c, half, own, channels - c,
                     smoothed(own, c, channels - c, load_some(x, from + c, half, channels - c) * gate));
        }
    }
}

static void geglu(const void *x, void *out, bool half, const struct sdg_fast_codes *codes, int64_t channels,
                  int64_t begin, int64_t end)
{
    if (is_half(half) && codes)
        geglu_as(true, x, out, codes, channels, begin, end);
    else if (is_half(half))
        geglu_as(true, x, out, NULL, channels, begin, end);
    else if (codes)
        geglu_as(false, x, out, codes, channels, begin, end);
    else
        geglu_as(false, x, out, NULL, channels, begin, end);
}

INLINE vf load_as(const void *from, enum sdg_dtype type, int64_t i)
{
    if (type == SDG_S8) {
        typedef int8_t bytes __attribute__((vector_size(LANES)));
        bytes b;
        memcpy(&b, (const int8_t *)from + i, sizeof b);
        return __builtin_convertvector(b, vf);
    }
    if (type == SDG_F32)
        return v_load((const float *)from + i);
    vh x;
    memcpy(&x, (const char *)from + 2 * i, sizeof x);
    return type == SDG_F16 ? v_from_f16(x) : v_from_bf16(x);
}

INLINE void convert_as(const enum sdg_dtype type, const bool half, const void *from, void *to, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(to, i, half, load_as(from, type, i));
    if (i < count) {
        const size_t size = sdg_dtype_size(type);
        unsigned char rest[LANES * 4] = {0};
        memcpy(rest, (const char *)from + (size_t)i * size, (size_t)(count - i) * size);
        store_some(to, i, half, count - i, load_as(rest, type, 0));
    }
}

static void convert(const void *from, enum sdg_dtype type, void *to, bool half, int64_t count)
{
    if (type == SDG_F32)
        is_half(half) ? convert_as(SDG_F32, true, from, to, count) : convert_as(SDG_F32, false, from, to, count);
    else if (type == SDG_F16)
        is_half(half) ? convert_as(SDG_F16, true, from, to, count) : convert_as(SDG_F16, false, from, to, count);
    else if (type == SDG_S8)
        is_half(half) ? convert_as(SDG_S8, true, from, to, count) : convert_as(SDG_S8, false, from, to, count);
    else
        is_half(half) ? convert_as(SDG_BF16, true, from, to, count) : convert_as(SDG_BF16, false, from, to, count);
}

// One row's butterflies: m apart, then 2 m. Vectors where m is at least as many, else one by one.
INLINE void hadamard_step(float *y, int64_t m, int64_t channels)
{
    for (int64_t first = 0; first < channels; first += 2 * m) {
        float *low = y + first, *high = low + m;
        if (m < LANES) {
            for (int64_t i = 0; i < m; i++) {
                const float a = low[i], b = high[i];
                low[i] = a + b;
                high[i] = a - b;
            }
            continue;
        }
        for (int64_t i = 0; i < m; i += LANES) {
            const vf a = v_load(low + i), b = v_load(high + i);
            v_store(low + i, a + b);
            v_store(high + i, a - b);
        }
    }
}

INLINE void hadamard_as(const bool half, const void *x, void *out, const struct sdg_fast_codes *codes, int64_t block,
                        int64_t channels, int64_t begin, int64_t end, float *work)
{
    struct coder coder = codes ? coder_of(codes, begin) : (struct coder){0};
    const struct coder *own = codes ? &coder : NULL;
    const float scale = (float)(1 / sqrt((double)block));
    for (int64_t row = begin; row < end; row++) {
        coder_step(&coder, codes, row);
        convert_as(half ? HALF : SDG_F32, false, (const char *)x + row * channels * (half ? 2 : 4), work, channels);
        for (int64_t m = 1; m < block; m *= 2)
            hadamard_step(work, m, channels);
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            put(out, row * channels + c, half, own, smoothed(own, c, LANES, v_load(work + c) * scale));
        if (c < channels)
            put_some(out, row * channels + c, half, own, channels - c,
                     smoothed(own, c, channels - c, load_some(work, c, false, channels - c) * scale));
    }
}

static void hadamard(const void *x, void *out, bool half, const struct sdg_fast_codes *codes, int64_t block,
                     int64_t channels, int64_t begin, int64_t end, float *work)
{
    if (is_half(half))
        hadamard_as(true, x, out, codes, block, channels, begin, end, work);
    else
        hadamard_as(false, x, out, codes, block, channels, begin, end, work);
}
