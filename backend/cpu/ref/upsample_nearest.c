#include "backend/cpu/ref/ref.h"

enum sdg_result sdg_ref_upsample_nearest(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]), out = sdg_ref_view(step, step->op->out);
    const int64_t lines = out.n * out.h;
#pragma omp parallel for schedule(static)
    for (int64_t line = 0; line < lines; line++) {
        int64_t n = line / out.h, from_y = line % out.h * x.h / out.h;
        for (int64_t column = 0; column < out.w; column++) {
            int64_t from_x = column * x.w / out.w;
            for (int64_t c = 0; c < out.c; c++)
                sdg_ref_put(&out, (line * out.w + column) * out.c + c,
                            sdg_ref_get(&x, ((n * x.h + from_y) * x.w + from_x) * x.c + c));
        }
    }
    return SDG_OK;
}
