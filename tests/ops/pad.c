#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int before, int c, int after)
{
    struct fixture f;
    if (!begin(s, &f, "pad(type=%s,n=%d,h=%d,w=%d,before=%d,c=%d,after=%d)", type_name(s), n, h, w, before, c, after))
        return;
    f.pointwise = true;
    finish(&f, sdg_graph_pad(f.graph, "pad", input(&f, "x", n, h, w, c, NORMAL_DATA), before, before + c + after));
}

void check_pad(struct suite *s)
{
    if (s->bench) {
        check(s, 256, 8, 8, 384, 384, 0);
        return;
    }
    check(s, 1, 1, 1, 0, 1, 0);
    check(s, 1, 1, 1, 1, 1, 1);
    check(s, 2, 7, 5, 31, 33, 0);
    check(s, 3, 1, 77, 0, 5, 64);
}
