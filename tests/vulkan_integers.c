// Integers on the Vulkan backend beside their operations (tests/ops.c has those): both rungs of the products, tiles,
// what weights cost, networks in which codes are passed on, small devices. Under the validation layers where they are
// installed.
//
// Scales here are powers of two and sums have fewer than 24 bits, so that results are the same bit for bit as the
// reference's.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include "tests/support/vulkan.h"

#if SDG_HAVE_VULKAN

// ---- helpers ----

// With the packed dot product, also where it is emulated, or without. False where the device has none.
static bool choose_dot(struct sdg_vk *vk, bool dot)
{
    vk->features = dot ? vk->features | SDG_FEATURE_DOT : vk->features & ~(unsigned)SDG_FEATURE_DOT;
    if (dot && !vk->caps.dot_product)
        printf("skipped: packed dot products, not on this device\n");
    return !dot || vk->caps.dot_product;
}

static sdg_value interval(struct sdg_graph *g, const char *name, int lowest)
{
    char full[80];
    snprintf(full, sizeof full, "%s:%s", lowest < 0 ? "signed" : "unsigned", name);
    return sdg_graph_table(g, full, 3, 1, 2);
}

static void make_integer(struct sdg_graph *g, size_t op, sdg_value codes, sdg_value of_codes, int bits)
{
    const char *name = g->ops[op].name;
    sdg_value scale = sdg_graph_vector_weight(g, g->values[g->ops[op].in[1]].dims[0], "%s.weight_scale", name);
    assert_int_equal(sdg_graph_use_codes(g, op, codes, of_codes, scale, bits), SDG_OK);
}

static sdg_value linear(struct sdg_graph *g, const char *name, sdg_value x, int64_t out)
{
    struct sdg_epilogue e = {.bias = sdg_graph_vector_weight(g, out, "%s.bias", name)};
    return sdg_graph_linear(g, name, x, sdg_graph_linear_weight(g, out, channels_of(g, x), "%s.weight", name), e);
}

struct chain {
    int64_t in, out;
    int lowest, bits;
};

// Codes from beginning to end: quantize, a convolution that emits codes, upsampled, sliced, into a linear layer.
static struct sdg_graph *new_chain(const struct chain *c)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 5, 6, c->in), first = interval(g, "x", c->lowest),
              second = interval(g, "y", c->lowest);
    sdg_value q = sdg_graph_quantize(g, "q", x, first, c->lowest, c->lowest + 255);
    sdg_value y = conv(g, "conv", x, c->out, 3, 1, 0);
    make_integer(g, g->op_count - 1, q, first, c->bits);
    assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, second, c->lowest, c->lowest + 255), SDG_OK);
    int64_t start = c->out % 4 ? 1 : 4;
    y = sdg_graph_upsample_nearest(g, "larger", y, 7, 13);
    y = sdg_graph_slice(g, "part", y, start, c->out - start);
    sdg_graph_output(g, "codes", y);
    sdg_graph_output(g, "z", linear(g, "linear", sdg_graph_input(g, "shape", 2, 7, 13, c->out - start), 7));
    make_integer(g, g->op_count - 1, y, second, c->bits);
    return g;
}

static const struct chain chains[] = {{4, 8, -128, 8}, {4, 8, 0, 4},    {33, 17, -128, 4}, {33, 17, 0, 8},
                                      {64, 40, 0, 8},  {5, 3, -128, 8}, {3, 34, 0, 4},     {72, 32, -128, 4}};
enum { CHAINS = sizeof chains / sizeof *chains };

// ---- rungs and tiles ----

static void test_rungs(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    assert_int_equal((vk->features & SDG_FEATURE_DOT) != 0, vk->caps.dot_accelerated); // in use only where it is quick
    for (int dot = 0; dot < 2; dot++) {
        if (!choose_dot(vk, dot))
            continue;
        for (int i = 0; i < CHAINS; i++) {
            vk->caps.mapped_uploads = i % 2;
            struct sdg_graph *g = new_chain(&chains[i]);
            struct kernels k = kernels_of(vk, g);
            char wanted[64];
            snprintf(wanted, sizeof wanted, "conv=conv2d_s8%s%s_", chains[i].bits == 4 ? "_w4" : "", dot ? "_dot" : "");
            assert_non_null(strstr(k.text, wanted));
            assert_non_null(strstr(k.text, chains[i].lowest ? "q=quantize_f32_v4_s8" : "q=quantize_f32_v4_u8"));
            assert_non_null(strstr(k.text, "linear=linear_s8"));
            assert_true(compare(vk, g) == 0);
        }
    }
    close_vk(vk);
    vk = new_vk(&(struct sdg_backend_params){.device = -1, .disable = SDG_FEATURE_DOT});
    assert_false(vk->caps.dot_product);
    assert_false(vk->features & SDG_FEATURE_DOT);
    close_vk(vk);
}

static struct sdg_graph *wide_product(int64_t m, int64_t n, int64_t k, int bits)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, m, k), of_x = interval(g, "x", 0),
              q = sdg_graph_quantize(g, "q", x, of_x, 0, 255);
    sdg_graph_output(g, "y", linear(g, "to_y", x, n));
    make_integer(g, g->op_count - 1, q, of_x, bits);
    return g;
}

static void test_tiles(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.software = false; // else the largest tile is left out
    static const struct {
        int64_t m, n, k;
        const char *big, *small;
    } shapes[] = {
        {1024, 1024, 20, "_128x128", "_64x64"}, {600, 500, 70, "_64x64", "_64x64"}, {70, 40, 37, "_32x32", "_32x32"},
        {300, 3, 64, "_128x8", "_128x8"},       {3, 70, 100, "_8x32", "_8x32"},
    };
    for (int dot = 0; dot < 2; dot++)
        for (size_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0] && choose_dot(vk, dot); i++) {
            const bool small = i % 2;
            vk->caps.max_invocations = small ? 128 : vk->properties.limits.maxComputeWorkGroupInvocations;
            struct sdg_graph *g = wide_product(shapes[i / 2].m, shapes[i / 2].n, shapes[i / 2].k, small ? 4 : 8);
            assert_non_null(strstr(kernels_of(vk, g).text, small ? shapes[i / 2].small : shapes[i / 2].big));
            assert_true(compare(vk, g) == 0);
        }
    close_vk(vk);
}

// ---- networks ----

static bool is_read_once(const struct sdg_graph *g, sdg_value v)
{
    int count = g->values[v].output;
    for (size_t i = 0; i < g->op_count; i++) {
        sdg_value reads[SDG_OP_MAX_READS];
        int read = sdg_op_reads(g, &g->ops[i], reads);
        for (int k = 0; k < read; k++)
            count += reads[k] == v;
    }
    return count == 1;
}

static bool can_emit_codes(const struct sdg_graph *g, sdg_value v, size_t *op)
{
    for (*op = 0; *op < g->op_count && g->ops[*op].out != v; ++*op)
        ;
    if (*op == g->op_count || !is_read_once(g, v))
        return false;
    switch (g->ops[*op].kind) {
    case SDG_OP_CONV2D:
    case SDG_OP_LINEAR:
    case SDG_OP_GROUP_NORM:
    case SDG_OP_LAYER_NORM:
    case SDG_OP_GEGLU:
    case SDG_OP_ATTENTION: return true;
    default: return false;
    }
}

// Every product in integers, its input as codes where it is made, else by an operation of its own, with measured
// intervals for some.
static void quantize_all(struct sdg_graph *g, int bits)
{
    for (size_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind != SDG_OP_CONV2D && g->ops[i].kind != SDG_OP_LINEAR)
            continue;
        char name[64];
        sdg_value x = g->ops[i].in[0], codes = x, of_codes;
        size_t maker;
        snprintf(name, sizeof name, "q%zu", i);
        if (can_emit_codes(g, x, &maker)) {
            of_codes = interval(g, name, i % 3 ? -128 : 0);
            assert_int_equal(sdg_graph_emit_codes(g, maker, of_codes, i % 3 ? -128 : 0, i % 3 ? 127 : 255), SDG_OK);
        } else {
            of_codes = i % 2 ? interval(g, name, -128) : sdg_graph_measure_interval(g, name, x, -128, 127);
            if (i % 2 == 0)
                sdg_graph_move_op(g, g->op_count - 1, i++);
            codes = sdg_graph_quantize(g, name, x, of_codes, -128, 127);
            sdg_graph_move_op(g, g->op_count - 1, i++);
        }
        make_integer(g, i, codes, of_codes, bits);
    }
}

// The arena is full of codes here; a barrier too few is a message of the validation layers or a wrong result. Rounding
// of the floats between products flips a code now and then.
static void test_unet(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    for (int i = 0; i < 3; i++) {
        const bool half = i == 1, odd = i > 0, dot = i == 2;
        if (!choose_dot(vk, dot) || (half && !sdg_backend_has_type(&vk->base, SDG_F16)))
            continue;
        random_state = 11;
        struct sdg_graph *g = unet(2, 7, odd ? 9 : 12, 2, 1, 3);
        assert_int_equal(sdg_graph_fuse(g), SDG_OK);
        if (half)
            assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
        quantize_all(g, odd ? 4 : 8);
        double error = compare(vk, g);
        printf("unet of %d bits, %s%s: NMSE %.1e\n", odd ? 4 : 8, half ? "f16" : "f32", dot ? ", dot" : "", error);
        assert_true(error < (half ? 2e-3 : 2e-4));
    }
    close_vk(vk);
}

// ---- memory and limits ----

static size_t weight_memory(struct sdg_vk *vk, int bits)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 6, 6, 128), of_x = interval(g, "x", 0),
              q = sdg_graph_quantize(g, "q", x, of_x, 0, 255);
    sdg_graph_output(g, "y", conv(g, "conv", x, 64, 3, 1, 0));
    if (bits < 32)
        make_integer(g, g->op_count - 1, q, of_x, bits);
    struct sdg_tensors *weights = weights_of(g);
    struct sdg_program *program = new_program(&vk->base, g, weights);
    struct sdg_memory memory;
    sdg_program_memory(program, &memory);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    return memory.weights;
}

// On the device weights take their own bits: beside them only bias, scale and sum per output.
static void test_memory(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    const size_t elements = 64 * 128 * 9, vectors = 3 * 64 * sizeof(float), padding = 3 * vk->caps.alignment;
    for (int bits = 4; bits <= 32; bits *= 2) {
        if (bits == 16)
            continue;
        size_t bytes = weight_memory(vk, bits);
        printf("%zu weights of %d bits: %zu bytes\n", elements, bits, bytes);
        assert_true(bytes >= elements * (size_t)bits / 8 && bytes <= elements * (size_t)bits / 8 + vectors + padding);
    }
    close_vk(vk);
}

// No storage of 8 bits is asked of a device, but products of integers bind more buffers than others.
static void test_few_bindings(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    const uint32_t most = vk->caps.max_bindings;
    assert_int_equal(most, SDG_VK_MAX_BINDINGS);
    vk->caps.max_bindings = SDG_VK_MIN_BINDINGS;
    random_state = 11;
    assert_true(compare(vk, unet(1, 5, 8, 1, 1, 2)) < 1e-9);
    struct sdg_graph *g = new_chain(&chains[0]);
    struct sdg_program *program = (void *)1;
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_program_create(&vk->base, g, &(struct sdg_program_params){.plan_only = true}, &program),
                     SDG_ERROR_UNSUPPORTED);
    assert_null(program);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, "conv: conv2d on integers needs 10 buffers"));
    sdg_graph_destroy(&g);
    vk->caps.max_bindings = most;
    close_vk(vk);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = new_chain(&chains[2]);
    struct sdg_tensors *weights = weights_of(g);
    fail_each_allocation(g, weights, vk);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

int main(void)
{
    if (!find_vulkan())
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rungs),  cmocka_unit_test(test_tiles),        cmocka_unit_test(test_unet),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_few_bindings), cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests_name("vulkan_integers", tests, start, stop);
}
#else
int main(void)
{
    printf("skipped: this build has no Vulkan backend\n");
    return 0;
}
#endif
