#include "tests/ops/check.h"

#include <stdio.h>
#include <string.h>

static void check(struct suite *s, int n, int tokens, int c, enum fill fill)
{
    struct fixture f;
    if (!begin(s, &f, "geglu(type=%s,n=%d,tokens=%d,c=%d,fill=%d)", type_name(s), n, tokens, c, fill))
        return;
    f.pointwise = true;
    finish(&f, sdg_graph_geglu(f.graph, "geglu", input(&f, "x", n, 1, tokens, 2 * c, (struct data){fill, 2, 0})));
}

// Behind a linear layer, whose epilogue it becomes where C is even; bits: of the weights as codes in the file, 0:
// floats.
static void finish_product(struct fixture *f, int n, int tokens, int in, int c, bool bias, int bits)
{
    const sdg_value x = input(f, "x", n, 1, tokens, in, NORMAL_DATA),
                    weight =
                        bits ? code_weight(f, 2, (int64_t[4]){2 * c, in, 1, 1}, bits) : linear_weight(f, 2 * c, in);
    struct sdg_epilogue end = {.bias = bias ? vector_weight(f, 2 * c, 0.5f, 0) : 0};
    finish(f, sdg_graph_geglu(f->graph, "geglu", sdg_graph_linear(f->graph, "linear", x, weight, end)));
}

static void check_product(struct suite *s, int n, int tokens, int in, int c, bool bias, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "geglu(type=%s,product,n=%d,tokens=%d,in=%d,c=%d,bias=%d,bits=%d)", type_name(s), n, tokens, in,
               c, bias, bits))
        return;
    finish_product(&f, n, tokens, in, c, bias, bits);
}

// On cooperative matrices.
static void check_matrices(struct suite *s, int n, int tokens, int in, int c, bool bias, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "geglu(type=%s,matrices,n=%d,tokens=%d,in=%d,c=%d,bias=%d,bits=%d)", type_name(s), n, tokens, in,
               c, bias, bits))
        return;
    f.kernel = "linear_f16_v8_coopmat";
    finish_product(&f, n, tokens, in, c, bias, bits);
}

// They are for halves, where the device has them and nothing goes before them (test_ops --disable=lanes).
static bool has_matrices(const struct suite *s)
{
    const unsigned features = s->tested->info.features;
    if (s->type != SDG_F16 || strcmp(s->name, "vulkan") != 0)
        return false;
    if ((features & SDG_FEATURE_COOPMAT) && !(features & SDG_FEATURE_LANES))
        return true;
    printf("skipped: geglu on cooperative matrices, %s\n",
           features & SDG_FEATURE_COOPMAT ? "which are not used while lanes is on" : "not there");
    return false;
}

void check_geglu(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 4096, 1280, NORMAL);
        check_product(s, 2, 64, 640, 2560, true, 0);
        return;
    }
    check(s, 1, 1, 1, NORMAL);
    check(s, 2, 35, 31, NORMAL);
    check(s, 3, 7, 33, EDGE);
    check(s, 1, 77, 128, NORMAL);
    check(s, 1, 5, 4, EDGE);
    check_product(s, 1, 1, 1, 2, true, 0);
    check_product(s, 1, 3, 5, 3, true, 0);
    check_product(s, 2, 35, 31, 34, true, 0);
    check_product(s, 1, 9, 64, 2, false, 0);
    check_product(s, 2, 77, 32, 128, false, 0);
    check_product(s, 1, 130, 40, 66, true, 0);
    check_product(s, 1, 70, 36, 48, true, 8);
    check_product(s, 2, 17, 64, 66, true, 4);
    if (!has_matrices(s))
        return;
    check_matrices(s, 2, 35, 40, 34, true, 0);
    check_matrices(s, 1, 33, 8, 6, false, 0);
    check_matrices(s, 2, 130, 96, 130, true, 0);
    check_matrices(s, 1, 70, 48, 48, true, 8);
    check_matrices(s, 2, 17, 64, 66, true, 4);
}
