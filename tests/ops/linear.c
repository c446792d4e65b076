#include "tests/ops/check.h"

#include <stdlib.h>
#include <string.h>

struct shape {
    int n, tokens, in, out;
    const char *end; // epilogue: b bias, t table (T one row for all), r residual
};

// bits: of the weights as codes in the file; 0: floats
static void check(struct suite *s, const struct shape *p, int rows, enum sdg_unary activation, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "linear(type=%s,n=%d,tokens=%d,in=%d,out=%d,end=%s,rows=%d,act=%d,bits=%d)", type_name(s), p->n,
               p->tokens, p->in, p->out, p->end, rows, activation, bits))
        return;
    struct sdg_epilogue end = {.activation = activation};
    for (const char *c = p->end; *c; c++) {
        if (*c == 'b')
            end.bias = vector_weight(&f, p->out, 0.5f, 0);
        else if (*c == 't' || *c == 'T')
            end.table = table(&f, "table", rows, *c == 't' ? p->n : 1, p->out);
        else if (*c == 'r')
            end.residual = input(&f, "residual", p->n, 1, p->tokens, p->out, NORMAL_DATA);
    }
    sdg_value x = input(&f, "x", p->n, 1, p->tokens, p->in, NORMAL_DATA),
              weight =
                  bits ? code_weight(&f, 2, (int64_t[4]){p->out, p->in, 1, 1}, bits) : linear_weight(&f, p->out, p->in);
    finish(&f, sdg_graph_linear(f.graph, "linear", x, weight, end));
}

static void check_weight_slice(struct suite *s, int64_t in, int64_t out, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "linear(type=%s,slice,in=%d,out=%d,bits=%d)", type_name(s), (int)in, (int)out, bits))
        return;
    sdg_value x = input(&f, "x", 2, 3, 5, in, NORMAL_DATA),
              weight =
                  bits ? code_weight(&f, 2, (int64_t[4]){out, in + 7, 1, 1}, bits) : linear_weight(&f, out, in + 7);
    finish(&f,
           sdg_graph_linear(f.graph, "linear", x, sdg_graph_weight_slice(f.graph, weight, 7, in),
                            (struct sdg_epilogue){0}));
}

// Large values times codes: sums that halves do not hold, unless codes are scaled before they are added up.
static void check_large_values(struct suite *s, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "linear(type=%s,large,bits=%d)", type_name(s), bits))
        return;
    sdg_value x = input(&f, "x", 1, 1, 35, 64, (struct data){NORMAL, 3000, 0}),
              weight = code_weight(&f, 2, (int64_t[4]){33, 64, 1, 1}, bits);
    finish(&f, sdg_graph_linear(f.graph, "linear", x, weight, (struct sdg_epilogue){0}));
}

// Of a layer norm, which some backends make the product's loads of; with one row whose values are all the same.
static void check_normalised(struct suite *s, const struct shape *p, bool gated, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "linear(type=%s,n=%d,tokens=%d,in=%d,out=%d,end=%s,normalised,gated=%d,bits=%d)", type_name(s),
               p->n, p->tokens, p->in, p->out, p->end, gated, bits))
        return;
    struct sdg_epilogue end = {.bias = vector_weight(&f, p->out, 0.5f, 0)};
    const sdg_value gamma = vector_weight(&f, p->in, 0.3f, 1), beta = vector_weight(&f, p->in, 0.3f, 0.2f);
    const sdg_value x = input(&f, "x", p->n, 1, p->tokens, p->in, (struct data){NORMAL, 2, 3});
    float *values = get((size_t)(p->n * p->tokens * p->in) * sizeof *values);
    memcpy(values, last_input(&f), (size_t)(p->n * p->tokens * p->in) * sizeof *values);
    for (int c = 0; c < p->in; c++)
        values[c] = 60;
    set_input(&f, values);
    free(values);
    if (strchr(p->end, 'r'))
        end.residual = p->in == p->out ? x : input(&f, "residual", p->n, 1, p->tokens, p->out, NORMAL_DATA);
    const sdg_value weight =
        bits ? code_weight(&f, 2, (int64_t[4]){p->out, p->in, 1, 1}, bits) : linear_weight(&f, p->out, p->in);
    const sdg_value y =
        sdg_graph_linear(f.graph, "linear", sdg_graph_layer_norm(f.graph, "norm", x, gamma, beta, 1e-5f), weight, end);
    finish(&f, gated ? sdg_graph_geglu(f.graph, "gate", y) : y);
}

void check_linear(struct suite *s)
{
    static const struct shape normalised[] = {
        {1, 9, 5, 1, ""},   {2, 77, 31, 33, "r"}, {3, 7, 4, 32, ""},   {2, 35, 64, 64, "r"}, {2, 35, 33, 68, ""},
        {3, 5, 40, 24, ""}, {1, 5, 320, 7, ""},   {2, 13, 132, 5, ""}, {1, 64, 32, 256, ""}, {1, 3, 600, 36, "r"},
    };
    static const struct shape small[] = {
        {1, 1, 1, 1, ""},      {1, 1, 5, 3, "b"},      {2, 77, 31, 33, "b"}, {3, 7, 4, 31, "b"},
        {2, 35, 64, 64, "br"}, {2, 35, 33, 65, "btr"}, {3, 5, 40, 24, "bT"}, {1, 1, 320, 7, "b"},
        {2, 13, 129, 5, "tr"}, {1, 64, 32, 256, ""},   {2, 1, 16, 64, "b"},  {1, 3, 600, 31, "b"},
    };
    static const struct shape large[] = {
        {2, 4096, 320, 320, "br"},  {2, 4096, 320, 2560, "b"}, {2, 4096, 1280, 320, "br"}, {2, 1024, 640, 640, "br"},
        {2, 256, 1280, 1280, "br"}, {2, 77, 768, 1280, ""},    {1, 77, 768, 3072, "b"},    {1, 20, 320, 1280, "b"},
    };
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
        check(s, &small[i], 3, SDG_UNARY_NONE, 0);
    for (size_t i = 0; i < 2 * (sizeof small / sizeof *small) && !s->bench; i++)
        check(s, &small[i / 2], 3, i % 3 ? SDG_UNARY_NONE : SDG_UNARY_SILU, i % 2 ? 4 : 8);
    for (enum sdg_unary a = SDG_UNARY_SILU; a < SDG_UNARY_AFFINE && !s->bench; a++)
        check(s, &(struct shape){2, 11, 20, 33, a % 2 ? "btr" : "b"}, 2, a, 0);
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i], 1, SDG_UNARY_NONE, 0);
    for (size_t i = 0; i < sizeof normalised / sizeof *normalised && !s->bench; i++) {
        check_normalised(s, &normalised[i], false, i % 3 ? 0 : 8);
        if (normalised[i].out % 4 == 0 && !normalised[i].end[0])
            check_normalised(s, &normalised[i], true, 0);
    }
    if (!s->bench) {
        for (int bits = 0; bits <= 8; bits += 4) {
            check_weight_slice(s, 31, 33, bits);
            check_weight_slice(s, 64, 32, bits);
            if (bits)
                check_large_values(s, bits);
        }
    }
}
