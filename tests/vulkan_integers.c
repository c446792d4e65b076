// Integers on the Vulkan backend beside their operations (tests/ops.c has those): both rungs of the products, tiles,
// what weights cost, networks in which codes are passed on, small devices. Under the validation layers where they are
// installed.
//
// Scales here are powers of two and sums have fewer than 24 bits, so that results are the same bit for bit as the
// reference's.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include "mamba/mamba.h"
#include "tests/support/vulkan.h"

#if SDG_HAVE_VULKAN

// ---- helpers ----

// Products on this rung, also where it is no gain, and no other; 0: on none. False where the device has none.
static bool choose_rung(struct sdg_vk *vk, unsigned rung)
{
    const unsigned products = SDG_FEATURE_DOT | SDG_FEATURE_LANES | SDG_FEATURE_COOPMAT;
    vk->features = (vk->features & ~products) | rung;
    if (rung == SDG_FEATURE_DOT && !vk->caps.dot_product) {
        printf("skipped: packed dot products, not on this device\n");
        return false;
    }
    if (rung == SDG_FEATURE_COOPMAT &&
        !(vk->base.info.features & SDG_FEATURE_COOPMAT && vk->caps.matrices.bytes.count)) {
        printf("skipped: cooperative matrices of bytes, not on this device or not in this build\n");
        return false;
    }
    if (rung == SDG_FEATURE_LANES && !has_lanes(vk)) {
        printf("skipped: products within subgroups, not on this device\n");
        return false;
    }
    return true;
}

static const unsigned product_rungs[] = {0, SDG_FEATURE_DOT, SDG_FEATURE_LANES, SDG_FEATURE_COOPMAT};
enum { PRODUCT_RUNGS = sizeof product_rungs / sizeof *product_rungs };

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

static const struct chain chains[] = {{4, 8, -128, 8},   {4, 8, 0, 4},    {33, 17, -128, 4}, {33, 17, 0, 8},
                                      {64, 40, 0, 8},    {5, 3, -128, 8}, {3, 34, 0, 4},     {72, 32, -128, 4},
                                      {32, 36, -128, 4}, {48, 20, 0, 8}};
enum { CHAINS = sizeof chains / sizeof *chains };

// ---- rungs and tiles ----

static void test_rungs(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    assert_int_equal((vk->features & SDG_FEATURE_DOT) != 0, vk->caps.dot_accelerated); // in use only where it is quick
    for (int r = 0; r < PRODUCT_RUNGS; r++) {
        if (!choose_rung(vk, product_rungs[r]))
            continue;
        for (int i = 0; i < CHAINS; i++) {
            vk->caps.mapped_uploads = i % 2;
            struct sdg_graph *g = new_chain(&chains[i]);
            struct kernels k = kernels_of(vk, g);
            // lanes take whole words, and leave few columns to the others
            const bool lanes = chains[i].in % 4 == 0 && chains[i].out % 4 == 0 && chains[i].out > 8;
            // matrices take 16 bytes
            const bool matrices = chains[i].in % 16 == 0 && chains[i].out > 8;
            const char *rung = product_rungs[r] == SDG_FEATURE_DOT    ? "_dot"
                : product_rungs[r] == SDG_FEATURE_LANES && lanes      ? "_lanes"
                : product_rungs[r] == SDG_FEATURE_COOPMAT && matrices ? "_coopmat"
                                                                      : "";
            char wanted[64];
            snprintf(wanted, sizeof wanted, "conv=conv2d_s8%s%s_", chains[i].bits == 4 ? "_w4" : "", rung);
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

// Large tiles, and what is left where there are few invocations.
static void check_tiles(unsigned rung)
{
    static const struct {
        int64_t m, n, k;
        const char *big, *small;
    } shapes[] = {
        {1024, 1024, 20, "_128x128", "_64x64"}, {600, 500, 70, "_64x64", "_64x64"}, {70, 40, 37, "_32x32", "_32x32"},
        {300, 3, 64, "_128x8", "_128x8"},       {3, 70, 100, "_8x32", "_8x32"},
    };
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.most_outputs = 64; // as of any device: a processor has the largest tile left out ...
    vk->caps.workgroups = 64;   // ... and is content with fewer workgroups
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0] && choose_rung(vk, rung); i++) {
        const bool small = i % 2;
        vk->caps.max_invocations = small ? 128 : vk->properties.limits.maxComputeWorkGroupInvocations;
        struct sdg_graph *g = wide_product(shapes[i / 2].m, shapes[i / 2].n, shapes[i / 2].k, small ? 4 : 8);
        assert_non_null(strstr(kernels_of(vk, g).text, small ? shapes[i / 2].small : shapes[i / 2].big));
        assert_true(compare(vk, g) == 0);
    }
    close_vk(vk);
}

static void test_tiles(void **state)
{
    (void)state;
    check_tiles(0);
}

static void test_tiles_of_dots(void **state)
{
    (void)state;
    check_tiles(SDG_FEATURE_DOT);
}

static void test_tiles_of_lanes(void **state)
{
    (void)state;
    static const struct {
        int64_t m, n, k;
        bool lanes;
    } shapes[] = {{600, 500, 72, true}, {70, 40, 36, true},  {20, 12, 2000, true}, {3, 72, 100, true},
                  {70, 38, 36, false},  {70, 40, 37, false}, {300, 4, 64, false}};
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.most_outputs = vk->caps.workgroups = 64;
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes && choose_rung(vk, SDG_FEATURE_LANES); i++) {
        struct sdg_graph *g = wide_product(shapes[i / 2].m, shapes[i / 2].n, shapes[i / 2].k, i % 2 ? 4 : 8);
        assert_int_equal(strstr(kernels_of(vk, g).text, "_lanes") != NULL, shapes[i / 2].lanes);
        assert_true(compare(vk, g) == 0);
    }
    close_vk(vk);
}

// ---- bands of a weight ----

// Codes that their product makes of halves: by a kernel of 1 or 3, the latter at stride 2, or a linear layer (0).
struct loading {
    int64_t in, out;
    int kernel, lowest, bits;
};

static struct sdg_graph *loaded_codes(const struct loading *l)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 5, 7, l->in), of_x = interval(g, "x", l->lowest);
    const sdg_value q = sdg_graph_quantize(g, "q", x, of_x, l->lowest, l->lowest + 255);
    const sdg_value y =
        l->kernel ? conv(g, "y", x, l->out, l->kernel, l->kernel == 3 ? 2 : 1, 0) : linear(g, "y", x, l->out);
    make_integer(g, g->op_count - 1, q, of_x, l->bits);
    sdg_graph_output(g, "out", y);
    sdg_graph_output(g, "also", sdg_graph_unary(g, "other", x, SDG_UNARY_RELU));
    assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    return g;
}

// The same bits as of codes in memory, which the reference multiplies, on every rung.
static void test_loaded_codes(void **state)
{
    (void)state;
    static const struct loading cases[] = {{64, 40, 1, 0, 8}, {48, 36, 3, -128, 4}, {36, 17, 1, 0, 4},
                                           {8, 3, 3, 0, 8},   {80, 72, 0, 0, 8},    {20, 24, 0, -128, 4}};
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.loads = true;
    for (int r = 0; r < PRODUCT_RUNGS; r++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases && choose_rung(vk, product_rungs[r]); i++) {
            if (!(vk->features & SDG_FEATURE_F16))
                continue;
            struct sdg_graph *g = loaded_codes(&cases[i]);
            const struct kernels k = kernels_of(vk, g);
            assert_true(strstr(k.text, "_round ") && !strstr(k.text, "=quantize"));
            assert_true(compare(vk, g) == 0);
        }
    close_vk(vk);
}

// A gated layer of integers that read codes; with `codes`, it makes some.
static struct sdg_graph *gated_integers(int bits, bool codes)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, 10, 256), of_x = interval(g, "x", 0),
              q = sdg_graph_quantize(g, "q", x, of_x, 0, 255), y = linear(g, "linear", x, 640);
    make_integer(g, g->op_count - 1, q, of_x, bits);
    y = sdg_graph_geglu(g, "gate", y);
    if (codes)
        assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, interval(g, "y", -128), -128, 127), SDG_OK);
    sdg_graph_output(g, "y", y);
    return g;
}

// Integers longer than a binding may be, on every rung: 200 columns in bands of 64, rows of codes that are no whole
// words, gated ones of 256; weights in slices, but for one rung.
static void test_bands(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.workgroups = UINT32_MAX; // the smallest tile for whole and band, compiled once
    if (vk->caps.alignment > 64) {    // bands are whole multiples of it
        close_vk(vk);
        skip();
    }
    static const struct chain wide[] = {{72, 200, -128, 8}, {69, 197, 0, 4}};
    for (int r = 0; r < PRODUCT_RUNGS; r++) {
        if (!choose_rung(vk, product_rungs[r]))
            continue;
        vk->caps.weight_slices = r > 0;
        const int bits = wide[r % 2].bits; // half of the cases each: compiling is what takes long here
        struct sdg_graph *g = new_chain(&wide[r % 2]);
        struct band_errors errors = compare_bands(vk, g, weights_of(g), 45000, bits == 8 ? "_b4" : "_b2");
        assert_true(errors.whole == 0 && errors.known == 0);
        const int64_t row = 256 * bits / 8 + 4; // bytes, with the sum
        g = gated_integers(bits, bits == 8);
        errors = compare_bands(vk, g, weights_of(g), (uint64_t)(256 * row), "_b3");
        assert_true(errors.whole == 0 && errors.known < (bits == 8 ? 1e-4 : 1e-10));
        if (!(vk->features & SDG_FEATURE_F16)) // where products make codes of what they load
            continue;
        const struct loading rounds = {256, 330, 0, 0, 8};
        vk->caps.loads = true;
        g = loaded_codes(&rounds);
        errors = compare_bands(vk, g, weights_of(g), 192 * (256 + 4), "_b2_round");
        assert_true(errors.whole == 0 && errors.known == 0);
        vk->caps.loads = false;
    }
    close_vk(vk);
}

// ---- reciprocals ----

// Codes are round(y * (1 / scale)) with 1 / scale rounded correctly, which the division of a GPU is not. A row per
// scale: powers of two and their neighbours, those whose reciprocal is nearest to the middle between two floats, random
// ones.
enum { SCALES = 2048, PROBES = 4 }; // values per scale and direction

static float scale_of(uint32_t significand, int exponent) // significand in [2^23, 2^24)
{
    return ldexpf((float)significand, exponent - 23);
}

static void choose_scales(float *scales)
{
    int count = 0;
    for (int e = -20; e <= 4; e++)
        for (int ulp = -1; ulp <= 1; ulp++)
            scales[count++] = ulp < 0 ? nextafterf(ldexpf(1, e), 0) : scale_of(0x800000u + (uint32_t)ulp, e);
    for (uint32_t b = 0x800001; b < 0x1000000 && count < SCALES / 2; b++) {
        int64_t rest = (int64_t)((UINT64_C(1) << 47) % b), from_middle = 2 * rest - (int64_t)b;
        if (from_middle > -128 && from_middle < 128)
            scales[count++] = scale_of(b, -(int)(b % 20));
    }
    printf("%d scales of hard cases\n", count);
    random_state = 3;
    for (; count < SCALES; count++)
        scales[count] = scale_of(0x800000u + random_bits() % 0x800000u, -(int)(random_bits() % 20));
}

static float code_by(float y, float reciprocal)
{
    float code = rintf(y * reciprocal);
    return code < -128 ? -128 : code > 127 ? 127 : code;
}

// Values whose code is another one if the reciprocal is one unit in the last place larger (the first PROBES), or
// smaller.
static int choose_probes(float scale, float *probes)
{
    const float exact = 1 / scale;
    int found[2] = {0, 0};
    for (int i = 0; i < 2 * PROBES; i++)
        probes[i] = 0;
    for (int k = 3 * 127; k >= 0; k--) {
        float middle = ((float)(k / 3) - 0.5f) * scale,
              y = k % 3 == 0 ? middle : nextafterf(middle, k % 3 == 1 ? -INFINITY : INFINITY);
        for (int down = 0; down < 2; down++)
            if (found[down] < PROBES && code_by(y, exact) != code_by(y, nextafterf(exact, down ? 0 : INFINITY)))
                probes[down * PROBES + found[down]++] = y;
    }
    return (found[0] > 0) + (found[1] > 0);
}

static void test_reciprocals(void **state)
{
    (void)state;
    static float scales[SCALES], pairs[2 * SCALES];
    int probed = 0, wrong = 0;
    choose_scales(scales);
    for (int i = 0; i < SCALES; i++)
        pairs[2 * i] = scales[i];
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, 1, 2 * PROBES), of_x = sdg_graph_table(g, "interval", SCALES, 1, 2);
    sdg_graph_output(g, "y", sdg_graph_quantize(g, "q", x, of_x, -128, 127));
    struct sdg_program *program;
    assert_int_equal(sdg_program_create(&vk->base, g, &(struct sdg_program_params){0}, &program), SDG_OK);
    assert_int_equal(sdg_program_write(program, "interval", pairs, 2 * SCALES), SDG_OK);
    for (int i = 0; i < SCALES; i++) {
        float probes[2 * PROBES], codes[2 * PROBES];
        probed += choose_probes(scales[i], probes);
        assert_int_equal(sdg_program_write(program, "x", probes, 2 * PROBES), SDG_OK);
        assert_int_equal(sdg_program_run(program, i), SDG_OK);
        assert_int_equal(sdg_program_read(program, "y", codes, 2 * PROBES), SDG_OK);
        bool same = true;
        for (int k = 0; k < 2 * PROBES; k++)
            same = same && codes[k] == code_by(probes[k], 1 / scales[i]);
        wrong += !same;
    }
    printf("%d scales, %d directions probed: %d wrong\n", SCALES, probed, wrong);
    assert_true(probed > 2 * SCALES * 9 / 10);
    assert_int_equal(wrong, 0);
    sdg_program_destroy(&program);
    sdg_graph_destroy(&g);
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
    case SDG_OP_ATTENTION:
    case SDG_OP_SELECTIVE_SCAN:
    case SDG_OP_HADAMARD: return true;
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
        for (size_t k = i; k < g->op_count; k++)
            if (g->ops[k].kind == SDG_OP_SELECTIVE_SCAN && g->ops[k].in[0] == x)
                assert_int_equal(sdg_graph_read_codes(g, k, 0, codes, of_codes), SDG_OK);
    }
}

// The arena is full of codes here; a barrier too few is a message of the validation layers or a wrong result. Rounding
// of the floats between products flips a code now and then.
static void check_unet(const char *what, unsigned rung, bool half, bool odd)
{
    struct sdg_vk *vk = new_vk(NULL);
    if (choose_rung(vk, rung) && (!half || sdg_backend_has_type(&vk->base, SDG_F16))) {
        random_state = 11;
        struct sdg_graph *g = unet(2, 7, odd ? 9 : 12, 2, 1, 3);
        assert_int_equal(sdg_graph_fuse(g), SDG_OK);
        if (half)
            assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
        quantize_all(g, odd ? 4 : 8);
        const double error = compare(vk, g);
        printf("unet of %d bits, %s: NMSE %.1e\n", odd ? 4 : 8, what, error);
        assert_true(error < (half ? 2e-3 : 2e-4));
    }
    close_vk(vk);
}

static void test_unet(void **state)
{
    (void)state;
    check_unet("f32", 0, false, false);
}

static void test_unet_of_halves(void **state)
{
    (void)state;
    check_unet("f16", 0, true, true);
}

static void test_unet_of_dots(void **state)
{
    (void)state;
    check_unet("f32, dot", SDG_FEATURE_DOT, false, true);
}

static void test_unet_of_lanes(void **state)
{
    (void)state;
    check_unet("f32, lanes", SDG_FEATURE_LANES, false, false);
}

// A Mamba block whose scans read codes and whose last scan, or the transform behind it, makes some; of few tokens and
// of so many that they are scanned in chunks.
static void test_mamba(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    for (int i = 0; i < 4; i++) {
        const bool half = i == 1, many = i > 1;
        const struct sdg_mamba_config config = {.d_state = many ? 16 : 5,
                                                .d_conv = 4,
                                                .expand = 2,
                                                .bidirectional = true,
                                                .halve = true,
                                                .hadamard = i % 2};
        if (half && !sdg_backend_has_type(&vk->base, SDG_F16))
            continue;
        struct sdg_graph *g = new_graph();
        const sdg_value x = sdg_graph_input(g, "x", 2, many ? 13 : 3, many ? 17 : 7, 12),
                        normed = sdg_graph_layer_norm(g, "norm", x, sdg_graph_vector_weight(g, 12, "norm.weight"),
                                                      sdg_graph_vector_weight(g, 12, "norm.bias"), 1e-5f);
        sdg_graph_output(g, "y", sdg_mamba_block(g, "mamba", normed, 0, &config));
        for (size_t k = 0; k < g->op_count; k++) // large enough for the intervals of these tests
            if (g->ops[k].kind == SDG_OP_SELECTIVE_SCAN && g->ops[k].in[7])
                g->ops[k].u.selective_scan.scale = 256;
        assert_int_equal(sdg_graph_fuse(g), SDG_OK);
        if (half)
            assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
        quantize_all(g, many ? 4 : 8);
        const double error = compare(vk, g);
        printf("mamba, %s tokens, %s%s: NMSE %.1e\n", many ? "many" : "few", half ? "f16" : "f32",
               config.hadamard ? ", hadamard" : "", error);
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
    vk->caps.loads = true;
    struct sdg_graph *normal = new_graph();
    const sdg_value n = layer_norm(normal, "n", sdg_graph_input(normal, "x", 1, 3, 5, 8));
    sdg_graph_output(normal, "y", sdg_graph_geglu(normal, "gate", linear(normal, "l", n, 32)));
    assert_int_equal(sdg_graph_set_type(normal, vk->features & SDG_FEATURE_F16 ? SDG_F16 : SDG_F32), SDG_OK);
    assert_int_equal(strstr(kernels_of(vk, normal).text, "_norm ") != NULL, (vk->features & SDG_FEATURE_F16) != 0);
    assert_true(compare(vk, normal) < 1e-5);
    struct sdg_graph *g = new_chain(&chains[0]);
    expect_unsupported(vk, g, "conv: conv2d on integers needs 10 buffers");
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

int main(int argc, char **argv)
{
    if (!find_vulkan(argc, argv))
        return 0;
    const struct CMUnitTest tests[] = {
        // CTest runs every ninth
        cmocka_unit_test(test_rungs),        cmocka_unit_test(test_unet_of_lanes),
        cmocka_unit_test(test_mamba),        cmocka_unit_test(test_tiles_of_lanes),
        cmocka_unit_test(test_unet),         cmocka_unit_test(test_unet_of_halves),
        cmocka_unit_test(test_unet_of_dots), cmocka_unit_test(test_tiles_of_dots),
        cmocka_unit_test(test_tiles),        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_few_bindings), cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_reciprocals),  cmocka_unit_test(test_bands),
        cmocka_unit_test(test_loaded_codes),
    };
    return run_part("vulkan_integers", tests, sizeof tests / sizeof *tests);
}
#else
int main(void)
{
    printf("skipped: this build has no Vulkan backend\n");
    return 0;
}
#endif
