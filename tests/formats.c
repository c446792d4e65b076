// formats/: safetensors files, read, written, broken and mutated.
#include "base/memory.h"
#include "formats/tensors.h"
#include "tests/mutate.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

// The bytes of a file from its parts, without the writer. Returns the number of bytes.
static size_t assemble(unsigned char *to, uint64_t length, const char *header, const void *data, size_t data_bytes)
{
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)(length >> 8 * i);
    size_t header_bytes = strlen(header);
    memcpy(to + 8, header, header_bytes);
    memcpy(to + 8 + header_bytes, data, data_bytes);
    return 8 + header_bytes + data_bytes;
}

static const char *write_raw(const char *name, const char *header, const void *data, size_t data_bytes)
{
    static unsigned char file[1 << 16];
    size_t bytes = assemble(file, strlen(header), header, data, data_bytes);
    return temp_write(name, file, bytes);
}

static void test_read(void **state)
{
    (void)state;
    const uint16_t data[] = {1, 2, 3, 4, 5, 6, 0x3c00, 0xffff};
    static const char header[] =
        " {\"b.weight\" : {\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},\n\t"
        "\"__metadata__\":{\"format\":\"pt\",\"k\\u00e9y\":\"a\\n\\\"b\\\"\\ud83d\\ude00\"},"
        "\"a\":{\"data_offsets\":[12,14],\"shape\":[],\"dtype\":\"BF16\"},"
        "\"caf\\u00e9/\\\\\":{\"dtype\":\"U8\",\"shape\":[2,1,1,1,1,1,1,1],\"data_offsets\":[14,16]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[16,16]}}   ";
    struct sdg_tensors *tensors = NULL;
    // A space before the object is legal JSON, but safetensors demands '{' first.
    assert_int_equal(sdg_tensors_open(NULL, write_raw("space.safetensors", header, data, sizeof data), &tensors),
                     SDG_ERROR_INPUT);
    assert_null(tensors);
    const char *path = write_raw("hand.safetensors", header + 1, data, sizeof data);
    assert_int_equal(sdg_tensors_open(NULL, path, &tensors), SDG_OK);
    assert_string_equal(sdg_tensors_path(tensors), path);
    assert_int_equal(sdg_tensors_count(tensors), 4);
    static const char *const sorted[] = {"a", "b.weight", "caf\xc3\xa9/\\", "none"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(sdg_tensors_at(tensors, i)->name, sorted[i]);
    const struct sdg_tensor *b = sdg_tensors_find(tensors, "b.weight"), *a = sdg_tensors_find(tensors, "a");
    assert_true(b->dtype == SDG_F16 && b->rank == 2 && b->dims[0] == 2 && b->dims[1] == 3 && b->bytes == 12);
    assert_memory_equal(b->data, data, 12);
    assert_true(a->dtype == SDG_BF16 && a->rank == 0 && a->bytes == 2);
    assert_memory_equal(a->data, data + 6, 2);
    assert_int_equal(sdg_tensors_find(tensors, sorted[2])->rank, 8);
    assert_int_equal(sdg_tensors_find(tensors, "none")->bytes, 0);
    assert_null(sdg_tensors_find(tensors, "b"));
    assert_string_equal(sdg_tensors_metadata(tensors, "format"), "pt");
    assert_string_equal(sdg_tensors_metadata(tensors, "k\xc3\xa9y"), "a\n\"b\"\xf0\x9f\x98\x80");
    assert_null(sdg_tensors_metadata(tensors, "absent"));
    sdg_tensors_destroy(&tensors);
    assert_null(tensors);
    sdg_tensors_destroy(&tensors);

    assert_int_equal(sdg_tensors_open(NULL, write_raw("none.safetensors", "{}", "", 0), &tensors), SDG_OK);
    assert_int_equal(sdg_tensors_count(tensors), 0);
    assert_null(sdg_tensors_find(tensors, "a"));
    sdg_tensors_destroy(&tensors);
}

// Every header is refused with one line that names the file and holds the words.
static void test_broken_headers(void **state)
{
    (void)state;
#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header, *words;
    } cases[] = {
        {"this is not json", "no JSON object"},
        {"[1,2,3]", "no JSON object"},
        {"{", "string expected"},
        {"{\"a\"", "':' expected"},
        {"{\"a\":1}", "'{' expected"},
        {"{\"a\":{}}", "tensor a has no dtype"},
        {"{\"a\":{\"dtype\":\"F32\"}}", "has no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", "has no data_offsets"},
        {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}}", "has no dtype"},
        {"{" ENTRY("a", "Q9", "[4]", "[0,16]") "}", "unknown dtype 'Q9'"},
        {"{\"a\":{\"dtype\":3,\"shape\":[4],\"data_offsets\":[0,16]}}", "a string expected"},
        {"{" ENTRY("a", "F32", "[4]", "[0,17]") "}", "ends at data byte 17, but the file has only 16"},
        {"{" ENTRY("a", "F32", "[4]", "[0,1099511627776]") "}", "1099511627776"},
        {"{" ENTRY("a", "F32", "[4]", "[16,0]") "}", "ends before it begins"},
        {"{" ENTRY("a", "F32", "[4]", "[-16,0]") "}", "negative"},
        {"{" ENTRY("a", "F32", "[-4]", "[0,16]") "}", "negative"},
        {"{" ENTRY("a", "F32", "[4]", "[0,12]") "}", "tensor a has 12 bytes, its shape and dtype need 16"},
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "}", "8 bytes from data byte 8 on belong to no tensor; was something"},
        {"{" ENTRY("a", "F32", "[2]", "[8,16]") "}", "8 bytes from data byte 0 on belong to no tensor"},
        {"{" ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY("b", "U8", "[11]", "[5,16]") "}",
         "1 bytes from data byte 4 on"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("b", "F32", "[2]", "[8,16]") "}", "a and b share data bytes"},
        {"{}", "16 bytes from data byte 0 on belong to no tensor"},
        {"{" ENTRY("a", "F32", "[4]", "[0]") "}", "two data_offsets"},
        {"{" ENTRY("a", "F32", "[4]", "[0,8,16]") "}", "two data_offsets"},
        {"{" ENTRY("a", "F32", "4", "[0,16]") "}", "'[' expected"},
        {"{" ENTRY("a", "F32", "[4.0]", "[0,16]") "}", "whole number expected"},
        {"{" ENTRY("a", "F32", "[4e0]", "[0,16]") "}", "whole number expected"},
        {"{" ENTRY("a", "F32", "[\"4\"]", "[0,16]") "}", "whole number expected"},
        {"{" ENTRY("a", "F32", "[4,]", "[0,16]") "}", "whole number expected"},
        {"{" ENTRY("a", "F32", "[4 4]", "[0,16]") "}", "']' expected"},
        {"{" ENTRY("a", "F32", "[99999999999999999999]", "[0,16]") "}", "63 bits"},
        {"{" ENTRY("a", "F32", "[8589934592,8589934592]", "[0,16]") "}", "shape of tensor a overflows"},
        {"{" ENTRY("a", "F32", "[4611686018427387904]", "[0,0]") "}", "shape of tensor a overflows"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("a", "F32", "[4]", "[0,16]") "}", "two tensors named a"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") ",}", "string expected"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "} x", "end of the header expected"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]"), "'}' expected"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "two fields 'dtype'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":1}}", "unknown header field 'x'"},
        {"{\"__metadata__\":{\"a\":1}}", "a string expected"},
        {"{\"__metadata__\":3}", "'{' expected"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", "twice"},
        {"{\"a\\u0000b\":{}}", "escape"},
        {"{\"a\\ud800b\":{}}", "escape"},
        {"{\"a\\udc00b\":{}}", "escape"},
        {"{\"a\\ud800\\u0041b\":{}}", "escape"},
        {"{\"a\\x\":{}}", "escape"},
        {"{\"a\\u12", "escape"},
        {"{\"a\\", "end of a string"},
        {"{\"a\nb\":{}}", "end of a string"},
        {"{\"\xff\":{}}", "UTF-8"},
    };
    const float data[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_log t;
        struct sdg_tensors *tensors = NULL;
        const char *path = write_raw("broken.safetensors", cases[i].header, data, sizeof data);
        if (sdg_tensors_open(temp_log(&t), path, &tensors) != SDG_ERROR_INPUT || tensors)
            fail_msg("accepted: %s", cases[i].header);
        if (t.errors != 1 || !strstr(t.last, "broken.safetensors") || !strstr(t.last, cases[i].words))
            fail_msg("%s: %d errors, '%s' should have '%s'", cases[i].header, t.errors, t.last, cases[i].words);
    }
    static const struct {
        const char *header, *words;
    } unreadable[] = {
        {"{" ENTRY("a", "F4", "[32]", "[0,16]") "}", "tensor a is stored as F4"},
        {"{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]") "}", "tensor a has more than 8 dimensions"},
    };
    for (size_t i = 0; i < sizeof unreadable / sizeof *unreadable; i++) {
        struct temp_log t;
        struct sdg_tensors *tensors = NULL;
        const char *path = write_raw("unreadable.safetensors", unreadable[i].header, data, sizeof data);
        assert_int_equal(sdg_tensors_open(temp_log(&t), path, &tensors), SDG_ERROR_UNSUPPORTED);
        assert_true(t.errors == 1 && strstr(t.last, unreadable[i].words));
    }
    print_message("%zu broken headers\n", sizeof cases / sizeof *cases);
}

// 8-bit floats, as torch saves them, and as we do.
static void test_float8(void **state)
{
    (void)state;
    const uint8_t bytes[4] = {0x38, 0xc0, 0x7f, 0x01};
    struct sdg_tensors *tensors = NULL;
    const char *path = write_raw(
        "f8.safetensors", "{" ENTRY("a", "F8_E4M3", "[2]", "[0,2]") "," ENTRY("b", "F8_E5M2", "[1,2]", "[2,4]") "}",
        bytes, sizeof bytes);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(sdg_tensors_open(NULL, path, &tensors), SDG_OK);
        struct sdg_tensor found[] = {*sdg_tensors_find(tensors, "a"), *sdg_tensors_find(tensors, "b")};
        assert_true(found[0].dtype == SDG_F8_E4M3 && found[0].bytes == 2 && found[1].dtype == SDG_F8_E5M2);
        assert_memory_equal(found[0].data, bytes, 2);
        assert_memory_equal(found[1].data, bytes + 2, 2);
        path = temp_path("f8 again.safetensors");
        assert_int_equal(sdg_tensors_write(NULL, path, found, 2, NULL, 0), SDG_OK);
        sdg_tensors_destroy(&tensors);
    }
    struct temp_log t; // a byte an element, no more
    path = write_raw("f8.safetensors", "{" ENTRY("a", "F8_E5M2", "[4]", "[0,8]") "}", bytes, sizeof bytes);
    assert_int_equal(sdg_tensors_open(temp_log(&t), path, &tensors), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, "tensor a"));
}

static void expect_broken_file(const void *bytes, size_t size, const char *words)
{
    struct temp_log t;
    struct sdg_tensors *tensors = NULL;
    const char *path = temp_write("broken.safetensors", bytes, size);
    assert_int_equal(sdg_tensors_open(temp_log(&t), path, &tensors), SDG_ERROR_INPUT);
    assert_true(!tensors && t.errors == 1 && strstr(t.last, path));
    if (!strstr(t.last, words))
        fail_msg("'%s' should have '%s'", t.last, words);
}

static void test_broken_files(void **state)
{
    (void)state;
    static unsigned char file[1 << 20];
    expect_broken_file("", 0, "empty");
    expect_broken_file("\1\2\3\4\5\6\7", 7, "too short");
    expect_broken_file("\0\0\0\0\0\0\0\0", 8, "no JSON object");
    static const uint64_t lengths[] = {UINT64_C(1) << 62, UINT64_MAX, UINT64_MAX - 7, 1000000000, 17, INT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        expect_broken_file(file, assemble(file, lengths[i], "{\"a\":1}       ", "", 0), "cut short");
    enum { DEPTH = 100000 };
    static char nested[6 * DEPTH + 2];
    for (int i = 0; i < DEPTH; i++) {
        memcpy(nested + 5 * i, "{\"a\":", 5);
        nested[5 * DEPTH + 1 + i] = '}';
    }
    nested[5 * DEPTH] = '1';
    expect_broken_file(file, assemble(file, strlen(nested), nested, "", 0), "unknown header field");
    struct temp_log t;
    struct sdg_tensors *tensors = NULL;
    assert_int_equal(sdg_tensors_open(temp_log(&t), temp_root, &tensors), SDG_ERROR_INPUT);
    assert_non_null(strstr(t.last, "folder"));
    assert_int_equal(sdg_tensors_open(temp_log(&t), temp_path("absent"), &tensors), SDG_ERROR_INPUT);
    assert_int_equal(sdg_tensors_open(NULL, "/dev/zero", &tensors), SDG_ERROR_INPUT);
}

static struct sdg_tensor make_tensor(const char *name, enum sdg_dtype dtype, const void *data, int rank,
                                     const int64_t *dims)
{
    struct sdg_tensor tensor = {
        .name = name, .dtype = dtype, .rank = rank, .data = data, .bytes = sdg_dtype_size(dtype)};
    for (int i = 0; i < rank; i++) {
        tensor.dims[i] = dims[i];
        tensor.bytes *= (size_t)dims[i];
    }
    return tensor;
}

static void test_write_read(void **state)
{
    (void)state;
    static unsigned char data[4096];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 31 >> 3);
    struct sdg_tensor written[SDG_DTYPE_COUNT + 3];
    char names[SDG_DTYPE_COUNT][32];
    for (int i = 0; i < SDG_DTYPE_COUNT; i++) {
        const int64_t dims[SDG_MAX_DIMS] = {2, 3, 1, 2, 1, 1, 3, 1};
        snprintf(names[i], sizeof names[i], "type.%s", sdg_dtype_name((enum sdg_dtype)i));
        written[i] = make_tensor(names[i], (enum sdg_dtype)i, data + i, i % (SDG_MAX_DIMS + 1), dims);
    }
    const int64_t one[] = {5}, none[] = {3, 0};
    size_t count = SDG_DTYPE_COUNT;
    written[count++] = make_tensor("\xe2\x82\xac \"quoted\" \\ \t", SDG_U8, data, 1, one);
    written[count++] = make_tensor("nothing", SDG_F32, data, 2, none);
    written[count++] = make_tensor("", SDG_F32, data + 3, 0, NULL); // an empty name is legal
    const struct sdg_metadata metadata[] = {{"format", "pt"}, {"note", "line\nline \"2\""}};
    const char *path = temp_path("out.safetensors");
    assert_int_equal(sdg_tensors_write(NULL, path, written, count, metadata, 2), SDG_OK);
    struct sdg_tensors *tensors = NULL;
    assert_int_equal(sdg_tensors_open(NULL, path, &tensors), SDG_OK);
    assert_int_equal(sdg_tensors_count(tensors), count);
    for (size_t i = 0; i < count; i++) {
        const struct sdg_tensor *want = &written[i], *got = sdg_tensors_find(tensors, want->name);
        assert_non_null(got);
        assert_true(got->dtype == want->dtype && got->rank == want->rank && got->bytes == want->bytes);
        assert_memory_equal(got->dims, want->dims, sizeof got->dims);
        if (got->bytes > 0)
            assert_memory_equal(got->data, want->data, got->bytes);
        sdg_tensors_release(tensors, got);
        if (got->bytes > 0)
            assert_memory_equal(got->data, want->data, got->bytes);
    }
    assert_string_equal(sdg_tensors_metadata(tensors, "note"), metadata[1].value);
    sdg_tensors_destroy(&tensors);
}

// What a writer of another program must be able to rely on, byte by byte.
static void test_written_bytes(void **state)
{
    (void)state;
    const uint16_t data[] = {0x1234, 0xabcd};
    const int64_t dims[] = {2};
    const struct sdg_tensor tensor = make_tensor("w", SDG_F16, data, 1, dims);
    const struct sdg_metadata metadata[] = {{"format", "pt"}};
    const char *path = temp_path("bytes.safetensors");
    assert_int_equal(sdg_tensors_write(NULL, path, &tensor, 1, metadata, 1), SDG_OK);
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}";
    size_t padded = (sizeof header - 1 + 7) / 8 * 8;
    unsigned char want[200] = {(unsigned char)padded}, got[200];
    memset(want + 8, ' ', padded);
    memcpy(want + 8, header, sizeof header - 1);
    memcpy(want + 8 + padded, "\x34\x12\xcd\xab", 4);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(got, 1, sizeof got, file), 8 + padded + 4);
    fclose(file);
    assert_memory_equal(got, want, 8 + padded + 4);
}

static void test_write_refused(void **state)
{
    (void)state;
    const float data[4] = {0};
    const int64_t dims[] = {4};
    struct sdg_tensor pair[2] = {make_tensor("a", SDG_F32, data, 1, dims), make_tensor("a", SDG_F32, data, 1, dims)};
    struct temp_log t;
    mkdir(temp_path("refused"), 0777);
    char path[600];
    snprintf(path, sizeof path, "%s", temp_path("refused/out.safetensors"));
    assert_int_equal(sdg_tensors_write(temp_log(&t), path, pair, 2, NULL, 0), SDG_ERROR_USAGE);
    assert_non_null(strstr(t.last, "two tensors named a"));
    pair[1].name = "__metadata__";
    assert_int_equal(sdg_tensors_write(NULL, path, pair, 2, NULL, 0), SDG_ERROR_USAGE);
    pair[1].name = "\xff";
    assert_int_equal(sdg_tensors_write(NULL, path, pair, 2, NULL, 0), SDG_ERROR_USAGE);
    pair[1].name = "b";
    pair[1].bytes = 12;
    assert_int_equal(sdg_tensors_write(temp_log(&t), path, pair, 2, NULL, 0), SDG_ERROR_USAGE);
    assert_non_null(strstr(t.last, "tensor b"));
    pair[1].bytes = 16;
    assert_int_equal(sdg_tensors_write(temp_log(&t), temp_path("no/such/folder.safetensors"), pair, 2, NULL, 0),
                     SDG_ERROR_OUTPUT);
    assert_int_equal(t.errors, 1);
    assert_int_equal(sdg_tensors_write(NULL, "/dev/full", pair, 2, NULL, 0), SDG_ERROR_OUTPUT);
    assert_int_equal(temp_count(temp_path("refused")), 0);
    size_t n = 1;
    for (enum sdg_result result = SDG_ERROR_MEMORY; result != SDG_OK; n++) {
        sdg_test_fail_allocation(n);
        result = sdg_tensors_write(temp_log(&t), path, pair, 2, NULL, 0);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK)
            break;
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_int_equal(t.errors, 1);
        assert_int_equal(temp_count(temp_path("refused")), 0);
    }
    assert_true(n > 4);
    print_message("%zu failing allocations\n", n - 1);
}

static void test_open_allocations(void **state)
{
    (void)state;
    const float data[4] = {0};
    const char *path =
        write_raw("small.safetensors", "{\"__metadata__\":{\"a\":\"b\"}," ENTRY("a", "F32", "[4]", "[0,16]") "}", data,
                  sizeof data);
    for (size_t n = 1;; n++) {
        struct temp_log t;
        struct sdg_tensors *tensors = NULL;
        sdg_test_fail_allocation(n);
        enum sdg_result result = sdg_tensors_open(temp_log(&t), path, &tensors);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK) {
            assert_true(n > 6);
            sdg_tensors_destroy(&tensors);
            print_message("%zu failing allocations\n", n - 1);
            break;
        }
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_true(!tensors && t.errors == 1);
    }
}

// Reads every byte that the file claims to have, so that a sanitizer sees what is outside.
static unsigned touch(const struct sdg_tensors *tensors)
{
    unsigned sum = 0;
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        const struct sdg_tensor *tensor = sdg_tensors_at(tensors, i);
        assert_ptr_equal(sdg_tensors_find(tensors, tensor->name), tensor);
        for (size_t j = 0; j < tensor->bytes; j++)
            sum += ((const unsigned char *)tensor->data)[j];
    }
    return sum;
}

static void test_mutations(void **state)
{
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("first.weight", "F32", "[2,2]", "[0,16]") "," ENTRY(
            "second.bias", "F16", "[4]", "[16,24]") "," ENTRY("caf\\u00e9", "I8", "[]", "[24,25]") "}";
    unsigned char original[512], file[1024];
    const unsigned char data[25] = {1, 2, 3};
    size_t original_size = assemble(original, strlen(header), header, data, sizeof data);
    int accepted = 0, refused = 0;
    unsigned sum = 0;
    fuzz_state = 88172645463325252u;
    for (int round = 0; round < 60000; round++) {
        size_t size = original_size;
        memcpy(file, original, size);
        size = mutate_file(file, size, sizeof file, sizeof data);
        struct temp_log t;
        struct sdg_tensors *tensors = NULL;
        enum sdg_result result = sdg_tensors_open(temp_log(&t), temp_write("fuzz.safetensors", file, size), &tensors);
        assert_true((result == SDG_OK) == (tensors != NULL) && t.errors == (result != SDG_OK));
        assert_true(result == SDG_OK || result == SDG_ERROR_INPUT || result == SDG_ERROR_UNSUPPORTED);
        accepted += result == SDG_OK;
        refused += result != SDG_OK;
        if (tensors)
            sum += touch(tensors);
        sdg_tensors_destroy(&tensors);
    }
    assert_true(accepted > 1000 && refused > 30000);
    print_message("%d mutated files refused, %d accepted (%u)\n", refused, accepted, sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),          cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_float8),        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_write_read),    cmocka_unit_test(test_written_bytes),
        cmocka_unit_test(test_write_refused), cmocka_unit_test(test_open_allocations),
        cmocka_unit_test(test_mutations),
    };
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
