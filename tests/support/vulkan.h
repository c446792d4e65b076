// For tests of the Vulkan backend: contexts under validation layers, weights and inputs made up from names, comparison
// with the reference.
#ifndef SDG_TESTS_SUPPORT_VULKAN_H
#define SDG_TESTS_SUPPORT_VULKAN_H

#include "tests/support/drivers.h"
#include "tests/support/graphs.h"
#include "tests/temp.h"

#include "backend/backend.h"
#include "base/memory.h"
#include "base/nibbles.h"

#if SDG_HAVE_VULKAN
#include "backend/vulkan/vk_commands.h"

static bool validation; // the layers are installed
static struct {
    int device;       // as sdgen --list-devices counts them
    unsigned without; // rungs that no context has
    int part, parts;  // of the tests, every parts-th from the part-th on; parts 0: all
} option = {.device = -1};
static struct sdg_backend *reference;

static enum sdg_result open_backend(const struct sdg_backend_params *params, struct sdg_backend **out)
{
    struct sdg_backend_params p = params ? *params : (struct sdg_backend_params){.device = -1};
    p.validation = validation;
    p.disable |= option.without;
    if (p.device < 0)
        p.device = option.device;
    return sdg_backend_create(&test_log, "vulkan", &p, out);
}

static struct sdg_vk *new_vk(const struct sdg_backend_params *params)
{
    struct sdg_backend *backend;
    memset(&messages, 0, sizeof messages);
    enum sdg_result result = open_backend(params, &backend);
    if (result != SDG_OK)
        printf("%s\n", messages.last);
    assert_int_equal(result, SDG_OK);
    return (struct sdg_vk *)backend;
}

// Also hears of objects that were left over, if validation is on.
static void close_vk(struct sdg_vk *vk)
{
    struct sdg_backend *backend = &vk->base;
    messages.errors = 0;
    sdg_backend_destroy(&backend);
    assert_null(backend);
    if (messages.errors)
        printf("%s\n", messages.last);
    assert_int_equal(messages.errors, 0);
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

// Bytes are two weights of 4 bits or one of 8.
static void make_up_integers(struct sdg_tensor *t, const struct sdg_value_info *v)
{
    int64_t inputs = (v->slice_of ? v->slice_of : v->dims[1]) * v->dims[2] * v->dims[3];
    int64_t row = v->bits == 4 ? (int64_t)sdg_packed_row((size_t)inputs) : inputs;
    if (v->bits == 4) {
        t->rank = 2;
        t->dims[1] = row;
    }
    t->dtype = v->bits == 4 ? SDG_U8 : SDG_S8;
    t->bytes = (size_t)(v->dims[0] * row);
    uint8_t *data = malloc(t->bytes);
    for (int64_t k = 0; k < v->dims[0] * row; k++)
        data[k] = (uint8_t)((int)(65536 * hashed(v->name, k)) &
                            (v->bits == 4 && inputs % 2 && k % row == row - 1 ? 15 : 255));
    t->data = data;
}

// Scales are powers of two, so that products with them are exact.
static void make_up_floats(struct sdg_tensor *t, const struct sdg_value_info *v)
{
    int64_t elements = 1;
    for (int d = 0; d < v->rank; d++)
        elements *= t->dims[d];
    float *data = malloc((size_t)elements * sizeof *data);
    float scale = v->rank == 1 ? 1 : 2 / sqrtf((float)(elements / v->dims[0]));
    for (int64_t k = 0; k < elements; k++)
        data[k] = ends_with(v->name, ".weight_scale") ? ldexpf(1, -10 - (int)(k % 3)) : scale * hashed(v->name, k);
    t->data = data;
    t->bytes = (size_t)elements * sizeof *data;
}

// Codes of 8 or 4 bits for a matrix of floats MODULE.weight, and their scales.
static void make_up_codes(struct sdg_tensor *codes, struct sdg_tensor *scales, const struct sdg_value_info *v, int bits)
{
    static char names[8][64];
    static unsigned used;
    struct sdg_value_info coded = *v, scale = {.name = names[used++ % 8], .rank = 1};
    coded.bits = bits;
    make_up_integers(codes, &coded);
    snprintf(scale.name, sizeof names[0], "%s_scale", v->name);
    *scales = (struct sdg_tensor){.name = scale.name, .dtype = SDG_F32, .rank = 1, .dims = {v->dims[0]}};
    make_up_floats(scales, &scale);
}

// A file with every weight of the graph, made up from its name; with `bits`, of matrices of floats the codes.
static struct sdg_tensors *weights_stored_as(const struct sdg_graph *g, int bits)
{
    struct sdg_tensor *list = calloc(2 * g->value_count, sizeof *list);
    size_t count = 0;
    for (size_t i = 1; i < g->value_count; i++) {
        const struct sdg_value_info *v = &g->values[i];
        bool known = v->kind != SDG_VALUE_WEIGHT;
        for (size_t k = 0; k < count && !known; k++)
            known = strcmp(list[k].name, v->name) == 0;
        if (known)
            continue;
        struct sdg_tensor *t = &list[count++];
        *t = (struct sdg_tensor){.name = v->name, .dtype = SDG_F32, .rank = v->rank};
        for (int d = 0; d < v->rank; d++)
            t->dims[d] = d == 1 && v->slice_of ? v->slice_of : v->dims[d];
        if (v->dtype == SDG_S8)
            make_up_integers(t, v);
        else if (bits && v->rank > 1)
            make_up_codes(t, &list[count++], v, bits);
        else
            make_up_floats(t, v);
    }
    struct sdg_tensors *tensors = NULL;
    if (count) {
        assert_int_equal(sdg_tensors_write(&test_log, temp_path("weights.safetensors"), list, count, NULL, 0), SDG_OK);
        assert_int_equal(sdg_tensors_open(&test_log, temp_path("weights.safetensors"), &tensors), SDG_OK);
    }
    for (size_t i = 0; i < count; i++)
        free((void *)list[i].data);
    free(list);
    return tensors;
}

static struct sdg_tensors *weights_of(const struct sdg_graph *g)
{
    return weights_stored_as(g, 0);
}

// Tables "signed:.." and "unsigned:.." are intervals: powers of two for the same reason, another one in each row.
static float interval_number(const char *name, size_t k)
{
    return k % 2 ? (name[0] == 'u' ? 100 + (float)(k / 2) : 0) : ldexpf(1, -5 - (int)(k / 2 % 3));
}

static enum sdg_result write_inputs(const struct sdg_graph *g, struct sdg_program *program)
{
    enum sdg_result result = SDG_OK;
    for (size_t i = 1; i < g->value_count && result == SDG_OK; i++) {
        const struct sdg_value_info *v = &g->values[i];
        if (v->kind != SDG_VALUE_INPUT && v->kind != SDG_VALUE_TABLE)
            continue;
        size_t count = (size_t)sdg_value_elements(v);
        float *data = malloc(count * sizeof *data);
        int32_t *ids = (int32_t *)(void *)data;
        for (size_t k = 0; k < count; k++) {
            if (v->dtype == SDG_S32)
                ids[k] = (int32_t)(k * 37 % 100);
            else
                data[k] = strstr(v->name, "signed:") ? interval_number(v->name, k) : 2 * hashed(v->name, (int64_t)k);
        }
        result = sdg_program_write(program, v->name, data, count);
        free(data);
    }
    return result;
}

// All outputs behind each other at `row`; free().
static float *run_program(const struct sdg_graph *g, struct sdg_program *program, int64_t row, size_t *count)
{
    assert_int_equal(sdg_program_run(program, row), SDG_OK);
    float *all = NULL;
    *count = 0;
    for (size_t i = 1; i < g->value_count; i++) {
        const struct sdg_value_info *v = &g->values[i];
        if (!v->output)
            continue;
        size_t elements = (size_t)sdg_value_elements(v);
        all = realloc(all, (*count + elements) * sizeof *all);
        assert_int_equal(sdg_program_read(program, v->name, all + *count, elements), SDG_OK);
        *count += elements;
    }
    return all;
}

static struct sdg_program *new_program(struct sdg_backend *backend, const struct sdg_graph *g,
                                       const struct sdg_tensors *weights)
{
    struct sdg_program *program;
    enum sdg_result result = sdg_program_create(backend, g, &(struct sdg_program_params){.weights = weights}, &program);
    if (result != SDG_OK)
        printf("%s\n", messages.last);
    assert_int_equal(result, SDG_OK);
    assert_int_equal(write_inputs(g, program), SDG_OK);
    return program;
}

// Products within subgroups (SDG_FEATURE_LANES), whether in use or not.
static bool has_lanes(const struct sdg_vk *vk)
{
    return !(option.without & SDG_FEATURE_LANES) && vk->caps.subgroup_shuffle &&
        (vk->caps.subgroup_size == 4 || vk->caps.subgroup_size == 8);
}

static double nmse(const float *got, const float *want, size_t count)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += (double)(got[i] - want[i]) * (double)(got[i] - want[i]);
        power += (double)want[i] * (double)want[i];
    }
    return power > 0 ? error / power : error;
}

// Runs the graph on both backends, at its first and last row, and returns the larger error. Consumes the graph.
static double compare(struct sdg_vk *vk, struct sdg_graph *g)
{
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    struct sdg_tensors *weights = weights_of(g);
    struct sdg_program *tested = new_program(&vk->base, g, weights), *known = new_program(reference, g, weights);
    double worst = 0;
    for (int turn = 0; turn < 3; turn++) { // the first row again at last: nothing of a run may survive in the next
        int64_t row = turn == 1 ? g->rows - 1 : 0;
        size_t count, count_known;
        float *a = run_program(g, tested, row, &count), *b = run_program(g, known, row, &count_known);
        assert_int_equal(count, count_known);
        worst = fmax(worst, nmse(a, b, count)); // NaN would be ignored here
        bool any = false;
        for (size_t i = 0; i < count; i++) {
            assert_true(isfinite(a[i]));
            any = any || b[i] != 0;
        }
        assert_true(any); // zeros are equal whatever went wrong
        free(a);
        free(b);
    }
    sdg_program_destroy(&tested);
    sdg_program_destroy(&known);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    return worst;
}

// ---- kernels ----

struct kernels { char text[4096]; };

static void on_kernel(void *user, const char *op, const char *kernel)
{
    struct kernels *k = user;
    size_t used = strlen(k->text);
    snprintf(k->text + used, sizeof k->text - used, "%s=%s ", op, kernel);
}

// A program that is only planned; to be destroyed.
static struct sdg_program *plan_of(struct sdg_backend *backend, const struct sdg_graph *g)
{
    struct sdg_program *program;
    assert_int_equal(sdg_program_create(backend, g, &(struct sdg_program_params){.plan_only = true}, &program), SDG_OK);
    return program;
}

// The device has no program for it, which one line says with `words`. Consumes the graph.
static void expect_unsupported(struct sdg_vk *vk, struct sdg_graph *g, const char *words)
{
    struct sdg_program *program = (void *)1;
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_program_create(&vk->base, g, &(struct sdg_program_params){.plan_only = true}, &program),
                     SDG_ERROR_UNSUPPORTED);
    assert_null(program);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, words));
    sdg_graph_destroy(&g);
}

static struct kernels kernels_of(struct sdg_vk *vk, const struct sdg_graph *g)
{
    struct sdg_program *program = plan_of(&vk->base, g);
    struct kernels k = {{0}};
    sdg_program_describe(program, on_kernel, &k);
    sdg_program_destroy(&program);
    return k;
}

// The errors of a run in bands against one that is whole, 0 only if all bits are the same, and against the reference.
struct band_errors { double whole, known; };
// Runs the graph on a device that binds at most `range` bytes, so that a product of it has to take bands of columns
// (vk_weights.h), which its kernel's name says as it does `bands`, "_b3", and compares. Consumes graph and weights.
static struct band_errors compare_bands(struct sdg_vk *vk, struct sdg_graph *g, struct sdg_tensors *weights,
                                        uint64_t range, const char *bands)
{
    const uint64_t all = vk->caps.max_range;
    float *results[3];
    size_t count = 0;
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    for (int i = 0; i < 3; i++) {
        vk->caps.max_range = i == 1 ? range : all;
        struct sdg_program *program = new_program(i == 2 ? reference : &vk->base, g, weights);
        if (i == 1) {
            struct kernels k = {{0}};
            sdg_program_describe(program, on_kernel, &k);
            if (!strstr(k.text, bands))
                fail_msg("%s is not among %s", bands, k.text);
        }
        results[i] = run_program(g, program, g->rows - 1, &count);
        sdg_program_destroy(&program);
    }
    vk->caps.max_range = all;
    const bool same = memcmp(results[0], results[1], count * sizeof(float)) == 0;
    const struct band_errors errors = {same ? 0 : nmse(results[1], results[0], count) + 1e-30,
                                       nmse(results[1], results[2], count)};
    for (int i = 0; i < 3; i++)
        free(results[i]);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    return errors;
}

static enum sdg_result whole_life(const struct sdg_graph *g, const struct sdg_tensors *weights, struct sdg_vk *vk)
{
    struct sdg_program *program = NULL;
    SDG_TRY(sdg_program_create(&vk->base, g, &(struct sdg_program_params){.weights = weights}, &program));
    enum sdg_result result = write_inputs(g, program);
    if (result == SDG_OK)
        result = sdg_program_run(program, 0);
    sdg_program_destroy(&program);
    return result;
}

// Every host allocation of making and running a program fails once: an error, one message, nothing left behind.
static void fail_each_allocation(const struct sdg_graph *g, const struct sdg_tensors *weights, struct sdg_vk *vk)
{
    assert_int_equal(whole_life(g, weights, vk), SDG_OK); // pipelines are made
    sdg_test_fail_allocation(0);
    assert_int_equal(whole_life(g, weights, vk), SDG_OK);
    size_t count = sdg_test_fail_allocation(0);
    assert_true(count > 10);
    for (size_t i = 1; i <= count; i++) {
        memset(&messages, 0, sizeof messages);
        sdg_test_fail_allocation(i);
        enum sdg_result result = whole_life(g, weights, vk);
        sdg_test_fail_allocation(0);
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_int_equal(messages.errors, 1);
    }
    printf("%zu allocations failed one by one\n", count);
}

// ---- graphs ----

static struct sdg_graph *layer_norms(void)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, 101, 77), y = x; // two chunks
    y = sdg_graph_layer_norm(g, "norm", y, sdg_graph_vector_weight(g, 77, "g"), sdg_graph_vector_weight(g, 77, "b"),
                             1e-5f);
    y = norm(g, "group", y, 7);
    sdg_graph_output(g, "y", y);
    return g;
}

static struct sdg_graph *short_product(int64_t m, int64_t n)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, m, 20);
    sdg_graph_output(g, "y",
                     sdg_graph_linear(g, "to_y", x, sdg_graph_linear_weight(g, n, 20, "w"), (struct sdg_epilogue){0}));
    return g;
}

// ---- main ----

static int start(void **state)
{
    (void)state;
    temp_make();
    assert_int_equal(sdg_backend_create(&test_log, "reference", &(struct sdg_backend_params){.threads = 1}, &reference),
                     SDG_OK);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sdg_backend_destroy(&reference);
    temp_remove();
    return 0;
}

// Options of all these programs: `[--device=N] [--disable=RUNG,...] [PATTERN]`, tests whose names fit the pattern, with
// * and ?.
static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--device=", 9) == 0)
            option.device = (int)strtol(argv[i] + 9, NULL, 10);
        else if (sscanf(argv[i], "--part=%d/%d", &option.part, &option.parts) == 2)
            option.part--;
        else if (strncmp(argv[i], "--", 2) != 0)
            cmocka_set_test_filter(argv[i]);
        else if (strncmp(argv[i], "--disable=", 10) != 0 || !sdg_vk_rungs(argv[i] + 10, &option.without))
            fail_msg("%s: no option, or no rungs", argv[i]);
}

// False, with a message, where there is no Vulkan device. Looks for the validation layers too.
static bool find_vulkan(int argc, char **argv)
{
    struct sdg_backend *backend = NULL;
    read_arguments(argc, argv);
    if (open_backend(NULL, &backend) != SDG_OK) {
        printf("skipped: %s\n", messages.last);
        return false;
    }
    keep_drivers_loaded();
    sdg_backend_destroy(&backend);
    validation = true;
    if (open_backend(NULL, &backend) != SDG_OK) {
        printf("without validation layers: %s\n", messages.last);
        validation = false;
    }
    keep_drivers_loaded();
    sdg_backend_destroy(&backend);
    return true;
}

static int run_part(const char *name, const struct CMUnitTest *tests, size_t count)
{
    struct CMUnitTest mine[64];
    size_t chosen = 0;
    for (size_t i = 0; i < count && chosen < sizeof mine / sizeof *mine; i++)
        if (!option.parts || (int)i % option.parts == option.part)
            mine[chosen++] = tests[i];
    return _cmocka_run_group_tests(name, mine, chosen, start, stop);
}

#endif
#endif
