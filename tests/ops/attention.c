#include "tests/ops/check.h"

#include <math.h>

struct shape {
    int n, queries, keys, heads, depth, depth_v;
    bool causal;
    float logits; // standard deviation of the scores: 1 is a network's, 30 saturates the softmax
};

static void check(struct suite *s, const struct shape *p)
{
    struct fixture f;
    if (!begin(s, &f, "attention(type=%s,n=%d,q=%d,k=%d,heads=%d,d=%d,dv=%d,causal=%d,logits=%g)", type_name(s), p->n,
               p->queries, p->keys, p->heads, p->depth, p->depth_v, p->causal, p->logits))
        return;
    struct data data = {NORMAL, sqrtf(p->logits), 0};
    sdg_value q = input(&f, "q", p->n, 1, p->queries, p->heads * p->depth, data),
              k = input(&f, "k", p->n, 1, p->keys, p->heads * p->depth, data);
    sdg_value v = input(&f, "v", p->n, 1, p->keys, p->heads * p->depth_v, NORMAL_DATA);
    finish(&f, sdg_graph_attention(f.graph, "attention", q, k, v, p->heads, 1 / sqrtf((float)p->depth), p->causal));
}

// Equal keys: the result is the mean of v, whatever q is.
static void check_flat(struct suite *s)
{
    struct fixture f;
    if (!begin(s, &f, "attention(type=%s,flat keys)", type_name(s)))
        return;
    sdg_value q = input(&f, "q", 2, 3, 5, 12, NORMAL_DATA), k = input(&f, "k", 2, 1, 77, 12, (struct data){FLAT, 0, 3});
    finish(&f,
           sdg_graph_attention(f.graph, "attention", q, k, input(&f, "v", 2, 1, 77, 12, NORMAL_DATA), 3, 0.5f, false));
}

void check_attention(struct suite *s)
{
    static const struct shape small[] = {
        {1, 1, 1, 1, 1, 1, false, 1},       {2, 35, 77, 8, 4, 4, false, 1},    {1, 77, 77, 12, 2, 2, true, 1},
        {3, 13, 13, 3, 8, 8, true, 1},      {2, 64, 64, 2, 40, 40, false, 1},  {1, 5, 33, 1, 31, 31, false, 1},
        {2, 17, 9, 5, 3, 7, false, 1},      {1, 31, 129, 2, 80, 80, false, 1}, {1, 7, 300, 1, 64, 33, false, 1},
        {2, 13, 13, 3, 8, 8, false, 30},    {1, 77, 77, 4, 16, 16, true, 30},  {1, 9, 200, 2, 160, 160, false, 900},
        {1, 65, 1, 4, 5, 5, false, 1},      {1, 35, 35, 1, 64, 64, false, 1},  {1, 3, 77, 2, 64, 64, false, 1},
        {2, 130, 70, 1, 33, 65, false, 1},  {2, 33, 77, 3, 40, 40, false, 1},  {1, 37, 37, 2, 64, 64, true, 30},
        {1, 20, 150, 2, 24, 48, false, 30}, {1, 9, 41, 1, 512, 512, false, 1}, {3, 17, 70, 2, 8, 80, false, 900},
        {2, 41, 77, 2, 160, 160, false, 1}, {1, 70, 70, 3, 80, 80, true, 1},   {2, 19, 40, 2, 12, 16, false, 30},
        {1, 33, 78, 2, 40, 40, false, 1},   {2, 35, 3, 2, 64, 64, false, 1},   {1, 20, 257, 2, 160, 160, false, 1},
        {1, 33, 257, 1, 80, 80, false, 30}, {1, 9, 4095, 1, 40, 40, false, 1}, {1, 19, 77, 1, 512, 512, false, 1},
        {1, 40, 78, 1, 64, 61, false, 30},  {1, 4, 257, 2, 20, 12, false, 1},  {1, 24, 257, 1, 512, 512, false, 1},
    };
    static const struct shape large[] = {
        {2, 4096, 4096, 8, 40, 40, false, 1}, {2, 1024, 1024, 8, 80, 80, false, 1},
        {2, 256, 256, 8, 160, 160, false, 1}, {2, 4096, 77, 8, 40, 40, false, 1},
        {1, 77, 77, 12, 64, 64, true, 1},     {1, 4096, 4096, 1, 512, 512, false, 1},
    };
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
        check(s, &small[i]);
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i]);
    if (!s->bench)
        check_flat(s);
}
