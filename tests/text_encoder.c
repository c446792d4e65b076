// text/: padding that the text encoder does not see, against transformers; layers counted from the end.
#include "backend/backend.h"
#include "tests/temp.h"
#include "text/text_encoder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { HIDDEN = 8, HEADS = 2, INNER = 16, LAYERS = 2, VOCABULARY = 10, TOKENS = 12, PROMPTS = 3 };

static const struct sdg_text_config config = {.vocab_size = VOCABULARY,
                                              .hidden = HIDDEN,
                                              .intermediate = INNER,
                                              .layers = LAYERS,
                                              .heads = HEADS,
                                              .positions = TOKENS,
                                              .activation = SDG_TEXT_QUICK_GELU,
                                              .eps = 1e-5f,
                                              .eos_token_id = 9,
                                              .mask_padding = true};
static const int32_t ids[PROMPTS][TOKENS] = {
    {8, 3, 4, 9, 0, 0, 0, 0, 0, 0, 0, 0}, {8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {8, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 9}};

// ---- weights by a formula, as in goldens/text/make_masked.py ----

enum { TENSORS_MAX = 40, ELEMENTS_MAX = 4096 };

struct made {
    struct sdg_tensor tensors[TENSORS_MAX];
    char names[TENSORS_MAX][100];
    float numbers[ELEMENTS_MAX];
    size_t count, used;
};

static void add(struct made *m, const char *name, int rows, int columns)
{
    const size_t t = m->count++, elements = (size_t)rows * (size_t)(columns ? columns : 1);
    snprintf(m->names[t], sizeof m->names[t], "text_model.%s", name);
    for (size_t i = 0; i < elements; i++)
        m->numbers[m->used + i] = (float)(sin(0.37 * (double)i + (double)t) * 0.5);
    m->tensors[t] = (struct sdg_tensor){.name = m->names[t],
                                        .dtype = SDG_F32,
                                        .rank = columns ? 2 : 1,
                                        .dims = {rows, columns},
                                        .data = m->numbers + m->used,
                                        .bytes = elements * sizeof(float)};
    m->used += elements;
}

static void add_layer(struct made *m, int layer)
{
    static const struct {
        const char *name;
        int rows, columns;
    } parts[] = {
        {"layer_norm1.weight", HIDDEN, 0},
        {"layer_norm1.bias", HIDDEN, 0},
        {"self_attn.q_proj.weight", HIDDEN, HIDDEN},
        {"self_attn.q_proj.bias", HIDDEN, 0},
        {"self_attn.k_proj.weight", HIDDEN, HIDDEN},
        {"self_attn.k_proj.bias", HIDDEN, 0},
        {"self_attn.v_proj.weight", HIDDEN, HIDDEN},
        {"self_attn.v_proj.bias", HIDDEN, 0},
        {"self_attn.out_proj.weight", HIDDEN, HIDDEN},
        {"self_attn.out_proj.bias", HIDDEN, 0},
        {"layer_norm2.weight", HIDDEN, 0},
        {"layer_norm2.bias", HIDDEN, 0},
        {"mlp.fc1.weight", INNER, HIDDEN},
        {"mlp.fc1.bias", INNER, 0},
        {"mlp.fc2.weight", HIDDEN, INNER},
        {"mlp.fc2.bias", HIDDEN, 0},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[80];
        snprintf(name, sizeof name, "encoder.layers.%d.%s", layer, parts[i].name);
        add(m, name, parts[i].rows, parts[i].columns);
    }
}

static struct sdg_tensors *open_weights(void)
{
    static struct made m;
    struct sdg_tensors *weights = NULL;
    m = (struct made){.count = 0};
    add(&m, "embeddings.token_embedding.weight", VOCABULARY, HIDDEN);
    add(&m, "embeddings.position_embedding.weight", TOKENS, HIDDEN);
    for (int i = 0; i < LAYERS; i++)
        add_layer(&m, i);
    add(&m, "final_layer_norm.weight", HIDDEN, 0);
    add(&m, "final_layer_norm.bias", HIDDEN, 0);
    assert_int_equal(sdg_tensors_write(NULL, temp_path("text.safetensors"), m.tensors, m.count, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("text.safetensors"), &weights), SDG_OK);
    return weights;
}

// ---- runs ----

static void run(const struct sdg_text_params *params, const float *padding, enum sdg_dtype type, float *hidden)
{
    struct sdg_graph *graph = NULL;
    struct sdg_backend *backend = NULL;
    struct sdg_program *program = NULL;
    struct sdg_tensors *weights = open_weights();
    assert_int_equal(sdg_text_graph(NULL, &config, params, &graph), SDG_OK);
    assert_int_equal(sdg_graph_fuse(graph), SDG_OK);
    assert_int_equal(sdg_graph_set_type(graph, type), SDG_OK);
    assert_int_equal(sdg_backend_create(NULL, "reference", &(struct sdg_backend_params){0}, &backend), SDG_OK);
    const struct sdg_program_params program_params = {.weights = weights};
    assert_int_equal(sdg_program_create(backend, graph, &program_params, &program), SDG_OK);
    assert_int_equal(sdg_program_write(program, "ids", ids, (size_t)(PROMPTS * TOKENS)), SDG_OK);
    if (padding)
        assert_int_equal(sdg_program_write(program, "padding", padding, (size_t)(PROMPTS * TOKENS * HIDDEN / HEADS)),
                         SDG_OK);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    assert_int_equal(sdg_program_read(program, "hidden", hidden, (size_t)(PROMPTS * TOKENS * HIDDEN)), SDG_OK);
    sdg_program_destroy(&program);
    sdg_backend_destroy(&backend);
    sdg_graph_destroy(&graph);
    sdg_tensors_destroy(&weights);
}

static double distance(const float *a, const float *b)
{
    double largest = 0;
    for (int i = 0; i < PROMPTS * TOKENS * HIDDEN; i++)
        largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

static void test_masked_padding(void **state)
{
    (void)state;
    static float want[PROMPTS * TOKENS * HIDDEN], got[PROMPTS * TOKENS * HIDDEN], padding[PROMPTS * TOKENS * HIDDEN];
    FILE *file = fopen(SDG_SOURCE_DIR "/tests/goldens/text/masked.txt", "r");
    assert_non_null(file);
    for (int i = 0; i < PROMPTS * TOKENS * HIDDEN; i++)
        assert_int_equal(fscanf(file, "%f", &want[i]), 1);
    fclose(file);
    for (int i = 0; i < PROMPTS; i++)
        sdg_text_padding(&config, ids[i], TOKENS, padding + i * TOKENS * HIDDEN / HEADS);
    struct sdg_text_params params = {
        .batch = PROMPTS, .tokens = TOKENS, .skip = 1, .final_norm = true, .mask_padding = true};
    run(&params, padding, SDG_F32, got);
    print_message("masked: at most %.1e from transformers\n", distance(got, want));
    assert_true(distance(got, want) < 1e-5);
    params.mask_padding = false;
    run(&params, NULL, SDG_F32, got);
    assert_true(distance(got, want) > 1e-2);
}

// One more than there are layers is what goes into the first.
static void test_before_the_first_layer(void **state)
{
    (void)state;
    static float got[PROMPTS * TOKENS * HIDDEN];
    struct sdg_graph *graph = NULL;
    struct sdg_text_params params = {.batch = PROMPTS, .tokens = TOKENS, .skip = LAYERS + 1};
    run(&params, NULL, SDG_F32, got);
    for (int i = 0; i < PROMPTS * TOKENS * HIDDEN; i++) {
        const int row = i / HIDDEN, column = i % HIDDEN, id = ids[row / TOKENS][row % TOKENS];
        const double token = sin(0.37 * (id * HIDDEN + column)) * 0.5,
                     position = sin(0.37 * (row % TOKENS * HIDDEN + column) + 1) * 0.5;
        assert_true(fabs(got[i] - token - position) < 1e-6);
    }
    params.skip = LAYERS + 2;
    assert_int_equal(sdg_text_graph(NULL, &config, &params, &graph), SDG_ERROR_USAGE);
    params.skip = 0;
    assert_int_equal(sdg_text_graph(NULL, &config, &params, &graph), SDG_ERROR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_masked_padding),
                                       cmocka_unit_test(test_before_the_first_layer)};
    return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
