#include "tests/ops/check.h"

#include "graph/reverse.h"

struct shape {
    int n, h, w;     // rows of the result, or of a that is transposed the inner length
    int inner, cols; // the other length of a; columns of the result
};

static void check(struct suite *s, const struct shape *p, bool ta, bool tb)
{
    struct fixture f;
    if (!begin(s, &f, "matmul(type=%s,n=%d,h=%d,w=%d,inner=%d,cols=%d,ta=%d,tb=%d)", type_name(s), p->n, p->h, p->w,
               p->inner, p->cols, ta, tb))
        return;
    const int inner = ta ? p->n * p->h * p->w : p->inner;
    const sdg_value a = input(&f, "a", p->n, p->h, p->w, p->inner, NORMAL_DATA),
                    b = tb ? input(&f, "b", 1, 1, p->cols, inner, NORMAL_DATA)
                           : input(&f, "b", 1, 1, inner, p->cols, NORMAL_DATA);
    finish(&f, sdg_graph_matmul(f.graph, "matmul", a, b, ta, tb));
}

// As a linear whose weight is computed: with all that its epilogue can have.
static void check_epilogue(struct suite *s, enum sdg_unary activation, int table_samples)
{
    struct fixture f;
    if (!begin(s, &f, "matmul(type=%s,epilogue,activation=%d,table=%d)", type_name(s), activation, table_samples))
        return;
    const struct sdg_epilogue e = {
        .bias = vector_weight(&f, 37, 1, 0),
        .table = table(&f, "table", 3, table_samples, 37),
        .residual = input(&f, "residual", 2, 3, 5, 37, NORMAL_DATA),
        .activation = activation,
    };
    const sdg_value x = input(&f, "x", 2, 3, 5, 29, NORMAL_DATA), w = input(&f, "w", 1, 1, 37, 29, NORMAL_DATA),
                    y = sdg_graph_linear(f.graph, "linear", x, linear_weight(&f, 37, 29), e);
    sdg_graph_use_matmul(f.graph, f.graph->op_count - 1, w);
    finish(&f, y);
}

void check_matmul(struct suite *s)
{
    static const struct shape small[] = {
        {1, 1, 1, 1, 1},     {2, 7, 5, 31, 33},  {3, 1, 77, 5, 70},
        {1, 1, 300, 65, 17}, {2, 1, 13, 530, 9}, {1, 1, 6, 16, 48},
    };
    static const struct shape large[] = {
        {64, 8, 8, 192, 768}, {64, 8, 8, 384, 192}, {64, 8, 8, 384, 44}, {64, 8, 8, 12, 384}, {256, 1, 64, 192, 768}};
    const struct shape *shapes = s->bench ? large : small;
    const size_t count = s->bench ? sizeof large / sizeof *large : sizeof small / sizeof *small;
    for (size_t i = 0; i < count; i++)
        for (int transposed = 0; transposed < 4; transposed++)
            check(s, &shapes[i], transposed & 1, transposed & 2);
    for (int i = 0; i < 4 && !s->bench; i++)
        check_epilogue(s, i & 1 ? SDG_UNARY_SILU : SDG_UNARY_NONE, i & 2 ? 2 : 1);
}
