// picture/: files of every kind as other programs write them, against what Pillow makes of them
// (tests/goldens/pictures, by tools/make-picture-goldens.py): orientation, transparency, PNM, comments. Hostile EXIF,
// masks, placing.
#include "tests/cli/run.h"

#include "base/file.h"
#include "base/memory.h"
#include "sdgen/picture.h"

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/pictures"

static char message[512]; // the last one
static int messages;

static void keep_message(void *user, enum sdg_log_level level, const char *text)
{
    (void)user;
    (void)level;
    snprintf(message, sizeof message, "%s", text);
    messages++;
}
static const struct sdg_log kept = {keep_message, NULL, SDG_LOG_WARNING};

static struct sdg_image *read_picture(const char *name)
{
    char path[512];
    struct sdg_image *image = NULL;
    snprintf(path, sizeof path, "%s/%s", GOLDENS, name);
    if (sdg_picture_read(&kept, path, &image) != SDG_OK)
        fail_msg("%s", message);
    return image;
}

static char *read_bytes(const char *name, size_t *size)
{
    char path[512], *data = NULL;
    snprintf(path, sizeof path, "%s/%s", GOLDENS, name);
    assert_int_equal(sdg_file_read(&kept, path, 1 << 20, &data, size), SDG_OK);
    return data;
}

static int largest_difference(const struct sdg_image *a, const struct sdg_image *b)
{
    int most = 0;
    assert_true(a->width == b->width && a->height == b->height);
    for (size_t i = 0; i < 3 * (size_t)a->width * (size_t)a->height; i++)
        most = abs(a->pixels[i] - b->pixels[i]) > most ? abs(a->pixels[i] - b->pixels[i]) : most;
    return most;
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), e = strlen(end);
    return length > e && strcmp(text + length - e, end) == 0;
}

// ---- against Pillow ----

static bool webp_is_absent(void)
{
    size_t size;
    char *data = read_bytes("rgba.webp", &size);
    struct sdg_image *image = NULL;
    enum sdg_result result = sdg_picture_decode(&kept, "rgba.webp", data, size, &image);
    sdg_free(data);
    sdg_image_destroy(&image);
    if (result == SDG_ERROR_UNSUPPORTED)
        assert_non_null(strstr(message, "libwebp"));
    return result == SDG_ERROR_UNSUPPORTED;
}

static void test_kinds(void **state)
{
    (void)state;
    DIR *dir = opendir(GOLDENS);
    assert_non_null(dir);
    int count = 0, skipped = 0;
    const bool no_webp = webp_is_absent();
    for (struct dirent *entry; (entry = readdir(dir));) {
        char expected_name[300];
        if (*entry->d_name == '.' || ends_in(entry->d_name, ".txt") ||
            strchr(entry->d_name, '.') != strrchr(entry->d_name, '.'))
            continue;
        if (no_webp && ends_in(entry->d_name, ".webp")) {
            skipped++;
            continue;
        }
        snprintf(expected_name, sizeof expected_name, "%s.ppm", entry->d_name);
        struct sdg_image *image = read_picture(entry->d_name), *expected = read_picture(expected_name);
        // Two JPEG decoders may round differently, and two ways to blend by one; neighbours differ by 5 to 17.
        const int bound = ends_in(entry->d_name, ".jpg") ? 3 : 1, difference = largest_difference(image, expected);
        if (difference > bound)
            fail_msg("%s differs from Pillow's by %d", entry->d_name, difference);
        count++;
        sdg_image_destroy(&image);
        sdg_image_destroy(&expected);
    }
    closedir(dir);
    print_message("%d pictures equal Pillow's%s\n", count, skipped ? " (built without libwebp: WebP skipped)" : "");
    assert_true(count + skipped >= 40);
}

static void test_comments(void **state)
{
    (void)state;
    static const char *const names[] = {"comment-big.jpg",  "comment-little.jpg", "comment-mixed.jpg",
                                        "comment-utf8.jpg", "comment-ascii.jpg",  "comment-segment.jpg",
                                        "comment.webp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text_name[64], *text = NULL;
        size_t size, expected_size;
        snprintf(text_name, sizeof text_name, "%s.txt", names[i]);
        char *data = read_bytes(names[i], &size), *expected = read_bytes(text_name, &expected_size);
        if (sdg_picture_text(&kept, names[i], data, size, &text) != SDG_OK)
            fail_msg("%s", message);
        assert_string_equal(text, expected);
        sdg_picture_free(text);
        sdg_free(data);
        sdg_free(expected);
    }
    size_t size;
    char *data = read_bytes("turned3.jpg", &size), *text = NULL;
    assert_int_equal(sdg_picture_text(&kept, "turned3.jpg", data, size, &text), SDG_ERROR_INPUT);
    assert_null(text);
    sdg_free(data);
}

// ---- JPEG with a text of ours ----

static void test_jpeg_text(void **state)
{
    (void)state;
    struct sdg_image *image = read_picture("rgb.ppm"), *back = NULL;
    char *longest = sdg_alloc(NULL, 70000, 1, "a text");
    memset(longest, 'x', 65400);
    const char *const texts[] = {"a cat", "two\nlines, caf\xc3\xa9 \xe6\x9d\xb1 \xf0\x9f\x9a\x80", longest};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint8_t *plain, *data;
        size_t plain_size, size;
        char *text = NULL;
        assert_int_equal(sdg_picture_encode(&kept, SDG_PICTURE_JPEG, image, NULL, &plain, &plain_size), SDG_OK);
        assert_int_equal(sdg_picture_encode(&kept, SDG_PICTURE_JPEG, image, texts[i], &data, &size), SDG_OK);
        assert_true(size > plain_size);
        assert_int_equal(sdg_picture_text(&kept, "a.jpg", data, size, &text), SDG_OK);
        assert_string_equal(text, texts[i]);
        // nothing else changed
        assert_memory_equal(data + size - (plain_size - 20), plain + 20, plain_size - 20);
        assert_memory_equal(data, plain, 20);
        assert_int_equal(sdg_picture_decode(&kept, "a.jpg", data, size, &back), SDG_OK);
        sdg_image_destroy(&back);
        sdg_picture_free(plain);
        sdg_picture_free(data);
        sdg_picture_free(text);
    }
    // Too long for a segment of 65535 bytes: written without, and said.
    uint8_t *data;
    size_t size;
    char *text = NULL;
    memset(longest, 'x', 69999);
    messages = 0;
    assert_int_equal(sdg_picture_encode(&kept, SDG_PICTURE_JPEG, image, longest, &data, &size), SDG_OK);
    assert_int_equal(messages, 1);
    assert_non_null(strstr(message, "too long"));
    assert_int_equal(sdg_picture_text(&kept, "a.jpg", data, size, &text), SDG_ERROR_INPUT);
    sdg_picture_free(data);
    sdg_free(longest);
    sdg_image_destroy(&image);
}

// ---- hostile EXIF ----

// A JPEG whose EXIF is `block` [size]; the rest is good.
static void expect_upright(const char *what, const unsigned char *block, size_t size, int turned)
{
    static unsigned char file[1 << 17];
    size_t rest;
    char *good = read_bytes("turned1.jpg", &rest);
    const size_t length = size + 8;
    assert_true(length < 0xffff);
    memcpy(file, "\xff\xd8\xff\xe1", 4);
    file[4] = (unsigned char)(length >> 8);
    file[5] = (unsigned char)length;
    memcpy(file + 6, "Exif\0\0", 6);
    memcpy(file + 12, block, size);
    memcpy(file + 12 + size, good + 2, rest - 2);
    // exactly as large as the content, so that the sanitizer build sees a read behind it
    unsigned char *copy = sdg_alloc(NULL, 12 + size + rest - 2, 1, "a file");
    memcpy(copy, file, 12 + size + rest - 2);
    struct sdg_image *image = NULL;
    char *text = NULL;
    if (sdg_picture_decode(&kept, what, copy, 12 + size + rest - 2, &image) != SDG_OK)
        fail_msg("%s: %s", what, message);
    if (turned >= 0 && (image->width == 24) != (turned == 0))
        fail_msg("%s: is %d x %d", what, image->width, image->height);
    sdg_image_destroy(&image);
    if (sdg_picture_text(&kept, what, copy, 12 + size + rest - 2, &text) == SDG_OK)
        sdg_picture_free(text);
    sdg_free(copy);
    sdg_free(good);
}

static void test_hostile_exif(void **state)
{
    (void)state;
#define HEAD "MM\0*\0\0\0\x08"
#define TURN "\x01\x12\0\3\0\0\0\1\0\6\0\0"
    static const struct {
        const char *what, *block;
        size_t size;
        int turned;
    } cases[] = {
        {"good", HEAD "\0\1" TURN "\0\0\0\0", 26, 1},
        {"no next directory", HEAD "\0\1" TURN, 22, 1},
        {"header only", HEAD, 8, 0},
        {"cut header", "MM\0*", 4, 0},
        {"no order of bytes", "XX\0*\0\0\0\x08\0\1" TURN, 22, 0},
        {"directory behind the end", "MM\0*\xff\xff\xff\xff\0\1" TURN, 22, 0},
        {"directory at the last byte", "MM\0*\0\0\0\x15\0\1" TURN, 22, 0},
        {"directory in the header", "MM\0*\0\0\0\0\0\1" TURN, 22, 0},
        {"65535 entries", HEAD "\xff\xff" TURN, 22, 1},
        {"no entry", HEAD "\0\0", 10, 0},
        {"cut entry", HEAD "\0\1\x01\x12\0\3\0\0\0\1\0", 19, 0},
        {"orientation 0", HEAD "\0\1\x01\x12\0\3\0\0\0\1\0\0\0\0", 22, 0},
        {"orientation 9", HEAD "\0\1\x01\x12\0\3\0\0\0\1\0\x09\0\0", 22, 0},
        {"orientation 65536 + 6", HEAD "\0\1\x01\x12\0\4\0\0\0\1\0\1\0\6", 22, 0},
        {"orientation without a value", HEAD "\0\1\x01\x12\0\3\0\0\0\0\0\6\0\0", 22, 0},
        {"orientation as text", HEAD "\0\1\x01\x12\0\2\0\0\0\1\0\6\0\0", 22, 0},
        // EXIF's directory is the first one again, its comment the whole of memory
        {"ring", HEAD "\0\2" TURN "\x87\x69\0\4\0\0\0\1\0\0\0\x08", 34, 1},
        {"huge comment", HEAD "\0\2\x87\x69\0\4\0\0\0\1\0\0\0\x08\x92\x86\0\7\xff\xff\xff\xff\0\0\0\x08", 34, 0},
        {"comment at the end", HEAD "\0\2\x87\x69\0\4\0\0\0\1\0\0\0\x08\x92\x86\0\7\0\0\0\x09\0\0\0\x1a", 34, 0},
        {"half a character", HEAD "\0\2\x87\x69\0\4\0\0\0\1\0\0\0\x08\x92\x86\0\7\0\0\0\x0b\0\0\0\x22UNICODE\0\xd8\0\0",
         45, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_upright(cases[i].what, (const unsigned char *)cases[i].block, cases[i].size, cases[i].turned);
    // All cuts, and thousands of changed bytes, of a block with everything.
    static const char whole[] = HEAD "\0\2" TURN "\x87\x69\0\4\0\0\0\1\0\0\0\x26\0\0\0\0"
                                     "\0\1\x92\x86\0\7\0\0\0\x10\0\0\0\x38\0\0\0\0UNICODE\0\0a\0b\0c\0d";
    unsigned char block[sizeof whole];
    uint64_t random = 88172645463325252;
    expect_upright("whole", (const unsigned char *)whole, sizeof whole - 1, 1);
    for (size_t cut = 0; cut < sizeof whole; cut++)
        expect_upright("cut", (const unsigned char *)whole, cut, -1);
    for (int i = 0; i < 3000; i++) {
        memcpy(block, whole, sizeof whole);
        for (int k = 0; k < 3; k++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            block[random % (sizeof whole - 1)] = (unsigned char)(random >> 32);
        }
        expect_upright("changed", block, sizeof whole - 1, -1);
    }
}

// Every kind of file, cut and changed: a picture or one line of error, and the same for its text. What a changed file
// asks for must not be read behind its end (the sanitizer build looks closer).
static void expect_survived(const char *name, const unsigned char *data, size_t size)
{
    unsigned char *copy = sdg_alloc(NULL, size ? size : 1, 1, "a file");
    struct sdg_image *image = NULL;
    uint8_t *alpha = NULL;
    char *text = NULL;
    memcpy(copy, data, size);
    messages = 0;
    enum sdg_result result = sdg_picture_decode_alpha(&kept, name, copy, size, &image, &alpha);
    if ((result == SDG_OK) != (image != NULL) || messages != (result != SDG_OK))
        fail_msg("%s: result %d, %d messages: %s", name, (int)result, messages, message);
    sdg_image_destroy(&image);
    sdg_picture_free(alpha);
    messages = 0;
    result = sdg_picture_text(&kept, name, copy, size, &text);
    if ((result == SDG_OK) != (text != NULL) || messages != (result != SDG_OK) ||
        (text && !sdg_utf8_valid(text, strlen(text))))
        fail_msg("%s: text: result %d, %d messages: %s", name, (int)result, messages, message);
    sdg_picture_free(text);
    sdg_free(copy);
}

static void test_broken_kinds(void **state)
{
    (void)state;
    uint64_t random = 2463534242;
    DIR *dir = opendir(GOLDENS);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (*entry->d_name == '.' || ends_in(entry->d_name, ".txt") ||
            strchr(entry->d_name, '.') != strrchr(entry->d_name, '.'))
            continue;
        size_t size;
        unsigned char *data = (unsigned char *)read_bytes(entry->d_name, &size);
        for (int i = 0; i < 60; i++)
            expect_survived(entry->d_name, data, size * (size_t)i / 60);
        for (int i = 0; i < 100; i++) {
            unsigned char old[4];
            size_t places[4];
            for (int k = 0; k < 4; k++) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // mostly where the headers are
                places[k] = random % (i % 2 ? size : size < 200 ? size : 200);
                old[k] = data[places[k]];
                data[places[k]] = (unsigned char)(random >> 40);
            }
            expect_survived(entry->d_name, data, size);
            for (int k = 4; k-- > 0;)
                data[places[k]] = old[k];
        }
        sdg_free(data);
    }
    closedir(dir);
}

// ---- kinds that are not read ----

static void test_foreign_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *data, *word;
    } cases[] = {{"GIF89a0123456789abcdef", "a GIF"},        {"\1\1\1\1ftypavif01234567890123", "AVIF"},
                 {"\1\1\1\1ftypheic01234567890123", "HEIC"}, {"8BPS0123456789012345", "Photoshop"},
                 {"<svg xmlns='...'></svg> ", "SVG"},        {"version https://git-lfs.github.com/spec/v1", "git-lfs"},
                 {"%PDF-1.4 0123456789012", "PDF"},          {"P7\nWIDTH 1\n012345678901", "PAM"},
                 {"just some text, no picture", "PNG, JPEG"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_image *image = NULL;
        messages = 0;
        assert_int_equal(sdg_picture_decode(&kept, "x", cases[i].data, strlen(cases[i].data), &image), SDG_ERROR_INPUT);
        assert_int_equal(messages, 1);
        assert_non_null(strstr(message, cases[i].word));
        assert_null(image);
    }
    // numbers above the largest, a cut row, text where numbers should be
    static const char *const broken[] = {"P2 2 1 9 3 10", "P2 2 1 9 3",        "P2 2 1 9 3 x",
                                         "P1 2 1 0 2",    "P3 1 1 255 1 2",    "P2 2 1 0 0 0",
                                         "P4 9 1 \1",     "P5 2 1 65536 aaaa", "P5 2 1 300 \1"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct sdg_image *image = NULL;
        if (sdg_picture_decode(&kept, "x", broken[i], strlen(broken[i]), &image) != SDG_ERROR_INPUT)
            fail_msg("'%s' was read", broken[i]);
    }
    enum sdg_picture_format format;
    assert_int_equal(sdg_picture_format_of(&kept, "a.webp", &format), SDG_ERROR_USAGE);
    assert_non_null(strstr(message, "only read"));
}

// ---- masks ----

enum { SIDE = 16 };

// A picture with a square in its middle, a quarter of it; colours as 0xRRGGBBAA.
static enum sdg_mask_kind mask_of(uint32_t square, uint32_t around, uint8_t *out)
{
    struct sdg_image *image = NULL;
    uint8_t alpha[SIDE * SIDE];
    assert_int_equal(sdg_image_create(SIDE, SIDE, &image), SDG_OK);
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE, y = i / SIDE;
        uint32_t colour = x >= 4 && x < 12 && y >= 4 && y < 12 ? square : around;
        for (int c = 0; c < 3; c++)
            image->pixels[3 * i + c] = (uint8_t)(colour >> (24 - 8 * c));
        alpha[i] = (uint8_t)colour;
    }
    enum sdg_mask_kind kind = sdg_picture_mask(image, alpha, out);
    sdg_image_destroy(&image);
    return kind;
}

static void test_masks(void **state)
{
    (void)state;
    static const struct {
        uint32_t square, around;
        enum sdg_mask_kind kind;
        int square_mask, around_mask;
    } cases[] = {
        {0xffffffff, 0x000000ff, SDG_MASK_BRIGHTNESS, 255, 0}, // as it should be
        {0xffffff80, 0x00000080, SDG_MASK_BRIGHTNESS, 255, 0}, // half transparent all over
        {0x00000000, 0x000000ff, SDG_MASK_ERASED, 255, 0},     // erased from black
        {0xffffff00, 0x000000ff, SDG_MASK_ERASED, 255, 0},     // whatever lies under the hole
        {0xffffffff, 0x00000000, SDG_MASK_BRUSH, 255, 0},      // white brush on nothing
        {0xffffffff, 0xffffff00, SDG_MASK_BRUSH, 255, 0},
        {0xff0000ff, 0x00000000, SDG_MASK_BRUSH, 255, 0},    // red brush
        {0xffffff60, 0x00000000, SDG_MASK_BRUSH, 255, 0},    // a thin one
        {0x00000000, 0x00000000, SDG_MASK_ERASED, 255, 255}, // nothing at all
        {0x000000ff, 0x00000000, SDG_MASK_ERASED, 0, 255},   // black on nothing is kept
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t mask[SIDE * SIDE];
        enum sdg_mask_kind kind = mask_of(cases[i].square, cases[i].around, mask);
        if (kind != cases[i].kind || mask[8 * SIDE + 8] != cases[i].square_mask || mask[0] != cases[i].around_mask)
            fail_msg("mask %zu: kind %d, %d in the square, %d around", i, (int)kind, mask[8 * SIDE + 8], mask[0]);
    }
    // A photograph of which a part was erased: many colours.
    struct sdg_image *photo = read_picture("rgb.ppm");
    uint8_t alpha[24 * 16], mask[24 * 16];
    memset(alpha, 255, sizeof alpha);
    for (int i = 0; i < 24 * 4; i++)
        alpha[i] = 0;
    assert_int_equal(sdg_picture_mask(photo, alpha, mask), SDG_MASK_ERASED);
    assert_true(mask[0] == 255 && mask[24 * 4] == 0 && mask[24 * 16 - 1] == 0);
    // Black and white with a transparent rest.
    for (int i = 0; i < 24 * 16; i++)
        memset(photo->pixels + 3 * i, i % 24 < 8 ? 255 : 0, 3);
    assert_int_equal(sdg_picture_mask(photo, alpha, mask), SDG_MASK_BRIGHTNESS);
    assert_true(mask[0] == 0 && mask[24 * 8] == 255 && mask[24 * 8 + 20] == 0);
    // No alpha: brightness.
    uint8_t brightness[24 * 16];
    sdg_picture_brightness(photo, brightness);
    assert_int_equal(sdg_picture_mask(photo, NULL, mask), SDG_MASK_BRIGHTNESS);
    assert_memory_equal(mask, brightness, sizeof mask);
    sdg_image_destroy(&photo);
}

// ---- pixels put back, and placed ----

static void test_keep(void **state)
{
    (void)state;
    struct sdg_image *drawn = read_picture("rgb.ppm"), *original = read_picture("grey.pgm"),
                     *before = read_picture("rgb.ppm");
    uint8_t mask[24 * 16];
    for (int i = 0; i < 24 * 16; i++)
        mask[i] = (uint8_t)(i % 256);
    sdg_picture_keep(drawn, original, mask);
    for (size_t i = 0; i < 24 * 16; i++)
        assert_memory_equal(drawn->pixels + 3 * i, (mask[i] < 128 ? original : before)->pixels + 3 * i, 3);
    sdg_image_destroy(&drawn);
    sdg_image_destroy(&original);
    sdg_image_destroy(&before);
}

static void test_place(void **state)
{
    (void)state;
    struct sdg_image *image = read_picture("rgb.ppm"), *placed = NULL, *back = NULL;
    static const int sizes[][2] = {{24, 16}, {25, 16}, {31, 23}, {32, 24}, {24, 100}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(sdg_picture_place(&kept, image, sizes[i][0], sizes[i][1], &placed), SDG_OK);
        assert_true(placed->width == sizes[i][0] && placed->height == sizes[i][1]);
        assert_memory_equal(placed->pixels, image->pixels, 3); // edges repeat
        assert_int_equal(sdg_picture_place(&kept, placed, 24, 16, &back), SDG_OK);
        assert_int_equal(largest_difference(image, back), 0);
        sdg_image_destroy(&back);
        sdg_image_destroy(&placed);
    }
    // The middle: of 24 x 16 to 20 x 13, 2 and 1 from the beginning.
    assert_int_equal(sdg_picture_place(&kept, image, 20, 13, &placed), SDG_OK);
    assert_memory_equal(placed->pixels, image->pixels + 3 * (24 + 2), 3 * 20);
    sdg_image_destroy(&placed);
    assert_int_equal(sdg_picture_place(&kept, image, 0, 13, &placed), SDG_ERROR_USAGE);
    assert_null(placed);
    sdg_image_destroy(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_comments),     cmocka_unit_test(test_jpeg_text),
        cmocka_unit_test(test_hostile_exif), cmocka_unit_test(test_broken_kinds), cmocka_unit_test(test_foreign_kinds),
        cmocka_unit_test(test_masks),        cmocka_unit_test(test_keep),         cmocka_unit_test(test_place),
    };
    return cmocka_run_group_tests_name("picture_kinds", tests, NULL, NULL);
}
