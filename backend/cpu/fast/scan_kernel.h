// Operations along the tokens for one instruction set: Mamba's causal convolution and its scan; included by
// kernels_*.c. Lanes are channels.

// Up to LANES elements; the other lanes are 0, and are not stored.
INLINE vf load_lanes(const void *array, int64_t i, bool half, int64_t count)
{
    return count < LANES ? load_some(array, i, half, count) : load(array, i, half);
}
INLINE void put_lanes(void *array, int64_t i, bool half, const struct coder *coder, int64_t count, vf value)
{
    if (count < LANES)
        put_some(array, i, half, coder, count, value);
    else
        put(array, i, half, coder, value);
}

// Values of the codes of one token, whose scale and zero point are `pair`.
INLINE vf load_codes(const uint8_t *codes, bool is_signed, const float *pair, int64_t count)
{
    vb q = {0};
    if (count < LANES)
        memcpy(&q, codes, (size_t)count);
    else
        memcpy(&q, codes, sizeof q);
    return (v_from_bytes(q, is_signed) - pair[1]) * pair[0];
}

// ... or, if there may be codes, what `source` says: elements from i on, of one token.
INLINE vf load_values(const bool coded, const void *array, const struct sdg_fast_source *source, int64_t token,
                      int64_t i, bool half, int64_t count)
{
    return coded && source->codes
        ? load_codes((const uint8_t *)array + i, source->is_signed, pair_of(&source->intervals, token), count)
        : load_lanes(array, i, half, count);
}

// ---- convolution ----

enum { CONV1D_TOKENS = 4 }; // at once: they share weights, and one waits too long for its own results

// `count` tokens from `position` on, `some` channels from c on. All of them read the taps from `first` on.
INLINE void conv1d_tokens(const bool half, const bool coded, const bool silu, const int count,
                          const struct sdg_fast_conv1d *op, const struct sdg_fast_codes *codes, int64_t position,
                          int64_t first, int64_t c, int64_t some)
{
    vf sum[CONV1D_TOKENS];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        sum[i] = op->bias ? load_lanes(op->bias, c, false, some) : v_set(0);
    for (int64_t k = first; k < op->kernel; k++) {
        // The last tap is the token itself, those before it are one token further away each.
        const int64_t away = op->kernel - 1 - k, from = op->backward ? position + away : position - away;
        const vf weight = load_lanes(op->weight, k * op->channels + c, false, some);
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
            sum[i] = v_fma(weight,
                           load_values(coded, op->x, &op->source, from + i, (from + i) * op->x_channels + op->start + c,
                                       half, some),
                           sum[i]);
    }
    if (silu)
        v_silu_each(count, sum);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
        const struct coder coder = codes ? coder_of(codes, position + i) : (struct coder){0};
        put_lanes(op->out, (position + i) * op->channels + c, half, codes ? &coder : NULL, some,
                  smoothed(codes ? &coder : NULL, c, some, sum[i]));
    }
}

INLINE void conv1d_row(const bool half, const bool coded, const bool silu, const int count,
                       const struct sdg_fast_conv1d *op, const struct sdg_fast_codes *codes, int64_t position,
                       int64_t first)
{
    int64_t c = 0;
    for (; c + LANES <= op->channels; c += LANES)
        conv1d_tokens(half, coded, silu, count, op, codes, position, first, c, LANES);
    if (c < op->channels)
        conv1d_tokens(half, coded, silu, count, op, codes, position, first, c, op->channels - c);
}

INLINE void conv1d_as(const bool half, const bool coded, const bool silu, const struct sdg_fast_conv1d *given,
                      const struct sdg_fast_codes *codes, int64_t begin, int64_t end)
{
    const struct sdg_fast_conv1d own = *given, *op = &own; // which results that are stored cannot change
    for (int64_t p = begin; p < end;) {
        // Tokens on the side where the convolution begins, and how many of the sample's are left.
        const int64_t token = p % op->tokens, left = op->tokens - token, together = CONV1D_TOKENS,
                      away = op->backward ? left - 1 : token, taps = op->kernel - 1;
        const bool inside = op->backward ? left >= together + taps : token >= taps && left >= together;
        if (inside && end - p >= together) {
            conv1d_row(half, coded, silu, CONV1D_TOKENS, op, codes, p, 0);
            p += together;
        } else {
            conv1d_row(half, coded, silu, 1, op, codes, p, away < taps ? taps - away : 0);
            p++;
        }
    }
}

static void conv1d(const struct sdg_fast_conv1d *op, const struct sdg_fast_codes *codes, int64_t begin, int64_t end)
{
    if (op->source.codes)
        conv1d_as(is_half(op->half), true, op->silu, op, codes, begin, end);
    else if (codes)
        conv1d_as(is_half(op->half), false, op->silu, op, codes, begin, end);
    else if (is_half(op->half) && op->silu)
        conv1d_as(true, false, true, op, NULL, begin, end);
    else if (is_half(op->half))
        conv1d_as(true, false, false, op, NULL, begin, end);
    else if (op->silu)
        conv1d_as(false, false, true, op, NULL, begin, end);
    else
        conv1d_as(false, false, false, op, NULL, begin, end);
}

// ---- scan ----

enum {
    SCAN_STATES = SDG_SIMD_REGISTERS / 8, // that are worked off together
    SCAN_TOKENS = 4,                      // whose functions are taken together
    SCAN_STREAMS = 6,                     // x, delta, gate, add, out, none
};

// Where the next tile's channels of an array lie, token by token: a line of the cache each, too far apart for the
// processor to see it coming.
struct scan_stream {
    uintptr_t at; // of the first token, which may be outside of the array
    intptr_t step;
};

// A tile of tokens of one sample, in the order they are stored.
struct scan_tile {
    int64_t position, count; // of the first, counted through all samples; how many
    // B and C of token i are b[i * stride] and c[i * stride] and what follows, S of each.
    const float *b, *c;
    int64_t stride;
    float *delta, *input, *y; // [SDG_FAST_SCAN_TILE, LANES]: delta, delta x, sums
    vf longest;               // delta of all tokens
    struct scan_stream ahead[SCAN_STREAMS];
};

// Element [position, channel] of an array of that many channels, size bytes each, and those of the tokens behind it.
INLINE struct scan_stream scan_stream(const void *array, int64_t channels, int64_t size, int64_t position,
                                      int64_t channel)
{
    return array ? (struct scan_stream){(uintptr_t)array + (uintptr_t)((position * channels + channel) * size),
                                        (intptr_t)(channels * size)}
                 : (struct scan_stream){0};
}

INLINE void scan_look_ahead(const struct sdg_fast_scan *op, bool codes, struct scan_tile *t, int64_t next,
                            int64_t channel)
{
    const int64_t size = is_half(op->half) ? 2 : 4;
    t->ahead[0] = scan_stream(op->x, op->channels, op->x_source.codes ? 1 : size, next, channel);
    t->ahead[1] = scan_stream(op->delta, op->channels, op->delta_source.codes ? 1 : size, next, channel);
    t->ahead[2] = scan_stream(op->gate, op->gate_channels, op->gate_source.codes ? 1 : size, next,
                              channel + op->params.gate_start);
    t->ahead[3] = scan_stream(op->add, op->channels, size, next, channel);
    t->ahead[4] = scan_stream(op->out, op->channels, codes ? 1 : size, next, channel);
}

// `count` tokens from the tile's i on.
INLINE void scan_prepare_tokens(const bool half, const bool coded, const int count, const struct sdg_fast_scan *op,
                                struct scan_tile *t, int64_t i, int64_t channel, int64_t some)
{
    vf delta[SCAN_TOKENS];
    const vf d = load_lanes(op->d, channel, false, some),
             bias = op->delta_bias ? load_lanes(op->delta_bias, channel, false, some) : v_set(0);
#pragma GCC unroll 8
    for (int k = 0; k < count; k++) {
        const int64_t token = t->position + i + k;
        delta[k] =
            load_values(coded, op->delta, &op->delta_source, token, token * op->channels + channel, half, some) + bias;
    }
    v_softplus_each(count, delta);
#pragma GCC unroll 8
    for (int k = 0; k < count; k++) {
        const int64_t token = t->position + i + k;
        const vf x = load_values(coded, op->x, &op->x_source, token, token * op->channels + channel, half, some);
        t->longest = v_max(delta[k], t->longest); // NaN, which makes its states NaN anyway, is left out
        v_store(t->delta + (i + k) * LANES, delta[k]);
        v_store(t->input + (i + k) * LANES, delta[k] * x);
        v_store(t->y + (i + k) * LANES, d * x);
    }
}

INLINE void scan_prepare_as(const bool half, const bool coded, const struct sdg_fast_scan *op, struct scan_tile *t,
                            int64_t channel, int64_t some)
{
    int64_t i = 0;
    t->longest = v_set(0);
    for (; i + SCAN_TOKENS <= t->count; i += SCAN_TOKENS)
        scan_prepare_tokens(half, coded, SCAN_TOKENS, op, t, i, channel, some);
    for (; i < t->count; i++)
        scan_prepare_tokens(half, coded, 1, op, t, i, channel, some);
}

// Almost always all lanes are there, and often nothing is codes: loops without choices, several times as short.
INLINE void scan_prepare(const bool half, const struct sdg_fast_scan *op, struct scan_tile *t, int64_t channel,
                         int64_t some)
{
    if (some < LANES)
        scan_prepare_as(half, true, op, t, channel, some);
    else if (op->x_source.codes || op->delta_source.codes)
        scan_prepare_as(half, true, op, t, channel, LANES);
    else
        scan_prepare_as(half, false, op, t, channel, LANES);
}

// h = exp(delta A) h + delta x B, y += C h, of `count` states from `state` on; and two streams come closer.
INLINE void scan_states_as(const bool near, const int count, const struct sdg_fast_scan *op, const struct scan_tile *t,
                           int64_t channel, int64_t state, float *states)
{
    const int64_t step = op->params.backward ? -1 : 1;
    const struct scan_stream *ahead = t->ahead + state / count * 2 % SCAN_STREAMS;
    int64_t i = op->params.backward ? t->count - 1 : 0;
    vf decay[SCAN_STATES], h[SCAN_STATES];
#pragma GCC unroll 8
    for (int s = 0; s < count; s++) {
        decay[s] = v_load(op->decay + (state + s) * op->stride + channel);
        h[s] = v_load(states + s * LANES);
    }
    for (int64_t left = t->count; left; left--, i += step) {
        const vf delta = v_load(t->delta + i * LANES), input = v_load(t->input + i * LANES);
        const float *b = t->b + i * t->stride + state, *c = t->c + i * t->stride + state;
        vf y = v_load(t->y + i * LANES);
        for (int k = 0; k < 2; k++)
            __builtin_prefetch((const void *)(ahead[k].at + (uintptr_t)(i * ahead[k].step)));
#pragma GCC unroll 8
        for (int s = 0; s < count; s++) {
            const vf x = delta * decay[s];
            h[s] = v_fma(near ? v_decay(x) : v_exp2(x, 5), h[s], input * b[s]);
            y = v_fma(h[s], v_set(c[s]), y);
        }
        v_store(t->y + i * LANES, y);
    }
#pragma GCC unroll 8
    for (int s = 0; s < count; s++)
        v_store(states + s * LANES, h[s]);
}

// Almost always no decay of the tile is below 2^DECAY_LOWEST, and exponentials need no limits.
INLINE void scan_states(const int count, const struct sdg_fast_scan *op, const struct scan_tile *t, int64_t channel,
                        int64_t state, float *states)
{
    vf steepest = v_load(op->decay + state * op->stride + channel);
#pragma GCC unroll 8
    for (int s = 1; s < count; s++)
        steepest = v_min(v_load(op->decay + (state + s) * op->stride + channel), steepest);
    const bool near = !v_any(~(t->longest * steepest > DECAY_LOWEST));
    if (near)
        scan_states_as(true, count, op, t, channel, state, states);
    else
        scan_states_as(false, count, op, t, channel, state, states);
}

// `count` tokens from the tile's i on.
INLINE void scan_finish_tokens(const bool half, const bool coded, const int count, const struct sdg_fast_scan *op,
                               const struct sdg_fast_codes *codes, const struct scan_tile *t, int64_t i,
                               int64_t channel, int64_t some)
{
    const vf scale = v_set(op->params.scale);
    vf y[SCAN_TOKENS];
#pragma GCC unroll 8
    for (int k = 0; k < count; k++)
        y[k] = v_load(t->y + (i + k) * LANES);
    if (op->add)
#pragma GCC unroll 8
        for (int k = 0; k < count; k++)
            y[k] += load_lanes(op->add, (t->position + i + k) * op->channels + channel, half, some);
    if (op->gate) {
        vf gate[SCAN_TOKENS];
#pragma GCC unroll 8
        for (int k = 0; k < count; k++) {
            const int64_t token = t->position + i + k;
            gate[k] = load_values(coded, op->gate, &op->gate_source, token,
                                  token * op->gate_channels + op->params.gate_start + channel, half, some);
        }
        v_silu_each(count, gate);
#pragma GCC unroll 8
        for (int k = 0; k < count; k++)
            y[k] *= gate[k];
    }
#pragma GCC unroll 8
    for (int k = 0; k < count; k++) {
        const int64_t token = t->position + i + k;
        const struct coder coder = codes ? coder_of(codes, token) : (struct coder){0};
        put_lanes(op->out, token * op->channels + channel, half, codes ? &coder : NULL, some,
                  smoothed(codes ? &coder : NULL, channel, some, y[k] * scale));
    }
}

INLINE void scan_finish_as(const bool half, const bool coded, const struct sdg_fast_scan *op,
                           const struct sdg_fast_codes *codes, const struct scan_tile *t, int64_t channel, int64_t some)
{
    int64_t i = 0;
    for (; i + SCAN_TOKENS <= t->count; i += SCAN_TOKENS)
        scan_finish_tokens(half, coded, SCAN_TOKENS, op, codes, t, i, channel, some);
    for (; i < t->count; i++)
        scan_finish_tokens(half, coded, 1, op, codes, t, i, channel, some);
}

INLINE void scan_finish(const bool half, const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes,
                        const struct scan_tile *t, int64_t channel, int64_t some)
{
    if (some < LANES)
        scan_finish_as(half, true, op, codes, t, channel, some);
    else if (op->gate_source.codes)
        scan_finish_as(half, true, op, codes, t, channel, LANES);
    else
        scan_finish_as(half, false, op, codes, t, channel, LANES);
}

// B and C of a tile as f32: where they lie, or copies.
INLINE void scan_parameters(const bool half, const struct sdg_fast_scan *op, struct scan_tile *t, float *copy)
{
    const int64_t first = t->position * op->bc_channels, starts[2] = {op->params.b_start, op->params.c_start};
    if (!half) {
        t->b = (const float *)op->bc + first + op->params.b_start;
        t->c = (const float *)op->bc + first + op->params.c_start;
        t->stride = op->bc_channels;
        return;
    }
    t->b = copy;
    t->c = copy + op->states;
    t->stride = 2 * op->states;
    for (int64_t i = 0; i < t->count; i++)
        for (int part = 0; part < 2; part++)
            convert_as(HALF, false, (const uint16_t *)op->bc + first + i * op->bc_channels + starts[part],
                       copy + (2 * i + part) * op->states, op->states);
}

INLINE void scan_as(const bool half, const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes, int64_t sample,
                    int64_t begin, int64_t end, float *work)
{
    enum { TILE = SDG_FAST_SCAN_TILE };
    struct scan_tile t = {.delta = work, .input = work + TILE * LANES, .y = work + 2 * TILE * LANES};
    float *copy = work + 3 * TILE * LANES, *states = copy + 2 * TILE * op->states;
    const int64_t tiles = (op->tokens + TILE - 1) / TILE;
    memset(states, 0, (size_t)((end - begin + LANES - 1) / LANES * LANES * op->states) * sizeof *states);
    for (int64_t i = 0; i < tiles; i++) {
        const int64_t first = (op->params.backward ? tiles - 1 - i : i) * TILE;
        t.position = sample * op->tokens + first;
        t.count = op->tokens - first < TILE ? op->tokens - first : TILE;
        scan_parameters(half, op, &t, copy);
        for (int64_t c = begin; c < end; c += LANES) {
            const int64_t some = end - c < LANES ? end - c : LANES;
            float *h = states + (c - begin) * op->states;
            int64_t s = 0;
            scan_prepare(half, op, &t, c, some);
            if (c + LANES < end)
                scan_look_ahead(op, codes, &t, t.position, c + LANES);
            else
                scan_look_ahead(op, codes, &t, t.position + (op->params.backward ? -TILE : TILE), begin);
            for (; s + SCAN_STATES <= op->states; s += SCAN_STATES)
                scan_states(SCAN_STATES, op, &t, c, s, h + s * LANES);
            for (; s < op->states; s++)
                scan_states(1, op, &t, c, s, h + s * LANES);
            scan_finish(half, op, codes, &t, c, some);
        }
    }
}

static void scan(const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes, int64_t sample, int64_t begin,
                 int64_t end, float *work)
{
    if (is_half(op->half) && codes)
        scan_as(true, op, codes, sample, begin, end, work);
    else if (is_half(op->half))
        scan_as(true, op, NULL, sample, begin, end, work);
    else if (codes)
        scan_as(false, op, codes, sample, begin, end, work);
    else
        scan_as(false, op, NULL, sample, begin, end, work);
}
