#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_operand x;
    struct sdg_ref_view weight, bias;
    struct sdg_ref_result out;
    int64_t start, tokens, kernel;
    enum sdg_unary activation;
    bool backward;
};

// One token of one sample, all channels.
static void convolve(void *context, int64_t position, int thread)
{
    const struct loop *l = context;
    const int64_t channels = l->out.view.c, first = position / l->tokens * l->tokens, token = position - first;
    (void)thread;
    for (int64_t c = 0; c < channels; c++) {
        double sum = l->bias.data ? sdg_ref_get(&l->bias, c) : 0;
        for (int64_t k = 0; k < l->kernel; k++) {
            const int64_t back = l->kernel - 1 - k, at = l->backward ? token + back : token - back;
            if (at >= 0 && at < l->tokens)
                sum += sdg_ref_get(&l->weight, c * l->kernel + k) * sdg_ref_value(&l->x, first + at, l->start + c);
        }
        sdg_ref_store(&l->out, position * channels + c, sdg_ref_activation(l->activation, sum, 0, 0));
    }
}

enum sdg_result sdg_ref_conv1d_causal(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    struct loop l = {
        .x = sdg_ref_operand(step, op->in[0], op->in[3], row),
        .weight = sdg_ref_view(step, op->in[1]),
        .bias = sdg_ref_view(step, op->in[2]),
        .out = sdg_ref_result(step, row),
        .start = op->u.conv1d_causal.start,
        .kernel = op->u.conv1d_causal.kernel,
        .activation = op->u.conv1d_causal.activation,
        .backward = op->u.conv1d_causal.backward,
    };
    l.tokens = sdg_ref_tokens(&l.x.view);
    sdg_cpu_run(step->program, l.x.view.n * l.tokens, convolve, &l);
    return SDG_OK;
}
