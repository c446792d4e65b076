// Linear multistep (Adams-Bashforth over uneven sigmas): the derivative is a polynomial through the last four values,
// and the step is its exact integral.
#include "scheduler/walk.h"

enum { LMS_ORDER = 4 };

// Integral from `from` to `to` of the polynomial that is 1 at node[k] and 0 at the other nodes. With at most four nodes
// it is of degree 3, for which two Gauss-Legendre points are exact.
static double lagrange_integral(const double *node, int order, int k, double from, double to)
{
    const double offset = 0.577350269189625764509; // 1 / sqrt(3)
    double middle = (from + to) / 2, half = (to - from) / 2, sum = 0;
    for (int side = -1; side <= 1; side += 2) {
        double at = middle + side * offset * half, product = 1;
        for (int j = 0; j < order; j++)
            if (j != k)
                product *= (at - node[j]) / (node[k] - node[j]);
        sum += product;
    }
    return sum * half;
}

void sdg_walk_lms(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    int first = walk->params->first_step;
    for (int i = first; i < steps->count; i++) {
        struct sdg_call *call = sdg_walk_sigma_call(walk, i, steps->timesteps[i], steps->sigmas[i]);
        sdg_call_predict(call, sdg_sigma_derivative(walk, steps->sigmas[i]));
        double node[LMS_ORDER] = {steps->sigmas[i]};
        int order = 1; // as many derivatives as there are, at distinct sigmas
        while (order < LMS_ORDER && i - order >= first && steps->sigmas[i - order] > node[order - 1]) {
            node[order] = steps->sigmas[i - order];
            order++;
        }
        call->push = true;
        call->update.latent = 1;
        call->update.prediction = lagrange_integral(node, order, 0, node[0], steps->sigmas[i + 1]);
        for (int k = 1; k < order; k++)
            call->update.history[k - 1] = lagrange_integral(node, order, k, node[0], steps->sigmas[i + 1]);
    }
}
