#include "backend/cpu/ref/ref.h"

enum { MOST_STATES = 256 };

struct loop {
    struct sdg_ref_operand x, delta, gate;
    struct sdg_ref_view bc, a_log, d, delta_bias, add;
    struct sdg_ref_result out;
    int64_t tokens, channels, states;
    struct sdg_scan_params params;
};

// The sum over states at token `t` (counted through all samples), channel c, after the state has moved there.
static double advance(const struct loop *l, double *h, int64_t t, int64_t c)
{
    const double x = sdg_ref_value(&l->x, t, c), bias = l->delta_bias.data ? sdg_ref_get(&l->delta_bias, c) : 0,
                 dt = sdg_ref_activation(SDG_UNARY_SOFTPLUS, sdg_ref_value(&l->delta, t, c) + bias, 0, 0);
    double y = sdg_ref_get(&l->d, c) * x;
    for (int64_t s = 0; s < l->states; s++) {
        const double a = -exp(sdg_ref_get(&l->a_log, c * l->states + s));
        h[s] = exp(dt * a) * h[s] + dt * sdg_ref_get(&l->bc, t * l->bc.c + l->params.b_start + s) * x;
        y += sdg_ref_get(&l->bc, t * l->bc.c + l->params.c_start + s) * h[s];
    }
    return y;
}

// One channel of one sample, all tokens.
static void scan(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t sample = index / l->channels, c = index % l->channels;
    double h[MOST_STATES] = {0};
    (void)thread;
    for (int64_t i = 0; i < l->tokens; i++) {
        const int64_t t = sample * l->tokens + (l->params.backward ? l->tokens - 1 - i : i);
        double y = advance(l, h, t, c);
        if (l->add.data)
            y += sdg_ref_get(&l->add, t * l->channels + c);
        if (l->gate.view.data)
            y *= sdg_ref_activation(SDG_UNARY_SILU, sdg_ref_value(&l->gate, t, l->params.gate_start + c), 0, 0);
        sdg_ref_store(&l->out, t * l->channels + c, y * (double)l->params.scale);
    }
}

enum sdg_result sdg_ref_selective_scan(const struct sdg_cpu_step *step, int64_t row)
{
    const sdg_value *in = step->op->in;
    struct loop l = {
        .x = sdg_ref_operand(step, in[0], in[8], row),
        .delta = sdg_ref_operand(step, in[1], in[9], row),
        .bc = sdg_ref_view(step, in[2]),
        .a_log = sdg_ref_view(step, in[3]),
        .d = sdg_ref_view(step, in[4]),
        .delta_bias = sdg_ref_view(step, in[5]),
        .gate = sdg_ref_operand(step, in[6], in[10], row),
        .add = sdg_ref_view(step, in[7]),
        .out = sdg_ref_result(step, row),
        .params = step->op->u.selective_scan,
    };
    l.tokens = sdg_ref_tokens(&l.x.view);
    l.channels = l.x.view.c;
    l.states = sdg_cpu_value(step->program, in[3])->dims[1];
    sdg_cpu_run(step->program, l.x.view.n * l.channels, scan, &l);
    return SDG_OK;
}
