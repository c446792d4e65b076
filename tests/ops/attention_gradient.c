#include "tests/ops/check.h"

struct shape {
    int n, h, w, keys, heads, d, dv;
    bool causal;
};

static void check(struct suite *s, const struct shape *p, int of)
{
    struct fixture f;
    if (!begin(s, &f, "attention_gradient(type=%s,n=%d,h=%d,w=%d,keys=%d,heads=%d,d=%d,dv=%d,causal=%d,of=%d)",
               type_name(s), p->n, p->h, p->w, p->keys, p->heads, p->d, p->dv, p->causal, of))
        return;
    const sdg_value q = input(&f, "q", p->n, p->h, p->w, p->heads * p->d, NORMAL_DATA),
                    k = input(&f, "k", p->n, 1, p->keys, p->heads * p->d, NORMAL_DATA),
                    v = input(&f, "v", p->n, 1, p->keys, p->heads * p->dv, NORMAL_DATA),
                    grad = input(&f, "grad", p->n, p->h, p->w, p->heads * p->dv, NORMAL_DATA);
    finish(&f,
           sdg_graph_attention_gradient(f.graph, "attention_gradient", q, k, v, grad, p->heads, 0.3f, p->causal, of));
}

void check_attention_gradient(struct suite *s)
{
    static const struct shape small[] = {{1, 1, 1, 1, 1, 1, 1, false},
                                         {2, 3, 5, 7, 2, 5, 9, false},
                                         {1, 1, 33, 77, 3, 8, 8, false},
                                         {2, 3, 3, 9, 2, 4, 3, true}};
    static const struct shape large = {32, 8, 8, 64, 8, 24, 24, false};
    for (int of = 0; of < 3; of++) {
        for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
            check(s, &small[i], of);
        if (s->bench)
            check(s, &large, of);
    }
}
