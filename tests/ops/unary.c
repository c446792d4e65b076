#include "tests/ops/check.h"

static void check(struct suite *s, enum sdg_unary function, int n, int h, int w, int c, enum fill fill)
{
    struct fixture f;
    if (!begin(s, &f, "unary(type=%s,function=%d,n=%d,h=%d,w=%d,c=%d,fill=%d)", type_name(s), function, n, h, w, c,
               fill))
        return;
    f.pointwise = true;
    const bool positive = function == SDG_UNARY_SQRT || function == SDG_UNARY_RECIPROCAL;
    sdg_value x =
        input(&f, "x", n, h, w, c,
              positive ? (struct data){NORMAL, 0.5f, 4} : (struct data){fill, function == SDG_UNARY_EXP ? 1 : 4, 0});
    finish(&f,
           function == SDG_UNARY_AFFINE ? sdg_graph_affine(f.graph, "affine", x, -0.75f, 2.5f)
                                        : sdg_graph_unary(f.graph, "unary", x, function));
}

void check_unary(struct suite *s)
{
    for (enum sdg_unary function = SDG_UNARY_SILU; function <= SDG_UNARY_RECIPROCAL; function++) {
        if (s->bench) {
            check(s, function, 2, 64, 64, 320, NORMAL);
            continue;
        }
        check(s, function, 1, 1, 1, 1, NORMAL);
        check(s, function, 2, 7, 5, 31, NORMAL);
        if (function == SDG_UNARY_EXP) // e^200 is no number in any type
            continue;
        check(s, function, 3, 1, 77, 5, EDGE);
        check(s, function, 1, 33, 31, 3, EDGE);
    }
}
