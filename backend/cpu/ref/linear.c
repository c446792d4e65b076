#include "backend/cpu/ref/ref.h"

struct linear {
    struct sdg_ref_factor x;
    struct sdg_ref_epilogue end;
    const float *weight; // [C_in][C_out]
    bool gated;
    int64_t positions, per_block; // of all samples taken together; blocks of channels of a block of positions
};

// What the epilogue of a gated layer makes of the sums of channels o and C + o, in place of sdg_ref_finish.
static void finish_gated(const struct linear *l, double value, double gate, int64_t position, int64_t o)
{
    const struct sdg_ref_view *bias = &l->end.bias, *weight_scale = &l->end.weight_scale;
    const int64_t channels = l->end.out.view.c;
    if (weight_scale->data) {
        const double scale = (double)sdg_ref_interval(&l->end.intervals, position).scale;
        value *= scale * sdg_ref_get(weight_scale, o);
        gate *= scale * sdg_ref_get(weight_scale, channels + o);
    }
    if (bias->data) {
        value += sdg_ref_get(bias, o);
        gate += sdg_ref_get(bias, channels + o);
    }
    sdg_ref_store(&l->end.out, position * channels + o, value * sdg_ref_activation(SDG_UNARY_GELU_ERF, gate, 1, 0));
}

// `index` counts blocks of positions, then blocks of channels.
static void block(void *context, int64_t index, int thread)
{
    const struct linear *l = context;
    const struct sdg_ref_view *x = &l->x.x, *out = &l->end.out.view;
    const int64_t position = index / l->per_block * SDG_REF_POSITIONS, o = index % l->per_block * SDG_REF_CHANNELS;
    const int positions =
        l->positions - position < SDG_REF_POSITIONS ? (int)(l->positions - position) : SDG_REF_POSITIONS;
    const int outputs = out->c - o < SDG_REF_CHANNELS ? (int)(out->c - o) : SDG_REF_CHANNELS;
    double sum[SDG_REF_POSITIONS][SDG_REF_CHANNELS] = {0}, gate[SDG_REF_POSITIONS][SDG_REF_CHANNELS] = {0};
    const int64_t stride = l->gated ? 2 * out->c : out->c;
    int64_t first[SDG_REF_POSITIONS] = {0};
    (void)thread;
    for (int p = 0; p < positions; p++)
        first[p] = (position + p) * x->c;
    sdg_ref_dot(sum, &l->x, &l->end.intervals, first, positions, x->c, l->weight + o, stride, outputs);
    if (l->gated)
        sdg_ref_dot(gate, &l->x, &l->end.intervals, first, positions, x->c, l->weight + out->c + o, stride, outputs);
    for (int p = 0; p < positions; p++)
        for (int k = 0; k < outputs; k++)
            if (l->gated)
                finish_gated(l, sum[p][k], gate[p][k], position + p, o + k);
            else
                sdg_ref_finish(&l->end, sum[p][k], (position + p) / sdg_ref_tokens(out), o + k,
                               (position + p) * out->c + o + k);
}

enum sdg_result sdg_ref_linear(const struct sdg_cpu_step *step, int64_t row)
{
    struct linear l = {
        .x = sdg_ref_factor(step, row),
        .end = sdg_ref_epilogue(step, row),
        .weight = step->weights,
        .gated = step->op->epilogue.gated,
    };
    l.positions = l.x.x.n * sdg_ref_tokens(&l.x.x);
    l.per_block = (l.end.out.view.c + SDG_REF_CHANNELS - 1) / SDG_REF_CHANNELS;
    sdg_cpu_run(step->program, (l.positions + SDG_REF_POSITIONS - 1) / SDG_REF_POSITIONS * l.per_block, block, &l);
    return SDG_OK;
}
