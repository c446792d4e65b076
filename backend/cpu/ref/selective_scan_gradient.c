#include "backend/cpu/ref/ref.h"

#include <math.h>
#include <string.h>

enum { MOST_STATES = 256 };

struct loop {
    struct sdg_ref_view x, delta, bc, a_log, d, delta_bias, gate, add, grad, out;
    int64_t tokens, states, samples;
    struct sdg_scan_params params;
    double *work; // per thread, see below
    int64_t work_each;
};

// A thread's memory: what the forward scan of a channel has made, and sums over channels.
struct work {
    double *h;     // [tokens + 1, states]: after i tokens, in the order of the scan
    double *y;     // [tokens], in the order of the scan
    double *b, *c; // [tokens, states]: gradients of B and C
};

static struct work work_of(const struct loop *l, int thread)
{
    struct work w = {.h = l->work + thread * l->work_each};
    w.y = w.h + (l->tokens + 1) * l->states;
    w.b = w.y + l->tokens;
    w.c = w.b + l->tokens * l->states;
    return w;
}

// Position, through all samples, of the i-th token of the scan.
static int64_t position(const struct loop *l, int64_t sample, int64_t i)
{
    return sample * l->tokens + (l->params.backward ? l->tokens - 1 - i : i);
}

static double before_softplus(const struct loop *l, int64_t t, int64_t c)
{
    return sdg_ref_get(&l->delta, t * l->x.c + c) + (l->delta_bias.data ? sdg_ref_get(&l->delta_bias, c) : 0);
}

static double step_of(const struct loop *l, int64_t t, int64_t c)
{
    return sdg_ref_activation(SDG_UNARY_SOFTPLUS, before_softplus(l, t, c), 0, 0);
}

static double rate(const struct loop *l, int64_t c, int64_t s)
{
    return -exp(sdg_ref_get(&l->a_log, c * l->states + s));
}

static double b_of(const struct loop *l, int64_t t, int64_t s)
{
    return sdg_ref_get(&l->bc, t * l->bc.c + l->params.b_start + s);
}

static double c_of(const struct loop *l, int64_t t, int64_t s)
{
    return sdg_ref_get(&l->bc, t * l->bc.c + l->params.c_start + s);
}

static void forward(const struct loop *l, int64_t sample, int64_t c, const struct work *w)
{
    memset(w->h, 0, (size_t)l->states * sizeof *w->h);
    for (int64_t i = 0; i < l->tokens; i++) {
        const int64_t t = position(l, sample, i);
        const double x = sdg_ref_get(&l->x, t * l->x.c + c), dt = step_of(l, t, c);
        const double *before = w->h + i * l->states;
        double *after = w->h + (i + 1) * l->states;
        w->y[i] = sdg_ref_get(&l->d, c) * x;
        for (int64_t s = 0; s < l->states; s++) {
            after[s] = exp(dt * rate(l, c, s)) * before[s] + dt * b_of(l, t, s) * x;
            w->y[i] += c_of(l, t, s) * after[s];
        }
    }
}

// Gradient of y before gate and scale at position t.
static double to_y(const struct loop *l, int64_t t, int64_t c)
{
    const double grad = sdg_ref_get(&l->grad, t * l->x.c + c) * (double)l->params.scale;
    return l->gate.data ? grad *
            sdg_ref_activation(SDG_UNARY_SILU, sdg_ref_get(&l->gate, t * l->gate.c + l->params.gate_start + c), 0, 0)
                        : grad;
}

static double to_gate(const struct loop *l, int64_t t, int64_t c, double y)
{
    const double gate = sdg_ref_get(&l->gate, t * l->gate.c + l->params.gate_start + c);
    if (l->add.data)
        y += sdg_ref_get(&l->add, t * l->x.c + c);
    return sdg_ref_get(&l->grad, t * l->x.c + c) * (double)l->params.scale * y *
        sdg_ref_derivative(SDG_UNARY_SILU, gate);
}

// All tokens of one channel, from the last of the scan to its first; `h` of w is known. g[s] is the gradient of the
// state after the token, first from the tokens behind it, then with what the token itself reads.
static void reverse_channel(const struct loop *l, int64_t sample, int64_t c, const struct work *w)
{
    const int64_t channels = l->x.c;
    double g[MOST_STATES] = {0};
    for (int64_t i = l->tokens; i-- > 0;) {
        const int64_t t = position(l, sample, i), out = t * l->out.c;
        const double x = sdg_ref_get(&l->x, t * channels + c), dt = step_of(l, t, c), gy = to_y(l, t, c);
        double to_x = gy * sdg_ref_get(&l->d, c), to_dt = 0;
        for (int64_t s = 0; s < l->states; s++) {
            const double a = rate(l, c, s), decay = exp(dt * a), before = w->h[i * l->states + s], b = b_of(l, t, s);
            g[s] += gy * c_of(l, t, s);
            w->c[i * l->states + s] += gy * w->h[(i + 1) * l->states + s];
            w->b[i * l->states + s] += g[s] * dt * x;
            to_x += g[s] * dt * b;
            to_dt += g[s] * (a * decay * before + b * x);
            g[s] *= decay;
        }
        sdg_ref_put(&l->out, out + c, to_x);
        sdg_ref_put(&l->out, out + channels + c,
                    to_dt * sdg_ref_derivative(SDG_UNARY_SOFTPLUS, before_softplus(l, t, c)));
        sdg_ref_put(&l->out, out + 2 * channels + l->bc.c + c, gy);
        if (l->gate.data)
            sdg_ref_put(&l->out, out + 3 * channels + l->bc.c + c, to_gate(l, t, c, w->y[i]));
    }
}

// The sums over channels, where B and C were read; the other channels of bc have no part in the result.
static void store_bc(const struct loop *l, int64_t sample, const struct work *w)
{
    for (int64_t i = 0; i < l->tokens; i++) {
        const int64_t first = position(l, sample, i) * l->out.c + 2 * l->x.c;
        for (int64_t k = 0; k < l->bc.c; k++) {
            const int64_t b = k - l->params.b_start, c = k - l->params.c_start;
            double sum = 0;
            if (b >= 0 && b < l->states)
                sum += w->b[i * l->states + b];
            if (c >= 0 && c < l->states)
                sum += w->c[i * l->states + c];
            sdg_ref_put(&l->out, first + k, sum);
        }
    }
}

static void reverse_sample(void *context, int64_t sample, int thread)
{
    const struct loop *l = context;
    const struct work w = work_of(l, thread);
    memset(w.b, 0, (size_t)(2 * l->tokens * l->states) * sizeof *w.b);
    for (int64_t c = 0; c < l->x.c; c++) {
        forward(l, sample, c, &w);
        reverse_channel(l, sample, c, &w);
    }
    store_bc(l, sample, &w);
}

// A_log of one channel: A = -exp(A_log), so its derivative is A.
static void reverse_rates(void *context, int64_t c, int thread)
{
    const struct loop *l = context;
    const struct work w = work_of(l, thread);
    double sums[MOST_STATES] = {0};
    for (int64_t sample = 0; sample < l->samples; sample++) {
        double g[MOST_STATES] = {0};
        forward(l, sample, c, &w);
        for (int64_t i = l->tokens; i-- > 0;) {
            const int64_t t = position(l, sample, i);
            const double dt = step_of(l, t, c), gy = to_y(l, t, c);
            for (int64_t s = 0; s < l->states; s++) {
                const double a = rate(l, c, s);
                g[s] = (g[s] + gy * c_of(l, t, s)) * exp(dt * a);
                sums[s] += g[s] * w.h[i * l->states + s] * dt * a;
            }
        }
    }
    for (int64_t s = 0; s < l->states; s++)
        sdg_ref_put(&l->out, c * l->states + s, sums[s]);
}

static int64_t work_each(const struct sdg_cpu_step *step)
{
    const struct sdg_value_info *x = sdg_cpu_value(step->program, step->op->in[0]),
                                *a_log = sdg_cpu_value(step->program, step->op->in[3]);
    const int64_t tokens = x->dims[1] * x->dims[2], states = a_log->dims[1];
    return (tokens + 1) * states + tokens + 2 * tokens * states;
}

size_t sdg_ref_selective_scan_gradient_work(const struct sdg_cpu_step *step)
{
    return (size_t)work_each(step) * sizeof(double);
}

enum sdg_result sdg_ref_selective_scan_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const sdg_value *in = step->op->in;
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, in[0]),
        .delta = sdg_ref_view(step, in[1]),
        .bc = sdg_ref_view(step, in[2]),
        .a_log = sdg_ref_view(step, in[3]),
        .d = sdg_ref_view(step, in[4]),
        .delta_bias = sdg_ref_view(step, in[5]),
        .gate = sdg_ref_view(step, in[6]),
        .add = sdg_ref_view(step, in[7]),
        .grad = sdg_ref_view(step, in[8]),
        .out = sdg_ref_view(step, step->op->out),
        .params = step->op->u.selective_scan_gradient,
        .states = sdg_cpu_value(step->program, in[3])->dims[1],
        .work = step->scratch,
        .work_each = work_each(step),
    };
    l.tokens = sdg_ref_tokens(&l.x);
    l.samples = l.x.n;
    if (step->op->gradient_of == 0)
        sdg_cpu_run(step->program, l.samples, reverse_sample, &l);
    else
        sdg_cpu_run(step->program, l.x.c, reverse_rates, &l);
    return SDG_OK;
}
