#include "backend/cpu/ref/ref.h"

#include <math.h>

// The channels of x followed by those of x2, as one image.
struct joined { struct sdg_ref_view x, x2; };

static double get(const struct joined *in, int64_t position, int64_t channel)
{
    if (channel < in->x.c)
        return sdg_ref_get(&in->x, position * in->x.c + channel);
    return sdg_ref_get(&in->x2, position * in->x2.c + channel - in->x.c);
}

// Sum over one group of (value - shift)^power, power 1 or 2.
static double moment(const struct joined *in, int64_t n, int64_t first, int64_t channels, double shift, int power)
{
    int64_t tokens = sdg_ref_tokens(&in->x);
    double sum = 0;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = first; c < first + channels; c++) {
            double value = get(in, n * tokens + t, c) - shift;
            sum += power == 1 ? value : value * value;
        }
    return sum;
}

struct loop {
    struct joined in;
    struct sdg_ref_view gamma, beta;
    struct sdg_ref_result out;
    int64_t groups;
    double eps;
    enum sdg_unary activation;
};

// `index` counts groups of all samples.
static void normalise(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t n = index / l->groups, group = index % l->groups, all = l->out.view.c, channels = all / l->groups,
                  tokens = sdg_ref_tokens(&l->out.view), first = group * channels;
    const double count = (double)(channels * tokens), mean = moment(&l->in, n, first, channels, 0, 1) / count,
                 scale = 1 / sqrt(moment(&l->in, n, first, channels, mean, 2) / count + l->eps);
    (void)thread;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = first; c < first + channels; c++) {
            double value =
                (get(&l->in, n * tokens + t, c) - mean) * scale * sdg_ref_get(&l->gamma, c) + sdg_ref_get(&l->beta, c);
            sdg_ref_store(&l->out, (n * tokens + t) * all + c, sdg_ref_activation(l->activation, value, 1, 0));
        }
}

enum sdg_result sdg_ref_group_norm(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    struct loop l = {
        .in = {.x = sdg_ref_view(step, op->in[0]), .x2 = sdg_ref_view(step, op->in[3])},
        .gamma = sdg_ref_view(step, op->in[1]),
        .beta = sdg_ref_view(step, op->in[2]),
        .out = sdg_ref_result(step, row),
        .groups = op->u.group_norm.groups,
        .eps = op->u.group_norm.eps,
        .activation = op->u.group_norm.activation,
    };
    sdg_cpu_run(step->program, l.out.view.n * l.groups, normalise, &l);
    return SDG_OK;
}
