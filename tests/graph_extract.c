// Blocks taken out of a network: what they compute is what they compute inside of it.
#include "base/memory.h"
#include "graph/extract.h"
#include "tests/support/graphs.h"

static sdg_value linear_on(struct sdg_graph *g, const char *name, sdg_value x, int64_t out, sdg_value residual)
{
    return sdg_graph_linear(
        g, name, x, sdg_graph_linear_weight(g, out, g->values[x].dims[3], "%s.weight", name),
        (struct sdg_epilogue){.bias = sdg_graph_vector_weight(g, out, "%s.bias", name), .residual = residual});
}

// a -> b.norm -> b.one, b.two (of another input) -> b.mix -> b.out + a -> c, of which b is the block.
static struct sdg_graph *network(bool residual)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 1, 3, 8), side = sdg_graph_input(g, "side", 2, 1, 3, 5);
    sdg_value a = sdg_graph_unary(g, "a", x, SDG_UNARY_TANH);
    sdg_value n = sdg_graph_layer_norm(g, "b.norm", a, sdg_graph_vector_weight(g, 8, "b.norm.weight"),
                                       sdg_graph_vector_weight(g, 8, "b.norm.bias"), 1e-5f);
    sdg_value mix =
        sdg_graph_binary(g, "b.mix", SDG_BINARY_MUL, linear_on(g, "b.one", n, 6, 0), linear_on(g, "b.two", side, 6, 0));
    sdg_value y = linear_on(g, "b.out", mix, 8, residual ? a : 0);
    linear_on(g, "bb.other", a, 4, 0); // no part of b, whatever its name begins with
    sdg_graph_output(g, "y", sdg_graph_unary(g, "c", y, SDG_UNARY_SIGMOID));
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    return g;
}

static void takes_a_block(void **state)
{
    (void)state;
    for (int residual = 0; residual < 2; residual++) {
        struct sdg_graph *g = network(residual);
        struct sdg_block b;
        assert_int_equal(sdg_block_extract(&test_log, g, "b", &b), SDG_OK);
        assert_int_equal(b.graph->op_count, 5);
        assert_int_equal(b.input_count, 2);
        assert_true(b.inputs[0] == find_op(g, "a")->out && b.inputs[1] == sdg_graph_find(g, "side"));
        assert_true(b.result == find_op(g, "b.out")->out);
        const struct sdg_op *out = find_op(b.graph, "b.out"), *norm = find_op(b.graph, "b.norm"),
                            *two = find_op(b.graph, "b.two");
        assert_true(sdg_graph_find(b.graph, "result") == out->out);
        assert_true(norm->in[0] == sdg_graph_find(b.graph, "input0") &&
                    two->in[0] == sdg_graph_find(b.graph, "input1"));
        assert_string_equal(b.graph->values[two->in[1]].name, "b.two.weight");
        assert_true(out->epilogue.bias && !out->epilogue.residual);
        // The function after a sum with something else is not the block's; without a sum it is fused into its result.
        assert_int_equal(find_op(g, "b.out")->epilogue.activation, SDG_UNARY_SIGMOID);
        assert_int_equal(out->epilogue.activation, residual ? SDG_UNARY_NONE : SDG_UNARY_SIGMOID);
        assert_int_equal(b.graph->values[out->out].dims[3], 8);
        for (size_t v = 1; v < b.graph->value_count; v++) // nothing of the rest has come along
            assert_false(b.graph->values[v].name && strstr(b.graph->values[v].name, "other"));
        sdg_block_clear(&b);
        sdg_graph_destroy(&g);
    }
}

static void refuses(void **state)
{
    (void)state;
    struct sdg_graph *g = network(true);
    struct sdg_block b;
    assert_int_equal(sdg_block_extract(&test_log, g, "d", &b), SDG_ERROR_INPUT); // no such block
    assert_true(messages.errors == 1 && strstr(messages.last, "d: there is no operation"));
    assert_null(b.graph);
    sdg_graph_destroy(&g);
    // Two results.
    g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, 2, 4);
    sdg_value p = sdg_graph_unary(g, "b.p", x, SDG_UNARY_TANH), q = sdg_graph_unary(g, "b.q", x, SDG_UNARY_SIGMOID);
    sdg_graph_output(g, "y", sdg_graph_binary(g, "sum", SDG_BINARY_ADD, p, q));
    assert_int_equal(sdg_block_extract(&test_log, g, "b", &b), SDG_ERROR_INPUT);
    assert_true(messages.errors == 1 && strstr(messages.last, "2 of the block's values"));
    sdg_graph_destroy(&g);
    // More inputs than a block may have.
    g = new_graph();
    sdg_value sum = 0;
    for (int i = 0; i < SDG_BLOCK_INPUTS + 1; i++) {
        char name[20];
        snprintf(name, sizeof name, "x%d", i);
        sdg_value v = sdg_graph_input(g, name, 1, 1, 2, 4);
        sum = sum ? sdg_graph_binary(g, "b.add", SDG_BINARY_ADD, sum, v) : v;
    }
    sdg_graph_output(g, "y", sum);
    assert_int_equal(sdg_block_extract(&test_log, g, "b", &b), SDG_ERROR_INPUT);
    assert_true(messages.errors == 1 && strstr(messages.last, "more than 8 values"));
    sdg_graph_destroy(&g);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct sdg_graph *g = network(true);
    struct sdg_block b;
    enum sdg_result result = SDG_ERROR_MEMORY;
    for (size_t n = 1; result != SDG_OK; n++) {
        sdg_test_fail_allocation(n);
        result = sdg_block_extract(&test_log, g, "b", &b);
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || (result == SDG_ERROR_MEMORY && !b.graph && n < 1000));
    }
    sdg_block_clear(&b);
    sdg_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_block),
        cmocka_unit_test(refuses),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
