// Norms for one instruction set; included by kernels_*.c. Variances are sums of squared differences from a mean taken
// before, never differences of sums of squares.

INLINE void layer_norm_as(const bool half, const void *x, const float *gamma, const float *beta, float eps, void *out,
                          const struct sdg_fast_codes *codes, int64_t channels, int64_t begin, int64_t end)
{
    const int64_t whole = channels - channels % LANES, rest = channels - whole;
    struct coder coder = codes ? coder_of(codes, begin) : (struct coder){0};
    const struct coder *own = codes ? &coder : NULL;
    for (int64_t row = begin; row < end; row++) {
        const int64_t at = row * channels;
        coder_step(&coder, codes, row);
        vf sum = {0}, squares = {0};
        for (int64_t c = 0; c < whole; c += LANES)
            sum += load(x, at + c, half);
        if (rest)
            sum += load_some(x, at + whole, half, rest);
        const float mean = v_sum(sum) / (float)channels;
        for (int64_t c = 0; c < whole; c += LANES) {
            vf d = load(x, at + c, half) - mean;
            squares = v_fma(d, d, squares);
        }
        float variance = v_sum(squares);
        for (int64_t c = whole; c < channels; c++) {
            float d = load_one(x, at + c, half) - mean;
            variance += d * d;
        }
        const float scale = 1 / sqrtf(variance / (float)channels + eps);
        for (int64_t c = 0; c < whole; c += LANES)
            put(out, at + c, half, own,
                smoothed(own, c, LANES,
                         v_fma((load(x, at + c, half) - mean) * scale, v_load(gamma + c), v_load(beta + c))));
        if (rest) {
            vf y = (load_some(x, at + whole, half, rest) - mean) * scale;
            y = v_fma(y, load_some(gamma, whole, false, rest), load_some(beta, whole, false, rest));
            put_some(out, at + whole, half, own, rest, smoothed(own, whole, rest, y));
        }
    }
}

static void layer_norm(const void *x, const float *gamma, const float *beta, float eps, void *out, bool half,
                       const struct sdg_fast_codes *codes, int64_t channels, int64_t begin, int64_t end)
{
    if (is_half(half) && codes)
        layer_norm_as(true, x, gamma, beta, eps, out, codes, channels, begin, end);
    else if (is_half(half))
        layer_norm_as(true, x, gamma, beta, eps, out, NULL, channels, begin, end);
    else if (codes)
        layer_norm_as(false, x, gamma, beta, eps, out, codes, channels, begin, end);
    else
        layer_norm_as(false, x, gamma, beta, eps, out, NULL, channels, begin, end);
}

// Per channel, sum over `count` pixels of (x - mean[c]) raised to 1 or (square) 2.
INLINE void column_sums(const bool half, const bool square, const void *x, int64_t first, int64_t count,
                        int64_t channels, const float *mean, float *sums)
{
    enum { WIDE = 4 };
    int64_t c = 0;
    for (; c + WIDE * LANES <= channels; c += WIDE * LANES) {
        vf sum[WIDE] = {{0}}, middle[WIDE];
#pragma GCC unroll 4
        for (int w = 0; w < WIDE; w++)
            middle[w] = square ? v_load(mean + c + w * LANES) : v_set(0);
        for (int64_t p = 0; p < count; p++)
#pragma GCC unroll 4
            for (int w = 0; w < WIDE; w++) {
                vf d = load(x, (first + p) * channels + c + w * LANES, half) - middle[w];
                sum[w] = square ? v_fma(d, d, sum[w]) : sum[w] + d;
            }
#pragma GCC unroll 4
        for (int w = 0; w < WIDE; w++)
            v_store(sums + c + w * LANES, sum[w]);
    }
    for (; c < channels; c += LANES) {
        const int64_t some = channels - c < LANES ? channels - c : LANES;
        vf sum = {0}, middle = square ? load_some(mean, c, false, some) : v_set(0);
        for (int64_t p = 0; p < count; p++) {
            const int64_t at = (first + p) * channels + c;
            vf d = (some == LANES ? load(x, at, half) : load_some(x, at, half, some)) - middle;
            sum = square ? v_fma(d, d, sum) : sum + d;
        }
        store_some(sums, c, false, some, sum);
    }
}

INLINE void group_norm_stats_as(const bool half, const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin,
                                int64_t end, float *work, float *stats)
{
    const int64_t channels = op->channels[0] + op->channels[1], per_group = channels / op->groups, count = end - begin;
    float *sums = work, *means = work + channels;
    for (int part = 0; part < 2 && op->channels[part]; part++)
        column_sums(half, false, op->x[part], sample * op->pixels + begin, count, op->channels[part], NULL,
                    sums + part * op->channels[0]);
    for (int g = 0; g < op->groups; g++) {
        float sum = 0;
        for (int64_t c = g * per_group; c < (g + 1) * per_group; c++)
            sum += sums[c];
        stats[2 * g] = sum / (float)(per_group * count);
        for (int64_t c = g * per_group; c < (g + 1) * per_group; c++)
            means[c] = stats[2 * g];
    }
    for (int part = 0; part < 2 && op->channels[part]; part++)
        column_sums(half, true, op->x[part], sample * op->pixels + begin, count, op->channels[part],
                    means + part * op->channels[0], sums + part * op->channels[0]);
    for (int g = 0; g < op->groups; g++) {
        float sum = 0;
        for (int64_t c = g * per_group; c < (g + 1) * per_group; c++)
            sum += sums[c];
        stats[2 * g + 1] = sum;
    }
}

static void group_norm_stats(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end,
                             float *work, float *stats)
{
    if (is_half(op->half))
        group_norm_stats_as(true, op, sample, begin, end, work, stats);
    else
        group_norm_stats_as(false, op, sample, begin, end, work, stats);
}

INLINE void group_norm_apply_as(const bool half, const bool silu, const struct sdg_fast_group_norm *op, int64_t sample,
                                int64_t begin, int64_t end, const float *mean, const float *scale, const float *shift,
                                const struct sdg_fast_codes *codes)
{
    const int64_t channels = op->channels[0] + op->channels[1];
    struct coder coder = codes ? coder_of(codes, begin) : (struct coder){0};
    const struct coder *own = codes ? &coder : NULL;
    for (int64_t p = sample * op->pixels + begin; p < sample * op->pixels + end; p++) {
        coder_step(&coder, codes, p);
        for (int part = 0; part < 2 && op->channels[part]; part++) {
            const int64_t n = op->channels[part], offset = part * op->channels[0], from = p * n,
                          to = p * channels + offset;
            int64_t c = 0;
            for (; c + LANES <= n; c += LANES) {
                vf y = v_fma(load(op->x[part], from + c, half) - v_load(mean + offset + c), v_load(scale + offset + c),
                             v_load(shift + offset + c));
                put(op->out, to + c, half, own, smoothed(own, offset + c, LANES, silu ? y * v_sigmoid(y) : y));
            }
            if (c < n) {
                vf y = load_some(op->x[part], from + c, half, n - c) - load_some(mean, offset + c, false, n - c);
                y = v_fma(y, load_some(scale, offset + c, false, n - c), load_some(shift, offset + c, false, n - c));
                put_some(op->out, to + c, half, own, n - c,
                         smoothed(own, offset + c, n - c, silu ? y * v_sigmoid(y) : y));
            }
        }
    }
}

INLINE void group_norm_apply_to(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end,
                                const float *mean, const float *scale, const float *shift,
                                const struct sdg_fast_codes *codes)
{
    if (is_half(op->half) && op->silu)
        group_norm_apply_as(true, true, op, sample, begin, end, mean, scale, shift, codes);
    else if (is_half(op->half))
        group_norm_apply_as(true, false, op, sample, begin, end, mean, scale, shift, codes);
    else if (op->silu)
        group_norm_apply_as(false, true, op, sample, begin, end, mean, scale, shift, codes);
    else
        group_norm_apply_as(false, false, op, sample, begin, end, mean, scale, shift, codes);
}

static void group_norm_apply(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end,
                             const float *mean, const float *scale, const float *shift,
                             const struct sdg_fast_codes *codes)
{
    if (codes)
        group_norm_apply_to(op, sample, begin, end, mean, scale, shift, codes);
    else
        group_norm_apply_to(op, sample, begin, end, mean, scale, shift, NULL);
}
