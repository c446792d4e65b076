#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_view a, b;
    struct sdg_ref_epilogue end;
    int64_t a_row, a_step, b_row, b_step; // elements from one row, or inner index, to the next
    int64_t rows, inner, blocks;          // blocks of columns
};

// `index` counts rows of the result, then blocks of its columns.
static void block(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t row = index / l->blocks, first = index % l->blocks * SDG_REF_CHANNELS, columns = l->end.out.view.c;
    const int64_t count = columns - first < SDG_REF_CHANNELS ? columns - first : SDG_REF_CHANNELS;
    double sum[SDG_REF_CHANNELS] = {0};
    (void)thread;
    for (int64_t k = 0; k < l->inner; k++) {
        const double a = sdg_ref_get(&l->a, row * l->a_row + k * l->a_step);
        for (int64_t c = 0; c < count; c++)
            sum[c] += a * sdg_ref_get(&l->b, k * l->b_row + (first + c) * l->b_step);
    }
    for (int64_t c = 0; c < count; c++)
        sdg_ref_finish(&l->end, sum[c], row / sdg_ref_tokens(&l->end.out.view), first + c, row * columns + first + c);
}

enum sdg_result sdg_ref_matmul(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const bool ta = op->u.matmul.transpose_a, tb = op->u.matmul.transpose_b;
    struct loop l = {
        .a = sdg_ref_view(step, op->in[0]),
        .b = sdg_ref_view(step, op->in[1]),
        .end = sdg_ref_epilogue(step, row),
    };
    const int64_t a_rows = l.a.n * sdg_ref_tokens(&l.a);
    l.a_row = ta ? 1 : l.a.c;
    l.a_step = ta ? l.a.c : 1;
    l.b_row = tb ? 1 : l.b.c;
    l.b_step = tb ? l.b.c : 1;
    l.rows = ta ? l.a.c : a_rows;
    l.inner = ta ? a_rows : l.a.c;
    l.blocks = (l.end.out.view.c + SDG_REF_CHANNELS - 1) / SDG_REF_CHANNELS;
    sdg_cpu_run(step->program, l.rows * l.blocks, block, &l);
    return SDG_OK;
}
