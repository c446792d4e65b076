#include "tests/ops/check.h"

#include <stdlib.h>

struct shape {
    int n, h, w, channels, start, more, kernel; // x has start + channels + more channels
    bool bias, silu, backward;
};

static void check(struct suite *s, const struct shape *p)
{
    struct fixture f;
    if (!begin(s, &f, "conv1d_causal(type=%s,n=%d,h=%d,w=%d,c=%d,start=%d,more=%d,k=%d,bias=%d,silu=%d,backward=%d)",
               type_name(s), p->n, p->h, p->w, p->channels, p->start, p->more, p->kernel, p->bias, p->silu,
               p->backward))
        return;
    const sdg_value x = input(&f, "x", p->n, p->h, p->w, p->start + p->channels + p->more, NORMAL_DATA),
                    weight = conv1d_weight(&f, p->channels, p->kernel),
                    bias = p->bias ? vector_weight(&f, p->channels, 0.3f, 0.1f) : 0;
    finish(&f,
           sdg_graph_conv1d_causal(f.graph, "conv1d", x, p->start, weight, bias,
                                   p->silu ? SDG_UNARY_SILU : SDG_UNARY_NONE, p->backward));
}

// Codes give what their values give, but for rounding: tokens at the border read fewer intervals.
static void check_read_codes(struct suite *s, int n, int tokens, int channels, int kernel, bool backward, bool by_token,
                             bool is_signed)
{
    struct fixture f;
    if (!begin(s, &f, "conv1d_causal(type=%s,codes,n=%d,tokens=%d,c=%d,k=%d,backward=%d,by_token=%d,signed=%d)",
               type_name(s), n, tokens, channels, kernel, backward, by_token, is_signed))
        return;
    float *pairs = get((size_t)tokens * 4 * sizeof *pairs);
    const sdg_value x = input(&f, "x", n, 1, tokens, channels + 3, NORMAL_DATA),
                    values = coded(&f, 0, x, by_token, is_signed, pairs), weight = conv1d_weight(&f, channels, kernel),
                    bias = vector_weight(&f, channels, 0.3f, 0.1f);
    finish(&f, sdg_graph_conv1d_causal(f.graph, "conv1d", values, 2, weight, bias, SDG_UNARY_SILU, backward));
    free(pairs);
}

void check_conv1d_causal(struct suite *s)
{
    static const struct shape small[] = {
        {1, 1, 1, 1, 0, 0, 2, false, false, false},  {1, 1, 1, 3, 0, 0, 8, true, true, true},
        {2, 1, 7, 31, 0, 31, 4, true, true, false},  {2, 1, 7, 31, 0, 31, 4, true, true, true},
        {1, 3, 5, 33, 2, 5, 3, true, false, true},   {3, 4, 4, 48, 0, 0, 5, false, true, false},
        {1, 1, 2, 64, 64, 0, 8, true, true, false},  {1, 1, 117, 65, 0, 1, 7, true, true, true},
        {1, 9, 13, 16, 1, 0, 6, false, false, true},
    };
    static const struct shape large[] = {{2, 64, 64, 640, 0, 640, 4, true, true, false},
                                         {2, 64, 64, 640, 0, 640, 4, true, true, true}};
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
        check(s, &small[i]);
    for (int i = 0; i < 8 && !s->bench; i++) {
        check_read_codes(s, 2, 9, 13, 4, i & 1, i & 2, i & 4);
        check_read_codes(s, 1, 21, 75, 3, i & 1, i & 2, i & 4);
    }
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i]);
}
