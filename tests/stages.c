// The stages of a picture and their networks as tables, and what is decided with them: memory, tiles, residency.
#define _GNU_SOURCE // dl_iterate_phdr, for tests/support/drivers.h
#include "base/file.h"
#include "pipeline/backends.h"
#include "pipeline/memory_plan.h"
#include "pipeline/stages.h"
#include "tests/support/drivers.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TINY SDG_SHARED_DIR "/goldens/pipelines/sd15-tiny"
#define TINY_XL SDG_SHARED_DIR "/goldens/pipelines/sdxl-tiny"

static bool missing(const char *model)
{
    if (sdg_path_kind(model) == SDG_PATH_FOLDER)
        return false;
    print_message("skipped: there is no %s\n", model);
    return true;
}

struct messages {
    char errors[600], notes[600]; // the last of each
};

static void collect(void *user, enum sdg_log_level level, const char *message)
{
    struct messages *m = user;
    if (level == SDG_LOG_ERROR)
        snprintf(m->errors, sizeof m->errors, "%s", message);
    if (level == SDG_LOG_INFO)
        snprintf(m->notes, sizeof m->notes, "%s", message);
}

static struct sdg_pipeline *open_pipeline(const char *model, double max_memory, struct messages *messages)
{
    struct sdg_pipeline *p = NULL;
    const struct sdg_pipeline_params params = {
        .model = model,
        .backend = "reference",
        .max_memory = max_memory,
        .log = {collect, messages, SDG_LOG_INFO},
        .cache_dir = "",
    };
    *messages = (struct messages){0};
    if (sdg_pipeline_create(&params, &p) != SDG_OK)
        fail_msg("%s", messages->errors);
    return p;
}

// ---- the tables ----

static void rows_are_whole(void **state)
{
    (void)state;
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const struct sdg_network_row *row = sdg_network_row((enum sdg_network_kind)i);
        assert_true(row->name && row->shape && row->build && row->weights);
        assert_true(row->stage < SDG_STAGE_COUNT);
        assert_true((row->residency == SDG_RESIDENT_FILL) == (row->kept != NULL));
        for (int k = 1; k < i; k++)
            assert_string_not_equal(row->name, sdg_network_row((enum sdg_network_kind)k)->name);
        if (row->loads_during) // in an earlier stage
            assert_true(sdg_network_row(row->loads_during)->stage < row->stage);
    }
    for (int i = 0; i < SDG_STAGE_COUNT; i++) {
        const struct sdg_stage_row *row = sdg_stage_row((enum sdg_stage)i);
        assert_true(row->key && row->name && row->network);
    }
}

// ---- memory by residency ----

static struct sdg_planned_network planned(size_t weights, size_t rest, size_t host)
{
    return (struct sdg_planned_network){.planned = true,
                                        .memory = {.weights = weights, .arena = rest, .total = weights + rest},
                                        .host = host,
                                        .total = weights + rest + host};
}

static void peaks_follow_residency(void **state)
{
    static const struct {
        const char *what;
        size_t text, unet_weights, unet_rest, decoder_weights, decoder_rest, encoder; // each has 1 on the host besides
        size_t alone, kept;
    } cases[] = {
        // the text encoder is gone before anything is kept
        {"text", 1000, 10, 20, 3, 40, 0, 1001, 1001},
        // the decoder's weights are loaded in the UNet's last step; kept from the picture before, all of it is there
        {"UNet", 0, 500, 20, 3, 40, 0, 524, 564},
        // the UNet is there as well if it is kept
        {"decoder", 0, 10, 20, 30, 400, 0, 431, 461},
        // the encoder runs in every picture, beside both
        {"encoder", 0, 10, 20, 3, 40, 900, 901, 974},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_memory_plan plan = {0};
        plan.networks[SDG_NETWORK_TEXT] = planned(cases[i].text, 0, 1);
        plan.networks[SDG_NETWORK_UNET_STEP] = planned(cases[i].unet_weights, cases[i].unet_rest, 1);
        plan.networks[SDG_NETWORK_DECODER] = planned(cases[i].decoder_weights, cases[i].decoder_rest, 1);
        if (cases[i].encoder)
            plan.networks[SDG_NETWORK_ENCODER] = planned(cases[i].encoder, 0, 1);
        print_message("%s\n", cases[i].what);
        assert_int_equal(sdg_memory_plan_largest(&plan, false), cases[i].alone);
        assert_int_equal(sdg_memory_plan_largest(&plan, true), cases[i].kept);
    }
}

// By the pipeline's parameter alone, whatever number in a batch a picture has.
static void networks_stay_as_asked_for(void **state)
{
    static const int images[][2] = {{0, 0}, {0, 1}, {0, 3}, {1, 3}, {2, 3}};
    struct messages messages;
    (void)state;
    if (missing(TINY))
        return;
    struct sdg_pipeline *p = open_pipeline(TINY, 0, &messages);
    for (int keep = SDG_KEEP_NOTHING; keep <= SDG_KEEP_NETWORKS; keep++)
        for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
            const struct sdg_generate_params g = {.prompt = "a", .image = images[i][0], .images = images[i][1]};
            struct sdg_job job;
            p->params.keep = (enum sdg_keep)keep;
            assert_int_equal(sdg_job_create(p, &g, &job), SDG_OK);
            assert_int_equal(job.keep_networks, keep == SDG_KEEP_NETWORKS);
            sdg_job_clear(&job);
        }
    sdg_pipeline_destroy(&p);
}

// ---- types ----

// What is computed in when nobody says: the file's type, where the device has it.
static void types_by_default(void **state)
{
    static const struct {
        enum sdg_dtype file;
        struct sdg_device_types has;
        bool large, integers;
        enum sdg_dtype type;
    } cases[] = {
        {SDG_F32, {true, true}, true, false, SDG_F32},
        {SDG_F32, {false, true}, true, true, SDG_BF16}, // beside 8-bit activations the rest may lose bits
        {SDG_F32, {true, true}, true, true, SDG_BF16},
        {SDG_F32, {true, false}, true, true, SDG_F32}, // f16 has not f32's range
        {SDG_F32, {false, true}, false, true, SDG_F32},
        {SDG_F32, {false, false}, true, true, SDG_F32},
        {SDG_F16, {true, true}, false, false, SDG_F16},
        {SDG_F16, {false, true}, false, false, SDG_F32},
        {SDG_F16, {false, true}, false, true, SDG_F32},
        {SDG_F16, {false, true}, true, false, SDG_BF16},
        {SDG_F16, {false, false}, true, true, SDG_F32},
        {SDG_BF16, {true, true}, false, false, SDG_BF16},
        {SDG_BF16, {true, false}, false, false, SDG_F16},
        {SDG_BF16, {false, false}, true, true, SDG_F32},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const enum sdg_dtype type = sdg_default_type(cases[i].file, cases[i].has, cases[i].large, cases[i].integers);
        if (type != cases[i].type)
            fail_msg("case %zu: %s, not %s", i, sdg_dtype_name(type), sdg_dtype_name(cases[i].type));
    }
}

// ---- tiles ----

static void link_part(const char *folder, const char *part)
{
    char from[600], to[600];
    snprintf(from, sizeof from, "%s/%s", TINY, part);
    snprintf(to, sizeof to, "%s/%s", folder, part);
    assert_int_equal(symlink(from, to), 0);
}

// sd15-tiny with `levels` levels in its autoencoder, all of which have as many channels, so that its weights fit. A
// latent pixel is 2^(levels - 1) pixels wide.
static void make_tiny(const char *folder, int levels)
{
    static const char *const parts[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer", "unet"};
    char config[1000], down[200] = "", up[200] = "", channels[40] = "";
    for (int i = 0; i < levels; i++) {
        const char *comma = i ? "," : "";
        snprintf(down + strlen(down), sizeof down - strlen(down), "%s\"DownEncoderBlock2D\"", comma);
        snprintf(up + strlen(up), sizeof up - strlen(up), "%s\"UpDecoderBlock2D\"", comma);
        snprintf(channels + strlen(channels), sizeof channels - strlen(channels), "%s32", comma);
    }
    snprintf(config, sizeof config,
             "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[%s],\"down_block_types\":[%s],"
             "\"up_block_types\":[%s],\"layers_per_block\":2,\"norm_num_groups\":32,\"latent_channels\":4}",
             channels, down, up);
    char name[100];
    snprintf(name, sizeof name, "%s/vae/config.json", folder);
    temp_text(name, config);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        link_part(temp_path(folder), parts[i]);
    link_part(temp_path(folder), "vae/diffusion_pytorch_model.safetensors");
}

static void count_kernels(void *user, const char *line)
{
    const char *tiled = "VAE decoder, tiled";
    if (strncmp(line, tiled, strlen(tiled)) == 0)
        *(bool *)user = true;
}

// Where memory is short the picture is decoded in tiles of 32 latent pixels, which are as many pixels as the
// autoencoder makes of them.
static void tiles_are_told_in_pixels(void **state)
{
    static const struct {
        const char *folder;
        int levels;
        const char *said;
    } cases[] = {{"factor4", 3, "tiles of 128x128:"}, {"factor8", 4, "tiles of 256x256:"}};
    (void)state;
    if (missing(TINY))
        return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int side = 16 << cases[i].levels << 2; // 128 latent pixels
        const struct sdg_generate_params g = {
            .prompt = "a", .width = side, .height = side, .cfg_scale = {true, 1}, .steps = 1};
        struct messages messages;
        struct sdg_job job;
        struct sdg_memory_plan plan;
        bool tiled = false;
        make_tiny(cases[i].folder, cases[i].levels);
        struct sdg_pipeline *p = open_pipeline(temp_path(cases[i].folder), 0, &messages);
        assert_int_equal(sdg_job_create(p, &g, &job), SDG_OK);
        assert_int_equal(sdg_memory_plan(p, &job, &plan), SDG_OK);
        const struct sdg_planned_network decoder = plan.networks[SDG_NETWORK_DECODER];
        assert_false(decoder.tiled);
        sdg_job_clear(&job);
        sdg_pipeline_destroy(&p);

        p = open_pipeline(temp_path(cases[i].folder), (double)(plan.base + decoder.total * 3 / 4), &messages);
        if (sdg_plan(p, &g, SDG_PLAN_NO_KERNELS, count_kernels, &tiled) != SDG_OK)
            fail_msg("%s", messages.errors);
        assert_true(tiled);
        if (!strstr(messages.notes, cases[i].said))
            fail_msg("'%s' should have '%s'", messages.notes, cases[i].said);
        sdg_pipeline_destroy(&p);
    }
}

// ---- a question to the backend ----

// A graph whose one value is larger than what a shader sees of lavapipe's buffers (128 MiB).
static void unsupported_sizes_are_no_failure(void **state)
{
    struct temp_log log;
    struct sdg_backend *backend = NULL;
    (void)state;
    const enum sdg_result opened = sdg_backend_create(temp_log(&log), "vulkan", NULL, &backend);
    if (opened != SDG_OK) {
        print_message("skipped: no Vulkan device\n");
        return;
    }
    keep_drivers_loaded();
    for (int large = 0; large < 2; large++) {
        struct sdg_graph *graph;
        assert_int_equal(sdg_graph_create(&log.log, &graph), SDG_OK);
        const int64_t side = large ? (int64_t)1 << 15 : 16; // 16 GiB of f32
        sdg_value x = sdg_graph_input(graph, "x", 1, side, side, 4);
        sdg_graph_output(graph, "y", sdg_graph_unary(graph, "silu", x, SDG_UNARY_SILU));
        assert_int_equal(sdg_graph_check(graph), SDG_OK);
        assert_int_equal(sdg_backend_supports(backend, graph, NULL), !large);
        assert_int_equal(log.errors, 0);
        if (large) { // the reason is said once, by the program that is really wanted, in its log
            struct temp_log own;
            struct sdg_program *program;
            const struct sdg_program_params params = {.plan_only = true};
            assert_int_equal(sdg_program_create(backend, graph, &params, &program), SDG_ERROR_UNSUPPORTED);
            assert_int_equal(log.errors, 1);
            assert_non_null(strstr(log.last, "silu needs 16384 MiB in one piece"));
            const struct sdg_program_params with_log = {.plan_only = true, .log = temp_log(&own)};
            assert_int_equal(sdg_program_create(backend, graph, &with_log, &program), SDG_ERROR_UNSUPPORTED);
            assert_int_equal(own.errors, 1);
            assert_string_equal(own.last, log.last);
            assert_int_equal(log.errors, 1);
        }
        sdg_graph_destroy(&graph);
    }
    sdg_backend_destroy(&backend);
}

// The result of creating a program of a linear layer whose weight its file does not have.
static enum sdg_result create_without_weight(struct sdg_backend *backend, const struct sdg_log *of_program)
{
    static const float one = 1;
    const struct sdg_tensor other = {
        .name = "other", .dtype = SDG_F32, .rank = 1, .dims = {1}, .data = &one, .bytes = sizeof one};
    struct sdg_graph *graph;
    struct sdg_tensors *weights;
    struct sdg_program *program;
    assert_int_equal(sdg_tensors_write(NULL, temp_path("other.safetensors"), &other, 1, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("other.safetensors"), &weights), SDG_OK);
    assert_int_equal(sdg_graph_create(NULL, &graph), SDG_OK);
    sdg_value x = sdg_graph_input(graph, "x", 1, 4, 4, 4);
    x = sdg_graph_linear(graph, "product", x, sdg_graph_linear_weight(graph, 4, 4, "w"), (struct sdg_epilogue){0});
    sdg_graph_output(graph, "y", x);
    const struct sdg_program_params params = {.weights = weights, .log = of_program};
    const enum sdg_result result = sdg_program_create(backend, graph, &params, &program);
    assert_null(program);
    sdg_graph_destroy(&graph);
    sdg_tensors_destroy(&weights);
    return result;
}

// The result of running a row that a program does not have.
static enum sdg_result run_wrong_row(struct sdg_backend *backend, const struct sdg_log *of_program)
{
    struct sdg_graph *graph;
    struct sdg_program *program;
    assert_int_equal(sdg_graph_create(NULL, &graph), SDG_OK);
    sdg_value x = sdg_graph_input(graph, "x", 1, 4, 4, 4);
    sdg_graph_output(graph, "y", sdg_graph_unary(graph, "silu", x, SDG_UNARY_SILU));
    const struct sdg_program_params params = {.log = of_program};
    assert_int_equal(sdg_program_create(backend, graph, &params, &program), SDG_OK);
    const enum sdg_result result = sdg_program_run(program, 1);
    sdg_program_destroy(&program);
    sdg_graph_destroy(&graph);
    return result;
}

// What a program says goes to its own log, from creation to use, and to the backend's if it has none.
static void programs_have_their_own_log(void **state)
{
    static const char *const names[] = {"reference", "cpu", "vulkan"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct temp_log log, own;
        struct sdg_backend *backend = NULL;
        if (sdg_backend_create(temp_log(&log), names[i], NULL, &backend) != SDG_OK) {
            print_message("skipped: backend %s does not start\n", names[i]);
            continue;
        }
        assert_int_equal(create_without_weight(backend, temp_log(&own)), SDG_ERROR_INPUT);
        assert_int_equal(own.errors, 1);
        assert_int_equal(run_wrong_row(backend, &own.log), SDG_ERROR_USAGE);
        assert_int_equal(own.errors, 2);
        assert_int_equal(log.errors, 0);

        assert_int_equal(create_without_weight(backend, NULL), SDG_ERROR_INPUT);
        assert_int_equal(log.errors, 1);
        assert_int_equal(run_wrong_row(backend, NULL), SDG_ERROR_USAGE);
        assert_int_equal(log.errors, 2);
        assert_int_equal(own.errors, 2);
        sdg_backend_destroy(&backend);
    }
}

// ---- the prompt that is kept ----

static struct sdg_image *draw(struct sdg_pipeline *p, const char *negative, const struct messages *messages)
{
    const struct sdg_generate_params g = {
        .prompt = "a", .negative_prompt = negative, .width = 32, .height = 32, .steps = 2, .seed = 3};
    struct sdg_image *image = NULL;
    if (sdg_generate(p, &g, &image, NULL) != SDG_OK)
        fail_msg("%s", messages->errors);
    return image;
}

// SDXL takes zeros for an absent negative prompt: whatever was drawn before, an absent one is not mistaken for a given
// one.
static void absent_is_no_prompt(void **state)
{
    static const char *const before[] = {"", "\1"};
    struct messages messages;
    (void)state;
    if (missing(TINY_XL))
        return;
    struct sdg_pipeline *p = open_pipeline(TINY_XL, 0, &messages);
    struct sdg_image *want = draw(p, NULL, &messages);
    const size_t bytes = (size_t)want->width * (size_t)want->height * 3;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        struct sdg_image *other = draw(p, before[i], &messages), *again = draw(p, NULL, &messages);
        assert_memory_not_equal(other->pixels, want->pixels, bytes);
        assert_memory_equal(again->pixels, want->pixels, bytes);
        sdg_image_destroy(&other);
        sdg_image_destroy(&again);
    }
    sdg_image_destroy(&want);
    sdg_pipeline_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole),
        cmocka_unit_test(peaks_follow_residency),
        cmocka_unit_test(networks_stay_as_asked_for),
        cmocka_unit_test(types_by_default),
        cmocka_unit_test(tiles_are_told_in_pixels),
        cmocka_unit_test(unsupported_sizes_are_no_failure),
        cmocka_unit_test(programs_have_their_own_log),
        cmocka_unit_test(absent_is_no_prompt),
    };
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
