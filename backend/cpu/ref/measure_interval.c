#include "backend/cpu/ref/ref.h"

#include <math.h>
#include <string.h>

enum { PART = 1 << 14 };

struct loop {
    struct sdg_ref_view x;
    double *found; // [threads, 2]: least and most
};

static void find_extremes(void *context, int64_t first, int64_t end, int thread)
{
    const struct loop *l = context;
    double *found = l->found + 2 * thread;
    for (int64_t i = first; i < end; i++) {
        const double value = sdg_ref_get(&l->x, i); // NaN is neither
        found[0] = value < found[0] ? value : found[0];
        found[1] = value > found[1] ? value : found[1];
    }
}

// In f32, so that other backends can give the same bits. Starting from 0 changes nothing: both intervals contain it.
enum sdg_result sdg_ref_measure_interval(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {sdg_ref_view(step, step->op->in[0]), step->scratch};
    const float lowest = (float)step->op->u.measure_interval.lowest,
                highest = (float)step->op->u.measure_interval.highest;
    const float silu_depth = 0.2785f; // a little more than -min of SiLU
    double least = 0, most = 0;
    memset(l.found, 0, step->scratch_bytes);
    sdg_cpu_run_parts(step->program, sdg_ref_elements(&l.x), PART, find_extremes, &l);
    for (int i = 0; i < sdg_cpu_backend_of(step->program)->threads; i++) {
        least = fmin(least, l.found[2 * i]);
        most = fmax(most, l.found[2 * i + 1]);
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
