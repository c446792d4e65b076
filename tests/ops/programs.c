// Rules that hold for every program whatever its operations: wrong calls are refused with a result, memory that runs
// out at any point leaves nothing behind, tables can be written again, the lists of kernels and times are complete.
#include "tests/ops/check.h"

#include "backend/transfer.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2, H = 6, W = 5, C = 8, ROWS = 3, COUNT = N * H * W * C, VOCABULARY = 5 };

// Some operation of each kind of storage: packed weights, plain weights, scratch, table, ids.
static bool build(struct suite *s, struct fixture *f, const char *what)
{
    if (!begin(s, f, "programs(type=%s,%s)", type_name(s), what))
        return false;
    sdg_value x = input(f, "x", N, H, W, C, NORMAL_DATA), rows = table(f, "rows", ROWS, N, C);
    struct sdg_epilogue end = {.bias = vector_weight(f, C, 1, 0), .table = rows};
    sdg_value y =
        sdg_graph_conv2d(f->graph, "conv", x, conv_weight(f, C, C, 3, 3), (struct sdg_conv_params){1, 1, 1, 1, 1}, end);
    y = sdg_graph_group_norm(f->graph, "norm", y, vector_weight(f, C, 0.1f, 1), vector_weight(f, C, 0.1f, 0), 2, 1e-5f,
                             SDG_UNARY_SILU);
    y = sdg_graph_attention(f->graph, "attention", y, y, y, 2, 0.5f, false);
    sdg_graph_output(f->graph, "result",
                     sdg_graph_linear(f->graph, "linear", y, linear_weight(f, C, C), (struct sdg_epilogue){0}));
    // Token ids with three readers, the smallest table in the middle.
    sdg_value words = ids(f, "ids", 1, 4, VOCABULARY), places = linear_weight(f, 4, 3);
    static const int tables[] = {9, VOCABULARY, 7};
    static const char *const names[] = {"words 0", "words 1", "words 2"};
    for (int i = 0; i < 3; i++)
        sdg_graph_output(f->graph, names[i],
                         sdg_graph_embed(f->graph, names[i], words, linear_weight(f, tables[i], 3), places));
    s->cases++;
    if (sdg_graph_check(f->graph) == SDG_OK && write_weights(f))
        return true;
    note_failure(f, "the case cannot be built");
    release(f);
    return false;
}

static void expect(struct fixture *f, const char *what, enum sdg_result got, enum sdg_result wanted)
{
    if (got != wanted)
        note_failure(f, "%s gives result %d, should be %d", what, got, wanted);
}

static void check_calls(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    float data[COUNT] = {0};
    if (!build(s, &f, "wrong calls"))
        return;
    expect(&f, "creating", load(&f, s->tested, &p), SDG_OK);
    if (p) {
        expect(&f, "an output before the first run", sdg_program_read(p, "result", data, COUNT), SDG_ERROR_USAGE);
        expect(&f, "an unknown name to write", sdg_program_write(p, "y", data, COUNT), SDG_ERROR_USAGE);
        expect(&f, "an unknown name to read", sdg_program_read(p, "y", data, COUNT), SDG_ERROR_USAGE);
        expect(&f, "the name of a weight", sdg_program_write(p, f.weight[0].name, data, C * C), SDG_ERROR_USAGE);
        expect(&f, "no name", sdg_program_read(p, "", data, COUNT), SDG_ERROR_USAGE);
        expect(&f, "reading token ids", sdg_program_read(p, "ids", data, 4), SDG_ERROR_USAGE);
        expect(&f, "a short table", sdg_program_write(p, "rows", data, N * C), SDG_ERROR_USAGE);
        expect(&f, "a short input", sdg_program_write(p, "x", data, COUNT - 1), SDG_ERROR_USAGE);
        expect(&f, "a long output", sdg_program_read(p, "result", data, COUNT + 1), SDG_ERROR_USAGE);
        expect(&f, "writing an output", sdg_program_write(p, "result", data, COUNT), SDG_ERROR_USAGE);
        expect(&f, "row -1", sdg_program_run(p, -1), SDG_ERROR_USAGE);
        expect(&f, "a row too far", sdg_program_run(p, ROWS), SDG_ERROR_USAGE);
        expect(&f, "token ids below 0", sdg_program_write(p, "ids", (int32_t[]){0, 1, -1, 2}, 4), SDG_ERROR_INPUT);
        expect(&f, "token ids beyond every table", sdg_program_write(p, "ids", (int32_t[]){0, 9, 1, 2}, 4),
               SDG_ERROR_INPUT);
        expect(&f, "token ids beyond the smallest table",
               sdg_program_write(p, "ids", (int32_t[]){0, 1, 2, VOCABULARY}, 4), SDG_ERROR_INPUT);
        expect(&f, "the last token id", sdg_program_write(p, "ids", (int32_t[]){4, 4, 4, 4}, 4), SDG_OK);
        expect(&f, "the last row", sdg_program_run(p, ROWS - 1), SDG_OK);
        expect(&f, "its result", sdg_program_read(p, "result", data, COUNT), SDG_OK);
        expect(&f, "an input", sdg_program_read(p, "x", data, COUNT), SDG_OK);
        if (memcmp(data, f.input[2].values, sizeof data) != 0)
            note_failure(&f, "an input read back is not what was written: a refused call has changed it");
    }
    sdg_program_destroy(&p);
    release(&f);
}

static void check_weights(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    if (!build(s, &f, "wrong weights"))
        return;
    expect(&f, "no weights", sdg_program_create(s->tested, f.graph, &(struct sdg_program_params){.weights = NULL}, &p),
           SDG_ERROR_USAGE);
    sdg_value more = sdg_graph_linear_weight(f.graph, C + 1, C, "weight.1");
    sdg_graph_linear(f.graph, "misshapen", f.graph->ops[2].out, more, (struct sdg_epilogue){0});
    expect(&f, "a misshapen weight", load(&f, s->tested, &p), SDG_ERROR_INPUT);
    release(&f);
    if (!build(s, &f, "missing weight"))
        return;
    sdg_value missing = sdg_graph_linear_weight(f.graph, C, C, "not in the file");
    sdg_graph_linear(f.graph, "missing", f.graph->ops[2].out, missing, (struct sdg_epilogue){0});
    expect(&f, "a missing weight", load(&f, s->tested, &p), SDG_ERROR_INPUT);
    if (p)
        note_failure(&f, "a program was made all the same");
    sdg_program_destroy(&p);
    release(&f);
}

// Only planned: sizes are known without a file, but there is nothing to run.
static void check_plan(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    struct sdg_memory memory = {0};
    float data[COUNT];
    if (!build(s, &f, "plan only"))
        return;
    expect(&f, "planning", sdg_program_create(s->tested, f.graph, &(struct sdg_program_params){.plan_only = true}, &p),
           SDG_OK);
    if (p) {
        sdg_program_memory(p, &memory);
        size_t weights = (C * C * 9 + C * C) * sizeof(float), arena = 2 * COUNT * sizeof(float);
        if (memory.weights < weights || memory.arena < arena || memory.inputs < COUNT * sizeof(float) ||
            memory.total != memory.weights + memory.arena + memory.inputs + memory.scratch)
            note_failure(&f, "planned memory is too small: weights %zu, arena %zu, inputs %zu, total %zu",
                         memory.weights, memory.arena, memory.inputs, memory.total);
        expect(&f, "running a plan", sdg_program_run(p, 0), SDG_ERROR_USAGE);
        expect(&f, "writing to a plan", sdg_program_write(p, "x", f.input[2].values, COUNT), SDG_ERROR_USAGE);
        expect(&f, "reading from a plan", sdg_program_read(p, "result", data, COUNT), SDG_ERROR_USAGE);
        sdg_program_profile(p, true); // nothing to time, and no harm
    }
    sdg_program_destroy(&p);
    release(&f);
}

// Every allocation of creation fails once; what is left behind is the leak checker's business.
static void check_failing_allocations(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    if (!build(s, &f, "failing allocations"))
        return;
    sdg_test_fail_allocation(0);
    enum sdg_result result = load(&f, s->tested, &p);
    size_t allocations = sdg_test_fail_allocation(0);
    expect(&f, "creating", result, SDG_OK);
    sdg_program_destroy(&p);
    for (size_t n = 1; n <= allocations; n++) {
        sdg_test_fail_allocation(n);
        result = load(&f, s->tested, &p);
        sdg_test_fail_allocation(0);
        if (result != SDG_ERROR_MEMORY || p)
            note_failure(&f, "allocation %zu of %zu fails: result %d, should be %d", n, allocations, result,
                         SDG_ERROR_MEMORY);
        sdg_program_destroy(&p);
    }
    if (allocations < 5)
        note_failure(&f, "only %zu allocations were counted", allocations);
    release(&f);
}

static bool has_value(const struct sdg_graph *g, const char *name, enum sdg_value_kind kind, size_t elements)
{
    sdg_value v = sdg_graph_find(g, name);
    return v && g->values[v].kind == kind && (size_t)sdg_value_elements(&g->values[v]) == elements;
}

// A program tells what it reads and makes; its graph is its own.
static void check_graph(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    float data[COUNT];
    if (!build(s, &f, "graph"))
        return;
    expect(&f, "creating", load(&f, s->tested, &p), SDG_OK);
    if (p) {
        const struct sdg_graph *g = sdg_program_graph(p);
        double macs = sdg_graph_macs(f.graph);
        sdg_graph_destroy(&f.graph);
        if (!has_value(g, "x", SDG_VALUE_INPUT, COUNT) || !has_value(g, "rows", SDG_VALUE_TABLE, ROWS * N * C) ||
            !has_value(g, "ids", SDG_VALUE_INPUT, 4) || !has_value(g, "result", SDG_VALUE_ACTIVATION, COUNT))
            note_failure(&f, "the program's graph lacks an input, a table or an output");
        if (sdg_graph_macs(g) != macs)
            note_failure(&f, "the program's graph has %g multiply-accumulates, should be %g", sdg_graph_macs(g), macs);
        expect(&f, "running", sdg_program_run(p, 0), SDG_OK);
        expect(&f, "reading", sdg_program_read(p, "result", data, COUNT), SDG_OK);
    }
    sdg_program_destroy(&p);
    release(&f);
}

struct listing {
    const struct sdg_graph *graph;
    size_t count;
    int wrong;
    double seconds;
};

static void take_kernel(void *user, const char *op, const char *kernel)
{
    struct listing *l = user;
    l->wrong += l->count >= l->graph->op_count || strcmp(op, l->graph->ops[l->count].name) != 0 || !*kernel;
    l->count++;
}

static void take_time(void *user, size_t op_index, const char *op, const char *kernel, double seconds)
{
    struct listing *l = user;
    l->wrong += op_index != l->count || seconds < 0;
    l->seconds += seconds;
    take_kernel(user, op, kernel);
}

static void check_lists(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    if (!build(s, &f, "kernels and times"))
        return;
    expect(&f, "creating", load(&f, s->tested, &p), SDG_OK);
    if (p) {
        struct listing kernels = {.graph = f.graph}, times = {.graph = f.graph}, reset = {.graph = f.graph};
        sdg_program_describe(p, take_kernel, &kernels);
        sdg_program_profile(p, true);
        expect(&f, "running", sdg_program_run(p, 0), SDG_OK);
        sdg_program_times(p, take_time, &times);
        sdg_program_profile(p, true);
        sdg_program_times(p, take_time, &reset);
        if (kernels.count != f.graph->op_count || times.count != f.graph->op_count || kernels.wrong || times.wrong)
            note_failure(&f, "%zu kernels and %zu times of %zu operations, %d wrong", kernels.count, times.count,
                         f.graph->op_count, kernels.wrong + times.wrong);
        if (!(times.seconds > 0) || reset.seconds != 0)
            note_failure(&f, "%g s spent in a run, %g s after starting again", times.seconds, reset.seconds);
    }
    sdg_program_destroy(&p);
    release(&f);
}

// Rows differ, and a table written again counts from the next run on.
static void check_tables(struct suite *s)
{
    struct fixture f;
    struct sdg_program *p = NULL;
    static float first[COUNT], second[COUNT], third[COUNT];
    if (!build(s, &f, "tables"))
        return;
    expect(&f, "creating", load(&f, s->tested, &p), SDG_OK);
    if (p) {
        float *rows = f.input[3].values;
        bool good = sdg_program_run(p, 0) == SDG_OK && sdg_program_read(p, "result", first, COUNT) == SDG_OK &&
            sdg_program_run(p, 1) == SDG_OK && sdg_program_read(p, "result", second, COUNT) == SDG_OK;
        memmove(rows, rows + N * C, N * C * sizeof *rows); // row 0 is now what row 1 is
        good = good && sdg_program_write(p, "rows", rows, ROWS * N * C) == SDG_OK && sdg_program_run(p, 0) == SDG_OK &&
            sdg_program_read(p, "result", third, COUNT) == SDG_OK;
        if (!good || memcmp(first, second, sizeof first) == 0 || memcmp(second, third, sizeof second) != 0)
            note_failure(&f, "rows of a table are not what was written");
    }
    sdg_program_destroy(&p);
    release(&f);
}

// What one program computes becomes an input and a table of another, on another backend.

enum { KEYS = 24, PAIRS = 2 * ROWS };

static enum sdg_result make_receiver(struct suite *s, const char *keys, struct sdg_program **out)
{
    struct sdg_graph *g;
    SDG_TRY(sdg_graph_create(s->log, &g));
    sdg_graph_table(g, "pairs", ROWS, 1, 2);
    sdg_graph_output(g, "result", sdg_graph_affine(g, "affine", sdg_graph_input(g, keys, 1, 1, 3, 8), 1, 0));
    enum sdg_result result = sdg_program_create(s->reference, g, NULL, out);
    sdg_graph_destroy(&g);
    return result;
}

static enum sdg_result make_sender(struct suite *s, struct sdg_program **out)
{
    struct sdg_graph *g;
    SDG_TRY(sdg_graph_create(s->log, &g));
    sdg_graph_output(g, "keys", sdg_graph_affine(g, "k", sdg_graph_input(g, "x", 1, 1, 3, 8), 2, 1));
    sdg_graph_output(g, "pairs", sdg_graph_affine(g, "p", sdg_graph_input(g, "y", ROWS, 1, 1, 2), 2, 1));
    enum sdg_result result = sdg_program_create(s->tested, g, NULL, out);
    sdg_graph_destroy(&g);
    return result;
}

static bool holds(struct sdg_program *p, const char *name, size_t count, const float *x)
{
    float values[KEYS];
    bool same = sdg_program_read(p, name, values, count) == SDG_OK;
    for (size_t i = 0; same && i < count; i++)
        same = values[i] == 2 * x[i] + 1;
    return same;
}

static void check_kept(struct fixture *f, struct sdg_program **from, struct sdg_program *to, const float *x)
{
    static const float zeros[KEYS] = {0};
    struct sdg_snapshot *kept = NULL;
    expect(f, "a snapshot", sdg_snapshot_create(f->suite->log, &kept), SDG_OK);
    if (sdg_snapshot_bytes(*from) != (KEYS + PAIRS) * sizeof(float))
        note_failure(f, "%zu bytes are planned for a snapshot", sdg_snapshot_bytes(*from));
    expect(f, "keeping outputs", sdg_snapshot_add(kept, *from), SDG_OK);
    sdg_program_destroy(from);
    for (int i = 0; i < 2; i++) {
        sdg_program_write(to, "keys", zeros, KEYS);
        sdg_test_fail_allocation(0);
        expect(f, "writing what was kept", sdg_snapshot_write(kept, to), SDG_OK);
        if (sdg_test_fail_allocation(0) != 0)
            note_failure(f, "writing what was kept has allocated memory");
        if (!holds(to, "keys", KEYS, x) || !holds(to, "pairs", PAIRS, x))
            note_failure(f, "what was kept is not what was computed");
    }
    sdg_snapshot_destroy(&kept);
}

static void check_transfer(struct suite *s)
{
    struct fixture f;
    struct sdg_program *from = NULL, *to = NULL, *stranger = NULL;
    if (!begin(s, &f, "programs(type=%s,transfer)", type_name(s)))
        return;
    s->cases++;
    float numbers[KEYS], data[KEYS] = {0, NAN};
    for (int i = 0; i < KEYS; i++)
        numbers[i] = (float)i - 7; // exact on any backend
    expect(&f, "creating", make_sender(s, &from), SDG_OK);
    expect(&f, "creating", make_receiver(s, "keys", &to), SDG_OK);
    expect(&f, "creating", make_receiver(s, "other keys", &stranger), SDG_OK);
    if (from && to && stranger) {
        sdg_program_write(from, "x", numbers, KEYS);
        sdg_program_write(from, "y", numbers, PAIRS);
        expect(&f, "copying before a run", sdg_program_copy(from, to), SDG_ERROR_USAGE);
        expect(&f, "running", sdg_program_run(from, 0), SDG_OK);
        expect(&f, "copying", sdg_program_copy(from, to), SDG_OK);
        if (!holds(to, "keys", KEYS, numbers) || !holds(to, "pairs", PAIRS, numbers))
            note_failure(&f, "a copied value is not what was computed");
        expect(&f, "copying to other names", sdg_program_copy(from, stranger), SDG_ERROR_USAGE);
        sdg_program_write(from, "x", data, KEYS);
        expect(&f, "running on a number that is none", sdg_program_run(from, 0), SDG_OK);
        expect(&f, "copying it", sdg_program_copy(from, to), SDG_ERROR_COMPUTE);
        if (!holds(to, "keys", KEYS, numbers))
            note_failure(&f, "it was copied all the same");
        sdg_program_write(from, "x", numbers, KEYS);
        expect(&f, "running", sdg_program_run(from, 0), SDG_OK);
        check_kept(&f, &from, to, numbers);
    }
    sdg_program_destroy(&from);
    sdg_program_destroy(&to);
    sdg_program_destroy(&stranger);
    release(&f);
}

void check_programs(struct suite *s)
{
    if (s->bench || s->type != SDG_F32)
        return;
    check_calls(s);
    check_weights(s);
    check_plan(s);
    check_graph(s);
    check_lists(s);
    check_tables(s);
    check_transfer(s);
    check_failing_allocations(s);
}
