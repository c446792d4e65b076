#include "backend/cpu/ref/ref.h"

#include <math.h>

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

struct loop {
    struct sdg_ref_view q, k, v;
    struct sdg_ref_result out;
    int64_t heads, depth, depth_v, queries, keys;
    double scale;
    bool causal;
    double *scores; // [threads, keys]
};

// `index` counts samples, heads, queries.
static void attend(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t i = index % l->queries, head = index / l->queries % l->heads, n = index / l->queries / l->heads;
    const int64_t seen = l->causal && i + 1 < l->keys ? i + 1 : l->keys; // a query sees keys up to its own position
    double *score = l->scores + thread * l->keys;
    for (int64_t j = 0; j < seen; j++)
        score[j] = l->scale *
            dot(&l->q, (n * l->queries + i) * l->q.c + head * l->depth, &l->k,
                (n * l->keys + j) * l->k.c + head * l->depth, l->depth);
    softmax(score, seen);
    for (int64_t c = 0; c < l->depth_v; c++) {
        double sum = 0;
        for (int64_t j = 0; j < seen; j++)
            sum += score[j] * sdg_ref_get(&l->v, (n * l->keys + j) * l->v.c + head * l->depth_v + c);
        sdg_ref_store(&l->out, (n * l->queries + i) * l->v.c + head * l->depth_v + c, sum);
    }
}

enum sdg_result sdg_ref_attention(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    struct loop l = {
        .q = sdg_ref_view(step, op->in[0]),
        .k = sdg_ref_view(step, op->in[1]),
        .v = sdg_ref_view(step, op->in[2]),
        .out = sdg_ref_result(step, row),
        .heads = op->u.attention.heads,
        .scale = op->u.attention.scale,
        .causal = op->u.attention.causal,
        .scores = step->scratch,
    };
    l.depth = l.q.c / l.heads;
    l.depth_v = l.v.c / l.heads;
    l.queries = sdg_ref_tokens(&l.q);
    l.keys = sdg_ref_tokens(&l.k);
    sdg_cpu_run(step->program, l.q.n * l.heads * l.queries, attend, &l);
    return SDG_OK;
}
