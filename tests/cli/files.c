// Files that programs read and write: pictures and arrays, whole and broken. Every cut and thousands of changed bytes
// of each must end in a picture or an error, never in a crash (the sanitizer build looks closer).
#include "run.h"

#include "apps/common/arrays.h"
#include "apps/common/image.h"
#include "apps/common/output.h"

static char folder[64];
static struct app_ui ui = {.program = "test", .level = SDG_LOG_ERROR};

static int enter(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    folder_leave(folder);
    return 0;
}

// Smooth, so that JPEG keeps it.
static struct sdg_image *make_picture(int width, int height)
{
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_image_create(width, height, &image), SDG_OK);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *pixel = image->pixels + 3 * ((size_t)y * (size_t)width + (size_t)x);
            pixel[0] = (uint8_t)(255 * x / width);
            pixel[1] = (uint8_t)(255 * y / height);
            pixel[2] = (uint8_t)(128 + 100 * x / width - 100 * y / height);
        }
    return image;
}

static void write_picture(const char *path, const struct sdg_image *image, const char *text)
{
    enum app_image_format format;
    assert_int_equal(app_image_format(&ui, path, &format), SDG_OK);
    assert_int_equal(app_image_write(&ui, path, format, image, text), SDG_OK);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {3, 2}, {17, 5}, {64, 64}, {200, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct sdg_image *image = make_picture(sizes[i][0], sizes[i][1]), *back = NULL;
        static const char *const names[] = {"a.png", "a.ppm"};
        for (size_t k = 0; k < 2; k++) {
            write_picture(names[k], image, NULL);
            assert_int_equal(app_image_read(&ui, names[k], &back), SDG_OK);
            assert_true(back->width == image->width && back->height == image->height);
            assert_memory_equal(back->pixels, image->pixels, 3 * (size_t)image->width * (size_t)image->height);
            sdg_image_destroy(&back);
        }
        sdg_image_destroy(&image);
    }
}

static void test_text(void **state)
{
    (void)state;
    // Written text, text that comes back (control characters do not), chunk it is in.
    static const struct {
        const char *text, *back, *chunk;
    } cases[] = {
        {"plain", "plain", "tEXt"},
        {"caf\xc3\xa9", "caf\xc3\xa9", "tEXt"},
        {"\xf0\x9f\x9a\x80", "\xf0\x9f\x9a\x80", "iTXt"},
        {"line\nline\ttab", "line\nline\ttab", "tEXt"},
        {"escape \033[31m", "escape ?[31m", "tEXt"},
        {"c1 \xc2\x9b"
         "31m \xe2\x82\xac",
         "c1 ?31m \xe2\x82\xac", "iTXt"},
    };
    struct sdg_image *image = make_picture(4, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        static char file[4096];
        write_picture("a.png", image, cases[i].text);
        size_t size = read_whole("a.png", file, sizeof file);
        assert_non_null(memmem(file, size, cases[i].chunk, 4));
        assert_int_equal(app_png_parameters(&ui, "a.png", &text), SDG_OK);
        assert_string_equal(text, cases[i].back);
        free(text);
    }
    sdg_image_destroy(&image);
}

static void test_fit(void **state)
{
    (void)state;
    struct sdg_image *image = make_picture(96, 64), *fitted = NULL;
    // The same size: the same picture.
    assert_int_equal(app_image_fit(&ui, image, 96, 64, &fitted), SDG_OK);
    assert_memory_equal(fitted->pixels, image->pixels, 3 * 96 * 64);
    sdg_image_destroy(&fitted);
    // A narrower one: the middle columns, unscaled.
    assert_int_equal(app_image_fit(&ui, image, 32, 64, &fitted), SDG_OK);
    for (size_t y = 0; y < 64; y++)
        assert_memory_equal(fitted->pixels + 3 * 32 * y, image->pixels + 3 * (96 * y + 32), 3 * 32);
    sdg_image_destroy(&fitted);
    // Larger and smaller: one colour stays it, a ramp stays a ramp with its middle in the middle.
    static const int sizes[][2] = {{192, 128}, {48, 32}, {8, 8}, {1, 1}, {7, 200}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int width = sizes[i][0], height = sizes[i][1];
        assert_int_equal(app_image_fit(&ui, image, width, height, &fitted), SDG_OK);
        assert_true(fitted->width == width && fitted->height == height);
        double sum = 0;
        for (int x = 0; x < width; x++) {
            const uint8_t *pixel = fitted->pixels + 3 * ((size_t)(height / 2) * (size_t)width + (size_t)x);
            assert_true(!x || pixel[0] >= pixel[-3]);
            sum += pixel[0];
        }
        assert_true(sum / width > 120 && sum / width < 132);
        sdg_image_destroy(&fitted);
    }
    memset(image->pixels, 77, 3 * 96 * 64);
    assert_int_equal(app_image_fit(&ui, image, 33, 129, &fitted), SDG_OK);
    for (size_t i = 0; i < 3 * 33 * 129; i++)
        assert_int_equal(fitted->pixels[i], 77);
    sdg_image_destroy(&fitted);
    sdg_image_destroy(&image);
}

// A small generator, so that failures can be repeated.
static uint32_t random_state = 12345;
static uint32_t random_number(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state >> 8;
}

static int quick(int count)
{
    return getenv("SDG_TEST_QUICK") ? count / 10 : count;
}

enum reader { READ_IMAGE, READ_TEXT, READ_ARRAY };

static bool reads(enum reader reader, const char *path)
{
    struct sdg_image *image = NULL;
    struct app_array array = {0};
    char *text = NULL;
    enum sdg_result result = SDG_OK;
    if (reader == READ_IMAGE)
        result = app_image_read(&ui, path, &image);
    else if (reader == READ_TEXT)
        result = app_png_parameters(&ui, path, &text);
    else
        result = app_array_read(&ui, path, "noise", &array);
    assert_true(result == SDG_OK || result == SDG_ERROR_INPUT || result == SDG_ERROR_MEMORY);
    bool got = image || text || array.data;
    assert_true(got == (result == SDG_OK));
    sdg_image_destroy(&image);
    free(text);
    free(array.data);
    return got;
}

// All cuts (or some, of a long file) and `changes` versions with changed bytes of the file `path`.
static void mutate(enum reader reader, const char *path, int changes, bool cuts_fail)
{
    static char good[1 << 16], bad[1 << 16];
    char name[64];
    size_t size = read_whole(path, good, sizeof good), step = size / 200 + 1;
    const char *dot = strrchr(path, '.');
    snprintf(name, sizeof name, "bad%s", dot);
    assert_true(size > 0 && reads(reader, path));
    // Messages of thousands of broken files are of no interest.
    int err = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    int accepted = 0;
    for (size_t cut = 0; cut + 1 < size; cut += step) {
        write_whole(name, good, cut);
        bool got = reads(reader, name);
        if (got && cuts_fail) {
            dup2(err, 2);
            fail_msg("%s cut to %zu of %zu bytes was read", path, cut, size);
        }
    }
    for (int i = 0; i < changes; i++) {
        memcpy(bad, good, size);
        for (uint32_t k = 1 + random_number() % 4; k; k--)
            bad[random_number() % size] = (char)random_number();
        write_whole(name, bad, size);
        accepted += reads(reader, name);
    }
    dup2(err, 2);
    close(err);
    close(null);
    unlink(name);
    print_message("%s: %zu cuts, %d changes (%d were read)\n", path, size / step, changes, accepted);
}

static void test_broken_pictures(void **state)
{
    (void)state;
    struct sdg_image *image = make_picture(40, 24);
    write_picture("a.png", image, "some parameters");
    write_picture("a.jpg", image, NULL);
    write_picture("a.ppm", image, NULL);
    mutate(READ_IMAGE, "a.png", quick(2000), false);
    mutate(READ_TEXT, "a.png", quick(2000), false);
    mutate(READ_IMAGE, "a.jpg", quick(2000), false);
    mutate(READ_IMAGE, "a.ppm", quick(1000), true);
    sdg_image_destroy(&image);
}

static void expect_refused(enum reader reader, const char *path, const void *data, size_t size)
{
    write_whole(path, data, size);
    if (reads(reader, path))
        fail_msg("%s of %zu bytes was read", path, size);
}

static void test_hostile_pictures(void **state)
{
    (void)state;
    // A correct header of 2^31 - 1 pixels a side, one of width 0, and pictures of other kinds that announce too much.
    static const unsigned char huge[] =
        "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0\xb3\x16\x9f\xb4";
    expect_refused(READ_IMAGE, "a.png", huge, sizeof huge - 1);
    expect_refused(READ_TEXT, "a.png", huge, sizeof huge - 1);
    static const char ppm_huge[] = "P6 100000 100000 255\nxxx", ppm_zero[] = "P6 0 4 255\n",
                      ppm_negative[] = "P6 -4 4 255\nxxx", ppm_short[] = "P6 100 100 255\nxxx";
    expect_refused(READ_IMAGE, "a.ppm", ppm_huge, sizeof ppm_huge - 1);
    expect_refused(READ_IMAGE, "a.ppm", ppm_zero, sizeof ppm_zero - 1);
    expect_refused(READ_IMAGE, "a.ppm", ppm_negative, sizeof ppm_negative - 1);
    expect_refused(READ_IMAGE, "a.ppm", ppm_short, sizeof ppm_short - 1);
    static const char gif[] = "GIF89a\1\0\1\0\0\0\0;";
    expect_refused(READ_IMAGE, "a.gif", gif, sizeof gif - 1); // a format that is not compiled in
    expect_refused(READ_IMAGE, "empty.png", "", 0);
    assert_false(reads(READ_IMAGE, "absent.png"));
    assert_false(reads(READ_IMAGE, "."));
}

static void test_arrays(void **state)
{
    (void)state;
    float numbers[24];
    for (int i = 0; i < 24; i++)
        numbers[i] = (float)i / 7 - 1;
    struct app_array arrays[2] = {{"noise", 4, {1, 2, 3, 4}, numbers}, {"other", 1, {5}, numbers + 3}}, back = {0};
    assert_int_equal(app_array_write(&ui, "a.safetensors", arrays, 2), SDG_OK);
    assert_int_equal(app_array_write(&ui, "a.npy", arrays, 1), SDG_OK);
    assert_int_equal(app_array_write(&ui, "b.npy", arrays + 1, 1), SDG_OK);
    static const char *const files[] = {"a.safetensors", "a.npy"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(app_array_read(&ui, files[i], "noise", &back), SDG_OK);
        assert_true(back.dims == 4 && back.shape[0] == 1 && back.shape[1] == 2 && back.shape[2] == 3 &&
                    back.shape[3] == 4);
        assert_memory_equal(back.data, numbers, sizeof numbers);
        free(back.data);
    }
    assert_int_equal(app_array_read(&ui, "a.safetensors", "other", &back), SDG_OK);
    assert_true(back.dims == 1 && back.shape[0] == 5);
    assert_memory_equal(back.data, numbers + 3, 5 * sizeof(float));
    free(back.data);
    assert_int_equal(app_array_read(&ui, "b.npy", "any", &back), SDG_OK);
    assert_true(back.dims == 1 && back.shape[0] == 5);
    free(back.data);
    back.data = NULL;
    assert_int_equal(app_array_read(&ui, "a.safetensors", "third", &back), SDG_ERROR_INPUT);
    assert_null(back.data);
    assert_int_equal(app_array_write(&ui, "c.npy", arrays, 2), SDG_ERROR_USAGE);
    mutate(READ_ARRAY, "a.safetensors", quick(2000), true);
    mutate(READ_ARRAY, "a.npy", quick(2000), true);
}

// A .npy file as NumPy writes it, taken from its format description: version 1.0, spaces, line end, two numbers.
static void test_numpy_file(void **state)
{
    (void)state;
    static const char file[] =
        "\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }            \n"
        "\x00\x00\x80\x3f\x00\x00\x00\xc0";
    struct app_array back = {0};
    write_whole("a.npy", file, sizeof file - 1);
    assert_int_equal(sizeof file - 1, 10 + 0x46 + 8);
    assert_int_equal(app_array_read(&ui, "a.npy", "noise", &back), SDG_OK);
    assert_true(back.dims == 1 && back.shape[0] == 2 && back.data[0] == 1.0f && back.data[1] == -2.0f);
    free(back.data);
}

static void test_hostile_arrays(void **state)
{
    (void)state;
    static const struct {
        const char *header;
    } cases[] = {
        {"{}"},
        {"[]"},
        {"{\"noise\":5}"},
        {"{\"noise\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1000,1004]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"},
        {"{\"noise\\"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[400] = {0};
        size_t length = strlen(cases[i].header);
        file[0] = (char)length;
        file[1] = (char)(length >> 8);
        memcpy(file + 8, cases[i].header, length);
        expect_refused(READ_ARRAY, "a.safetensors", file, 8 + length + 4);
    }
    expect_refused(READ_ARRAY, "a.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_refused(READ_ARRAY, "a.safetensors", "", 0);
    expect_refused(READ_ARRAY, "a.npy", "", 0);
    expect_refused(READ_ARRAY, "a.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14);
}

static void test_output(void **state)
{
    (void)state;
    struct app_output output;
    char data[16];
    // Discarded: nothing, and what was there stays.
    write_whole("a.png", "old", 3);
    assert_int_equal(app_output_open(&ui, "a.png", &output), SDG_OK);
    fputs("new", output.file);
    assert_int_equal(read_whole("a.png", data, sizeof data), 3);
    assert_string_equal(data, "old"); // not before it is complete
    app_output_discard(&output);
    assert_int_equal(count_files(), 1);
    assert_int_equal(read_whole("a.png", data, sizeof data), 3);
    assert_string_equal(data, "old");
    assert_int_equal(app_output_open(&ui, "a.png", &output), SDG_OK);
    fputs("newer", output.file);
    assert_int_equal(app_output_commit(&ui, &output), SDG_OK);
    assert_int_equal(count_files(), 1);
    assert_int_equal(read_whole("a.png", data, sizeof data), 5);
    assert_int_equal(app_output_check(&ui, "b.png"), SDG_OK);
    assert_int_equal(count_files(), 1);
    assert_int_equal(app_output_check(&ui, "absent/b.png"), SDG_ERROR_OUTPUT);
    assert_int_equal(app_output_check(&ui, "."), SDG_ERROR_OUTPUT);

    static const struct {
        const char *pattern;
        int64_t number, count;
        const char *name;
    } names[] = {
        {"a.png", 0, 1, "a.png"},      {"a.png", 0, 2, "a_1.png"},     {"a.png", 11, 12, "a_12.png"},
        {"a%d.png", 0, 1, "a0.png"},   {"a%d.png", 10, 12, "a10.png"}, {"%03d.png", 7, 12, "007.png"},
        {"%3d.png", 7, 12, "  7.png"}, {"d.e/a", 1, 2, "d.e/a_2"},     {".png", 0, 2, ".png_1"},
        {"d/.png", 0, 2, "d/.png_1"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *name = NULL;
        assert_int_equal(app_output_name(&ui, names[i].pattern, names[i].number, names[i].count, &name), SDG_OK);
        assert_string_equal(name, names[i].name);
        free(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, enter, leave),
        cmocka_unit_test_setup_teardown(test_text, enter, leave),
        cmocka_unit_test_setup_teardown(test_fit, enter, leave),
        cmocka_unit_test_setup_teardown(test_broken_pictures, enter, leave),
        cmocka_unit_test_setup_teardown(test_hostile_pictures, enter, leave),
        cmocka_unit_test_setup_teardown(test_arrays, enter, leave),
        cmocka_unit_test_setup_teardown(test_numpy_file, enter, leave),
        cmocka_unit_test_setup_teardown(test_hostile_arrays, enter, leave),
        cmocka_unit_test_setup_teardown(test_output, enter, leave),
    };
    return cmocka_run_group_tests_name("cli_files", tests, NULL, NULL);
}
