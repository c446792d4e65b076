#include "tests/ops/check.h"

#include <stdlib.h>

// tokens 0: one interval for all, else one for each. learned: they are an input, else a row table.
static void check(struct suite *s, int n, int h, int w, int c, int lowest, int highest, bool tokens, bool learned,
                  int of)
{
    struct fixture f;
    if (!begin(s, &f, "fake_quantize_gradient(type=%s,n=%d,h=%d,w=%d,c=%d,codes=%d..%d,tokens=%d,learned=%d,of=%d)",
               type_name(s), n, h, w, c, lowest, highest, tokens, learned, of))
        return;
    const int rows = learned ? 1 : 3, count = tokens ? h * w : 1;
    float *pairs = get((size_t)(rows * count) * 2 * sizeof *pairs);
    for (int i = 0; i < rows * count; i++) {
        pairs[2 * i] = 0.25f * (float)(1 + i * 5 % 7);
        pairs[2 * i + 1] = lowest < 0 ? 0 : (float)(i * 37 % (highest + 1));
    }
    const sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 8, 1}),
                    grad = input(&f, "grad", n, h, w, c, NORMAL_DATA),
                    interval = learned ? input(&f, "interval", 1, 1, count, 2, NORMAL_DATA)
                                       : token_intervals(&f, "interval", rows, count, pairs);
    if (learned)
        set_input(&f, pairs);
    free(pairs);
    finish(&f, sdg_graph_fake_quantize_gradient(f.graph, "fake_gradient", x, interval, lowest, highest, grad, of));
}

void check_fake_quantize_gradient(struct suite *s)
{
    for (int of = 0; of < 2; of++)
        for (int kind = 0; kind < 4; kind++) {
            const bool tokens = kind & 1, learned = kind & 2;
            if (s->bench) {
                check(s, 256, 8, 8, 384, 0, 255, tokens, learned, of);
                continue;
            }
            check(s, 1, 1, 1, 1, -128, 127, tokens, learned, of);
            check(s, 2, 7, 5, 31, -8, 7, tokens, learned, of);
            check(s, 1, 3, 3, 33, 0, 15, tokens, learned, of);
            check(s, 3, 1, 77, 3, 0, 255, tokens, learned, of);
        }
}
