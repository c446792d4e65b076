// graph/weights.c: what a network's weights become on their way from a file, and what is said about those that do not
// fit.
#include "backend/backend.h"
#include "base/memory.h"
#include "base/nibbles.h"
#include "tests/support/weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char path[] = "test_weights.safetensors";
static char last_message[512];
static int message_count;

static void on_message(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    if (level == SDG_LOG_ERROR) {
        snprintf(last_message, sizeof last_message, "%s", message);
        message_count++;
    }
}
static const struct sdg_log test_log = {.fn = on_message, .level = SDG_LOG_WARNING};

enum { O = 3, I = 5, K = 2 }; // [O, I, K, K]
static float conv_data[O * I * K * K];
static uint16_t half_data[O * I];
static double double_data[7];
static int32_t int_data[4];

static int write_file(void **state)
{
    for (int i = 0; i < O * I * K * K; i++)
        conv_data[i] = (float)i + 0.25f;
    for (int i = 0; i < O * I; i++)
        half_data[i] = sdg_f16_from_f32((float)i * 0.5f);
    for (int i = 0; i < 7; i++)
        double_data[i] = i - 3.5;
    const struct sdg_tensor tensors[] = {
        {.name = "conv",
         .dtype = SDG_F32,
         .rank = 4,
         .dims = {O, I, K, K},
         .data = conv_data,
         .bytes = sizeof conv_data},
        {.name = "half", .dtype = SDG_F16, .rank = 2, .dims = {O, I}, .data = half_data, .bytes = sizeof half_data},
        {.name = "half4",
         .dtype = SDG_F16,
         .rank = 4,
         .dims = {O, I, 1, 1},
         .data = half_data,
         .bytes = sizeof half_data},
        {.name = "double", .dtype = SDG_F64, .rank = 1, .dims = {7}, .data = double_data, .bytes = sizeof double_data},
        {.name = "ids", .dtype = SDG_S32, .rank = 1, .dims = {4}, .data = int_data, .bytes = sizeof int_data},
    };
    (void)state;
    return sdg_tensors_write(NULL, path, tensors, sizeof tensors / sizeof *tensors, NULL, 0);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

struct fixture {
    struct sdg_tensors *tensors;
    struct sdg_graph *g;
};

static struct fixture open_file(void)
{
    struct fixture f;
    message_count = 0;
    assert_int_equal(sdg_tensors_open(&test_log, path, &f.tensors), SDG_OK);
    assert_int_equal(sdg_graph_create(&test_log, &f.g), SDG_OK);
    return f;
}

static void close_file(struct fixture *f)
{
    sdg_graph_destroy(&f->g);
    sdg_tensors_destroy(&f->tensors);
}

static enum sdg_result load(const struct fixture *f, sdg_value v, enum sdg_dtype dtype, void *to)
{
    assert_int_equal(sdg_graph_check(f->g), SDG_OK);
    return load_weight(&test_log, f->tensors, &f->g->values[v], dtype, to);
}

static void slices(void **state)
{
    (void)state;
    struct fixture f = open_file();
    sdg_value whole = sdg_graph_conv_weight(f.g, O, I, K, K, "conv"), part = sdg_graph_weight_slice(f.g, whole, 1, 3);
    float all[O * I * K * K], some[O * 3 * K * K];
    uint16_t narrow[O * 3 * K * K];
    assert_int_equal(load(&f, part, SDG_F32, some), SDG_OK); // releases the pages; they must still be readable
    assert_int_equal(load(&f, part, SDG_BF16, narrow), SDG_OK);
    assert_int_equal(load(&f, whole, SDG_F32, all), SDG_OK);
    assert_memory_equal(all, conv_data, sizeof all);
    for (int o = 0; o < O; o++)
        for (int i = 0; i < 3 * K * K; i++) {
            float expected = conv_data[(o * I + 1) * K * K + i];
            assert_true(some[o * 3 * K * K + i] == expected);
            assert_int_equal(narrow[o * 3 * K * K + i], sdg_bf16_from_f32(expected));
        }
    close_file(&f);
}

static void types_and_ranks(void **state)
{
    (void)state;
    struct fixture f = open_file();
    const sdg_value same[] = {
        sdg_graph_linear_weight(f.g, O, I, "half"),
        sdg_graph_linear_weight(f.g, O, I, "half4"),
        sdg_graph_conv_weight(f.g, O, I, 1, 1, "half"),
        sdg_graph_conv_weight(f.g, O, I, 1, 1, "half4"),
    };
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        float wide[O * I];
        uint16_t half[O * I];
        assert_int_equal(load(&f, same[k], SDG_F32, wide), SDG_OK);
        assert_int_equal(load(&f, same[k], SDG_F16, half), SDG_OK);
        assert_memory_equal(half, half_data, sizeof half);
        for (int i = 0; i < O * I; i++)
            assert_true(wide[i] == (float)i * 0.5f);
    }
    float vector[7];
    assert_int_equal(load(&f, sdg_graph_vector_weight(f.g, 7, "double"), SDG_F32, vector), SDG_OK);
    for (int i = 0; i < 7; i++)
        assert_true(vector[i] == (float)i - 3.5f);
    close_file(&f);
}

// Elements of any width at any address: more than one staging buffer full of them.
static void unaligned_data(void **state)
{
    (void)state;
    enum { COUNT = 5003 };
    static const char name[] = "test_unaligned.safetensors";
    double *from = sdg_alloc(NULL, COUNT, sizeof *from, "a test");
    float *to = sdg_alloc(NULL, COUNT, sizeof *to, "a test");
    for (int i = 0; i < COUNT; i++)
        from[i] = i * 0.125;
    uint8_t byte = 0;
    const struct sdg_tensor tensors[] = {
        // the byte in front makes the address odd
        {.name = "a", .dtype = SDG_U8, .rank = 1, .dims = {1}, .data = &byte, .bytes = 1},
        {.name = "b", .dtype = SDG_F64, .rank = 1, .dims = {COUNT}, .data = from, .bytes = COUNT * sizeof *from},
    };
    assert_int_equal(sdg_tensors_write(&test_log, name, tensors, 2, NULL, 0), SDG_OK);
    struct fixture f = {0};
    assert_int_equal(sdg_tensors_open(&test_log, name, &f.tensors), SDG_OK);
    assert_int_equal(sdg_graph_create(&test_log, &f.g), SDG_OK);
    assert_int_equal(load(&f, sdg_graph_vector_weight(f.g, COUNT, "b"), SDG_F32, to), SDG_OK);
    for (int i = 0; i < COUNT; i++)
        assert_true(to[i] == (float)i * 0.125f);
    close_file(&f);
    unlink(name);
    sdg_free(from);
    sdg_free(to);
}

static void refused(const struct fixture *f, sdg_value v, const char *says)
{
    float to[256];
    message_count = 0;
    assert_int_equal(load(f, v, f->g->values[v].dtype, to), SDG_ERROR_INPUT);
    assert_int_equal(message_count, 1);
    assert_string_equal(last_message, says);
}

static void misfits(void **state)
{
    (void)state;
    struct fixture f = open_file();
    refused(&f, sdg_graph_vector_weight(f.g, 3, "absent"), "test_weights.safetensors: tensor absent is missing");
    refused(&f, sdg_graph_vector_weight(f.g, 4, "ids"),
            "test_weights.safetensors: tensor ids has type s32, expected a float type");
    refused(&f, sdg_graph_vector_weight(f.g, 3, "double"),
            "test_weights.safetensors: tensor double has shape [7], expected [3]");
    refused(&f, sdg_graph_linear_weight(f.g, 7, 1, "double"),
            "test_weights.safetensors: tensor double has shape [7], expected [7,1]");
    refused(&f, sdg_graph_linear_weight(f.g, O, I, "conv"),
            "test_weights.safetensors: tensor conv has shape [3,5,2,2], expected [3,5]");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, 3, 3, "conv"),
            "test_weights.safetensors: tensor conv has shape [3,5,2,2], expected [3,5,3,3]");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "half"),
            "test_weights.safetensors: tensor half has shape [3,5], expected [3,5,2,2]");
    refused(&f, sdg_graph_vector_weight(f.g, O, "half"),
            "test_weights.safetensors: tensor half has shape [3,5], expected [3]");
    sdg_value longer = sdg_graph_weight_slice(f.g, sdg_graph_linear_weight(f.g, O, I + 1, "half"), 0, 2);
    refused(&f, longer, "test_weights.safetensors: tensor half has shape [3,5], expected [3,6]");
    close_file(&f);
}

// ---- integers ----

enum {
    ROW = I * K * K,
    GROUP = 8,
    GROUPS = (ROW + GROUP - 1) / GROUP,
    SLICE = 2,
    SLICE_GROUPS = (SLICE * K * K + GROUP - 1) / GROUP,
    THIRD = I * 3
};
static const char integers_path[] = "test_integers.safetensors", grouped_path[] = "test_grouped.safetensors";

// Codes and scales, as formulas: what is in the files, and what is expected of them.
static int8_t code8(int o, int i)
{
    return (int8_t)((o * 101 + i * 37) % 256 - 128);
}

static int8_t code4(int o, int i)
{
    return (int8_t)((o * 7 + i * 5) % 16 - 8);
}

static float scale_at(int o, int group)
{
    return 0.5f + (float)o + 0.125f * (float)group;
}

static float half_scale_at(int o, int group)
{
    return 3.25f + (float)o + 0.0625f * (float)group;
}

static int write_integers(void **state)
{
    static int8_t c8[O * ROW], c4[O * ROW], odd[O * THIRD];
    static uint8_t p4[O * ROW], p_odd[O * THIRD]; // larger than needed
    static float scales[O], half[O], grouped[O * GROUPS], half_grouped[O * SLICE_GROUPS], bad[O] = {1, NAN, 1},
                                                                                          zero[O] = {1, 1, 0};
    static double wide[O] = {1, 1, 1};
    for (int o = 0; o < O; o++) {
        scales[o] = scale_at(o, 0);
        half[o] = half_scale_at(o, 0);
        for (int g = 0; g < GROUPS; g++)
            grouped[o * GROUPS + g] = scale_at(o, g);
        for (int g = 0; g < SLICE_GROUPS; g++)
            half_grouped[o * SLICE_GROUPS + g] = half_scale_at(o, g);
        for (int i = 0; i < ROW; i++) {
            c8[o * ROW + i] = code8(o, i);
            c4[o * ROW + i] = code4(o, i);
        }
        for (int i = 0; i < THIRD; i++)
            odd[o * THIRD + i] = code4(o, i);
    }
    sdg_pack4(c4, O, ROW, p4);
    sdg_pack4(odd, O, THIRD, p_odd);
    const int64_t row = (int64_t)sdg_packed_row(ROW), odd_row = (int64_t)sdg_packed_row(THIRD);
#define INTEGERS8(n) {.name = n, .dtype = SDG_S8, .rank = 4, .dims = {O, I, K, K}, .data = c8, .bytes = sizeof c8}
#define INTEGERS4(n) {.name = n, .dtype = SDG_U8, .rank = 2, .dims = {O, row}, .data = p4, .bytes = (size_t)(O * row)}
#define SCALES(n, values)                                                                           \
    {                                                                                               \
        .name = n, .dtype = SDG_F32, .rank = 1, .dims = {O}, .data = values, .bytes = sizeof values \
    }
    const struct sdg_tensor tensors[] = {
        INTEGERS8("a8.weight"),
        SCALES("a8.weight_scale", scales),
        SCALES("a8[1:3].weight_scale", half),
        INTEGERS4("a4.weight"),
        SCALES("a4.weight_scale", scales),
        {.name = "odd.weight",
         .dtype = SDG_U8,
         .rank = 2,
         .dims = {O, odd_row},
         .data = p_odd,
         .bytes = (size_t)(O * odd_row)},
        SCALES("odd.weight_scale", scales),
        INTEGERS8("orphan.weight"),
        INTEGERS8("nan.weight"),
        SCALES("nan.weight_scale", bad),
        INTEGERS4("zero.weight"),
        SCALES("zero.weight_scale", zero),
        INTEGERS8("wide.weight"),
        {.name = "wide.weight_scale", .dtype = SDG_F64, .rank = 1, .dims = {O}, .data = wide, .bytes = sizeof wide},
        INTEGERS8("long.weight"),
        {.name = "long.weight_scale",
         .dtype = SDG_F32,
         .rank = 2,
         .dims = {O, GROUPS},
         .data = grouped,
         .bytes = sizeof grouped},
        INTEGERS8("ints"),
    };
    const struct sdg_tensor with_groups[] = {
        INTEGERS8("a8.weight"),
        {.name = "a8.weight_scale",
         .dtype = SDG_F32,
         .rank = 2,
         .dims = {O, GROUPS},
         .data = grouped,
         .bytes = sizeof grouped},
        INTEGERS4("a4.weight"),
        {.name = "a4.weight_scale",
         .dtype = SDG_F32,
         .rank = 2,
         .dims = {O, GROUPS},
         .data = grouped,
         .bytes = sizeof grouped},
        {.name = "a4[3:5].weight_scale",
         .dtype = SDG_F32,
         .rank = 2,
         .dims = {O, SLICE_GROUPS},
         .data = half_grouped,
         .bytes = sizeof half_grouped},
        INTEGERS8("one.weight"),
        SCALES("one.weight_scale", scales),
    };
    (void)state;
    if (sdg_tensors_write(NULL, integers_path, tensors, sizeof tensors / sizeof *tensors, NULL, 0) != SDG_OK)
        return -1;
    return sdg_tensors_write(NULL, grouped_path, with_groups, sizeof with_groups / sizeof *with_groups,
                             &(struct sdg_metadata){"group", "8"}, 1);
}

static int remove_integers(void **state)
{
    (void)state;
    return unlink(integers_path) + unlink(grouped_path);
}

static struct fixture open_integers(const char *file)
{
    struct fixture f;
    message_count = 0;
    assert_int_equal(sdg_tensors_open(&test_log, file, &f.tensors), SDG_OK);
    assert_int_equal(sdg_graph_create(&test_log, &f.g), SDG_OK);
    return f;
}

static sdg_value as_integers(const struct fixture *f, sdg_value v, int bits)
{
    f->g->values[v].dtype = SDG_S8;
    f->g->values[v].bits = bits;
    return v;
}

static void integers(void **state)
{
    (void)state;
    struct fixture f = open_integers(integers_path);
    for (int bits = 4; bits <= 8; bits += 4)
        for (int start = 0; start < I; start++)
            for (int length = 1; start + length <= I; length++) {
                sdg_value whole = sdg_graph_conv_weight(f.g, O, I, K, K, bits == 8 ? "a8.weight" : "a4.weight");
                sdg_value v =
                    as_integers(&f, length == I ? whole : sdg_graph_weight_slice(f.g, whole, start, length), bits);
                int8_t to[O * ROW];
                assert_int_equal(load(&f, v, SDG_S8, to), SDG_OK);
                for (int o = 0; o < O; o++)
                    for (int i = 0; i < length * K * K; i++)
                        assert_int_equal(to[o * length * K * K + i], (bits == 8 ? code8 : code4)(o, start * K * K + i));
            }
    close_file(&f);
}

// A slice of a packed row of odd length begins and ends within a byte.
static void odd_nibbles(void **state)
{
    (void)state;
    struct fixture f = open_integers(integers_path);
    sdg_value whole = sdg_graph_linear_weight(f.g, O, THIRD, "odd.weight");
    for (int start = 0; start < THIRD; start++)
        for (int length = 1; start + length <= THIRD; length++) {
            sdg_value v = length == THIRD ? whole : sdg_graph_weight_slice(f.g, whole, start, length);
            int8_t to[O * THIRD];
            float expanded[O * THIRD];
            assert_int_equal(load(&f, v, SDG_F32, expanded), SDG_OK);
            assert_int_equal(load(&f, as_integers(&f, v, 4), SDG_S8, to), SDG_OK);
            f.g->values[v].dtype = SDG_F32;
            for (int o = 0; o < O; o++)
                for (int i = 0; i < length; i++) {
                    assert_int_equal(to[o * length + i], code4(o, start + i));
                    assert_true(expanded[o * length + i] == (float)code4(o, start + i) * scale_at(o, 0));
                }
        }
    close_file(&f);
}

// Integers become floats with the scale of their output, or of their group of inputs.
static void expansion(void **state)
{
    (void)state;
    for (int grouped = 0; grouped < 2; grouped++)
        for (int bits = 4; bits <= 8; bits += 4)
            for (int start = 0; start < I; start++)
                for (int length = 1; start + length <= I; length++) {
                    struct fixture f = open_integers(grouped ? grouped_path : integers_path);
                    sdg_value v = sdg_graph_conv_weight(f.g, O, I, K, K, bits == 8 ? "a8.weight" : "a4.weight");
                    if (length < I)
                        v = sdg_graph_weight_slice(f.g, v, start, length);
                    // has scales of its own
                    bool own =
                        grouped ? bits == 4 && start == 3 && length == 2 : bits == 8 && start == 1 && length == 2;
                    float wide[O * ROW];
                    uint16_t narrow[O * ROW];
                    assert_int_equal(load(&f, v, SDG_F32, wide), SDG_OK);
                    assert_int_equal(load(&f, v, SDG_F16, narrow), SDG_OK);
                    for (int o = 0; o < O; o++)
                        for (int i = 0; i < length * K * K; i++) {
                            int at = start * K * K + i, group = !grouped ? 0 : own ? i / GROUP : at / GROUP;
                            float expected = (float)(bits == 8 ? code8 : code4)(o, at) *
                                (own ? half_scale_at(o, group) : scale_at(o, group));
                            assert_true(wide[o * length * K * K + i] == expected);
                            assert_int_equal(narrow[o * length * K * K + i], sdg_f16_from_f32(expected));
                        }
                    close_file(&f);
                }
}

static void misfitting_integers(void **state)
{
    (void)state;
    struct fixture f = open_integers(integers_path);
    refused(&f, as_integers(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "a8.weight_scale"), 8),
            "test_integers.safetensors: tensor a8.weight_scale has type f32, expected s8");
    refused(&f, as_integers(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "a4.weight"), 8),
            "test_integers.safetensors: tensor a4.weight has type u8, expected s8");
    refused(&f, as_integers(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "a8.weight"), 4),
            "test_integers.safetensors: tensor a8.weight has type s8, expected u8, two codes of 4 bits in each");
    refused(&f, as_integers(&f, sdg_graph_conv_weight(f.g, O, I, 3, 3, "a8.weight"), 8),
            "test_integers.safetensors: tensor a8.weight has shape [3,5,2,2], expected [3,5,3,3]");
    refused(&f, as_integers(&f, sdg_graph_linear_weight(f.g, O, 9, "a4.weight"), 4),
            "test_integers.safetensors: tensor a4.weight has shape [3,10], expected [3,5]");
    refused(&f, as_integers(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "absent.weight"), 8),
            "test_integers.safetensors: tensor absent.weight is missing");
    refused(&f, sdg_graph_linear_weight(f.g, O, 9, "a4.weight"),
            "test_integers.safetensors: tensor a4.weight has shape [3,10], expected [3,5]");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "ints"),
            "test_integers.safetensors: tensor ints has type s8, expected a float type");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "orphan.weight"),
            "test_integers.safetensors: tensor orphan.weight_scale is missing, but orphan.weight is quantized");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "nan.weight"),
            "test_integers.safetensors: tensor nan.weight_scale: scale 1 is nan, should be a positive finite number, "
            "2^-120 or more");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "zero.weight"),
            "test_integers.safetensors: tensor zero.weight_scale: scale 2 is 0, should be a positive finite number, "
            "2^-120 or more");
    refused(&f, sdg_graph_vector_weight(f.g, O, "zero.weight_scale"),
            "test_integers.safetensors: tensor zero.weight_scale: scale 2 is 0, should be a positive finite number, "
            "2^-120 or more");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "wide.weight"),
            "test_integers.safetensors: tensor wide.weight_scale has type f64, expected f32");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "long.weight"),
            "test_integers.safetensors: tensor long.weight_scale has shape [3,3], expected [3,1]");
    close_file(&f);
    f = open_integers(grouped_path);
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "one.weight"),
            "test_grouped.safetensors: tensor one.weight_scale has shape [3], expected [3,3]");
    close_file(&f);
}

static void backends_by_name(void **state)
{
    (void)state;
    struct sdg_backend *backend = NULL;
    message_count = 0;
    assert_int_equal(sdg_backend_create(&test_log, "abacus", NULL, &backend), SDG_ERROR_USAGE);
    assert_null(backend);
    assert_non_null(strstr(last_message, "abacus"));
    assert_int_equal(message_count, 1);
    static const char *const names[] = {"reference", "cpu"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(sdg_backend_create(&test_log, names[i], NULL, &backend), SDG_OK);
        assert_string_equal(sdg_backend_info(backend)->backend, names[i]);
        assert_true(sdg_backend_has_type(backend, SDG_F32));
        sdg_backend_destroy(&backend);
        assert_null(backend);
        sdg_backend_destroy(&backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices),
        cmocka_unit_test(types_and_ranks),
        cmocka_unit_test(unaligned_data),
        cmocka_unit_test(misfits),
        cmocka_unit_test(backends_by_name),
        cmocka_unit_test_setup_teardown(integers, write_integers, remove_integers),
        cmocka_unit_test_setup_teardown(odd_nibbles, write_integers, remove_integers),
        cmocka_unit_test_setup_teardown(expansion, write_integers, remove_integers),
        cmocka_unit_test_setup_teardown(misfitting_integers, write_integers, remove_integers),
    };
    return cmocka_run_group_tests(tests, write_file, remove_file);
}
