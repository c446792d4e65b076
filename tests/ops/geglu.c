#include "tests/ops/check.h"

static void check(struct suite *s, int n, int tokens, int c, enum fill fill)
{
    struct fixture f;
    if (!begin(s, &f, "geglu(type=%s,n=%d,tokens=%d,c=%d,fill=%d)", type_name(s), n, tokens, c, fill))
        return;
    f.pointwise = true;
    finish(&f, sdg_graph_geglu(f.graph, "geglu", input(&f, "x", n, 1, tokens, 2 * c, (struct data){fill, 2, 0})));
}

void check_geglu(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 4096, 1280, NORMAL);
        return;
    }
    check(s, 1, 1, 1, NORMAL);
    check(s, 2, 35, 31, NORMAL);
    check(s, 3, 7, 33, EDGE);
    check(s, 1, 77, 128, NORMAL);
    check(s, 1, 5, 4, EDGE);
}
