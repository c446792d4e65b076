#include "tests/ops/check.h"

static void check(struct suite *s, int n, int tokens, int c, int vocabulary, int positions)
{
    struct fixture f;
    if (!begin(s, &f, "embed(type=%s,n=%d,tokens=%d,c=%d,vocabulary=%d,positions=%d)", type_name(s), n, tokens, c,
               vocabulary, positions))
        return;
    f.pointwise = true;
    sdg_value words = linear_weight(&f, vocabulary, c), places = linear_weight(&f, positions, c);
    finish(&f, sdg_graph_embed(f.graph, "embed", ids(&f, "ids", n, tokens, vocabulary), words, places));
}

void check_embed(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 77, 768, 4096, 77);
        return;
    }
    check(s, 1, 1, 1, 1, 1);
    check(s, 2, 77, 31, 99, 77);
    check(s, 1, 5, 64, 300, 77);
    check(s, 3, 7, 5, 2, 9);
}
