// Models out of lists of files, through the public API: pictures are those of the folders on disk, nothing is copied
// that need not be, and nothing of the caller's is needed afterwards but what it is said to keep.
#include "base/platform.h"
#include "sdgen/sdgen.h"
#include "tests/support/packed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MODELS SDG_SOURCE_DIR "/models/"

static struct packed packed = {.fd = -1};

static struct sdg_pipeline_params params_for(const char *model, struct temp_log *t)
{
    return (struct sdg_pipeline_params){
        .model = model, .backend = "cpu", .type = "f32", .cache_dir = "", .threads = 2, .log = *temp_log(t)};
}

static struct sdg_pipeline_params params_in_list(const char *model, struct temp_log *t)
{
    struct sdg_pipeline_params params = params_for(model, t);
    params.files = packed.files;
    params.file_count = packed.count;
    return params;
}

static struct sdg_pipeline *must_open(const struct sdg_pipeline_params *params, const struct temp_log *t)
{
    struct sdg_pipeline *p = NULL;
    if (sdg_pipeline_create(params, &p) != SDG_OK)
        fail_msg("%s: %s", params->model, t->last);
    return p;
}

static struct sdg_image *draw(struct sdg_pipeline *p)
{
    struct sdg_image *image = NULL;
    const struct sdg_generate_params params = {
        .prompt = "a red apple, 3d", .width = 128, .height = 128, .steps = 2, .seed = 3};
    assert_int_equal(sdg_generate(p, &params, &image, NULL), SDG_OK);
    return image;
}

static struct sdg_image *draw_path(const char *model)
{
    struct temp_log t;
    const struct sdg_pipeline_params params = params_for(model, &t);
    struct sdg_pipeline *p = must_open(&params, &t);
    struct sdg_image *image = draw(p);
    sdg_pipeline_destroy(&p);
    return image;
}

static void expect_same(const struct sdg_image *a, const struct sdg_image *b)
{
    assert_true(a->width == b->width && a->height == b->height);
    assert_memory_equal(a->pixels, b->pixels, 3 * (size_t)a->width * (size_t)a->height);
}

// Draws out of the list, after what it refers to is gone.
static void expect_drawn(const struct sdg_pipeline_params *params, const struct temp_log *t,
                         const struct sdg_image *want)
{
    struct sdg_pipeline *p = must_open(params, t);
    packed_let_go(&packed);
    struct sdg_image *image = draw(p);
    expect_same(image, want);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
    packed_free(&packed);
}

// ---- the default model ----

static void test_default_model(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_image *want = draw_path(MODELS "emoji-128");
    for (enum packed_way way = PACKED_PATHS; way < PACKED_WAYS; way++) {
        packed_add(&packed, MODELS "emoji-128", "emoji-128");
        packed_make(&packed, way);
        const struct sdg_pipeline_params params = params_in_list("emoji-128", &t);
        expect_drawn(&params, &t, want);
    }
    sdg_image_destroy(&want);
}

// On pages as large as some phones have.
static void test_large_pages(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_image *want = draw_path(MODELS "emoji-128");
    sdg_test_page(16384);
    packed_add(&packed, MODELS "emoji-128", "");
    packed_make(&packed, PACKED_PARTS);
    const struct sdg_pipeline_params params = params_in_list(".", &t);
    expect_drawn(&params, &t, want);
    sdg_test_page(0);
    sdg_image_destroy(&want);
}

// The process's own memory, without pages of files.
static size_t own_memory(void)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtoull(line + 8, NULL, 10);
    if (file)
        fclose(file);
    return kib * 1024;
}

// What an open model takes beside pages of its files: weights are 35 MB of the folder, and copied only where that was
// asked for.
static void test_memory(void **state)
{
    (void)state;
    enum { FEW = 6 << 20, WEIGHTS = 35000000 };
    struct temp_log t;
    if (!own_memory()) {
        print_message("skipped: the system does not say how much memory is the process's own\n");
        return;
    }
    sdg_image_destroy(&(struct sdg_image *){draw_path(MODELS "emoji-128")}); // what is kept after the first one
    for (int way = PACKED_PATHS; way <= PACKED_COPIED; way++)
        for (int no_mmap = 0; no_mmap < 2; no_mmap++) {
            const bool copies = way == PACKED_COPIED || (no_mmap && way != PACKED_KEPT);
            packed_add(&packed, MODELS "emoji-128", "m");
            packed_make(&packed, (enum packed_way)way);
            struct sdg_pipeline_params params = params_in_list("m", &t);
            params.no_mmap = no_mmap;
            sdg_memory_trim();
            const size_t before = own_memory();
            struct sdg_pipeline *p = must_open(&params, &t);
            sdg_memory_trim();
            const size_t after = own_memory(), took = after > before ? after - before : 0;
            print_message("way %d%s: %.1f MB of memory\n", way, no_mmap ? ", read" : "", (double)took * 1e-6);
            assert_true(copies ? took >= WEIGHTS && took < WEIGHTS + FEW : took < FEW);
            sdg_pipeline_destroy(&p);
            packed_free(&packed);
        }
}

// ---- other models ----

// What is stored as the difference from another model: that one is in the list, too.
static void test_bases(void **state)
{
    (void)state;
    static const char *const models[] = {"emoji-128-w8a8-tdq", "emoji-128-mamba"};
    struct temp_log t;
    for (int i = 0; i < 2; i++) {
        char path[600], name[100];
        snprintf(path, sizeof path, MODELS "%s", models[i]);
        snprintf(name, sizeof name, "assets/%s", models[i]);
        struct sdg_image *want = draw_path(path);
        packed_add(&packed, path, name);
        packed_add(&packed, MODELS "emoji-128", "assets/emoji-128");
        packed_make(&packed, PACKED_PARTS);
        const struct sdg_pipeline_params params = params_in_list(name, &t);
        expect_drawn(&params, &t, want);
        packed_add(&packed, path, "m"); // without the base
        packed_make(&packed, PACKED_KEPT);
        const struct sdg_pipeline_params alone = params_in_list("m", &t);
        struct sdg_pipeline *p = NULL;
        assert_int_equal(sdg_pipeline_create(&alone, &p), SDG_ERROR_INPUT);
        assert_true(!p && t.errors == 1 && strstr(t.last, "m/../emoji-128"));
        packed_free(&packed);
        sdg_image_destroy(&want);
    }
}

// An autoencoder, alone in a file: under diffusers' names, which are read as well.
static void test_autoencoder(void **state)
{
    (void)state;
    struct temp_log t;
    static const char vae[] = MODELS "emoji-128/vae/diffusion_pytorch_model.safetensors";
    struct sdg_pipeline_params params = params_for(MODELS "emoji-128", &t);
    params.vae = vae;
    struct sdg_pipeline *p = must_open(&params, &t);
    struct sdg_image *want = draw(p);
    sdg_pipeline_destroy(&p);
    for (int system = 0; system < 2; system++) { // the rest of the model out of the list, or from its path
        if (!system)
            packed_add(&packed, MODELS "emoji-128", "m");
        packed_add(&packed, MODELS "emoji-128/vae", "other");
        packed_add(&packed, MODELS "emoji-128/tokenizer", "words");
        packed_make(&packed, PACKED_PARTS);
        params = params_in_list(system ? MODELS "emoji-128" : "m", &t);
        params.vae = "other/diffusion_pytorch_model.safetensors";
        params.tokenizer = "words";
        expect_drawn(&params, &t, want);
    }
    sdg_image_destroy(&want);
}

// ---- the parameters ----

static void expect_refused(const struct sdg_pipeline_params *params, const struct temp_log *t, enum sdg_result want,
                           const char *words)
{
    struct sdg_pipeline *p = NULL;
    const enum sdg_result result = sdg_pipeline_create(params, &p);
    if (result != want || p || t->errors != 1 || !strstr(t->last, words))
        fail_msg("result %d, %d errors, '%s' should have '%s'", (int)result, t->errors, t->last, words);
}

static void test_parameters(void **state)
{
    (void)state;
    struct temp_log t;
    const struct sdg_file one = {.name = "a.safetensors", .kind = SDG_FILE_KEPT, .data = "x", .length = 1};
    struct sdg_pipeline_params params = params_for(NULL, &t);
    params.files = &one;
    params.file_count = 1;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "no model is named");
    params.model = "a.safetensors";
    params.log = *temp_log(&t);
    expect_refused(&params, &t, SDG_ERROR_INPUT, "a.safetensors: is a text file");
    params.log = *temp_log(&t);
    params.file_count = 0;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "file_count is 0");
    params.log = *temp_log(&t);
    params.files = NULL;
    params.file_count = 1;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "files is NULL");
}

// A mapped part is known by its name as long as it is open.
static void test_file_at(void **state)
{
    (void)state;
    struct temp_log t;
    packed_add(&packed, MODELS "emoji-128", "m");
    packed_make(&packed, PACKED_PARTS);
    const struct sdg_pipeline_params params = params_in_list("m", &t);
    struct sdg_pipeline *p = must_open(&params, &t);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[700];
    const char *last = NULL;
    int named = 0, parts = 0, weights = 0; // the system may make one part of two that happen to lie side by side
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        if (!strstr(line, "packed.bin") || sscanf(line, "%lx-%lx", &begin, &end) != 2)
            continue;
        const char *name = sdg_file_at((const void *)(begin + 4096));
        parts++;
        named += name && strncmp(name, "m/", 2) == 0 && strstr(name, ".safetensors");
        for (unsigned long at = begin + 4096; at < end; at += 4096) {
            name = sdg_file_at((const void *)at);
            weights += name && (!last || strcmp(name, last) != 0);
            last = name ? name : last;
        }
    }
    if (maps)
        fclose(maps);
    print_message("%d of %d parts are named, of %d files\n", named, parts, weights);
    assert_true(named == parts && (weights >= 3 || !maps));
    sdg_pipeline_destroy(&p);
    packed_free(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_model), cmocka_unit_test(test_large_pages), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_bases),         cmocka_unit_test(test_autoencoder), cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_file_at),
    };
    return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
