// backend/weights.c: what a network's weights become on their way from a file, and what is said about those that do not fit.
#include "backend/backend.h"
#include "base/memory.h"

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
        {.name = "conv", .dtype = SDG_F32, .rank = 4, .dims = {O, I, K, K}, .data = conv_data, .bytes = sizeof conv_data},
        {.name = "half", .dtype = SDG_F16, .rank = 2, .dims = {O, I}, .data = half_data, .bytes = sizeof half_data},
        {.name = "half4", .dtype = SDG_F16, .rank = 4, .dims = {O, I, 1, 1}, .data = half_data, .bytes = sizeof half_data},
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
    return sdg_weight_load(&test_log, f->tensors, &f->g->values[v], dtype, to, true);
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
        sdg_graph_linear_weight(f.g, O, I, "half"), sdg_graph_linear_weight(f.g, O, I, "half4"),
        sdg_graph_conv_weight(f.g, O, I, 1, 1, "half"), sdg_graph_conv_weight(f.g, O, I, 1, 1, "half4"),
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
    const struct sdg_tensor tensors[] = { // the byte in front makes the address odd
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
    assert_int_equal(load(f, v, SDG_F32, to), SDG_ERROR_INPUT);
    assert_int_equal(message_count, 1);
    assert_string_equal(last_message, says);
    assert_int_equal(sdg_weight_check(&test_log, f->tensors, &f->g->values[v]), SDG_ERROR_INPUT);
    assert_int_equal(message_count, 2);
    assert_string_equal(last_message, says);
}

static void misfits(void **state)
{
    (void)state;
    struct fixture f = open_file();
    refused(&f, sdg_graph_vector_weight(f.g, 3, "absent"), "test_weights.safetensors: tensor absent is missing");
    refused(&f, sdg_graph_vector_weight(f.g, 4, "ids"), "test_weights.safetensors: tensor ids has type s32, expected a float type");
    refused(&f, sdg_graph_vector_weight(f.g, 3, "double"), "test_weights.safetensors: tensor double has shape [7], expected [3]");
    refused(&f, sdg_graph_linear_weight(f.g, 7, 1, "double"), "test_weights.safetensors: tensor double has shape [7], expected [7,1]");
    refused(&f, sdg_graph_linear_weight(f.g, O, I, "conv"), "test_weights.safetensors: tensor conv has shape [3,5,2,2], expected [3,5]");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, 3, 3, "conv"), "test_weights.safetensors: tensor conv has shape [3,5,2,2], expected [3,5,3,3]");
    refused(&f, sdg_graph_conv_weight(f.g, O, I, K, K, "half"), "test_weights.safetensors: tensor half has shape [3,5], expected [3,5,2,2]");
    refused(&f, sdg_graph_vector_weight(f.g, O, "half"), "test_weights.safetensors: tensor half has shape [3,5], expected [3]");
    sdg_value longer = sdg_graph_weight_slice(f.g, sdg_graph_linear_weight(f.g, O, I + 1, "half"), 0, 2);
    refused(&f, longer, "test_weights.safetensors: tensor half has shape [3,5], expected [3,6]");
    sdg_value good = sdg_graph_linear_weight(f.g, O, I, "half");
    float to[O * I];
    assert_int_equal(sdg_weight_check(&test_log, f.tensors, &f.g->values[good]), SDG_OK);
    assert_int_equal(sdg_weight_check(&test_log, NULL, &f.g->values[good]), SDG_OK);
    assert_int_equal(sdg_weight_load(&test_log, NULL, &f.g->values[good], SDG_F32, to, false), SDG_ERROR_USAGE);
    assert_int_equal(sdg_weight_load(&test_log, f.tensors, &f.g->values[good], SDG_S8, to, false), SDG_ERROR_USAGE);
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
        cmocka_unit_test(slices), cmocka_unit_test(types_and_ranks), cmocka_unit_test(unaligned_data), cmocka_unit_test(misfits), cmocka_unit_test(backends_by_name),
    };
    return cmocka_run_group_tests(tests, write_file, remove_file);
}
