#include "backend/cpu/ref/ref.h"

#include <math.h>

struct loop {
    struct sdg_ref_view x;
    struct sdg_ref_result out;
    int64_t block;
};

// One element: its row of the matrix times its block.
static void transform(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    const int64_t row = i % l->block, first = i - row;
    double sum = 0;
    (void)thread;
    for (int64_t j = 0; j < l->block; j++) {
        const double x = sdg_ref_get(&l->x, first + j);
        sum += __builtin_parityll((unsigned long long)(row & j)) ? -x : x;
    }
    sdg_ref_store(&l->out, i, sum / sqrt((double)l->block));
}

enum sdg_result sdg_ref_hadamard(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop l = {sdg_ref_view(step, step->op->in[0]), sdg_ref_result(step, row), step->op->u.hadamard.block};
    sdg_cpu_run(step->program, sdg_ref_elements(&l.x), transform, &l);
    return SDG_OK;
}
