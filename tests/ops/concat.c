#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c, int c2)
{
    struct fixture f;
    if (!begin(s, &f, "concat(type=%s,n=%d,h=%d,w=%d,c=%d,c2=%d)", type_name(s), n, h, w, c, c2))
        return;
    f.pointwise = true;
    sdg_value x = input(&f, "x", n, h, w, c, NORMAL_DATA), y = input(&f, "y", n, h, w, c2, NORMAL_DATA);
    finish(&f, sdg_graph_concat(f.graph, "concat", x, y));
}

void check_concat(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 64, 64, 320, 320);
        return;
    }
    check(s, 1, 1, 1, 1, 1);
    check(s, 2, 7, 5, 31, 33);
    check(s, 3, 4, 4, 4, 5);
    check(s, 1, 1, 77, 64, 3);
    check(s, 2, 3, 5, 1, 32);
}
