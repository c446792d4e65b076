#include "backend/cpu/ref/ref.h"

// Output positions [position, position + positions) of all samples taken together, channels [o, o + outputs).
static void block(const struct sdg_ref_view *x, const struct sdg_ref_epilogue *end, const float *weight,
                  int64_t position, int positions, int64_t o, int outputs)
{
    const struct sdg_ref_view *out = &end->out.view;
    double sum[SDG_REF_POSITIONS][SDG_REF_CHANNELS] = {0};
    int64_t first[SDG_REF_POSITIONS] = {0};
    for (int p = 0; p < positions; p++)
        first[p] = (position + p) * x->c;
    sdg_ref_dot(sum, x, &end->intervals, first, positions, x->c, weight + o, out->c, outputs);
    for (int p = 0; p < positions; p++)
        for (int k = 0; k < outputs; k++)
            sdg_ref_finish(end, sum[p][k], (position + p) / sdg_ref_tokens(out), o + k,
                           (position + p) * out->c + o + k);
}

enum sdg_result sdg_ref_linear(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]);
    const struct sdg_ref_epilogue end = sdg_ref_epilogue(step, row);
    int64_t all = x.n * sdg_ref_tokens(&x), blocks = (all + SDG_REF_POSITIONS - 1) / SDG_REF_POSITIONS,
            channels = end.out.view.c;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t o = 0; o < channels; o += SDG_REF_CHANNELS) {
            int64_t position = b * SDG_REF_POSITIONS;
            int positions = all - position < SDG_REF_POSITIONS ? (int)(all - position) : SDG_REF_POSITIONS;
            int outputs = channels - o < SDG_REF_CHANNELS ? (int)(channels - o) : SDG_REF_CHANNELS;
            block(&x, &end, step->weights, position, positions, o, outputs);
        }
    return SDG_OK;
}
