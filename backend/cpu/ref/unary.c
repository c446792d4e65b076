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
    case SDG_UNARY_NONE: break;
    }
    return x;
}

enum sdg_result sdg_ref_unary(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]), out = sdg_ref_view(step, step->op->out);
    const int64_t count = x.n * x.h * x.w * x.c;
    const enum sdg_unary function = step->op->u.unary.function;
    const double a = step->op->u.unary.a, b = step->op->u.unary.b;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        sdg_ref_put(&out, i, sdg_ref_activation(function, sdg_ref_get(&x, i), a, b));
    return SDG_OK;
}
