// Rewrites of graphs (checked against a small interpreter), memory plans, failing allocations and the listing.
#include "base/memory.h"
#include "graph/graph.h"
#include "graph/plan.h"
#include "tests/support/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>
// ---- tests: rewrites ----

static void fuse_patterns(void **state)
{
    (void)state;
    random_state = 3;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 4, 5, 6), skip = sdg_graph_unary(g, "skip", x, SDG_UNARY_TANH);
    sdg_value h = sdg_graph_concat(g, "cat", sdg_graph_affine(g, "half", x, 0.5f, 0), skip);
    h = res_block(g, "res", h, 8, 2);
    h = sdg_graph_unary(g, "gelu", conv(g, "last", h, 4, 3, 1, 0), SDG_UNARY_GELU_ERF);
    sdg_graph_unary(g, "dead", norm(g, "dead_norm", h, 2), SDG_UNARY_SILU);
    sdg_graph_output(g, "out", h);
    sdg_value out = h;
    fuse_and_compare(g);
    // half, skip, norm1, conv1, norm2, two shortcuts (one with ...), conv2, last
    assert_int_equal(count_ops(g, SDG_OP_CONCAT), 0);
    assert_int_equal(count_ops(g, SDG_OP_BINARY), 0);
    assert_int_equal(count_ops(g, SDG_OP_UNARY), 2);
    assert_int_equal(count_ops(g, SDG_OP_GROUP_NORM), 2);
    assert_int_equal(count_ops(g, SDG_OP_CONV2D), 5);
    const struct sdg_op *norm1 = find_op(g, "res.norm1"), *a = find_op(g, "res.conv_shortcut[0:6]"),
                        *b = find_op(g, "res.conv_shortcut[6:12]");
    assert_true(norm1->in[0] == find_op(g, "half")->out && norm1->in[3] == find_op(g, "skip")->out);
    assert_int_equal(norm1->u.group_norm.activation, SDG_UNARY_SILU);
    assert_int_equal(find_op(g, "res.norm2")->u.group_norm.activation, SDG_UNARY_SILU);
    // conv2 comes first and is the residual of the shortcut, which the first half carries; the second carries the bias.
    assert_int_equal(a->epilogue.residual, find_op(g, "res.conv2")->out);
    assert_int_equal(a->epilogue.bias, 0);
    assert_int_equal(b->epilogue.residual, a->out);
    assert_int_not_equal(b->epilogue.bias, 0);
    assert_int_equal(g->values[b->in[1]].slice_start, 6);
    assert_int_equal(g->values[b->in[1]].slice_of, 12);
    assert_int_equal(find_op(g, "last")->epilogue.activation, SDG_UNARY_GELU_ERF);
    assert_int_equal(find_op(g, "last")->out, out);
    assert_int_equal(sdg_graph_find(g, "out"), out);
    for (size_t v = 1; v < g->value_count; v++) // the unsliced shortcut and the dead norm's parameters are not loaded
        assert_false(g->values[v].kind == SDG_VALUE_WEIGHT &&
                     (strstr(g->values[v].name, "dead") ||
                      (strstr(g->values[v].name, "shortcut.weight") && !g->values[v].slice_of)));
    // A second time there is nothing left to do.
    size_t ops = g->op_count;
    fuse_and_compare(g);
    assert_int_equal(g->op_count, ops);
    sdg_graph_destroy(&g);
}

static void fuse_leaves_alone(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 4, 5, 6), one = sdg_graph_input(g, "one", 2, 1, 1, 6);
    sdg_value c1 = conv(g, "is_output", x, 6, 1, 1, 0);
    sdg_graph_output(g, "o1", c1);
    sdg_value u1 = sdg_graph_unary(g, "u1", c1, SDG_UNARY_RELU);
    sdg_value c2 = conv(g, "two_readers", x, 6, 1, 1, 0);
    sdg_value u2 = sdg_graph_unary(g, "u2", c2, SDG_UNARY_RELU), m2 = sdg_graph_binary(g, "m2", SDG_BINARY_MUL, u2, c2);
    sdg_value a3 = sdg_graph_affine(g, "a3", conv(g, "affine", x, 6, 1, 1, 0), 2, 1);
    sdg_value b4 = sdg_graph_binary(g, "b4", SDG_BINARY_ADD, conv(g, "broadcast", x, 6, 1, 1, 0), one);
    sdg_value c5 = conv(g, "itself", x, 6, 1, 1, 0), b5 = sdg_graph_binary(g, "b5", SDG_BINARY_ADD, c5, c5);
    sdg_value u6 = sdg_graph_unary(g, "u6", norm(g, "relu_norm", x, 2), SDG_UNARY_RELU);
    sdg_value u7 = sdg_graph_unary(g, "u7", conv(g, "active", x, 6, 1, 1, 0), SDG_UNARY_SILU); // fused ...
    sdg_value b7 = sdg_graph_binary(g, "b7", SDG_BINARY_MUL, u7, x);
    // silu fused, add not
    sdg_value b8 = sdg_graph_binary(g, "b8", SDG_BINARY_ADD,
                                    sdg_graph_unary(g, "u8", conv(g, "after", x, 6, 1, 1, 0), SDG_UNARY_SILU), x);
    sdg_value cat9 = sdg_graph_concat(g, "cat9", x, one = u1), s9 = sdg_graph_slice(g, "s9", cat9, 3, 6),
              c9 = conv(g, "c9", cat9, 6, 1, 1, 0);
    sdg_value inner = sdg_graph_concat(g, "inner", x, u6), outer = sdg_graph_concat(g, "outer", inner, s9),
              c10 = conv(g, "c10", outer, 6, 3, 1, 0);
    sdg_value all[] = {u1, m2, a3, b4, b5, u6, b7, b8, c9, c10, norm(g, "n10", outer, 3)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[16];
        snprintf(name, sizeof name, "all%zu", i);
        sdg_graph_output(g, name, all[i]);
    }
    fuse_and_compare(g);
    const char *const kept[] = {"u1", "u2", "m2", "a3", "b4", "b5", "u6", "b7", "b8", "cat9", "inner"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        find_op(g, kept[i]);
    assert_int_equal(find_op(g, "active")->epilogue.activation, SDG_UNARY_SILU);
    assert_int_equal(find_op(g, "after")->epilogue.activation, SDG_UNARY_SILU);
    assert_int_equal(find_op(g, "after")->epilogue.residual, 0);
    assert_int_equal(count_ops(g, SDG_OP_CONCAT), 2); // outer is gone
    assert_int_equal(find_op(g, "n10")->in[0], inner);
    assert_int_equal(find_op(g, "n10")->in[3], s9);
    find_op(g, "c10[0:12]");
    sdg_graph_destroy(&g);
}

static void fuse_chain(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    // relu(conv(x) + late): the convolution is made before the value added to it, and moves behind it.
    sdg_value x = sdg_graph_input(g, "x", 1, 4, 4, 4), c = conv(g, "early", x, 4, 3, 1, 0);
    sdg_value late = sdg_graph_unary(g, "late", x, SDG_UNARY_TANH);
    sdg_graph_output(g, "y",
                     sdg_graph_unary(g, "relu", sdg_graph_binary(g, "add", SDG_BINARY_ADD, c, late), SDG_UNARY_RELU));
    fuse_and_compare(g);
    assert_int_equal(g->op_count, 2);
    assert_string_equal(g->ops[0].name, "late");
    assert_string_equal(g->ops[1].name, "early");
    assert_int_equal(g->ops[1].epilogue.residual, late);
    assert_int_equal(g->ops[1].epilogue.activation, SDG_UNARY_RELU);
    sdg_graph_destroy(&g);
    g = new_graph();
    sdg_graph_unary(g, "nothing", sdg_graph_input(g, "x", 1, 1, 1, 1), SDG_UNARY_RELU);
    assert_int_equal(sdg_graph_fuse(g), SDG_ERROR_USAGE);
    assert_int_equal(g->op_count, 1);
    sdg_graph_destroy(&g);
}

// Only what one convolution reads, repeated a whole number of times, the same in both directions.
static void fuse_upsampling(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 3, 5, 4);
    sdg_graph_output(g, "twice", conv(g, "c1", sdg_graph_upsample_nearest(g, "u1", x, 6, 10), 5, 3, 1, 0));
    sdg_graph_output(g, "thrice", conv(g, "c2", sdg_graph_upsample_nearest(g, "u2", x, 9, 15), 3, 3, 2, 0));
    sdg_value u3 = sdg_graph_upsample_nearest(g, "u3", sdg_graph_upsample_nearest(g, "small", x, 6, 10), 12, 20);
    sdg_graph_output(g, "both", conv(g, "c3", u3, 3, 1, 1, 0));
    sdg_value u4 = sdg_graph_upsample_nearest(g, "u4", x, 6, 10);
    sdg_graph_output(g, "read", conv(g, "c4", u4, 3, 3, 1, 0));
    sdg_graph_output(g, "twice read", sdg_graph_unary(g, "r4", u4, SDG_UNARY_RELU));
    sdg_graph_output(g, "uneven", conv(g, "c5", sdg_graph_upsample_nearest(g, "u5", x, 6, 15), 3, 3, 1, 0));
    sdg_graph_output(g, "broken", conv(g, "c6", sdg_graph_upsample_nearest(g, "u6", x, 7, 11), 3, 3, 1, 0));
    const sdg_value small = sdg_graph_upsample_nearest(g, "u7", x, 6, 10);
    sdg_graph_output(g, "seen", small);
    sdg_graph_output(g, "seen and read", conv(g, "c7", small, 3, 3, 1, 0));
    fuse_for_and_compare(g, 0);
    assert_int_equal(count_ops(g, SDG_OP_UPSAMPLE_NEAREST), 8);
    fuse_for_and_compare(g, SDG_FUSION_UPSAMPLE);
    assert_int_equal(find_op(g, "c1")->u.conv2d.upsample, 2);
    assert_int_equal(find_op(g, "c2")->u.conv2d.upsample, 3);
    assert_int_equal(find_op(g, "c3")->u.conv2d.upsample, 4); // twice, and twice again
    assert_int_equal(find_op(g, "c3")->in[0], x);
    const char *const kept[] = {"u4", "u5", "u6", "u7"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        find_op(g, kept[i]);
    assert_int_equal(count_ops(g, SDG_OP_UPSAMPLE_NEAREST), 4);
    sdg_graph_destroy(&g);
}

static sdg_value doubled(struct sdg_graph *g, const char *name, sdg_value x, int64_t c, struct sdg_epilogue end)
{
    end.bias = sdg_graph_vector_weight(g, 2 * c, "%s.bias", name);
    return sdg_graph_linear(g, name, x, sdg_graph_linear_weight(g, 2 * c, channels_of(g, x), "%s.weight", name), end);
}

// Only into a linear layer with nothing but a bias, which nothing else reads.
static void fuse_gates(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 3, 5, 4), added = sdg_graph_input(g, "added", 2, 3, 5, 12);
    const struct sdg_epilogue none = {.bias = 0};
    sdg_graph_output(g, "gated", sdg_graph_geglu(g, "g1", doubled(g, "l1", x, 6, none)));
    sdg_graph_output(g, "odd", sdg_graph_geglu(g, "g2", doubled(g, "l2", x, 5, none)));
    sdg_graph_output(g, "residual",
                     sdg_graph_geglu(g, "g3", doubled(g, "l3", x, 6, (struct sdg_epilogue){.residual = added})));
    sdg_graph_output(
        g, "active",
        sdg_graph_geglu(g, "g4", doubled(g, "l4", x, 6, (struct sdg_epilogue){.activation = SDG_UNARY_RELU})));
    const sdg_value read = doubled(g, "l5", x, 6, none);
    sdg_graph_output(g, "read", sdg_graph_geglu(g, "g5", read));
    sdg_graph_output(g, "twice", sdg_graph_binary(g, "b5", SDG_BINARY_MUL, read, added));
    sdg_graph_output(g, "conv", sdg_graph_geglu(g, "g6", conv(g, "c6", x, 12, 3, 1, 0)));
    fuse_for_and_compare(g, SDG_FUSION_UPSAMPLE);
    const int64_t macs = sdg_op_macs(g, find_op(g, "l1"));
    fuse_for_and_compare(g, SDG_FUSION_GATE);
    assert_int_equal(count_ops(g, SDG_OP_GEGLU), 5);
    assert_true(find_op(g, "l1")->epilogue.gated);
    assert_int_equal(sdg_op_macs(g, find_op(g, "l1")), macs);
    assert_int_equal(g->values[find_op(g, "l1")->out].dims[3], 6);
    sdg_graph_destroy(&g);
}

// The product emits what the gated unit emitted: codes, but for smoothed ones.
static void fuse_gated_codes(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 3, 5, 4), interval = sdg_graph_interval_table(g, "i", 1, 1);
    const struct sdg_epilogue none = {.bias = 0};
    sdg_graph_output(g, "codes", sdg_graph_geglu(g, "g1", doubled(g, "l1", x, 6, none)));
    assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, interval, -128, 127), SDG_OK);
    sdg_graph_output(g, "smoothed", sdg_graph_geglu(g, "g2", doubled(g, "l2", x, 6, none)));
    assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, interval, 0, 255), SDG_OK);
    assert_int_equal(sdg_graph_smooth(g, g->op_count - 1, sdg_graph_vector_weight(g, 6, "s")), SDG_OK);
    assert_int_equal(sdg_graph_fuse_for(g, SDG_FUSION_GATE), SDG_OK);
    const struct sdg_op *product = find_op(g, "l1");
    assert_true(product->epilogue.gated && product->codes.interval == interval);
    assert_int_equal(product->codes.lowest, -128);
    assert_int_equal(product->codes.highest, 127);
    assert_int_equal(g->values[product->out].dtype, SDG_S8);
    assert_false(find_op(g, "l2")->epilogue.gated);
    assert_true(find_op(g, "g2")->codes.smoothing);
    sdg_graph_destroy(&g);
}

// Into all linear layers that read it, if nothing else does and they have few columns.
static void fuse_norms(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 3, 5, 8), odd = sdg_graph_input(g, "odd", 2, 3, 5, 6);
    const sdg_value table = sdg_graph_table(g, "table", 3, 1, 4), weight = sdg_graph_linear_weight(g, 4, 8, "w");
    const struct sdg_epilogue residual = {.residual = x};
    const sdg_value n1 = layer_norm(g, "n1", x), n2 = layer_norm(g, "n2", x), n3 = layer_norm(g, "n3", x),
                    n4 = layer_norm(g, "n4", x), n5 = layer_norm(g, "n5", x), n6 = layer_norm(g, "n6", x),
                    n7 = layer_norm(g, "n7", odd);
    sdg_graph_output(g, "plain", linear(g, "l1", n1, 5));
    sdg_graph_output(g, "gated", sdg_graph_geglu(g, "gate", linear(g, "l2", n1, 8)));
    sdg_graph_output(g, "added", sdg_graph_linear(g, "l3", n1, sdg_graph_linear_weight(g, 8, 8, "w3"), residual));
    sdg_graph_output(g, "read", linear(g, "l4", n2, 5));
    sdg_graph_output(g, "elsewhere", sdg_graph_unary(g, "u", n2, SDG_UNARY_RELU));
    sdg_graph_output(g, "seen", n3);
    sdg_graph_output(g, "and read", linear(g, "l5", n3, 5));
    sdg_graph_output(g, "tabled", sdg_graph_linear(g, "l6", n4, weight, (struct sdg_epilogue){.table = table}));
    sdg_graph_output(g, "conv", conv(g, "c", n5, 4, 3, 1, 0));
    sdg_graph_output(g, "half of it", linear(g, "l7", n6, 640));
    sdg_graph_output(g, "more", linear(g, "l8", n6, 641));
    sdg_graph_output(g, "no fours", linear(g, "l9", n7, 4));
    const size_t ops = g->op_count;
    assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    fuse_for_and_compare(g, SDG_FUSION_GATE | SDG_FUSION_NORM);
    assert_int_equal(g->op_count, ops - 1); // the gate
    static const char *const into[] = {"l1", "l2", "l3"}, *const kept[] = {"n2", "n3", "n4", "n5", "n6", "n7"};
    for (size_t i = 0; i < sizeof into / sizeof *into; i++)
        assert_true(find_op(g, into[i])->in[0] == x && find_op(g, into[i])->load.norm == n1);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_false(sdg_op_is_fused(find_op(g, kept[i])));
    assert_true(find_op(g, "n1")->u.layer_norm.statistics);
    assert_int_equal(sdg_value_elements(&g->values[n1]), 2 * (8 + 2 * 3 * 5));
    assert_true(sdg_op_is_interval(find_op(g, "n1"), n1) && sdg_op_is_interval(find_op(g, "l1"), n1));
    sdg_value reads[SDG_OP_MAX_READS];
    assert_int_equal(sdg_op_reads(g, find_op(g, "l1"), reads), 2);
    sdg_graph_destroy(&g);
}

static void codes_product(struct sdg_graph *g, const char *name, sdg_value x, sdg_value codes, sdg_value interval,
                          int kernel, int stride)
{
    const sdg_value y = conv(g, name, x, 4, kernel, stride, 0), scale = sdg_graph_vector_weight(g, 4, "%s.scale", name);
    assert_int_equal(sdg_graph_use_codes(g, g->op_count - 1, codes, interval, scale, 8), SDG_OK);
    sdg_graph_output(g, name, y);
}

// Halves that are rounded to codes of one interval, by one or two products that load each value a few times.
static void fuse_roundings(void **state)
{
    (void)state;
    static const char *const names[] = {"q0", "q1", "q2", "q3", "q4", "q5", "q6"};
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 4, 6, 8), i = sdg_graph_interval_table(g, "i", 3, 1),
                    tokens = sdg_graph_interval_table(g, "tokens", 3, 24);
    sdg_value q[7];
    for (size_t k = 0; k < 7; k++)
        q[k] = sdg_graph_quantize(g, names[k], x, k == 6 ? tokens : i, k % 2 ? -128 : 0, k % 2 ? 127 : 255);
    assert_int_equal(sdg_graph_smooth(g, g->op_count - 2, sdg_graph_vector_weight(g, 8, "s")), SDG_OK);
    codes_product(g, "one", x, q[0], i, 1, 1);
    codes_product(g, "halving", x, q[1], i, 3, 2);
    codes_product(g, "first", x, q[2], i, 1, 1);
    codes_product(g, "second", x, q[2], i, 1, 1);
    codes_product(g, "nine times", x, q[3], i, 3, 1);
    codes_product(g, "seen", x, q[4], i, 1, 1);
    sdg_graph_output(g, "codes", q[4]);
    codes_product(g, "smoothed", x, q[5], i, 1, 1);
    codes_product(g, "by token", x, q[6], tokens, 1, 1);
    assert_int_equal(sdg_graph_fuse_for(g, SDG_FUSION_QUANTIZE), SDG_OK);
    assert_int_equal(count_ops(g, SDG_OP_QUANTIZE), 7); // floats of 32 bits
    assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    assert_int_equal(sdg_graph_fuse_for(g, SDG_FUSION_QUANTIZE), SDG_OK);
    assert_int_equal(count_ops(g, SDG_OP_QUANTIZE), 4);
    static const char *const into[] = {"one", "halving", "first", "second"};
    for (size_t k = 0; k < sizeof into / sizeof *into; k++) {
        const struct sdg_op *op = find_op(g, into[k]);
        assert_true(op->in[0] == x && op->in[2] == i && op->load.codes.interval == i && sdg_op_is_fused(op));
        assert_int_equal(op->load.codes.lowest, k == 1 ? -128 : 0);
    }
    sdg_graph_destroy(&g);
}

static void fuse_keeps_results(void **state)
{
    (void)state;
    size_t before = 0, after = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct sdg_graph *g = random_graph(seed, (int)(6 + seed % 40));
        before += g->op_count;
        fuse_for_and_compare(g, seed % 2 ? ~0u : 0);
        after += g->op_count;
        sdg_graph_destroy(&g);
    }
    print_message("400 random graphs: %zu operations become %zu\n", before, after);
    for (uint64_t seed = 0; seed < 6; seed++) {
        random_state = seed;
        struct sdg_graph *g = unet(2, 5 + (int64_t)seed % 3, 4, 2, 2, 2);
        fuse_and_compare(g);
        assert_int_equal(count_ops(g, SDG_OP_CONCAT) + count_ops(g, SDG_OP_BINARY) + count_ops(g, SDG_OP_UNARY), 0);
        sdg_graph_destroy(&g);
    }
}

// ---- tests: plans ----

struct span { size_t first, last, offset, bytes; };

// Brute force, from the definition: who is alive when, and where. Returns the largest sum of (aligned) bytes alive at
// once.
static size_t check_plan(const struct sdg_graph *g, const struct sdg_plan *plan, size_t alignment, size_t piece,
                         const size_t *scratch)
{
    struct span *spans = calloc(g->value_count + g->op_count, sizeof *spans);
    size_t count = 0;
    for (size_t v = 0; v < g->value_count; v++) {
        if (g->values[v].kind != SDG_VALUE_ACTIVATION) {
            assert_true(plan->offset[v] == SIZE_MAX);
            continue;
        }
        struct span *s = &spans[count++];
        s->first = SIZE_MAX;
        s->offset = plan->offset[v];
        s->bytes = (size_t)sdg_value_elements(&g->values[v]) * sdg_dtype_size(g->values[v].dtype);
        for (size_t i = 0; i < g->op_count; i++) {
            const struct sdg_op *op = &g->ops[i];
            if (op->out == v)
                s->first = i;
            if (op->out == v || op->in[0] == v || op->in[1] == v || op->in[2] == v || op->in[3] == v ||
                op->epilogue.residual == v)
                s->last = i;
        }
        if (g->values[v].output)
            s->last = g->op_count;
    }
    for (size_t i = 0; i < g->op_count; i++) {
        if (scratch && scratch[i])
            spans[count++] = (struct span){i, i, plan->scratch[i], scratch[i]};
        else
            assert_true(plan->scratch[i] == SIZE_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(spans[i].offset % alignment == 0);
        if (piece && spans[i].bytes)
            assert_true(spans[i].offset / piece == (spans[i].offset + spans[i].bytes - 1) / piece);
        assert_true(spans[i].offset <= plan->arena_bytes && spans[i].bytes <= plan->arena_bytes - spans[i].offset);
        for (size_t k = 0; k < i; k++) {
            bool together = spans[i].first <= spans[k].last && spans[k].first <= spans[i].last;
            bool overlap = spans[i].offset < spans[k].offset + spans[k].bytes &&
                spans[k].offset < spans[i].offset + spans[i].bytes;
            assert_false(together && overlap);
        }
    }
    size_t peak = 0;
    for (size_t t = 0; t < g->op_count; t++) {
        size_t alive = 0;
        for (size_t i = 0; i < count; i++)
            alive += spans[i].first <= t && t <= spans[i].last
                ? (spans[i].bytes + alignment - 1) / alignment * alignment
                : 0;
        peak = alive > peak ? alive : peak;
    }
    free(spans);
    return peak;
}

// The most bytes, aligned, that lie together.
static size_t largest_of(const struct sdg_graph *g, const size_t *scratch, size_t alignment)
{
    size_t most = alignment;
    for (size_t v = 1; v < g->value_count; v++) {
        const size_t bytes = (size_t)sdg_value_elements(&g->values[v]) * sdg_dtype_size(g->values[v].dtype);
        most = g->values[v].kind == SDG_VALUE_ACTIVATION && bytes > most ? bytes : most;
    }
    for (size_t i = 0; i < g->op_count; i++)
        most = scratch[i] > most ? scratch[i] : most;
    return (most + alignment - 1) / alignment * alignment;
}

static void plans_do_not_overlap(void **state)
{
    (void)state;
    double worst = 0, cut = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct sdg_graph *g = random_graph(seed, (int)(8 + seed % 100));
        if (seed % 2)
            assert_int_equal(sdg_graph_fuse(g), SDG_OK);
        assert_int_equal(sdg_graph_set_type(g, seed % 3 ? SDG_F32 : SDG_BF16), SDG_OK);
        size_t alignment = (size_t)1 << seed % 9, *scratch = calloc(g->op_count, sizeof *scratch);
        for (size_t i = 0; i < g->op_count; i++)
            scratch[i] = random_bits() % 3 ? 0 : random_bits() % 3000;
        struct sdg_plan *plan;
        assert_int_equal(sdg_plan_create(g, alignment, 0, seed % 5 ? scratch : NULL, &plan), SDG_OK);
        assert_int_equal(plan->live_peak, check_plan(g, plan, alignment, 0, seed % 5 ? scratch : NULL));
        assert_true(plan->arena_bytes >= plan->live_peak);
        const size_t whole = plan->arena_bytes;
        sdg_plan_destroy(&plan);
        // in pieces of what the largest needs, and a little more
        const size_t piece = largest_of(g, scratch, alignment) + seed % 4 * alignment;
        assert_int_equal(sdg_plan_create(g, alignment, piece, seed % 5 ? scratch : NULL, &plan), SDG_OK);
        check_plan(g, plan, alignment, piece, seed % 5 ? scratch : NULL);
        cut = fmax(cut, (double)plan->arena_bytes / (double)whole);
        worst = fmax(worst, (double)whole / (double)plan->live_peak);
        sdg_plan_destroy(&plan);
        assert_null(plan);
        free(scratch);
        sdg_graph_destroy(&g);
    }
    print_message("300 random graphs: arena at most %.3f of the lower bound, in pieces %.3f of the whole\n", worst,
                  cut);
    assert_true(cut < 4);
}

static void plan_of_a_unet(void **state)
{
    (void)state;
    random_state = 5;
    for (int fused = 0; fused < 2; fused++) {
        struct sdg_graph *g = unet(2, 64, 32, 4, 2, 32);
        assert_int_equal(sdg_graph_check(g), SDG_OK);
        if (fused)
            assert_int_equal(sdg_graph_fuse(g), SDG_OK);
        struct sdg_plan *plan;
        assert_int_equal(sdg_plan_create(g, 64, 0, NULL, &plan), SDG_OK);
        assert_int_equal(plan->live_peak, check_plan(g, plan, 64, 0, NULL));
        print_message("UNet of %zu operations: lower bound %zu KiB, arena %.3f of it\n", g->op_count,
                      plan->live_peak / 1024, (double)plan->arena_bytes / (double)plan->live_peak);
        assert_true((double)plan->arena_bytes <= 1.1 * (double)plan->live_peak);
        sdg_plan_destroy(&plan);
        sdg_graph_destroy(&g);
    }
}

static void plan_refuses(void **state)
{
    (void)state;
    struct sdg_graph *g = random_graph(1, 10);
    struct sdg_plan *plan;
    assert_int_equal(sdg_plan_create(g, 0, 0, NULL, &plan), SDG_ERROR_USAGE);
    assert_int_equal(sdg_plan_create(g, 48, 0, NULL, &plan), SDG_ERROR_USAGE);
    size_t scratch[16] = {SIZE_MAX - 3};
    assert_int_equal(sdg_plan_create(g, 64, 0, scratch, &plan), SDG_ERROR_MEMORY);
    scratch[0] = SIZE_MAX - 127; // fits alone, not beside the operation's result
    assert_int_equal(sdg_plan_create(g, 64, 0, scratch, &plan), SDG_ERROR_MEMORY);
    scratch[0] = 1000;
    assert_int_equal(sdg_plan_create(g, 64, 100, scratch, &plan), SDG_ERROR_USAGE);      // half an alignment
    assert_int_equal(sdg_plan_create(g, 64, 64, scratch, &plan), SDG_ERROR_UNSUPPORTED); // larger than a piece
    assert_null(plan);
    assert_int_equal(messages.errors, 6);
    sdg_graph_destroy(&g);
}

// ---- tests: failing allocations ----

static enum sdg_result build_fuse_plan(void)
{
    struct sdg_graph *g = NULL, *copy = NULL;
    struct sdg_plan *plan = NULL;
    memset(&messages, 0, sizeof messages);
    random_state = 0;
    enum sdg_result result = sdg_graph_create(&test_log, &g);
    if (result == SDG_OK) {
        sdg_value x = sdg_graph_input(g, "x", 2, 4, 4, 4), skip = sdg_graph_unary(g, "skip", x, SDG_UNARY_TANH);
        sdg_value h = res_block(g, "res", sdg_graph_concat(g, "cat", x, skip), 8, 2);
        sdg_graph_output(g, "out", h);
        result = sdg_graph_check(g);
    }
    if (result == SDG_OK)
        result = sdg_graph_fuse(g);
    if (result == SDG_OK)
        result = sdg_graph_copy(&test_log, g, &copy);
    if (result == SDG_OK)
        result = sdg_plan_create(copy, 64, 0, NULL, &plan);
    if (result != SDG_OK)
        assert_null(plan);
    sdg_plan_destroy(&plan);
    sdg_graph_destroy(&copy);
    sdg_graph_destroy(&g);
    return result;
}

static void failing_allocations(void **state)
{
    (void)state;
    sdg_test_fail_allocation(0);
    assert_int_equal(build_fuse_plan(), SDG_OK);
    size_t count = sdg_test_fail_allocation(0);
    assert_true(count > 30);
    for (size_t n = 1; n <= count; n++) {
        sdg_test_fail_allocation(n);
        assert_int_equal(build_fuse_plan(), SDG_ERROR_MEMORY);
        assert_int_equal(messages.errors, 1);
    }
    sdg_test_fail_allocation(0);
    print_message("%zu allocations\n", count);
}

static void keep_line(void *user, enum sdg_log_level level, const char *message)
{
    if (level == SDG_LOG_DEBUG && strstr(message, "res.conv_shortcut[4:8]"))
        snprintf(user, 512, "%s", message);
}

static void listing(void **state)
{
    (void)state;
    char line[512] = "";
    const struct sdg_log log = {.fn = keep_line, .user = line, .level = SDG_LOG_DEBUG};
    struct sdg_graph *g;
    assert_int_equal(sdg_graph_create(&log, &g), SDG_OK);
    sdg_value x = sdg_graph_input(g, "x", 2, 4, 4, 4);
    sdg_graph_output(
        g, "out",
        res_block(g, "res", sdg_graph_concat(g, "cat", x, sdg_graph_unary(g, "skip", x, SDG_UNARY_TANH)), 8 + 2, 2));
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    sdg_graph_print(g);
    print_message("%s\n", line);
    assert_non_null(strstr(line, "[2,4,4,10] = conv2d"));
    assert_non_null(strstr(line, "res.conv_shortcut.weight[:,4:8] [10,4,1,1]"));
    assert_non_null(strstr(line, "-> out"));
    sdg_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fuse_patterns),       cmocka_unit_test(fuse_leaves_alone),
        cmocka_unit_test(fuse_chain),          cmocka_unit_test(fuse_upsampling),
        cmocka_unit_test(fuse_gates),          cmocka_unit_test(fuse_gated_codes),
        cmocka_unit_test(fuse_norms),          cmocka_unit_test(fuse_roundings),
        cmocka_unit_test(fuse_keeps_results),  cmocka_unit_test(plans_do_not_overlap),
        cmocka_unit_test(plan_of_a_unet),      cmocka_unit_test(plan_refuses),
        cmocka_unit_test(failing_allocations), cmocka_unit_test(listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
