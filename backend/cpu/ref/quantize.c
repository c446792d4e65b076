#include "backend/cpu/ref/ref.h"

enum sdg_result sdg_ref_quantize(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]);
    const struct sdg_ref_result out = sdg_ref_result(step, row);
    const int64_t count = x.n * x.h * x.w * x.c;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        sdg_ref_store(&out, i, sdg_ref_get(&x, i));
    return SDG_OK;
}
