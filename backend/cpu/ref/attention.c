#include "backend/cpu/ref/ref.h"

#include <math.h>
#include <omp.h>

static double dot(const struct sdg_ref_view *a, int64_t ia, const struct sdg_ref_view *b, int64_t ib, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += sdg_ref_get(a, ia + i) * sdg_ref_get(b, ib + i);
    return sum;
}

// Turns scores into softmax weights; the largest score is taken out first, so that exp cannot overflow.
static void softmax(double *score, int64_t count)
{
    double largest = score[0], sum = 0;
    for (int64_t j = 1; j < count; j++)
        largest = fmax(largest, score[j]);
    for (int64_t j = 0; j < count; j++)
        sum += score[j] = exp(score[j] - largest);
    for (int64_t j = 0; j < count; j++)
        score[j] /= sum;
}

enum sdg_result sdg_ref_attention(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_ref_view q = sdg_ref_view(step, step->op->in[0]), k = sdg_ref_view(step, step->op->in[1]);
    const struct sdg_ref_view v = sdg_ref_view(step, step->op->in[2]);
    const struct sdg_ref_result out = sdg_ref_result(step, row);
    const int64_t heads = step->op->u.attention.heads, depth = q.c / heads, depth_v = v.c / heads;
    const int64_t queries = sdg_ref_tokens(&q), keys = sdg_ref_tokens(&k);
    const bool causal = step->op->u.attention.causal;
    const double scale = step->op->u.attention.scale;
    double *scratch = step->scratch;
#pragma omp parallel for collapse(3) schedule(static)
    for (int64_t n = 0; n < q.n; n++)
        for (int64_t head = 0; head < heads; head++)
            for (int64_t i = 0; i < queries; i++) {
                double *score = scratch + omp_get_thread_num() * keys;
                int64_t seen = causal && i + 1 < keys ? i + 1 : keys; // a query sees keys up to its own position
                for (int64_t j = 0; j < seen; j++)
                    score[j] = scale *
                        dot(&q, (n * queries + i) * q.c + head * depth, &k, (n * keys + j) * k.c + head * depth, depth);
                softmax(score, seen);
                for (int64_t c = 0; c < depth_v; c++) {
                    double sum = 0;
                    for (int64_t j = 0; j < seen; j++)
                        sum += score[j] * sdg_ref_get(&v, (n * keys + j) * v.c + head * depth_v + c);
                    sdg_ref_store(&out, (n * queries + i) * v.c + head * depth_v + c, sum);
                }
            }
    return SDG_OK;
}
