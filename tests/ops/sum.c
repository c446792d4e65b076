#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int c, int axes)
{
    struct fixture f;
    if (!begin(s, &f, "sum(type=%s,n=%d,h=%d,w=%d,c=%d,samples=%d,tokens=%d,channels=%d)", type_name(s), n, h, w, c,
               axes & 1, axes >> 1 & 1, axes >> 2))
        return;
    const sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 1, 0.5f});
    finish(&f, sdg_graph_sum(f.graph, "sum", x, (struct sdg_axes){axes & 1, axes & 2, axes & 4}));
}

void check_sum(struct suite *s)
{
    for (int axes = 0; axes < 8; axes++) {
        if (s->bench) {
            check(s, 256, 8, 8, 384, axes);
            continue;
        }
        check(s, 1, 1, 1, 1, axes);
        check(s, 2, 7, 5, 33, axes);
        check(s, 5, 1, 3, 130, axes);
        check(s, 1, 40, 50, 3, axes);
    }
}
