// Operations along the tokens for one instruction set: Mamba's causal convolution and its scan; included by
// kernels_*.c. Lanes are channels.

// Up to LANES elements; the other lanes are 0, and are not stored.
INLINE vf load_lanes(const void *array, int64_t i, bool bf16, int64_t count)
{
    return count < LANES ? load_some(array, i, bf16, count) : load(array, i, bf16);
}
INLINE void put_lanes(void *array, int64_t i, bool bf16, const struct coder *coder, int64_t count, vf value)
{
    if (count < LANES)
        put_some(array, i, bf16, coder, count, value);
    else
        put(array, i, bf16, coder, value);
}

// Values of the codes of one token, whose scale and zero point are `pair`.
INLINE vf load_codes(const uint8_t *codes, bool is_signed, const float *pair, int64_t count)
{
    typedef int8_t bytes __attribute__((vector_size(LANES)));
    typedef uint8_t words __attribute__((vector_size(LANES)));
    words q = {0};
    if (count < LANES)
        memcpy(&q, codes, (size_t)count);
    else
        memcpy(&q, codes, sizeof q);
    return (__builtin_convertvector(is_signed ? __builtin_convertvector((bytes)q, vi) : __builtin_convertvector(q, vi),
                                    vf) -
            pair[1]) *
        pair[0];
}

// ... or what `source` says: elements from i on, of one token.
INLINE vf load_values(const void *array, const struct sdg_fast_source *source, int64_t token, int64_t i, bool bf16,
                      int64_t count)
{
    return source->codes
        ? load_codes((const uint8_t *)array + i, source->is_signed, pair_of(&source->intervals, token), count)
        : load_lanes(array, i, bf16, count);
}

// ---- convolution ----

enum { CONV1D_WIDE = 4 }; // vectors at once: one waits too long for its own results

// `wide` vectors of a position's channels from c on, the last one of `some` lanes. Tap k is at `from + k step`.
INLINE void conv1d_channels(const bool bf16, const bool coded, const int wide, const struct sdg_fast_conv1d *op,
                            const struct coder *coder, int64_t position, int64_t c, int64_t some, int64_t first,
                            int64_t from, int64_t step)
{
    const int64_t way = op->backward ? -1 : 1; // from one tap's token to the next one's
    vf sum[CONV1D_WIDE];
#pragma GCC unroll 4
    for (int w = 0; w < wide; w++)
        sum[w] = op->bias ? load_lanes(op->bias, c + w * LANES, false, some) : v_set(0);
    for (int64_t k = first; k < op->kernel; k++)
#pragma GCC unroll 4
        for (int w = 0; w < wide; w++)
            sum[w] = v_fma(load_lanes(op->weight, k * op->channels + c + w * LANES, false, some),
                           coded ? load_values(op->x, &op->source, position + (k - op->kernel + 1) * way,
                                               from + k * step + c + w * LANES, bf16, some)
                                 : load_lanes(op->x, from + k * step + c + w * LANES, bf16, some),
                           sum[w]);
    if (op->silu)
#pragma GCC unroll 4
        for (int w = 0; w < wide; w++)
            sum[w] = v_silu(sum[w]);
#pragma GCC unroll 4
    for (int w = 0; w < wide; w++)
        put_lanes(op->out, position * op->channels + c + w * LANES, bf16, coder, some,
                  smoothed(coder, c + w * LANES, some, sum[w]));
}

INLINE void conv1d_as(const bool bf16, const bool coded, const struct sdg_fast_conv1d *op,
                      const struct sdg_fast_codes *codes, int64_t begin, int64_t end)
{
    struct coder coder = codes ? coder_of(codes, begin) : (struct coder){0};
    const struct coder *own = codes ? &coder : NULL;
    const int64_t channels = op->channels, step = op->backward ? -op->x_channels : op->x_channels;
    for (int64_t p = begin; p < end; p++) {
        // The last tap is the token itself, those before it are one token further away each.
        const int64_t token = p % op->tokens, away = op->backward ? op->tokens - 1 - token : token,
                      first = away < op->kernel - 1 ? op->kernel - 1 - away : 0,
                      from = p * op->x_channels + op->start - (op->kernel - 1) * step;
        int64_t c = 0;
        coder_step(&coder, codes, p);
        for (; c + CONV1D_WIDE * LANES <= channels; c += CONV1D_WIDE * LANES)
            conv1d_channels(bf16, coded, CONV1D_WIDE, op, own, p, c, LANES, first, from, step);
        for (; c < channels; c += LANES)
            conv1d_channels(bf16, coded, 1, op, own, p, c, channels - c < LANES ? channels - c : LANES, first, from,
                            step);
    }
}

static void conv1d(const struct sdg_fast_conv1d *op, const struct sdg_fast_codes *codes, int64_t begin, int64_t end)
{
    if (op->source.codes)
        conv1d_as(op->bf16, true, op, codes, begin, end);
    else if (op->bf16 && codes)
        conv1d_as(true, false, op, codes, begin, end);
    else if (op->bf16)
        conv1d_as(true, false, op, NULL, begin, end);
    else if (codes)
        conv1d_as(false, false, op, codes, begin, end);
    else
        conv1d_as(false, false, op, NULL, begin, end);
}

// ---- scan ----

enum {
    SCAN_STATES = SDG_SIMD_REGISTERS / 8, // that are worked off together
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
    const int64_t size = op->bf16 ? 2 : 4;
    t->ahead[0] = scan_stream(op->x, op->channels, op->x_source.codes ? 1 : size, next, channel);
    t->ahead[1] = scan_stream(op->delta, op->channels, op->delta_source.codes ? 1 : size, next, channel);
    t->ahead[2] = scan_stream(op->gate, op->gate_channels, op->gate_source.codes ? 1 : size, next,
                              channel + op->params.gate_start);
    t->ahead[3] = scan_stream(op->add, op->channels, size, next, channel);
    t->ahead[4] = scan_stream(op->out, op->channels, codes ? 1 : size, next, channel);
}

INLINE void scan_prepare(const bool bf16, const struct sdg_fast_scan *op, struct scan_tile *t, int64_t channel,
                         int64_t some)
{
    vf longest = v_set(0);
    const vf d = load_lanes(op->d, channel, false, some),
             bias = op->delta_bias ? load_lanes(op->delta_bias, channel, false, some) : v_set(0);
    for (int64_t i = 0; i < t->count; i++) {
        const int64_t at = (t->position + i) * op->channels + channel;
        const vf x = load_values(op->x, &op->x_source, t->position + i, at, bf16, some),
                 delta = v_softplus(load_values(op->delta, &op->delta_source, t->position + i, at, bf16, some) + bias);
        longest = v_max(delta, longest); // NaN, which makes its states NaN anyway, is left out
        v_store(t->delta + i * LANES, delta);
        v_store(t->input + i * LANES, delta * x);
        v_store(t->y + i * LANES, d * x);
    }
    t->longest = longest;
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
    bool near = true;
#pragma GCC unroll 8
    for (int s = 0; s < count; s++)
        near = near && !v_any(~(t->longest * v_load(op->decay + (state + s) * op->stride + channel) > DECAY_LOWEST));
    if (near)
        scan_states_as(true, count, op, t, channel, state, states);
    else
        scan_states_as(false, count, op, t, channel, state, states);
}

INLINE void scan_finish(const bool bf16, const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes,
                        const struct scan_tile *t, int64_t channel, int64_t some)
{
    const vf scale = v_set(op->params.scale);
    struct coder coder = codes ? coder_of(codes, t->position) : (struct coder){0};
    for (int64_t p = t->position; p < t->position + t->count; p++) {
        vf y = v_load(t->y + (p - t->position) * LANES);
        if (op->add)
            y += load_lanes(op->add, p * op->channels + channel, bf16, some);
        if (op->gate)
            y *= v_silu(load_values(op->gate, &op->gate_source, p,
                                    p * op->gate_channels + op->params.gate_start + channel, bf16, some));
        coder_step(&coder, codes, p);
        put_lanes(op->out, p * op->channels + channel, bf16, codes ? &coder : NULL, some,
                  smoothed(codes ? &coder : NULL, channel, some, y * scale));
    }
}

// B and C of a tile as f32: where they lie, or copies.
INLINE void scan_parameters(const bool bf16, const struct sdg_fast_scan *op, struct scan_tile *t, float *copy)
{
    const int64_t first = t->position * op->bc_channels, starts[2] = {op->params.b_start, op->params.c_start};
    if (!bf16) {
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
            for (int64_t s = 0; s < op->states; s += LANES) {
                const int64_t some = op->states - s < LANES ? op->states - s : LANES;
                put_lanes(copy + i * t->stride + part * op->states, s, false, NULL, some,
                          load_lanes(op->bc, first + i * op->bc_channels + starts[part] + s, true, some));
            }
}

INLINE void scan_as(const bool bf16, const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes, int64_t sample,
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
        scan_parameters(bf16, op, &t, copy);
        for (int64_t c = begin; c < end; c += LANES) {
            const int64_t some = end - c < LANES ? end - c : LANES;
            float *h = states + (c - begin) * op->states;
            int64_t s = 0;
            scan_prepare(bf16, op, &t, c, some);
            if (c + LANES < end)
                scan_look_ahead(op, codes, &t, t.position, c + LANES);
            else
                scan_look_ahead(op, codes, &t, t.position + (op->params.backward ? -TILE : TILE), begin);
            for (; s + SCAN_STATES <= op->states; s += SCAN_STATES)
                scan_states(SCAN_STATES, op, &t, c, s, h + s * LANES);
            for (; s < op->states; s++)
                scan_states(1, op, &t, c, s, h + s * LANES);
            scan_finish(bf16, op, codes, &t, c, some);
        }
    }
}

static void scan(const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes, int64_t sample, int64_t begin,
                 int64_t end, float *work)
{
    if (op->bf16 && codes)
        scan_as(true, op, codes, sample, begin, end, work);
    else if (op->bf16)
        scan_as(true, op, NULL, sample, begin, end, work);
    else if (codes)
        scan_as(false, op, codes, sample, begin, end, work);
    else
        scan_as(false, op, NULL, sample, begin, end, work);
}
