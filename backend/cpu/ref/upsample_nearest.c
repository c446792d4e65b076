#include "backend/cpu/ref/ref.h"

struct loop { struct sdg_ref_view x, out; };

static void repeat_line(void *context, int64_t line, int thread)
{
    const struct loop *l = context;
    const struct sdg_ref_view *x = &l->x, *out = &l->out;
    const int64_t n = line / out->h, from_y = line % out->h * x->h / out->h;
    (void)thread;
    for (int64_t column = 0; column < out->w; column++) {
        int64_t from_x = column * x->w / out->w;
        for (int64_t c = 0; c < out->c; c++)
            sdg_ref_put(out, (line * out->w + column) * out->c + c,
                        sdg_ref_get(x, ((n * x->h + from_y) * x->w + from_x) * x->c + c));
    }
}

enum sdg_result sdg_ref_upsample_nearest(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_view(step, step->op->out)};
    sdg_cpu_run(step->program, l.out.n * l.out.h, repeat_line, &l);
    return SDG_OK;
}
