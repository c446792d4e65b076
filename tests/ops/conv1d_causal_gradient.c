#include "tests/ops/check.h"

static void check(struct suite *s, int n, int h, int w, int start, int channels, int more, int kernel, bool backward)
{
    struct fixture f;
    if (!begin(s, &f, "conv1d_causal_gradient(type=%s,n=%d,h=%d,w=%d,start=%d,c=%d,more=%d,k=%d,backward=%d)",
               type_name(s), n, h, w, start, channels, more, kernel, backward))
        return;
    const sdg_value x = input(&f, "x", n, h, w, start + channels + more, NORMAL_DATA),
                    grad = input(&f, "grad", n, h, w, channels, NORMAL_DATA);
    finish(&f, sdg_graph_conv1d_causal_gradient(f.graph, "conv1d_causal_gradient", x, start, kernel, grad, backward));
}

void check_conv1d_causal_gradient(struct suite *s)
{
    for (int backward = 0; backward < 2; backward++) {
        if (s->bench) {
            check(s, 64, 8, 8, 0, 384, 384, 4, backward);
            continue;
        }
        check(s, 1, 1, 1, 0, 1, 0, 2, backward);
        check(s, 2, 3, 5, 2, 33, 3, 4, backward);
        check(s, 1, 1, 77, 0, 5, 1, 8, backward);
    }
}
