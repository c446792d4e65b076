#include "backend/cpu/ref/ref.h"

struct loop { struct sdg_ref_view x, out; };

static void copy_position(void *context, int64_t position, int thread)
{
    const struct loop *l = context;
    const int64_t tokens = sdg_ref_tokens(&l->out), x_tokens = sdg_ref_tokens(&l->x);
    const int64_t n = l->x.n == 1 ? 0 : position / tokens, token = x_tokens == 1 ? 0 : position % tokens;
    const int64_t from = (n * x_tokens + token) * l->x.c;
    (void)thread;
    for (int64_t c = 0; c < l->out.c; c++)
        sdg_ref_put(&l->out, position * l->out.c + c, sdg_ref_get(&l->x, from + (l->x.c == 1 ? 0 : c)));
}

enum sdg_result sdg_ref_broadcast(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_view(step, step->op->out)};
    sdg_cpu_run(step->program, l.out.n * sdg_ref_tokens(&l.out), copy_position, &l);
    return SDG_OK;
}
