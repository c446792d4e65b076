#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c, int to_h, int to_w)
{
    struct fixture f;
    if (!begin(s, &f, "upsample_nearest(type=%s,n=%d,h=%d,w=%d,c=%d,to_h=%d,to_w=%d)", type_name(s), n, h, w, c, to_h,
               to_w))
        return;
    f.pointwise = true;
    finish(&f, sdg_graph_upsample_nearest(f.graph, "upsample", input(&f, "x", n, h, w, c, NORMAL_DATA), to_h, to_w));
}

void check_upsample_nearest(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 32, 32, 640, 64, 64);
        return;
    }
    check(s, 1, 1, 1, 1, 1, 1);
    check(s, 1, 1, 1, 5, 2, 3);
    check(s, 2, 7, 5, 31, 14, 10);
    check(s, 3, 4, 4, 33, 7, 9);
    check(s, 1, 9, 13, 4, 17, 27);
    check(s, 2, 5, 6, 8, 5, 6);
}
