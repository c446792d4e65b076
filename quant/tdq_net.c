// The generator network. Weights are stored [inputs][64], so that vectors run over neighbouring outputs: no sum is
// reordered, and the result does not depend on how wide the machine's vectors are.
#include "quant/tdq_net.h"

#include <math.h>
#include <string.h>

enum { W = SDG_TDQ_WIDTH, TILE = 4, PART = 8 }; // products are computed in tiles of 4 x 8 that stay in registers
typedef float part __attribute__((vector_size(PART * sizeof(float)), aligned(4)));

static void load(part *to, const float *from)
{
    memcpy(to, from, sizeof *to);
}

double sdg_tdq_frequency(int k, int d)
{
    return exp(-log(10000.0) * k / (d / 2));
}

void sdg_tdq_encode(double t, int d, float *out)
{
    int half = d / 2;
    for (int k = 0; k < half; k++) {
        double angle = t * sdg_tdq_frequency(k, d);
        out[k] = (float)cos(angle);
        out[half + k] = (float)sin(angle);
    }
    if (d % 2)
        out[d - 1] = 0;
}

struct sdg_tdq_layout sdg_tdq_layout(int d)
{
    struct sdg_tdq_layout l = {.inputs = {d, W, W, W}};
    for (int i = 0; i < 4; i++) {
        size_t outputs = i < 3 ? W : 1;
        l.weights[i] = l.count;
        l.biases[i] = l.count + (size_t)l.inputs[i] * outputs;
        l.count = l.biases[i] + outputs;
    }
    return l;
}

size_t sdg_tdq_parameter_count(int d)
{
    return sdg_tdq_layout(d).count;
}

double sdg_softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

double sdg_softplus_inverse(double y)
{
    return y > 30 ? y : y + log(-expm1(-y)); // ln(e^y - 1)
}

static const float *row_of(const float *const *rows, const float (*matrix)[W], int i)
{
    return rows ? rows[i] : matrix[i];
}

// y[n][64] = relu(x[n][inputs] w + b); x is given by row pointers or as a matrix of 64 columns.
static void dense(const float *const *rows, const float (*matrix)[W], int n, int inputs, const float *w, const float *b,
                  float (*y)[W])
{
    for (int i = 0; i < n; i += TILE) {
        const float *x[TILE];
        for (int r = 0; r < TILE; r++)
            x[r] = row_of(rows, matrix, i + r < n ? i + r : i);
        for (int j = 0; j < W; j += PART) {
            part sum[TILE], weights;
            for (int r = 0; r < TILE; r++)
                load(&sum[r], b + j);
            for (int k = 0; k < inputs; k++) {
                load(&weights, w + (size_t)k * W + (size_t)j);
                for (int r = 0; r < TILE; r++)
                    sum[r] += x[r][k] * weights;
            }
            for (int r = 0; r < TILE && i + r < n; r++)
                for (int c = 0; c < PART; c++)
                    y[i + r][j + c] = sum[r][c] > 0 ? sum[r][c] : 0;
        }
    }
}

void sdg_tdq_forward(const float *p, const struct sdg_tdq_layout *l, const float *const *encodings, int n,
                     struct sdg_tdq_activations *a)
{
    dense(encodings, NULL, n, l->inputs[0], p + l->weights[0], p + l->biases[0], a->hidden[0]);
    for (int i = 1; i < 3; i++)
        dense(NULL, (const float (*)[W])a->hidden[i - 1], n, W, p + l->weights[i], p + l->biases[i], a->hidden[i]);
    for (int i = 0; i < n; i++) {
        float sum = p[l->biases[3]];
        for (int k = 0; k < W; k++)
            sum += a->hidden[2][i][k] * p[l->weights[3] + (size_t)k];
        a->last[i] = sum;
    }
}

void sdg_tdq_evaluate(const float *parameters, int d, const float *encodings, size_t n, float *scales)
{
    struct sdg_tdq_layout l = sdg_tdq_layout(d);
    struct sdg_tdq_activations a;
    for (size_t at = 0; at < n; at += SDG_TDQ_BATCH) {
        int some = n - at < SDG_TDQ_BATCH ? (int)(n - at) : SDG_TDQ_BATCH;
        const float *rows[SDG_TDQ_BATCH];
        for (int i = 0; i < some; i++)
            rows[i] = encodings + (at + (size_t)i) * (size_t)d;
        sdg_tdq_forward(parameters, &l, rows, some, &a);
        for (int i = 0; i < some; i++)
            scales[at + (size_t)i] = (float)sdg_softplus(a.last[i]);
    }
}

// Gradients of a dense layer's weights and biases from those of its outputs (already through the relu): dw = x^T dy.
static void dense_gradient(const float *const *rows, const float (*matrix)[W], int n, int inputs, const float (*dy)[W],
                           float *dw, float *db)
{
    memset(db, 0, W * sizeof *db);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < W; j++)
            db[j] += dy[i][j];
    for (int k = 0; k < inputs; k += TILE) {
        int some = inputs - k < TILE ? inputs - k : TILE;
        for (int j = 0; j < W; j += PART) {
            part sum[TILE] = {0}, g;
            for (int i = 0; i < n; i++) {
                const float *x = row_of(rows, matrix, i) + k;
                load(&g, &dy[i][j]);
                for (int r = 0; r < some; r++)
                    sum[r] += x[r] * g;
            }
            for (int r = 0; r < some; r++)
                memcpy(dw + (size_t)(k + r) * W + j, &sum[r], sizeof sum[r]);
        }
    }
}

// dx = (dy w^T) where the relu that made x was open.
static void input_gradient(const float (*dy)[W], const float *w, const float (*x)[W], int n, float (*dx)[W])
{
    float transposed[W][W];
    for (int k = 0; k < W; k++)
        for (int j = 0; j < W; j++)
            transposed[j][k] = w[k * W + j];
    for (int i = 0; i < n; i++) {
        float sum[W] = {0};
        for (int j = 0; j < W; j++)
            for (int k = 0; k < W; k++)
                sum[k] += dy[i][j] * transposed[j][k];
        for (int k = 0; k < W; k++)
            dx[i][k] = x[i][k] > 0 ? sum[k] : 0;
    }
}

void sdg_tdq_backward(const float *p, const struct sdg_tdq_layout *l, const float *const *encodings, int n,
                      const struct sdg_tdq_activations *a, const float *last_gradient, float *gradient)
{
    float from[SDG_TDQ_BATCH][W], to[SDG_TDQ_BATCH][W];
    float *w4 = gradient + l->weights[3], *b4 = gradient + l->biases[3];
    memset(w4, 0, (W + 1) * sizeof *w4);
    for (int i = 0; i < n; i++) {
        *b4 += last_gradient[i];
        for (int k = 0; k < W; k++) {
            w4[k] += last_gradient[i] * a->hidden[2][i][k];
            from[i][k] = a->hidden[2][i][k] > 0 ? last_gradient[i] * p[l->weights[3] + (size_t)k] : 0;
        }
    }
    for (int layer = 2; layer > 0; layer--) {
        dense_gradient(NULL, a->hidden[layer - 1], n, W, (const float (*)[W])from, gradient + l->weights[layer],
                       gradient + l->biases[layer]);
        input_gradient((const float (*)[W])from, p + l->weights[layer], a->hidden[layer - 1], n, to);
        memcpy(from, to, sizeof from);
    }
    dense_gradient(encodings, NULL, n, l->inputs[0], (const float (*)[W])from, gradient + l->weights[0],
                   gradient + l->biases[0]);
}
