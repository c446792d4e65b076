#include "backend/cpu/ref/ref.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double sdg_ref_derivative(enum sdg_unary function, double x)
{
    static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588,
                        one_over_sqrt_2_pi = 0.39894228040143267794;
    switch (function) {
    case SDG_UNARY_SILU: return sigmoid(x) * (1 + x * sigmoid(-x));
    case SDG_UNARY_GELU_ERF: return 0.5 * (1 + erf(x * sqrt_half)) + x * one_over_sqrt_2_pi * exp(-0.5 * x * x);
    case SDG_UNARY_GELU_TANH: {
        const double t = tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt_2_over_pi * (1 + 3 * 0.044715 * x * x);
    }
    case SDG_UNARY_QUICK_GELU: return sigmoid(1.702 * x) * (1 + 1.702 * x * sigmoid(-1.702 * x));
    case SDG_UNARY_RELU: return x > 0 ? 1 : x != x ? x : 0;
    case SDG_UNARY_TANH: return 1 - tanh(x) * tanh(x);
    case SDG_UNARY_SIGMOID: return sigmoid(x) * sigmoid(-x);
    case SDG_UNARY_SOFTPLUS: return sigmoid(x);
    case SDG_UNARY_EXP: return exp(x);
    case SDG_UNARY_SQRT: return 0.5 / sqrt(x);
    case SDG_UNARY_RECIPROCAL: return -1 / (x * x);
    case SDG_UNARY_AFFINE: // has numbers of its own: the graph multiplies by them
    case SDG_UNARY_NONE: break;
    }
    return 1;
}

struct loop {
    struct sdg_ref_view x, grad, out;
    enum sdg_unary function;
};

static void apply(void *context, int64_t i, int thread)
{
    const struct loop *l = context;
    (void)thread;
    sdg_ref_put(&l->out, i, sdg_ref_get(&l->grad, i) * sdg_ref_derivative(l->function, sdg_ref_get(&l->x, i)));
}

enum sdg_result sdg_ref_unary_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    (void)row;
    struct loop l = {
        .x = sdg_ref_view(step, step->op->in[0]),
        .grad = sdg_ref_view(step, step->op->in[1]),
        .out = sdg_ref_view(step, step->op->out),
        .function = step->op->u.unary_gradient.function,
    };
    sdg_cpu_run(step->program, sdg_ref_elements(&l.x), apply, &l);
    return SDG_OK;
}
