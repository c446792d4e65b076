// base/: half floats, messages, allocation, files, JSON, numbers, the machine.
#include "base/clock.h"
#include "base/decibel.h"
#include "base/directory.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/platform.h"
#include "base/random.h"
#include "base/unfinished.h"
#include "tests/float8.h"
#include "tests/temp.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>

// A file in the temporary folder, "" the folder itself. One of eight in turn, as temp_path's.
static const struct sdg_file *at(const char *name)
{
    static struct sdg_file files[8];
    static int turn;
    struct sdg_file *file = &files[turn++ % 8];
    *file = sdg_file_of_path(temp_path(name));
    return file;
}

// Half floats from their definition, in double: a check that shares no code with the conversions.
static double half_value(unsigned bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24)
        : exponent == 31             ? (mantissa ? NAN : INFINITY)
                                     : ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static void test_half_all(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        double want = half_value(bits);
        float got = sdg_f32_from_f16((uint16_t)bits);
        assert_true(isnan(want) ? isnan(got) : got == want && !signbit(got) == !signbit(want));
        if (!isnan(want))
            assert_int_equal(sdg_f16_from_f32(got), bits);
        else
            assert_true((sdg_f16_from_f32(got) & 0x7fff) > 0x7c00);
    }
    print_message("65536 half floats\n");
}

// Between every two neighbours: below the middle, the middle (to even), above it.
static void test_half_rounding(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7bff; bits++) {
        double low = half_value(bits), high = half_value(bits + 1);
        float middle = (float)((low + high) / 2);
        assert_int_equal(sdg_f16_from_f32(middle), bits & 1 ? bits + 1 : bits);
        assert_int_equal(sdg_f16_from_f32(nextafterf(middle, 0)), bits);
        assert_int_equal(sdg_f16_from_f32(-nextafterf(middle, 1e9f)), 0x8000 | (bits + 1));
    }
    assert_int_equal(sdg_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(sdg_f16_from_f32(65520), 0x7c00);
    assert_int_equal(sdg_f16_from_f32(-1e30f), 0xfc00);
}

static void test_bfloat(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7f80; bits++) {
        float low = sdg_f32_from_bf16((uint16_t)bits), high = sdg_f32_from_bf16((uint16_t)(bits + 1));
        assert_int_equal(sdg_bf16_from_f32(low), bits);
        if (isinf(high))
            continue;
        float middle = (float)(((double)low + high) / 2);
        assert_int_equal(sdg_bf16_from_f32(middle), bits & 1 ? bits + 1 : bits);
        assert_int_equal(sdg_bf16_from_f32(nextafterf(middle, INFINITY)), bits + 1);
    }
    assert_true(isnan(sdg_f32_from_bf16(sdg_bf16_from_f32(NAN))));
    assert_int_equal(sdg_bf16_from_f32(INFINITY), 0x7f80);
}

static void test_convert(void **state)
{
    (void)state;
    const double source[] = {0, -1.5, 65504, 1e-8, 0.1};
    float f32[5], back[5];
    uint16_t f16[5], bf16[5];
    sdg_convert(f32, SDG_F32, source, SDG_F64, 5);
    sdg_convert(f16, SDG_F16, f32, SDG_F32, 5);
    sdg_convert(bf16, SDG_BF16, f32, SDG_F32, 5);
    const uint16_t want_f16[] = {0, 0xbe00, 0x7bff, 0, 0x2e66}, want_bf16[] = {0, 0xbfc0, 0x4780, 0x322c, 0x3dcd};
    assert_memory_equal(f16, want_f16, sizeof f16);
    assert_memory_equal(bf16, want_bf16, sizeof bf16);
    sdg_convert(back, SDG_F32, bf16, SDG_BF16, 5);
    assert_true(back[1] == -1.5f && back[2] == 65536.0f);
}

// Every byte against torch, and through sdg_convert into each type that it may become.
static void test_float8(void **state)
{
    (void)state;
    static const struct {
        enum sdg_dtype dtype;
        float (*wide)(uint8_t bits);
        const uint32_t *torch;
    } types[] = {{SDG_F8_E4M3, sdg_f32_from_f8_e4m3, float8_e4m3}, {SDG_F8_E5M2, sdg_f32_from_f8_e5m2, float8_e5m2}};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        uint8_t bytes[256];
        float f32[256], torch[256];
        uint16_t f16[256], bf16[256];
        memcpy(torch, types[k].torch, sizeof torch);
        for (int i = 0; i < 256; i++)
            bytes[i] = (uint8_t)i;
        sdg_convert(f32, SDG_F32, bytes, types[k].dtype, 256);
        sdg_convert(f16, SDG_F16, bytes, types[k].dtype, 256);
        sdg_convert(bf16, SDG_BF16, bytes, types[k].dtype, 256);
        assert_memory_equal(f32, torch, sizeof f32);
        for (int i = 0; i < 256; i++) {
            const float one = types[k].wide((uint8_t)i);
            assert_memory_equal(&one, &torch[i], sizeof one);
            assert_int_equal(f16[i], sdg_f16_from_f32(torch[i])); // both types hold all of them
            assert_int_equal(bf16[i], sdg_bf16_from_f32(torch[i]));
            assert_true(isnan(torch[i]) || sdg_f32_from_f16(f16[i]) == torch[i]);
            assert_true(isnan(torch[i]) || sdg_f32_from_bf16(bf16[i]) == torch[i]);
        }
        assert_true(sdg_dtype_is_float(types[k].dtype) && sdg_dtype_size(types[k].dtype) == 1);
    }
    assert_true(isnan(sdg_f32_from_f8_e4m3(0x7f)) && sdg_f32_from_f8_e4m3(0x7e) == 448); // no infinity
    assert_true(isinf(sdg_f32_from_f8_e5m2(0x7c)) && sdg_f32_from_f8_e5m2(0x7b) == 57344);
}

static void test_messages(void **state)
{
    (void)state;
    struct temp_log t;
    const struct sdg_log *log = temp_log(&t);
    assert_int_equal(sdg_fail(log, SDG_ERROR_INPUT, "a%cb%cc\x7f", '\n', 27), SDG_ERROR_INPUT);
    assert_string_equal(t.last, "a?b?c?");
    char lengthy[2000];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    sdg_fail(log, SDG_ERROR_INPUT, "%s", lengthy);
    assert_int_equal(strlen(t.last), 500);
    assert_string_equal(t.last + 497, "...");
    sdg_fail(NULL, SDG_ERROR_INPUT, "silence");
    t.log.level = SDG_LOG_ERROR;
    sdg_say(log, SDG_LOG_WARNING, "not wanted");
    assert_int_equal(t.warnings, 0);
    assert_int_equal(t.errors, 2);
}

static void test_memory(void **state)
{
    (void)state;
    struct temp_log t;
    const struct sdg_log *log = temp_log(&t);
    assert_null(sdg_alloc(log, SIZE_MAX / 4, 8, "a test"));
    assert_non_null(strstr(t.last, "a test"));
    void *none = sdg_alloc(log, 0, 8, "nothing");
    assert_non_null(none);
    sdg_free(none);
    int *numbers = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(sdg_grow(log, &numbers, &capacity, (size_t)i + 1, sizeof *numbers, "numbers"));
        numbers[i] = i;
    }
    assert_true(numbers[0] == 0 && numbers[999] == 999 && (uintptr_t)numbers % 64 == 0);
    sdg_test_fail_allocation(1);
    int *before = numbers;
    assert_false(sdg_grow(log, &numbers, &capacity, capacity + 1, sizeof *numbers, "numbers"));
    assert_ptr_equal(before, numbers);
    sdg_test_fail_allocation(0);
    sdg_free(numbers);
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "plain",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "a\xc3",
                                      "\xe2\x82",
                                      "\xf0\x9f\x98",
                                      "\xc3(",
                                      "\xe2(\xa1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(sdg_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(sdg_utf8_valid(bad[i], strlen(bad[i])));
}

static void expect_join(const char *folder, const char *name, const char *want)
{
    char *path = sdg_path_join(NULL, folder, name);
    assert_string_equal(path, want);
    sdg_free(path);
}

static void expect_folder(const char *path, const char *want)
{
    char *folder = sdg_path_folder(NULL, path);
    assert_string_equal(folder, want);
    sdg_free(folder);
}

static void test_paths(void **state)
{
    (void)state;
    expect_join("a", "b", "a/b");
    expect_join("a//", "b", "a/b");
    expect_join("/", "b", "/b");
    expect_join("", "b", "b");
    expect_folder("a/b/c", "a/b");
    expect_folder("/c", "/");
    expect_folder("c", ".");
    assert_string_equal(sdg_path_name("a/b"), "b");
    assert_string_equal(sdg_path_name("b"), "b");
    temp_text("kind/file", "x");
    assert_int_equal(sdg_path_kind(temp_path("kind/file")), SDG_PATH_FILE);
    assert_int_equal(sdg_path_kind(temp_path("kind")), SDG_PATH_FOLDER);
    assert_int_equal(sdg_path_kind("/dev/null"), SDG_PATH_OTHER);
    assert_int_equal(sdg_path_kind(temp_path("nothing")), SDG_PATH_MISSING);
}

static void expect_unreadable(const char *path, size_t limit, const char *why)
{
    struct temp_log t;
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(sdg_file_read(temp_log(&t), path, limit, &data, &size), SDG_ERROR_INPUT);
    assert_int_equal(t.errors, 1);
    assert_null(data);
    assert_non_null(strstr(t.last, path));
    if (!strstr(t.last, why))
        fail_msg("'%s' lacks '%s'", t.last, why);
}

static void test_file_read(void **state)
{
    (void)state;
    char *data;
    size_t size;
    temp_write("five", "ab\0cd", 5);
    assert_int_equal(sdg_file_read(NULL, temp_path("five"), 5, &data, &size), SDG_OK);
    assert_int_equal(size, 5);
    assert_memory_equal(data, "ab\0cd\0", 6);
    sdg_free(data);
    temp_text("empty", "");
    assert_int_equal(sdg_file_read(NULL, temp_path("empty"), 0, &data, &size), SDG_OK);
    assert_true(size == 0 && data[0] == 0);
    sdg_free(data);
    expect_unreadable(temp_path("five"), 4, "at most 4");
    expect_unreadable(temp_path("absent"), 100, "No such file");
    expect_unreadable(temp_root, 100, "folder");
    expect_unreadable("/dev/zero", 100, "regular");
    assert_int_equal(mkfifo(temp_path("pipe"), 0666), 0);
    expect_unreadable(temp_path("pipe"), 100, "regular"); // and does not wait
    char head[8];
    assert_int_equal(sdg_file_head(NULL, at("five"), head, 3, &size), SDG_OK);
    assert_true(size == 3 && memcmp(head, "ab", 3) == 0);
    assert_int_equal(sdg_file_head(NULL, at("five"), head, 8, &size), SDG_OK);
    assert_int_equal(size, 5);
    struct temp_log t;
    assert_int_equal(sdg_file_read_text(temp_log(&t), temp_path("five"), 100, &data), SDG_ERROR_INPUT);
    assert_non_null(strstr(t.last, "bytes of 0"));
    assert_int_equal(sdg_file_read_text(temp_log(&t), temp_text("latin", "caf\xe9"), 100, &data), SDG_ERROR_INPUT);
    assert_non_null(strstr(t.last, "UTF-8"));
    assert_int_equal(sdg_file_read_text(NULL, temp_text("bom", "\xef\xbb\xbfhi"), 100, &data), SDG_OK);
    assert_string_equal(data, "hi");
    sdg_free(data);
}

static void test_file_map(void **state)
{
    (void)state;
    enum { SIZE = 50000 };
    static unsigned char content[SIZE];
    for (int i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 7 + i / 256);
    temp_write("mapped", content, SIZE);
    for (int copy = 0; copy < 2; copy++) {
        struct sdg_map map = {0};
        assert_int_equal(sdg_file_map(NULL, at("mapped"), copy, &map), SDG_OK);
        assert_int_equal(map.size, SIZE);
        assert_memory_equal(map.data, content, SIZE);
        sdg_map_release(&map, map.data + 100, SIZE - 200);
        assert_memory_equal(map.data, content, SIZE);
        sdg_file_unmap(&map);
        assert_null(map.data);
        sdg_file_unmap(&map);
        assert_int_equal(sdg_file_map(NULL, at("empty"), copy, &map), SDG_OK);
        assert_int_equal(map.size, 0);
        sdg_file_unmap(&map);
        assert_int_equal(sdg_file_map(NULL, at(""), copy, &map), SDG_ERROR_INPUT);
    }
}

// Parts of a file at every kind of place, with pages as they are and larger: mapped, copied, their first bytes.
static void test_file_parts(void **state)
{
    (void)state;
    enum { SIZE = 150001 };
    static unsigned char content[SIZE];
    static const int64_t offsets[] = {0, 1, 3, 4095, 4096, 4097, 12288, 16383, 16384, 16385, 65537, SIZE - 1};
    static const int64_t lengths[] = {1, 2, 4097, 40000, SDG_FILE_REST};
    static const size_t pages[] = {0, 16384, 65536};
    for (int i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 7 + i / 256);
    temp_write("parts", content, SIZE);
    for (size_t i = 0; i < 3 * 12 * 5; i++) {
        const int64_t offset = offsets[i / 5 % 12], length = lengths[i % 5];
        const int fd = open(temp_path("parts"), O_RDONLY);
        const struct sdg_file part = {
            .name = "part", .kind = SDG_FILE_PART, .fd = fd, .offset = offset, .length = length};
        if (offset + length > SIZE) {
            close(fd);
            continue;
        }
        const size_t size = (size_t)(length == SDG_FILE_REST ? SIZE - offset : length);
        struct sdg_map map, copy;
        char head[8];
        size_t got;
        sdg_test_page(pages[i / 60]);
        assert_true(sdg_platform_page() >= 4096 && (!pages[i / 60] || sdg_platform_page() == pages[i / 60]));
        assert_int_equal(sdg_file_map(NULL, &part, false, &map), SDG_OK);
        assert_int_equal(sdg_file_map(NULL, &part, true, &copy), SDG_OK);
        assert_int_equal(sdg_file_head(NULL, &part, head, sizeof head, &got), SDG_OK);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0); // neither moves it
        close(fd);
        assert_true(map.kind == SDG_MAP_FILE && copy.kind == SDG_MAP_COPY);
        assert_true(map.before < sdg_platform_page() && ((size_t)offset - map.before) % sdg_platform_page() == 0);
        assert_true(map.size == size && copy.size == size && got == (size < sizeof head ? size : sizeof head));
        assert_memory_equal(map.data, content + offset, size);
        assert_memory_equal(copy.data, content + offset, size);
        assert_memory_equal(head, content + offset, got);
        assert_string_equal(sdg_map_path(map.data + size - 1), "part");
        sdg_map_release(&map, map.data, size);
        assert_memory_equal(map.data, content + offset, size);
        sdg_file_unmap(&map);
        sdg_file_unmap(&copy);
        sdg_test_page(0);
    }
}

// Which bytes are given back: memory without a file behind it is zero afterwards.
static void test_map_release(void **state)
{
    (void)state;
    enum { SIZE = 1 << 18 };
    static const size_t pages[] = {4096, 16384, 65536}, begins[] = {0, 1, 5000, 16384, 65535}, ends[] = {0, 1, 70000};
    for (size_t i = 0; i < 3 * 5 * 3; i++) {
        const size_t page = pages[i / 15], first = begins[i / 3 % 5], end = SIZE - ends[i % 3];
        unsigned char *data = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(data != MAP_FAILED);
        memset(data, 1, SIZE);
        if (page < sdg_platform_page())
            continue;
        sdg_test_page(page);
        sdg_map_release(&(struct sdg_map){.data = data, .size = SIZE, .kind = SDG_MAP_FILE}, data + first, end - first);
        sdg_test_page(0);
        for (size_t k = 0; k < SIZE; k++) {
            const uintptr_t at = (uintptr_t)(data + k) / page * page;
            const bool inside = at >= (uintptr_t)(data + first) && at + page <= (uintptr_t)(data + end);
            if (data[k] != !inside)
                fail_msg("pages of %zu, %zu to %zu: byte %zu", page, first, end, k);
        }
        for (int kind = SDG_MAP_COPY; kind <= SDG_MAP_KEPT; kind++) { // nobody could bring these back
            memset(data, 1, SIZE);
            struct sdg_map map = {.data = data, .size = SIZE, .kind = SDG_MAP_FILE};
            map.kind = kind == SDG_MAP_COPY ? SDG_MAP_COPY : SDG_MAP_KEPT;
            sdg_map_release(&map, data, SIZE);
            assert_int_equal(data[SIZE / 2], 1);
        }
        munmap(data, SIZE);
    }
}

static void test_file_memory(void **state)
{
    (void)state;
    char text[] = "xhello";
    struct sdg_file file = {.name = "memory", .kind = SDG_FILE_KEPT, .data = text + 1, .length = 5};
    struct sdg_map map;
    char *read;
    for (int copy = 0; copy < 2; copy++) { // what is kept is memory already
        assert_int_equal(sdg_file_map(NULL, &file, copy, &map), SDG_OK);
        assert_true(map.kind == SDG_MAP_KEPT && map.size == 5 && (const char *)map.data == text + 1);
        assert_null(sdg_map_path(map.data));
        sdg_file_unmap(&map);
    }
    file.kind = SDG_FILE_COPIED;
    assert_int_equal(sdg_file_map(NULL, &file, false, &map), SDG_OK);
    assert_int_equal(sdg_file_text(NULL, &file, 5, &read), SDG_OK);
    memset(text, '#', sizeof text);
    assert_true(map.kind == SDG_MAP_COPY && map.size == 5 && memcmp(map.data, "hello", 5) == 0);
    assert_string_equal(read, "hello");
    sdg_file_unmap(&map);
    sdg_free(read);
}

static void expect_bad_file(struct sdg_file file, enum sdg_result want, const char *words)
{
    struct temp_log t;
    struct sdg_map map = {0};
    char head[8], *text = NULL;
    size_t got;
    file.name = "odd.bin";
    for (int i = 0; i < 4; i++) {
        const struct sdg_log *log = temp_log(&t);
        const enum sdg_result result = i == 0 ? sdg_file_check(log, &file)
            : i == 1                          ? sdg_file_map(log, &file, false, &map)
            : i == 2                          ? sdg_file_head(log, &file, head, sizeof head, &got)
                                              : sdg_file_text(log, &file, 100, &text);
        if (result != want || t.errors != 1 || !strstr(t.last, words) || !strstr(t.last, "odd.bin: "))
            fail_msg("%d: result %d, %d errors, '%s' should have '%s'", i, (int)result, t.errors, t.last, words);
        assert_true(!map.data && !text);
    }
}

static void test_bad_files(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    temp_write("ten", "0123456789", 10);
    const int fd = open(temp_path("ten"), O_RDONLY), folder = open(temp_root, O_RDONLY), gone = dup(fd),
              written = open(temp_path("ten"), O_WRONLY);
    assert_true(fd > 0 && folder > 0 && gone > 0 && written > 0);
    close(gone);
    const struct {
        struct sdg_file file;
        enum sdg_result result;
        const char *words;
    } cases[] = {
        {{.kind = SDG_FILE_PART, .fd = fd}, SDG_ERROR_USAGE, "length is 0"},
        {{.kind = SDG_FILE_PART, .fd = fd, .length = -2}, SDG_ERROR_USAGE, "length is negative"},
        {{.kind = SDG_FILE_PART, .fd = fd, .length = INT64_MIN}, SDG_ERROR_USAGE, "length is negative"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = -1, .length = 1}, SDG_ERROR_USAGE, "offset is negative"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = INT64_MIN, .length = -1}, SDG_ERROR_USAGE, "offset is negative"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = 1, .length = INT64_MAX}, SDG_ERROR_USAGE, "more than any file"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = INT64_MAX, .length = 1}, SDG_ERROR_USAGE, "more than any file"},
        {{.kind = SDG_FILE_PART, .fd = -1, .length = 1}, SDG_ERROR_USAGE, "descriptor is negative"},
        {{.kind = SDG_FILE_PART, .fd = fd, .length = 1, .path = "x"}, SDG_ERROR_USAGE, "a path or data is set"},
        {{.kind = SDG_FILE_PART, .fd = fd, .length = 1, .data = "x"}, SDG_ERROR_USAGE, "a path or data is set"},
        {{.kind = SDG_FILE_KEPT, .length = 1}, SDG_ERROR_USAGE, "data is NULL"},
        {{.kind = SDG_FILE_KEPT, .data = "x"}, SDG_ERROR_USAGE, "length is 0"},
        {{.kind = SDG_FILE_COPIED, .data = "x", .length = SDG_FILE_REST}, SDG_ERROR_USAGE, "length is negative"},
        {{.kind = SDG_FILE_KEPT, .data = "x", .length = 1, .fd = 3}, SDG_ERROR_USAGE, "a path, descriptor or offset"},
        {{.kind = SDG_FILE_COPIED, .data = "x", .length = 1, .offset = 3}, SDG_ERROR_USAGE, "descriptor or offset"},
        {{.kind = SDG_FILE_COPIED, .data = (void *)(UINTPTR_MAX - 9), .length = 10}, SDG_ERROR_USAGE, "any memory"},
        {{.kind = SDG_FILE_PATH}, SDG_ERROR_USAGE, "path is NULL or empty"},
        {{.kind = SDG_FILE_PATH, .path = ""}, SDG_ERROR_USAGE, "path is NULL or empty"},
        {{.kind = SDG_FILE_PATH, .path = "x", .length = 1}, SDG_ERROR_USAGE, "length or data is set"},
        {{.kind = (enum sdg_file_kind)4, .path = "x"}, SDG_ERROR_USAGE, "no value of enum sdg_file_kind"},
        {{.kind = SDG_FILE_PART, .fd = gone, .length = 1}, SDG_ERROR_INPUT, "is not open"},
        {{.kind = SDG_FILE_PART, .fd = 1 << 20, .length = 1}, SDG_ERROR_INPUT, "descriptor 1048576 is not open"},
        {{.kind = SDG_FILE_PART, .fd = written, .length = 1}, SDG_ERROR_INPUT, "is open for writing only"},
        {{.kind = SDG_FILE_PART, .fd = folder, .length = 1}, SDG_ERROR_INPUT, "is a folder"},
        {{.kind = SDG_FILE_PART, .fd = ends[0], .length = 1}, SDG_ERROR_INPUT, "is not a regular file"},
        {{.kind = SDG_FILE_PART, .fd = fd, .length = 11}, SDG_ERROR_INPUT, "has only 10; was it cut short?"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = 9, .length = 2}, SDG_ERROR_INPUT, "2 bytes from byte 9 on"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = 10, .length = 1}, SDG_ERROR_INPUT, "begins at byte 10"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = 10, .length = -1}, SDG_ERROR_INPUT, "begins at byte 10"},
        {{.kind = SDG_FILE_PART, .fd = fd, .offset = INT64_MAX - 1, .length = 1}, SDG_ERROR_INPUT, "has only 10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_bad_file(cases[i].file, cases[i].result, cases[i].words);
    close(ends[0]);
    close(ends[1]);
    close(folder);
    close(written);
    close(fd);
}

static void expect_content(const char *path, const char *want)
{
    char *data;
    size_t size;
    assert_int_equal(sdg_file_read(NULL, path, 1 << 20, &data, &size), SDG_OK);
    assert_string_equal(data, want);
    sdg_free(data);
}

static void test_output(void **state)
{
    (void)state;
    struct sdg_output *output = NULL;
    temp_text("out/old", "old");
    const char *folder = temp_path("out"), *path = temp_path("out/old");
    assert_int_equal(sdg_output_open(NULL, path, &output), SDG_OK);
    assert_int_equal(sdg_output_write(output, "new", 3), SDG_OK);
    expect_content(path, "old"); // until commit
    sdg_output_discard(&output);
    assert_null(output);
    assert_int_equal(temp_count(folder), 1);
    expect_content(path, "old");
    assert_int_equal(sdg_output_open(NULL, path, &output), SDG_OK);
    assert_int_equal(sdg_output_write(output, "new", 3), SDG_OK);
    assert_int_equal(sdg_output_commit(&output), SDG_OK);
    assert_null(output);
    expect_content(path, "new");
    assert_int_equal(temp_count(folder), 1);
    sdg_output_discard(&output);
    assert_int_equal(sdg_output_commit(&output), SDG_OK);

    struct temp_log t;
    assert_int_equal(sdg_output_open(temp_log(&t), temp_path("nowhere/file"), &output), SDG_ERROR_OUTPUT);
    assert_true(t.errors == 1 && strstr(t.last, "nowhere/file"));
    assert_int_equal(sdg_output_open(temp_log(&t), folder, &output), SDG_ERROR_OUTPUT);
    assert_non_null(strstr(t.last, "folder"));
    assert_null(output);
}

static void test_output_link(void **state)
{
    (void)state;
    struct sdg_output *output = NULL;
    temp_text("linked/file", "old");
    char path[200];
    snprintf(path, sizeof path, "%s", temp_path("linked/link"));
    assert_int_equal(symlink("file", path), 0);
    assert_int_equal(sdg_output_open(NULL, path, &output), SDG_OK);
    assert_non_null(strstr(sdg_output_temporary(output), "/linked/."));
    fputs("new", sdg_output_file(output));
    assert_int_equal(sdg_output_commit(&output), SDG_OK);
    struct stat info;
    assert_true(lstat(path, &info) == 0 && S_ISLNK(info.st_mode));
    expect_content(temp_path("linked/file"), "new");
    assert_int_equal(temp_count(temp_path("linked")), 2);
    // A link to a file that is not there yet, over another link: the file is made, the links stay.
    char other[200];
    snprintf(other, sizeof other, "%s", temp_path("linked/other"));
    assert_int_equal(symlink("../linked/absent", other), 0);
    snprintf(path, sizeof path, "%s", temp_path("linked/second"));
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(sdg_output_text(NULL, path, "made"), SDG_OK);
    assert_true(lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && lstat(other, &info) == 0 && S_ISLNK(info.st_mode));
    expect_content(temp_path("linked/absent"), "made\n");
    assert_int_equal(temp_count(temp_path("linked")), 5);
    // A ring of links is an error.
    snprintf(path, sizeof path, "%s", temp_path("linked/ring"));
    assert_int_equal(symlink("ring", path), 0);
    assert_int_equal(sdg_output_open(NULL, path, &output), SDG_OK); // it is replaced, as nothing is at its end
    sdg_output_discard(&output);
    assert_int_equal(unlink(path), 0);
    // A name as long as names can be: the temporary one is not longer.
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    char *longest = sdg_path_join(NULL, temp_path("linked"), name);
    assert_int_equal(sdg_output_text(NULL, longest, "long"), SDG_OK);
    expect_content(longest, "long\n");
    sdg_free(longest);
}

static void test_output_mode(void **state)
{
    (void)state;
    static const mode_t modes[] = {0600, 0640, 0664, 0666, 0755, 0200};
    struct sdg_output *output = NULL;
    struct stat info;
    char path[200];
    temp_text("modes/file", "old");
    snprintf(path, sizeof path, "%s", temp_path("modes/file"));
    mode_t mask = umask(027);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(sdg_output_open(NULL, path, &output), SDG_OK);
        assert_int_equal(stat(sdg_output_temporary(output), &info), 0);
        assert_int_equal(info.st_mode & 0777 & ~modes[i], 0); // never wider meanwhile
        fputs("new", sdg_output_file(output));
        assert_int_equal(sdg_output_commit(&output), SDG_OK);
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, modes[i]);
    }
    // Protected: from root, too.
    struct temp_log t;
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(sdg_output_open(temp_log(&t), path, &output), SDG_ERROR_OUTPUT);
    assert_null(output);
    assert_true(t.errors == 1 && strstr(t.last, "write-protected"));
    expect_content(path, "new");
    assert_int_equal(temp_count(temp_path("modes")), 1);
    // A new one follows the umask.
    snprintf(path, sizeof path, "%s", temp_path("modes/fresh"));
    assert_int_equal(sdg_output_text(NULL, path, "x"), SDG_OK);
    assert_true(stat(path, &info) == 0 && (info.st_mode & 0777) == 0640);
    umask(mask);
}

static void test_output_stream(void **state)
{
    (void)state;
    struct sdg_output *output = NULL;
    struct temp_log t;
    FILE *file = tmpfile();
    assert_int_equal(sdg_output_stream(temp_log(&t), file, "a stream", &output), SDG_OK);
    assert_null(sdg_output_temporary(output));
    assert_int_equal(sdg_output_write(output, "abc", 3), SDG_OK);
    assert_int_equal(sdg_output_commit(&output), SDG_OK);
    assert_true(ftell(file) == 3); // still open
    fclose(file);
    file = fopen("/dev/full", "wb");
    if (!file)
        return;
    assert_int_equal(sdg_output_stream(&t.log, file, "a stream", &output), SDG_OK);
    fputs("lost", sdg_output_file(output));
    assert_int_equal(sdg_output_commit(&output), SDG_ERROR_OUTPUT);
    assert_true(t.errors == 1 && strstr(t.last, "a stream"));
    fclose(file);
}

// A pipe as a shell's <(command) gives it, which has no size, read to its end.
static void test_input_pipe(void **state)
{
    (void)state;
    struct temp_log t;
    for (int limit = 5; limit <= 6; limit++) {
        int ends[2];
        char path[40], *data = NULL;
        size_t size = 0;
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], "a\0b\nc\n", 6), 6);
        close(ends[1]);
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        enum sdg_result result = sdg_input_read(temp_log(&t), path, (size_t)limit, &data, &size);
        if (limit == 6) {
            assert_int_equal(result, SDG_OK);
            assert_int_equal(size, 6);
            assert_memory_equal(data, "a\0b\nc\n", 7);
            sdg_free(data);
        } else {
            assert_int_equal(result, SDG_ERROR_INPUT);
            assert_true(t.errors == 1 && strstr(t.last, "more than 5 bytes") && !data);
        }
        close(ends[0]);
    }
    temp_text("plain", "text");
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(sdg_input_read(&t.log, temp_path("plain"), 4, &data, &size), SDG_OK);
    assert_string_equal(data, "text");
    sdg_free(data);
    assert_int_equal(sdg_input_read(&t.log, temp_path("absent"), 4, &data, &size), SDG_ERROR_INPUT);
}

// /dev/full takes every open and no byte: the failure of a full disk, which buffers delay until the end.
static void test_output_full(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_output *output = NULL;
    if (sdg_path_kind("/dev/full") != SDG_PATH_OTHER) {
        print_message("skipped: no /dev/full\n");
        skip();
    }
    assert_int_equal(sdg_output_open(temp_log(&t), "/dev/full", &output), SDG_OK);
    assert_int_equal(sdg_output_write(output, "x", 1), SDG_OK); // still in the buffer
    assert_int_equal(sdg_output_commit(&output), SDG_ERROR_OUTPUT);
    assert_null(output);
    assert_int_equal(t.errors, 1);
    static char block[1 << 20];
    assert_int_equal(sdg_output_open(temp_log(&t), "/dev/full", &output), SDG_OK);
    assert_int_equal(sdg_output_write(output, block, sizeof block), SDG_ERROR_OUTPUT);
    assert_int_equal(sdg_output_write(output, block, 1), SDG_ERROR_OUTPUT);
    assert_int_equal(sdg_output_commit(&output), SDG_ERROR_OUTPUT);
    assert_int_equal(t.errors, 1);                                // once
    assert_int_equal(sdg_path_kind("/dev/full"), SDG_PATH_OTHER); // not replaced by a file
}

static void test_output_allocations(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 3; n++) {
        struct temp_log t;
        struct sdg_output *output = NULL;
        sdg_test_fail_allocation(n);
        assert_int_equal(sdg_output_open(temp_log(&t), temp_path("out/new"), &output), SDG_ERROR_MEMORY);
        sdg_test_fail_allocation(0);
        assert_true(!output && t.errors == 1);
    }
    assert_int_equal(temp_count(temp_path("out")), 1);
}

static void test_json_values(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_json json;
    const char *text = "{\"i\":3,\"f\":0.5,\"b\":true,\"s\":\"x\",\"n\":null,\"a\":[1,2,3],\"big\":1e300,\"half\":2.5,"
                       "\"e\":[],\"m\":[1,\"2\"]}";
    assert_int_equal(sdg_json_parse(temp_log(&t), "dir/c.json", text, &json), SDG_OK);
    int i = -1, ints[4] = {7, 7, 7, 7}, count = 9;
    float f = -1;
    bool b = false;
    const char *s = NULL;
    assert_int_equal(sdg_json_int(&json, "i", 0, 3, 9, &i), SDG_OK);
    assert_int_equal(i, 3);
    assert_int_equal(sdg_json_int(&json, "n", 0, 3, 9, &i), SDG_OK);
    assert_int_equal(i, 9);
    assert_int_equal(sdg_json_float(&json, "f", 0, 1, 9, &f), SDG_OK);
    assert_true(f == 0.5f);
    assert_int_equal(sdg_json_bool(&json, "b", false, &b), SDG_OK);
    assert_true(b);
    assert_int_equal(sdg_json_string(&json, "s", "y", &s), SDG_OK);
    assert_string_equal(s, "x");
    assert_int_equal(sdg_json_ints(&json, "a", 1, 3, 4, ints, &count), SDG_OK);
    assert_true(count == 3 && ints[2] == 3 && ints[3] == 7);
    assert_int_equal(sdg_json_ints(&json, "absent", 1, 3, 4, ints, &count), SDG_OK);
    assert_int_equal(count, 3);
    assert_int_equal(sdg_json_each(&json, "i", 1, 3, 0, 4, ints), SDG_OK);
    assert_true(ints[0] == 3 && ints[3] == 3);
    assert_int_equal(sdg_json_each(&json, "a", 1, 3, 0, 3, ints), SDG_OK);
    assert_true(ints[0] == 1 && ints[3] == 3);
    assert_int_equal(t.errors, 0);

    static const char *const names[] = {"one", "two"};
    assert_int_equal(sdg_json_int(&json, "i", 0, 2, 0, &i), SDG_ERROR_INPUT);
    assert_string_equal(t.last, "dir/c.json: i is 3, should be a whole number from 0 to 2");
    assert_int_equal(sdg_json_int(&json, "s", 0, 2, 0, &i), SDG_ERROR_INPUT);
    assert_string_equal(t.last, "dir/c.json: s is \"x\", should be a whole number from 0 to 2");
    assert_int_equal(sdg_json_int(&json, "half", 0, 9, 0, &i), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_int(&json, "big", 0, 9, 0, &i), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_float(&json, "big", 0, 9, 0, &f), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_float(&json, "b", 0, 9, 0, &f), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_bool(&json, "i", false, &b), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_string(&json, "i", "", &s), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_enum(&json, "s", names, 2, 0, &i), SDG_ERROR_UNSUPPORTED);
    assert_string_equal(t.last, "dir/c.json: s is \"x\", supported: one, two");
    assert_int_equal(sdg_json_ints(&json, "a", 1, 2, 4, ints, &count), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_ints(&json, "a", 1, 3, 2, ints, &count), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_ints(&json, "e", 1, 3, 2, ints, &count), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_ints(&json, "m", 1, 3, 2, ints, &count), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_ints(&json, "i", 1, 3, 2, ints, &count), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_each(&json, "a", 1, 3, 0, 2, ints), SDG_ERROR_INPUT);
    assert_true(i == 9 && f == 0.5f && b && count == 3); // failures wrote nothing
    sdg_json_free(&json);
}

static void test_json_special_numbers(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_json json;
    // as Python's json.dumps writes them, with the same words in strings and as keys
    const char *text = "{\"low\": -Infinity,\n\"high\":Infinity, \"none\": NaN, \"list\": [NaN, Infinity,-Infinity],\n"
                       "\"NaN\": \"a \\\\\\\" : NaN, Infinity \", \"last\":NaN}";
    assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", text, &json), SDG_OK);
    assert_true(sdg_json_get(&json, "low")->valuedouble == -INFINITY);
    assert_true(sdg_json_get(&json, "high")->valuedouble == INFINITY);
    assert_true(cJSON_GetArrayItem(sdg_json_get(&json, "list"), 1)->valuedouble == INFINITY);
    assert_true(cJSON_GetArrayItem(sdg_json_get(&json, "list"), 2)->valuedouble == -INFINITY);
    assert_string_equal(cJSON_GetStringValue(sdg_json_get(&json, "NaN")), "a \\\" : NaN, Infinity ");
    static const struct {
        const char *key, *message;
    } floats[] = {
        {"low", "c.json: low is -Infinity, should be a number from -1 to 1"},
        {"high", "c.json: high is Infinity, should be a number from -1 to 1"},
        {"none", "c.json: none is \"NaN\", should be a number from -1 to 1"},
        {"last", "c.json: last is \"NaN\", should be a number from -1 to 1"},
    };
    float f = 5;
    int i = 5;
    for (size_t k = 0; k < sizeof floats / sizeof *floats; k++) {
        assert_int_equal(sdg_json_float(&json, floats[k].key, -1, 1, 0, &f), SDG_ERROR_INPUT);
        assert_string_equal(t.last, floats[k].message);
        assert_int_equal(sdg_json_int(&json, floats[k].key, -1, 1, 0, &i), SDG_ERROR_INPUT);
    }
    assert_true(f == 5 && i == 5);
    sdg_json_free(&json);
    static const char *const broken[] = {"{\"a\":\n1Infinity}",  "{\"a\":\nInfinity5}", "{\"a\":\n--Infinity}",
                                         "{\"a\":\nNaNNaN}",     "{\"a\":\n+Infinity}", "{\"a\":\ninfinity}",
                                         "{\"a\":\n- Infinity}", "{Infinity:\n1}",      "{\"a\":\nInfinity"};
    for (size_t k = 0; k < sizeof broken / sizeof *broken; k++) {
        assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", broken[k], &json), SDG_ERROR_INPUT);
        assert_true(t.errors == 1 && strstr(t.last, "c.json: is not valid JSON"));
    }
}

static void test_json_broken(void **state)
{
    (void)state;
    static const char *const broken[] = {"", " ", "{", "{\"a\":}", "[1]", "3", "{\"a\":1} x", "{\"a\":1}}", "nul"};
    struct temp_log t;
    struct sdg_json json;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", broken[i], &json), SDG_ERROR_INPUT);
        assert_true(t.errors == 1 && strstr(t.last, "c.json"));
    }
    static const char *const cut[] = {"{\"a\":\n\"b\\u0000c\"}", "{\n\"\\\\\\u0000\":1}"};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", cut[i], &json), SDG_ERROR_INPUT);
        assert_string_equal(t.last, "c.json: has \\u0000 in a string, which is no text (line 2)");
    }
    assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", "{\"a\":\"\\\\u0000\\u00001\"}", &json), SDG_ERROR_INPUT);
    assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", "{\"a\":\"\\\\u0000\\u0001\"}", &json), SDG_OK);
    assert_string_equal(cJSON_GetObjectItem(json.object, "a")->valuestring, "\\u0000\1"); // a backslash, and letters
    sdg_json_free(&json);
    enum { DEPTH = 100000 };
    char *deep = malloc(5 * DEPTH + 1);
    for (int i = 0; i < DEPTH; i++)
        memcpy(deep + 5 * i, "{\"a\":", 5);
    deep[5 * DEPTH] = 0;
    assert_int_equal(sdg_json_parse(temp_log(&t), "c.json", deep, &json), SDG_ERROR_INPUT);
    free(deep);
}

// One convention for all reports: no noise is infinite, no signal is nothing to compare.
static void test_decibel(void **state)
{
    (void)state;
    assert_true(sdg_decibel(100, 1) == 20 && sdg_decibel(1, 1) == 0 && sdg_decibel(1, 1000) == -30);
    assert_true(fabs(sdg_decibel(25, 5) - 6.989700043360188) < 1e-14);
    assert_true(isinf(sdg_decibel(1, 0)) && sdg_decibel(1, 0) > 0);
    static const double none[][2] = {{0, 0}, {0, 1}, {-1, 1}, {NAN, 1}, {1, NAN}, {1, -1}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_true(isnan(sdg_decibel(none[i][0], none[i][1])));
}

static void test_random(void **state)
{
    (void)state;
    // The generator's published first numbers for the seed 1234567.
    static const uint64_t first[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                     UINT64_C(9817491932198370423), UINT64_C(4593380528125082431)};
    uint64_t seed = 1234567;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        assert_true(sdg_random_next(&seed) == first[i]);
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        double x = sdg_random_uniform(&seed);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(fabs(sum / 10000 - 0.5) < 0.015); // 5 standard deviations
}

static void test_dtype_predicates(void **state)
{
    (void)state;
    // f64 and 8-bit floats are of files only; 16-bit integers and wider are never activation codes.
    static const struct {
        enum sdg_dtype type;
        bool is_float, in_a_run, codes;
    } cases[SDG_DTYPE_COUNT] = {
        {SDG_F32, true, true, false},    {SDG_F16, true, true, false},      {SDG_BF16, true, true, false},
        {SDG_F64, true, false, false},   {SDG_S8, false, false, true},      {SDG_U8, false, false, true},
        {SDG_S16, false, false, false},  {SDG_S32, false, false, false},    {SDG_S64, false, false, false},
        {SDG_BOOL, false, false, false}, {SDG_F8_E4M3, true, false, false}, {SDG_F8_E5M2, true, false, false},
    };
    for (size_t i = 0; i < SDG_DTYPE_COUNT; i++) {
        assert_true(sdg_dtype_is_float(cases[i].type) == cases[i].is_float);
        assert_true(sdg_dtype_is_run_float(cases[i].type) == cases[i].in_a_run);
        assert_true(sdg_dtype_is_codes(cases[i].type) == cases[i].codes);
    }
}

static void test_platform(void **state)
{
    (void)state;
    char text[4096], same[4096], small[4] = "???";
    sdg_platform_cpu(text, sizeof text);
    assert_true(text[0] != 0);
    sdg_platform_cpu(small, sizeof small); // cut to fit
    assert_true(strlen(small) < sizeof small && strncmp(small, text, strlen(small)) == 0);
#if defined(__linux__)
    assert_true(sdg_platform_memory() > (size_t)64 << 20 && sdg_platform_memory_free(NULL) <= sdg_platform_memory());
    // What is touched is resident.
    size_t before = sdg_resident_now(), bytes = (size_t)64 << 20;
    volatile char *memory = sdg_alloc_raw(NULL, bytes, 1, "a test");
    assert_non_null(memory);
    for (size_t i = 0; i < bytes; i += 1024)
        memory[i] = 1;
    assert_true(sdg_resident_now() >= before + bytes / 2 && sdg_resident_peak() >= sdg_resident_now() / 2);
    sdg_free((void *)memory);
    assert_true(sdg_platform_program(text, sizeof text));
    assert_string_equal(sdg_path_name(text), "test_base");
    assert_false(sdg_platform_program(same, strlen(text))); // no room for its end
    assert_string_equal(same, "");
    assert_true(sdg_platform_program(same, strlen(text) + 1));
    assert_string_equal(same, text);
#endif
    double clock = sdg_clock();
    assert_true(sdg_clock() >= clock);
}

// ---- limits of memory ----

static void put_file(const char *path, const char *text)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%s", temp_path(path));
    *strrchr(folder, '/') = 0;
    assert_true(sdg_folder_create(folder));
    FILE *file = fopen(temp_path(path), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

// The files as the kernel's documentation describes them (cgroup-v2.rst, cgroup-v1/memory.rst).
static void test_groups(void **state)
{
    (void)state;
    char root[600];
    snprintf(root, sizeof root, "%s", temp_path("v2"));
    assert_true(sdg_platform_groups_free(root) == SIZE_MAX); // no such files
    put_file("v2/proc/self/cgroup", "0::/user.slice/app\n");
    put_file("v2/proc/self/mountinfo", "31 24 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n");
    assert_true(sdg_platform_groups_free(root) == SIZE_MAX);
    put_file("v2/sys/fs/cgroup/user.slice/app/memory.max", "max\n");
    put_file("v2/sys/fs/cgroup/user.slice/app/memory.current", "700\n");
    assert_true(sdg_platform_groups_free(root) == SIZE_MAX); // no limit
    put_file("v2/sys/fs/cgroup/user.slice/memory.max", "5000\n");
    put_file("v2/sys/fs/cgroup/user.slice/memory.current", "3000\n");
    assert_int_equal(sdg_platform_groups_free(root), 2000); // of the group it is in
    put_file("v2/sys/fs/cgroup/user.slice/memory.stat",
             "anon 100\nfile 900\ninactive_file 500\nactive_file 300\ninactive_file_x 7\n");
    assert_int_equal(sdg_platform_groups_free(root), 2800); // files in the cache give way
    put_file("v2/sys/fs/cgroup/user.slice/app/memory.high", "1500\n");
    assert_int_equal(sdg_platform_groups_free(root), 800); // the narrowest
    put_file("v2/sys/fs/cgroup/user.slice/app/memory.max", "600\n");
    assert_int_equal(sdg_platform_groups_free(root), 0); // more is used than allowed
    snprintf(root, sizeof root, "%s", temp_path("v1"));
    put_file("v1/proc/self/cgroup", "3:cpu,cpuacct:/a\n2:devices,memory:/docker/123\n0::/\n");
    put_file("v1/proc/self/mountinfo", "33 32 0:30 /docker/123 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put_file("v1/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"); // inside the container its group is the root
    put_file("v1/sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n");
    put_file("v1/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 20\n");
    assert_int_equal(sdg_platform_groups_free(root), 650);
}

#if defined(__linux__)
enum { PRETENDED = 77 };

// In a process of its own: 0 if the words about the limit have `word` and the bytes are plausible.
static int narrowed(int resource, size_t bytes, const char *word)
{
    int status;
    const pid_t child = fork();
    if (child == 0) {
        const char *name = "";
        const struct rlimit limit = {bytes, bytes};
        struct rlimit set;
        if (setrlimit(resource, &limit) != 0)
            _exit(1);
        if (getrlimit(resource, &set) != 0 || set.rlim_cur != bytes)
            _exit(PRETENDED);
        const size_t left =
            resource == RLIMIT_RSS ? sdg_platform_memory_free(&name) : sdg_platform_address_space_free(&name);
        _exit(!strstr(name, word) || left >= bytes || left == 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == PRETENDED) {
        print_message("skipped: limits of a process, which this system only pretends to set (qemu-user)\n");
        return 0;
    }
    return status;
}

static void test_resource_limits(void **state)
{
    (void)state;
    struct rlimit limit;
    const char *name;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY && getrlimit(RLIMIT_DATA, &limit) == 0 &&
        limit.rlim_cur == RLIM_INFINITY)
        assert_true(sdg_platform_address_space_free(&name) == SIZE_MAX);
#if !defined(__SANITIZE_ADDRESS__) // it has reserved terabytes
    assert_int_equal(narrowed(RLIMIT_AS, (size_t)1 << 30, "ulimit -v"), 0);
    assert_int_equal(narrowed(RLIMIT_DATA, (size_t)1 << 30, "ulimit -d"), 0);
#endif
    if (sdg_platform_memory_free(NULL) > (size_t)1 << 30)
        assert_int_equal(narrowed(RLIMIT_RSS, (size_t)1 << 30, "ulimit -m"), 0);
}
#endif

// ---- what a sudden end removes ----

static void test_unfinished(void **state)
{
    (void)state;
    struct sdg_output *kept, *lost;
    struct sdg_folder_output *folder;
    char path[600], inside[700];
    assert_int_equal(sdg_output_open(NULL, temp_path("kept.txt"), &kept), SDG_OK);
    assert_int_equal(sdg_output_commit(&kept), SDG_OK);
    assert_int_equal(sdg_output_open(NULL, temp_path("lost.txt"), &lost), SDG_OK);
    snprintf(path, sizeof path, "%s", sdg_output_temporary(lost));
    assert_int_equal(sdg_path_kind(path), SDG_PATH_FILE);
    assert_int_equal(sdg_folder_output_open(NULL, temp_path("quantized"), false, &folder), SDG_OK);
    assert_int_equal(sdg_folder_output_add(folder, "unet"), SDG_OK);
    snprintf(inside, sizeof inside, "%s/unet/config.json", sdg_folder_output_path(folder));
    assert_int_equal(sdg_output_text(NULL, inside, "{}"), SDG_OK);
    assert_int_equal(symlink("..", temp_path("link")), 0); // a link in a folder is removed, not what it leads to
    snprintf(inside, sizeof inside, "%s/link", sdg_folder_output_path(folder));
    assert_int_equal(rename(temp_path("link"), inside), 0);
    snprintf(inside, sizeof inside, "%s", sdg_folder_output_path(folder));
    sdg_unfinished_remove();
    assert_int_equal(sdg_path_kind(path), SDG_PATH_MISSING);
    assert_int_equal(sdg_path_kind(inside), SDG_PATH_MISSING);
    assert_int_equal(sdg_path_kind(temp_path("kept.txt")), SDG_PATH_FILE);
    sdg_output_discard(&lost);
    sdg_folder_output_discard(&folder);
    for (int i = 0; i < 200; i++) { // the list has room again after each
        assert_int_equal(sdg_output_text(NULL, temp_path("kept.txt"), "x"), SDG_OK);
    }
}

static void test_map_path(void **state)
{
    (void)state;
    struct sdg_map map, copy;
    char path[600];
    snprintf(path, sizeof path, "%s", temp_path("mapped.bin"));
    assert_int_equal(sdg_output_text(NULL, path, "0123456789"), SDG_OK);
    assert_int_equal(sdg_file_map(NULL, at("mapped.bin"), false, &map), SDG_OK);
    assert_int_equal(sdg_file_map(NULL, at("mapped.bin"), true, &copy), SDG_OK);
    assert_string_equal(sdg_map_path(map.data), path);
    assert_string_equal(sdg_map_path(map.data + 10), path);
    assert_null(sdg_map_path(map.data + 11));
    assert_null(sdg_map_path(copy.data)); // cannot vanish
    assert_null(sdg_map_path(NULL));
    const unsigned char *data = map.data;
    sdg_file_unmap(&map);
    sdg_file_unmap(&copy);
    assert_null(sdg_map_path(data));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decibel),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_dtype_predicates),
        cmocka_unit_test(test_platform),
        cmocka_unit_test(test_groups),
#if defined(__linux__)
        cmocka_unit_test(test_resource_limits),
#endif
        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_map_path),
        cmocka_unit_test(test_half_all),
        cmocka_unit_test(test_half_rounding),
        cmocka_unit_test(test_bfloat),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_float8),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_file_read),
        cmocka_unit_test(test_file_map),
        cmocka_unit_test(test_file_parts),
        cmocka_unit_test(test_map_release),
        cmocka_unit_test(test_file_memory),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_output_full),
        cmocka_unit_test(test_output_link),
        cmocka_unit_test(test_output_mode),
        cmocka_unit_test(test_output_stream),
        cmocka_unit_test(test_input_pipe),
        cmocka_unit_test(test_output_allocations),
        cmocka_unit_test(test_json_values),
        cmocka_unit_test(test_json_special_numbers),
        cmocka_unit_test(test_json_broken),
    };
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
