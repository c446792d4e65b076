#include "backend/cpu/ref/ref.h"

#include <math.h>

enum sdg_result sdg_ref_fake_quantize(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct sdg_ref_view x = sdg_ref_view(step, op->in[0]), out = sdg_ref_view(step, op->out);
    const struct sdg_ref_intervals intervals = sdg_ref_intervals(step, op->in[1], row);
    const int64_t count = x.n * x.h * x.w * x.c;
    const double lowest = op->u.fake_quantize.lowest, highest = op->u.fake_quantize.highest;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        const struct sdg_ref_interval interval = sdg_ref_interval(&intervals, i / x.c);
        const double scale = interval.scale, zero = interval.zero;
        const double value = sdg_ref_get(&x, i), code = nearbyint(value / scale) + zero;
        const double clipped = code < lowest ? lowest : code > highest ? highest : code; // NaN stays NaN
        sdg_ref_put(&out, i, (clipped - zero) * scale);
    }
    return SDG_OK;
}
