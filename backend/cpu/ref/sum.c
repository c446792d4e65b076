#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_view x, out;
    struct sdg_axes axes;
    int64_t blocks; // of channels of the result
};

// The sums of `count` channels from `first` on, or in sums[0] that of all, over the positions [begin, end) of x.
static void add_positions(const struct loop *l, int64_t begin, int64_t end, int64_t first, int64_t count, double *sums)
{
    for (int64_t p = begin; p < end; p++)
        for (int64_t c = 0; c < (l->axes.channels ? l->x.c : count); c++)
            sums[l->axes.channels ? 0 : c] += sdg_ref_get(&l->x, p * l->x.c + first + c);
}

// `index` counts positions of the result, then blocks of its channels.
static void add_up(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t position = index / l->blocks, first = index % l->blocks * SDG_REF_CHANNELS;
    const int64_t count = l->out.c - first < SDG_REF_CHANNELS ? l->out.c - first : SDG_REF_CHANNELS;
    const int64_t tokens = sdg_ref_tokens(&l->x), per_sample = sdg_ref_tokens(&l->out);
    const int64_t sample = l->axes.samples ? 0 : position / per_sample, samples = l->axes.samples ? l->x.n : 1;
    const int64_t token = l->axes.tokens ? 0 : position % per_sample, summed = l->axes.tokens ? tokens : 1;
    double sums[SDG_REF_CHANNELS] = {0};
    (void)thread;
    for (int64_t n = sample; n < sample + samples; n++)
        add_positions(l, n * tokens + token, n * tokens + token + summed, first, count, sums);
    for (int64_t c = 0; c < count; c++)
        sdg_ref_put(&l->out, position * l->out.c + first + c, sums[c]);
}

enum sdg_result sdg_ref_sum(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_view(step, step->op->out), step->op->u.sum, 0};
    l.blocks = (l.out.c + SDG_REF_CHANNELS - 1) / SDG_REF_CHANNELS;
    sdg_cpu_run(step->program, l.out.n * sdg_ref_tokens(&l.out) * l.blocks, add_up, &l);
    return SDG_OK;
}
