// Learning by gradients: AdamW and updates of a whole block against torch (tests/goldens/learn), and what has to hold
// of any learning: the same seed gives the same bytes, nothing that is worse is kept, what cannot be learned is
// refused.
#include "base/memory.h"
#include "learn/adamw.h"
#include "learn/block_learner.h"
#include "mamba/mamba.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sdg_tensors *golden;

static const struct sdg_tensor *find(const char *name)
{
    const struct sdg_tensor *t = sdg_tensors_find(golden, name);
    if (!t)
        fail_msg("the golden has no %s", name);
    return t;
}

// Elements of a golden tensor of type f64 or f32.
static double *doubles(const char *name, size_t *count)
{
    const struct sdg_tensor *t = find(name);
    const size_t n = t->bytes / (t->dtype == SDG_F64 ? sizeof(double) : sizeof(float));
    double *data = malloc(n * sizeof *data);
    for (size_t i = 0; i < n; i++)
        if (t->dtype == SDG_F64) {
            memcpy(&data[i], (const char *)t->data + i * sizeof(double), sizeof(double));
        } else {
            float one;
            memcpy(&one, (const char *)t->data + i * sizeof one, sizeof one);
            data[i] = (double)one;
        }
    if (count)
        *count = n;
    return data;
}

static float *floats(const char *name)
{
    const struct sdg_tensor *t = find(name);
    float *data = malloc(t->bytes);
    assert_int_equal(t->dtype, SDG_F32);
    memcpy(data, t->data, t->bytes);
    return data;
}

// ---- AdamW ----

static void adamw(void **state)
{
    (void)state;
    static const struct sdg_adamw_range ranges[] = {{5, 3e-2}, {3, 7e-3}};
    static const struct sdg_adamw_options options = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .decay = 0.1, .clip = 2};
    enum { COUNT = 8, UPDATES = 5 };
    struct sdg_adamw a;
    double *p = doubles("adamw.start", NULL), *g = doubles("adamw.gradients", NULL),
           *after = doubles("adamw.after", NULL);
    assert_int_equal(sdg_adamw_create(NULL, ranges, 2, &options, &a), SDG_OK);
    assert_int_equal(a.count, COUNT);
    int clipped = 0;
    for (size_t u = 0; u < UPDATES; u++) {
        clipped += sdg_adamw_step(&a, 1, p, g + u * COUNT) > options.clip;
        for (size_t i = 0; i < COUNT; i++)
            assert_true(fabs(p[i] - after[u * COUNT + i]) <= 1e-12);
    }
    assert_in_range(clipped, 1, UPDATES - 1); // both happen
    sdg_adamw_clear(&a);
    free(p), free(g), free(after);
}

// ---- a block ----

enum { SAMPLES = 4, TOKENS = 5, CHANNELS = 12, RANK = 2, SITES = 6, ROWS = 2 };
static const char *const sites[SITES] = {"in_proj", "x_proj", "dt_proj", "x_proj_b", "dt_proj_b", "out_proj"};

struct lesson {
    struct sdg_backend *backend;
    struct sdg_graph *network;
    struct sdg_block block;
    struct sdg_quantized quantized;
    struct sdg_quantized_site q_sites[SITES];
    struct sdg_quantized_layer q_layers[SITES];
    float fake_scales[TOKENS];
    int fake_zeros[TOKENS];
    struct sdg_learnable what;
    // by sites as the block has them
    float *scales[SITES], *zeros[SITES], *smoothing[SITES], *steps[SITES];
    float *input, *target;
    size_t rows[SAMPLES];
    struct sdg_learn_problem problem;
};

// The network is the block between two operations, and its last operation adds a residual, as in a transformer.
static void build_network(struct lesson *l)
{
    static const struct sdg_mamba_config config = {
        .d_state = 3, .d_conv = 3, .expand = 1, .dt_rank = RANK, .bidirectional = true, .halve = true};
    assert_int_equal(sdg_graph_create(NULL, &l->network), SDG_OK);
    sdg_value x = sdg_graph_input(l->network, "x", SAMPLES, 1, TOKENS, CHANNELS),
              h = sdg_graph_unary(l->network, "before", x, SDG_UNARY_TANH);
    h = sdg_mamba_block(l->network, "block", h, x, &config);
    sdg_graph_output(l->network, "y", sdg_graph_unary(l->network, "after", h, SDG_UNARY_TANH));
    assert_int_equal(sdg_graph_fuse(l->network), SDG_OK);
}

static float *part(const char *site, const char *what)
{
    char name[100];
    snprintf(name, sizeof name, "block.%s.%s", site, what);
    return floats(name);
}

// Intervals at two rows: the golden's at the second one, which all samples are of, and some others at the first.
static void begin_site(struct lesson *l, size_t i)
{
    const char *name = l->what.sites[i].name + strlen("block.");
    float *scales = part(name, "scales"), *zeros = part(name, "zeros");
    l->scales[i] = malloc(ROWS * TOKENS * sizeof(float));
    l->zeros[i] = malloc(ROWS * TOKENS * sizeof(float));
    for (size_t t = 0; t < TOKENS; t++) {
        l->scales[i][t] = 1.25f * scales[t];
        l->scales[i][TOKENS + t] = scales[t];
        l->zeros[i][t] = zeros[t];
        l->zeros[i][TOKENS + t] = zeros[t];
    }
    l->smoothing[i] = part(name, "smoothing");
    free(scales), free(zeros);
}

static void describe_quantized(struct lesson *l)
{
    for (size_t i = 0; i < TOKENS; i++)
        l->fake_scales[i] = 1;
    for (size_t i = 0; i < SITES; i++) {
        char *name = malloc(40);
        snprintf(name, 40, "block.%s", sites[i]);
        l->q_sites[i] = (struct sdg_quantized_site){.name = name,
                                                    .times = 1,
                                                    .tokens = TOKENS,
                                                    .height = 1,
                                                    .width = TOKENS,
                                                    .scales = l->fake_scales,
                                                    .zero_points = l->fake_zeros};
        l->q_layers[i] = (struct sdg_quantized_layer){.name = name, .bits = 4};
    }
    l->quantized =
        (struct sdg_quantized){.scheme = {.weight_bits = 4, .activation_bits = 4, .rule = SDG_INTERVAL_TOKEN},
                               .sites = l->q_sites,
                               .site_count = SITES,
                               .layers = l->q_layers,
                               .layer_count = SITES};
}

static void begin(struct lesson *l, const char *backend)
{
    *l = (struct lesson){0};
    const struct sdg_backend_params params = {.threads = 2};
    assert_int_equal(sdg_backend_create(NULL, backend, &params, &l->backend), SDG_OK);
    build_network(l);
    describe_quantized(l);
    assert_int_equal(sdg_block_extract(NULL, l->network, "block", &l->block), SDG_OK);
    assert_int_equal(sdg_learnable_find(l->block.graph, &l->quantized, golden, &l->what), SDG_OK);
    assert_true(l->what.site_count == SITES && l->what.layer_count == SITES);
    for (size_t i = 0; i < SITES; i++) {
        begin_site(l, i);
        l->steps[i] = part(l->what.layers[i].name + strlen("block."), "steps");
        assert_true(l->what.layers[i].site == i && l->what.layers[i].lowest == -8 && l->what.sites[i].highest == 15);
    }
    l->input = floats("block.input");
    l->target = floats("block.target");
    for (size_t i = 0; i < SAMPLES; i++)
        l->rows[i] = 1;
    l->problem = (struct sdg_learn_problem){.backend = l->backend,
                                            .block = l->block.graph,
                                            .weights = golden,
                                            .what = &l->what,
                                            .rows = ROWS,
                                            .scales = (const float *const *)l->scales,
                                            .zeros = (const float *const *)l->zeros,
                                            .smoothing = (const float *const *)l->smoothing,
                                            .steps = (const float *const *)l->steps,
                                            .learned = {SAMPLES, l->rows, {l->input}, l->target}};
}

static void end(struct lesson *l)
{
    for (size_t i = 0; i < SITES; i++) {
        free(l->scales[i]), free(l->zeros[i]), free(l->smoothing[i]), free(l->steps[i]);
        free(l->q_sites[i].name);
    }
    free(l->input), free(l->target);
    sdg_learnable_clear(&l->what);
    sdg_block_clear(&l->block);
    sdg_graph_destroy(&l->network);
    sdg_backend_destroy(&l->backend);
}

static struct sdg_learn_options golden_options(int updates)
{
    struct sdg_learn_options o = sdg_learn_defaults();
    o.updates = updates;
    o.runs = 1;
    o.weight_rate = 8 * 5e-3; // 4 bits: 8 codes to either side
    o.activation_rate = 8 * 4e-3;
    o.smoothing_rate = 1e-2;
    return o;
}

// ---- against torch ----

struct losses {
    int count;
    double seen[8];
};

static bool keep_loss(void *user, int update, int updates, double loss)
{
    struct losses *l = user;
    assert_true(update == l->count + 1 && update <= updates);
    l->seen[l->count++] = loss;
    return true;
}

// The golden has the logarithms of factors: steps, scales, 1 / smoothing, each of all sites in the order of `sites`.
static size_t site_index(const struct lesson *l, const char *name)
{
    size_t i = 0;
    while (strcmp(l->what.sites[i].name + strlen("block."), name) != 0)
        i++;
    return i;
}

static double worst_difference(const struct lesson *l, const struct sdg_learned *learned, const double *wanted)
{
    double worst = 0;
    for (int kind = 0; kind < 3; kind++)
        for (size_t s = 0; s < SITES; s++) {
            const size_t i = site_index(l, sites[s]),
                         count = kind == 0 ? l->what.layers[i].outputs
                : kind == 1                ? l->what.sites[i].tokens
                                           : l->what.sites[i].channels;
            for (size_t k = 0; k < count; k++) {
                const double factor = kind == 0 ? (double)learned->steps[i][k] / (double)l->steps[i][k]
                    : kind == 1                 ? (double)learned->factors[i][k]
                                                : (double)l->smoothing[i][k] / (double)learned->smoothing[i][k];
                worst = fmax(worst, fabs(log(factor) - *wanted++));
            }
        }
    return worst;
}

// Updates are of the size of the rates, 4e-3 to 1e-2: their signs and shares of the clipped gradient are right only if
// each gradient is.
static void check_updates(const char *backend, enum sdg_learn_loss loss, int updates)
{
    char names[2][32];
    struct lesson l;
    struct sdg_learned learned;
    struct losses losses = {0};
    for (int i = 0; i < 2; i++)
        snprintf(names[i], sizeof names[i], "block.%s.%d.%s", loss == SDG_LOSS_ERROR ? "error" : "cosine", updates,
                 i ? "after" : "losses");
    double *wanted = doubles(names[0], NULL), *after = doubles(names[1], NULL);
    struct sdg_learn_options options = golden_options(updates);
    options.loss = loss;
    begin(&l, backend);
    assert_int_equal(sdg_learn_block(&l.problem, &options, keep_loss, &losses, &learned), SDG_OK);
    print_message("loss %.9f -> %.9f, torch %.9f -> %.9f\n", learned.loss_before, learned.loss_after, wanted[0],
                  wanted[updates]);
    assert_true(learned.better && losses.count == updates);
    assert_true(fabs(learned.loss_before - wanted[0]) < 1e-6 && fabs(learned.loss_after - wanted[updates]) < 1e-6);
    for (int i = 0; i < updates; i++)
        assert_true(fabs(losses.seen[i] - wanted[i]) < 1e-6);
    const double worst = worst_difference(&l, &learned, after);
    print_message("%s, %d updates: largest difference from torch %.1e, of parameters that moved by up to 1e-2\n",
                  backend, updates, worst);
    assert_true(worst < 2e-5);
    sdg_learned_clear(&learned);
    end(&l);
    free(wanted), free(after);
}

static void updates_of_a_block(void **state)
{
    (void)state;
    static const enum sdg_learn_loss losses[] = {SDG_LOSS_ERROR, SDG_LOSS_COSINE};
    for (int i = 0; i < 2; i++)
        for (int updates = 1; updates <= 3; updates += 2) {
            check_updates("reference", losses[i], updates);
            check_updates("cpu", losses[i], updates);
        }
}

static void targets(void **state)
{
    (void)state;
    struct lesson l;
    begin(&l, "reference");
    const size_t elements = TOKENS * CHANNELS;
    float *answer = floats("block.answer"), *all = malloc((SAMPLES + 1) * elements * sizeof *all),
          *one = malloc(elements * sizeof *one), *more = malloc((SAMPLES + 1) * elements * sizeof *more);
    memcpy(more, l.input, SAMPLES * elements * sizeof *more);
    memcpy(more + SAMPLES * elements, l.input + elements, elements * sizeof *more);
    const float *inputs[SDG_BLOCK_INPUTS] = {more};
    assert_int_equal(sdg_learn_targets(l.backend, l.block.graph, golden, inputs, SAMPLES + 1, all), SDG_OK);
    float largest = 0, worst = 0;
    for (size_t i = 0; i < SAMPLES * elements; i++) {
        largest = fmaxf(largest, fabsf(answer[i]));
        worst = fmaxf(worst, fabsf(all[i] - answer[i]));
    }
    print_message("largest answer %.2f, error %.1e\n", (double)largest, (double)worst);
    assert_true(worst < 3e-7f * largest); // some roundings of f32, 6e-8 each, on the way through five layers and a scan
    inputs[0] = more + elements;          // whole batches and parts of one
    assert_int_equal(sdg_learn_targets(l.backend, l.block.graph, golden, inputs, 1, one), SDG_OK);
    assert_memory_equal(one, all + elements, elements * sizeof *one);
    assert_memory_equal(one, all + SAMPLES * elements, elements * sizeof *one);
    free(all), free(one), free(more), free(answer);
    end(&l);
}

// ---- what has to hold of any learning ----

static void run_twice(uint64_t first_seed, uint64_t second_seed, bool same)
{
    struct sdg_learned learned[2];
    struct lesson l[2];
    for (int i = 0; i < 2; i++) {
        struct sdg_learn_options options = golden_options(6);
        options.seed = i ? second_seed : first_seed;
        begin(&l[i], "cpu");
        l[i].rows[0] = l[i].rows[1] = l[i].rows[3] = 0; // three of a batch of four
        assert_int_equal(sdg_learn_block(&l[i].problem, &options, NULL, NULL, &learned[i]), SDG_OK);
    }
    bool equal = learned[0].loss_after == learned[1].loss_after;
    for (size_t i = 0; i < SITES; i++)
        equal &= !memcmp(learned[0].factors[i], learned[1].factors[i], TOKENS * sizeof(float)) &&
            !memcmp(learned[0].steps[i], learned[1].steps[i], l[0].what.layers[i].outputs * sizeof(float));
    assert_true(equal == same);
    for (int i = 0; i < 2; i++) {
        sdg_learned_clear(&learned[i]);
        end(&l[i]);
    }
}

static void seeds(void **state)
{
    (void)state;
    run_twice(1, 1, true);
    run_twice(1, 2, false);
}

// Rates with which every update overshoots: what was there at first comes back, to the bit.
static void nothing_worse_is_kept(void **state)
{
    (void)state;
    struct lesson l;
    struct sdg_learned learned;
    struct sdg_learn_options options = golden_options(3);
    options.weight_rate = options.activation_rate = 8;
    begin(&l, "cpu");
    assert_int_equal(sdg_learn_block(&l.problem, &options, NULL, NULL, &learned), SDG_OK);
    assert_true(!learned.better && learned.loss_after == learned.loss_before);
    for (size_t i = 0; i < SITES; i++) {
        for (size_t t = 0; t < TOKENS; t++)
            assert_true(learned.factors[i][t] == 1);
        assert_memory_equal(learned.steps[i], l.steps[i], l.what.layers[i].outputs * sizeof(float));
        assert_memory_equal(learned.smoothing[i], l.smoothing[i], l.what.sites[i].channels * sizeof(float));
    }
    sdg_learned_clear(&learned);
    end(&l);
}

static bool stop_at_two(void *user, int update, int updates, double loss)
{
    (void)user, (void)updates, (void)loss;
    return update < 2;
}

static void refusals(void **state)
{
    (void)state;
    struct lesson l;
    struct sdg_learned learned;
    struct temp_log t;
    struct sdg_learnable what;
    const struct sdg_learn_options options = golden_options(3);
    begin(&l, "cpu");
    assert_int_equal(sdg_learn_block(&l.problem, &options, stop_at_two, NULL, &learned), SDG_ERROR_CANCELLED);
    l.problem.log = temp_log(&t);
    l.problem.learned.count = 0;
    assert_int_equal(sdg_learn_block(&l.problem, &options, NULL, NULL, &learned), SDG_ERROR_USAGE);
    l.problem.learned.count = SAMPLES;
    l.input[7] = NAN;
    temp_log(&t);
    assert_int_equal(sdg_learn_block(&l.problem, &options, NULL, NULL, &learned), SDG_ERROR_COMPUTE);
    assert_int_equal(t.errors, 1);
    // Sites measured at run time have nothing to learn; intervals of another number of tokens do not fit.
    for (size_t i = 0; i < SITES; i++)
        l.q_sites[i].times = 0;
    assert_int_equal(sdg_learnable_find(l.block.graph, &l.quantized, golden, &what), SDG_ERROR_INPUT);
    for (size_t i = 0; i < SITES; i++)
        l.q_sites[i].times = 1, l.q_sites[i].tokens = TOKENS + 1;
    assert_int_equal(sdg_learnable_find(l.block.graph, &l.quantized, golden, &what), SDG_ERROR_INPUT);
    end(&l);
}

// Codes of six bits are stored in eight, whatever the bits of the scheme: what the codes are tells them apart.
static void bits_of_codes(void **state)
{
    (void)state;
    static const int largest[SITES] = {31, 127, -32, -33, 32, 31}, bits[SITES] = {6, 8, 6, 8, 8, 6};
    static const int schemes[] = {6, 8, 4};
    static int8_t codes[SITES][2048];
    struct lesson l;
    struct sdg_tensor tensors[SITES];
    struct sdg_tensors *stored;
    begin(&l, "cpu");
    for (size_t i = 0; i < SITES; i++) {
        const struct sdg_value_info *w = &l.block.graph->values[l.what.layers[i].weight];
        const size_t count = (size_t)(w->dims[0] * w->dims[1]);
        assert_in_range(count, 2, sizeof codes[i]);
        codes[i][count / 2] = (int8_t)largest[i];
        tensors[i] = (struct sdg_tensor){.name = w->name,
                                         .dtype = SDG_S8,
                                         .rank = 2,
                                         .dims = {w->dims[0], w->dims[1]},
                                         .data = codes[i],
                                         .bytes = count};
        l.q_layers[i].bits = 8;
    }
    temp_make();
    assert_int_equal(sdg_tensors_write(NULL, temp_path("codes"), tensors, SITES, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("codes"), &stored), SDG_OK);
    for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
        struct sdg_learnable what;
        l.quantized.scheme.weight_bits = schemes[s];
        assert_int_equal(sdg_learnable_find(l.block.graph, &l.quantized, stored, &what), SDG_OK);
        for (size_t i = 0; i < SITES; i++) {
            const int half = 1 << (bits[i] - 1);
            assert_true(what.layers[i].lowest == -half && what.layers[i].highest == half - 1);
        }
        sdg_learnable_clear(&what);
    }
    sdg_tensors_destroy(&stored);
    temp_remove_tree(temp_root);
    end(&l);
}

static int open_golden(void **state)
{
    (void)state;
    return sdg_tensors_open(NULL, SDG_SOURCE_DIR "/tests/goldens/learn/expected.safetensors", &golden) != SDG_OK;
}

static int close_golden(void **state)
{
    (void)state;
    sdg_tensors_destroy(&golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_codes), cmocka_unit_test(adamw), cmocka_unit_test(updates_of_a_block),
        cmocka_unit_test(targets),       cmocka_unit_test(seeds), cmocka_unit_test(nothing_worse_is_kept),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
