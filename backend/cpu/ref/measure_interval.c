#include "backend/cpu/ref/ref.h"

#include <math.h>

// In f32, so that other backends can give the same bits. Starting from 0 changes nothing: both intervals contain it.
enum sdg_result sdg_ref_measure_interval(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]);
    const int64_t count = x.n * x.h * x.w * x.c;
    const float lowest = (float)step->op->u.measure_interval.lowest,
                highest = (float)step->op->u.measure_interval.highest;
    const float silu_depth = 0.2785f; // a little more than -min of SiLU
    double least = 0, most = 0;
#pragma omp parallel for schedule(static) reduction(min : least) reduction(max : most)
    for (int64_t i = 0; i < count; i++) {
        const double value = sdg_ref_get(&x, i); // NaN is neither
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    float scale =
              lowest < 0 ? fmaxf((float)most / highest, (float)least / lowest) : ((float)most + silu_depth) / highest,
          zero = 0;
    if (scale == 0)
        scale = 1;
    scale = fmaxf(scale, 0x1p-100f);
    if (lowest == 0)
        zero = fminf(rintf(silu_depth / scale), highest);
    float *interval = sdg_ref_view(step, step->op->out).data;
    interval[0] = scale;
    interval[1] = zero;
    return SDG_OK;
}
