#include "tests/ops/check.h"

struct shape {
    int n, tokens, channels;
    struct data data;
};

static void check(struct suite *s, const struct shape *p)
{
    struct fixture f;
    if (!begin(s, &f, "layer_norm(type=%s,n=%d,tokens=%d,c=%d,fill=%d,scale=%g,shift=%g)", type_name(s), p->n,
               p->tokens, p->channels, p->data.fill, p->data.scale, p->data.shift))
        return;
    sdg_value x = input(&f, "x", p->n, 1, p->tokens, p->channels, p->data);
    sdg_value gamma = vector_weight(&f, p->channels, 0.3f, 1), beta = vector_weight(&f, p->channels, 0.3f, 0.2f);
    finish(&f, sdg_graph_layer_norm(f.graph, "norm", x, gamma, beta, 1e-5f));
}

void check_layer_norm(struct suite *s)
{
    static const struct shape small[] = {
        {1, 1, 2, {NORMAL, 1, 0}},      {2, 77, 31, {NORMAL, 2, 3}},  {3, 5, 33, {NORMAL, 1, 0}},
        {1, 35, 320, {NORMAL, 1, 0}},   {1, 3, 1281, {NORMAL, 1, 0}}, {2, 7, 64, {FLAT, 0, 5}},
        {2, 9, 48, {NORMAL, 1e-3f, 0}}, {1, 13, 40, {EDGE, 1, 0}},    {1, 4, 256, {NORMAL, 1, 50}},
        {1, 2, 5, {NORMAL, 1, 0}},
    };
    static const struct shape large[] = {
        {2, 4096, 320, {NORMAL, 1, 0}}, {2, 256, 1280, {NORMAL, 1, 0}}, {1, 77, 768, {NORMAL, 1, 0}}};
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
        check(s, &small[i]);
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i]);
}
