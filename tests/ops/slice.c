#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c, int start, int length)
{
    struct fixture f;
    if (!begin(s, &f, "slice(type=%s,n=%d,h=%d,w=%d,c=%d,start=%d,length=%d)", type_name(s), n, h, w, c, start, length))
        return;
    f.pointwise = true;
    finish(&f, sdg_graph_slice(f.graph, "slice", input(&f, "x", n, h, w, c, NORMAL_DATA), start, length));
}

void check_slice(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 64, 64, 640, 320, 320);
        return;
    }
    check(s, 1, 1, 1, 1, 0, 1);
    check(s, 2, 7, 5, 31, 3, 5);
    check(s, 3, 4, 4, 64, 32, 32);
    check(s, 1, 1, 77, 33, 32, 1);
    check(s, 2, 3, 5, 8, 0, 4);
}
