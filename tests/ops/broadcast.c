#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c, int axes)
{
    struct fixture f;
    if (!begin(s, &f, "broadcast(type=%s,n=%d,h=%d,w=%d,c=%d,samples=%d,tokens=%d,channels=%d)", type_name(s), n, h, w,
               c, axes & 1, axes >> 1 & 1, axes >> 2))
        return;
    f.pointwise = true;
    const sdg_value x =
        input(&f, "x", axes & 1 ? 1 : n, axes & 2 ? 1 : h, axes & 2 ? 1 : w, axes & 4 ? 1 : c, NORMAL_DATA);
    finish(&f, sdg_graph_broadcast(f.graph, "broadcast", x, n, h, w, c));
}

void check_broadcast(struct suite *s)
{
    for (int axes = 0; axes < 8; axes++) {
        if (s->bench) {
            check(s, 256, 8, 8, 384, axes);
            continue;
        }
        check(s, 1, 1, 1, 1, axes);
        check(s, 2, 7, 5, 33, axes);
        check(s, 5, 1, 3, 130, axes);
    }
}
