// Which kernels the Vulkan backend takes on which device, and that all of them compute the same: rungs that are masked
// or not there, limits of small devices, cooperative matrices, pairs, lanes, weights in bands and slices. Everything
// runs under the validation layers where they are installed.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include "backend/vulkan/vk_program.h"
#include "tests/support/vulkan.h"

#if SDG_HAVE_VULKAN
// ---- masks and small devices ----

static unsigned rungs(const char *names)
{
    unsigned mask = 0;
    assert_true(sdg_vk_rungs(names, &mask));
    return mask;
}

static void test_masks(void **state)
{
    (void)state;
    unsigned mask = 77;
    assert_int_equal(rungs("dot"), SDG_FEATURE_DOT);
    assert_int_equal(rungs("f16,subgroup"), SDG_FEATURE_F16 | SDG_FEATURE_SUBGROUP);
    assert_int_equal(rungs(""), 0);
    assert_false(sdg_vk_rungs("f16,do", &mask) || sdg_vk_rungs("dots", &mask) || sdg_vk_rungs(",f16", &mask));
    assert_int_equal(mask, 77);
    struct sdg_vk *all = new_vk(NULL);
    bool subgroup = all->features & SDG_FEATURE_SUBGROUP;
    struct sdg_graph *g = layer_norms();
    assert_int_equal(strstr(kernels_of(all, g).text, "layer_norm_f32_subgroup") != NULL, subgroup);
    sdg_graph_destroy(&g);
    assert_true(compare(all, layer_norms()) < 1e-9);
    assert_false(sdg_backend_has_type(&all->base, SDG_BF16));
    close_vk(all);

    struct sdg_vk *none =
        new_vk(&(struct sdg_backend_params){.device = -1, .disable = rungs("subgroup,lanes,f16,pairs,dot,coopmat")});
    assert_int_equal(sdg_backend_info(&none->base)->features, 0);
    assert_false(sdg_backend_has_type(&none->base, SDG_F16));
    g = layer_norms();
    assert_non_null(strstr(kernels_of(none, g).text, "norm=layer_norm_f32 "));
    sdg_graph_destroy(&g);
    assert_true(compare(none, layer_norms()) < 1e-9);
    for (enum sdg_dtype type = SDG_F16; type <= SDG_BF16; type++) {
        g = layer_norms();
        assert_int_equal(sdg_graph_set_type(g, type), SDG_OK);
        expect_unsupported(none, g, "norm: ");
        assert_non_null(strstr(messages.last, sdg_dtype_name(type)));
    }
    close_vk(none);
}

static uint64_t identity_of(struct sdg_vk *vk, struct sdg_graph *g)
{
    struct sdg_program *program = plan_of(&vk->base, g);
    const uint64_t identity = sdg_vk_program_identity(program);
    sdg_program_destroy(&program);
    sdg_graph_destroy(&g);
    return identity;
}

// By which test_ops leaves out what a rung changes nothing of: other shaders, constants or sizes are another program.
static void test_identity(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->features &= ~(unsigned)(SDG_FEATURE_LANES | SDG_FEATURE_COOPMAT);
    const uint64_t norms = identity_of(vk, layer_norms()), product = identity_of(vk, short_product(70, 40));
    assert_true(norms != product && product != identity_of(vk, short_product(71, 40)));
    assert_true(norms == identity_of(vk, layer_norms()) && product == identity_of(vk, short_product(70, 40)));
    vk->caps.workgroups = 1; // the same shader with a larger tile, then a smaller one
    const uint64_t large = identity_of(vk, short_product(300, 300));
    vk->caps.workgroups = 1000;
    assert_true(large != identity_of(vk, short_product(300, 300)));
    vk->caps.workgroups = vk->shared->caps.workgroups;
    vk->features ^= SDG_FEATURE_SUBGROUP;
    assert_true(norms != identity_of(vk, layer_norms()) && product == identity_of(vk, short_product(70, 40)));
    close_vk(vk);
}

// With the smallest limits Vulkan allows, the same results with smaller tiles.
static void test_small_device(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->features &= ~(unsigned)(SDG_FEATURE_LANES | SDG_FEATURE_COOPMAT);
    vk->caps.most_outputs = 64; // as of any device: a processor has the largest tile left out ...
    vk->caps.workgroups = 64;   // ... and is content with fewer workgroups
    static const struct {
        int64_t m, n;
        const char *big, *small;
    } shapes[] = {
        {1024, 1024, "_128x128", "_64x64"}, {600, 500, "_64x64", "_64x64"}, {70, 40, "_32x32", "_32x32"},
        {300, 3, "_128x8", "_128x8"},       {3, 70, "_8x32", "_8x32"},
    };
    for (int small = 0; small < 2; small++) {
        if (small) {
            vk->caps.shared_bytes = 16384;
            vk->caps.max_invocations = 128;
            vk->caps.max_groups[0] = vk->caps.max_groups[1] = vk->caps.max_groups[2] = 65535;
            vk->caps.submit_seconds = 1e-9; // a submission for nearly every operation
        }
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            struct sdg_graph *g = short_product(shapes[i].m, shapes[i].n);
            assert_non_null(strstr(kernels_of(vk, g).text, small ? shapes[i].small : shapes[i].big));
            assert_true(compare(vk, g) < 1e-10);
        }
    }
    random_state = 11;
    assert_true(compare(vk, unet(2, 5, 8, 2, 1, 2)) < 1e-9);
    vk->caps.shared_bytes = 1024; // no tile: an error, not another shader's tile
    struct sdg_graph *g = short_product(70, 40);
    expect_unsupported(vk, g, "to_y: backend vulkan has no linear");
    close_vk(vk);
}

static float as_half(float x)
{
    return sdg_f32_from_f16(sdg_f16_from_f32(x));
}

// The error (NMSE) of a product of halves [m, k] and [n, k], against sums in float64.
static double half_error(struct sdg_vk *vk, int64_t m, int64_t n, int64_t k)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, m, k);
    sdg_graph_output(g, "y",
                     sdg_graph_linear(g, "to_y", x, sdg_graph_linear_weight(g, n, k, "w"), (struct sdg_epilogue){0}));
    assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    struct sdg_tensors *weights = weights_of(g);
    const float *w = sdg_tensors_find(weights, "w")->data;
    struct sdg_program *program = new_program(&vk->base, g, weights);
    size_t count;
    float *got = run_program(g, program, 0, &count);
    double error = 0, power = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t c = 0; c < k; c++) // what write_inputs() and weights_of() have written
                sum += (double)as_half(2 * hashed("x", i * k + c)) * (double)as_half(w[j * k + c]);
            error += ((double)got[i * n + j] - sum) * ((double)got[i * n + j] - sum);
            power += sum * sum;
        }
    free(got);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    return error / power;
}

// Products of halves in pairs. A half is rounded by 2^-11 of itself at most, which is a variance of 2^-22 / 3. Of the
// 16 products of a slice each may be rounded, and each of the 15 sums after the first, which are as large as the square
// root of their number: (16 + 2 + 3 + .. + 16) / 16 = 9.4 of these variances. Slices are added up in f32, so that
// longer rows are no worse, and the result is a half: 10.4 * 2^-22 / 3.
static void test_pairs(void **state)
{
    (void)state;
    const double bound = 10.4 * 0x1p-22 / 3;
    struct sdg_vk *vk = new_vk(NULL);
    if (!vk->caps.half_arithmetic || !sdg_backend_has_type(&vk->base, SDG_F16) ||
        !strstr(sdg_vk_find_shader(SDG_FEATURE_F16 | SDG_FEATURE_PAIRS, "linear", SDG_F16, 4, NULL)->name, "pairs")) {
        close_vk(vk);
        printf("skipped: arithmetic of halves, not on this device or not in this build\n");
        skip();
    }
    assert_true(vk->caps.half_pairs == ((vk->features & SDG_FEATURE_PAIRS) != 0)); // in use only where it is quick
    const unsigned rungs[] = {SDG_FEATURE_F16, SDG_FEATURE_F16 | SDG_FEATURE_PAIRS};
    static const int64_t lengths[] = {16, 320, 2880};
    for (int i = 0; i < 3; i++) {
        double error[2];
        for (int k = 0; k < 2; k++) {
            vk->features = rungs[k];
            error[k] = half_error(vk, 37, 33, lengths[i]);
        }
        printf("%d products: NMSE %.1e, in pairs %.1e\n", (int)lengths[i], error[0], error[1]);
        assert_true(error[0] < 0x1p-22 / 3 && error[1] > error[0] && error[1] < bound);
    }
    close_vk(vk);
}

// Products within subgroups: all their tiles, rows and columns that do not fill one, channels that are no multiple of a
// load, results that are codes or not, whole networks.
static void test_lanes(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->features = (vk->features & ~(unsigned)SDG_FEATURE_COOPMAT) | SDG_FEATURE_LANES;
    if (has_lanes(vk)) {
        const uint32_t columns = vk->caps.subgroup_size * 4;
        static const struct {
            int64_t m, n;
            uint32_t rows, few;
        } shapes[] = {{600, 500, 32, 0}, {70, 40, 16, 0}, {300, 3, 32, 1}, {3, 70, 8, 0}, {33, 65, 16, 0}};
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            struct sdg_graph *g = short_product(shapes[i].m, shapes[i].n);
            char wanted[40];
            snprintf(wanted, sizeof wanted, "linear_f32_v4_lanes_%ux%u", shapes[i].rows,
                     shapes[i].few ? columns / 4 : columns);
            assert_non_null(strstr(kernels_of(vk, g).text, wanted));
            assert_true(compare(vk, g) < 1e-10);
        }
        random_state = 11;
        assert_true(compare(vk, unet(2, 5, 8, 2, 1, 2)) < 1e-9);
        random_state = 12;
        assert_true(compare(vk, unet(2, 7, 12, 2, 1, 3)) < 1e-9);
    } else {
        printf("skipped: products within subgroups, not on this device\n");
    }
    close_vk(vk);
}

// The bodies of attention that are chosen, here for the 77 keys of a prompt, planned and not run.
static void test_attention_bodies(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = new_graph();
    const sdg_value q = sdg_graph_input(g, "q", 1, 16, 16, 320), k = sdg_graph_input(g, "k", 1, 1, 77, 320),
                    v = sdg_graph_input(g, "v", 1, 1, 77, 320);
    sdg_graph_output(g, "y", sdg_graph_attention(g, "attend", q, k, v, 8, 0.2f, false));
    vk->features |= SDG_FEATURE_LANES | SDG_FEATURE_SUBGROUP;
    vk->caps.subgroup_shuffle = vk->caps.full_subgroups = true;
    vk->caps.subgroup_size = 8;
    vk->caps.workgroups = 16;
    vk->caps.shared_bytes = 32768;
    assert_non_null(strstr(kernels_of(vk, g).text, "attend=attention_f32_v4_lanes_d40_32x40"));
    vk->features &= ~(unsigned)SDG_FEATURE_LANES;
    assert_non_null(strstr(kernels_of(vk, g).text, "attend=attention_f32_subgroup_d40_32x80"));
    vk->caps.subgroup_size = 4; // fewer than share a row
    assert_non_null(strstr(kernels_of(vk, g).text, "attend=attention_f32_d40_32x80"));
    vk->caps.subgroup_size = 32;
    vk->caps.full_subgroups = false;
    assert_non_null(strstr(kernels_of(vk, g).text, "attend=attention_f32_d40_32x80"));
    vk->caps.shared_bytes = 16384; // the least that there is
    assert_non_null(strstr(kernels_of(vk, g).text, "attend=attention_f32_d40_32x32"));
    sdg_graph_destroy(&g);
    close_vk(vk);
}

static struct sdg_graph *embedding(void)
{
    struct sdg_graph *g = new_graph();
    sdg_value ids = sdg_graph_input_s32(g, "ids", 2, 77);
    sdg_graph_output(g, "y",
                     sdg_graph_embed(g, "embed", ids, sdg_graph_linear_weight(g, 1000, 24, "tokens"),
                                     sdg_graph_linear_weight(g, 77, 24, "positions")));
    return g;
}

// ---- cooperative matrices ----

// A convolution, linear layers and attention in f16, whose rows are of a length that matrices take.
static struct sdg_graph *matrix_graph(int64_t side, int64_t c, int64_t heads, int64_t keys)
{
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 1, side, side, c), context = sdg_graph_input(g, "c", 1, 1, keys, c);
    const sdg_value y = conv(g, "conv", x, c, 3, 1, 0);
    const struct sdg_epilogue none = {0};
    const sdg_value q = sdg_graph_linear(g, "to_q", y, sdg_graph_linear_weight(g, c, c, "q"), none),
                    k = sdg_graph_linear(g, "to_k", context, sdg_graph_linear_weight(g, c, c, "k"), none),
                    v = sdg_graph_linear(g, "to_v", context, sdg_graph_linear_weight(g, c, c, "v"), none);
    const float scale = 1 / sqrtf((float)(c / heads));
    sdg_graph_output(g, "y", sdg_graph_attention(g, "attend", q, k, v, (int)heads, scale, false));
    assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    return g;
}

static void expect_kernels(struct sdg_vk *vk, const struct sdg_graph *g, const char *product, const char *attention)
{
    const struct kernels k = kernels_of(vk, g);
    char wanted[4][80];
    snprintf(wanted[0], sizeof wanted[0], "conv=conv2d_f16_%s", product);
    snprintf(wanted[1], sizeof wanted[1], "to_q=linear_f16_%s", product);
    snprintf(wanted[2], sizeof wanted[2], "attend=attention_f16_%s", attention);
    for (int i = 0; i < 3; i++)
        if (!strstr(k.text, wanted[i]))
            fail_msg("%s is not among %s", wanted[i], k.text);
}

// With room for two slices, for one, for products only and for nothing.
static void test_matrices(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    const unsigned needed = SDG_FEATURE_COOPMAT | SDG_FEATURE_F16;
    vk->features &= ~(unsigned)(SDG_FEATURE_LANES | SDG_FEATURE_SUBGROUP);
    if ((vk->features & needed) != needed) {
        close_vk(vk);
        printf("skipped: cooperative matrices, not on this device or not in this build\n");
        skip();
    }
    static const struct {
        uint32_t shared_bytes;
        const char *product, *attention;
    } rooms[] = {{32768, "v8_coopmat_", "v8_coopmat_"},
                 {12000, "v8_coopmat_", "v8_coopmat_"},
                 {8000, "v8_coopmat_", "d32_"},
                 {5000, "v4_", "d32_"}};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        vk->caps.shared_bytes = rooms[i].shared_bytes;
        struct sdg_graph *g = matrix_graph(7, 64, 2, 45);
        expect_kernels(vk, g, rooms[i].product, rooms[i].attention);
        const double error = compare(vk, g);
        printf("%u bytes of shared memory: NMSE %.1e\n", rooms[i].shared_bytes, error);
        assert_true(error < 1e-5); // four values of f16 behind each other
    }
    close_vk(vk);
}

// What is chosen on devices of which none is here, planned and not run.
static void test_matrix_plans(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->features = SDG_FEATURE_COOPMAT | SDG_FEATURE_F16;
    if (!strstr(sdg_vk_find_shader(vk->features, "linear", SDG_F16, 8, NULL)->name, "coopmat")) {
        close_vk(vk);
        printf("skipped: cooperative matrices, not in this build\n");
        skip();
    }
    vk->caps.max_invocations = 1024;
    vk->caps.software = false;
    vk->caps.workgroups = vk->caps.most_outputs = 64;
    vk->caps.least_part = 0;
    static const struct {
        struct sdg_vk_matrices matrices;
        uint32_t shared_bytes;
        const char *product, *attention;
        int64_t side, c, heads, keys;
    } plans[] = {
        // 32 invocations share 16 x 16 x 16, or less
        {{{{{16, 16, 16}, {16, 8, 16}, {16, 8, 8}}, 3}, {{{0}}, 0}, 32, 32, true},
         49152,
         "v8_coopmat_128x128",
         "v8_coopmat_d40_64x32",
         64,
         320,
         8,
         4096},
        {{{{{16, 16, 16}, {16, 8, 16}, {16, 8, 8}}, 3}, {{{0}}, 0}, 32, 32, true},
         49152,
         "v8_coopmat_128x128",
         "v8_coopmat_d40_32x80",
         64,
         320,
         8,
         77},
        {{{{{16, 16, 16}}, 1}, {{{0}}, 0}, 32, 32, true},
         49152,
         "v8_coopmat_128x128",
         "v8_coopmat_d512_16x64",
         64,
         512,
         1,
         4096},
        {{{{{16, 16, 16}}, 1}, {{{0}}, 0}, 32, 32, true},
         32768,
         "v8_coopmat_32x32",
         "v8_coopmat_d160_16x32",
         8,
         1280,
         8,
         64},
        // 64 of them, and 16 with flat matrices
        {{{{{16, 16, 16}}, 1}, {{{0}}, 0}, 64, 16, true},
         65536,
         "v8_coopmat_128x128",
         "v8_coopmat_d40_128x32",
         64,
         320,
         8,
         4096},
        {{{{{8, 16, 16}}, 1}, {{{0}}, 0}, 16, 64, true},
         65536,
         "v8_coopmat_128x64",
         "v8_coopmat_d64_128x32",
         64,
         320,
         5,
         4096},
        // nothing that the tiles are made of
        {{{{{12, 12, 12}}, 1}, {{{0}}, 0}, 32, 32, true}, 49152, "v4_128x128", "d40_32x32", 64, 320, 8, 4096},
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        vk->caps.matrices = plans[i].matrices;
        vk->caps.shared_bytes = plans[i].shared_bytes;
        struct sdg_graph *g = matrix_graph(plans[i].side, plans[i].c, plans[i].heads, plans[i].keys);
        expect_kernels(vk, g, plans[i].product, plans[i].attention);
        sdg_graph_destroy(&g);
    }
    close_vk(vk);
}

// ---- scans along tokens ----

// dt of about softplus(shift), rates of 0.4 to 2.7: states last for about 1 / dt tokens.
static struct sdg_graph *scan_graph(int64_t n, int64_t tokens, int64_t c, int64_t states, bool backward, float shift)
{
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", n, 1, tokens, c), delta = sdg_graph_input(g, "delta", n, 1, tokens, c);
    const struct sdg_scan_operands in = {
        .x = x,
        .delta = sdg_graph_affine(g, "dt", delta, 1, shift),
        .bc = sdg_graph_input(g, "bc", n, 1, tokens, 2 * states),
        .a_log = sdg_graph_matrix_weight(g, c, states, "a_log"),
        .d = sdg_graph_vector_weight(g, c, "d"),
        .gate = sdg_graph_input(g, "gate", n, 1, tokens, c),
        .add = x,
    };
    const struct sdg_scan_params params = {.c_start = states, .scale = 0.5f, .backward = backward};
    sdg_graph_output(g, "y", sdg_graph_selective_scan(g, "scan", in, params));
    return g;
}

// ---- group norm ----

static struct sdg_graph *norm_graph(int64_t n, int64_t h, int64_t w, int64_t c, int64_t second, int groups, bool silu)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", n, h, w, c);
    if (second)
        x = sdg_graph_concat(g, "both", x, sdg_graph_input(g, "x2", n, h, w, second));
    sdg_value y = norm(g, "norm", x, groups);
    sdg_graph_output(g, "y", silu ? sdg_graph_unary(g, "silu", y, SDG_UNARY_SILU) : y);
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    return g;
}

static struct sdg_work work_of(struct sdg_vk *vk, const struct sdg_graph *g)
{
    struct sdg_program *program = plan_of(&vk->base, g);
    const struct sdg_work work = sdg_program_work(program);
    sdg_program_destroy(&program);
    return work;
}

// In one dispatch where that keeps the device busy or the sample is short, else in two, over chunks; of one and two
// inputs.
static void test_group_norm(void **state)
{
    (void)state;
    static const struct {
        int64_t n, h, w, c, second;
        int groups;
        size_t dispatches; // of a device that wants many workgroups
    } shapes[] = {
        {2, 37, 29, 320, 0, 32, 2}, {1, 64, 33, 20, 12, 4, 2}, {1, 50, 81, 33, 0, 11, 2}, {1, 9, 3, 600, 0, 1, 1},
        {2, 20, 9, 387, 0, 3, 2},   {1, 7, 5, 64, 32, 32, 1},  {1, 90, 99, 8, 0, 2, 2},   {3, 11, 31, 96, 0, 32, 2},
    };
    struct sdg_vk *vk = new_vk(NULL);
    const uint32_t wanted[] = {1, UINT32_MAX};
    double worst = 0;
    for (size_t i = 0; i < 2 * (sizeof shapes / sizeof *shapes); i++) {
        struct sdg_graph *g = norm_graph(shapes[i / 2].n, shapes[i / 2].h, shapes[i / 2].w, shapes[i / 2].c,
                                         shapes[i / 2].second, shapes[i / 2].groups, i % 3 == 0);
        vk->caps.norm_workgroups = wanted[i % 2];
        assert_int_equal(work_of(vk, g).dispatches, i % 2 ? shapes[i / 2].dispatches : 1);
        worst = fmax(worst, compare(vk, g));
    }
    printf("group norms, worst NMSE %.1e\n", worst);
    assert_true(worst < 1e-11);
    close_vk(vk);
}

// What a run asks for: each value once for each dispatch that has it, of a table the row.
static void test_work(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 3, 5, 8), table = sdg_graph_table(g, "t", 7, 2, 16),
                    large = sdg_graph_upsample_nearest(g, "large", x, 6, 10);
    sdg_graph_output(g, "y", conv(g, "conv", large, 16, 3, 1, table));
    const double in = 2 * 3 * 5 * 8, out = 2 * 6 * 10 * 16, conv_weights = 16 * 8 * 9 + 16, row = 2 * 16;
    struct sdg_work work = work_of(vk, g);
    assert_int_equal(work.dispatches, 1); // the large picture is never there
    assert_true(work.bytes == 4 * (in + conv_weights + row + out));
    struct sdg_program *program = plan_of(reference, g);
    work = sdg_program_work(program);
    assert_int_equal(work.dispatches, 2);
    assert_true(work.bytes == 4 * (5 * in + 4 * in + conv_weights + row + out));
    sdg_program_destroy(&program);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// Which rung is taken, and that both give what the reference does.
static void test_scan(void **state)
{
    (void)state;
    static const struct {
        int64_t n, tokens, c, states;
        float shift;
        uint32_t workgroups; // wanted
        const char *kernel;
    } shapes[] = {
        {1, 4096, 33, 16, -2, 1, "scan=selective_scan_f32 "},
        {1, 4096, 33, 16, -2, 16, "scan=selective_scan_f32_chunks_of_512 "}, // two workgroups beside each other
        {1, 4096, 33, 16, -2, 1024, "scan=selective_scan_f32_chunks_of_16 "},
        {2, 4095, 8, 24, -4, 64, "scan=selective_scan_f32_chunks_of_128 "},
        {1, 16384, 3, 2, -9, 1, "scan=selective_scan_f32 "}, // hardly fades at all
        {1, 16384, 3, 2, -9, 1024, "scan=selective_scan_f32_chunks_of_16 "},
        {1, 129, 5, 16, -2, 1024, "scan=selective_scan_f32_chunks_of_16 "},
        {1, 128, 5, 16, -2, 1024, "scan=selective_scan_f32 "},  // few tokens
        {1, 150, 5, 200, -2, 1024, "scan=selective_scan_f32 "}, // more states than tokens
        {1, 600, 5, 200, -2, 1024, "scan=selective_scan_f32_chunks_of_200 "},
    };
    struct sdg_vk *vk = new_vk(NULL);
    double worst = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int backward = 0; backward < 2; backward++) {
            vk->caps.scan_workgroups = shapes[i].workgroups;
            struct sdg_graph *g =
                scan_graph(shapes[i].n, shapes[i].tokens, shapes[i].c, shapes[i].states, backward, shapes[i].shift);
            assert_non_null(strstr(kernels_of(vk, g).text, shapes[i].kernel));
            worst = fmax(worst, compare(vk, g));
        }
    printf("scans, worst NMSE %.1e\n", worst);
    assert_true(worst < 1e-10);
    // States between chunks that no binding can hold: token by token.
    vk->caps.max_range = 4096 * 33 * 4;
    struct sdg_graph *g = scan_graph(1, 4096, 33, 16, false, -2);
    assert_non_null(strstr(kernels_of(vk, g).text, "scan=selective_scan_f32 "));
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// A vocabulary longer than a binding may be goes in parts; any other value of that size is refused by name.
static void test_ranges(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.max_range = 40000; // tokens: 96000 bytes
    assert_true(compare(vk, embedding()) == 0);
    vk->caps.max_range = 800; // 2 * 77 * 24 floats do not fit
    struct sdg_graph *g = embedding();
    expect_unsupported(vk, g, "embed: ");
    close_vk(vk);
}

// ---- bands of a weight ----

// A linear layer, a convolution, a gated linear layer or one behind a norm, with all that an epilogue may have.
static struct sdg_graph *epilogue_graph(const char *kind, bool half)
{
    struct sdg_graph *g = new_graph();
    if (*kind == 'c') {
        sdg_value x = sdg_graph_input(g, "x", 2, 2, 3, 32), t = sdg_graph_table(g, "t", 3, 2, 328);
        sdg_graph_output(g, "y", conv(g, "conv", x, 328, 3, 1, t));
    } else {
        const int64_t n = *kind == 'g' ? 640 : 330;
        sdg_value x = sdg_graph_input(g, "x", 2, 1, 5, 256);
        if (*kind == 'n')
            x = layer_norm(g, "norm", x);
        struct sdg_epilogue e = {.bias = sdg_graph_vector_weight(g, n, "linear.bias")};
        if (*kind == 'l') {
            e.residual = sdg_graph_input(g, "r", 2, 1, 5, n);
            e.activation = SDG_UNARY_SILU;
        }
        sdg_value y = sdg_graph_linear(g, "linear", x, sdg_graph_linear_weight(g, n, 256, "linear.weight"), e);
        sdg_graph_output(g, "y", *kind == 'g' ? sdg_graph_geglu(g, "gate", y) : y);
    }
    if (half)
        assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    return g;
}

// Products whose weights are longer than a binding may be, on every body: floats and codes, two bands and three, the
// last of them short, weights in slices but for the first body. Sums are made in the same order, so that no bit
// changes, but where k is cut into parts or the matrices may have other sizes.
static void test_bands(void **state)
{
    (void)state;
    static const struct {
        unsigned rung;
        bool half;
        uint32_t least_part;
    } bodies[] = {{0, false, 0},
                  {0, false, 16},
                  {SDG_FEATURE_LANES, false, 0},
                  {SDG_FEATURE_LANES, true, 0},
                  {SDG_FEATURE_PAIRS, true, 0},
                  {SDG_FEATURE_COOPMAT, true, 0}};
    static const struct {
        const char *kind;
        int64_t k, band; // channels times taps; columns
        const char *bands;
        int bits; // of codes, 0: floats
    } cases[] = {{"linear", 256, 192, "_b2", 0},   {"linear", 256, 128, "_b3", 8}, {"conv", 288, 192, "_b2", 4},
                 {"conv", 288, 128, "_b3", 0},     {"gated", 256, 384, "_b2", 8},  {"gated", 256, 256, "_b3", 0},
                 {"norm", 256, 192, "_b2_norm", 0}};
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.workgroups = UINT32_MAX; // the smallest tile for whole and band, compiled once
    const unsigned rungs = SDG_FEATURE_LANES | SDG_FEATURE_PAIRS | SDG_FEATURE_COOPMAT, has = vk->features;
    if (vk->caps.alignment > 64) { // bands are whole multiples of it
        close_vk(vk);
        skip();
    }
    for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
        const unsigned rung = bodies[b].rung;
        if ((rung == SDG_FEATURE_LANES && !has_lanes(vk)) || (rung == SDG_FEATURE_COOPMAT && !(has & rung)) ||
            (rung == SDG_FEATURE_PAIRS && !vk->caps.half_arithmetic) || (bodies[b].half && !(has & SDG_FEATURE_F16))) {
            printf("skipped: body %zu, not on this device\n", b);
            continue;
        }
        vk->features = (has & ~rungs) | rung;
        vk->caps.least_part = bodies[b].least_part;
        vk->caps.mapped_uploads = b % 2;
        vk->caps.weight_slices = b > 0;
        double worst_whole = 0, worst = 0;
        // half of them where two bodies are alike: compiling is what takes long here
        for (size_t i = b < 4 ? b % 2 : 0; i < sizeof cases / sizeof *cases; i += b < 4 ? 2 : 1) {
            vk->caps.loads = strcmp(cases[i].kind, "norm") == 0;
            if (vk->caps.loads && (!bodies[b].half || rung == SDG_FEATURE_LANES)) // which do not work on what they load
                continue;
            const int bits = cases[i].bits ? cases[i].bits : bodies[b].half ? 16 : 32;
            const int64_t row = cases[i].k * bits / 8 + (cases[i].bits ? 4 : 0); // bytes, with the scale
            struct sdg_graph *g = epilogue_graph(cases[i].kind, bodies[b].half);
            const struct band_errors errors = compare_bands(vk, g, weights_stored_as(g, cases[i].bits),
                                                            (uint64_t)(row * cases[i].band), cases[i].bands);
            worst_whole = fmax(worst_whole, errors.whole);
            worst = fmax(worst, errors.known);
        }
        printf("body %zu: NMSE %.1e, against whole products %.1e\n", b, worst, worst_whole);
        assert_true(worst < (bodies[b].half ? 1e-5 : 1e-10));
        assert_true(worst_whole <= (rung == SDG_FEATURE_COOPMAT ? 1e-6 : bodies[b].least_part ? 1e-11 : 0));
    }
    vk->caps.max_range = 256 * 4 * 63; // not even as many columns as have to be together
    struct sdg_graph *g = epilogue_graph("linear", false);
    expect_unsupported(vk, g, "linear: linear needs a buffer of 1 MiB");
    close_vk(vk);
}

// A weight that is read by several operations: by a product within subgroups and one that has a slice of shared memory,
// each of which could be the first, and by one that is no product.
static struct sdg_graph *shared_weight(int order)
{
    enum { K = 40, N = 102 };
    struct sdg_graph *g = new_graph();
    sdg_value w = sdg_graph_linear_weight(g, N, K, "w"), x = sdg_graph_input(g, "x", 1, 1, 20, K);
    for (int i = 0; i < 2; i++) {
        char name[16], result[16];
        snprintf(name, sizeof name, "linear%d", i);
        snprintf(result, sizeof result, "y%d", i);
        sdg_value y = sdg_graph_linear(g, name, x, w, (struct sdg_epilogue){0});
        // codes of 102 columns are no whole words, which subgroups store
        if (i == order % 2) {
            sdg_value interval = sdg_graph_table(g, "signed:y", 3, 1, 2);
            assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, interval, -128, 127), SDG_OK);
        }
        sdg_graph_output(g, result, y);
    }
    if (order == 2)
        sdg_graph_output(g, "e",
                         sdg_graph_embed(g, "embed", sdg_graph_input_s32(g, "ids", 1, 5), w,
                                         sdg_graph_linear_weight(g, 5, K, "positions")));
    return g;
}

static void test_shared_weights(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.weight_slices = true;
    for (int order = 0; order < 3; order++) {
        struct sdg_graph *g = shared_weight(order);
        struct kernels k = kernels_of(vk, g);
        // as it is read first: without lanes both products take slices
        const bool slices = order == 0 || (order == 1 && !has_lanes(vk));
        assert_non_null(strstr(k.text, slices ? "linear_f32_v4_32x32s_s8 " : "linear_f32_v4_32x32_s8 "));
        char lanes[32]; // four columns an invocation
        snprintf(lanes, sizeof lanes, "_lanes_16x%u%s ", 4 * vk->caps.subgroup_size, order == 0 ? "s" : "");
        assert_true(!has_lanes(vk) || strstr(k.text, lanes));
        assert_true(compare(vk, g) < 1e-5); // a code may be the next one
    }
    close_vk(vk);
}

// Weights through the staging buffer, as on a desktop GPU, and straight into shared memory, as on a phone: the same
// bytes.
static void test_weight_uploads(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    for (int mapped = 0; mapped < 2; mapped++)
        for (int half = 0; half < 2; half++) {
            vk->caps.mapped_uploads = mapped;
            random_state = 11;
            struct sdg_graph *g = unet(1, 5, 30, 1, 1, 3);
            if (half && (vk->features & SDG_FEATURE_F16))
                assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
            assert_true(compare(vk, g) < (half ? 1e-4 : 1e-9));
        }
    vk->caps.max_allocation = 40000; // many blocks instead of one
    random_state = 11;
    assert_true(compare(vk, unet(1, 5, 12, 1, 1, 3)) < 1e-9);
    close_vk(vk);
}

// ---- main ----

int main(int argc, char **argv)
{
    if (!find_vulkan(argc, argv))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks),          cmocka_unit_test(test_identity),
        cmocka_unit_test(test_small_device),   cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_matrix_plans),   cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_lanes),          cmocka_unit_test(test_attention_bodies),
        cmocka_unit_test(test_group_norm),     cmocka_unit_test(test_work),
        cmocka_unit_test(test_scan),           cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_bands),          cmocka_unit_test(test_shared_weights),
        cmocka_unit_test(test_weight_uploads),
    };
    return run_part("vulkan_kernels", tests, sizeof tests / sizeof *tests);
}
#else
int main(void)
{
    printf("skipped: this build has no Vulkan backend\n");
    return 0;
}
#endif
