// Shaders and tiles of products on Vulkan: the classes of devices, what was measured and kept, its file damaged or of
// another device, that the choice is taken, and that every choice there is gives the same result. Also the measuring of
// a device's peaks.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include "tests/support/vulkan.h"

#if SDG_HAVE_VULKAN
#include "backend/vulkan/vk_tiles.h"
#include "base/hash.h"

#include <inttypes.h>

// ---- numbers ----

static void test_log2(void **state)
{
    (void)state;
    static const int64_t known[][2] = {{1, 0},     {2, 1},     {3, 2},        {4, 2},          {5, 2},
                                       {6, 3},     {90, 6},    {91, 7},       {320, 8},        {640, 9},
                                       {1280, 10}, {8192, 13}, {1 << 20, 20}, {1500000000, 30}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(sdg_vk_log2(known[i][0]), known[i][1]);
        assert_int_equal(known[i][1], lround(log2((double)known[i][0])));
    }
}

// ---- the rule ----

static struct sdg_graph *product(int64_t m, int64_t n, int64_t k)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, m, k);
    sdg_graph_output(g, "y",
                     sdg_graph_linear(g, "to_y", x, sdg_graph_linear_weight(g, n, k, "w"), (struct sdg_epilogue){0}));
    return g;
}

static bool takes(struct sdg_vk *vk, int64_t m, int64_t n, int64_t k, const char *kernel)
{
    struct sdg_graph *g = product(m, n, k);
    const struct kernels kernels = kernels_of(vk, g);
    sdg_graph_destroy(&g);
    return strstr(kernels.text, kernel) != NULL;
}

// The tiles of shaders/variants.txt, whose largest that makes enough workgroups is taken.
static void test_rule(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    assert_true(vk->caps.class_name && vk->caps.workgroups && vk->caps.most_outputs && vk->caps.submit_seconds > 0);
    if (vk->caps.software)
        assert_string_equal(vk->caps.class_name, "a processor");
    assert_non_null(strstr(sdg_backend_info(&vk->base)->note, vk->caps.class_name));
    vk->features &= SDG_FEATURE_F16; // rungs have tiles of their own
    vk->caps.most_outputs = 64;
    vk->caps.workgroups = 16;
    vk->caps.least_part = 0;
    assert_true(takes(vk, 512, 512, 20, "_128x128"));
    assert_true(takes(vk, 512, 384, 20, "_64x64"));
    vk->caps.workgroups = 17;
    assert_true(takes(vk, 512, 512, 20, "_64x64"));
    vk->caps.most_outputs = 16;
    assert_true(takes(vk, 512, 512, 20, "_32x32"));
    close_vk(vk);
}

// A context of a device that is not of its class, but cuts k and has slices in one buffer, and of rungs only those.
static struct sdg_vk *new_vk_with_parts(unsigned rungs)
{
    struct sdg_vk *vk = new_vk(NULL);
    vk->features &= rungs;
    vk->caps.most_outputs = 64;
    vk->caps.workgroups = 16;
    vk->caps.least_part = 64;
    vk->caps.buffers = 1;
    return vk;
}

// k is cut where a tile would have too few workgroups, into parts of slices of 16 that are long enough.
static void test_parts_by_rule(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk_with_parts(SDG_FEATURE_F16);
    assert_true(takes(vk, 512, 512, 6400, "_128x128 "));    // there are 16 workgroups
    assert_true(takes(vk, 512, 384, 6400, "_128x128_p2 ")); // 12
    assert_true(takes(vk, 100, 100, 6400, "_128x128_p16 "));
    assert_true(takes(vk, 100, 100, 1024, "_128x128_p16 ")); // of 64
    assert_true(takes(vk, 100, 100, 1000, "_64x64_p4 ")); // 63 slices: the large tile would have 13 parts of 5 or less
    assert_true(takes(vk, 64, 64, 144, "_32x32_p2 "));    // 9 slices: 5 and 4
    assert_true(takes(vk, 64, 64, 112, "_32x32 "));       // too short for two
    assert_true(takes(vk, 2, 96, 640, "_8x32_p6 "));      // few rows
    vk->caps.max_range = 100 * 1024 * 4;                  // as much as the operands need is room for 10 parts
    assert_true(takes(vk, 100, 100, 1024, "_64x64_p4 "));
    vk->caps.least_part = 0;
    assert_true(takes(vk, 100, 100, 1024, "_32x32 "));
    close_vk(vk);
}

// ---- what was measured ----

static struct sdg_vk_choice choice_of(const char *shader, unsigned tile, int m, int n)
{
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++)
        for (const struct sdg_tile *t = s->tiles; t < s->tiles + s->tile_count; t++)
            if (strcmp(s->name, shader) == 0 && t->m == tile && t->n == tile) {
                struct sdg_vk_choice c = {
                    .type = s->type, .m = m, .n = n, .shader = s, .tile = t, .parts = 1, .buffers = 1};
                snprintf(c.family, sizeof c.family, "%s", s->family);
                return c;
            }
    fail_msg("no shader %s with tiles of %u", shader, tile);
    return (struct sdg_vk_choice){0};
}

static void add(struct sdg_vk *vk, const char *shader, unsigned tile, int m, int n)
{
    const struct sdg_vk_choice c = choice_of(shader, tile, m, n);
    assert_int_equal(sdg_vk_tiles_add(vk, &c), SDG_OK);
}

static void test_choice_is_taken(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    vk->features &= SDG_FEATURE_F16;
    vk->caps.most_outputs = 64;
    vk->caps.buffers = 1;
    assert_true(takes(vk, 2048, 1024, 20, "linear_f32_v4_128x128"));
    add(vk, "linear_f32_v4", 32, 11, 10); // 2048 x 1024
    add(vk, "linear_f32_v4", 64, 5, 10);  // 32 x 1024
    add(vk, "linear_f32", 32, 11, 10);    // as near as the first
    add(vk, "conv2d_f32_v4", 64, 11, 10); // of another family
    assert_true(takes(vk, 2048, 1024, 20, "linear_f32_v4_32x32"));
    assert_true(takes(vk, 1500, 1024, 20, "linear_f32_v4_32x32"));
    assert_true(takes(vk, 300, 1024, 20, "linear_f32_v4_32x32")); // 2^8 is 3 from both, the first counts
    assert_true(takes(vk, 150, 1024, 20, "linear_f32_v4_64x64"));
    assert_true(takes(vk, 2048, 1024, 21, "linear_f32_32x32")); // rows that are no multiple of 4
    assert_true(takes(vk, 2048, 3, 20, "linear_f32_v4_128x8")); // few columns have tiles of their own
    vk->tiles->list[0].by_columns = true;
    assert_true(takes(vk, 2048, 1024, 20, "linear_f32_v4_32x32c"));
    vk->caps.max_groups[1] = 63; // 64 of them along rows are too many
    assert_true(takes(vk, 2048, 1024, 20, "linear_f32_v4_32x32 "));
    vk->caps.max_groups[1] = 65535;
    vk->caps.shared_bytes = 5000; // too little for a slice of 64 x 64
    assert_false(takes(vk, 150, 1024, 20, "_64x64"));
    assert_true(compare(vk, product(150, 70, 20)) < 1e-10);
    close_vk(vk);
}

// A choice of a rung that is turned off does not count.
static void test_choice_of_a_rung(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    const struct sdg_shader *dot = NULL;
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++)
        if (strcmp(s->name, "linear_s8_f32_dot") == 0)
            dot = s;
    if (!dot) {
        close_vk(vk);
        printf("skipped: packed dot products, not in this build\n");
        skip();
    }
    add(vk, dot->name, 32, 9, 9);
    vk->features |= SDG_FEATURE_DOT;
    assert_ptr_equal(sdg_vk_tiles_find(vk, "linear_s8", SDG_F32, 64, 512, 512)->shader, dot);
    assert_null(sdg_vk_tiles_find(vk, "linear_s8", SDG_F16, 64, 512, 512));
    vk->features &= ~(unsigned)SDG_FEATURE_DOT;
    assert_null(sdg_vk_tiles_find(vk, "linear_s8", SDG_F32, 64, 512, 512));
    close_vk(vk);
}

static struct sdg_graph *integer_product(bool conv, int64_t m, int64_t n, int64_t k)
{
    struct sdg_graph *g = new_graph();
    const struct sdg_conv_params same = {.stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
    sdg_value x = sdg_graph_input(g, "x", 1, m / 8, 8, k), of_x = sdg_graph_table(g, "signed:x", 3, 1, 2),
              codes = sdg_graph_quantize(g, "q", x, of_x, -128, 127), scale;
    sdg_value y = conv
        ? sdg_graph_conv2d(g, "y", x, sdg_graph_conv_weight(g, n, k, 3, 3, "y.weight"), same, (struct sdg_epilogue){0})
        : sdg_graph_linear(g, "y", x, sdg_graph_linear_weight(g, n, k, "y.weight"), (struct sdg_epilogue){0});
    scale = sdg_graph_vector_weight(g, n, "y.weight_scale");
    assert_int_equal(sdg_graph_use_codes(g, g->op_count - 1, codes, of_x, scale, 8), SDG_OK);
    sdg_graph_output(g, "out", y);
    return g;
}

static struct sdg_graph *float_conv(int64_t m, int64_t n, int64_t k)
{
    struct sdg_graph *g = new_graph();
    const struct sdg_conv_params same = {.stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
    sdg_value x = sdg_graph_input(g, "x", 1, m / 8, 8, k);
    sdg_graph_output(
        g, "out",
        sdg_graph_conv2d(g, "y", x, sdg_graph_conv_weight(g, n, k, 3, 3, "y.weight"), same, (struct sdg_epilogue){0}));
    return g;
}

// Whatever is chosen, the result is right: of integers bit by bit. Returns how many shaders with tiles it tried.
static int check_choices(const char *operation, int *integers)
{
    enum { M = 72, N = 80, K = 48 };
    const bool conv = strcmp(operation, "conv2d") == 0;
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.most_outputs = 64;
    int tried = 0;
    *integers = 0;
    vk->tiles->measuring = true;
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++) {
        const bool integer = strstr(s->family, "_s8") != NULL;
        // one of each rung: other types and widths differ in how they load, which tests/ops.c has
        const bool again = s + 1 < sdg_shaders + sdg_shader_count && s[1].needs == s->needs && s[1].type == s->type &&
            strcmp(s[1].family, s->family) == 0;
        if (!s->tile_count || s->needs & ~vk->features || again || (s->type == SDG_F16 && s->needs == SDG_FEATURE_F16))
            continue;
        if (conv != (strncmp(s->family, "conv2d", 6) == 0))
            continue;
        vk->tiles->forced = (struct sdg_vk_choice){.shader = s, .parts = 1, .buffers = 1};
        for (const struct sdg_tile *t = s->tiles; t < s->tiles + s->tile_count; t++) {
            if ((t - s->tiles) % 2 == conv) // half of them, each with one of the two: compiling is what takes long here
                continue;
            vk->tiles->forced.tile = t;
            vk->tiles->forced_fits = false;
            struct sdg_graph *g = integer ? integer_product(conv, M, N, K)
                : conv                    ? float_conv(M, N, K)
                                          : product(M, N, K);
            if (s->type == SDG_F16)
                assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
            (void)kernels_of(vk, g); // asks whether it fits, and compiles nothing
            if (!vk->tiles->forced_fits) {
                sdg_graph_destroy(&g);
                continue;
            }
            const double error = compare(vk, g), bound = s->type == SDG_F16 ? 1e-6 : integer ? 0 : 1e-10;
            if (!(error <= bound))
                print_message("%s %ux%u: NMSE %g\n", s->name, t->m, t->n, error);
            assert_true(error <= bound);
            vk->tiles->forced.by_columns = !vk->tiles->forced.by_columns; // each order for half of them
            tried++;
            vk->tiles->forced.sliced = tried % 4 > 1 && !(s->needs & SDG_FEATURE_LANES); // as do weights in slices
            *integers += integer;
        }
    }
    print_message("%d shaders with tiles of %s, %d of integers\n", tried, operation, *integers);
    close_vk(vk);
    return tried;
}

static void test_every_choice_of_conv2d(void **state)
{
    (void)state;
    int integers;
    assert_true(check_choices("conv2d", &integers) >= 6 && integers >= 3);
}

static void test_every_choice_of_linear(void **state)
{
    (void)state;
    int integers;
    assert_true(check_choices("linear", &integers) >= 4 && integers >= 2);
}

// The same with k in parts, and with slices in two buffers: each body of products, in one tile. Integers are equal to
// the bit, however k is cut.
static void test_every_cut(void **state)
{
    (void)state;
    enum { M = 72, N = 42, K = 144 }; // 42: rows of sums are padded
    static const struct sdg_vk_choice cuts[] = {
        {.parts = 1, .buffers = 2}, {.parts = 3, .buffers = 1, .sliced = true}, {.parts = 2, .buffers = 2}};
    struct sdg_vk *vk = new_vk_with_parts(~0u);
    vk->caps.least_part = 16;
    vk->features |= vk->caps.dot_product ? SDG_FEATURE_DOT : 0;
    vk->features &= ~(unsigned)SDG_FEATURE_LANES; // has neither
    vk->tiles->measuring = true;
    int tried = 0;
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++) {
        const bool conv = strncmp(s->family, "conv2d", 6) == 0, integer = strstr(s->family, "_s8") != NULL;
        if (!s->tile_count || s->needs & ~vk->features || (!conv && strncmp(s->family, "linear", 6)))
            continue;
        // of types and widths, with which nothing of this changes, one each
        if ((s->width == 1 && !integer) || (s->type == SDG_F16 && !(s->needs & SDG_FEATURE_COOPMAT)))
            continue;
        const struct sdg_tile *small = &s->tiles[s->tile_count - 1];
        while (small->m <= 8 || small->n <= 8)
            small--;
        // matrices have as many buffers as there is room for
        struct sdg_vk_choice *forced = &vk->tiles->forced;
        *forced = cuts[s->needs & SDG_FEATURE_COOPMAT ? 2 : tried % 3];
        forced->shader = s;
        forced->tile = small;
        tried++;
        struct sdg_graph *g = integer ? integer_product(conv, M, N, K) : conv ? float_conv(M, N, K) : product(M, N, K);
        if (s->type == SDG_F16)
            assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
        vk->tiles->forced_fits = false;
        const double error = compare(vk, g), bound = s->type == SDG_F16 ? 1e-6 : integer ? 0 : 1e-10;
        print_message("%s %ux%u, %u parts, %u buffers: NMSE %g\n", s->name, small->m, small->n, forced->parts,
                      forced->buffers, error);
        assert_true(vk->tiles->forced_fits && error <= bound);
    }
    assert_true(tried >= 4);
    close_vk(vk);
}

// A choice that was measured with another k is cut as far as the parts are long enough, by a class that cuts at all.
static void test_choice_of_parts(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk_with_parts(SDG_FEATURE_F16);
    add(vk, "linear_f32_v4", 32, 9, 9);
    vk->tiles->list[0].parts = 4;
    vk->tiles->list[0].buffers = 2;
    assert_true(takes(vk, 512, 512, 512, "_32x32d_p4 "));
    assert_true(takes(vk, 512, 512, 128, "_32x32d_p2 "));
    assert_true(takes(vk, 512, 512, 64, "_32x32d "));
    vk->caps.shared_bytes = 8000; // for a slice
    assert_true(takes(vk, 512, 512, 512, "_32x32_p4 "));
    vk->caps.least_part = 0;
    assert_true(takes(vk, 512, 512, 512, "_32x32 "));
    close_vk(vk);
}

// ---- the file ----

static struct sdg_vk *open_at(const char *cache)
{
    return new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = temp_path(cache)});
}

static void make_file(const char *cache, char path[static 512])
{
    struct sdg_vk *vk = open_at(cache);
    assert_false(vk->tiles->tuned);
    add(vk, "linear_f32_v4", 32, 11, 10);
    add(vk, "conv2d_s8_f32", 64, 3, 0);
    add(vk, "conv2d_f32", 64, 0, 40);
    vk->tiles->list[1].by_columns = true;
    vk->tiles->list[1].parts = 4;
    vk->tiles->list[2].buffers = 2;
    vk->tiles->list[2].sliced = true;
    assert_int_equal(sdg_vk_tiles_save(vk), SDG_OK);
    snprintf(path, 512, "%s", vk->tiles->path);
    close_vk(vk);
}

static size_t read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t bytes = fread(text, 1, size - 1, file);
    fclose(file);
    text[bytes] = 0;
    return bytes;
}

static void write_text(const char *path, const char *text, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
}

static void test_round_trip(void **state)
{
    (void)state;
    char path[512];
    make_file("round", path);
    struct sdg_vk *vk = open_at("round");
    assert_true(vk->tiles->tuned);
    assert_int_equal(vk->tiles->count, 3);
    assert_non_null(strstr(sdg_backend_info(&vk->base)->note, "tiles as measured here (3)"));
    const struct sdg_vk_choice known[] = {choice_of("linear_f32_v4", 32, 11, 10), choice_of("conv2d_s8_f32", 64, 3, 0),
                                          choice_of("conv2d_f32", 64, 0, 40)};
    for (int i = 0; i < 3; i++) {
        const struct sdg_vk_choice *c = &vk->tiles->list[i];
        assert_string_equal(c->family, known[i].family);
        assert_true(c->type == known[i].type && c->m == known[i].m && c->n == known[i].n);
        assert_true(c->shader == known[i].shader && c->tile == known[i].tile && c->by_columns == (i == 1));
        assert_true(c->parts == (i == 1 ? 4 : 1) && c->buffers == (i == 2 ? 2 : 1) && c->sliced == (i == 2));
    }
    vk->features &= SDG_FEATURE_F16;
    vk->caps.most_outputs = 64;
    assert_true(takes(vk, 2048, 1024, 20, "linear_f32_v4_32x32"));
    close_vk(vk);
}

static char said[512]; // the last message of any level

static void hear(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    assert_int_not_equal(level, SDG_LOG_ERROR);
    snprintf(said, sizeof said, "%s", message);
}

static struct sdg_vk *open_hearing(void)
{
    static const struct sdg_log log = {.fn = hear, .level = SDG_LOG_INFO};
    struct sdg_backend *backend;
    assert_int_equal(sdg_backend_create(&log, "vulkan", NULL, &backend), SDG_OK);
    return (struct sdg_vk *)backend;
}

// Nothing of the file counts, a line says so.
static void is_ignored(struct sdg_vk *vk, const char *cache, const char *why)
{
    said[0] = 0;
    sdg_vk_tiles_destroy(vk);
    assert_int_equal(sdg_vk_tiles_create(vk, temp_path(cache)), SDG_OK);
    assert_int_equal(vk->tiles->count, 0);
    assert_false(vk->tiles->tuned);
    assert_non_null(strstr(said, why));
    assert_non_null(strstr(said, ".tiles"));
}

static void test_damaged(void **state)
{
    (void)state;
    char path[512], good[4096], bad[4096];
    make_file("damaged", path);
    const size_t bytes = read_text(path, good, sizeof good);
    struct sdg_vk *vk = open_hearing();
    for (size_t i = 0; i < bytes; i++) { // one bit, anywhere
        memcpy(bad, good, bytes);
        bad[i] ^= 1 << i % 7;
        write_text(path, bad, bytes);
        is_ignored(vk, "damaged", "damaged");
    }
    for (size_t length = 0; length < bytes; length++) {
        write_text(path, good, length);
        is_ignored(vk, "damaged", "damaged");
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    is_ignored(vk, "damaged", "no file that can be read");
    assert_true(compare(vk, product(70, 40, 20)) < 1e-10); // and everything works
    assert_int_equal(rmdir(path), 0);
    write_text(path, good, bytes);
    sdg_vk_tiles_destroy(vk);
    assert_int_equal(sdg_vk_tiles_create(vk, temp_path("damaged")), SDG_OK);
    assert_int_equal(vk->tiles->count, 3);
    close_vk(vk);
}

// The hash is right, as of somebody who means it.
static void write_signed(const char *path, const char *lines)
{
    static char text[1 << 18];
    const int bytes = snprintf(text, sizeof text - 32, "%s", lines);
    const int whole =
        bytes + snprintf(text + bytes, 32, "end %016" PRIx64 "\n", sdg_hash_bytes(SDG_HASH_START, text, (size_t)bytes));
    write_text(path, text, (size_t)whole);
}

static void test_hostile(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "linear f32 9 9 linear_f64_v9 64x64 rows 1 1 whole",
        "linear f32 9 9 conv2d_f32 64x64 rows 1 1 whole",
        "linear f16 9 9 linear_f32 64x64 rows 1 1 whole",
        "linear f32 9 9 linear_f32 63x64 rows 1 1 whole",
        "linear f32 -1 9 linear_f32 64x64 rows 1 1 whole",
        "linear f32 9 41 linear_f32 64x64 rows 1 1 whole",
        "linear f32 9 9 linear_f32 64x64 rows 1 1 whole ",
        "linear f32 9 9 linear_f32 64x64 lines 1 1 whole",
        "linear f32 9 9 linear_f32 64x64 1 1 whole",
        "linear f32 9 9 linear_f32 64x64 rows",
        "linear f32 9 9 linear_f32 64x64 rows 0 1 whole",
        "linear f32 9 9 linear_f32 64x64 rows 1 0 whole",
        "linear f32 9 9 linear_f32 64x64 rows 1 3 whole",
        "linear f32 9 9 linear_f32 64x64 rows 1 whole",
        "linear f32 9 9 linear_f32 64x64 rows 1 1",
        "linear f32 9 9 linear_f32 64x64 rows 1 1 half",
        "linear f32 9 9 linear_f32 64x64 rows 1 1 1 whole",
        "linear f32 9 9 linear_f32 64x rows 1 1 whole",
        "linear f32 9 9 unary_f32 64x64 rows 1 1 whole",
        "linear f32 9 9 linear_f32 -64x64 rows 1 1 whole",
        "linear f32 9 9",
        "",
        "linear f32 99999999999 9 linear_f32 64x64 rows 1 1 whole",
        "linearlinearlinearlinearlinearlinearlinearlinear f32 9 9 linear_f32 64x64 rows 1 1 whole",
    };
    static char text[1 << 18];
    char path[512], good[4096], identity[32];
    make_file("hostile", path);
    struct sdg_vk *vk = open_hearing();
    read_text(path, good, sizeof good);
    assert_int_equal(sscanf(good, "%*[^\n]\n%31s", identity), 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        snprintf(text, sizeof text, "sdgen vulkan tiles 3\n%s\nlinear f32 9 9 linear_f32 64x64 rows 1 1 whole\n%s\n",
                 identity, lines[i]);
        write_signed(path, text);
        is_ignored(vk, "hostile", "damaged");
    }
    write_signed(path, "sdgen vulkan tiles 3\n");
    is_ignored(vk, "hostile", "damaged");
    snprintf(text, sizeof text, "sdgen vulkan tiles 4\n%s\n", identity);
    write_signed(path, text);
    is_ignored(vk, "hostile", "another version");
    // another device, driver or build
    identity[3] = identity[3] == '0' ? '1' : '0';
    snprintf(text, sizeof text, "sdgen vulkan tiles 3\n%s\nlinear f32 9 9 linear_f32 64x64 rows 1 1 whole\n", identity);
    write_signed(path, text);
    is_ignored(vk, "hostile", "another device, driver or build");
    identity[3] = good[21 + 3];
    size_t used = (size_t)snprintf(text, sizeof text, "sdgen vulkan tiles 3\n%s\n", identity);
    for (int i = 0; i < 4097; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "linear f32 9 9 linear_f32 64x64 rows 1 1 whole\n");
    write_signed(path, text);
    is_ignored(vk, "hostile", "damaged");
    close_vk(vk);
}

// Another driver's file lies under another name.
static void test_other_driver(void **state)
{
    (void)state;
    char path[512];
    make_file("driver", path);
    struct sdg_vk *vk = open_at("driver");
    const uint64_t identity = sdg_vk_identity(vk);
    vk->properties.driverVersion++;
    assert_true(sdg_vk_identity(vk) != identity);
    sdg_vk_tiles_destroy(vk);
    assert_int_equal(sdg_vk_tiles_create(vk, temp_path("driver")), SDG_OK);
    assert_string_not_equal(vk->tiles->path, path);
    assert_int_equal(vk->tiles->count, 0);
    close_vk(vk);
}

// ---- measuring ----

struct tunings {
    int count;
    bool differs;
    char kernel[64], rule[64];
};

static void note_tuning(void *user, const struct sdg_tuning *t)
{
    struct tunings *tunings = user;
    assert_true(t->candidates >= 2 && t->seconds > 0 && t->product[0] && t->kernel[0] && t->rule[0]);
    assert_true(!t->rule_seconds || t->rule_seconds >= t->seconds);
    tunings->count++;
    tunings->differs = t->differs;
    snprintf(tunings->kernel, sizeof tunings->kernel, "%s", t->kernel);
    snprintf(tunings->rule, sizeof tunings->rule, "%s", t->rule);
}

static void test_tune(void **state)
{
    (void)state;
    struct tunings tunings = {0};
    struct sdg_vk *vk = open_at("tuned");
    vk->tiles->most_products = 1;
    assert_int_equal(sdg_backend_tune(&vk->base, 600, note_tuning, &tunings), SDG_OK);
    assert_int_equal(tunings.count, 1);
    assert_true(vk->tiles->tuned && !vk->tiles->measuring && !vk->tiles->forced.shader);
    close_vk(vk);
    vk = open_at("tuned");
    assert_int_equal(vk->tiles->count, 1);
    const struct sdg_vk_choice *c = &vk->tiles->list[0];
    const char *kernel = tunings.differs ? tunings.kernel : tunings.rule;
    char tile[32];
    snprintf(tile, sizeof tile, "_%ux%u", c->tile->m, c->tile->n);
    assert_non_null(strstr(kernel, tile));
    // No time: nothing is known, nothing is written.
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_backend_tune(&vk->base, 1e-6, note_tuning, &tunings), SDG_ERROR_UNSUPPORTED);
    assert_int_equal(messages.errors, 1);
    assert_int_equal(tunings.count, 1);
    close_vk(vk);
    vk = open_at("tuned");
    assert_int_equal(vk->tiles->count, 1);
    close_vk(vk);
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_backend_tune(reference, 1, note_tuning, &tunings), SDG_ERROR_UNSUPPORTED);
    assert_int_equal(messages.errors, 1);
}

static void note_peak(void *user, const struct sdg_peak *peak)
{
    const bool bytes = strcmp(peak->unit, "B/s") == 0;
    assert_true(bytes || strcmp(peak->unit, "op/s") == 0);
    assert_true(peak->name[0] && peak->rate > 1e6 && peak->rate < 1e16);
    *(int *)user += bytes ? 100 : 1;
}

static void test_peaks(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    int kinds = 0;
    assert_int_equal(sdg_backend_peaks(&vk->base, 0.1, note_peak, &kinds), SDG_OK);
    assert_true(kinds >= 201); // reading, copying, multiply-adds
    close_vk(vk);
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_backend_peaks(reference, 0.1, note_peak, &kinds), SDG_ERROR_UNSUPPORTED);
    assert_int_equal(messages.errors, 1);
}

int main(int argc, char **argv)
{
    if (!find_vulkan(argc, argv))
        return 0;
    const struct CMUnitTest tests[] = {
        // CTest runs every third
        cmocka_unit_test(test_every_choice_of_conv2d),
        cmocka_unit_test(test_tune),
        cmocka_unit_test(test_every_choice_of_linear),
        cmocka_unit_test(test_log2),
        cmocka_unit_test(test_peaks),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_parts_by_rule),
        cmocka_unit_test(test_choice_is_taken),
        cmocka_unit_test(test_choice_of_a_rung),
        cmocka_unit_test(test_choice_of_parts),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_other_driver),
    };
    return run_part("vulkan tiles", tests, sizeof tests / sizeof *tests);
}
#else
int main(void)
{
    printf("skipped: this build has no Vulkan backend\n");
    return 0;
}
#endif
