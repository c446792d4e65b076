#include "backend/cpu/ref/ref.h"

struct loop { struct sdg_ref_view x, y, out; };

static void join(void *context, int64_t position, int thread)
{
    const struct loop *l = context;
    const struct sdg_ref_view *x = &l->x, *y = &l->y, *out = &l->out;
    (void)thread;
    for (int64_t c = 0; c < out->c; c++) {
        double value = c < x->c ? sdg_ref_get(x, position * x->c + c) : sdg_ref_get(y, position * y->c + c - x->c);
        sdg_ref_put(out, position * out->c + c, value);
    }
}

enum sdg_result sdg_ref_concat(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_view(step, step->op->in[1]),
                     sdg_ref_view(step, step->op->out)};
    sdg_cpu_run(step->program, l.out.n * sdg_ref_tokens(&l.out), join, &l);
    return SDG_OK;
}
