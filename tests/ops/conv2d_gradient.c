#include "tests/ops/check.h"

struct shape {
    int n, h, w, in, out, kernel;
    struct sdg_conv_params params;
};

static void check(struct suite *s, const struct shape *p, int of)
{
    struct fixture f;
    if (!begin(s, &f, "conv2d_gradient(type=%s,n=%d,h=%d,w=%d,in=%d,out=%d,k=%d,stride=%d,of=%d)", type_name(s), p->n,
               p->h, p->w, p->in, p->out, p->kernel, p->params.stride, of))
        return;
    const struct sdg_conv_params *c = &p->params;
    const int h = (p->h + c->pad_top + c->pad_bottom - p->kernel) / c->stride + 1,
              w = (p->w + c->pad_left + c->pad_right - p->kernel) / c->stride + 1;
    const sdg_value x = input(&f, "x", p->n, p->h, p->w, p->in, NORMAL_DATA),
                    weight = conv_weight(&f, p->out, p->in, p->kernel, p->kernel),
                    grad = input(&f, "grad", p->n, h, w, p->out, NORMAL_DATA);
    finish(&f, sdg_graph_conv2d_gradient(f.graph, "conv2d_gradient", x, weight, p->params, grad, of));
}

void check_conv2d_gradient(struct suite *s)
{
    static const struct shape small[] = {
        {1, 1, 1, 1, 1, 1, {1, 0, 0, 0, 0}},
        {2, 7, 5, 9, 11, 3, {1, 1, 1, 1, 1}},
        {1, 6, 9, 5, 3, 3, {2, 0, 1, 1, 0}},
    };
    static const struct shape large = {8, 16, 16, 96, 96, 3, {1, 1, 1, 1, 1}};
    for (int of = 0; of < 2; of++) {
        for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
            check(s, &small[i], of);
        if (s->bench)
            check(s, &large, of);
    }
}
