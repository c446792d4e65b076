#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_view x;
    struct sdg_ref_result out;
};

static void gate_position(void *context, int64_t position, int thread)
{
    const struct loop *l = context;
    const int64_t channels = l->x.c / 2;
    (void)thread;
    for (int64_t c = 0; c < channels; c++) {
        double value = sdg_ref_get(&l->x, position * l->x.c + c),
               gate = sdg_ref_get(&l->x, position * l->x.c + channels + c);
        sdg_ref_store(&l->out, position * channels + c, value * sdg_ref_activation(SDG_UNARY_GELU_ERF, gate, 1, 0));
    }
}

enum sdg_result sdg_ref_geglu(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_result(step, row)};
    sdg_cpu_run(step->program, l.x.n * sdg_ref_tokens(&l.x), gate_position, &l);
    return SDG_OK;
}
