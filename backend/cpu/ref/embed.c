#include "backend/cpu/ref/ref.h"

struct loop {
    const int32_t *ids;
    struct sdg_ref_view tokens, positions, out;
};

static void look_up(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    const int64_t channels = l->out.c, position = i % sdg_ref_tokens(&l->out);
    (void)thread;
    for (int64_t c = 0; c < channels; c++)
        sdg_ref_put(&l->out, i * channels + c,
                    sdg_ref_get(&l->tokens, l->ids[i] * channels + c) +
                        sdg_ref_get(&l->positions, position * channels + c));
}

// Ids were checked when they were written; before the first write they are 0.
enum sdg_result sdg_ref_embed(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {
        .ids = sdg_cpu_data(step->program, step->op->in[0]),
        .tokens = sdg_ref_view(step, step->op->in[1]),
        .positions = sdg_ref_view(step, step->op->in[2]),
        .out = sdg_ref_view(step, step->op->out),
    };
    sdg_cpu_run(step->program, l.out.n * sdg_ref_tokens(&l.out), look_up, &l);
    return SDG_OK;
}
