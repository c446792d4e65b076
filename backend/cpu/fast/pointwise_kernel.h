// Element-wise kernels for one instruction set; included by kernels_*.c.

INLINE void unary_as(const bool half, enum sdg_unary function, float a, float b, const void *x, void *out, int64_t begin, int64_t end)
{
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES)
        store(out, i, half, v_unary(function, a, b, load(x, i, half)));
    if (i < end)
        store_some(out, i, half, end - i, v_unary(function, a, b, load_some(x, i, half, end - i)));
}

static void unary(enum sdg_unary function, float a, float b, const void *x, void *out, bool half, int64_t begin, int64_t end)
{
    if (half)
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
    if (half)
        binary_as(true, multiply, x, y, out, count);
    else
        binary_as(false, multiply, x, y, out, count);
}

INLINE void geglu_as(const bool half, const void *x, void *out, int64_t channels, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++) {
        int64_t from = row * 2 * channels, to = row * channels, c = 0;
        for (; c + LANES <= channels; c += LANES)
            store(out, to + c, half, load(x, from + c, half) * v_gelu_erf(load(x, from + channels + c, half)));
        if (c < channels) {
            vf gate = v_gelu_erf(load_some(x, from + channels + c, half, channels - c));
            store_some(out, to + c, half, channels - c, load_some(x, from + c, half, channels - c) * gate);
        }
    }
}

static void geglu(const void *x, void *out, bool half, int64_t channels, int64_t begin, int64_t end)
{
    if (half)
        geglu_as(true, x, out, channels, begin, end);
    else
        geglu_as(false, x, out, channels, begin, end);
}
