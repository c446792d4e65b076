// What learning needs for one instruction set, in f32: derivatives of functions, rounding with its gradients, the
// scan's gradient; included by kernels_*.c after scan_kernel.h.

// ---- functions ----

// sigmoid(x) sigmoid(-x), of which neither is 1 less something.
INLINE vf v_bell(vf x)
{
    const vf u = v_exp(-v_abs(x)), s = 1 / (1 + u);
    return u * s * s;
}

INLINE vf v_derivative(enum sdg_unary function, vf x)
{
    vf s;
    switch (function) {
    case SDG_UNARY_SILU: s = v_sigmoid(x); return s * v_fma(x, 1 - s, v_set(1));
    case SDG_UNARY_GELU_ERF:
        s = v_half_erfc(x);
        return v_fma(x * 0.3989422804f, v_exp(-0.5f * x * x), v_select(x > 0, 1 - s, s));
    case SDG_UNARY_GELU_TANH:
        s = v_tanh(0.7978845608f * v_fma(0.044715f * x * x, x, x));
        return 0.5f * (1 + s) + 0.5f * x * (1 - s * s) * v_fma(0.1070322243f * x, x, v_set(0.7978845608f));
    case SDG_UNARY_QUICK_GELU: s = v_sigmoid(1.702f * x); return s * v_fma(1.702f * x, 1 - s, v_set(1));
    case SDG_UNARY_RELU: return v_select(x != x, x, v_select(x > 0, v_set(1), v_set(0)));
    case SDG_UNARY_TANH: return 4 * v_bell(2 * x);
    case SDG_UNARY_SIGMOID: return v_bell(x);
    case SDG_UNARY_SOFTPLUS: return v_sigmoid(x);
    case SDG_UNARY_EXP: return v_exp(x);
    case SDG_UNARY_SQRT: return 0.5f / v_sqrt(x);
    case SDG_UNARY_RECIPROCAL: return -1 / (x * x);
    case SDG_UNARY_AFFINE:
    case SDG_UNARY_NONE: break;
    }
    return v_set(1);
}

static void unary_gradient(enum sdg_unary function, const float *x, const float *grad, float *out, int64_t begin,
                           int64_t end)
{
    for (int64_t i = begin; i < end; i += LANES) {
        const int64_t some = end - i < LANES ? end - i : LANES;
        put_lanes(out, i, false, NULL, some,
                  load_lanes(grad, i, false, some) * v_derivative(function, load_lanes(x, i, false, some)));
    }
}

// ---- fake_quantize ----

// In units of the scale: x, the bounds of codes less the zero point.
struct rounding { vf scale, low, high; };

INLINE struct rounding rounding_of(const struct sdg_fast_fake_quantize *op, int64_t row)
{
    const float *pair = pair_of(&op->intervals, row);
    return (struct rounding){v_set(pair[0]), v_set(op->lowest - pair[1]), v_set(op->highest - pair[1])};
}

// To the nearest whole number, ties to even; |x| < 2^22.
INLINE vf v_round(vf x)
{
    return x + 0x1.8p23f - 0x1.8p23f;
}

static void fake_quantize(const struct sdg_fast_fake_quantize *op, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++) {
        const struct rounding r = rounding_of(op, row);
        for (int64_t c = 0; c < op->channels; c += LANES) {
            const int64_t some = op->channels - c < LANES ? op->channels - c : LANES, at = row * op->channels + c;
            const vf x = load_lanes(op->x, at, false, some), code = v_round(v_min(v_max(x / r.scale, r.low), r.high));
            put_lanes(op->out, at, false, NULL, some, v_select(x != x, x, code * r.scale));
        }
    }
}

static void fake_quantize_gradient(const struct sdg_fast_fake_quantize *op, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++) {
        const struct rounding r = rounding_of(op, row);
        for (int64_t c = 0; c < op->channels; c += LANES) {
            const int64_t some = op->channels - c < LANES ? op->channels - c : LANES, at = row * op->channels + c;
            const vf steps = load_lanes(op->x, at, false, some) / r.scale;
            const vi outside = (steps < r.low) | (steps > r.high);
            put_lanes(op->out, at, false, NULL, some,
                      v_select(outside, v_set(0), load_lanes(op->grad, at, false, some)));
        }
    }
}

static double fake_quantize_scale(const struct sdg_fast_fake_quantize *op, int64_t row)
{
    const struct rounding r = rounding_of(op, row);
    vf sum = v_set(0);
    for (int64_t c = 0; c < op->channels; c += LANES) {
        const int64_t some = op->channels - c < LANES ? op->channels - c : LANES, at = row * op->channels + c;
        const vf steps = load_lanes(op->x, at, false, some) / r.scale;
        const vi outside = (steps < r.low) | (steps > r.high);
        const vf code = v_round(v_min(v_max(steps, r.low), r.high)),
                 slope = v_select(steps != steps, steps, code - v_select(outside, v_set(0), steps));
        sum = v_fma(load_lanes(op->grad, at, false, some), slope, sum);
    }
    return v_sum(sum);
}

// ---- scan ----

// What a thread keeps of LANES channels of one sample; tokens in the order of the scan.
struct scan_memory {
    float *h;         // [tokens + 1, states, LANES]: after so many tokens
    float *decay;     // [tokens, states, LANES]
    float *delta, *y; // [tokens, LANES]: after softplus; the sums that the gate multiplies
    float *b, *c;     // [tokens, states, LANES]: gradients of B and C, of all blocks of channels so far
    float *rate, *g;  // [states, LANES]: A; gradient of the state
};

INLINE struct scan_memory scan_memory_of(const struct sdg_fast_scan_gradient *op, float *work)
{
    const int64_t states = op->states * LANES, all = op->tokens * states;
    struct scan_memory m = {.h = work};
    m.decay = m.h + all + states;
    m.b = m.decay + all;
    m.c = m.b + all;
    m.delta = m.c + all;
    m.y = m.delta + op->tokens * LANES;
    m.rate = m.y + op->tokens * LANES;
    m.g = m.rate + states;
    return m;
}

static size_t scan_gradient_work(int64_t tokens, int64_t states)
{
    return (size_t)(4 * tokens * states + 3 * states + 2 * tokens) * LANES;
}

// Position of the i-th token of the scan, through all samples.
INLINE int64_t scan_position(const struct sdg_fast_scan_gradient *op, int64_t sample, int64_t i)
{
    return sample * op->tokens + (op->params.backward ? op->tokens - 1 - i : i);
}

INLINE vf scan_before_softplus(const struct sdg_fast_scan_gradient *op, int64_t at, int64_t channel, int64_t some)
{
    const vf delta = load_lanes(op->delta, at, false, some);
    return op->delta_bias ? delta + load_lanes(op->delta_bias, channel, false, some) : delta;
}

INLINE void scan_forward(const struct sdg_fast_scan_gradient *op, const struct scan_memory *m, int64_t sample,
                         int64_t channel, int64_t some)
{
    const vf d = load_lanes(op->d, channel, false, some);
    for (int64_t s = 0; s < op->states; s++) {
        vf a = v_set(0);
        for (int64_t lane = 0; lane < some; lane++)
            a[lane] = op->a_log[(channel + lane) * op->states + s];
        v_store(m->rate + s * LANES, -v_exp(a));
        v_store(m->h + s * LANES, v_set(0));
    }
    for (int64_t i = 0; i < op->tokens; i++) {
        const int64_t t = scan_position(op, sample, i), at = t * op->channels + channel;
        const float *b = op->bc + t * op->bc_channels + op->params.b_start,
                    *c = op->bc + t * op->bc_channels + op->params.c_start, *before = m->h + i * op->states * LANES;
        float *after = m->h + (i + 1) * op->states * LANES, *decay = m->decay + i * op->states * LANES;
        const vf x = load_lanes(op->x, at, false, some),
                 delta = v_softplus(scan_before_softplus(op, at, channel, some)), input = delta * x;
        vf y = d * x;
        for (int64_t s = 0; s < op->states; s++) {
            const vf keep = v_exp(delta * v_load(m->rate + s * LANES)),
                     h = v_fma(keep, v_load(before + s * LANES), input * b[s]);
            v_store(decay + s * LANES, keep);
            v_store(after + s * LANES, h);
            y = v_fma(h, v_set(c[s]), y);
        }
        v_store(m->delta + i * LANES, delta);
        v_store(m->y + i * LANES, y);
    }
}

// The gradient of y at a token, that of the gate stored on the way.
INLINE vf scan_to_y(const struct sdg_fast_scan_gradient *op, vf y, int64_t t, int64_t channel, int64_t some)
{
    const int64_t at = t * op->channels + channel;
    const vf grad = load_lanes(op->grad, at, false, some) * op->params.scale;
    if (!op->gate)
        return grad;
    const vf z = load_lanes(op->gate, t * op->gate_channels + op->params.gate_start + channel, false, some);
    if (op->add)
        y += load_lanes(op->add, at, false, some);
    put_lanes(op->out, t * op->out_channels + 3 * op->channels + op->bc_channels + channel, false, NULL, some,
              grad * y * v_derivative(SDG_UNARY_SILU, z));
    return grad * z * v_sigmoid(z);
}

INLINE void scan_backward(const struct sdg_fast_scan_gradient *op, const struct scan_memory *m, int64_t sample,
                          int64_t channel, int64_t some)
{
    const vf d = load_lanes(op->d, channel, false, some);
    memset(m->g, 0, (size_t)(op->states * LANES) * sizeof *m->g);
    for (int64_t i = op->tokens; i-- > 0;) {
        const int64_t t = scan_position(op, sample, i), at = t * op->channels + channel, first = i * op->states * LANES;
        const float *b = op->bc + t * op->bc_channels + op->params.b_start,
                    *c = op->bc + t * op->bc_channels + op->params.c_start, *before = m->h + first,
                    *after = before + op->states * LANES;
        const vf x = load_lanes(op->x, at, false, some), delta = v_load(m->delta + i * LANES), input = delta * x,
                 gy = scan_to_y(op, v_load(m->y + i * LANES), t, channel, some);
        vf to_input = v_set(0), to_decay = v_set(0);
        for (int64_t s = 0; s < op->states; s++) {
            const int64_t l = s * LANES;
            const vf keep = v_load(m->decay + first + l), g = v_fma(gy, v_set(c[s]), v_load(m->g + l));
            v_store(m->c + first + l, v_fma(gy, v_load(after + l), v_load(m->c + first + l)));
            v_store(m->b + first + l, v_fma(g, input, v_load(m->b + first + l)));
            to_input = v_fma(g, v_set(b[s]), to_input);
            to_decay = v_fma(g * keep, v_load(before + l) * v_load(m->rate + l), to_decay);
            v_store(m->g + l, g * keep);
        }
        float *out = op->out + t * op->out_channels + channel;
        put_lanes(out, 0, false, NULL, some, v_fma(gy, d, to_input * delta));
        put_lanes(out + op->channels, 0, false, NULL, some,
                  v_fma(to_input, x, to_decay) * v_sigmoid(scan_before_softplus(op, at, channel, some)));
        put_lanes(out + 2 * op->channels + op->bc_channels, 0, false, NULL, some, gy);
    }
}

INLINE void scan_store_bc(const struct sdg_fast_scan_gradient *op, const struct scan_memory *m, int64_t sample)
{
    for (int64_t i = 0; i < op->tokens; i++) {
        float *out = op->out + scan_position(op, sample, i) * op->out_channels + 2 * op->channels;
        memset(out, 0, (size_t)op->bc_channels * sizeof *out);
        for (int64_t s = 0; s < op->states; s++) {
            out[op->params.b_start + s] += v_sum(v_load(m->b + (i * op->states + s) * LANES));
            out[op->params.c_start + s] += v_sum(v_load(m->c + (i * op->states + s) * LANES));
        }
    }
}

static void scan_gradient(const struct sdg_fast_scan_gradient *op, int64_t sample, float *work)
{
    const struct scan_memory m = scan_memory_of(op, work);
    memset(m.b, 0, (size_t)(2 * op->tokens * op->states * LANES) * sizeof *m.b);
    for (int64_t channel = 0; channel < op->channels; channel += LANES) {
        const int64_t some = op->channels - channel < LANES ? op->channels - channel : LANES;
        scan_forward(op, &m, sample, channel, some);
        scan_backward(op, &m, sample, channel, some);
    }
    scan_store_bc(op, &m, sample);
}
