#include "tests/ops/check.h"

static void check(struct suite *s, enum sdg_unary function, int n, int h, int w, int c, enum fill fill)
{
    struct fixture f;
    if (!begin(s, &f, "unary_gradient(type=%s,function=%d,n=%d,h=%d,w=%d,c=%d,fill=%d)", type_name(s), function, n, h,
               w, c, fill))
        return;
    const bool positive = function == SDG_UNARY_SQRT || function == SDG_UNARY_RECIPROCAL;
    const sdg_value x = input(&f, "x", n, h, w, c,
                              positive ? (struct data){NORMAL, 0.5f, 4}
                                       : (struct data){fill, function == SDG_UNARY_EXP ? 1 : 4, 0}),
                    grad = input(&f, "grad", n, h, w, c, NORMAL_DATA);
    finish(&f, sdg_graph_unary_gradient(f.graph, "unary_gradient", x, grad, function));
}

void check_unary_gradient(struct suite *s)
{
    for (enum sdg_unary function = SDG_UNARY_SILU; function <= SDG_UNARY_RECIPROCAL; function++) {
        if (function == SDG_UNARY_AFFINE)
            continue;
        if (s->bench) {
            check(s, function, 256, 8, 8, 384, NORMAL);
            continue;
        }
        check(s, function, 1, 1, 1, 1, NORMAL);
        check(s, function, 2, 7, 5, 31, NORMAL);
        if (function != SDG_UNARY_EXP) // e^200 is no number in any type
            check(s, function, 3, 1, 77, 5, EDGE);
    }
}
