#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x, x2, gamma, grad, out;
    int64_t groups, each, channels, tokens; // each: channels of a group
    double eps;
};

// Channel c of x's channels followed by x2's.
static double joined(const struct loop *l, int64_t position, int64_t c)
{
    return c < l->x.c ? sdg_ref_get(&l->x, position * l->x.c + c)
                      : sdg_ref_get(&l->x2, position * l->x2.c + c - l->x.c);
}

static void group_statistics(const struct loop *l, int64_t from, int64_t first, double *mean, double *inverse)
{
    const int64_t count = l->tokens * l->each;
    double sum = 0, squares = 0;
    for (int64_t k = 0; k < count; k++)
        sum += joined(l, from + k / l->each, first + k % l->each);
    *mean = sum / (double)count;
    for (int64_t k = 0; k < count; k++)
        squares += pow(joined(l, from + k / l->each, first + k % l->each) - *mean, 2);
    *inverse = 1 / sqrt(squares / (double)count + l->eps);
}

// With n = (x - mean) / deviation and d = grad * gamma: dx = (d - mean d - n mean(d n)) / deviation, means over a
// group.
static void reverse_group(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t from = index / l->groups * l->tokens, first = index % l->groups * l->each,
                  count = l->tokens * l->each;
    double mean, inverse, along_one = 0, along_x = 0;
    (void)thread;
    group_statistics(l, from, first, &mean, &inverse);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t k = 0; k < count; k++) {
            const int64_t position = from + k / l->each, c = first + k % l->each;
            const double grad = sdg_ref_get(&l->grad, position * l->channels + c), d = grad * sdg_ref_get(&l->gamma, c),
                         n = (joined(l, position, c) - mean) * inverse;
            if (pass == 0) {
                along_one += d / (double)count;
                along_x += d * n / (double)count;
                continue;
            }
            sdg_ref_put(&l->out, position * 2 * l->channels + c, (d - along_one - n * along_x) * inverse);
            sdg_ref_put(&l->out, position * 2 * l->channels + l->channels + c, grad * n);
        }
}

enum sdg_result sdg_ref_group_norm_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, op->in[0]),
        .gamma = sdg_ref_view(step, op->in[1]),
        .grad = sdg_ref_view(step, op->in[2]),
        .x2 = sdg_ref_view(step, op->in[3]),
        .out = sdg_ref_view(step, op->out),
        .groups = op->u.group_norm_gradient.groups,
        .eps = op->u.group_norm_gradient.eps,
    };
    l.channels = l.grad.c;
    l.each = l.channels / l.groups;
    l.tokens = sdg_ref_tokens(&l.x);
    sdg_cpu_run(step->program, l.x.n * l.groups, reverse_group, &l);
    return SDG_OK;
}
