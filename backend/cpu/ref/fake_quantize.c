#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x, smoothing, out;
    struct sdg_ref_intervals intervals;
    double lowest, highest;
};

static void round_element(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    const struct sdg_ref_interval interval = sdg_ref_interval(&l->intervals, i / l->x.c);
    const double scale = interval.scale, zero = interval.zero;
    const double smooth = sdg_ref_get(&l->x, i) * (double)sdg_ref_smoothing(&l->smoothing, i % l->x.c);
    const double code = nearbyint(smooth / scale) + zero;
    const double clipped = code < l->lowest ? l->lowest : code > l->highest ? l->highest : code; // NaN stays NaN
    (void)thread;
    sdg_ref_put(&l->out, i, (clipped - zero) * scale);
}

enum sdg_result sdg_ref_fake_quantize(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    struct loop l = {
        .x = sdg_ref_view(step, op->in[0]),
        .smoothing = sdg_ref_view(step, op->in[2]),
        .out = sdg_ref_view(step, op->out),
        .intervals = sdg_ref_intervals(step, op->in[1], row),
        .lowest = op->u.fake_quantize.lowest,
        .highest = op->u.fake_quantize.highest,
    };
    sdg_cpu_run(step->program, sdg_ref_elements(&l.x), round_element, &l);
    return SDG_OK;
}
