#include "backend/cpu/ref/ref.h"

enum sdg_result sdg_ref_binary(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]), y = sdg_ref_view(step, step->op->in[1]),
                              out = sdg_ref_view(step, step->op->out);
    const int64_t tokens = sdg_ref_tokens(&x), all = x.n * tokens, channels = x.c;
    const int64_t y_tokens = sdg_ref_tokens(&y);
    const bool multiply = step->op->u.binary.function == SDG_BINARY_MUL;
#pragma omp parallel for schedule(static)
    for (int64_t position = 0; position < all; position++) {
        // y may be one for all
        int64_t n = y.n == 1 ? 0 : position / tokens, token = y_tokens == 1 ? 0 : position % tokens;
        for (int64_t c = 0; c < channels; c++) {
            double left = sdg_ref_get(&x, position * channels + c),
                   right = sdg_ref_get(&y, (n * y_tokens + token) * channels + c);
            sdg_ref_put(&out, position * channels + c, multiply ? left * right : left + right);
        }
    }
    return SDG_OK;
}
