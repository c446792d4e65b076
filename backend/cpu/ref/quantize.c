#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_view x;
    struct sdg_ref_result out;
};

static void quantize_element(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    (void)thread;
    sdg_ref_store(&l->out, i, sdg_ref_get(&l->x, i));
}

enum sdg_result sdg_ref_quantize(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_result(step, row)};
    sdg_cpu_run(step->program, sdg_ref_elements(&l.x), quantize_element, &l);
    return SDG_OK;
}
