#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c, int c2, int groups)
{
    struct fixture f;
    if (!begin(s, &f, "group_norm_gradient(type=%s,n=%d,h=%d,w=%d,c=%d,c2=%d,groups=%d)", type_name(s), n, h, w, c, c2,
               groups))
        return;
    const sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 2, 3}),
                    x2 = c2 ? input(&f, "x2", n, h, w, c2, NORMAL_DATA) : 0, gamma = vector_weight(&f, c + c2, 0.3f, 1),
                    grad = input(&f, "grad", n, h, w, c + c2, NORMAL_DATA);
    finish(&f, sdg_graph_group_norm_gradient(f.graph, "group_norm_gradient", x, x2, gamma, grad, groups, 1e-5f));
}

void check_group_norm_gradient(struct suite *s)
{
    if (s->bench) {
        check(s, 8, 16, 16, 96, 0, 32);
        return;
    }
    check(s, 1, 1, 2, 2, 0, 1);
    check(s, 2, 7, 5, 32, 0, 4);
    check(s, 2, 3, 3, 12, 8, 5);
}
