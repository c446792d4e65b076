// Pictures that go into sdgen and come out of it: orientation, transparency, masks, sizes, what is kept outside of a
// mask, and drawing a picture again from itself. Small and few steps.
#include "run.h"

#include "apps/common/ui.h"
#include "sdgen/picture.h"

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/pictures/"
// One thread: tests run beside each other. Sampling begins late, so that the result is close to the init image.
#define FEW "-t", "1", "--backend", "cpu", "--steps", "4"
#define LITTLE FEW, "--strength", "0.3", "-W", "64", "-H", "64"

// Done, and said `words`.
static void expect_said(const struct run *run, const char *words)
{
    expect_done(run);
    if (!strstr(run->err, words))
        fail_msg("'%s' is not said: %s", words, run->err);
}

// One error line with `word`, before anything was computed.
static void expect_error(const struct run *run, int status, const char *word)
{
    if (run->status != status || !strstr(run->err, "error: ") || !strstr(run->err, word) || strstr(run->err, "sample "))
        fail_msg("expected exit status %d and '%s', got %d: %s", status, word, run->status, run->err);
}

static struct sdg_image *load(const char *path)
{
    struct app_ui ui = app_ui_create("test");
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_picture_read(app_log_of(&ui), path, &image), SDG_OK);
    return image;
}

// A PPM of one colour, with a rectangle of another from (x, y) to (x2, y2).
static void write_ppm(const char *path, int width, int height, int around, int x, int y, int x2, int y2, int inside)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fprintf(file, "P6\n%d %d\n255\n", width, height);
    for (int i = 0; i < height; i++)
        for (int k = 0; k < width; k++)
            for (int c = 0; c < 3; c++)
                fputc(i >= y && i < y2 && k >= x && k < x2 ? inside : around, file);
    assert_int_equal(fclose(file), 0);
}

static void test_orientation(void **state)
{
    (void)state;
    // Photographs of 24 x 16 pixels, one stored upright and one turned: the same picture, also of the same size.
    expect_done(sdgen("x", FEW, "--strength", "0.3", "-i", GOLDENS "rgb.ppm", "-o", "up.ppm"));
    expect_done(sdgen("x", FEW, "--strength", "0.3", "-i", GOLDENS "turned6.png", "-o", "turned.ppm"));
    struct sdg_image *up = load("up.ppm"), *turned = load("turned.ppm");
    assert_true(up->width == 24 && up->height == 16 && turned->width == 16 && turned->height == 24);
    sdg_image_destroy(&up);
    sdg_image_destroy(&turned);
    // Its upright form as a PPM, by Pillow.
    expect_done(sdgen("x", FEW, "--strength", "0.3", "-i", GOLDENS "turned6.png.ppm", "-o", "up.ppm"));
    assert_true(same_files("up.ppm", "turned.ppm"));
    // The mask is turned as well.
    expect_done(sdgen("x", FEW, "-i", "up.ppm", "--mask", GOLDENS "turned6.png", "-o", "turned.ppm"));
    expect_done(sdgen("x", FEW, "-i", "up.ppm", "--mask", GOLDENS "turned6.png.ppm", "-o", "other.ppm"));
    assert_true(same_files("turned.ppm", "other.ppm"));
}

static void test_transparency(void **state)
{
    (void)state;
    expect_said(sdgen("x", LITTLE, "-i", GOLDENS "rgba.png", "-o", "a.ppm"),
                "transparent parts, they are put on white");
    expect_done(sdgen("x", LITTLE, "-i", GOLDENS "rgba.png.ppm", "-o", "b.ppm"));
    assert_true(same_files("a.ppm", "b.ppm"));
    const struct run *run = expect_done(sdgen("x", LITTLE, "-i", GOLDENS "opaque.png", "-o", "b.ppm"));
    assert_null(strstr(run->err, "transparent"));
    expect_said(sdgen("x", LITTLE, "-i", GOLDENS "rgba.png", "-o", "b.png", "--init-alpha-color", "#102030"),
                "#102030");
    assert_non_null(strstr(sdgen("-M", "metadata", "--image", "b.png")->out, "Init alpha color: #102030"));
    expect_done(sdgen("x", LITTLE, "-i", GOLDENS "rgba.png", "-o", "b.ppm", "--init-alpha-color", "black"));
    assert_false(same_files("a.ppm", "b.ppm"));
}

static void test_masks(void **state)
{
    (void)state;
    write_ppm("i.ppm", 64, 64, 200, 10, 10, 50, 50, 40);
    write_ppm("black.ppm", 64, 64, 0, 0, 0, 0, 0, 0);
    write_ppm("white.ppm", 64, 64, 255, 0, 0, 0, 0, 0);
    write_ppm("grey.ppm", 64, 64, 100, 0, 0, 0, 0, 0);
    write_ppm("dot.ppm", 64, 64, 0, 9, 9, 12, 12, 255);
    write_ppm("wide.ppm", 128, 64, 0, 0, 0, 64, 64, 255);
    write_ppm("large.ppm", 128, 128, 0, 0, 0, 64, 64, 255);
    static const struct {
        const char *mask, *words; // NULL = nothing
    } cases[] = {
        {"black.ppm", "black all over: nothing is painted anew"},
        {"white.ppm", "white all over: everything is painted anew"},
        {"grey.ppm", "one grey all over: nothing"},
        {"dot.ppm", "too small"},
        {"wide.ppm", "other proportions"},
        {"large.ppm", NULL},
        {GOLDENS "rgba.png", "what is transparent (erased) is painted anew"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct run *run =
            sdgen("x", FEW, "--strength", "0.3", "-i", "i.ppm", "--mask", (char *)cases[i].mask, "-o", "a.ppm");
        if (cases[i].words) {
            expect_said(run, cases[i].words);
            assert_non_null(strstr(run->err, "warning: "));
        } else {
            expect_done(run);
            if (strstr(run->err, "warning: "))
                fail_msg("%s", run->err);
        }
    }
}

// Outside of the mask, bytes are the init image's, inside they are as drawn; of a size that is drawn larger and cut,
// too.
static void test_keep_unmasked(void **state)
{
    (void)state;
    static const int sizes[][2] = {{64, 64}, {61, 50}};
    for (size_t k = 0; k < 2; k++) {
        const int w = sizes[k][0], h = sizes[k][1];
        write_ppm("i.ppm", w, h, 200, 10, 10, 50, 40, 37);
        write_ppm("m.ppm", w, h, 0, 13, 9, 41, 33, 255);
        expect_done(sdgen("x", FEW, "-i", "i.ppm", "--mask", "m.ppm", "-o", "kept.ppm"));
        expect_done(sdgen("x", FEW, "-i", "i.ppm", "--mask", "m.ppm", "-o", "changed.ppm", "--no-keep-unmasked"));
        // torch's numbers are for comparing with diffusers
        expect_done(sdgen("x", FEW, "-i", "i.ppm", "--mask", "m.ppm", "-o", "a.ppm", "--rng", "cpu"));
        expect_done(
            sdgen("x", FEW, "-i", "i.ppm", "--mask", "m.ppm", "-o", "b.ppm", "--rng", "cpu", "--no-keep-unmasked"));
        assert_true(same_files("a.ppm", "b.ppm"));
        expect_done(
            sdgen("x", FEW, "-i", "i.ppm", "--mask", "m.ppm", "-o", "b.ppm", "--rng", "cpu", "--keep-unmasked"));
        assert_false(same_files("a.ppm", "b.ppm"));
        struct sdg_image *init = load("i.ppm"), *mask = load("m.ppm"), *kept = load("kept.ppm"),
                         *changed = load("changed.ppm");
        assert_true(kept->width == w && kept->height == h && changed->width == w && changed->height == h);
        int differ = 0;
        for (size_t i = 0; i < (size_t)w * (size_t)h; i++) {
            const struct sdg_image *expected = mask->pixels[3 * i] ? changed : init;
            assert_memory_equal(kept->pixels + 3 * i, expected->pixels + 3 * i, 3);
            differ += memcmp(changed->pixels + 3 * i, init->pixels + 3 * i, 3) != 0;
        }
        assert_true(differ > 100); // the autoencoder changes what it was not asked to
        sdg_image_destroy(&init);
        sdg_image_destroy(&mask);
        sdg_image_destroy(&kept);
        sdg_image_destroy(&changed);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    // The middle of what is drawn.
    expect_said(sdgen("x", FEW, "-W", "60", "-H", "63", "-o", "a.ppm"),
                "60 x 63 pixels: drawn at 64 x 64, multiples of 8, and cut to the middle");
    expect_done(sdgen("x", FEW, "-W", "64", "-H", "64", "-o", "b.ppm"));
    struct sdg_image *cut = load("a.ppm"), *whole = load("b.ppm");
    assert_true(cut->width == 60 && cut->height == 63);
    for (size_t y = 0; y < 63; y++)
        assert_memory_equal(cut->pixels + 180 * y, whole->pixels + 3 * (64 * y + 2), 180);
    sdg_image_destroy(&cut);
    sdg_image_destroy(&whole);
    expect_error(sdgen("x", FEW, "-W", "16385", "-o", "c.ppm"), 1, "--width");
}

static void test_from(void **state)
{
    (void)state;
    char path[200];
    write_ppm("photo.ppm", 60, 64, 200, 10, 10, 50, 40, 37);
    write_ppm("m.ppm", 60, 64, 0, 16, 16, 48, 48, 255);
    expect_done(sdgen("a \"red\" apple, (3d:1.2)\nand more", FEW, "-n", "blurry", "-W", "60", "-H", "64", "-s",
                      "18446744073709551615", "--sampling-method", "dpm++2m", "--scheduler", "karras", "--cfg-scale",
                      "3.5", "--rng", "cpu", "--type", "bf16", "--clip-skip", "2", "-o", "a.png"));
    // Beside each other: PNG and JPEG, with what the command line says on top.
    expect_done(sdgen("--from", "a.png", "-o", "b.png", "-t", "1"));
    assert_true(same_files("a.png", "b.png"));
    expect_done(sdgen("--from", "a.png", "-o", "a.jpg", "-t", "1"));
    expect_done(sdgen("--from", "a.jpg", "-o", "b.png", "-t", "1"));
    assert_true(same_files("a.png", "b.png"));
    expect_said(sdgen("--from", "a.png", "-o", "b.png", "-t", "1", "-s", "7", "a dog"), "seed 7\n");
    assert_non_null(strstr(sdgen("-M", "metadata", "--image", "b.png")->out,
                           "a dog\nNegative prompt: blurry\nSteps: 4, Sampler: "
                           "DPM++ 2M, Schedule type: Karras, CFG scale: "
                           "3.5, Seed: 7, Size: 60x64"));
    // Files that it started from, from another folder; a batch's picture.
    expect_done(sdgen("x", "-t", "1", "--backend", "cpu", "-i", "photo.ppm", "--mask", "m.ppm", "--strength", "0.6",
                      "-b", "2", "--sigmas", "9,5,3,1", "-o", "c.png"));
    assert_int_equal(mkdir("sub", 0777), 0);
    snprintf(path, sizeof path, "%s/c_2.png", run_folder);
    assert_int_equal(chdir("sub"), 0);
    expect_done(sdgen("--from", path, "-o", "../d.png", "-t", "1"));
    assert_int_equal(chdir(".."), 0);
    assert_true(same_files("c_2.png", "d.png"));
    assert_int_equal(rmdir("sub"), 0);
    // One that changed, one that is missing, and another in its place.
    write_ppm("photo.ppm", 60, 64, 201, 10, 10, 50, 40, 37);
    expect_error(sdgen("--from", "c_1.png", "-o", "d.png"), 2, "photo.ppm', which is another file now");
    assert_int_equal(rename("photo.ppm", "else.ppm"), 0);
    expect_error(sdgen("--from", "c_1.png", "-o", "d.png"), 2, "name it with --init-img");
    expect_done(sdgen("--from", "c_1.png", "-o", "d.png", "-t", "1", "-i", "else.ppm"));
    // Not from these.
    expect_error(sdgen("--from", "else.ppm", "-o", "d.png"), 2, "else.ppm");
    expect_error(sdgen("--from", "absent.png", "-o", "d.png"), 2, "absent.png");
    expect_error(sdgen("--from", GOLDENS "turned2.png", "-o", "d.png"), 2, "turned2.png");
}

// Pictures of other programs.
static void test_from_others(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("test");
    struct sdg_image *image = load(GOLDENS "rgb.ppm");
    static const struct {
        const char *text, *words;
        int status;
    } cases[] = {
        {"cat\nSteps: 4, Sampler: Euler a, Seed: 1, Size: 64x64, Model: v1-5-pruned", "'v1-5-pruned'", 1},
        {"cat\nSteps: 4, Sampler: Restart, Seed: 1, Size: 64x64", "the sampler 'Restart'", 1},
        {"cat\nSteps: 4, Sampler: Euler, Schedule type: Beta 9, Seed: 1", "the schedule 'Beta 9'", 1},
        {"{\"sui_image_params\": {}}", "JSON", 1},
        {"only words", "no parameters", 2},
        {"cat\nSteps: 0, Seed: 1", "no parameters", 2},
        {"cat\nSteps: many", "no number", 2},
        {"cat\nSteps: 2, Sampler: DPM++ 2M Karras, Seed: 1, Size: 64x64, Hires upscale: 2, Model hash: 12",
         "does not know, so the picture may become another: Hires upscale\n", 0},
        {"cat\nSteps: 2, Sampler: Euler, Schedule type: Automatic, Seed: 1, Size: 64x64", "64 x 64", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(sdg_picture_write(app_log_of(&ui), "a.png", SDG_PICTURE_PNG, image, cases[i].text), SDG_OK);
        const struct run *run = sdgen("--from", "a.png", "-o", "b.ppm", "-t", "1", "--backend", "cpu");
        if (cases[i].status)
            expect_error(run, cases[i].status, cases[i].words);
        else
            expect_said(run, cases[i].words);
    }
    sdg_image_destroy(&image);
}

// A picture's own prompt, where no other is given.
static void test_own_prompt(void **state)
{
    (void)state;
    expect_done(sdgen("a red apple", FEW, "-n", "blue", "-W", "64", "-H", "64", "-o", "a.png"));
    expect_said(sdgen(LITTLE, "-i", "a.png", "-o", "b.png"), "no prompt was given, its own is taken: a red apple\n");
    static const char text[] = "a red apple\nNegative prompt: blue\n";
    assert_int_equal(strncmp(sdgen("-M", "metadata", "--image", "b.png")->out, text, sizeof text - 1), 0);
    const struct run *run = expect_done(sdgen("-p", "", LITTLE, "-i", "a.png", "-o", "b.png"));
    assert_null(strstr(run->err, "its own"));
    expect_error(sdgen(LITTLE, "-i", GOLDENS "rgb.ppm", "-o", "b.png"), 1, "has none of its own");
    run = expect_done(sdgen("-M", "metadata", "--image", "a.png", "--metadata-format", "json"));
    static const char json[] = "{\n  \"prompt\": \"a red apple\",\n  \"negative_prompt\": \"blue\",\n  \"steps\": 4,";
    assert_int_equal(strncmp(run->out, json, sizeof json - 1), 0);
}

static void test_outputs(void **state)
{
    (void)state;
    // Found before anything is computed: closed, or open for reading only, or protected.
    static const char *const shells[] = {"exec \"$@\" >&-", "exec \"$@\" 1</dev/null"};
    for (size_t i = 0; i < 2; i++)
        expect_error(run_with((char *const[]){(char *)"/bin/sh", (char *)"-c", (char *)shells[i], (char *)"sh",
                                              SDGEN_PROGRAM, (char *)"x", FEW, (char *)"-o", (char *)"-", NULL},
                              NULL),
                     2, "standard output");
    write_whole("a.png", "old", 3);
    assert_int_equal(chmod("a.png", 0444), 0);
    expect_error(sdgen("x", FEW, "-o", "a.png"), 2, "write-protected");
    // A folder with a percent sign.
    assert_int_equal(mkdir("100% done", 0777), 0);
    expect_done(sdgen("x", FEW, "-W", "64", "-H", "64", "-o", "100% done/50%.ppm"));
    assert_true(file_exists("100% done/50%.ppm"));
    assert_int_equal(unlink("100% done/50%.ppm"), 0);
}

// The specification of XDG's folders: a relative one is to be ignored.
static void test_relative_cache(void **state)
{
    (void)state;
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", run_folder, 1);
    const struct run *run = sdgen("x", "-t", "1", "--backend", "vae=vulkan,unet=cpu,te=cpu", "--steps", "1", "-W", "8",
                                  "-H", "8", "-o", "a.ppm");
    if (run->status == 3 || run->status == 1) {
        print_message("no Vulkan device: skipped\n");
        return;
    }
    expect_done(run);
    assert_false(file_exists("relative"));
    assert_true(file_exists(".cache/sdgen"));
    assert_int_equal(run_with((char *const[]){(char *)"/bin/rm", (char *)"-r", (char *)".cache", NULL}, NULL)->status,
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_orientation, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_transparency, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_masks, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_keep_unmasked, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_sizes, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_from, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_from_others, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_own_prompt, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_outputs, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_relative_cache, enter_with_model, leave_with_model),
    };
    return cmocka_run_group_tests_name("cli_pictures", tests, NULL, NULL);
}
