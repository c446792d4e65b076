#include "backend/cpu/ref/ref.h"

enum { MOST_TAPS = 8 };

struct loop {
    struct sdg_ref_view x, grad, out;
    int64_t start, tokens, kernel;
    bool backward;
};

// One channel: what each of its weights was multiplied by, times the gradient, over all tokens of all samples.
static void reverse_channel(void *context, int64_t c, int thread)
{
    const struct loop *l = context;
    double sums[MOST_TAPS] = {0};
    (void)thread;
    for (int64_t position = 0; position < l->x.n * l->tokens; position++) {
        const int64_t token = position % l->tokens, first = position - token;
        const double grad = sdg_ref_get(&l->grad, position * l->grad.c + c);
        for (int64_t k = 0; k < l->kernel; k++) {
            const int64_t back = l->kernel - 1 - k, at = l->backward ? token + back : token - back;
            if (at >= 0 && at < l->tokens)
                sums[k] += grad * sdg_ref_get(&l->x, (first + at) * l->x.c + l->start + c);
        }
    }
    for (int64_t k = 0; k < l->kernel; k++)
        sdg_ref_put(&l->out, c * l->kernel + k, sums[k]);
}

enum sdg_result sdg_ref_conv1d_causal_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, op->in[0]),
        .grad = sdg_ref_view(step, op->in[1]),
        .out = sdg_ref_view(step, op->out),
        .start = op->u.conv1d_causal_gradient.start,
        .kernel = op->u.conv1d_causal_gradient.kernel,
        .backward = op->u.conv1d_causal_gradient.backward,
    };
    l.tokens = sdg_ref_tokens(&l.x);
    sdg_cpu_run(step->program, l.grad.c, reverse_channel, &l);
    return SDG_OK;
}
