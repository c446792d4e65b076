#include "tests/ops/check.h"

#include "base/memory.h"

struct shape {
    int n, h, w, channels, second, groups; // second: channels of x2, 0 for none
    float eps;
    struct data data;
};

// Makes the last two operations, a concat and a norm of it, a norm that reads both inputs.
static void join(struct sdg_graph *g, sdg_value x, sdg_value y)
{
    struct sdg_op *concat = &g->ops[g->op_count - 2], *norm = &g->ops[g->op_count - 1];
    norm->in[0] = x;
    norm->in[3] = y;
    sdg_free(concat->name);
    *concat = *norm;
    g->op_count--;
}

static void check(struct suite *s, const struct shape *p, enum sdg_unary activation)
{
    struct fixture f;
    if (!begin(s, &f, "group_norm(type=%s,n=%d,h=%d,w=%d,c=%d,c2=%d,groups=%d,eps=%g,fill=%d,scale=%g,shift=%g,act=%d)",
               type_name(s), p->n, p->h, p->w, p->channels, p->second, p->groups, p->eps, p->data.fill, p->data.scale,
               p->data.shift, activation))
        return;
    sdg_value x = input(&f, "x", p->n, p->h, p->w, p->channels, p->data),
              gamma = vector_weight(&f, p->channels + p->second, 0.3f, 1);
    sdg_value beta = vector_weight(&f, p->channels + p->second, 0.3f, 0.2f);
    sdg_value y = p->second ? input(&f, "x2", p->n, p->h, p->w, p->second,
                                    (struct data){p->data.fill, p->data.scale * 2, p->data.shift - 1})
                            : 0;
    sdg_value joined = y ? sdg_graph_concat(f.graph, "joined", x, y) : x;
    sdg_value result = sdg_graph_group_norm(f.graph, "norm", joined, gamma, beta, p->groups, p->eps, activation);
    if (y && sdg_graph_check(f.graph) == SDG_OK)
        join(f.graph, x, y);
    finish(&f, result);
}

void check_group_norm(struct suite *s)
{
    static const struct shape small[] = {
        {1, 1, 1, 4, 0, 2, 1e-5f, {NORMAL, 2, 3}},      {2, 5, 7, 32, 0, 32, 1e-5f, {NORMAL, 2, 3}},
        {2, 8, 9, 32, 0, 4, 1e-6f, {NORMAL, 2, 3}},     {3, 3, 3, 48, 0, 8, 1e-5f, {NORMAL, 1e-3f, 3e-3f}},
        {1, 7, 5, 33, 0, 11, 1e-5f, {NORMAL, 1, 0}},    {2, 4, 4, 31, 0, 31, 1e-5f, {NORMAL, 1, 0}},
        {1, 6, 6, 320, 0, 32, 1e-5f, {NORMAL, 1, 0}},   {2, 5, 5, 3, 0, 1, 1e-5f, {NORMAL, 1, 0}},
        {1, 5, 5, 16, 0, 4, 1e-5f, {FLAT, 0, 5}},       {2, 9, 3, 24, 0, 3, 1e-5f, {EDGE, 1, 0}},
        {1, 40, 40, 8, 0, 2, 1e-6f, {NORMAL, 1, 100}},  {2, 5, 7, 20, 12, 4, 1e-5f, {NORMAL, 1, 0}},
        {1, 4, 6, 33, 63, 32, 1e-5f, {NORMAL, 1, 1}},   {3, 3, 3, 5, 4, 3, 1e-5f, {NORMAL, 1, 0}},
        {2, 1, 1, 64, 32, 32, 1e-5f, {NORMAL, 1, 0}},   {1, 7, 7, 1, 31, 4, 1e-6f, {NORMAL, 1, 0}},
        {1, 33, 31, 64, 0, 32, 1e-5f, {NORMAL, 2, 9}},  {1, 3, 5, 600, 0, 1, 1e-5f, {NORMAL, 1, 0}},
        {2, 3, 3, 387, 0, 3, 1e-5f, {NORMAL, 1, 0}},    {1, 29, 37, 33, 0, 3, 1e-5f, {NORMAL, 1, 30}},
        {1, 67, 61, 12, 0, 12, 1e-5f, {NORMAL, 1, 3}},  {2, 70, 50, 5, 4, 3, 1e-5f, {NORMAL, 2, 1}},
        {1, 53, 47, 20, 12, 8, 1e-6f, {EDGE, 1, 0}},    {3, 11, 13, 31, 0, 31, 1e-5f, {NORMAL, 1, 0}},
        {2, 19, 8, 516, 0, 129, 1e-5f, {NORMAL, 1, 0}}, {1, 9, 9, 260, 0, 260, 1e-5f, {NORMAL, 1, 5}},
    };
    static const struct shape large[] = {
        {2, 64, 64, 320, 0, 32, 1e-5f, {NORMAL, 1, 0}},
        {2, 64, 64, 320, 320, 32, 1e-5f, {NORMAL, 1, 0}},
        {2, 16, 16, 1280, 0, 32, 1e-5f, {NORMAL, 1, 0}},
        {1, 512, 512, 128, 0, 32, 1e-6f, {NORMAL, 1, 0}},
    };
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++) {
        check(s, &small[i], SDG_UNARY_NONE);
        check(s, &small[i], SDG_UNARY_SILU);
    }
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i], SDG_UNARY_SILU);
}
