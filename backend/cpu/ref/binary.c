#include "backend/cpu/ref/ref.h"

struct loop {
    struct sdg_ref_view x, y, out;
    bool multiply;
};

static void combine(void *context, int64_t position, int thread)
{
    const struct loop *l = context;
    const int64_t tokens = sdg_ref_tokens(&l->x), y_tokens = sdg_ref_tokens(&l->y), channels = l->x.c;
    // y may be one for all
    const int64_t n = l->y.n == 1 ? 0 : position / tokens, token = y_tokens == 1 ? 0 : position % tokens;
    (void)thread;
    for (int64_t c = 0; c < channels; c++) {
        double left = sdg_ref_get(&l->x, position * channels + c),
               right = sdg_ref_get(&l->y, (n * y_tokens + token) * channels + c);
        sdg_ref_put(&l->out, position * channels + c, l->multiply ? left * right : left + right);
    }
}

enum sdg_result sdg_ref_binary(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, step->op->in[0]),
        .y = sdg_ref_view(step, step->op->in[1]),
        .out = sdg_ref_view(step, step->op->out),
        .multiply = step->op->u.binary.function == SDG_BINARY_MUL,
    };
    sdg_cpu_run(step->program, l.x.n * sdg_ref_tokens(&l.x), combine, &l);
    return SDG_OK;
}
