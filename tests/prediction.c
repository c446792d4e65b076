// What a Stable Diffusion 2.x checkpoint predicts is measured where it does not say so: a small one with random
// weights, which gives nothing like its input, and the same with a path through it that gives just that.
#include "base/memory.h"
#include "formats/names.h"
#include "formats/tensors.h"
#include "sdgen/sdgen.h"
#include "tests/temp.h"
#include "text/text_encoder.h"
#include "unet/unet.h"
#include "vae/vae.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { WIDTH = 64, GROUPS = 32, LEVELS = 2, TENSORS_MAX = 1000, FACTOR = 2 };

static const struct sdg_unet_config unet_config = {
    .in_channels = 4,
    .out_channels = 4,
    .levels = LEVELS,
    .channels = {WIDTH, WIDTH},
    .down_attention = {true, true},
    .up_attention = {true, true},
    .mid_attention = true,
    .mid_resnets = 2,
    .layers_per_block = {1, 1},
    .heads = {1, 1},
    .transformer_layers = {1, 1},
    .cross_attention_dim = WIDTH,
    .norm_groups = GROUPS,
    .norm_eps = 1e-5f,
    .linear_projection = true,
    .flip_sin_to_cos = true,
};
static const struct sdg_vae_config vae_config = {
    .in_channels = 3,
    .out_channels = 3,
    .latent_channels = 4,
    .levels = LEVELS,
    .channels = {32, 32},
    .layers_per_block = 1,
    .norm_groups = GROUPS,
    .mid_attention = true,
    .quant_conv = true,
    .post_quant_conv = true,
    .scaling_factor = 0.18215f,
};
static const struct sdg_text_config text_config = {
    .vocab_size = 20,
    .hidden = WIDTH,
    .intermediate = 2 * WIDTH,
    .layers = 2,
    .heads = 1,
    .positions = 77,
    .activation = SDG_TEXT_GELU,
    .eps = 1e-5f,
    .eos_token_id = 2,
};
static const struct sdg_ldm_layout layout = {
    .unet_layers = 1, .unet_levels = LEVELS, .up_attention = {true, true}, .vae_levels = LEVELS};

static struct sdg_tensor tensors[TENSORS_MAX];
static char names[TENSORS_MAX][SDG_NAME_ROOM];
static float *data[TENSORS_MAX];
static size_t count;

// ---- the checkpoint ----

static uint32_t state = 1;

static float random_number(void) // even between -1 and 1
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1;
}

// Weights keep the size of what goes through them; norms scale by about 1.
static void fill(const struct sdg_value_info *v, float *to)
{
    const int64_t inputs = v->dims[1] * v->dims[2] * v->dims[3];
    const bool scale = v->rank == 1 && strstr(v->name, "norm") && strstr(v->name, ".weight");
    for (int64_t i = 0; i < sdg_value_elements(v); i++)
        to[i] = (scale ? 1 : 0) + random_number() * (v->rank == 1 ? 0.15f : sqrtf(3.0f / (float)inputs));
}

static void add_weight(const struct sdg_value_info *v, enum sdg_part part)
{
    char ldm[SDG_NAME_ROOM], name[SDG_NAME_ROOM + 40];
    assert_true(sdg_name_to_ldm(part, &layout, v->name, ldm));
    snprintf(name, sizeof name, "%s%s", sdg_ldm_prefix(part), ldm);
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return;
    assert_true(count < TENSORS_MAX && strlen(name) < sizeof names[0]);
    memcpy(names[count], name, strlen(name) + 1);
    data[count] = sdg_alloc_raw(NULL, (size_t)sdg_value_elements(v), sizeof **data, "a tensor");
    assert_non_null(data[count]);
    fill(v, data[count]);
    tensors[count] = (struct sdg_tensor){.name = names[count],
                                         .dtype = SDG_F32,
                                         .rank = v->rank,
                                         .data = data[count],
                                         .bytes = sizeof(float) * (size_t)sdg_value_elements(v)};
    memcpy(tensors[count].dims, v->dims, sizeof v->dims);
    count++;
}

static void add_weights(enum sdg_result result, struct sdg_graph *graph, enum sdg_part part)
{
    assert_int_equal(result, SDG_OK);
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == SDG_VALUE_WEIGHT)
            add_weight(&graph->values[i], part);
    sdg_graph_destroy(&graph);
}

static int make_checkpoint(void **unused)
{
    (void)unused;
    const struct sdg_unet_shape shape = sdg_unet_smallest_shape(&unet_config);
    const struct sdg_text_params whole = {.batch = 1, .tokens = 1, .skip = 1, .final_norm = true};
    struct sdg_graph *g = NULL;
    enum sdg_result result;
    temp_make();
    result = sdg_unet_step_graph(NULL, &unet_config, &shape, &g);
    add_weights(result, g, SDG_PART_UNET);
    result = sdg_unet_time_graph(NULL, &unet_config, 1, &g);
    add_weights(result, g, SDG_PART_UNET);
    result = sdg_unet_context_graph(NULL, &unet_config, 1, 1, &g);
    add_weights(result, g, SDG_PART_UNET);
    result = sdg_vae_decoder_graph(NULL, &vae_config, 1, 1, 1, &g);
    add_weights(result, g, SDG_PART_VAE);
    result = sdg_vae_encoder_graph(NULL, &vae_config, 1, FACTOR, FACTOR, &g);
    add_weights(result, g, SDG_PART_VAE);
    result = sdg_text_graph(NULL, &text_config, &whole, &g);
    add_weights(result, g, SDG_PART_TEXT);
    return 0;
}

static int free_checkpoint(void **unused)
{
    (void)unused;
    while (count)
        sdg_free(data[--count]);
    temp_remove();
    return 0;
}

#define UNET "model.diffusion_model."

static float *of(const char *name, float all)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) {
            for (size_t j = 0; j < tensors[i].bytes / sizeof(float); j++)
                data[i][j] = all;
            return data[i];
        }
    fail_msg("there is no %s", name);
    return NULL;
}

// Two channels hold a channel of the latent and its negative; the last block passes them by from the first convolution;
// the last norm keeps their form, and silu(x) - silu(-x) = x. What is between may give what it likes.
static void make_identity(void)
{
    float *const first = of(UNET "input_blocks.0.0.weight", 0), *const last = of(UNET "out.2.weight", 0),
                 *const skip = of(UNET "output_blocks.3.0.skip_connection.weight", 0);
    static const char *const zeros[] = {UNET "input_blocks.0.0.bias",
                                        UNET "output_blocks.3.0.skip_connection.bias",
                                        UNET "output_blocks.3.0.out_layers.3.weight",
                                        UNET "output_blocks.3.0.out_layers.3.bias",
                                        UNET "output_blocks.3.1.proj_out.weight",
                                        UNET "output_blocks.3.1.proj_out.bias",
                                        UNET "out.0.bias",
                                        UNET "out.2.bias"};
    const int middle = 4;
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        of(zeros[i], 0);
    of(UNET "out.0.weight", 1);
    for (int j = 0; j < WIDTH; j++) {
        const int channel = j / 2 % 4;
        const float sign = j % 2 ? -1 : 1;
        first[(j * 4 + channel) * 9 + middle] = sign;
        skip[j * 2 * WIDTH + WIDTH + j] = 1;
        last[(channel * WIDTH + j) * 9 + middle] = sign / 8;
    }
}

static const char *save(const struct sdg_metadata *metadata)
{
    assert_int_equal(sdg_tensors_write(NULL, temp_path("sd2.safetensors"), tensors, count, metadata, metadata ? 1 : 0),
                     SDG_OK);
    return temp_path("sd2.safetensors");
}

// ---- what is made of it ----

#define TOKENIZER SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/sd2-small/tokenizer"

struct lines {
    int others, found;
    char text[600];
};

static void listen(void *user, enum sdg_log_level level, const char *message)
{
    struct lines *lines = user;
    const bool found = strstr(message, "checkpoint that predicts") != NULL;
    lines->found += found;
    lines->others += level <= SDG_LOG_WARNING;
    if (found || level <= SDG_LOG_WARNING)
        snprintf(lines->text, sizeof lines->text, "%s", message);
}

static void expect(const struct sdg_metadata *metadata, const char *given, const char *prediction, bool measured)
{
    static const char *const backends[] = {"reference", "cpu"};
    const char *const path = save(metadata);
    for (size_t i = 0; i < 2; i++) {
        struct lines lines = {0};
        struct sdg_pipeline *p = NULL;
        struct sdg_pipeline_info info;
        const struct sdg_pipeline_params params = {.model = path,
                                                   .tokenizer = TOKENIZER,
                                                   .backend = backends[i],
                                                   .prediction = given,
                                                   .cache_dir = "",
                                                   .log = {listen, &lines, SDG_LOG_INFO}};
        const enum sdg_result result = sdg_pipeline_create(&params, &p);
        if (result != SDG_OK || lines.others || lines.found != measured)
            fail_msg("result %d, %d lines, %d warnings: %s", (int)result, lines.found, lines.others, lines.text);
        sdg_pipeline_info(p, &info);
        assert_string_equal(info.prediction, prediction);
        assert_int_equal(info.width, FACTOR * (strcmp(prediction, "v") == 0 ? 96 : 64));
        sdg_pipeline_destroy(&p);
        if (measured)
            assert_non_null(
                strstr(lines.text, *prediction == 'v' ? "--prediction eps if not" : "--prediction v if not"));
    }
}

static void test_v(void **unused)
{
    (void)unused;
    const struct sdg_metadata epsilon = {"modelspec.prediction_type", "epsilon"};
    expect(NULL, NULL, "v", true);
    expect(NULL, "eps", "eps", false);
    expect(NULL, "v", "v", false);
    expect(&epsilon, NULL, "eps", false); // what the file says is believed
    expect(&epsilon, "v", "v", false);
}

static void test_noise(void **unused)
{
    (void)unused;
    const struct sdg_metadata v = {"modelspec.architecture", "stable-diffusion-v2-768-v"};
    make_identity();
    expect(NULL, NULL, "eps", true);
    expect(NULL, "v", "v", false);
    expect(&v, NULL, "v", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_v), cmocka_unit_test(test_noise)};
    return cmocka_run_group_tests(tests, make_checkpoint, free_checkpoint);
}
