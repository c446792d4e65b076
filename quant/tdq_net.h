// Inside quant/: the generator network of quant/tdq.h, forward and backward over a small batch.
#ifndef SDG_QUANT_TDQ_NET_H
#define SDG_QUANT_TDQ_NET_H

#include "quant/tdq.h"

enum { SDG_TDQ_BATCH = 64 };

// Where the four layers lie in the parameters.
struct sdg_tdq_layout {
    int inputs[4];
    size_t weights[4], biases[4], count;
};
struct sdg_tdq_layout sdg_tdq_layout(int d);

struct sdg_tdq_activations { // of at most SDG_TDQ_BATCH inputs
    float hidden[3][SDG_TDQ_BATCH][SDG_TDQ_WIDTH];
    float last[SDG_TDQ_BATCH]; // before softplus
};

double sdg_tdq_frequency(int k, int d); // f_k, k < d/2
double sdg_softplus(double x);
double sdg_softplus_inverse(double y); // y > 0

// encodings[i] points to d numbers.
void sdg_tdq_forward(const float *parameters, const struct sdg_tdq_layout *l, const float *const *encodings, int n,
                     struct sdg_tdq_activations *a);
// last_gradient[i]: derivative of the loss with respect to last[i]. gradient[l->count] is overwritten.
void sdg_tdq_backward(const float *parameters, const struct sdg_tdq_layout *l, const float *const *encodings, int n,
                      const struct sdg_tdq_activations *a, const float *last_gradient, float *gradient);

#endif
