// graph/reverse.c and the operations it is made of. Every rule against differences of the loss in float64, taken one
// element of one leaf at a time (tests/support/float64.h); whole blocks against torch
// (tests/goldens/gradients/make.py).
#define _GNU_SOURCE
#include "backend/backend.h"
#include "base/memory.h"
#include "graph/modules.h"
#include "graph/reverse.h"
#include "mamba/mamba.h"
#include "tests/support/float64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static char last_message[512];

static void on_message(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    if (level == SDG_LOG_ERROR)
        snprintf(last_message, sizeof last_message, "%s", message);
}

static const struct sdg_log test_log = {.fn = on_message, .level = SDG_LOG_INFO};

static struct sdg_graph *new_graph(void)
{
    struct sdg_graph *g;
    last_message[0] = 0;
    assert_int_equal(sdg_graph_create(&test_log, &g), SDG_OK);
    return g;
}

// ---- leaves and their content ----

enum { MOST = 32 };

// What a graph reads, by value; `of` are the leaves whose gradients are asked for.
struct leaves {
    float *content[512]; // by value
    sdg_value of[MOST];
    size_t count;
    uint64_t random;
};

static double gaussian(struct leaves *l)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        l->random = l->random * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(l->random >> 40) / (1 << 24);
    }
    return sum;
}

static sdg_value leaf(struct sdg_graph *g, struct leaves *l, sdg_value v, double scale, double shift)
{
    assert_true(v && v < 512);
    const int64_t count = sdg_value_elements(&g->values[v]);
    l->content[v] = calloc((size_t)count, sizeof(float));
    assert_non_null(l->content[v]);
    for (int64_t i = 0; i < count; i++)
        l->content[v][i] = (float)(gaussian(l) * scale + shift);
    l->of[l->count++] = v;
    return v;
}

static sdg_value input(struct sdg_graph *g, struct leaves *l, const char *name, int64_t n, int64_t h, int64_t w,
                       int64_t c)
{
    return leaf(g, l, sdg_graph_input(g, name, n, h, w, c), 1, 0);
}

static sdg_value matrix(struct sdg_graph *g, struct leaves *l, int64_t rows, int64_t columns, const char *name)
{
    return leaf(g, l, sdg_graph_linear_weight(g, rows, columns, "%s", name), 0.7, 0);
}

static sdg_value vector(struct sdg_graph *g, struct leaves *l, int64_t count, const char *name, double shift)
{
    return leaf(g, l, sdg_graph_vector_weight(g, count, "%s", name), 0.5, shift);
}

// Scales around `scale` and this zero point.
static void fill_intervals(const struct sdg_graph *g, struct leaves *l, sdg_value v, double scale, float zero)
{
    for (int64_t i = 0; i < sdg_value_elements(&g->values[v]); i += 2) {
        l->content[v][i] = (float)(scale * (1 + 0.2 * tanh(gaussian(l))));
        l->content[v][i + 1] = zero;
    }
}

static void free_leaves(struct leaves *l)
{
    for (size_t i = 0; i < sizeof l->content / sizeof *l->content; i++)
        free(l->content[i]);
    memset(l, 0, sizeof *l);
}

// ---- running ----

static struct sdg_tensors *write_weights(const struct sdg_graph *g, const struct leaves *l)
{
    struct sdg_tensor tensors[MOST];
    size_t count = 0;
    for (sdg_value v = 1; v < g->value_count && v < 512; v++) {
        const struct sdg_value_info *info = &g->values[v];
        if (info->kind != SDG_VALUE_WEIGHT)
            continue;
        assert_true(count < MOST);
        tensors[count] = (struct sdg_tensor){.name = info->name,
                                             .dtype = SDG_F32,
                                             .rank = info->rank,
                                             .data = l->content[v],
                                             .bytes = (size_t)sdg_value_elements(info) * sizeof(float)};
        memcpy(tensors[count++].dims, info->dims, sizeof info->dims);
    }
    if (!count)
        return NULL;
    struct sdg_tensors *file;
    char path[] = "/tmp/sdg-gradients-XXXXXX";
    const int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    assert_int_equal(sdg_tensors_write(&test_log, path, tensors, count, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(&test_log, path, &file), SDG_OK);
    unlink(path);
    return file;
}

static void write_leaves(struct sdg_program *program, const struct leaves *l)
{
    const struct sdg_graph *g = sdg_program_graph(program);
    for (sdg_value v = 1; v < g->value_count && v < 512; v++) {
        const struct sdg_value_info *info = &g->values[v];
        if (l->content[v] && info->kind != SDG_VALUE_WEIGHT)
            assert_int_equal(sdg_program_write(program, info->name, l->content[v], (size_t)sdg_value_elements(info)),
                             SDG_OK);
    }
}

// d loss / d leaf by central differences, four points: the error is of the order of step^4.
static double difference(struct float64 *f, size_t operations, sdg_value loss, double *element)
{
    const double at = *element, step = 1e-3 * fmax(fabs(at), 0.1);
    double sum = 0;
    for (int i = -2; i <= 2; i++) {
        static const double weights[] = {1, -8, 0, 8, -1};
        *element = at + i * step;
        if (i)
            f64_run(f, operations);
        sum += i ? weights[i + 2] * f->data[loss][0] : 0;
    }
    *element = at;
    return sum / (12 * step);
}

static void fill_float64(struct float64 *f, const struct leaves *l)
{
    for (sdg_value v = 1; v < f->graph->value_count && v < 512; v++)
        for (int64_t i = 0; l->content[v] && i < f64_count(f, v); i++)
            f->data[v][i] = l->content[v][i];
}

static double nmse(const float *got, const double *expected, size_t count)
{
    double error = 0, energy = 0;
    for (size_t i = 0; i < count; i++) {
        error += pow(got[i] - expected[i], 2);
        energy += expected[i] * expected[i];
    }
    return energy > 0 ? error / energy : error;
}

// The gradient that the program has computed, of leaf v.
static float *read_gradient(struct sdg_program *program, const struct sdg_graph *g, sdg_value v, size_t count)
{
    char name[256];
    float *got = calloc(count, sizeof *got);
    assert_non_null(got);
    snprintf(name, sizeof name, "%s.gradient", g->values[v].name);
    assert_int_equal(sdg_program_read(program, name, got, count), SDG_OK);
    return got;
}

static void compare_leaf(struct sdg_program *program, const struct sdg_graph *g, sdg_value v, const double *expected,
                         const char *backend, double bound)
{
    const struct sdg_value_info *info = &g->values[v];
    const size_t count = (size_t)(sdg_value_elements(info) / (info->kind == SDG_VALUE_TABLE ? g->rows : 1));
    float *got = read_gradient(program, g, v, count);
    const double error = nmse(got, expected, count);
    if (!(error <= bound)) {
        for (size_t i = 0; i < count && i < 12; i++)
            print_error("  %zu: %.9g, should be %.9g\n", i, got[i], expected[i]);
        fail_msg("%s: gradient of %s: NMSE %.3g", backend, info->name, error);
    }
    free(got);
}

static const char *const backends[] = {"reference", "cpu"};

// expected[i]: the gradient of leaf l->of[i], of a table its row `row`.
static void run_and_compare(struct sdg_graph *g, const struct leaves *l, double *const *expected, int64_t row,
                            const double bounds[2])
{
    struct sdg_tensors *file = write_weights(g, l);
    for (int b = 0; b < 2; b++) {
        struct sdg_backend *backend;
        struct sdg_program *program;
        assert_int_equal(
            sdg_backend_create(&test_log, backends[b], &(struct sdg_backend_params){.threads = 2}, &backend), SDG_OK);
        if (sdg_program_create(backend, g, &(struct sdg_program_params){.weights = file}, &program) != SDG_OK)
            fail_msg("%s: %s", backends[b], last_message);
        write_leaves(program, l);
        assert_int_equal(sdg_program_run(program, row), SDG_OK);
        for (size_t i = 0; i < l->count; i++)
            compare_leaf(program, g, l->of[i], expected[i], backends[b], bounds[b]);
        sdg_program_destroy(&program);
        sdg_backend_destroy(&backend);
    }
    sdg_tensors_destroy(&file);
}

// Reverses the graph and compares the gradients of all leaves with differences of `loss`. Releases everything.
static void check(struct sdg_graph *g, struct leaves *l, sdg_value loss)
{
    static const double bounds[] = {1e-10, 1e-10};
    struct float64 f;
    double *expected[MOST];
    if (sdg_graph_check(g) != SDG_OK)
        fail_msg("%s", last_message);
    const size_t operations = g->op_count;
    f64_create(&f, g);
    fill_float64(&f, l);
    f.record = true;
    f64_run(&f, operations);
    f.record = false;
    for (size_t i = 0; i < l->count; i++) {
        const int64_t count = f64_count(&f, l->of[i]);
        expected[i] = f64_room((size_t)count);
        for (int64_t k = 0; k < count; k++)
            expected[i][k] = difference(&f, operations, loss, &f.data[l->of[i]][k]);
    }
    for (size_t i = 0; i < l->count; i++) // the zero point of an interval is no number that is learned
        for (size_t k = 0; k < operations; k++)
            if (g->ops[k].kind == SDG_OP_FAKE_QUANTIZE && g->ops[k].in[1] == l->of[i])
                for (int64_t z = 1; z < f64_count(&f, l->of[i]); z += 2)
                    expected[i][z] = 0;
    f64_destroy(&f);
    if (sdg_graph_reverse(g, loss, l->of, l->count, NULL) != SDG_OK)
        fail_msg("%s", last_message);
    run_and_compare(g, l, expected, 0, bounds);
    for (size_t i = 0; i < l->count; i++)
        free(expected[i]);
    free_leaves(l);
    sdg_graph_destroy(&g);
}

// A loss whose derivative with respect to x differs from element to element: the sum of x times something.
static sdg_value weighted_sum(struct sdg_graph *g, struct leaves *l, sdg_value x)
{
    assert_true(x);
    int64_t d[4];
    memcpy(d, g->values[x].dims, sizeof d);
    const sdg_value weights = input(g, l, "weights of the loss", d[0], d[1], d[2], d[3]);
    return sdg_graph_sum(g, "loss", sdg_graph_binary(g, "weigh", SDG_BINARY_MUL, x, weights),
                         (struct sdg_axes){true, true, true});
}

// ---- the rules ----

static void linear(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct leaves l = {.random = 1};
        struct sdg_graph *g = new_graph();
        struct sdg_epilogue e = {.activation = variant == 1 ? SDG_UNARY_SILU : SDG_UNARY_NONE};
        if (variant) {
            e.bias = vector(g, &l, 7, "bias", 0);
            e.table = leaf(g, &l, sdg_graph_table(g, "table", 1, variant == 1 ? 1 : 2, 7), 1, 0);
            e.residual = input(g, &l, "residual", 2, 3, 2, 7);
        }
        const sdg_value x = input(g, &l, "x", 2, 3, 2, 5);
        check(g, &l, weighted_sum(g, &l, sdg_graph_linear(g, "linear", x, matrix(g, &l, 7, 5, "w"), e)));
    }
}

static void matmul(void **state)
{
    (void)state;
    for (int transposed = 0; transposed < 4; transposed++) {
        struct leaves l = {.random = 2};
        struct sdg_graph *g = new_graph();
        const bool ta = transposed & 1, tb = transposed & 2;
        const sdg_value a = ta ? input(g, &l, "a", 1, 1, 5, 6) : input(g, &l, "a", 2, 3, 1, 5),
                        b = tb ? input(g, &l, "b", 1, 2, 2, 5) : input(g, &l, "b", 1, 5, 1, 4);
        check(g, &l, weighted_sum(g, &l, sdg_graph_matmul(g, "matmul", a, b, ta, tb)));
    }
}

// A value that is read twice, and weights that are read as factors by others.
static void low_rank(void **state)
{
    (void)state;
    struct leaves l = {.random = 3};
    struct sdg_graph *g = new_graph();
    const sdg_value x = input(g, &l, "x", 2, 1, 4, 6), w = matrix(g, &l, 5, 6, "w"),
                    down = input(g, &l, "down", 1, 1, 2, 6), up = input(g, &l, "up", 1, 1, 5, 2),
                    thin = sdg_graph_matmul(g, "down", x, down, false, true),
                    added = sdg_graph_matmul(g, "up", thin, up, false, true),
                    y = sdg_graph_linear(g, "linear", x, w, (struct sdg_epilogue){.residual = added});
    check(g, &l, sdg_graph_square_loss(g, "loss", y, input(g, &l, "target", 2, 1, 4, 5)));
}

static void unary(void **state)
{
    (void)state;
    for (enum sdg_unary function = SDG_UNARY_SILU; function <= SDG_UNARY_RECIPROCAL; function++) {
        struct leaves l = {.random = 4};
        struct sdg_graph *g = new_graph();
        const bool positive = function == SDG_UNARY_SQRT || function == SDG_UNARY_RECIPROCAL;
        sdg_value x = input(g, &l, "x", 2, 3, 2, 5);
        for (int i = 0; i < 60 && positive; i++)
            l.content[x][i] = 0.3f + fabsf(l.content[x][i]);
        for (int i = 0; i < 60 && function == SDG_UNARY_RELU; i++) // away from the kink
            l.content[x][i] += l.content[x][i] < 0 ? -0.3f : 0.3f;
        const sdg_value y = function == SDG_UNARY_AFFINE ? sdg_graph_affine(g, "affine", x, -0.75f, 2)
                                                         : sdg_graph_unary(g, "unary", x, function);
        check(g, &l, weighted_sum(g, &l, y));
    }
}

static void binary(void **state)
{
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        struct leaves l = {.random = 5};
        struct sdg_graph *g = new_graph();
        const sdg_value x = input(g, &l, "x", 2, 3, 2, 5),
                        y = input(g, &l, "y", variant & 1 ? 1 : 2, variant & 2 ? 1 : 3, variant & 2 ? 1 : 2, 5);
        check(g, &l,
              weighted_sum(g, &l, sdg_graph_binary(g, "binary", variant & 4 ? SDG_BINARY_MUL : SDG_BINARY_ADD, x, y)));
    }
}

static void twice(void **state)
{
    (void)state;
    struct leaves l = {.random = 6};
    struct sdg_graph *g = new_graph();
    const sdg_value x = input(g, &l, "x", 1, 2, 2, 3), square = sdg_graph_binary(g, "square", SDG_BINARY_MUL, x, x),
                    cube = sdg_graph_binary(g, "cube", SDG_BINARY_MUL, square, x);
    check(g, &l, weighted_sum(g, &l, sdg_graph_binary(g, "sum", SDG_BINARY_ADD, cube, square)));
}

static void sums(void **state)
{
    (void)state;
    for (int axes = 1; axes < 8; axes++) {
        struct leaves l = {.random = 7};
        struct sdg_graph *g = new_graph();
        const sdg_value x = input(g, &l, "x", 2, 3, 2, 5),
                        y = sdg_graph_sum(g, "sum", x, (struct sdg_axes){axes & 1, axes & 2, axes & 4}),
                        back = sdg_graph_broadcast(g, "broadcast", y, 2, 3, 2, 5);
        check(g, &l, weighted_sum(g, &l, sdg_graph_binary(g, "mul", SDG_BINARY_MUL, back, x)));
    }
}

static void channels(void **state)
{
    (void)state;
    struct leaves l = {.random = 8};
    struct sdg_graph *g = new_graph();
    const sdg_value x = input(g, &l, "x", 2, 1, 3, 7), y = input(g, &l, "y", 2, 1, 3, 4),
                    a = sdg_graph_slice(g, "a", x, 2, 3), b = sdg_graph_slice(g, "b", x, 0, 4),
                    joined = sdg_graph_concat(g, "joined", sdg_graph_concat(g, "ab", a, b), y),
                    padded = sdg_graph_pad(g, "padded", joined, 2, 14);
    check(g, &l, weighted_sum(g, &l, padded));
}

static void geglu(void **state)
{
    (void)state;
    struct leaves l = {.random = 9};
    struct sdg_graph *g = new_graph();
    check(g, &l, weighted_sum(g, &l, sdg_graph_geglu(g, "geglu", input(g, &l, "x", 2, 3, 1, 10))));
}

static void layer_norm(void **state)
{
    (void)state;
    struct leaves l = {.random = 10};
    struct sdg_graph *g = new_graph();
    const sdg_value x = input(g, &l, "x", 2, 3, 1, 9), gamma = vector(g, &l, 9, "gamma", 1),
                    beta = vector(g, &l, 9, "beta", 0);
    check(g, &l, weighted_sum(g, &l, sdg_graph_layer_norm(g, "norm", x, gamma, beta, 1e-5f)));
}

static void conv2d(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct leaves l = {.random = 19};
        struct sdg_graph *g = new_graph();
        static const struct sdg_conv_params params[] = {{1, 1, 1, 1, 1}, {2, 0, 1, 1, 0}, {1, 0, 0, 0, 0}};
        const int kernel = variant == 2 ? 1 : 3;
        struct sdg_epilogue e = {.activation = variant ? SDG_UNARY_NONE : SDG_UNARY_SILU};
        if (!variant) {
            e.bias = vector(g, &l, 4, "bias", 0);
            e.table = leaf(g, &l, sdg_graph_table(g, "table", 1, 2, 4), 1, 0);
            e.residual = input(g, &l, "residual", 2, 5, 4, 4);
        }
        const sdg_value x = input(g, &l, "x", 2, 5, 4, 3),
                        w = leaf(g, &l, sdg_graph_conv_weight(g, 4, 3, kernel, kernel, "w"), 0.5, 0);
        check(g, &l, weighted_sum(g, &l, sdg_graph_conv2d(g, "conv", x, w, params[variant], e)));
    }
}

static void group_norm(void **state)
{
    (void)state;
    for (int two = 0; two < 2; two++) {
        struct leaves l = {.random = 20};
        struct sdg_graph *g = new_graph();
        const sdg_value x = input(g, &l, "x", 2, 3, 2, two ? 3 : 8), x2 = two ? input(g, &l, "x2", 2, 3, 2, 5) : 0,
                        joined = two ? sdg_graph_concat(g, "joined", x, x2) : x, gamma = vector(g, &l, 8, "gamma", 1),
                        beta = vector(g, &l, 8, "beta", 0);
        sdg_value y = sdg_graph_group_norm(g, "norm", joined, gamma, beta, 4, 1e-5f, SDG_UNARY_SILU);
        const sdg_value loss = weighted_sum(g, &l, y);
        sdg_graph_output(g, "loss", loss);
        if (two) // fused: the norm reads both
            assert_int_equal(sdg_graph_fuse(g), SDG_OK);
        check(g, &l, loss);
    }
}

static void attention(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct leaves l = {.random = 11};
        struct sdg_graph *g = new_graph();
        const int64_t keys = causal ? 4 : 5;
        const sdg_value q = input(g, &l, "q", 2, 2, 2, 6), k = input(g, &l, "k", 2, 1, keys, 6),
                        v = input(g, &l, "v", 2, 1, keys, 4);
        check(g, &l, weighted_sum(g, &l, sdg_graph_attention(g, "attention", q, k, v, 2, 0.6f, causal)));
    }
}

static void conv1d_causal(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct leaves l = {.random = 12};
        struct sdg_graph *g = new_graph();
        const bool backward = variant & 1, more = variant & 2;
        const sdg_value x = input(g, &l, "x", 2, 3, 2, more ? 9 : 5),
                        weight = leaf(g, &l, sdg_graph_conv1d_weight(g, 5, more ? 4 : 8, "w"), 1, 0),
                        bias = more ? vector(g, &l, 5, "bias", 0) : 0;
        check(g, &l,
              weighted_sum(g, &l,
                           sdg_graph_conv1d_causal(g, "conv1d", x, more ? 3 : 0, weight, bias,
                                                   more ? SDG_UNARY_SILU : SDG_UNARY_NONE, backward)));
    }
}

static void selective_scan(void **state)
{
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        struct leaves l = {.random = 13};
        struct sdg_graph *g = new_graph();
        const bool backward = variant & 1, gate = variant & 2, add = variant & 4;
        const int64_t channels = variant == 7 ? 19 : 5, states = 3;
        const struct sdg_scan_operands in = {
            .x = input(g, &l, "x", 2, 2, 3, channels),
            .delta = input(g, &l, "delta", 2, 2, 3, channels),
            .bc = input(g, &l, "bc", 2, 2, 3, 2 + 2 * states),
            .a_log = leaf(g, &l, sdg_graph_matrix_weight(g, channels, states, "a_log"), 0.7, 0),
            .d = vector(g, &l, channels, "d", 1),
            .delta_bias = add ? vector(g, &l, channels, "delta_bias", -1) : 0,
            .gate = gate ? input(g, &l, "gate", 2, 2, 3, channels + 4) : 0,
            .add = add ? input(g, &l, "add", 2, 2, 3, channels) : 0,
        };
        const struct sdg_scan_params params = {.b_start = variant & 1 ? 2 + states : 2,
                                               .c_start = variant & 1 ? 2 : 2 + states,
                                               .gate_start = gate ? 3 : 0,
                                               .scale = 0.5f,
                                               .backward = backward};
        check(g, &l, weighted_sum(g, &l, sdg_graph_selective_scan(g, "scan", in, params)));
    }
}

// Per tensor, per token of a table, per row of a weight that is an input.
static void fake_quantize(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct leaves l = {.random = 14};
        struct sdg_graph *g = new_graph();
        const bool unsigned_codes = variant & 1, table = variant & 2;
        const sdg_value x = input(g, &l, "x", table ? 3 : 1, table ? 2 : 1, 3, 8),
                        interval = table ? leaf(g, &l, sdg_graph_interval_table(g, "interval", 1, 6), 1, 0)
                                         : input(g, &l, "interval", 1, 1, unsigned_codes ? 1 : 3, 2);
        fill_intervals(g, &l, interval, 0.3, unsigned_codes ? 6 : 0);
        check(g, &l,
              weighted_sum(
                  g, &l,
                  sdg_graph_fake_quantize(g, "fake", x, interval, unsigned_codes ? 0 : -4, unsigned_codes ? 9 : 3)));
    }
}

static void smoothing(void **state)
{
    (void)state;
    struct leaves l = {.random = 16};
    struct sdg_graph *g = new_graph();
    const sdg_value x = input(g, &l, "x", 2, 1, 3, 8), interval = input(g, &l, "interval", 1, 1, 3, 2),
                    sigma = vector(g, &l, 8, "sigma", 2);
    fill_intervals(g, &l, interval, 0.5, 5);
    const sdg_value y = sdg_graph_fake_quantize(g, "fake", x, interval, 0, 12);
    assert_int_equal(sdg_graph_smooth(g, g->op_count - 1, sigma), SDG_OK);
    check(g, &l, weighted_sum(g, &l, y));
}

static void hadamard(void **state)
{
    (void)state;
    struct leaves l = {.random = 17};
    struct sdg_graph *g = new_graph();
    check(g, &l, weighted_sum(g, &l, sdg_graph_hadamard(g, "hadamard", input(g, &l, "x", 2, 1, 3, 12), 4)));
}

static void losses(void **state)
{
    (void)state;
    static sdg_value (*const kinds[])(struct sdg_graph *, const char *, sdg_value, sdg_value) = {
        sdg_graph_square_loss, sdg_graph_cosine_loss, sdg_graph_relative_loss};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct leaves l = {.random = 15};
        struct sdg_graph *g = new_graph();
        const sdg_value x = input(g, &l, "x", 2, 2, 2, 5), y = input(g, &l, "y", 2, 2, 2, 5);
        check(g, &l, kinds[i](g, "loss", x, y));
    }
}

// ---- whole blocks, against torch ----

static float *golden(const struct sdg_tensors *file, const char *name, const char *suffix, size_t count)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s", name, suffix);
    const struct sdg_tensor *t = sdg_tensors_find(file, whole);
    if (!t || t->dtype != SDG_F32 || t->bytes != count * sizeof(float))
        fail_msg("the golden has no %s of %zu numbers", whole, count);
    float *values = malloc(t->bytes);
    assert_non_null(values);
    return memcpy(values, t->data, t->bytes);
}

// All inputs and weights of the graph are leaves of the golden, which holds what autograd says of them.
static void check_golden(struct sdg_graph *g, sdg_value loss, const char *name, double bound)
{
    char path[512];
    struct leaves l = {0};
    struct sdg_tensors *file;
    double *expected[MOST];
    snprintf(path, sizeof path, "%s/tests/goldens/gradients/%s.safetensors", SDG_SOURCE_DIR, name);
    if (sdg_graph_check(g) != SDG_OK)
        fail_msg("%s", last_message);
    assert_int_equal(sdg_tensors_open(&test_log, path, &file), SDG_OK);
    for (sdg_value v = 1; v < g->value_count; v++) {
        const struct sdg_value_info *info = &g->values[v];
        if (info->kind != SDG_VALUE_INPUT && info->kind != SDG_VALUE_WEIGHT)
            continue;
        const size_t count = (size_t)sdg_value_elements(info);
        assert_true(v < 512 && l.count < MOST);
        l.content[v] = golden(file, info->name, "", count);
        float *gradient = golden(file, info->name, ".gradient", count);
        expected[l.count] = f64_room(count);
        for (size_t i = 0; i < count; i++)
            expected[l.count][i] = gradient[i];
        free(gradient);
        l.of[l.count++] = v;
    }
    sdg_tensors_destroy(&file);
    assert_true(l.count > 5);
    if (sdg_graph_reverse(g, loss, l.of, l.count, NULL) != SDG_OK)
        fail_msg("%s", last_message);
    run_and_compare(g, &l, expected, 0, (const double[2]){bound, bound});
    for (size_t i = 0; i < l.count; i++)
        free(expected[i]);
    free_leaves(&l);
    sdg_graph_destroy(&g);
}

static void mamba_block(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 2, 3, 6), target = sdg_graph_input(g, "target", 2, 2, 3, 6);
    const struct sdg_mamba_config config = {
        .d_state = 3, .d_conv = 4, .expand = 2, .dt_rank = 2, .bidirectional = true, .halve = true};
    const sdg_value y = sdg_mamba_block(g, "m", x, 0, &config);
    check_golden(g, sdg_graph_cosine_loss(g, "loss", y, target), "mamba", 1e-10);
}

enum { CHANNELS = 8, HEADS = 2 };

static sdg_value norm(struct sdg_graph *g, const char *name, sdg_value x)
{
    return sdg_module_layer_norm(g, name, x, 1e-5f);
}

static sdg_value attend(struct sdg_graph *g, const char *name, sdg_value x, sdg_value to, sdg_value residual)
{
    sdg_value v[3];
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s.to_%c", name, "qkv"[i]);
        v[i] = sdg_module_linear(g, path, i ? to : x, CHANNELS, false, (struct sdg_epilogue){0});
    }
    char path[64];
    snprintf(path, sizeof path, "%s.to_out.0", name);
    const sdg_value y = sdg_graph_attention(g, name, v[0], v[1], v[2], HEADS, 0.5f, false);
    return sdg_module_linear(g, path, y, CHANNELS, true, (struct sdg_epilogue){.residual = residual});
}

static void transformer_block(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 2, 2, 3, CHANNELS), context = sdg_graph_input(g, "context", 2, 1, 4, 5),
                    target = sdg_graph_input(g, "target", 2, 2, 3, CHANNELS);
    sdg_value normed = norm(g, "norm1", x), y = attend(g, "attn1", normed, normed, x);
    y = attend(g, "attn2", norm(g, "norm2", y), context, y);
    sdg_value wide =
        sdg_module_linear(g, "ff.net.0.proj", norm(g, "norm3", y), 6 * CHANNELS, true, (struct sdg_epilogue){0});
    y = sdg_module_linear(g, "ff.net.2", sdg_graph_geglu(g, "ff.geglu", wide), CHANNELS, true,
                          (struct sdg_epilogue){.residual = y});
    check_golden(g, sdg_graph_square_loss(g, "loss", y, target), "transformer", 1e-10);
}

// A linear as it is learned: smoothing, steps of its weight's rows, steps of the tokens; weight and bias as well.
static void quantized_linear(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    const sdg_value x = sdg_graph_input(g, "x", 3, 1, 4, 6), sigma = sdg_graph_input(g, "sigma", 1, 1, 1, 6),
                    steps = sdg_graph_input(g, "steps", 1, 1, 4, 2),
                    weight_steps = sdg_graph_input(g, "weight.steps", 1, 1, 5, 2),
                    target = sdg_graph_input(g, "target", 3, 1, 4, 5);
    const sdg_value weight = sdg_graph_linear_weight(g, 5, 6, "weight"), bias = sdg_graph_vector_weight(g, 5, "bias"),
                    inverse = sdg_graph_unary(g, "inverse", sigma, SDG_UNARY_RECIPROCAL),
                    smooth = sdg_graph_binary(g, "smooth", SDG_BINARY_MUL, x, inverse),
                    rounded = sdg_graph_fake_quantize(g, "rounded", smooth, steps, 0, 7),
                    constant = sdg_graph_constant(g, "constant", weight),
                    wide = sdg_graph_binary(g, "wide", SDG_BINARY_MUL, constant, sigma),
                    codes = sdg_graph_fake_quantize(g, "codes", wide, weight_steps, -7, 7),
                    y = sdg_graph_linear(g, "linear", rounded, weight, (struct sdg_epilogue){.bias = bias});
    assert_int_equal(sdg_graph_use_matmul(g, g->op_count - 1, codes), SDG_OK);
    assert_int_equal(sdg_graph_free_weight(g, bias), SDG_OK);
    check_golden(g, sdg_graph_cosine_loss(g, "loss", y, target), "quantized", 1e-10);
}

// ---- learning ----

static double loss_after(struct sdg_program *program, float *gradient, size_t count, const char *name)
{
    float loss;
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    assert_int_equal(sdg_program_read(program, "loss", &loss, 1), SDG_OK);
    assert_int_equal(sdg_program_read(program, name, gradient, count), SDG_OK);
    return loss;
}

// A weight that became an input learns what another has: steps along its gradient, written between runs.
static void descent(void **state)
{
    (void)state;
    enum { WEIGHTS = 5 * 6, BIASES = 5, STEPS = 1000 };
    struct leaves l = {.random = 18};
    struct sdg_graph *g = new_graph();
    const sdg_value x = input(g, &l, "x", 1, 1, 40, 6), weight = matrix(g, &l, 5, 6, "w"),
                    bias = vector(g, &l, 5, "b", 0), teacher = matrix(g, &l, 5, 6, "teacher");
    const struct sdg_epilogue silu = {.activation = SDG_UNARY_SILU},
                              with_bias = {.bias = bias, .activation = SDG_UNARY_SILU};
    const sdg_value target = sdg_graph_linear(g, "teacher", x, teacher, silu),
                    y = sdg_graph_linear(g, "student", x, weight, with_bias);
    const sdg_value of[] = {weight, bias}, loss = sdg_graph_square_loss(g, "loss", y, target);
    sdg_graph_output(g, "loss", loss);
    assert_int_equal(sdg_graph_free_weight(g, weight), SDG_OK);
    assert_int_equal(sdg_graph_free_weight(g, bias), SDG_OK);
    assert_int_equal(sdg_graph_reverse(g, loss, of, 2, NULL), SDG_OK);
    struct sdg_tensors *file = write_weights(g, &l);
    struct sdg_backend *backend;
    struct sdg_program *program;
    assert_int_equal(sdg_backend_create(&test_log, "cpu", &(struct sdg_backend_params){0}, &backend), SDG_OK);
    assert_int_equal(sdg_program_create(backend, g, &(struct sdg_program_params){.weights = file}, &program), SDG_OK);
    write_leaves(program, &l);
    float weights[WEIGHTS], biases[BIASES];
    const double first = loss_after(program, weights, WEIGHTS, "w.gradient");
    for (int i = 0; i < STEPS; i++) {
        loss_after(program, weights, WEIGHTS, "w.gradient");
        assert_int_equal(sdg_program_read(program, "b.gradient", biases, BIASES), SDG_OK);
        for (int k = 0; k < WEIGHTS; k++)
            l.content[weight][k] -= 4 * weights[k];
        for (int k = 0; k < BIASES; k++)
            l.content[bias][k] -= 4 * biases[k];
        write_leaves(program, &l);
    }
    const double last = loss_after(program, weights, WEIGHTS, "w.gradient");
    assert_true(first > 0.01 && last < 0.01 * first);
    sdg_program_destroy(&program);
    sdg_backend_destroy(&backend);
    sdg_tensors_destroy(&file);
    free_leaves(&l);
    sdg_graph_destroy(&g);
}

// ---- what cannot be ----

static void expect_refusal(struct sdg_graph *g, enum sdg_result result, const char *text)
{
    assert_int_equal(result, SDG_ERROR_INPUT);
    if (!strstr(last_message, text))
        fail_msg("\"%s\" does not say \"%s\"", last_message, text);
    sdg_graph_destroy(&g);
}

static sdg_value total(struct sdg_graph *g, sdg_value x)
{
    return sdg_graph_sum(g, "loss", x, (struct sdg_axes){true, true, true});
}

static void refusals(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 4, 4, 4), other = sdg_graph_input(g, "other", 1, 1, 1, 4);
    expect_refusal(g, sdg_graph_reverse(g, total(g, x), &other, 1, NULL), "the loss does not depend on other");

    g = new_graph();
    x = sdg_graph_input(g, "x", 1, 4, 4, 4);
    expect_refusal(g, sdg_graph_reverse(g, total(g, sdg_graph_upsample_nearest(g, "up", x, 8, 8)), &x, 1, NULL),
                   "up (upsample_nearest): there is no rule");

    g = new_graph();
    x = sdg_graph_input(g, "x", 1, 4, 4, 4);
    expect_refusal(g, sdg_graph_reverse(g, sdg_graph_affine(g, "y", x, 2, 0), &x, 1, NULL), "a loss is");

    g = new_graph();
    x = sdg_graph_input(g, "x", 1, 4, 4, 4);
    const sdg_value y = sdg_graph_affine(g, "y", x, 2, 0);
    expect_refusal(g, sdg_graph_reverse(g, total(g, y), &y, 1, NULL), "with respect to");

    g = new_graph();
    x = sdg_graph_input(g, "x", 1, 4, 4, 4);
    const sdg_value interval = sdg_graph_interval_table(g, "interval", 1, 1),
                    codes = sdg_graph_quantize(g, "codes", x, interval, -128, 127),
                    scale = sdg_graph_vector_weight(g, 3, "s");
    const sdg_value linear =
        sdg_graph_linear(g, "linear", x, sdg_graph_linear_weight(g, 3, 4, "w"), (struct sdg_epilogue){0});
    assert_int_equal(sdg_graph_use_codes(g, 1, codes, interval, scale, 8), SDG_OK);
    expect_refusal(g, sdg_graph_reverse(g, total(g, linear), &x, 1, NULL), "linear (linear): works on integer codes");

    g = new_graph();
    x = sdg_graph_input(g, "x", 1, 4, 4, 4);
    const sdg_value gamma = sdg_graph_vector_weight(g, 4, "gamma"), beta = sdg_graph_vector_weight(g, 4, "beta");
    sdg_graph_layer_norm(g, "norm", x, gamma, beta, 1e-5f);
    expect_refusal(g, sdg_graph_free_weight(g, gamma), "norm (layer_norm): weight gamma cannot become an input");

    g = new_graph();
    x = sdg_graph_input(g, "x", 1, 4, 4, 4);
    sdg_graph_linear(g, "linear", x, sdg_graph_linear_weight(g, 3, 4, "w"), (struct sdg_epilogue){0});
    expect_refusal(g, sdg_graph_use_matmul(g, 0, x), "linear: a weight that is computed must be [1,1,3,4]");
}

// Shapes that builders of operations for training turn down.
static void mistakes(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct sdg_graph *g = new_graph();
        const sdg_value x = sdg_graph_input(g, "x", 2, 3, 2, 5), y = sdg_graph_input(g, "y", 1, 1, 4, 6),
                        steps = sdg_graph_input(g, "steps", 1, 1, 5, 2), codes = sdg_graph_input(g, "row", 1, 1, 1, 1);
        static const char *const said[] = {
            "do not have the same inner length",
            "cannot be broadcast to",
            "does not fit into channels",
            "is not [1, 1, tokens or 1, 2]",
            "gradient",
            "no unary function",
            "is no weight",
            "neither 0 nor 1",
        };
        switch (i) {
        case 0: sdg_graph_matmul(g, "op", x, y, false, true); break;
        case 1: sdg_graph_broadcast(g, "op", x, 2, 3, 3, 5); break;
        case 2: sdg_graph_pad(g, "op", x, 2, 6); break;
        case 3: sdg_graph_fake_quantize(g, "op", x, steps, -128, 127); break;
        case 4: sdg_graph_unary_gradient(g, "op", x, y, SDG_UNARY_SILU); break;
        case 5: sdg_graph_unary_gradient(g, "op", x, x, SDG_UNARY_AFFINE); break;
        case 6: sdg_graph_constant(g, "op", x); break;
        default:
            sdg_graph_fake_quantize_gradient(g, "op", codes, sdg_graph_interval_table(g, "table", 1, 1), 0, 255, codes,
                                             2);
        }
        expect_refusal(g, sdg_graph_check(g), said[i]);
    }
}

// Each allocation of the rewrites fails once: a clear result, and nothing is lost or used after.
static void out_of_memory(void **state)
{
    (void)state;
    for (size_t failing = 1;; failing++) {
        struct sdg_graph *g = new_graph();
        const sdg_value x = sdg_graph_input(g, "x", 1, 1, 4, 6), target = sdg_graph_input(g, "target", 1, 1, 4, 6);
        const struct sdg_mamba_config config = {.d_state = 3, .d_conv = 4, .expand = 2, .bidirectional = true};
        const sdg_value loss = sdg_graph_cosine_loss(g, "loss", sdg_mamba_block(g, "m", x, 0, &config), target),
                        weight = sdg_graph_find_weight(g, "m.dt_proj.weight");
        assert_int_equal(sdg_graph_check(g), SDG_OK);
        sdg_test_fail_allocation(failing);
        enum sdg_result result = sdg_graph_free_weight(g, weight);
        if (result == SDG_OK)
            result = sdg_graph_reverse(g, loss, (const sdg_value[]){x, weight}, 2, NULL);
        const bool failed = sdg_test_fail_allocation(0) >= failing;
        assert_int_equal(result, failed ? SDG_ERROR_MEMORY : SDG_OK);
        sdg_graph_destroy(&g);
        if (!failed)
            break;
        assert_true(failing < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),
        cmocka_unit_test(matmul),
        cmocka_unit_test(low_rank),
        cmocka_unit_test(unary),
        cmocka_unit_test(binary),
        cmocka_unit_test(twice),
        cmocka_unit_test(sums),
        cmocka_unit_test(channels),
        cmocka_unit_test(geglu),
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(attention),
        cmocka_unit_test(conv2d),
        cmocka_unit_test(group_norm),
        cmocka_unit_test(conv1d_causal),
        cmocka_unit_test(selective_scan),
        cmocka_unit_test(fake_quantize),
        cmocka_unit_test(smoothing),
        cmocka_unit_test(hadamard),
        cmocka_unit_test(losses),
        cmocka_unit_test(mamba_block),
        cmocka_unit_test(transformer_block),
        cmocka_unit_test(quantized_linear),
        cmocka_unit_test(descent),
        cmocka_unit_test(refusals),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
