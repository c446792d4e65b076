#include "backend/cpu/ref/ref.h"

// Ids were checked when they were written; before the first write they are 0.
enum sdg_result sdg_ref_embed(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const int32_t *ids = sdg_cpu_data(step->program, step->op->in[0]);
    const struct sdg_ref_view tokens = sdg_ref_view(step, step->op->in[1]),
                              positions = sdg_ref_view(step, step->op->in[2]);
    const struct sdg_ref_view out = sdg_ref_view(step, step->op->out);
    const int64_t length = sdg_ref_tokens(&out), all = out.n * length;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < all; i++)
        for (int64_t c = 0; c < out.c; c++)
            sdg_ref_put(&out, i * out.c + c,
                        sdg_ref_get(&tokens, ids[i] * out.c + c) + sdg_ref_get(&positions, i % length * out.c + c));
    return SDG_OK;
}
