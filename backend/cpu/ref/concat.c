#include "backend/cpu/ref/ref.h"

enum sdg_result sdg_ref_concat(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]), y = sdg_ref_view(step, step->op->in[1]),
                              out = sdg_ref_view(step, step->op->out);
    const int64_t all = out.n * sdg_ref_tokens(&out);
#pragma omp parallel for schedule(static)
    for (int64_t position = 0; position < all; position++)
        for (int64_t c = 0; c < out.c; c++) {
            double value = c < x.c ? sdg_ref_get(&x, position * x.c + c) : sdg_ref_get(&y, position * y.c + c - x.c);
            sdg_ref_put(&out, position * out.c + c, value);
        }
    return SDG_OK;
}
