#include "tests/ops/check.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/tensors.h"
#if SDG_HAVE_VULKAN
#include "backend/vulkan/vk_program.h"
#endif

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- numbers ----

double uniform(uint64_t *state)
{
    return sdg_random_uniform(state);
}

double gaussian(uint64_t *state)
{
    double radius = sqrt(-2 * log(1 - uniform(state)));
    return radius * cos(6.283185307179586 * uniform(state));
}

double nmse(const float *got, const float *expected, size_t count)
{
    double error = 0, energy = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)got[i] - expected[i];
        error += difference * difference;
        energy += (double)expected[i] * expected[i];
    }
    return error == 0 ? 0 : energy > 0 ? error / energy : INFINITY;
}

// Largest NMSE allowed. f32: sums of up to some thousand products in another order lose a few bits of 24, 1e-7 is a
// hundred times that squared. A result rounded once to bf16 is off by up to 2^-8 of itself, to f16 by up to 2^-11:
// squared 1.5e-5 and 2.4e-7 at worst, a few times less on average. Kernels may round once or twice more on the way
// (probabilities before the product with v).
double type_bound(const struct suite *s)
{
    return s->type == SDG_F32 ? 1e-7 : s->type == SDG_F16 ? 1e-6 : 4e-5;
}

// For operations without sums: relative error of each element, and an absolute one where the function itself cancels.
static bool element_is_right(const struct suite *s, double got, double expected)
{
    double relative = s->type == SDG_F32 ? 1e-5
        : s->type == SDG_F16             ? 0x1p-10
                                         : 0x1p-7,
           absolute = s->type == SDG_F32 ? 2e-6 : 1e-5;
    return fabs(got - expected) <= relative * fabs(expected) + absolute;
}

const char *type_name(const struct suite *suite)
{
    return sdg_dtype_name(suite->type);
}

// ---- building a case ----

void *get(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) {
        fprintf(stderr, "not enough memory for a test\n");
        exit(1);
    }
    return memory;
}

static float rounded(enum sdg_dtype type, float value)
{
    return type == SDG_F16 ? sdg_f32_from_f16(sdg_f16_from_f32(value))
        : type == SDG_BF16 ? sdg_f32_from_bf16(sdg_bf16_from_f32(value))
                           : value;
}

static float element(struct fixture *f, struct data data, size_t i)
{
    static const float edges[] = {0, -0.0f, 60, -60, 12, -12, 200, -200, 1e-30f, -1e-30f, 1e-3f, -1e-3f};
    enum { EDGES = sizeof edges / sizeof *edges };
    if (data.fill == FLAT)
        return data.shift;
    if (data.fill == EDGE && i % 2 == 0)
        return edges[i / 2 % EDGES];
    return (float)gaussian(&f->random) * data.scale + data.shift;
}

static float *content(struct fixture *f, size_t count, struct data data, enum sdg_dtype type)
{
    float *values = get(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = rounded(type, element(f, data, i));
    return values;
}

static void add_input(struct fixture *f, const char *name, void *values, size_t count, bool is_table)
{
    f->input[f->inputs].name = name;
    f->input[f->inputs].values = values;
    f->input[f->inputs].count = count;
    f->input[f->inputs++].table = is_table;
}

sdg_value input(struct fixture *f, const char *name, int64_t n, int64_t h, int64_t w, int64_t c, struct data data)
{
    size_t count = (size_t)(n * h * w * c);
    add_input(f, name, content(f, count, data, f->suite->type), count, false);
    return sdg_graph_input(f->graph, name, n, h, w, c);
}

sdg_value ids(struct fixture *f, const char *name, int64_t n, int64_t t, int32_t limit)
{
    int32_t *values = get((size_t)(n * t) * sizeof *values);
    for (int64_t i = 0; i < n * t; i++)
        values[i] = i == 0 ? limit - 1 : (int32_t)(sdg_random_next(&f->random) % (uint64_t)limit);
    add_input(f, name, values, (size_t)(n * t), false);
    return sdg_graph_input_s32(f->graph, name, n, t);
}

sdg_value table(struct fixture *f, const char *name, int64_t rows, int64_t n, int64_t c)
{
    size_t count = (size_t)(rows * n * c);
    add_input(f, name, content(f, count, NORMAL_DATA, SDG_F32), count, true);
    return sdg_graph_table(f->graph, name, rows, n, c);
}

// Weights of more than one dimension are stored in the type under test, vectors stay f32.
static const char *add_weight(struct fixture *f, enum sdg_dtype type, int rank, const int64_t dims[4], struct data data)
{
    struct sdg_tensor *tensor = &f->weight[f->weights];
    char *name = f->weight_name[f->weights];
    snprintf(name, sizeof f->weight_name[0], "weight.%d", f->weights++);
    size_t count = (size_t)(dims[0] * dims[1] * dims[2] * dims[3]);
    *tensor = (struct sdg_tensor){.name = name, .dtype = SDG_F32, .rank = rank, .bytes = count * sizeof(float)};
    memcpy(tensor->dims, dims, sizeof(int64_t[4]));
    tensor->data = content(f, count, data, type);
    return name;
}

sdg_value conv_weight(struct fixture *f, int64_t out, int64_t in, int kh, int kw)
{
    const char *name = add_weight(f, f->suite->type, 4, (int64_t[4]){out, in, kh, kw},
                                  (struct data){NORMAL, (float)sqrt(1.0 / (double)(in * kh * kw)), 0});
    return sdg_graph_conv_weight(f->graph, out, in, kh, kw, "%s", name);
}

sdg_value linear_weight(struct fixture *f, int64_t out, int64_t in)
{
    const char *name = add_weight(f, f->suite->type, 2, (int64_t[4]){out, in, 1, 1},
                                  (struct data){NORMAL, (float)sqrt(1.0 / (double)in), 0});
    return sdg_graph_linear_weight(f->graph, out, in, "%s", name);
}

sdg_value vector_weight(struct fixture *f, int64_t n, float scale, float shift)
{
    const char *name = add_weight(f, SDG_F32, 1, (int64_t[4]){n, 1, 1, 1}, (struct data){NORMAL, scale, shift});
    return sdg_graph_vector_weight(f->graph, n, "%s", name);
}

sdg_value conv1d_weight(struct fixture *f, int64_t channels, int kernel)
{
    const char *name = add_weight(f, SDG_F32, 3, (int64_t[4]){channels, 1, kernel, 1}, (struct data){NORMAL, 0.5f, 0});
    return sdg_graph_conv1d_weight(f->graph, channels, kernel, "%s", name);
}

sdg_value matrix_weight(struct fixture *f, int64_t rows, int64_t columns, struct data data)
{
    const char *name = add_weight(f, SDG_F32, 2, (int64_t[4]){rows, columns, 1, 1}, data);
    return sdg_graph_matrix_weight(f->graph, rows, columns, "%s", name);
}

sdg_value known_vector(struct fixture *f, int64_t n, const float *values)
{
    sdg_value v = vector_weight(f, n, 0, 0);
    set_weight(f, values);
    return v;
}

// One tensor of codes.
static void add_codes(struct fixture *f, const char *name, int rank, const int64_t dims[4], int bits,
                      const int8_t *codes)
{
    struct sdg_tensor *tensor = &f->weight[f->weights++];
    size_t inputs = (size_t)(dims[1] * dims[2] * dims[3]), row = bits == 4 ? (inputs + 1) / 2 : inputs;
    *tensor = (struct sdg_tensor){.name = name,
                                  .dtype = bits == 4 ? SDG_U8 : SDG_S8,
                                  .rank = bits == 4 ? 2 : rank,
                                  .bytes = (size_t)dims[0] * row};
    memcpy(tensor->dims, dims, sizeof(int64_t[4]));
    uint8_t *data = get(tensor->bytes);
    if (bits == 4) {
        tensor->dims[1] = (int64_t)row;
        for (size_t o = 0; o < (size_t)dims[0]; o++)
            for (size_t i = 0; i < inputs; i++)
                data[o * row + i / 2] |= (uint8_t)((codes[o * inputs + i] & 15) << (i % 2 ? 4 : 0));
    } else {
        memcpy(data, codes, tensor->bytes);
    }
    tensor->data = data;
}

static sdg_value add_weight_value(struct fixture *f, int rank, const int64_t dims[4], const char *name)
{
    return rank == 4 ? sdg_graph_conv_weight(f->graph, dims[0], dims[1], (int)dims[2], (int)dims[3], "%s", name)
                     : sdg_graph_linear_weight(f->graph, dims[0], dims[1], "%s", name);
}

// Moves the values of input `x` that some row's interval has near the middle between two codes: which one it is depends
// there on how a backend divides.
static void keep_from_middles(struct fixture *f, sdg_value x, size_t own, int rows, const float *pairs)
{
    const struct sdg_value_info *info = &f->graph->values[x];
    int leaf = 0;
    while (strcmp(f->input[leaf].name, info->name) != 0)
        leaf++;
    float *values = f->input[leaf].values;
    for (size_t i = 0; i < f->input[leaf].count; i++)
        for (int row = 0; row < rows; row++) {
            const double scale = pairs[2 * ((size_t)row * own + i / (size_t)info->dims[3] % own)],
                         code = values[i] / scale;
            if (fabs(code - floor(code) - 0.5) >= 0.01)
                continue;
            values[i] = rounded(f->suite->type, values[i] * 1.01f);
            row = -1; // all of them again
        }
}

sdg_value coded(struct fixture *f, int operand, sdg_value x, bool by_token, bool is_signed, float *pairs)
{
    enum { ROWS = 2 };
    const struct sdg_value_info *info = &f->graph->values[x];
    const int64_t own = by_token ? info->dims[1] * info->dims[2] : 1;
    const int lowest = is_signed ? -128 : 0, highest = is_signed ? 127 : 255;
    for (int i = 0; i < ROWS * own; i++) {
        pairs[2 * i] = 0.013f * (float)(1 + (i + operand) * 7 % 5);
        pairs[2 * i + 1] = is_signed ? 0 : (float)(90 + i * 37 % 70);
    }
    keep_from_middles(f, x, (size_t)own, ROWS, pairs);
    struct read_codes *read = f->reads;
    while (read->codes)
        read++;
    read->operand = operand;
    snprintf(read->name, sizeof read->name, "interval%d", operand);
    read->interval = token_intervals(f, read->name, ROWS, own, pairs);
    read->codes = sdg_graph_quantize(f->graph, "codes", x, read->interval, lowest, highest);
    return sdg_graph_fake_quantize(f->graph, "values", x, read->interval, lowest, highest);
}

sdg_value integer_weight(struct fixture *f, int rank, const int64_t dims[4], int bits, const int8_t *codes)
{
    char *name = f->weight_name[f->weights];
    snprintf(name, sizeof f->weight_name[0], "weight.%d", f->weights);
    add_codes(f, name, rank, dims, bits, codes);
    return add_weight_value(f, rank, dims, name);
}

sdg_value code_weight(struct fixture *f, int rank, const int64_t dims[4], int bits)
{
    const size_t count = (size_t)(dims[0] * dims[1] * dims[2] * dims[3]);
    const int limit = bits == 4 ? 8 : 128;
    int8_t *codes = get(count);
    for (size_t i = 0; i < count; i++)
        codes[i] = (int8_t)((int)(sdg_random_next(&f->random) % (uint64_t)(2 * limit)) - limit);
    char *name = f->weight_name[f->weights];
    snprintf(name, sizeof f->weight_name[0], "%d.weight", f->weights);
    add_codes(f, name, rank, dims, bits, codes);
    free(codes);
    // Codes are uniform, their variance is a third of limit^2: sums of about 1, and no scale like its neighbour.
    char *scale_name = f->weight_name[f->weights];
    snprintf(scale_name, sizeof f->weight_name[0], "%d.weight_scale", f->weights - 1);
    struct sdg_tensor *tensor = &f->weight[f->weights++];
    *tensor = (struct sdg_tensor){.name = scale_name,
                                  .dtype = SDG_F32,
                                  .rank = 1,
                                  .dims = {dims[0], 1, 1, 1},
                                  .bytes = (size_t)dims[0] * sizeof(float)};
    float *scales = get(tensor->bytes);
    for (int64_t o = 0; o < dims[0]; o++)
        scales[o] = (float)((0.5 + uniform(&f->random)) / limit * sqrt(3.0 / (double)(dims[1] * dims[2] * dims[3])));
    tensor->data = scales;
    return add_weight_value(f, rank, dims, name);
}

sdg_value intervals(struct fixture *f, const char *name, int64_t rows, const float *pairs)
{
    return token_intervals(f, name, rows, 1, pairs);
}

sdg_value token_intervals(struct fixture *f, const char *name, int64_t rows, int64_t tokens, const float *pairs)
{
    const size_t count = (size_t)(rows * tokens) * 2;
    float *values = get(count * sizeof *values);
    memcpy(values, pairs, count * sizeof *values);
    add_input(f, name, values, count, true);
    return sdg_graph_interval_table(f->graph, name, rows, tokens);
}

struct sdg_scan_operands scan_operands(struct fixture *f, const struct scan_shape *p)
{
    return (struct sdg_scan_operands){
        .x = input(f, "x", p->n, p->h, p->w, p->channels, NORMAL_DATA),
        .delta = input(f, "delta", p->n, p->h, p->w, p->channels, (struct data){NORMAL, 1.5f, p->bias ? 0 : -3}),
        .bc = input(f, "bc", p->n, p->h, p->w, p->rank + 2 * p->states, NORMAL_DATA),
        .a_log = matrix_weight(f, p->channels, p->states, (struct data){NORMAL, 1, 1}),
        .d = vector_weight(f, p->channels, 0.3f, 1),
        .delta_bias = p->bias ? vector_weight(f, p->channels, 1, -3) : 0,
        .gate = p->gate ? input(f, "gate", p->n, p->h, p->w, p->channels * 2, NORMAL_DATA) : 0,
        .add = p->add ? input(f, "add", p->n, p->h, p->w, p->channels, NORMAL_DATA) : 0,
    };
}

struct sdg_scan_params scan_params(const struct scan_shape *p)
{
    return (struct sdg_scan_params){
        .b_start = p->rank + (p->c_first ? p->states : 0),
        .c_start = p->rank + (p->c_first ? 0 : p->states),
        .gate_start = p->gate ? p->channels : 0,
        .scale = p->add ? 0.5f : 1,
        .backward = p->backward,
    };
}

const float *last_input(const struct fixture *f)
{
    return f->input[f->inputs - 1].values;
}

void set_input(struct fixture *f, const float *values)
{
    float *to = f->input[f->inputs - 1].values;
    for (size_t i = 0; i < f->input[f->inputs - 1].count; i++)
        to[i] = rounded(f->suite->type, values[i]);
}

void set_weight(struct fixture *f, const float *values)
{
    const struct sdg_tensor *tensor = &f->weight[f->weights - 1];
    float *to = (float *)tensor->data;
    for (size_t i = 0; i < tensor->bytes / sizeof *to; i++)
        to[i] = rounded(tensor->rank > 1 ? f->suite->type : SDG_F32, values[i]);
}

// Two values that live beside the result until the end: whoever writes outside its own memory changes them.
static void add_guards(struct fixture *f)
{
    sdg_value small = input(f, "small", 1, 1, 3, 17, NORMAL_DATA), large = input(f, "large", 1, 7, 9, 67, NORMAL_DATA);
    sdg_graph_output(f->graph, "small guard", sdg_graph_affine(f->graph, "small guard", small, 1, 0));
    sdg_graph_output(f->graph, "large guard", sdg_graph_affine(f->graph, "large guard", large, 1, 0));
}

bool begin(struct suite *suite, struct fixture *f, const char *format, ...)
{
    *f = (struct fixture){.suite = suite, .bound_factor = 1};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->label, sizeof f->label, format, arguments);
    va_end(arguments);
    if (suite->filter && !strstr(f->label, suite->filter))
        return false;
    suite->matched++;
    f->random = 1469598103934665603u;
    for (const char *c = strchr(f->label, ','); c && *c; c++) // the same data for every type: hash what follows it
        f->random = (f->random ^ (unsigned char)*c) * 1099511628211u;
    if (sdg_graph_create(suite->log, &f->graph) != SDG_OK)
        exit(1);
    if (!suite->bench)
        add_guards(f);
    return true;
}

void release(struct fixture *f)
{
    for (int i = 0; i < f->inputs; i++)
        free(f->input[i].values);
    for (int i = 0; i < f->weights; i++)
        free((void *)f->weight[i].data);
    sdg_tensors_destroy(&f->file);
    if (f->path[0])
        unlink(f->path);
    sdg_graph_destroy(&f->graph);
}

void note_failure(struct fixture *f, const char *format, ...)
{
    f->suite->failures++;
    va_list arguments;
    va_start(arguments, format);
    printf("FAILED  ops %s '%s': ", f->suite->name, f->label);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

static bool remember(struct suite *s, uint64_t pair)
{
    size_t at = pair % MOST_PAIRS, probes = 0;
    for (; s->pairs[at] && s->pairs[at] != pair; at = (at + 1) % MOST_PAIRS)
        if (++probes == MOST_PAIRS) {
            fprintf(stderr, "more pairs of choices than a test remembers\n");
            exit(1);
        }
    const bool is_new = !s->pairs[at];
    s->pairs[at] = pair;
    return is_new;
}

bool adds_pair(struct suite *suite, int first, int count, const int64_t *choices)
{
    bool any = !suite->pairwise;
    for (int i = 0; i < count && suite->pairwise; i++)
        for (int k = 0; k < i; k++) {
            const int64_t pair[4] = {first + i, choices[i], first + k, choices[k]};
            any = remember(suite, sdg_hash_bytes(SDG_HASH_START, pair, sizeof pair) | 1) || any;
        }
    return any;
}

// ---- running a case ----

bool write_weights(struct fixture *f)
{
    if (f->weights == 0)
        return true;
    const char *folder = getenv("TMPDIR");
    snprintf(f->path, sizeof f->path, "%.40s/sdg-ops-XXXXXX", folder ? folder : "/tmp");
    int file = mkstemp(f->path);
    if (file < 0)
        return false;
    close(file);
    return sdg_tensors_write(f->suite->log, f->path, f->weight, (size_t)f->weights, NULL, 0) == SDG_OK &&
        sdg_tensors_open(f->suite->log, f->path, &f->file) == SDG_OK;
}

enum sdg_result load(struct fixture *f, struct sdg_backend *backend, struct sdg_program **program)
{
    SDG_TRY(sdg_program_create(backend, f->graph,
                               &(struct sdg_program_params){.weights = f->file, .release_weights = true}, program));
    enum sdg_result result = SDG_OK;
    for (int i = 0; i < f->inputs && result == SDG_OK; i++)
        result = sdg_program_write(*program, f->input[i].name, f->input[i].values, f->input[i].count);
    if (result != SDG_OK)
        sdg_program_destroy(program);
    return result;
}

static bool compute(struct fixture *f, struct sdg_program *program, int64_t row, float *result, size_t count)
{
    if (sdg_program_run(program, row) == SDG_OK && sdg_program_read(program, "result", result, count) == SDG_OK)
        return true;
    note_failure(f, "row %lld cannot be computed", (long long)row);
    return false;
}

static void compare_codes(struct fixture *f, int64_t row, const float *got, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double wanted = fmin(fmax(expected[i], f->codes.lowest), f->codes.highest);
        bool is_code = got[i] == rintf(got[i]) && got[i] >= (float)f->codes.lowest && got[i] <= (float)f->codes.highest;
        if (is_code && fabs(got[i] - wanted) <= 0.5 + f->codes.slack)
            continue;
        note_failure(f, "row %lld: element %zu is code %.9g, should be %.9g rounded", (long long)row, i, got[i],
                     wanted);
        return;
    }
}

static void compare(struct fixture *f, int64_t row, const float *got, const float *expected, size_t count,
                    double largest)
{
    struct suite *s = f->suite;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(got[i]) || !isfinite(expected[i])) {
            note_failure(f, "row %lld: element %zu is %g, should be %g", (long long)row, i, got[i], expected[i]);
            return;
        }
    if (f->codes.highest) {
        compare_codes(f, row, got, expected, count);
        return;
    }
    double error = nmse(got, expected, count);
    if (error > s->worst[s->type])
        s->worst[s->type] = error;
    if (error > largest)
        note_failure(f, "row %lld: NMSE %.3g, should be at most %.3g", (long long)row, error, largest);
    for (size_t i = 0; i < count && (f->pointwise || f->relative > 0); i++)
        if (f->relative > 0 ? fabs((double)got[i] - expected[i]) > f->relative * fabs(expected[i])
                            : !element_is_right(s, got[i], expected[i])) {
            note_failure(f, "row %lld: element %zu is %.9g, should be %.9g", (long long)row, i, got[i], expected[i]);
            return;
        }
}

static void check_guard(struct fixture *f, struct sdg_program *program, const char *name, int i)
{
    size_t count = f->input[i].count;
    float *values = get(count * sizeof *values);
    if (sdg_program_read(program, name, values, count) != SDG_OK ||
        memcmp(values, f->input[i].values, count * sizeof *values) != 0)
        note_failure(f, "the value beside the result has changed (%s)", name);
    free(values);
}

static void check_memory(struct fixture *f, struct sdg_program *program)
{
    struct sdg_program *planned = NULL;
    struct sdg_memory is, was;
    if (sdg_program_create(f->suite->tested, f->graph,
                           &(struct sdg_program_params){.weights = f->file, .plan_only = true}, &planned) != SDG_OK) {
        note_failure(f, "cannot be planned");
        return;
    }
    sdg_program_memory(program, &is);
    sdg_program_memory(planned, &was);
    if (memcmp(&is, &was, sizeof is) != 0)
        note_failure(f, "planned memory %zu (weights %zu, arena %zu), made %zu (%zu, %zu)", was.total, was.weights,
                     was.arena, is.total, is.weights, is.arena);
    sdg_program_destroy(&planned);
}

// Another row and back: the first result again, bit for bit. An input changed by a run, a result that lacks some
// elements or depends on old memory shows here.
static void check_repetition(struct fixture *f, struct sdg_program *program, const float *first, float *again,
                             size_t count)
{
    if (!compute(f, program, f->graph->rows - 1, again, count))
        return;
    sdg_test_fail_allocation(0);
    if (sdg_program_run(program, 0) != SDG_OK || sdg_test_fail_allocation(0) != 0)
        note_failure(f, "a run has allocated memory");
    if (sdg_program_read(program, "result", again, count) != SDG_OK || memcmp(first, again, count * sizeof *first) != 0)
        note_failure(f, "row 0 differs when it is computed again (NMSE %.3g)", nmse(again, first, count));
}

static void check_threads(struct fixture *f, const float *first, float *again, size_t count)
{
    for (int i = 0; i < 2; i++) {
        struct sdg_program *program = NULL;
        if (!f->suite->with_threads[i])
            continue;
        if (load(f, f->suite->with_threads[i], &program) != SDG_OK)
            note_failure(f, "cannot be made with another number of threads");
        else if (compute(f, program, 0, again, count) && memcmp(first, again, count * sizeof *first) != 0)
            note_failure(f, "depends on the number of threads (NMSE %.3g)", nmse(again, first, count));
        sdg_program_destroy(&program);
    }
}

static void last_kernel(void *user, const char *op, const char *kernel)
{
    (void)op;
    snprintf(user, 64, "%s", kernel);
}

static void check_kernel(struct fixture *f, const struct sdg_program *program)
{
    char kernel[64] = "";
    sdg_program_describe(program, last_kernel, kernel);
    if (f->kernel && !strstr(kernel, f->kernel))
        note_failure(f, "ran %s, not %s", kernel, f->kernel);
}

// Everything that is checked once the program of the tested backend exists. `expected`: per row of rows[].
static void check_program(struct fixture *f, struct sdg_program *program, const int64_t *rows, int row_count,
                          float *const *expected, size_t count, double largest)
{
    float *first = get(count * sizeof *first), *again = get(count * sizeof *again);
    bool computed = true;
    check_kernel(f, program);
    for (int i = 0; i < row_count && computed; i++) {
        computed = compute(f, program, rows[i], again, count);
        if (computed)
            compare(f, rows[i], again, expected[i], count, largest);
    }
    check_guard(f, program, "small guard", 0);
    check_guard(f, program, "large guard", 1);
    if (computed && compute(f, program, 0, first, count)) {
        check_repetition(f, program, first, again, count);
        check_threads(f, first, again, count);
        check_memory(f, program);
    }
    free(first);
    free(again);
}

// What the reference makes of rows[]: NULL where it fails.
static bool run_reference(struct fixture *f, const int64_t *rows, int row_count, float **expected, size_t count)
{
    struct sdg_program *program = NULL;
    bool good = load(f, f->suite->reference, &program) == SDG_OK;
    if (!good)
        note_failure(f, "the reference cannot make it");
    for (int i = 0; i < row_count && good; i++) {
        expected[i] = get(count * sizeof(float));
        good = compute(f, program, rows[i], expected[i], count);
    }
    sdg_program_destroy(&program);
    return good;
}

static void measure(struct fixture *f, struct sdg_program *program)
{
    int runs = 0;
    if (sdg_program_run(program, 0) != SDG_OK)
        note_failure(f, "cannot be computed");
    double start = sdg_clock(), spent = 0;
    for (; spent < 0.3; spent = sdg_clock() - start, runs++)
        sdg_program_run(program, 0);
    const struct sdg_op *op = &f->graph->ops[f->graph->op_count - 1];
    double macs = (double)sdg_op_macs(f->graph, op), milliseconds = 1e3 * spent / runs;
    char kernel[64] = "", rate[32] = "";
    sdg_program_describe(program, last_kernel, kernel);
    if (macs > 0)
        snprintf(rate, sizeof rate, "%8.2f Gmac/s", macs / milliseconds * 1e-6);
    printf("%-96s %9.3f ms  %-15s %s\n", f->label, milliseconds, rate, kernel);
}

// Backends that only infer refuse what is for training.
static bool must_refuse(const struct fixture *f)
{
    for (size_t i = 0; i < f->graph->op_count; i++)
        if (sdg_op_is_for_training(f->graph->ops[i].kind))
            return strcmp(f->suite->name, "vulkan") == 0;
    return false;
}

// SDG_ERROR_UNSUPPORTED is an answer for f16 and bf16, which a backend may not have; for f32 it is a failure like any
// other.
static struct sdg_program *make_tested(struct fixture *f)
{
    struct sdg_program *program = NULL;
    enum sdg_result result = load(f, f->suite->tested, &program);
    if (must_refuse(f)) {
        if (result != SDG_ERROR_UNSUPPORTED)
            note_failure(f, "is for training, but not refused: result %d", result);
        sdg_program_destroy(&program);
    } else if (result == SDG_ERROR_UNSUPPORTED && f->suite->type != SDG_F32)
        f->suite->unsupported++;
    else if (result != SDG_OK)
        note_failure(f, "cannot be made: result %d", result);
    return program;
}

// What is expected of an operation that emits codes.
static void expect_codes(const struct fixture *f, sdg_value y, const int64_t *rows, int row_count, float **expected,
                         size_t count)
{
    const size_t tokens = f->codes.tokens ? (size_t)f->codes.tokens : 1, channels = (size_t)f->graph->values[y].dims[3];
    for (int k = 0; k < row_count && expected[k]; k++)
        for (size_t i = 0; i < count; i++) {
            const float *pair = f->codes.pairs + 2 * ((size_t)rows[k] * tokens + i / channels % tokens);
            const double smooth = f->codes.factors ? (double)f->codes.factors[i % channels] : 1;
            expected[k][i] = (float)((double)expected[k][i] * smooth / pair[0] + pair[1]);
        }
}

// The operation whose result the reference computes emits codes from now on.
static bool emit_codes(const struct fixture *f, struct sdg_graph *g, sdg_value y)
{
    for (size_t i = 0; i < g->op_count; i++)
        if (g->ops[i].out == y)
            return sdg_graph_emit_codes(g, i, f->codes.interval, f->codes.lowest, f->codes.highest) == SDG_OK &&
                (!f->codes.smoothing || sdg_graph_smooth(g, i, f->codes.smoothing) == SDG_OK);
    return false;
}

// From the graph of which the reference computes `y` to the one that is tested.
static bool turn_graph(const struct fixture *f, struct sdg_graph *g, sdg_value y)
{
    if (f->codes.interval && !emit_codes(f, g, y))
        return false;
    for (int i = 0; i < 3; i++)
        if (f->reads[i].codes &&
            sdg_graph_read_codes(g, g->op_count - 1, f->reads[i].operand, f->reads[i].codes, f->reads[i].interval) !=
                SDG_OK)
            return false;
    // what some backends do by themselves the others have to understand; the reference has seen the graph unfused
    return sdg_graph_fuse_for(g, ~0u) == SDG_OK && sdg_graph_set_type(g, f->suite->type) == SDG_OK;
}

#if SDG_HAVE_VULKAN
static bool identity_of(struct sdg_backend *backend, const struct sdg_graph *g, uint64_t *out)
{
    struct sdg_program *program = NULL;
    if (sdg_program_create(backend, g, &(struct sdg_program_params){.plan_only = true}, &program) != SDG_OK)
        return false;
    *out = sdg_vk_program_identity(program);
    sdg_program_destroy(&program);
    return true;
}

static bool is_the_same(const struct fixture *f, sdg_value y)
{
    struct sdg_graph *g = NULL;
    uint64_t before, tested;
    bool same = false;
    if (f->suite->before[0] && sdg_graph_copy(f->suite->log, f->graph, &g) == SDG_OK && turn_graph(f, g, y) &&
        identity_of(f->suite->tested, g, &tested))
        for (int i = 0; i < MOST_BEFORE && f->suite->before[i] && !same; i++)
            same = identity_of(f->suite->before[i], g, &before) && before == tested;
    sdg_graph_destroy(&g);
    return same;
}
#else
static bool is_the_same(const struct fixture *f, sdg_value y)
{
    (void)f;
    (void)y;
    return false;
}
#endif

static bool is_my_turn(struct suite *s)
{
    return !s->parts || s->turn++ % s->parts == s->part;
}

static void finish_rows(struct fixture *f, sdg_value y, const int64_t *rows, int row_count, float **expected,
                        bool known, double largest)
{
    if (!is_my_turn(f->suite)) {
        release(f);
        return;
    }
    sdg_graph_output(f->graph, "result", y);
    if (is_the_same(f, y)) {
        f->suite->same++;
        release(f);
        return;
    }
    size_t count = y ? (size_t)sdg_value_elements(&f->graph->values[y]) : 0;
    f->suite->cases++;
    if (sdg_graph_check(f->graph) != SDG_OK || !write_weights(f))
        note_failure(f, "the case cannot be built");
    else if (f->suite->bench || known || run_reference(f, rows, row_count, expected, count)) {
        if (f->codes.interval)
            expect_codes(f, y, rows, row_count, expected, count);
        if (!turn_graph(f, f->graph, y))
            note_failure(f, "cannot be turned into what is tested");
        struct sdg_program *program = make_tested(f);
        if (program && f->suite->bench)
            measure(f, program);
        else if (program)
            check_program(f, program, rows, row_count, expected, count, largest);
        sdg_program_destroy(&program);
    }
    release(f);
}

void finish(struct fixture *f, sdg_value y)
{
    int64_t rows[2] = {0, f->graph->rows - 1};
    float *expected[2] = {NULL, NULL};
    finish_rows(f, y, rows, rows[1] ? 2 : 1, expected, false, type_bound(f->suite) * f->bound_factor);
    free(expected[0]);
    free(expected[1]);
}

void finish_expected(struct fixture *f, sdg_value y, int64_t row, const float *expected, double largest)
{
    float *copy[1] = {(float *)expected};
    finish_rows(f, y, &row, 1, copy, true, largest);
}

void finish_rows_expected(struct fixture *f, sdg_value y, const float *first, const float *last, double largest)
{
    int64_t rows[2] = {0, f->graph->rows - 1};
    float *copies[2] = {(float *)first, (float *)last};
    finish_rows(f, y, rows, rows[1] ? 2 : 1, copies, true, largest);
}
