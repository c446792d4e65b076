#include "backend/cpu/ref/ref.h"

#include <math.h>
#include <string.h>

struct loop {
    struct sdg_ref_view q, k, v, grad, out;
    int64_t heads, depth, depth_v, queries, keys;
    double scale;
    bool causal;
    int of;
    double *work; // per thread: a row of weights, a row of their gradients, the sums of a head
    int64_t work_each;
};

// Where a token's channels of a head begin.
static int64_t at(const struct sdg_ref_view *v, int64_t tokens, int64_t n, int64_t token, int64_t head, int64_t depth)
{
    return (n * tokens + token) * v->c + head * depth;
}

static double dot(const struct sdg_ref_view *a, int64_t ia, const struct sdg_ref_view *b, int64_t ib, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += sdg_ref_get(a, ia + i) * sdg_ref_get(b, ib + i);
    return sum;
}

static void add(double *sums, double factor, const struct sdg_ref_view *x, int64_t first, int64_t count)
{
    for (int64_t c = 0; c < count; c++)
        sums[c] += factor * sdg_ref_get(x, first + c);
}

// Softmax weights p of query i, and the gradients of the scores: p (dp - sum p dp), with dp = grad . v.
static int64_t weigh(const struct loop *l, int64_t n, int64_t head, int64_t i, double *p, double *ds)
{
    const int64_t seen = l->causal && i + 1 < l->keys ? i + 1 : l->keys;
    const int64_t q = at(&l->q, l->queries, n, i, head, l->depth), g = at(&l->grad, l->queries, n, i, head, l->depth_v);
    double largest = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = 0; j < seen; j++) {
        p[j] = l->scale * dot(&l->q, q, &l->k, at(&l->k, l->keys, n, j, head, l->depth), l->depth);
        largest = fmax(largest, p[j]);
    }
    for (int64_t j = 0; j < seen; j++)
        sum += p[j] = exp(p[j] - largest);
    for (int64_t j = 0; j < seen; j++) {
        p[j] /= sum;
        ds[j] = dot(&l->grad, g, &l->v, at(&l->v, l->keys, n, j, head, l->depth_v), l->depth_v);
        mean += p[j] * ds[j];
    }
    for (int64_t j = 0; j < seen; j++)
        ds[j] = p[j] * (ds[j] - mean);
    return seen;
}

// All queries of a sample's head.
static void reverse_head(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const int64_t n = index / l->heads, head = index % l->heads, depth = l->of == 2 ? l->depth_v : l->depth,
                  tokens = l->of == 0 ? l->queries : l->keys;
    double *p = l->work + thread * l->work_each, *ds = p + l->keys, *sums = ds + l->keys;
    memset(sums, 0, (size_t)(tokens * depth) * sizeof *sums);
    for (int64_t i = 0; i < l->queries; i++) {
        const int64_t seen = weigh(l, n, head, i, p, ds);
        for (int64_t j = 0; j < seen; j++) {
            if (l->of == 0)
                add(sums + i * depth, l->scale * ds[j], &l->k, at(&l->k, l->keys, n, j, head, l->depth), depth);
            else if (l->of == 1)
                add(sums + j * depth, l->scale * ds[j], &l->q, at(&l->q, l->queries, n, i, head, l->depth), depth);
            else
                add(sums + j * depth, p[j], &l->grad, at(&l->grad, l->queries, n, i, head, l->depth_v), depth);
        }
    }
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < depth; c++)
            sdg_ref_put(&l->out, at(&l->out, tokens, n, t, head, depth) + c, sums[t * depth + c]);
}

static int64_t work_each(const struct sdg_cpu_step *step)
{
    const struct sdg_value_info *k = sdg_cpu_value(step->program, step->op->in[1]),
                                *out = sdg_cpu_value(step->program, step->op->out);
    return 2 * k->dims[1] * k->dims[2] +
        out->dims[1] * out->dims[2] * out->dims[3] / step->op->u.attention_gradient.heads;
}

size_t sdg_ref_attention_gradient_work(const struct sdg_cpu_step *step)
{
    return (size_t)work_each(step) * sizeof(double);
}

enum sdg_result sdg_ref_attention_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    (void)row;
    struct loop l = {
        .q = sdg_ref_view(step, op->in[0]),
        .k = sdg_ref_view(step, op->in[1]),
        .v = sdg_ref_view(step, op->in[2]),
        .grad = sdg_ref_view(step, op->in[3]),
        .out = sdg_ref_view(step, op->out),
        .heads = op->u.attention_gradient.heads,
        .scale = op->u.attention_gradient.scale,
        .causal = op->u.attention_gradient.causal,
        .of = op->gradient_of,
        .work = step->scratch,
        .work_each = work_each(step),
    };
    l.depth = l.q.c / l.heads;
    l.depth_v = l.v.c / l.heads;
    l.queries = sdg_ref_tokens(&l.q);
    l.keys = sdg_ref_tokens(&l.k);
    sdg_cpu_run(step->program, l.q.n * l.heads, reverse_head, &l);
    return SDG_OK;
}
