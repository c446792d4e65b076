#include "backend/cpu/ref/ref.h"

enum sdg_result sdg_ref_geglu(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]);
    const struct sdg_ref_result out = sdg_ref_result(step, row);
    const int64_t all = x.n * sdg_ref_tokens(&x), channels = x.c / 2;
#pragma omp parallel for schedule(static)
    for (int64_t position = 0; position < all; position++)
        for (int64_t c = 0; c < channels; c++) {
            double value = sdg_ref_get(&x, position * x.c + c), gate = sdg_ref_get(&x, position * x.c + channels + c);
            sdg_ref_store(&out, position * channels + c, value * sdg_ref_activation(SDG_UNARY_GELU_ERF, gate, 1, 0));
        }
    return SDG_OK;
}
