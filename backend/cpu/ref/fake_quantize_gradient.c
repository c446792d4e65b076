#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x, grad, out;
    struct sdg_ref_intervals intervals;
    double lowest, highest;
    int64_t tokens; // that have an interval of their own
};

// d/dx of element i, and what an interval's scale does to it.
static double derivatives(const struct loop *l, int64_t i, double *of_scale)
{
    const struct sdg_ref_interval interval = sdg_ref_interval(&l->intervals, i / l->x.c);
    const double zero = interval.zero, steps = sdg_ref_get(&l->x, i) / (double)interval.scale;
    if (steps + zero < l->lowest) {
        *of_scale = l->lowest - zero;
        return 0;
    }
    if (steps + zero > l->highest) {
        *of_scale = l->highest - zero;
        return 0;
    }
    *of_scale = nearbyint(steps) - steps; // NaN stays NaN
    return 1;
}

static void reverse_element(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    double of_scale;
    (void)thread;
    sdg_ref_put(&l->out, i, sdg_ref_get(&l->grad, i) * derivatives(l, i, &of_scale));
}

// The interval of one token, or of all.
static void reverse_interval(void *context, int64_t token, int thread)
{
    const struct loop *l = context;
    const int64_t positions = l->x.n * sdg_ref_tokens(&l->x);
    double sum = 0, of_scale;
    (void)thread;
    for (int64_t p = token; p < positions; p += l->tokens)
        for (int64_t i = p * l->x.c; i < (p + 1) * l->x.c; i++) {
            derivatives(l, i, &of_scale);
            sum += sdg_ref_get(&l->grad, i) * of_scale;
        }
    sdg_ref_put(&l->out, 2 * token, sum);
    sdg_ref_put(&l->out, 2 * token + 1, 0);
}

enum sdg_result sdg_ref_fake_quantize_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    struct loop l = {
        .x = sdg_ref_view(step, op->in[0]),
        .grad = sdg_ref_view(step, op->in[2]),
        .out = sdg_ref_view(step, op->out),
        .intervals = sdg_ref_intervals(step, op->in[1], row),
        .lowest = op->u.fake_quantize_gradient.lowest,
        .highest = op->u.fake_quantize_gradient.highest,
    };
    if (op->gradient_of == 0) {
        sdg_cpu_run(step->program, sdg_ref_elements(&l.x), reverse_element, &l);
        return SDG_OK;
    }
    l.tokens = l.out.w;
    sdg_cpu_run(step->program, l.tokens, reverse_interval, &l);
    return SDG_OK;
}
