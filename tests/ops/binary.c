#include "tests/ops/check.h"

static void check(struct suite *s, enum sdg_binary function, int n, int h, int w, int c, bool one_sample,
                  bool one_token, enum fill fill)
{
    struct fixture f;
    if (!begin(s, &f, "binary(type=%s,function=%d,n=%d,h=%d,w=%d,c=%d,one_sample=%d,one_token=%d,fill=%d)",
               type_name(s), function, n, h, w, c, one_sample, one_token, fill))
        return;
    f.pointwise = true;
    sdg_value x = input(&f, "x", n, h, w, c, (struct data){fill, 1, 0});
    sdg_value y = input(&f, "y", one_sample ? 1 : n, one_token ? 1 : h, one_token ? 1 : w, c, NORMAL_DATA);
    finish(&f, sdg_graph_binary(f.graph, "binary", function, x, y));
}

void check_binary(struct suite *s)
{
    for (enum sdg_binary function = SDG_BINARY_ADD; function <= SDG_BINARY_MUL; function++) {
        if (s->bench) {
            check(s, function, 2, 64, 64, 320, false, false, NORMAL);
            continue;
        }
        for (int broadcast = 0; broadcast < 4; broadcast++) {
            check(s, function, 1, 1, 1, 1, broadcast & 1, broadcast & 2, NORMAL);
            check(s, function, 3, 7, 5, 33, broadcast & 1, broadcast & 2, NORMAL);
            check(s, function, 2, 1, 77, 4, broadcast & 1, broadcast & 2, EDGE);
        }
    }
}
