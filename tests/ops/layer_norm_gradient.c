#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c)
{
    struct fixture f;
    if (!begin(s, &f, "layer_norm_gradient(type=%s,n=%d,h=%d,w=%d,c=%d)", type_name(s), n, h, w, c))
        return;
    const sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 2, 3}), gamma = vector_weight(&f, c, 0.3f, 1),
                    grad = input(&f, "grad", n, h, w, c, NORMAL_DATA);
    finish(&f, sdg_graph_layer_norm_gradient(f.graph, "layer_norm_gradient", x, gamma, grad, 1e-5f));
}

void check_layer_norm_gradient(struct suite *s)
{
    if (s->bench) {
        check(s, 256, 8, 8, 192);
        return;
    }
    check(s, 1, 1, 1, 2);
    check(s, 2, 7, 5, 31);
    check(s, 1, 1, 77, 64);
}
