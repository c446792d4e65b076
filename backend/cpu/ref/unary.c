#include "backend/cpu/ref/ref.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double sdg_ref_activation(enum sdg_unary function, double x, double a, double b)
{
    static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;
    switch (function) {
    case SDG_UNARY_SILU: return x * sigmoid(x);
    case SDG_UNARY_GELU_ERF: return 0.5 * x * (1 + erf(x * sqrt_half));
    case SDG_UNARY_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
    case SDG_UNARY_QUICK_GELU: return x * sigmoid(1.702 * x);
    case SDG_UNARY_RELU: return x > 0 || x != x ? x : 0; // NaN stays NaN
    case SDG_UNARY_TANH: return tanh(x);
    case SDG_UNARY_SIGMOID: return sigmoid(x);
    case SDG_UNARY_SOFTPLUS: return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
    case SDG_UNARY_AFFINE: return a * x + b;
    case SDG_UNARY_EXP: return exp(x);
    case SDG_UNARY_SQRT: return sqrt(x);
    case SDG_UNARY_RECIPROCAL: return 1 / x;
    case SDG_UNARY_NONE: break;
    }
    return x;
}

struct loop {
    struct sdg_ref_view x, out;
    enum sdg_unary function;
    double a, b;
};

static void apply(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    (void)thread;
    sdg_ref_put(&l->out, i, sdg_ref_activation(l->function, sdg_ref_get(&l->x, i), l->a, l->b));
}

enum sdg_result sdg_ref_unary(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, step->op->in[0]),
        .out = sdg_ref_view(step, step->op->out),
        .function = step->op->u.unary.function,
        .a = step->op->u.unary.a,
        .b = step->op->u.unary.b,
    };
    sdg_cpu_run(step->program, sdg_ref_elements(&l.x), apply, &l);
    return SDG_OK;
}
