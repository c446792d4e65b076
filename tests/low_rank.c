// formats/low_rank.c, formats/stored.c: tensors that are what a file holds plus products of thin matrices. Their values
// against sums in double precision, for every way in which the file may hold its part; through the programs of all
// backends against the same weights as plain f32; and what does not fit.
#define _GNU_SOURCE // dl_iterate_phdr, for tests/support/drivers.h
#include "backend/backend.h"
#include "base/memory.h"
#include "base/nibbles.h"
#include "tests/float8.h"
#include "tests/support/drivers.h"
#include "tests/support/weights.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { O = 6, I = 5, K = 3, CONV = I * K * K, LINEAR = 33, GROUP = 8, RANK = 3 };
enum { MOST = O * CONV, CONV_GROUPS = (CONV + GROUP - 1) / GROUP, LINEAR_GROUPS = (LINEAR + GROUP - 1) / GROUP };
static const float factors[2] = {0.7f, -1.3f};

// One of the two weights: what the base's file holds of it, and what is added.
struct matrix {
    const char *name, *scale_name;
    int64_t dims[4];
    int rank;
    size_t inputs, groups;
    double base[MOST], sum[MOST]; // base: what the stored numbers mean
    float scales[O * CONV_GROUPS];
    char data[MOST * 4];
    uint16_t up[O * RANK], down[RANK * CONV]; // f16
    float up1[O], down1[CONV];                // rank 1, f32
};

struct world {
    struct sdg_tensors *base, *parts;
    struct matrix linear, conv;
};

static uint32_t hashed(size_t k)
{
    uint64_t x = (k + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(x >> 32);
}

static double small_number(size_t k) // exact in f16
{
    return ((int)(hashed(k) % 129) - 64) / 64.0;
}

enum storage {
    STORED_F32,
    STORED_F16,
    STORED_F8_E4M3,
    STORED_F8_E5M2,
    STORED_S8,
    STORED_U4,
    STORED_U4_GROUPS,
    STORAGES
};

// The base's numbers as bytes, and what they mean.
static struct sdg_tensor fill_base(struct matrix *m, enum storage storage, size_t seed)
{
    static const enum sdg_dtype types[STORAGES] = {SDG_F32, SDG_F16, SDG_F8_E4M3, SDG_F8_E5M2, SDG_S8, SDG_U8, SDG_U8};
    const size_t count = O * m->inputs;
    struct sdg_tensor t = {.name = m->name, .dtype = types[storage], .rank = m->rank, .data = m->data};
    memcpy(t.dims, m->dims, sizeof m->dims);
    int8_t codes[MOST];
    for (size_t i = 0; i < count; i++) {
        const double value = small_number(seed + i);
        const uint8_t byte = (uint8_t)(hashed(seed + i) % 0x50 | (hashed(i) & 0x80)); // no NaN, no infinity
        float single;
        const uint32_t *torch = storage == STORED_F8_E4M3 ? float8_e4m3 : float8_e5m2;
        memcpy(&single, &torch[byte], sizeof single);
        codes[i] = storage == STORED_S8 ? (int8_t)(hashed(seed + i) & 255) : (int8_t)((hashed(seed + i) & 15) - 8);
        m->base[i] = value;
        if (storage == STORED_F32)
            ((float *)m->data)[i] = (float)value;
        else if (storage == STORED_F16)
            ((uint16_t *)m->data)[i] = sdg_f16_from_f32((float)value);
        else if (storage <= STORED_F8_E5M2)
            m->data[i] = (char)byte, m->base[i] = single;
        else
            m->base[i] =
                codes[i] * (double)m->scales[i / m->inputs * m->groups + (m->groups > 1 ? i % m->inputs / GROUP : 0)];
    }
    if (storage == STORED_S8)
        memcpy(m->data, codes, count);
    if (storage >= STORED_U4) {
        sdg_pack4(codes, O, m->inputs, (uint8_t *)m->data);
        t.rank = 2;
        t.dims[1] = (int64_t)(m->inputs + 1) / 2;
    }
    t.bytes = sdg_dtype_size(t.dtype);
    for (int i = 0; i < t.rank; i++)
        t.bytes *= (size_t)t.dims[i];
    return t;
}

static void fill_parts(struct matrix *m, size_t seed)
{
    for (size_t i = 0; i < O * RANK; i++)
        m->up[i] = sdg_f16_from_f32((float)small_number(seed + 3 * i));
    for (size_t i = 0; i < RANK * m->inputs; i++)
        m->down[i] = sdg_f16_from_f32((float)small_number(seed + 5 * i));
    for (size_t i = 0; i < O; i++)
        m->up1[i] = 0.37f * (float)(i + 1);
    for (size_t i = 0; i < m->inputs; i++)
        m->down1[i] = 0.011f * (float)i - 0.17f;
    for (size_t o = 0; o < O; o++)
        for (size_t i = 0; i < m->inputs; i++) {
            double product = 0;
            for (size_t k = 0; k < RANK; k++)
                product += (double)sdg_f32_from_f16(m->up[o * RANK + k]) * sdg_f32_from_f16(m->down[k * m->inputs + i]);
            m->sum[o * m->inputs + i] = m->base[o * m->inputs + i] + (double)factors[0] * product +
                (double)factors[1] * m->up1[o] * m->down1[i];
        }
}

// lora_up and lora_down as trainers store them: those of a convolution with its kernel in `down`.
static size_t part_tensors(struct matrix *m, const char *prefix, struct sdg_tensor out[4])
{
    static char names[2][4][24];
    char (*n)[24] = names[m->rank == 4];
    const int64_t rows = (int64_t)m->inputs;
    for (int i = 0; i < 4; i++)
        snprintf(n[i], sizeof n[i], "%s.%s%d", prefix, i % 2 ? "down" : "up", i / 2);
    out[0] =
        (struct sdg_tensor){.name = n[0], .dtype = SDG_F16, .rank = m->rank, .dims = {O, RANK, 1, 1}, .data = m->up};
    out[1] = (struct sdg_tensor){.name = n[1],
                                 .dtype = SDG_F16,
                                 .rank = m->rank,
                                 .dims = {RANK, m->dims[1], m->dims[2], m->dims[3]},
                                 .data = m->down};
    out[2] = (struct sdg_tensor){.name = n[2], .dtype = SDG_F32, .rank = 2, .dims = {O, 1}, .data = m->up1};
    out[3] = (struct sdg_tensor){.name = n[3], .dtype = SDG_F32, .rank = 2, .dims = {1, rows}, .data = m->down1};
    for (int i = 0; i < 4; i++) {
        out[i].bytes = sdg_dtype_size(out[i].dtype);
        for (int d = 0; d < out[i].rank; d++)
            out[i].bytes *= (size_t)out[i].dims[d];
    }
    return 4;
}

static void add_parts(struct world *w)
{
    static const char *const names[2][3] = {{"linear.weight", "l.up", "l.down"}, {"conv.weight", "c.up", "c.down"}};
    struct sdg_low_rank parts[4];
    for (int m = 0; m < 2; m++)
        for (int p = 0; p < 2; p++) {
            char up[16], down[16];
            snprintf(up, sizeof up, "%s%d", names[m][1], p);
            snprintf(down, sizeof down, "%s%d", names[m][2], p);
            parts[2 * m + p] = (struct sdg_low_rank){names[m][0], sdg_tensors_find(w->parts, up),
                                                     sdg_tensors_find(w->parts, down), factors[p]};
        }
    assert_int_equal(sdg_tensors_add_low_rank(NULL, w->base, parts, 4), SDG_OK);
}

static void make_world(struct world *w, enum storage storage)
{
    const bool groups = storage == STORED_U4_GROUPS;
    memset(w, 0, sizeof *w);
    w->linear = (struct matrix){.name = "linear.weight",
                                .scale_name = "linear.weight_scale",
                                .dims = {O, LINEAR, 1, 1},
                                .rank = 2,
                                .inputs = LINEAR,
                                .groups = groups ? LINEAR_GROUPS : 1};
    w->conv = (struct matrix){.name = "conv.weight",
                              .scale_name = "conv.weight_scale",
                              .dims = {O, I, K, K},
                              .rank = 4,
                              .inputs = CONV,
                              .groups = groups ? CONV_GROUPS : 1};
    struct sdg_tensor base[4], parts[8];
    struct matrix *both[2] = {&w->linear, &w->conv};
    for (size_t k = 0; k < 2; k++) {
        struct matrix *m = both[k];
        for (size_t i = 0; i < O * m->groups; i++)
            m->scales[i] = ldexpf(1.0f + (float)(hashed(i) % 64) / 64, -7);
        base[2 * k] = fill_base(m, storage, 1000 * k);
        base[2 * k + 1] = (struct sdg_tensor){.name = m->scale_name,
                                              .dtype = SDG_F32,
                                              .rank = groups ? 2 : 1,
                                              .dims = {O, (int64_t)m->groups},
                                              .data = m->scales,
                                              .bytes = O * m->groups * sizeof(float)};
        fill_parts(m, 77 + k);
        part_tensors(m, k ? "c" : "l", parts + 4 * k);
    }
    const struct sdg_metadata group = {"group", "8"};
    assert_int_equal(sdg_tensors_write(NULL, temp_path("base.safetensors"), base, 4, &group, groups), SDG_OK);
    assert_int_equal(sdg_tensors_write(NULL, temp_path("parts.safetensors"), parts, 8, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("base.safetensors"), &w->base), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("parts.safetensors"), &w->parts), SDG_OK);
}

static void free_world(struct world *w)
{
    sdg_tensors_destroy(&w->parts);
    sdg_tensors_destroy(&w->base);
}

// ---- values ----

static const struct sdg_value_info *weight_value(struct sdg_graph *g, const struct matrix *m)
{
    const sdg_value v = m->rank == 4 ? sdg_graph_conv_weight(g, O, I, K, K, "%s", m->name)
                                     : sdg_graph_linear_weight(g, O, LINEAR, "%s", m->name);
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    return &g->values[v];
}

static void check_values(const struct sdg_tensors *tensors, const struct matrix *m, const double *expected)
{
    struct sdg_graph *g;
    struct sdg_weight w;
    float all[MOST], some[MOST];
    uint16_t half[MOST], bhalf[MOST];
    assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
    assert_int_equal(sdg_weight_find(NULL, tensors, weight_value(g, m), &w), SDG_OK);
    sdg_weight_read(&w, 0, O, SDG_F32, all);
    for (size_t i = 0; i < O * m->inputs; i++) // within one rounding to f32
        assert_true(fabs(all[i] - expected[i]) <= 0x1p-24 * fabs(expected[i]) + 1e-15);
    for (size_t o = 0; o < O; o++)
        sdg_weight_read(&w, o, 1, SDG_F32, some + o * m->inputs);
    assert_memory_equal(some, all, O * m->inputs * sizeof *all);
    for (size_t first = 0; first < O * m->inputs; first += 17) { // ranges across rows
        const size_t count = O * m->inputs - first < 50 ? O * m->inputs - first : 50;
        sdg_stored_expand(&w.stored, first, count, SDG_F32, some);
        assert_memory_equal(some, all + first, count * sizeof *all);
    }
    sdg_weight_read(&w, 0, O, SDG_F16, half);
    sdg_weight_read(&w, 0, O, SDG_BF16, bhalf);
    for (size_t i = 0; i < O * m->inputs; i++) {
        assert_int_equal(half[i], sdg_f16_from_f32(all[i]));
        assert_int_equal(bhalf[i], sdg_bf16_from_f32(all[i]));
    }
    sdg_graph_destroy(&g);
}

static void test_values(void **state)
{
    (void)state;
    for (int storage = 0; storage < STORAGES; storage++) {
        struct world w;
        make_world(&w, storage);
        check_values(w.base, &w.linear, w.linear.base);
        check_values(w.base, &w.conv, w.conv.base);
        add_parts(&w);
        sdg_tensors_destroy(&w.parts); // copied
        check_values(w.base, &w.linear, w.linear.sum);
        check_values(w.base, &w.conv, w.conv.sum);
        free_world(&w);
    }
}

// A slice reads the columns of the sum.
static void test_slices(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, STORED_F16);
    add_parts(&w);
    for (int start = 0; start < I; start++)
        for (int length = 1; start + length < I; length++) {
            struct sdg_graph *g;
            float part[MOST];
            assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
            sdg_value v = sdg_graph_weight_slice(g, sdg_graph_conv_weight(g, O, I, K, K, "conv.weight"), start, length);
            assert_int_equal(load_weight(NULL, w.base, &g->values[v], SDG_F32, part), SDG_OK);
            for (size_t o = 0; o < O; o++)
                for (int i = 0; i < length * K * K; i++) {
                    const double expected = w.conv.sum[o * CONV + (size_t)(start * K * K + i)];
                    assert_true(fabs(part[o * (size_t)(length * K * K) + (size_t)i] - expected) <=
                                0x1p-24 * fabs(expected) + 1e-15);
                }
            sdg_graph_destroy(&g);
        }
    free_world(&w);
}

// A layer that computes in integers has its sums rounded to codes, by the scales that the file has.
static void test_integers(void **state)
{
    (void)state;
    for (int storage = STORED_F32; storage <= STORED_U4; storage++) {
        const int bits = storage == STORED_U4 ? 4 : 8;
        struct world w;
        make_world(&w, storage);
        add_parts(&w);
        struct sdg_graph *g;
        int8_t codes[MOST];
        assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
        struct sdg_value_info v = *weight_value(g, &w.conv);
        v.dtype = SDG_S8;
        v.bits = bits;
        assert_int_equal(load_weight(NULL, w.base, &v, SDG_S8, codes), SDG_OK);
        for (size_t i = 0; i < O * CONV; i++) {
            const double at = w.conv.sum[i] / w.conv.scales[i / CONV], most = (1 << (bits - 1)) - 1;
            const double expected = at > most ? most : at < -most - 1 ? -most - 1 : at;
            assert_true(fabs(codes[i] - expected) <= 0.5 + 1e-4);
        }
        sdg_graph_destroy(&g);
        free_world(&w);
    }
}

// ---- programs ----

static struct sdg_backend *open_backend(const char *name)
{
    struct sdg_backend *backend = NULL;
    const struct sdg_backend_params params = {.threads = 2, .device = -1};
    if (sdg_backend_create(NULL, name, &params, &backend) != SDG_OK)
        print_message("skipped: backend %s, there is none\n", name);
    return backend;
}

enum { TOKENS = 4, SIDE = 4, OUT_LINEAR = TOKENS * O, OUT_CONV = SIDE * SIDE * O };

static void run_layers(struct sdg_backend *backend, const struct sdg_tensors *weights, float y[OUT_LINEAR + OUT_CONV])
{
    struct sdg_graph *g;
    struct sdg_program *program;
    float x[TOKENS * LINEAR], image[SIDE * SIDE * I];
    const struct sdg_conv_params same = {1, 1, 1, 1, 1};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)small_number(9 * i);
    for (size_t i = 0; i < sizeof image / sizeof *image; i++)
        image[i] = (float)small_number(7 * i);
    assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
    sdg_value a = sdg_graph_input(g, "x", 1, 1, TOKENS, LINEAR), b = sdg_graph_input(g, "image", 1, SIDE, SIDE, I);
    a = sdg_graph_linear(g, "linear", a, sdg_graph_linear_weight(g, O, LINEAR, "linear.weight"),
                         (struct sdg_epilogue){0});
    b = sdg_graph_conv2d(g, "conv", b, sdg_graph_conv_weight(g, O, I, K, K, "conv.weight"), same,
                         (struct sdg_epilogue){0});
    sdg_graph_output(g, "y", a);
    sdg_graph_output(g, "z", b);
    assert_int_equal(sdg_program_create(backend, g, &(struct sdg_program_params){.weights = weights}, &program),
                     SDG_OK);
    assert_int_equal(sdg_program_write(program, "x", x, sizeof x / sizeof *x), SDG_OK);
    assert_int_equal(sdg_program_write(program, "image", image, sizeof image / sizeof *image), SDG_OK);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    assert_int_equal(sdg_program_read(program, "y", y, OUT_LINEAR), SDG_OK);
    assert_int_equal(sdg_program_read(program, "z", y + OUT_LINEAR, OUT_CONV), SDG_OK);
    sdg_program_destroy(&program);
    sdg_graph_destroy(&g);
}

// The sums as plain f32.
static struct sdg_tensors *plain_sums(const struct world *w)
{
    static float numbers[2][MOST];
    struct sdg_tensors *plain;
    struct sdg_tensor tensors[2];
    const struct matrix *both[2] = {&w->linear, &w->conv};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < O * both[k]->inputs; i++)
            numbers[k][i] = (float)both[k]->sum[i];
        tensors[k] = (struct sdg_tensor){.name = both[k]->name,
                                         .dtype = SDG_F32,
                                         .rank = both[k]->rank,
                                         .data = numbers[k],
                                         .bytes = O * both[k]->inputs * sizeof(float)};
        memcpy(tensors[k].dims, both[k]->dims, sizeof both[k]->dims);
    }
    assert_int_equal(sdg_tensors_write(NULL, temp_path("plain.safetensors"), tensors, 2, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("plain.safetensors"), &plain), SDG_OK);
    return plain;
}

static void test_programs(void **state)
{
    (void)state;
    static const char *const names[] = {"reference", "cpu", "vulkan"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct sdg_backend *backend = open_backend(names[n]);
        for (int storage = 0; backend && storage < STORAGES; storage++) {
            struct world w;
            float before[OUT_LINEAR + OUT_CONV], sums[OUT_LINEAR + OUT_CONV], plain[OUT_LINEAR + OUT_CONV];
            float largest = 0, moved = 0;
            make_world(&w, storage);
            run_layers(backend, w.base, before);
            add_parts(&w);
            run_layers(backend, w.base, sums);
            struct sdg_tensors *tensors = plain_sums(&w);
            run_layers(backend, tensors, plain);
            for (size_t i = 0; i < OUT_LINEAR + OUT_CONV; i++)
                largest = fmaxf(largest, fabsf(plain[i])), moved = fmaxf(moved, fabsf(sums[i] - before[i]));
            for (size_t i = 0; i < OUT_LINEAR + OUT_CONV; i++)
                assert_true(fabsf(sums[i] - plain[i]) <= 1e-6f * largest);
            assert_true(moved > 0.01f * largest);
            sdg_tensors_destroy(&tensors);
            free_world(&w);
        }
        keep_drivers_loaded();
        sdg_backend_destroy(&backend);
    }
}

// ---- what does not fit ----

static void test_refused(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, STORED_U4);
    const float two[8] = {0};
    const int32_t whole[4] = {0};
    const struct sdg_tensor
        odd = {.name = "odd", .dtype = SDG_F32, .rank = 2, .dims = {1, LINEAR + 2}, .data = two},
        vector = {.name = "vector", .dtype = SDG_F32, .rank = 1, .dims = {O}, .data = two, .bytes = 24},
        ints = {.name = "ints", .dtype = SDG_S32, .rank = 2, .dims = {1, 4}, .data = whole, .bytes = 16},
        none = {.name = "none", .dtype = SDG_F32, .rank = 2, .dims = {O, 0}, .data = two};
    struct sdg_tensor longer = odd;
    longer.bytes = (LINEAR + 2) * sizeof(float);
    const struct sdg_tensor *up = sdg_tensors_find(w.parts, "l.up0"), *down = sdg_tensors_find(w.parts, "l.down0"),
                            *up1 = sdg_tensors_find(w.parts, "l.up1"), *down1 = sdg_tensors_find(w.parts, "l.down1");
    const struct {
        struct sdg_low_rank part;
        const char *words;
    } cases[] = {
        {{"absent.weight", up, down, 1}, "absent.weight"},
        {{"linear.weight_scale", up, down, 1}, "matrix"},
        {{"linear.weight", up, down1, 1}, "[1, 33]"},
        {{"linear.weight", up1, down, 1}, "[6, 1]"},
        {{"linear.weight", down, up, 1}, "l.down0"},
        {{"linear.weight", up, sdg_tensors_find(w.parts, "c.down0"), 1}, "[3, 45]"},
        {{"linear.weight", up1, &longer, 1}, "[1, 35]"},
        {{"linear.weight", up, &vector, 1}, "floats"},
        {{"linear.weight", &ints, down, 1}, "floats"},
        {{"linear.weight", &none, down, 1}, "floats"},
        {{"linear.weight", up, down, NAN}, "finite"},
        {{"linear.weight", up, down, INFINITY}, "finite"},
    };
    char before[17], after[17];
    sdg_tensors_fingerprint(w.base, before);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_log t;
        const struct sdg_low_rank both[2] = {{"linear.weight", up, down, 1}, cases[i].part};
        assert_int_equal(sdg_tensors_add_low_rank(temp_log(&t), w.base, both, 2), SDG_ERROR_INPUT);
        if (t.errors != 1 || !strstr(t.last, cases[i].words) || !strstr(t.last, "base.safetensors"))
            fail_msg("case %zu: '%s' should have '%s'", i, t.last, cases[i].words);
    }
    sdg_tensors_fingerprint(w.base, after);
    assert_string_equal(after, before);
    // 34 inputs fit into the bytes of 33: the graph knows.
    struct sdg_tensor even = longer;
    even.dims[1] = LINEAR + 1;
    even.bytes = (LINEAR + 1) * sizeof(float);
    float row[LINEAR + 2] = {0};
    even.data = row;
    assert_int_equal(sdg_tensors_add_low_rank(NULL, w.base, &(struct sdg_low_rank){"linear.weight", up1, &even, 1}, 1),
                     SDG_OK);
    struct temp_log t;
    struct sdg_graph *g;
    struct sdg_weight found;
    assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
    assert_int_equal(sdg_weight_find(temp_log(&t), w.base, weight_value(g, &w.linear), &found), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, "linear.weight"));
    sdg_graph_destroy(&g);
    free_world(&w);
}

// A model with something added is another model, and no file can hold it.
static void test_identity(void **state)
{
    (void)state;
    struct world w;
    char texts[4][17];
    make_world(&w, STORED_S8);
    const struct sdg_tensor *up = sdg_tensors_find(w.parts, "l.up0"), *down = sdg_tensors_find(w.parts, "l.down0");
    sdg_tensors_fingerprint(w.base, texts[0]);
    for (int i = 1; i < 4; i++) {
        const struct sdg_low_rank part = {"linear.weight", up, down, i == 2 ? 0.5f : 0.25f};
        assert_int_equal(sdg_tensors_add_low_rank(NULL, w.base, &part, 1), SDG_OK);
        sdg_tensors_fingerprint(w.base, texts[i]);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(texts[i], texts[j]);
    }
    struct temp_log t;
    assert_int_equal(sdg_tensors_write(temp_log(&t), temp_path("sum.safetensors"),
                                       sdg_tensors_find(w.base, "linear.weight"), 1, NULL, 0),
                     SDG_ERROR_USAGE);
    assert_true(t.errors == 1 && strstr(t.last, "linear.weight") && access(temp_path("sum.safetensors"), F_OK) != 0);
    struct sdg_graph *g; // codes that something was added to are no codes any more
    struct sdg_weight found;
    assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
    assert_int_equal(sdg_weight_find(NULL, w.base, weight_value(g, &w.linear), &found), SDG_OK);
    assert_int_equal(sdg_weight_code_bits(&found), 0);
    assert_int_equal(sdg_weight_find(NULL, w.base, weight_value(g, &w.conv), &found), SDG_OK);
    assert_int_equal(sdg_weight_code_bits(&found), 8);
    sdg_graph_destroy(&g);
    free_world(&w);
}

static void test_allocations(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct world w;
        struct temp_log t;
        char before[17], after[17];
        make_world(&w, STORED_F32);
        const struct sdg_low_rank part = {"linear.weight", sdg_tensors_find(w.parts, "l.up0"),
                                          sdg_tensors_find(w.parts, "l.down0"), 1};
        sdg_tensors_fingerprint(w.base, before);
        sdg_test_fail_allocation(n);
        enum sdg_result result = sdg_tensors_add_low_rank(temp_log(&t), w.base, &part, 1);
        sdg_test_fail_allocation(0);
        sdg_tensors_fingerprint(w.base, after);
        free_world(&w);
        if (result == SDG_OK) {
            assert_true(n > 1 && strcmp(before, after) != 0);
            break;
        }
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_string_equal(before, after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),      cmocka_unit_test(test_slices),  cmocka_unit_test(test_integers),
        cmocka_unit_test(test_programs),    cmocka_unit_test(test_refused), cmocka_unit_test(test_identity),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
