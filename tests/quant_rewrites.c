// The observe and simulate rewrites, on the default model's UNet: which sites there are, that observing changes
// nothing, that a simulated graph computes what quantizing the observed values by hand gives, and that fine intervals
// lose nothing.
#include "backend/backend.h"
#include "base/memory.h"
#include "formats/model.h"
#include "quant/simulate.h"
#include "unet/unet.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void print_line(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    (void)level;
    print_message("%s\n", message);
}
static const struct sdg_log test_log = {print_line, NULL, SDG_LOG_WARNING};

struct fixture {
    struct sdg_model *model;
    struct sdg_backend *backend;
};

static int open_model(void **state)
{
    static struct fixture f;
    assert_int_equal(sdg_model_open(&test_log, SDG_SOURCE_DIR "/models/emoji-128", &f.model), SDG_OK);
    assert_int_equal(sdg_backend_create(&test_log, "cpu", &(struct sdg_backend_params){.threads = 2}, &f.backend),
                     SDG_OK);
    *state = &f;
    return 0;
}

static int close_model(void **state)
{
    struct fixture *f = *state;
    sdg_backend_destroy(&f->backend);
    sdg_model_close(&f->model);
    return 0;
}

enum { ROWS = 2, SIDE = 4, TOKENS = 3 };

static struct sdg_graph *step_graph(const struct fixture *f)
{
    struct sdg_graph *graph;
    struct sdg_unet_shape shape = {
        .batch = 1, .height = SIDE, .width = SIDE, .tokens = TOKENS, .rows = ROWS, .table_batch = 1};
    assert_int_equal(sdg_unet_step_graph(&test_log, &f->model->unet_config, &shape, &graph), SDG_OK);
    assert_int_equal(sdg_graph_fuse(graph), SDG_OK);
    return graph;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

// What belongs to a scale in a table of intervals: 0 unless a site after a SiLU reads it.
static float zero_point(const struct sdg_graph *graph, const struct sdg_value_info *table, float scale)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op->kind == SDG_OP_FAKE_QUANTIZE && &graph->values[op->in[1]] == table)
            return op->u.fake_quantize.lowest < 0 ? 0
                                                  : fminf(rintf(0.2785f / scale), (float)op->u.fake_quantize.highest);
    }
    return 0;
}

// A program with all float inputs and tables filled: intervals with `scale` (zero points to match), everything else
// with small waves.
static struct sdg_program *compile(const struct fixture *f, const struct sdg_graph *graph, float scale)
{
    struct sdg_program *program;
    struct sdg_program_params params = {.weights = f->model->unet};
    assert_int_equal(sdg_program_create(f->backend, graph, &params, &program), SDG_OK);
    for (size_t v = 1; v < graph->value_count; v++) {
        const struct sdg_value_info *info = &graph->values[v];
        if (info->kind != SDG_VALUE_INPUT && info->kind != SDG_VALUE_TABLE)
            continue;
        size_t count = (size_t)sdg_value_elements(info);
        float *data = sdg_alloc(&test_log, count, sizeof *data, "input");
        for (size_t i = 0; i < count; i++)
            data[i] = starts_with(info->name, "interval:") ? (i % 2 ? zero_point(graph, info, scale) : scale)
                                                           : sinf((float)(i * 7 + v)) * 0.8f;
        assert_int_equal(sdg_program_write(program, info->name, data, count), SDG_OK);
        sdg_free(data);
    }
    return program;
}

static float *read_output(const struct sdg_graph *graph, struct sdg_program *program, const char *name, size_t *count)
{
    const struct sdg_value_info *info = &graph->values[sdg_graph_find(graph, name)];
    *count = (size_t)sdg_value_elements(info);
    float *data = sdg_alloc(&test_log, *count, sizeof *data, "output");
    assert_int_equal(sdg_program_read(program, name, data, *count), SDG_OK);
    return data;
}

static double relative_error(const float *got, const float *want, size_t count)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    return error / power;
}

static void sites(void **state)
{
    struct sdg_graph *graph = step_graph(*state);
    struct sdg_sites found;
    assert_int_equal(sdg_sites_find(graph, &found), SDG_OK);
    size_t layers = 0, silu = 0, quantizable = 0;
    for (size_t i = 0; i < found.count; i++) {
        const struct sdg_site *s = &found.sites[i];
        layers += s->consumers;
        silu += s->kind == SDG_SITE_SILU;
        // Only the two 3x3 convolutions of a resnet come behind a SiLU; queries, keys and values share a site.
        assert_true((s->kind == SDG_SITE_SILU) ==
                    (strstr(s->name, "resnets") && (strstr(s->name, ".conv1") || strstr(s->name, ".conv2"))));
        if (strstr(s->name, "attn1.to_q"))
            assert_int_equal(s->consumers, 3);
        assert_null(strstr(s->name, "attn1.to_k"));
        for (size_t j = 0; j < i; j++)
            assert_true(strcmp(s->name, found.sites[j].name) && s->value != found.sites[j].value);
    }
    for (size_t i = 0; i < graph->op_count; i++)
        quantizable += sdg_op_is_quantizable(graph, &graph->ops[i]);
    assert_int_equal(layers, quantizable);
    assert_int_equal(silu, 2 * 11); // the default model's UNet has 11 resnets: 3 down, 2 in the middle, 6 up
    print_message("%zu sites, %zu after SiLU, %zu layers\n", found.count, silu, layers);
    sdg_sites_clear(&found);
    sdg_graph_destroy(&graph);
}

static void observing_changes_nothing(void **state)
{
    struct sdg_graph *plain = step_graph(*state), *observed = step_graph(*state);
    assert_int_equal(sdg_graph_observe(observed, false), SDG_OK);
    struct sdg_program *a = compile(*state, plain, 1), *b = compile(*state, observed, 1);
    size_t count;
    for (int row = 0; row < ROWS; row++) {
        assert_int_equal(sdg_program_run(a, row), SDG_OK);
        assert_int_equal(sdg_program_run(b, row), SDG_OK);
        float *x = read_output(plain, a, "noise", &count), *y = read_output(observed, b, "noise", &count);
        assert_memory_equal(x, y, count * sizeof *x);
        sdg_free(x);
        sdg_free(y);
    }
    sdg_program_destroy(&a);
    sdg_program_destroy(&b);
    sdg_graph_destroy(&plain);
    sdg_graph_destroy(&observed);
}

// The first site behind the untouched conv_in sees the same values in both graphs: what its layer reads must be their
// codes' values.
static void simulated_site_equals_quantized_by_hand(void **state)
{
    static const float scale = 0.05f;
    struct sdg_graph *observed = step_graph(*state), *simulated = step_graph(*state);
    struct sdg_sites found;
    assert_int_equal(sdg_sites_find(observed, &found), SDG_OK);
    char name[SDG_OBSERVED_NAME_BYTES];
    sdg_observed_name(name, found.sites[0].name);
    const struct sdg_interval interval = sdg_interval_make(found.sites[0].kind, 8, scale);
    assert_int_equal(found.sites[0].kind, SDG_SITE_SILU);
    sdg_sites_clear(&found);
    assert_int_equal(sdg_graph_observe(observed, false), SDG_OK);
    assert_int_equal(sdg_graph_simulate(simulated, 8), SDG_OK);
    for (size_t i = 0; i < simulated->op_count; i++)
        if (simulated->ops[i].kind == SDG_OP_FAKE_QUANTIZE) {
            sdg_graph_output(simulated, "quantized", simulated->ops[i].out);
            break;
        }
    struct sdg_program *a = compile(*state, observed, scale), *b = compile(*state, simulated, scale);
    assert_int_equal(sdg_program_run(a, 1), SDG_OK);
    assert_int_equal(sdg_program_run(b, 1), SDG_OK);
    size_t count;
    float *x = read_output(observed, a, name, &count), *y = read_output(simulated, b, "quantized", &count);
    sdg_interval_simulate(&interval, x, x, count);
    assert_true(relative_error(y, x, count) < 1e-12);
    sdg_free(x);
    sdg_free(y);
    sdg_program_destroy(&a);
    sdg_program_destroy(&b);
    sdg_graph_destroy(&observed);
    sdg_graph_destroy(&simulated);
}

// Per site the largest magnitude of its values in a run at row 0.
static float *site_maxima(struct fixture *f, const struct sdg_sites *sites)
{
    struct sdg_graph *graph = step_graph(f);
    assert_int_equal(sdg_graph_observe(graph, false), SDG_OK);
    struct sdg_program *program = compile(f, graph, 1);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    float *maxima = sdg_alloc(&test_log, sites->count, sizeof *maxima, "maxima");
    for (size_t k = 0; k < sites->count; k++) {
        char name[SDG_OBSERVED_NAME_BYTES];
        size_t count;
        sdg_observed_name(name, sites->sites[k].name);
        float *x = read_output(graph, program, name, &count);
        for (size_t i = 0; i < count; i++)
            maxima[k] = fmaxf(maxima[k], fabsf(x[i]));
        sdg_free(x);
    }
    sdg_program_destroy(&program);
    sdg_graph_destroy(&graph);
    return maxima;
}

// What the network answers with intervals of so many bits that just hold each site's values.
static float *simulated_answer(struct fixture *f, const struct sdg_sites *sites, const float *maxima, int bits,
                               size_t *count)
{
    struct sdg_graph *graph = step_graph(f);
    assert_int_equal(sdg_graph_simulate(graph, bits), SDG_OK);
    struct sdg_program *program = compile(f, graph, 1);
    for (size_t k = 0; k < sites->count; k++) {
        const float scale = maxima[k] / (float)((1 << (bits - 1)) - 1);
        const struct sdg_interval interval = sdg_interval_make(sites->sites[k].kind, bits, scale);
        char name[SDG_OBSERVED_NAME_BYTES];
        float pairs[2 * ROWS];
        for (int row = 0; row < ROWS; row++) {
            pairs[2 * row] = interval.scale;
            pairs[2 * row + 1] = (float)interval.zero_point;
        }
        assert_int_equal(sdg_program_write(program, sdg_interval_name(name, sites->sites[k].name), pairs, 2 * ROWS),
                         SDG_OK);
    }
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    float *answer = read_output(graph, program, "noise", count);
    sdg_program_destroy(&program);
    sdg_graph_destroy(&graph);
    return answer;
}

// Eight bits over the range of each site's values lose little, four bits over the same range far more: each value's
// error has (127 / 7)^2 = 330 times the power, less what saturates in a network that is given nonsense.
static void fewer_bits_lose_more(void **state)
{
    struct sdg_graph *plain = step_graph(*state);
    struct sdg_sites found;
    assert_int_equal(sdg_sites_find(plain, &found), SDG_OK);
    struct sdg_program *program = compile(*state, plain, 1);
    size_t count;
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    float *want = read_output(plain, program, "noise", &count), *maxima = site_maxima(*state, &found);
    double error[2];
    for (int i = 0; i < 2; i++) {
        float *got = simulated_answer(*state, &found, maxima, i ? 4 : 8, &count);
        error[i] = relative_error(got, want, count);
        sdg_free(got);
    }
    print_message("NMSE at 8 bits %.2e, at 4 bits %.2e\n", error[0], error[1]);
    assert_true(error[0] < 0.02);
    assert_true(error[1] > 10 * error[0]);
    sdg_free(maxima);
    sdg_free(want);
    sdg_sites_clear(&found);
    sdg_program_destroy(&program);
    sdg_graph_destroy(&plain);
}

static void wrong_bits_are_refused(void **state)
{
    struct sdg_graph *graph = step_graph(*state);
    assert_int_equal(sdg_graph_simulate(graph, 1), SDG_ERROR_USAGE);
    assert_int_equal(sdg_graph_simulate(graph, 9), SDG_ERROR_USAGE);
    sdg_graph_destroy(&graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites),
        cmocka_unit_test(observing_changes_nothing),
        cmocka_unit_test(simulated_site_equals_quantized_by_hand),
        cmocka_unit_test(fewer_bits_lose_more),
        cmocka_unit_test(wrong_bits_are_refused),
    };
    return cmocka_run_group_tests_name("quant_rewrites", tests, open_model, close_model);
}
